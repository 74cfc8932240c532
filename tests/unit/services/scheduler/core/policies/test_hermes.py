"""Hermes' rank: the numbers of its own formula, worked out by hand, and the case where the formula is wrong."""

from __future__ import annotations

from math import log

import pytest

from services.scheduler.core.policies.hermes import Totals
from tests.support.scheduling import learned
from tests.unit.services.scheduler.core.policies.candidates import history, ranked, ready


def test_the_rank_is_the_best_ratio_of_mean_and_share_over_ten_buckets():
    # Buckets of 1: up to 1 there is the 1 (mean 1, share 1/4: 4); up to 2 also the 2 (1.5 / 0.5 = 3); up to 4 also
    # the 4 (7/3 / 0.75 = 28/9); up to 10 all (17/4 / 1). The best is 3.
    assert Totals([1.0, 2.0, 4.0, 10.0]).rank(0.0) == pytest.approx(3.0)


def test_what_was_received_is_taken_off_those_that_needed_more():
    # Left are 4 - 2 and 10 - 2. Buckets of 0.8: up to 2.4 there is the 2 (2 / 0.5 = 4); up to 8 both (5 / 1).
    totals = Totals([1.0, 2.0, 4.0, 10.0])
    assert totals.rank(2.0) == pytest.approx(4.0)
    assert totals.rank(9.0) == pytest.approx(1.0)


def test_a_job_that_has_outlived_all_others_goes_first():
    assert Totals([1.0, 2.0]).rank(2.0) == 0.0


def test_sure_jobs_rank_by_what_is_left():
    assert Totals([0.8]).rank(0.0) == pytest.approx(0.8)
    assert Totals([3.0, 3.0]).rank(1.0) == pytest.approx(2.0)


def test_it_agrees_with_the_formula_written_out():
    totals = [round(0.1 * number**2, 3) for number in range(1, 60)]
    for attained in (0.0, 0.05, 7.0, 100.0, 348.0):
        left = [total - attained for total in totals if total > attained]
        buckets = [[one for one in left if one <= number * max(left) / 10 + 1e-12] for number in range(1, 11)]
        ratios = [sum(bucket) / len(bucket) / (len(bucket) / len(left)) for bucket in buckets if bucket]
        assert Totals(totals).rank(attained) == pytest.approx(min(ratios))


def test_an_exponential_of_mean_1_04_goes_before_a_sure_0_8():
    # The Gittins index of an exponential is its mean, so 0.8 should go first. Leaving out the time spent on jobs that
    # do not end by D, the formula makes it look shorter. This is how the original ranks; it is not a mistake of ours.
    exponential = [-1.04 * log(1 - (number + 0.5) / 1000) for number in range(1000)]
    assert sum(exponential) / 1000 == pytest.approx(1.04, abs=0.002)
    assert Totals(exponential).rank(0.0) < 0.75
    knowledge = history(learned(1.0), uncertain=learned(*exponential), sure=learned(0.8))
    candidates = [ready("sure", application="sure"), ready("uncertain", application="uncertain", arrival=1.0)]
    assert ranked(candidates, knowledge, name="hermes") == ["uncertain", "sure"]


def test_applications_that_the_history_does_not_know_rank_as_all_jobs_do():
    knowledge = history(learned(5.0), short=learned(1.0), long=learned(9.0))
    candidates = [ready(name, application=name) for name in ("unheard-of", "long", "short")]
    assert ranked(candidates, knowledge, name="hermes") == ["short", "unheard-of", "long"]
    # Received service is work that is done: tokens at their cost alone, and tool seconds.
    candidates = [ready("new", application="long"), ready("done", application="long", attained_tool_seconds=8.0)]
    assert ranked(candidates, knowledge, name="hermes") == ["done", "new"]
