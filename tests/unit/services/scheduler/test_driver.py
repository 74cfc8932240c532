"""The shell around the machine: order, durability, and what happens when the store refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from services.common.clock import SystemClock
from services.common.lifecycle import cancel_and_wait
from services.scheduler.core import PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Dispatch, Effect
from services.scheduler.core.events import Event, JobAdmitted, PolicyChanged
from services.scheduler.core.model import JobState
from services.scheduler.driver import Driver
from services.scheduler.inbox import Arrival
from services.scheduler.ledger import Entry, Ledger
from services.state.memory import MemoryState
from services.state.port import LeadershipLost, StateUnavailable
from services.state.records import Commit, Leader, StoredJob
from tests.support import scheduling as make
from tests.support import state as stored
from tests.support.cluster import Gate


class Store:
    """The part of a store that a driver uses, with a gate in front of its commits."""

    def __init__(self) -> None:
        self.memory = MemoryState()
        self.gate = Gate()
        self.commits: list[tuple[int, Commit]] = []
        self.errors: list[Exception] = []

    async def commit(self, leader: Leader, number: int, commit: Commit) -> None:
        await self.gate.passed()
        self.commits.append((number, commit))
        if self.errors:
            raise self.errors.pop(0)
        await self.memory.commit(leader, number, commit)


class Recorder:
    """`Actions` and `Journal`: notes what was carried out, and when."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.story: list[str] = []

    def carry_out(self, entry: Entry, effects: Sequence[Effect]) -> None:
        self.effects += effects
        self.story.append("carried out")

    def handled(self, events: Sequence[Event], effects: Sequence[Effect], seconds: float) -> None:
        self.story.append(f"handled {len(events)}")

    def committed(self, entry: Entry, seconds: float) -> None:
        self.story.append("committed")


class Bench:
    def __init__(self, store: Store, leader: Leader) -> None:
        self.store = store
        self.machine = SchedulerMachine(PolicySettings())
        self.recorder = Recorder()
        self.driver = Driver(
            machine=self.machine,
            ledger=Ledger(self.machine),
            store=store,  # type: ignore[arg-type]
            leader=leader,
            clock=SystemClock(),
            actions=self.recorder,
            journals=[self.recorder],
        )
        self.running: asyncio.Task[Any] = asyncio.create_task(self.driver.run())

    async def job(self, job_id: str) -> StoredJob:
        await stored.submit(self.store.memory, stored.make_record(job_id), stages=(stored.make_stage("a"),))
        job = await self.store.memory.get_job(job_id)
        assert job is not None
        return job

    async def admit(self, job_id: str) -> None:
        job = await self.job(job_id)
        await self.driver.submit(JobAdmitted(at=1.0, cause=job_id, job=job.snapshot()), job=job)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    store = Store()
    bench = Bench(store, await stored.lead(store.memory))
    yield bench
    store.gate.open()
    await cancel_and_wait(bench.running)


async def test_what_gathers_while_a_commit_is_under_way_is_one_batch(bench: Bench) -> None:
    bench.store.gate.close()
    calls = [asyncio.create_task(bench.admit("job-0"))]
    await bench.store.gate.arrived.wait()
    calls += [asyncio.create_task(bench.admit(f"job-{number}")) for number in range(1, 6)]
    seen = asyncio.create_task(bench.driver.read(lambda: bench.machine.active_jobs))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(call.done() for call in calls)
    assert bench.recorder.story == ["handled 1"]
    bench.store.gate.open()
    await asyncio.gather(*calls)
    assert await seen == 6
    assert bench.recorder.story == ["handled 1", "committed", "carried out", "handled 5", "committed", "carried out"]
    assert [number for number, _ in bench.store.commits] == [1, 2]


async def test_what_changes_nothing_needs_no_commit(bench: Bench) -> None:
    await bench.driver.submit(make.attached("llm-0"))
    await bench.driver.submit(make.cancel("nobody"))
    assert bench.store.commits == []


async def test_a_change_of_policy_is_made_durable(bench: Bench) -> None:
    policy = PolicySettings(name="fair")
    await bench.driver.submit(PolicyChanged(at=1.0, cause="test", policy=policy))
    assert await bench.store.memory.get_policy() == policy


async def test_an_unavailable_store_gets_the_same_commit_again(bench: Bench) -> None:
    bench.store.errors = [StateUnavailable("away"), StateUnavailable("still away")]
    await bench.admit("job-0")
    (first, commit), *repeats = bench.store.commits
    assert repeats == [(first, commit)] * 2


async def test_a_refused_commit_stops_the_driver_before_anything_is_carried_out(bench: Bench) -> None:
    bench.store.errors = [LeadershipLost("somebody else leads")]
    admission = asyncio.create_task(bench.admit("job-0"))
    with pytest.raises(LeadershipLost):
        await bench.running
    assert bench.recorder.effects == []
    assert not admission.done()
    bench.driver.close(RuntimeError("the term is over"))
    with pytest.raises(RuntimeError, match="over"):
        await admission
    with pytest.raises(RuntimeError, match="over"):
        await bench.driver.read(lambda: None)


async def test_a_question_that_fails_does_not_stop_the_driver(bench: Bench) -> None:
    with pytest.raises(KeyError):
        await bench.driver.read(lambda: bench.machine.snapshot("nobody"))
    assert await bench.driver.read(lambda: "alive") == "alive"


async def test_an_event_may_be_made_at_the_last_moment(bench: Bench) -> None:
    """It then knows what all events before it have led to."""
    seen: list[int] = []
    job = await bench.job("job-0")

    def late() -> Event:
        seen.append(bench.machine.active_jobs)
        return make.attached("llm-0")

    bench.store.gate.close()
    first = asyncio.create_task(bench.driver.submit(JobAdmitted(at=1.0, cause="x", job=job.snapshot()), job=job))
    await bench.store.gate.arrived.wait()
    bench.driver.put(Arrival(event=late))
    bench.store.gate.open()
    await first
    await bench.driver.read(lambda: None)
    assert seen == [1]


async def test_the_end_of_a_backoff_comes_by_itself(bench: Bench) -> None:
    clock = SystemClock()
    await bench.driver.submit(make.attached("llm-0"))
    await bench.admit("job-0")
    await bench.driver.submit(make.unfolded("job-0", "a", tasks=1, at=clock.now()))
    failed = make.failed(make.ref("job-0", "a"), make.FLAKY, at=clock.now() - 0.95)
    await bench.driver.submit(failed)
    while not [effect for effect in bench.recorder.effects if isinstance(effect, Dispatch) and effect.number == 2]:
        await bench.driver.read(lambda: None)
    assert bench.machine.snapshot("job-0").state is JobState.RUNNING
