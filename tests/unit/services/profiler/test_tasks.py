"""What some tasks of a stage say of all of them: closed forms, and what ignoring the running ones would do."""

from __future__ import annotations

from math import exp, gamma, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profiler.core.tasks import LEAST_SHAPE, MOST_SHAPE, WORTH, likelihood, shape

MEANS = np.geomspace(1.0, 1000.0, 241)


def believed(ended: list[float], running: list[float], spread: float = 1.0) -> float:
    """The mean of all tasks, from candidates that are equally likely on a logarithmic scale."""
    found = likelihood(MEANS, ended, running, spread)
    return float(found @ MEANS / found.sum())


def drawn(spread: float, mean: float, count: int, seed: int) -> np.ndarray:
    power = shape(spread)
    return mean / gamma(1.0 + 1.0 / power) * np.random.default_rng(seed).weibull(power, count)


def test_the_shape_gives_the_spread_back():
    assert shape(1.0) == 1.0  # exponential
    for spread in (0.1, 0.3, 0.5, 0.8, 1.0):
        power = shape(spread)
        variance = gamma(1.0 + 2.0 / power) / gamma(1.0 + 1.0 / power) ** 2 - 1.0
        assert variance**0.5 == pytest.approx(spread, rel=0.03)
    assert (shape(50.0), shape(0.0)) == (LEAST_SHAPE, MOST_SHAPE)


def test_of_an_exponential_it_is_the_rate_likelihood_with_all_time_under_observation():
    """rate^ended x exp(-rate x time), to the power that tasks which are no independent draws are worth."""
    found = likelihood(np.array([2.0, 5.0]), [1.0, 4.0], [6.0], 1.0)
    expected = (log(1 / 2.0) * 2 - 11.0 / 2.0) - (log(1 / 5.0) * 2 - 11.0 / 5.0)
    assert found[0] / found[1] == pytest.approx(exp(WORTH * expected))
    assert found.max() == 1.0


def test_the_most_likely_mean_is_that_of_the_tasks_if_all_have_ended():
    assert MEANS[likelihood(MEANS, [20.0, 40.0, 60.0], [], 1.0).argmax()] == pytest.approx(40.0, rel=0.03)


def test_a_mean_of_nothing_is_no_error():
    found = likelihood(np.array([0.0, 1.0]), [1.0], [], 0.5)
    assert found.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("spread", [0.3, 0.6, 1.0])
def test_it_recovers_the_mean_when_half_of_the_tasks_still_run(spread: float):
    """The first to end are the short ones: whoever ignores those that run takes all for short."""
    true_mean = 50.0
    with_all, without = [], []
    for seed in range(60):
        units = drawn(spread, true_mean, 40, seed)
        now = float(np.quantile(units, 0.5))
        ended = [one for one in units.tolist() if one <= now]
        running = [now] * (len(units) - len(ended))
        with_all.append(believed(ended, running, spread))
        without.append(believed(ended, [], spread))
    assert np.mean(with_all) == pytest.approx(true_mean, rel=0.1)
    assert np.mean(without) < (0.6 if spread == 1.0 else 0.9) * true_mean
    assert np.mean(without) < np.mean(with_all) - 0.1 * true_mean


UNITS = st.lists(st.floats(1.0, 500.0), min_size=1, max_size=5)


@given(UNITS, UNITS, st.floats(0.05, 2.0), st.floats(1.0, 300.0))
def test_more_evidence_of_length_makes_longer(ended: list[float], running: list[float], spread: float, more: float):
    before = believed(ended, running, spread)
    assert believed(ended, [running[0] + more, *running[1:]], spread) >= before - 1e-9
    assert believed(ended, [*running, more], spread) >= before - 1e-9
    assert believed([ended[0] + more, *ended[1:]], running, spread) >= before - 1e-9


@given(UNITS, UNITS)
def test_a_task_that_runs_is_longer_than_one_that_has_ended_there(ended: list[float], running: list[float]):
    assert believed(ended, [*running, 30.0]) >= believed([*ended, 30.0], running) - 1e-9
