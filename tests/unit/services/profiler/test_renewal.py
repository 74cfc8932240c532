"""When a profile is learned anew: as jobs end, and after a change."""

from __future__ import annotations

import pytest

from benchmarks.drift import longer
from services.profiler.core.profile import learn
from services.profiler.core.renewal import Renewal
from tests.unit.services.profiler.test_drift import code
from tests.unit.services.profiler.test_profile import history, llm


def test_profiles_come_when_they_are_due():
    renewal = Renewal()
    found = {number: renewal.ended(job, number) for number, job in enumerate(code(85), start=1)}
    assert [number for number, profile in found.items() if profile is not None] == [10, 20, 40, 80]
    assert [(profile.version, profile.jobs) for profile in found.values() if profile] == [
        (1, 10),
        (2, 20),
        (3, 40),
        (4, 80),
    ]


def test_after_a_change_beliefs_are_wide_and_then_learned_from_new_jobs():
    renewal = Renewal()
    first = renewal.start(code(60))
    found = []
    for number, job in enumerate(code(60, seed=1), start=1):
        profile = renewal.ended(longer(2.0, job), at=number)
        if profile is not None:
            found.append((number, profile))
    (at_alarm, wide), (renewed, new), *_ = found
    assert at_alarm < renewed <= 14
    assert wide.network.parents == first.network.parents
    assert wide.levels["draft"].between > first.levels["draft"].between
    assert new.levels["draft"].units == pytest.approx(2 * first.levels["draft"].units, rel=0.2)
    assert [profile.version for _, profile in found] == list(range(2, 2 + len(found)))
    assert not renewal.conduct.monitor.alarm


def test_a_late_alarm_is_followed_by_a_profile_at_once():
    """Twice as many rounds are noticed after more than ten jobs: these are enough to learn from."""
    renewal = Renewal()
    renewal.start(code(100))
    profiles = [renewal.ended(job, at=0.0) for job in code(60, seed=1, mean_rounds=5.4)]
    places = [place for place, profile in enumerate(profiles) if profile is not None]
    new = profiles[places[0]]
    assert new is not None
    assert places[0] > 10
    assert 10 <= new.jobs <= places[0] + 1  # not 125, when it would have been due


def test_how_to_learn_is_up_to_the_caller():
    calls = []

    def counted(jobs):
        calls.append(len(jobs))
        return learn(jobs)

    Renewal(counted).start(code(20))
    assert calls[0] == 20


def test_a_job_of_another_application_is_refused():
    renewal = Renewal()
    renewal.start(code(20))
    (other,) = history([llm("x")])
    with pytest.raises(ValueError, match="another application"):
        renewal.ended(other, at=0.0)
