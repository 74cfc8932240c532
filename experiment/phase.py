"""One phase on a cluster that is ready: jobs at their times, watched to their ends; and samples of the engines."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import llmsched
from experiment.config import Limits
from experiment.plan import Planned
from experiment.store import JobRecord
from services.executors.llm.engine import Engine, EngineError

TIMED_OUT = "TIMED_OUT"

COLUMNS = (
    "seconds",  # since the phase began
    "arrived",  # jobs so far
    "done",  # jobs so far, however they ended
    "active",  # jobs that the scheduler knows
    "ready_stages",  # whose tasks wait for a slot
    "llm_used",  # slots
    "llm_slots",
    "tool_used",
    "tool_slots",
    "engine_running",  # requests, by the engines themselves: their batches
    "engine_waiting",
    "token_usage",  # share of the key-value cache
    "output_tokens",  # of tasks that have ended
)


@dataclass(slots=True)
class Board:
    """What a phase looks like at this moment."""

    jobs: int
    arrived: int = 0
    done: int = 0
    failed: int = 0
    queued: int = 0  #: stages that wait for a slot
    running: int = 0  #: attempts
    tokens: dict[int, int] = field(default_factory=dict)  #: output tokens by job
    samples: list[dict[str, Any]] = field(default_factory=list)

    def utilisation(self, kind: str) -> float:
        """Mean share of the slots of `llm` or `tool` executors that were in use."""
        slots = sum(row[f"{kind}_slots"] for row in self.samples)
        return sum(row[f"{kind}_used"] for row in self.samples) / slots if slots else 0.0

    def csv(self) -> str:
        """The samples as a file."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.samples)
        return text.getvalue()


async def run_jobs(
    client: llmsched.Client,
    planned: Sequence[Planned],
    limits: Limits,
    *,
    board: Board,
    engines: Sequence[Engine] = (),
    sample_seconds: float = 1.0,
    changed: Callable[[], None] = lambda: None,
) -> list[JobRecord]:
    """Submits the jobs at their times and waits for all of them; `changed` is called when the board has changed."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    sampler = asyncio.create_task(_sample(client, engines, board, start, sample_seconds, changed))

    async def one(job: Planned) -> JobRecord:
        await asyncio.sleep(max(0.0, start + job.at - loop.time()))
        record = await _follow(client, job, limits, board)
        board.done += 1
        board.failed += record.jct is None
        changed()
        return record

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(job)) for job in planned]
        return [task.result() for task in tasks]
    finally:
        sampler.cancel()
        await asyncio.gather(sampler, return_exceptions=True)


async def _follow(client: llmsched.Client, planned: Planned, limits: Limits, board: Board) -> JobRecord:
    board.arrived += 1
    try:
        handle = await client.submit(planned.application, dict(planned.input), labels={"index": str(planned.index)})
    except llmsched.LLMSchedError as error:
        return _record(planned, "", "REFUSED", failure=str(error))
    try:
        return await _watch(handle, planned, limits, board)
    except llmsched.LLMSchedError as error:  # one job less, not the whole phase
        return _record(planned, handle.id, "LOST", failure=str(error))


async def _watch(handle: llmsched.JobHandle, planned: Planned, limits: Limits, board: Board) -> JobRecord:
    job, timed_out = await handle.status(), False
    try:
        async with asyncio.timeout(limits.job_seconds):
            async for event in handle.events():
                job = llmsched.apply(job, event)
                board.tokens[planned.index] = _output_tokens(job)
    except TimeoutError:
        timed_out = True
        with suppress(llmsched.LLMSchedError):  # it may have ended this very moment
            await handle.cancel(reason=f"took longer than {limits.job_seconds:g} s")
    final = await handle.status()
    state = TIMED_OUT if timed_out else str(final.state)
    span = final.completion_time if state == "SUCCEEDED" else None
    return _record(
        planned,
        final.id,
        state,
        jct=None if span is None else round(span.total_seconds(), 6),
        prompt_tokens=final.usage.prompt_tokens,
        output_tokens=final.usage.completion_tokens,
        failure=f"{final.failure.reason}: {final.failure.message}"[:500] if final.failure else "",
    )


def _record(planned: Planned, job_id: str, state: str, **known: Any) -> JobRecord:
    return JobRecord(
        index=planned.index,
        application=planned.application,
        group=planned.group,
        job_id=job_id,
        state=state,
        at=planned.at,
        **{"jct": None, **known},
    )


def _output_tokens(job: llmsched.Job) -> int:
    return sum(task.usage.completion_tokens for stage in job.stages for task in stage.tasks)


async def _sample(
    client: llmsched.Client,
    engines: Sequence[Engine],
    board: Board,
    start: float,
    pause: float,
    changed: Callable[[], None],
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        # A leader that is being elected, or an engine that is busy, leaves a gap in the samples and nothing else.
        with suppress(llmsched.LLMSchedError, EngineError):
            board.samples.append(await _look(client, engines, board, loop.time() - start))
            changed()
        await asyncio.sleep(pause)


async def _look(client: llmsched.Client, engines: Sequence[Engine], board: Board, seconds: float) -> dict[str, Any]:
    cluster = await client.cluster()
    board.queued, board.running = cluster.ready_stages, cluster.running_attempts
    loads = [await engine.load() for engine in engines]
    known = [load.token_usage for load in loads if load.token_usage is not None]
    row: dict[str, Any] = {
        "seconds": round(seconds, 3),
        "arrived": board.arrived,
        "done": board.done,
        "active": cluster.active_jobs,
        "ready_stages": cluster.ready_stages,
        "engine_running": sum(load.running for load in loads),
        "engine_waiting": sum(load.waiting for load in loads),
        "token_usage": round(sum(known) / len(known), 4) if known else "",
        "output_tokens": sum(board.tokens.values()),
    }
    for kind in ("llm", "tool"):
        mine = [executor for executor in cluster.executors if executor.kind == kind]
        row[f"{kind}_used"] = sum(executor.used_slots for executor in mine)
        row[f"{kind}_slots"] = sum(executor.slots for executor in mine)
    if not engines:  # an API that does not say: what was sent there is what runs
        row["engine_running"] = row["llm_used"]
    return row
