"""The tool worker and the process pool, with attempts between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llmsched.api.executor.v1 import executor_pb2
from llmsched.values import from_value, to_struct
from services.common.telemetry import Telemetry
from services.executors.attempts import Attempts
from services.executors.instruments import Instruments
from services.executors.tool.pool import ProcessPool
from services.executors.tool_worker import ToolWorker
from tests.support.processes import Offspring
from tests.unit.services.executors.scripted import ref
from tests.unit.services.executors.tool import sample_tools
from tests.unit.services.executors.tool.waiting import until_gone, until_written

pytestmark = pytest.mark.timeout(60)


class Bench:
    """Attempts on a pool of one worker process, and how they ended."""

    def __init__(self) -> None:
        pool = ProcessPool(sample_tools.registry(), workers=1)
        self.worker = ToolWorker(pool, tools=["sample.add", "sample.wait"])
        self.ended: asyncio.Queue[executor_pb2.Finished] = asyncio.Queue()
        self.attempts = Attempts(
            self.worker,
            instruments=Instruments(Telemetry("test"), "tool-0"),
            send=self._send,
            on_suspect=lambda: pytest.fail("a tool says nothing about the pool"),
        )

    def _send(self, message: executor_pb2.AttachRequest) -> bool:
        self.ended.put_nowait(message.finished)
        return True

    def start(self, tool: str, *, attempt: int = 1, timeout: float | None = None, **args: Any) -> None:
        assign = executor_pb2.Assign(attempt=ref(attempt=attempt))
        assign.payload.tool.tool = f"sample.{tool}"
        assign.payload.tool.args.CopyFrom(to_struct(args))
        if timeout is not None:
            assign.timeout.FromMicroseconds(round(timeout * 1e6))
        self.attempts.start(assign)


@pytest.fixture
async def bench(offspring: Offspring) -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.worker.start()
    yield bench
    await bench.attempts.aclose()
    await bench.worker.aclose()
    assert not offspring(), "the pool left processes behind"


async def test_a_value(bench: Bench) -> None:
    bench.start("add", a=40, b=2)

    result = (await bench.ended.get()).result
    assert from_value(result.tool) == 42
    assert result.timings.total.ToMicroseconds() > 0
    assert not result.timings.HasField("decode")


@pytest.mark.parametrize(
    ("tool", "args", "reason", "retryable"),
    [
        ("fail", {"kind": "final"}, "TOOL_RAISED", False),
        ("fail", {"kind": "retryable"}, "TOOL_RAISED", True),
        ("crash", {"how": "kill"}, "WORKER_CRASHED", True),
        ("unserialisable", {"what": "nan"}, "NOT_SERIALISABLE", False),
        ("nothing", {}, "UNKNOWN_TOOL", False),
    ],
)
async def test_a_failure_costs_one_attempt(
    bench: Bench, tool: str, args: dict[str, Any], reason: str, retryable: bool
) -> None:
    bench.start(tool, **args)

    failure = (await bench.ended.get()).failure
    assert (failure.reason, failure.retryable) == (reason, retryable)
    bench.start("add", attempt=2, a=1, b=1)
    assert from_value((await bench.ended.get()).result.tool) == 2


@pytest.mark.parametrize("by", ["cancel", "timeout"])
async def test_ending_an_attempt_ends_its_process_and_frees_the_slot(bench: Bench, tmp_path: Path, by: str) -> None:
    started = tmp_path / "started"
    timeout = 1.0 if by == "timeout" else None
    bench.start("wait", started=str(started), go_on=str(tmp_path / "never"), timeout=timeout)
    pid = int(await until_written(started))

    if by == "cancel":
        bench.attempts.cancel(ref())
        assert (await bench.ended.get()).HasField("cancelled")
    else:
        assert (await bench.ended.get()).failure.reason == "TIMEOUT"

    await until_gone(pid)
    bench.start("add", attempt=2, a=1, b=1)
    assert from_value((await bench.ended.get()).result.tool) == 2
