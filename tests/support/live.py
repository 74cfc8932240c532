"""A whole cluster of real processes for tests: embedded Valkey, services, engine simulator."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import llmsched
from llmsched import Application
from llmsched.events import JobChanged, StageChanged, TaskChanged
from llmsched.types import Job, JobState, TaskState
from services.up.cluster import LocalCluster
from services.up.stack import StackOptions, build

#: Leases and retries short enough for tests; the promises do not depend on them.
QUICK = {"lease_seconds": "1.5", "heartbeat_seconds": "0.2", "leader_ttl_seconds": "1.0", "leader_renew_seconds": "0.2"}
QUICK_PROFILER = {"leader_ttl_seconds": "1.0", "leader_renew_seconds": "0.2", "poll_seconds": "0.05"}


@asynccontextmanager
async def live_cluster(
    directory: Path,
    *,
    engines: Sequence[str] = ("sim",),
    engine_arguments: Sequence[str] = ("--time-scale", "0.05"),
    slots: int | None = 8,
    tool_slots: int = 2,
    standbys: int = 0,
    settings: Mapping[str, str] | None = None,
    appendfsync: str = "everysec",
    otlp_endpoint: str | None = None,
    wait: float = 60.0,
) -> AsyncIterator[LocalCluster]:
    """Starts everything and waits until every executor is attached."""
    options = StackOptions(
        directory=directory,
        planner="127.0.0.1:0",
        scheduler="127.0.0.1:0",
        profiler="127.0.0.1:0",
        standbys=standbys,
        engines=tuple(engines),
        engine_arguments=tuple(engine_arguments),
        slots=slots,
        tool_slots=tool_slots,
        scheduler_settings={**QUICK, **(settings or {})},
        profiler_settings=QUICK_PROFILER,
        appendfsync=appendfsync,
        otlp_endpoint=otlp_endpoint,
        log_level="debug" if os.environ.get("LLMSCHED_TEST_DEBUG") else "info",
    )
    async with LocalCluster(build(options), directory, on_event=print) as cluster:
        await cluster.wait_ready(wait)
        yield cluster


def all_shapes(name: str = "all-shapes") -> Application:
    """A small application with a fan-out, a tool, a loop and a condition."""
    app = Application(name, input={"topic": "string", "rounds": "integer"})
    app.llm("outline", prompt="[[tokens: 12]] Outline of {{ input.topic }}", max_tokens=12)
    app.llm("part", prompt="[[tokens: 8]] {{ outline.text }} {{ item }}", foreach="{{ [1, 2, 3] }}", max_tokens=8)
    app.tool("count", call="text.statistics", args={"text": "{{ part | map(attribute='text') | join(' ') }}"})
    with app.loop("polish", max_rounds=4, until="{{ polish.round >= input.rounds }}") as polish:
        polish.llm("draft", prompt="[[tokens: 6]] {{ polish.previous.draft.text }} again", max_tokens=6)
        polish.tool("check", call="hash.digest", args={"text": "{{ draft.text }}"})
    app.llm("extra", prompt="Never: {{ count.words }}", when="{{ count.words < 0 }}", max_tokens=4)
    app.output = {"words": "{{ count.words }}", "rounds": "{{ polish.count }}", "digest": "{{ polish.last.check }}"}
    return app


async def submit_many(client: llmsched.Client, app: str, count: int) -> list[llmsched.JobHandle]:
    """Submits jobs, all at once."""
    inputs = [{"topic": f"topic {number}", "rounds": 1 + number % 3} for number in range(count)]
    return list(await asyncio.gather(*(client.submit(app, each) for each in inputs)))


async def until(condition: Callable[[], Awaitable[bool]], *, limit: float, what: str) -> None:
    """Waits for a condition, not for a time."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + limit

    async def holds() -> bool:
        try:
            return await condition()
        except llmsched.UnavailableError:
            return False  # something is being restarted

    while not await holds():
        assert loop.time() < give_up, f"{what} did not come to be within {limit:g} s"
        await asyncio.sleep(0.05)


async def count_ended(client: llmsched.Client) -> int:
    ended = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    return len([job async for job in client.jobs(states=ended)])


def kill(cluster: LocalCluster, *names: str) -> None:
    """kill -9, each process alone as the kernel's OOM killer would."""
    for name in names:
        pid = cluster.supervisor.children[name].pid
        assert pid is not None, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)


async def verify_history(client: llmsched.Client, job_id: str) -> Job:
    """Reads a job's whole history and holds it against the promises; returns the job as it ended."""
    sequences: list[int] = []
    applied: Counter[tuple[str, int]] = Counter()
    states: list[JobState] = []
    # From after the first change, so that all others come as they were and not as a snapshot.
    async for event in client.watch(job_id, after_sequence=1):
        sequences.append(event.sequence)
        match event:
            case TaskChanged(stage_id=stage_id, task=task) if task.state is TaskState.SUCCEEDED:
                applied[stage_id, task.index] += 1
            case JobChanged(state=state):
                states.append(state)
            case StageChanged():
                pass
    job = await client.job(job_id)
    assert sequences == list(range(2, len(sequences) + 2)), f"{job_id}: gaps in the sequence"
    twice = {key: count for key, count in applied.items() if count > 1}
    assert not twice, f"{job_id}: results applied more than once: {twice}"
    tasks = {(stage.stage_id, task.index) for stage in job.stages for task in stage.tasks}
    assert set(applied) == tasks, f"{job_id}: {tasks ^ set(applied)} have no single success"
    assert states[-1] is job.state
    return job
