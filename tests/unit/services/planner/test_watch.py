"""A watch, without a network: what it says, and what it keeps when nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from llmsched.api.planner.v1 import job_pb2, planner_pb2
from services.common.errors import DomainError
from services.planner.watch import Watcher
from services.scheduler.core.model import JobState, StageState
from services.state.memory import MemoryState
from services.state.port import StateUnavailable
from services.state.records import JobCommit, JobUpdate, Leader, StageUpdate
from services.state.settings import Limits
from tests.support.planner import until_watching, watching
from tests.support.state import commit_of, finished, lead, make_record, make_stage, progressed, running, submit

Delta = planner_pb2.WatchJobResponse.OutputDelta


class Bench:
    """A job in a store, and its leader."""

    def __init__(self, state: MemoryState, leader: Leader) -> None:
        self.state = state
        self._leader = leader
        self._commits = 0

    @classmethod
    async def make(cls, **limits: Any) -> Bench:
        state = MemoryState(limits=Limits(**limits))
        await submit(state, make_record("job"))
        bench = cls(state, await lead(state))
        await bench.commit(running("job"))
        return bench

    async def commit(self, change: JobCommit) -> None:
        self._commits += 1
        await self.state.commit(self._leader, self._commits, commit_of(change))

    async def say(self, text: str) -> None:
        await self.state.publish_delta("job", Delta(stage_id="draft", text=text).SerializeToString())

    @asynccontextmanager
    async def watch(self, *, after: int = 0, deltas: bool = False, progress: float = 60.0) -> AsyncIterator[Reader]:
        job = await self.state.get_job("job")
        assert job is not None
        watcher = Watcher(self.state, job, after=after, deltas=deltas, progress=progress, tracing=False)
        reader = Reader(watcher)
        yield reader
        await reader.messages.aclose()


class Reader:
    """Reads one message after the other."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.messages = watcher.messages()

    async def next(self) -> planner_pb2.WatchJobResponse:
        return await anext(self.messages)

    async def rest(self) -> list[planner_pb2.WatchJobResponse]:
        return [message async for message in self.messages]

    async def refused(self) -> DomainError:
        """What the watch ends with."""
        with pytest.raises(DomainError) as caught:
            await self.rest()
        return caught.value


async def test_a_watch_is_a_snapshot_and_all_later_changes_up_to_the_last() -> None:
    bench = await Bench.make()
    async with bench.watch() as reader:
        first = await reader.next()
        assert (first.sequence, first.snapshot.name, first.snapshot.state) == (2, "jobs/job", job_pb2.Job.STATE_RUNNING)
        stage = make_stage(state=StageState.READY, ready_at=1.0)
        await bench.commit(progressed("job"))
        await bench.commit(running("job", stages={"draft": stage}, updates=(StageUpdate(stage=stage),)))
        await bench.commit(finished("job"))
        messages = await reader.rest()
        assert [message.sequence for message in messages] == [3, 4, 5]
        assert messages[1].stage_changed.stage.state == job_pb2.JobStage.STATE_READY
        assert messages[2].job_changed.state == job_pb2.Job.STATE_SUCCEEDED


async def test_a_watch_of_a_job_that_has_ended_is_its_snapshot() -> None:
    bench = await Bench.make()
    await bench.commit(finished("job"))
    async with bench.watch() as reader:
        assert [message.WhichOneof("update") for message in await reader.rest()] == ["snapshot"]


@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_watch_goes_on_behind_a_change_without_a_snapshot(after: int) -> None:
    bench = await Bench.make()
    await bench.commit(finished("job"))
    async with bench.watch(after=after) as reader:
        assert [message.sequence for message in await reader.rest()] == list(range(after + 1, 4))


async def test_a_watch_from_before_what_is_kept_is_refused() -> None:
    bench = await Bench.make(max_events=3)
    await bench.commit(progressed("job", updates=5))
    async with bench.watch(after=2) as reader:
        error = await reader.refused()
        assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_COMPACTED")


async def test_a_watch_from_ahead_of_the_job_is_refused() -> None:
    """The store has lost changes; what comes next will bear numbers that the client takes for known."""
    bench = await Bench.make()
    async with bench.watch(after=100) as reader:
        assert (await reader.refused()).reason == "HISTORY_COMPACTED"


async def test_a_store_that_has_lost_changes_is_not_the_readers_fault() -> None:
    bench = await Bench.make()
    async with bench.watch(progress=0.02) as reader:
        await reader.next()
        await reader.next()
        # As after a restart of a store that does not write through: it is behind its reader.
        job = bench.state._jobs["job"]
        job.sequence -= 1
        job.events.pop()
        assert (await reader.refused()).reason == "HISTORY_COMPACTED"


