"""What only the MemoryState can show, because its clock can be set. The rest is in tests/contract."""

from __future__ import annotations

from services.state.memory import MemoryState
from services.state.settings import Limits
from tests.support.state import commit_of, finished, lead, make_record, running, submit


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_epochs_are_at_least_milliseconds_since_the_epoch() -> None:
    clock = Clock()
    state = MemoryState(clock=clock)
    first = await lead(state)
    assert first.epoch == 1_000_000_000
    assert (await lead(state)).epoch == first.epoch + 1
    clock.now += 60.0
    assert (await lead(state)).epoch == 1_000_060_000


async def test_a_lead_ends_with_its_ttl_and_not_before() -> None:
    clock = Clock()
    state = MemoryState(clock=clock)
    leader = await lead(state, ttl=10.0)
    clock.now += 9.9
    assert await state.leader() == leader
    clock.now += 0.1
    assert await state.leader() is None


async def test_a_job_is_kept_for_the_retention_time_after_its_end() -> None:
    clock = Clock()
    state = MemoryState(clock=clock, limits=Limits(retention_seconds=60.0))
    first, second = await submit(state, make_record(request_id="r")), await submit(state)
    leader = await lead(state)
    await state.commit(leader, 1, commit_of(finished(first.job_id), running(second.job_id)))
    clock.now += 50.0
    await state.commit(leader, 2, commit_of(finished(second.job_id)))
    clock.now += 9.9
    assert await state.get_job(first.job_id) is not None
    clock.now += 0.1
    assert await state.get_job(first.job_id) is None
    assert await state.get_job(second.job_id) is not None
    clock.now += 50.0
    assert await state.get_job(second.job_id) is None


async def test_what_was_read_does_not_change_later() -> None:
    state = MemoryState()
    record = await submit(state)
    before = await state.get_job(record.job_id)
    await state.commit(await lead(state), 1, commit_of(running(record.job_id, stages={})))
    assert before is not None
    assert before.sequence == 1
    before.stages.clear()
    after = await state.get_job(record.job_id)
    assert after is not None
    assert after.stages
