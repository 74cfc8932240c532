"""Promise 1: what was acknowledged is never lost, also across a Redis restart; and what cannot be kept is noticed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.common.lifecycle import cancel_and_wait
from services.scheduler.core.model import JobState
from services.state.embedded import EmbeddedServer
from services.state.port import CommitGap, JobFilter, LeadershipLost, State, StateUnavailable
from services.state.redis_store import RedisState
from services.state.settings import RedisSettings
from tests.support.redis import make_server
from tests.support.state import commit_of, finished, lead, make_record, progressed, running, submit

ALWAYS = pytest.mark.parametrize("fsync", ["always"])
EVERY_SECOND = pytest.mark.parametrize("fsync", ["everysec"])
BOTH = pytest.mark.parametrize("fsync", ["everysec", "always"])


class Store:
    """A server with its data directory, and a state that talks to it."""

    def __init__(self, directory: Path, fsync: str) -> None:
        self.server: EmbeddedServer = make_server(directory / "data", fsync=fsync)
        self.data = directory / "data" / "appendonlydir"
        self.state: State = RedisState(RedisSettings(url=self.server.url, answer_timeout=2.0))

    async def written(self) -> None:
        """Waits until everything that was acknowledged so far is in the file."""
        async with Redis.from_url(self.server.url) as redis:
            while True:
                info = await redis.info("persistence")
                if not info["aof_buffer_length"] and not info["aof_pending_bio_fsync"]:
                    return
                await asyncio.sleep(0.01)

    def kill(self) -> None:
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGKILL)

    async def start_again(self) -> None:
        self.server.stop()
        self.server.start()
        await self.state.ping()


@pytest.fixture
async def store(tmp_path: Path, fsync: str) -> AsyncIterator[Store]:
    store = Store(tmp_path, fsync)
    store.server.start()
    yield store
    await store.state.aclose()
    store.server.stop()


@ALWAYS
async def test_a_killed_store_keeps_every_acknowledged_commit_and_takes_a_repeat_once(store: Store) -> None:
    jobs = [(await submit(store.state)).job_id for _ in range(5)]
    leader = await lead(store.state)
    killing = asyncio.Event()
    acknowledged = 0

    async def kill_soon() -> None:
        await killing.wait()
        await asyncio.to_thread(store.kill)

    async def write() -> None:
        nonlocal acknowledged
        while True:
            await store.state.commit(leader, acknowledged + 1, commit_of(*map(progressed, jobs)))
            acknowledged += 1
            if acknowledged == 50:
                killing.set()  # from here on the kill comes whenever it comes

    killer = asyncio.create_task(kill_soon())
    with pytest.raises(StateUnavailable):
        await write()
    await killer
    assert acknowledged >= 50
    await store.start_again()

    for job in await store.state.load_jobs(jobs):
        assert job.sequence - 1 in (acknowledged, acknowledged + 1)
    # The commit whose answer was lost: applied or not, after its repeat it is there once.
    await store.state.commit(leader, acknowledged + 1, commit_of(*map(progressed, jobs)))
    await store.state.commit(leader, acknowledged + 2, commit_of(*map(progressed, jobs)))
    for job_id in jobs:
        events = await store.state.read_events(job_id, after=0, limit=100_000)
        assert [event.sequence for event in events] == list(range(1, acknowledged + 4))


@BOTH
async def test_a_commit_of_many_jobs_is_there_whole_or_not_at_all(store: Store) -> None:
    jobs = [(await submit(store.state)).job_id for _ in range(200)]
    leader = await lead(store.state)

    async def write() -> None:
        for number in range(1, 10_000):
            await store.state.commit(leader, number, commit_of(*map(progressed, jobs)))
            if number == 3:
                killer.set()

    killer = asyncio.Event()

    async def kill_between() -> None:
        await killer.wait()
        store.kill()

    killing = asyncio.create_task(kill_between())
    with pytest.raises(StateUnavailable):
        await write()
    await killing
    await store.start_again()
    assert len({job.sequence for job in await store.state.load_jobs(jobs)}) == 1


@ALWAYS
async def test_a_killed_store_keeps_every_acknowledged_submission(store: Store) -> None:
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def submit_for_ever() -> None:
        while True:
            acknowledged.append((await submit(store.state)).job_id)
            if len(acknowledged) == 50:
                enough.set()

    async def kill_then() -> None:
        await enough.wait()
        store.kill()

    killing = asyncio.create_task(kill_then())
    submitting = [asyncio.create_task(submit_for_ever()) for _ in range(4)]
    with pytest.raises(StateUnavailable):
        await asyncio.gather(*submitting)
    # Those that have not noticed yet would go on when the store is back, and be acknowledged after it was asked.
    await cancel_and_wait(*submitting)
    await killing
    await store.start_again()
    kept = [job.record.job_id for job in await store.state.list_jobs(JobFilter(), limit=100_000)]
    assert set(acknowledged) <= set(kept)
    assert set(acknowledged) <= set(await store.state.pending_admissions(limit=100_000))
    assert len({job.record.order async for job in store.state.load_active_jobs()}) == len(kept)


@EVERY_SECOND
async def test_a_killed_store_that_writes_every_second_keeps_a_prefix_of_what_it_acknowledged(store: Store) -> None:
    """While one write to the disk is under way the server holds the next ones back, for up to two seconds."""
    acknowledged: list[str] = []

    async def submit_some(count: int) -> None:
        for _ in range(count):
            acknowledged.append((await submit(store.state)).job_id)

    await submit_some(50)
    await store.written()
    safe = len(acknowledged)
    await submit_some(50)
    store.kill()
    await store.start_again()
    kept = {job.record.job_id for job in await store.state.list_jobs(JobFilter(), limit=100_000)}
    assert kept == set(acknowledged[: len(kept)])
    assert len(kept) >= safe


@ALWAYS
async def test_a_submission_whose_answer_was_lost_is_repeated_without_a_second_job(store: Store) -> None:
    record = make_record(request_id="r", digest="d")
    first = await submit(store.state, record)
    store.kill()
    with pytest.raises(StateUnavailable):
        await submit(store.state, record)  # what a planner does that did not hear the first answer
    await store.start_again()
    assert await submit(store.state, record) == first
    assert await submit(store.state, make_record(request_id="r", digest="d")) == first
    assert len(await store.state.list_jobs(JobFilter())) == 1


@ALWAYS
async def test_a_leader_survives_a_restart_of_the_store(store: Store) -> None:
    record = await submit(store.state)
    leader = await lead(store.state)
    await store.state.commit(leader, 1, commit_of(running(record.job_id)))
    store.kill()
    await store.start_again()
    assert await store.state.leader() == leader
    assert await store.state.renew_leadership(leader, ttl=60.0)
    await store.state.commit(leader, 2, commit_of(finished(record.job_id)))
    job = await store.state.get_job(record.job_id)
    assert job is not None
    assert job.status.state is JobState.SUCCEEDED


@ALWAYS
async def test_watchers_go_on_after_a_restart_of_the_store(store: Store) -> None:
    record = await submit(store.state)
    leader = await lead(store.state)
    seen: list[int] = []

    async def follow() -> None:
        async with aclosing(store.state.watch_changes(record.job_id)) as changes:
            async for _ in changes:
                with suppress(StateUnavailable):
                    seen.extend(e.sequence for e in await store.state.read_events(record.job_id, after=len(seen)))
                if len(seen) == 3:
                    return

    following = asyncio.create_task(follow())
    await store.state.commit(leader, 1, commit_of(running(record.job_id)))
    store.kill()
    await store.start_again()
    await store.state.commit(leader, 2, commit_of(finished(record.job_id)))
    async with asyncio.timeout(10.0):
        await following
    assert seen == [1, 2, 3]


async def _acknowledge(store: Store) -> str:
    """Has the store of the moment as a backup, then commits more; gives the job's id."""
    record = await submit(store.state)
    leader = await lead(store.state)
    await store.state.commit(leader, 1, commit_of(running(record.job_id)))
    shutil.copytree(store.data, store.data.with_name("backup"))
    for number in (2, 3, 4):
        await store.state.commit(leader, number, commit_of(progressed(record.job_id)))
    store.kill()
    store.server.stop()
    shutil.rmtree(store.data)
    return record.job_id


