"""How sure a mean is: against tables, formulas and repetition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.compare.bootstrap import expanded_tail, interval, resampled_sums, student_quantile


def with_ones(*columns: list[float]) -> np.ndarray:
    return np.array([*columns, [1.0] * len(columns[0])]).T


def means(groups: list[np.ndarray], resamples: int = 4000, seed: int = 0) -> np.ndarray:
    sums = resampled_sums(groups, resamples, np.random.default_rng(seed))
    return sums[:, 0] / sums[:, -1]


@pytest.mark.parametrize(
    ("freedom", "confidence", "quantile"),
    [(1, 0.95, 12.706), (2, 0.95, 4.303), (3, 0.99, 5.841), (4, 0.95, 2.776), (9, 0.9, 1.833), (30, 0.95, 2.042)],
)
def test_students_quantiles_are_those_of_the_tables(freedom, confidence, quantile):
    assert student_quantile(freedom, confidence) == pytest.approx(quantile, abs=6e-4)


def test_tails_shrink_to_the_plain_ones_with_many_seeds_and_one_seed_has_only_plain_ones():
    assert expanded_tail(5) == pytest.approx(0.00096, abs=2e-5)  # normal tail beyond sqrt(5/4) · 2.776
    assert expanded_tail(1) == pytest.approx(0.025)
    tails = [expanded_tail(seeds) for seeds in (2, 5, 20, 1000)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx(0.025, abs=1e-3)


def test_what_never_varies_is_certain():
    found = means([with_ones([7.0] * 10), with_ones([7.0] * 3)])
    assert interval(found, 2) == (7.0, 7.0)


def test_the_spread_over_jobs_is_that_of_the_formula():
    jobs = [float(number) for number in range(100)]
    found = means([with_ones(jobs)])
    assert found.std() == pytest.approx(np.std(jobs) / math.sqrt(100), rel=0.05)


def test_the_spread_over_seeds_is_that_of_the_formula():
    groups = [with_ones([level] * 50) for level in (1.0, 2.0, 3.0, 6.0)]
    assert means(groups).std() == pytest.approx(np.std([1.0, 2.0, 3.0, 6.0]) / math.sqrt(4), rel=0.05)


def test_seeds_count_by_their_jobs():
    found = means([with_ones([0.0] * 30), with_ones([1.0] * 10)])
    assert set(np.round(found, 6)) == {0.0, 0.25, 1.0}


def test_columns_share_their_draws_so_a_constant_ratio_is_certain():
    times = [1.0, 5.0, 2.0, 40.0]
    sums = resampled_sums([with_ones(times, [2 * each for each in times])] * 3, 500, np.random.default_rng(1))
    assert interval(sums[:, 1] / sums[:, 0], 3) == pytest.approx((2.0, 2.0))


def test_equal_generators_give_equal_resamples():
    groups = [with_ones([1.0, 2.0, 9.0]), with_ones([4.0, 4.5, 5.0])]
    assert np.array_equal(means(groups, seed=3), means(groups, seed=3))
    assert not np.array_equal(means(groups, seed=3), means(groups, seed=4))


def test_empty_resamples_are_left_out_of_an_interval():
    assert interval(np.array([1.0, np.nan, 1.0, np.inf]), 1) == (1.0, 1.0)
    assert all(math.isnan(end) for end in interval(np.array([np.nan]), 1))


def test_intervals_of_five_seeds_hold_about_as_often_as_they_say():
    random = np.random.default_rng(5)
    held = plain = 0
    for repetition in range(300):
        groups = [with_ones(list(random.normal(level, 5.0, size=20))) for level in random.normal(100.0, 15.0, size=5)]
        found = means(groups, 600, repetition)
        low, high = interval(found, 5)
        held += low <= 100.0 <= high
        low, high = np.quantile(found, [0.025, 0.975])
        plain += low <= 100.0 <= high
    assert 0.91 <= held / 300 <= 0.98
    assert plain / 300 < 0.9
