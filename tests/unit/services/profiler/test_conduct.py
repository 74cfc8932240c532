"""What the live profiler keeps of each application: alarms, what to learn from after them, and what beliefs became."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from benchmarks.drift import longer
from services.profiler.core.belief import Beliefs
from services.profiler.core.conduct import MOMENTS, NEWEST, Conduct, Outcome, outcome
from services.profiler.core.drift import Expected, Scores, score
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import completed
from tests.unit.services.profiler.test_drift import BELIEFS, EXPECTED, believed, code
from tests.unit.services.profiler.test_profile import history, llm

WATCHED = Conduct().renewed(EXPECTED, 0)


def after(conduct: Conduct, jobs: Iterable[TraceJob], at: float = 7.0) -> Conduct:
    for job in jobs:
        conduct = conduct.finished(score(believed(BELIEFS, job)), None, at)
    return conduct


def changed(jobs: int = 20) -> Conduct:
    """With so many jobs of twice the length."""
    return after(WATCHED, (longer(2.0, job) for job in code(jobs, seed=1)))


def test_jobs_as_before_raise_no_alarm():
    conduct = after(WATCHED, code(60, seed=1))
    assert (conduct.alarms, conduct.alarmed_at, conduct.to_widen, conduct.watched) == (0, None, False, True)
    assert conduct.height < 1.0
    assert conduct.due(200, 100, 200)
    assert not conduct.due(199, 100, 199)


def test_an_alarm_is_noted_once_and_asks_for_a_wide_profile_once():
    conduct = changed()
    assert (conduct.alarms, conduct.alarmed_at, conduct.to_widen) == (1, 7.0, True)
    later = after(conduct.answered(), code(5), at=9.0)
    assert (later.alarms, later.alarmed_at, later.to_widen) == (1, 7.0, False)
    assert later.monitor.changed == (conduct.monitor.changed or 0) + 5


def test_without_scores_to_expect_there_is_no_alarm():
    conduct = after(Conduct(), (longer(2.0, job) for job in code(40)))
    assert (conduct.watched, conduct.alarms) == (False, 0)


def test_after_an_alarm_only_jobs_since_the_change_are_learned_from():
    conduct = changed(10)
    since = conduct.monitor.changed
    assert since is not None
    added = 110
    assert conduct.since(added) == added - since
    jobs = list(range(added))
    few = conduct.to_learn_from(jobs, added)
    assert few[-since:] == jobs[-since:]
    assert conduct.due(added, 100, added) is (since >= 10)
    nine = replace(conduct, monitor=replace(conduct.monitor, changed=9))
    assert not nine.due(added, 100, added)
    assert nine.next_in(added, 100, added) == 10
    more = after(conduct, code(15))
    assert more.due(added + 15, 100, added + 15)
    assert more.next_in(added + 15, 100, added + 15) == 10
    renewed = more.renewed(Expected(), more.since(added + 15))
    assert (renewed.begin, renewed.monitor.alarm, renewed.alarms) == (added - since, False, 1)
    assert renewed.to_learn_from(list(range(15, added + 30)), added + 30) == list(range(added - since, added + 30))
    assert not renewed.due(added + 20, added + 15, added + 20)
    assert renewed.next_in(added + 20, added + 15, added + 20) == since + 15


def test_while_it_is_suspicious_nothing_is_learned_by_itself():
    conduct, more = WATCHED, iter(longer(2.0, job) for job in code(20, seed=1))
    while not conduct.monitor.suspicious:
        conduct = after(conduct, [next(more)])
    assert not conduct.monitor.alarm
    assert not conduct.due(1000, 100, 1000)
    kept = conduct.renewed(EXPECTED, 0)  # as by a request: what speaks for a change is kept
    assert kept.height == conduct.height


def test_what_was_learned_from_stays_in_a_bounded_history():
    conduct = replace(Conduct(), begin=90)
    assert conduct.to_learn_from(["a", "b", "c"], 92) == ["b", "c"]
    assert conduct.to_learn_from(["a", "b", "c"], 500) == ["a", "b", "c"]


def test_beliefs_along_the_course_of_a_job_are_scored():
    job = code(1, seed=3)[0]
    found = outcome(BELIEFS, job)
    assert found is not None
    assert found.beliefs == min(MOMENTS, len(job.stages))
    assert all(0 <= inside <= found.beliefs for inside in found.inside)
    assert found.crps > 0.0
    assert found.crps <= found.error * 2.0 + 1e-6


def test_good_beliefs_cover_what_they_promise():
    conduct = WATCHED
    for job in code(NEWEST + 5, seed=5):
        conduct = conduct.finished(score(believed(BELIEFS, job)), outcome(BELIEFS, job), 0.0)
    assert len(conduct.outcomes) == NEWEST
    half, most, nearly_all = (inside / conduct.outcome.beliefs for inside in conduct.outcome.inside)
    assert half == pytest.approx(0.5, abs=0.15)
    assert most == pytest.approx(0.8, abs=0.15)
    assert nearly_all == pytest.approx(0.95, abs=0.1)


def test_of_an_unknown_application_there_are_no_beliefs_to_score():
    (other,) = history([llm("x")])
    assert outcome(BELIEFS, other) is None
    assert Beliefs().of(completed(other)) is None


def test_outcomes_add_up():
    one, other = Outcome(1, 0.5, 0.25, (0, 1, 1)), Outcome(2, 1.0, 0.5, (1, 1, 2))
    assert one.plus(other) == Outcome(3, 1.5, 0.75, (1, 2, 3))
    assert Conduct().outcome.beliefs == 0


def test_it_comes_back_from_json():
    conduct = changed().answered().finished(Scores(0.0, 1.0), Outcome(1, 0.5, 0.25, (0, 1, 1)), 8.0)
    assert Conduct.of_plain(json.loads(json.dumps(conduct.plain())), EXPECTED) == conduct
