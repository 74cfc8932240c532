"""How fast the durable state is: commits, submissions and reads on an embedded Valkey.

`python -m benchmarks.state [--seconds 3] [--fsync everysec|always] [--binary redis-server]`

A commit changes each of its jobs as a finished task does: the status, one stage with one task, one result of 1 KiB,
one payload of 1 KiB, two changes, one observation.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from services.scheduler.core.model import (
    JobState,
    Measurement,
    StageKind,
    StageSnapshot,
    StageSpec,
    StageState,
    TaskSnapshot,
    TaskSpec,
    TaskState,
)
from services.state.embedded import EmbeddedServer, EmbeddedSettings
from services.state.factory import open_state
from services.state.port import State
from services.state.records import Commit, JobCommit, JobRecord, JobStatus, StageUpdate, TaskUpdate

_KIBIBYTE = bytes(1024)
_TASK = TaskSnapshot(
    spec=TaskSpec(prompt_tokens=800, counted=True),
    state=TaskState.SUCCEEDED,
    attempt=1,
    executor_id="executor-1",
    started_at=1.7e9,
    ended_at=1.7e9 + 2,
    measurement=Measurement(prompt_tokens=800, output_tokens=100, total_seconds=2.0),
)
_STAGE = StageSnapshot(
    spec=StageSpec(stage_id="refine/2/draft", name="refine.draft", kind=StageKind.LLM, parents=("plan",)),
    state=StageState.SUCCEEDED,
    tasks=(_TASK,),
)


def _job_commit(job_id: str) -> JobCommit:
    return JobCommit(
        job_id=job_id,
        at=time.time(),
        status=JobStatus(state=JobState.RUNNING, started_at=1.7e9, prompt_tokens=800),
        stages={"refine/2/draft": _STAGE},
        payloads={("refine/2/test", 0): _KIBIBYTE},
        results={("refine/2/draft", 0): _KIBIBYTE},
        updates=(StageUpdate(stage=_STAGE), TaskUpdate(stage_id="refine/2/draft", task_index=0, task=_TASK)),
        observations=(bytes(200),),
    )


async def _submit(state: State, number: int) -> str:
    record = JobRecord(
        job_id=f"job-{number:08}", application="a", version=1, created_at=time.time(), order=0, structure="static"
    )
    await state.submit(record, input=_KIBIBYTE, stages=[_STAGE] * 8, max_active=1_000_000)
    return record.job_id


async def _measure(name: str, seconds: float, size: int, step: Callable[[int], Awaitable[object]]) -> None:
    """Repeats `step`, one after the other, and prints its rate; `size` is how many items a step has."""
    durations: list[float] = []
    started = time.perf_counter()
    while (now := time.perf_counter()) - started < seconds:
        await step(len(durations))
        durations.append(time.perf_counter() - now)
    total = time.perf_counter() - started
    steps, items = len(durations) / total, len(durations) * size / total
    quantiles = statistics.quantiles(durations, n=100)
    print(
        f"{name:32} {steps:9,.0f} /s {items:9,.0f} items/s   "
        f"p50 {quantiles[49] * 1e3:7.3f} ms   p99 {quantiles[98] * 1e3:7.3f} ms"
    )


async def _run(state: State, seconds: float) -> None:
    offset = 0

    async def submit(number: int) -> None:
        await _submit(state, offset + number)

    await _measure("submit", seconds, 1, submit)
    offset = 10_000_000

    async def submit_many(number: int) -> None:
        await asyncio.gather(*(_submit(state, offset + number * 64 + index) for index in range(64)))

    await _measure("submit, 64 at once", seconds, 64, submit_many)
    leader = await state.acquire_leadership(instance="benchmark", address="", ttl=600.0)
    assert leader is not None
    jobs = [await _submit(state, 20_000_000 + number) for number in range(100)]
    committed = 0

    async def commit(size: int) -> None:
        nonlocal committed
        committed += 1
        await state.commit(leader, committed, Commit(jobs=tuple(map(_job_commit, jobs[:size]))))

    for size in (1, 10, 100):
        await _measure(f"commit of {size} jobs", seconds, size, lambda _, size=size: commit(size))  # type: ignore[misc]
    await _measure("get_job", seconds, 1, lambda _: state.get_job(jobs[0]))
    await _measure("load_jobs of 100", seconds, 100, lambda _: state.load_jobs(jobs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each line")
    parser.add_argument("--fsync", choices=("everysec", "always"), default="everysec")
    parser.add_argument("--binary", type=Path, help="another server than the embedded one")
    parser.add_argument("--memory", action="store_true", help="the MemoryState instead")
    options = parser.parse_args()

    async def measure(url: str) -> None:
        state = open_state(url)
        await _run(state, options.seconds)
        await state.aclose()

    if options.memory:
        uvloop.run(measure("memory://"))
        return
    with tempfile.TemporaryDirectory() as directory:
        settings = EmbeddedSettings(data_dir=Path(directory), fsync=options.fsync, binary=options.binary)
        with EmbeddedServer(settings) as server:
            uvloop.run(measure(server.url))


if __name__ == "__main__":
    main()