async def test_a_reader_that_cannot_keep_up_is_cut_off() -> None:
    bench = await Bench.make(max_events=3)
    async with bench.watch() as reader:
        await reader.next()
        await bench.commit(progressed("job", updates=5))
        error = await reader.refused()
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_READER")
        assert error.retry_after is not None


async def test_a_long_history_comes_without_pauses() -> None:
    bench = await Bench.make()
    await bench.commit(progressed("job", updates=3000))
    await bench.commit(finished("job"))
    began = asyncio.get_running_loop().time()
    async with bench.watch(after=1) as reader:
        assert [message.sequence for message in await reader.rest()] == list(range(2, 3004))
    # The store wakes its watchers once a second: that is how long each page would wait.
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_silence_is_broken_by_signs_of_life() -> None:
    bench = await Bench.make()
    async with bench.watch(progress=0.02) as reader:
        await reader.next()
        for _ in range(3):
            message = await reader.next()
            assert (message.WhichOneof("update"), message.sequence) == ("progress", 2)
        await bench.commit(finished("job"))
        assert (await reader.rest())[-1].job_changed.state == job_pb2.Job.STATE_SUCCEEDED


async def test_deltas_come_between_the_changes_and_count_for_nothing() -> None:
    bench = await Bench.make()
    async with bench.watch(deltas=True, progress=0.02) as reader:
        await reader.next()
        assert (await reader.next()).HasField("progress")  # by now it listens
        await bench.say("one")
        delta = await reader.next()
        assert (delta.sequence, delta.output_delta) == (2, Delta(stage_id="draft", text="one"))
        await bench.commit(progressed("job"))
        assert (await reader.next()).sequence == 3
        await bench.say("two")
        delta = await reader.next()
        assert (delta.sequence, delta.output_delta.text) == (3, "two")


async def test_nobody_gets_deltas_who_did_not_ask() -> None:
    bench = await Bench.make()
    async with bench.watch(progress=0.02) as reader:
        await reader.next()
        await reader.next()
        await bench.say("one")
        assert (await reader.next()).HasField("progress")


async def test_deltas_are_dropped_for_a_slow_reader_and_changes_are_not() -> None:
    bench = await Bench.make()
    async with bench.watch(deltas=True, progress=0.02) as reader:
        await reader.next()
        await reader.next()
        for number in range(1000):
            await bench.say(str(number))
            await asyncio.sleep(0)  # to the feed, not to the reader
        await bench.commit(progressed("job", updates=600))
        await bench.commit(finished("job"))
        messages = await reader.rest()
    texts = [message.output_delta.text for message in messages if message.HasField("output_delta")]
    assert texts == [str(number) for number in range(1000 - len(texts), 1000)]
    assert len(texts) <= 256
    assert [message.sequence for message in messages if not message.HasField("output_delta")] == list(range(3, 604))


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_a_watch_that_is_given_up_leaves_nothing_behind(read: int) -> None:
    bench = await Bench.make()
    async with bench.watch(deltas=True, progress=0.02) as reader:
        for _ in range(read):
            await reader.next()
        assert len(watching()) == (2 if read == 2 else 0)
    assert watching() == []
    assert not bench.state._watchers.delta_jobs()
    assert not bench.state._watchers._changes.jobs()


async def test_a_watch_that_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    bench = await Bench.make()
    async with bench.watch(deltas=True) as reader:
        await reader.next()
        waiting = asyncio.create_task(reader.next())
        await until_watching(2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert watching() == []


async def test_a_planner_that_goes_down_sends_its_watchers_away() -> None:
    bench = await Bench.make()
    async with bench.watch() as reader:
        await reader.next()
        reader.watcher.stop()
        error = await reader.refused()
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def test_a_watch_ends_with_its_store() -> None:
    bench = await Bench.make()
    async with bench.watch() as reader:
        await reader.next()
        waiting = asyncio.create_task(reader.next())
        await until_watching(1)
        await bench.state.aclose()
        with pytest.raises(StateUnavailable):
            await waiting


async def test_a_job_that_vanishes_is_told() -> None:
    """Its end was too long ago for a reader that slept."""
    bench = await Bench.make()
    async with bench.watch(progress=0.02) as reader:
        await reader.next()
        bench.state._jobs.clear()
        assert (await reader.refused()).reason == "JOB_NOT_FOUND"


async def test_cancelling_is_not_the_end() -> None:
    bench = await Bench.make()
    async with bench.watch() as reader:
        await reader.next()
        await bench.commit(running("job", updates=(JobUpdate(state=JobState.CANCELLING),)))
        assert (await reader.next()).job_changed.state == job_pb2.Job.STATE_CANCELLING
        await bench.commit(finished("job", updates=(JobUpdate(state=JobState.CANCELLED),)))
        assert len(await reader.rest()) == 1
