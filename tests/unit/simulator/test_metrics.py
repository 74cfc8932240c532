"""The figures of a run."""

from __future__ import annotations

import pytest

from services.scheduler.core.model import JobState
from simulator.metrics import JctSummary, JobLog, quantile, summarise

NONE = JctSummary(jobs=0, mean_jct=0.0, p50_jct=0.0, p95_jct=0.0, p99_jct=0.0, max_jct=0.0)


@pytest.mark.parametrize(
    ("q", "count", "index"), [(0.5, 1, 0), (0.5, 2, 0), (0.5, 3, 1), (0.95, 20, 18), (0.95, 21, 19), (0.99, 101, 99)]
)
def test_a_quantile_is_the_element_at_the_floor(q, count, index):
    assert quantile(range(count), q) == index


def test_a_summary_does_not_mind_the_order():
    found = summarise([3.0, 1.0, 2.0, 10.0])
    assert found == JctSummary(jobs=4, mean_jct=4.0, p50_jct=2.0, p95_jct=3.0, p99_jct=3.0, max_jct=10.0)
    assert found == summarise([10.0, 2.0, 1.0, 3.0])


def test_no_jobs_have_a_summary_of_zeros():
    assert summarise([]) == NONE


def test_the_log_tells_applications_apart_and_counts_failures():
    log = JobLog()
    log.ended("b", 1, arrival=1.0, at=4.0, state=JobState.SUCCEEDED)
    log.ended("a", 0, arrival=0.5, at=5.0, state=JobState.SUCCEEDED)
    log.ended("b", 3, arrival=2.0, at=9.0, state=JobState.FAILED)
    log.ended("b", 2, arrival=2.0, at=6.0, state=JobState.SUCCEEDED)
    assert (log.failed, log.makespan) == (1, 9.0)
    assert log.by_order() == [(0, "a", 4.5), (1, "b", 3.0), (2, "b", 4.0)]
    assert list(log.per_application()) == ["a", "b"]
    assert log.per_application()["b"] == summarise([3.0, 4.0])
    assert log.overall() == summarise([3.0, 4.0, 4.5])


def test_an_empty_log():
    log = JobLog()
    assert (log.overall(), log.per_application(), log.by_order(), log.makespan) == (NONE, {}, [], 0.0)
