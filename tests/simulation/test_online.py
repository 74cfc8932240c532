"""Learning during a run: an application changes in the middle of it, or nobody knows anything at the beginning."""

from __future__ import annotations

import pytest

from benchmarks.online import CHANGES, World, jcts, mean, world
from services.scheduler.core import PolicySettings
from simulator.online import OnlineProfiler

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JOBS = 300

#: Its mean alone: that is what changes with profiles, and it takes half the time.
POLICY = PolicySettings(name="gittins", without=("index",))


@pytest.fixture(scope="module")
def changing() -> World:
    return world(0, jobs=JOBS, factor=6.0, load=1.0)


def test_a_change_is_noticed_and_completion_times_recover(changing: World):
    profiler = changing.profiler("online")
    online = jcts(changing, POLICY, profiler)
    never = jcts(changing, POLICY, changing.profiler("never"))
    told = jcts(changing, POLICY, changing.profiler("told"))

    renewed = [one.profile for one in profiler.renewed if one.profile.application == CHANGES]
    alarm = next(one for one in profiler.renewed if one.profile.application == CHANGES and one.alarms)
    changed = [job for job in changing.jobs[changing.change :] if job.app == CHANGES]
    assert alarm.at > (changed[0].arrival_seconds or 0.0)
    arrived = [job for job in changed if (job.arrival_seconds or 0.0) <= alarm.at]
    assert len(arrived) <= 50
    before = changing.profiler("never").profiles[CHANGES]
    assert renewed[-1].levels["draft"].units > 4 * before.levels["draft"].units

    later = slice(changing.change, None)
    assert mean(online[later]) < 1.1 * mean(told[later])
    assert mean(online[later]) < mean(never[later])


def test_profiles_from_nothing_soon_beat_the_order_of_arrival():
    steady = world(1, jobs=240, factor=1.0, load=1.0)
    profiler = OnlineProfiler()
    assert profiler.profiles == {}
    learned, fcfs = jcts(steady, PolicySettings(name="gittins"), profiler), jcts(steady, PolicySettings(), None)
    third = len(learned) // 3
    assert mean(learned[-third:]) < mean(fcfs[-third:])
    assert set(profiler.profiles) == {job.app for job in steady.jobs}
    first: dict[str, int] = {}
    for one in profiler.renewed:
        first.setdefault(one.profile.application, one.profile.jobs)
    assert set(first.values()) == {10}


def test_a_run_that_learns_is_the_same_twice(changing: World):
    short = World(jobs=changing.jobs[:60], change=30, history=changing.history, right=changing.right)
    first, again = (jcts(short, POLICY, short.profiler("online")) for _ in range(2))
    assert first == again
