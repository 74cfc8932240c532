"""The state behind a Sentinel group: when the primary dies or is replaced, commits, reads and watches go on.

Replication is asynchronous, so what was acknowledged within an instant of the failover may be lost; that is noticed. In
all other tests the replica has everything when the primary goes.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from services.scheduler.core.model import JobState
from services.state.factory import open_state
from services.state.port import CommitGap, State, StateUnavailable
from tests.support.redis import SentinelGroup, wait_until
from tests.support.state import commit_of, finished, lead, progressed, running, submit

pytestmark = pytest.mark.timeout(90)
FailOver = Callable[[SentinelGroup], None]


def killed(group: SentinelGroup) -> None:
    assert group.primary.pid is not None
    os.kill(group.primary.pid, signal.SIGKILL)


def replaced(group: SentinelGroup) -> None:
    group.fail_over()


both_ways = pytest.mark.parametrize("away", [killed, replaced])


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    with SentinelGroup(tmp_path) as group:
        yield group


@pytest.fixture
async def state(group: SentinelGroup) -> AsyncIterator[State]:
    state = open_state(group.url)
    yield state
    await state.aclose()


async def persistently(call: Callable[[], Awaitable[object]]) -> None:
    """Repeats a call until a store answers, as services do."""
    async with asyncio.timeout(30):
        while True:
            with suppress(StateUnavailable):
                await call()
                return
            await asyncio.sleep(0.05)


async def the_replica_is_primary(group: SentinelGroup) -> None:
    await asyncio.to_thread(wait_until, lambda: group.replication(1)["role"] == "master")


@both_ways
async def test_commits_go_on_at_the_new_primary(group: SentinelGroup, state: State, away: FailOver) -> None:
    record = await submit(state)
    leader = await lead(state)
    await state.commit(leader, 1, commit_of(running(record.job_id)))
    await asyncio.to_thread(group.replicated)
    await asyncio.to_thread(away, group)
    await the_replica_is_primary(group)

    await persistently(lambda: state.renew_leadership(leader, ttl=60.0))
    assert await state.leader() == leader, "who led goes on leading"
    await state.commit(leader, 2, commit_of(finished(record.job_id)))
    job = await state.get_job(record.job_id)
    assert job is not None
    assert job.status.state is JobState.SUCCEEDED
    later = await submit(state)
    assert {each.record.job_id async for each in state.load_active_jobs()} == {later.job_id}


@pytest.mark.full
@pytest.mark.slow
@both_ways
async def test_watches_go_on_without_a_gap(group: SentinelGroup, state: State, away: FailOver) -> None:
    record = await submit(state)
    leader = await lead(state)
    seen: list[int] = []

    async def follow() -> None:
        async with aclosing(state.watch_changes(record.job_id)) as changes:
            async for _ in changes:
                with suppress(StateUnavailable):
                    seen.extend(e.sequence for e in await state.read_events(record.job_id, after=len(seen)))
                if len(seen) == 4:
                    return

    following = asyncio.create_task(follow())
    await state.commit(leader, 1, commit_of(running(record.job_id)))
    await asyncio.to_thread(group.replicated)
    await asyncio.to_thread(away, group)
    await the_replica_is_primary(group)
    # Repeated until it is answered: the number of a commit makes a repeat harmless.
    await persistently(lambda: state.commit(leader, 2, commit_of(progressed(record.job_id))))
    await state.commit(leader, 3, commit_of(finished(record.job_id)))
    async with asyncio.timeout(30):
        await following
    assert seen == [1, 2, 3, 4]


@pytest.mark.full
@pytest.mark.slow
async def test_commits_that_the_replica_never_had_are_noticed(group: SentinelGroup, state: State) -> None:
    record = await submit(state)
    leader = await lead(state)
    await state.commit(leader, 1, commit_of(running(record.job_id)))
    await asyncio.to_thread(group.replicated)
    await asyncio.to_thread(group.cut_off)
    await state.commit(leader, 2, commit_of(progressed(record.job_id)))
    await asyncio.to_thread(killed, group)
    await the_replica_is_primary(group)

    await persistently(state.ping)
    with pytest.raises(CommitGap):
        await state.commit(leader, 3, commit_of(finished(record.job_id)))
    again = await lead(state, leader.instance)
    assert again.epoch > leader.epoch
    await state.commit(again, 1, commit_of(finished(record.job_id)))


@pytest.mark.full
@pytest.mark.slow
async def test_a_client_that_comes_later_finds_the_new_primary(group: SentinelGroup, state: State) -> None:
    record = await submit(state)
    await asyncio.to_thread(group.replicated)
    await asyncio.to_thread(killed, group)
    await the_replica_is_primary(group)
    late = open_state(group.url)
    try:
        await persistently(late.ping)
        assert await late.get_job(record.job_id) is not None
    finally:
        await late.aclose()
