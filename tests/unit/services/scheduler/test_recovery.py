from __future__ import annotations

from services.scheduler.core import PolicySettings
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.recovery import choose_policy
from services.state.memory import MemoryState
from services.state.records import Commit
from tests.support import scheduling as make
from tests.support import state as stored

DEFAULT = PolicySettings(name="fcfs")
NOTHING = Knowledge()


async def test_a_cluster_where_nobody_has_chosen_a_policy_has_the_default() -> None:
    assert await choose_policy(MemoryState(), DEFAULT, NOTHING) == DEFAULT


async def test_the_policy_that_was_set_wins_over_the_default() -> None:
    state = MemoryState()
    chosen = PolicySettings(name="fair", ageing_seconds=5.0)
    await state.commit(await stored.lead(state), 1, Commit(policy=chosen))
    assert await choose_policy(state, DEFAULT, NOTHING) == chosen


async def test_a_policy_of_another_version_does_not_keep_the_cluster_from_starting() -> None:
    state = MemoryState()
    await state.commit(await stored.lead(state), 1, Commit(policy=PolicySettings(name="from-the-future")))
    assert await choose_policy(state, DEFAULT, NOTHING) == DEFAULT


async def test_a_policy_that_needs_a_history_is_left_aside_by_a_leader_without_one() -> None:
    state = MemoryState()
    await state.commit(await stored.lead(state), 1, Commit(policy=PolicySettings(name="srtf")))
    assert await choose_policy(state, DEFAULT, NOTHING) == DEFAULT
    assert (await choose_policy(state, DEFAULT, make.KNOWLEDGE)).name == "srtf"
