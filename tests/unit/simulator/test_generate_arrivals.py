from itertools import islice, pairwise
from math import sqrt
from random import Random

import pytest

from simulator.generate import Arrivals, RecipeError


def times(arrivals, count=20_000, rate=2.0, seed=1):
    return list(islice(arrivals.times(rate, Random(seed)), count))


@pytest.mark.parametrize(("text", "cv"), [("poisson", 1.0), ("bursty", 3.0), ("bursty:1.5", 1.5), ("bursty:0.3", 0.3)])
def test_gaps_have_the_mean_and_the_variation_asked_for(text, cv):
    arrivals = Arrivals.parse(text)
    assert arrivals.cv == cv
    gaps = [later - earlier for earlier, later in pairwise([0.0, *times(arrivals)])]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.5, rel=0.06)
    assert sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) / mean == pytest.approx(cv, rel=0.06)


def test_poisson_gaps_are_exponential():
    gaps = sorted(later - earlier for earlier, later in pairwise([0.0, *times(Arrivals())]))
    assert gaps[len(gaps) // 2] == pytest.approx(0.5 * 0.6931, rel=0.03)


def test_times_ascend():
    found = times(Arrivals(cv=8.0), 2000)
    assert found == sorted(found)


def test_another_rate_scales_the_times():
    slow, fast = times(Arrivals(), 50, rate=0.5), times(Arrivals(), 50, rate=2.0)
    assert slow == pytest.approx([4 * time for time in fast], abs=1e-5)


@pytest.mark.parametrize("arrivals", [Arrivals(), Arrivals(cv=2.5)])
def test_what_is_printed_can_be_read(arrivals):
    assert Arrivals.parse(str(arrivals)) == arrivals


@pytest.mark.parametrize(
    "text", ["", "bursty:", "bursty:x", "bursty:0", "bursty:-1", "bursty:nan", "uniform", "poisson:2"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(RecipeError, match="arrivals"):
        Arrivals.parse(text)
