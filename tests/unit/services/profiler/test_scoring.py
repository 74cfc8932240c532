"""Scores of beliefs, against closed forms."""

from __future__ import annotations

import json
import math
from statistics import NormalDist

import numpy as np
import pytest

from services.profiler.core.network import Array
from services.profiler.core.scoring import LEVELS, Calibration, crps, interval, steps, total

NORMAL = NormalDist()


def quantiles(count: int = 4000) -> Array:
    """A sample of the standard normal distribution without chance."""
    return np.array([NORMAL.inv_cdf((place + 0.5) / count) for place in range(count)])


@pytest.mark.parametrize("actual", [-3.0, -0.5, 0.0, 1.0, 2.5])
def test_the_crps_of_a_normal_distribution(actual: float):
    """Gneiting and Raftery 2007, section 4.2."""
    exact = actual * (2 * NORMAL.cdf(actual) - 1) + 2 * NORMAL.pdf(actual) - 1 / math.sqrt(math.pi)
    assert crps(quantiles(), actual) == pytest.approx(exact, abs=2e-3)


def test_the_crps_of_a_point_is_its_error():
    assert crps(np.array([3.0]), 5.0) == 2.0
    assert crps(np.array([3.0, 3.0, 3.0]), 5.0) == 2.0


def test_the_crps_of_few_draws_is_on_average_that_of_many():
    random = np.random.default_rng(1)
    few = [crps(random.normal(size=3), 0.4) for _ in range(4000)]
    assert np.mean(few) == pytest.approx(crps(quantiles(), 0.4), abs=0.02)


def test_steps_and_intervals():
    samples = np.array([0.0, 0.0, 1.0, 2.0])
    assert steps(samples, 0.0) == (0.0, 0.5)
    assert steps(samples, 1.5) == (0.75, 0.75)
    assert interval(np.arange(101.0), 0.8) == pytest.approx((10.0, 90.0))


def test_a_belief_that_is_right_has_the_coverage_that_it_says_and_a_flat_histogram():
    random, found = np.random.default_rng(1), Calibration()
    samples = quantiles(1000)
    for actual in random.normal(size=3000):
        found.add(samples, float(actual))
    for level in LEVELS:
        assert found.coverage[level] == pytest.approx(level, abs=0.03)
    assert np.array(found.pit) == pytest.approx(np.full(10, 300.0), rel=0.25)
    assert found.crps == pytest.approx(1 / math.sqrt(math.pi), rel=0.03)  # of a normal about another
    assert found.error == pytest.approx(math.sqrt(2 / math.pi), rel=0.03)


def test_a_belief_that_is_too_sure_shows():
    random, found = np.random.default_rng(1), Calibration()
    for actual in random.normal(size=500):
        found.add(0.3 * quantiles(200), float(actual))
    assert found.coverage[0.8] < 0.4
    assert found.pit[0] + found.pit[-1] > 0.6 * found.count


def test_an_atom_is_spread_over_the_step_that_it_makes():
    found = Calibration()
    found.add(np.array([0.0, 0.0, 0.0, 5.0]), 0.0)  # from 0 to 0.75
    assert found.pit == pytest.approx([0.1 / 0.75] * 7 + [0.05 / 0.75, 0.0, 0.0])
    found.add(np.array([1.0]), 9.0)
    assert found.pit[-1] == 1.0
    assert sum(found.pit) == pytest.approx(2.0)


def test_the_mean_may_be_better_known_than_by_samples():
    found = Calibration()
    found.add(np.array([0.0, 4.0]), 3.0, mean=3.0)
    assert found.error == 0.0


def test_scores_travel_and_add_up():
    one, other = Calibration(), Calibration()
    one.add(quantiles(50), 0.1)
    other.add(quantiles(50), 4.0)
    again = Calibration.of_plain(json.loads(json.dumps(one.plain())))
    assert again == one
    both = total([again, other])
    assert (both.count, both.inside) == (2, [1, 1, 1])
    assert both.crps == pytest.approx((one.crps + other.crps) / 2)
    assert one.count == 1


def test_nothing_scored_is_no_error():
    nothing = Calibration()
    assert (nothing.error, nothing.crps, nothing.coverage[0.5]) == (0.0, 0.0, 0.0)
