"""Puts an executor together: the only place that picks classes."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmsched.tools import ToolRegistry
from services.common.logs import configure_logging, get_logger
from services.common.processes import ProcessSpec, Supervised
from services.common.telemetry import Telemetry
from services.executors.agent import Agent
from services.executors.llm.engine import Engine
from services.executors.llm.openai import OpenAIEngine, OpenAISettings
from services.executors.llm.sglang import SGLangEngine, SGLangSettings
from services.executors.llm_worker import LlmWorker
from services.executors.settings import ExecutorSettings
from services.executors.tool.pool import ProcessPool
from services.executors.tool_worker import ToolWorker
from services.executors.work import ExecutorError, Worker

_log = get_logger(__name__)

#: For an engine whose requests have all been ended before it is.
_ENGINE_GRACE_SECONDS = 5.0


async def run_llm(settings: ExecutorSettings, stop: asyncio.Event) -> None:
    """Runs an LLM executor until `stop`, with the engine as its child if `launch` names a command.

    Raises ExecutorError.
    """
    _prepare(settings, "executor-llm")
    async with _launched(settings):
        worker = LlmWorker(
            _engine(settings), slots=settings.slots, model=settings.model, start_timeout=settings.start_timeout
        )
        await _run(settings, worker, "executor-llm", stop)


async def run_tool(settings: ExecutorSettings, stop: asyncio.Event) -> None:
    """Runs a tool executor until `stop`. Raises ExecutorError."""
    _prepare(settings, "executor-tool")
    registry = ToolRegistry.from_entry_points()
    known = set(registry.names())
    unknown = sorted(set(settings.tools) - known)
    if unknown:
        raise ExecutorError(f"no such tools: {', '.join(unknown)}; installed are: {', '.join(sorted(known))}")
    for name, missing in registry.missing_env(os.environ).items():
        _log.warning("a tool lacks environment variables", action="tool_env_missing", tool=name, missing=missing)
    pool = ProcessPool(registry, workers=settings.slots or os.cpu_count() or 1)
    await _run(settings, ToolWorker(pool, tools=sorted(settings.tools or known)), "executor-tool", stop)


@asynccontextmanager
async def _launched(settings: ExecutorSettings) -> AsyncIterator[None]:
    """Keeps the engine running inside the block, if it is ours to start."""
    if settings.launch is None:
        yield
        return
    spec = ProcessSpec(name="engine", command=shlex.split(settings.launch), grace=_ENGINE_GRACE_SECONDS)
    child = Supervised(spec, log=settings.launch_log, on_event=_tell)
    try:
        await child.start()
    except OSError as error:
        raise ExecutorError(f"cannot start the engine with {settings.launch!r}: {error}") from error
    try:
        yield
    finally:
        await child.stop()


def _engine(settings: ExecutorSettings) -> Engine:
    """The adapter for the protocol that the settings name."""
    if settings.engine == "openai":
        return OpenAIEngine(OpenAISettings(url=settings.engine_url, api_key_env=settings.api_key_env))
    return SGLangEngine(SGLangSettings(url=settings.engine_url, api_key_env=settings.api_key_env))


def _tell(text: str) -> None:
    _log.error(text, action="engine_event")


def _prepare(settings: ExecutorSettings, service: str) -> None:
    configure_logging(service, level=settings.log_level)
    _log.info("starting", action="starting", settings=settings.model_dump(mode="json"))


async def _run(settings: ExecutorSettings, worker: Worker, service: str, stop: asyncio.Event) -> None:
    telemetry = Telemetry(service)
    agent = Agent(
        worker,
        executor_id=settings.id,
        schedulers=settings.schedulers,
        labels=settings.labels,
        telemetry=telemetry,
    )
    try:
        await agent.run(stop, drain_seconds=settings.drain_seconds)
    finally:
        await worker.aclose()
        telemetry.close()