@EVERY_SECOND
async def test_lost_commits_are_noticed_and_work_goes_on_from_what_is_left(store: Store) -> None:
    job_id = await _acknowledge(store)
    shutil.copytree(store.data.with_name("backup"), store.data)
    await store.start_again()
    leader = await store.state.leader()
    assert leader is not None

    with pytest.raises(CommitGap):
        await store.state.commit(leader, 5, commit_of(progressed(job_id)))
    (job,) = [job async for job in store.state.load_active_jobs()]
    assert job.sequence == 2

    again = await lead(store.state, leader.instance)
    assert again.epoch > leader.epoch
    await store.state.commit(again, 1, commit_of(progressed(job_id)))
    with pytest.raises(LeadershipLost):
        await store.state.commit(leader, 5, commit_of(progressed(job_id)))


@EVERY_SECOND
async def test_a_lost_store_is_noticed(store: Store) -> None:
    leader = await lead(store.state)
    job_id = await _acknowledge(store)
    await store.start_again()
    with pytest.raises(CommitGap):
        await store.state.commit(leader, 5, commit_of(progressed(job_id)))
    assert not await store.state.renew_leadership(leader, ttl=60.0)
    again = await lead(store.state)
    assert again.epoch > leader.epoch
    with pytest.raises(CommitGap, match=job_id):
        await store.state.commit(again, 1, commit_of(progressed(job_id)))
