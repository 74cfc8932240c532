"""Bins, against groupings that can be seen with the eye."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profiler.core.discretise import MAX_BINS, Bins, bins


def held(found: Bins) -> list[list[float]]:
    return [values.tolist() for values in found.values]


def test_few_different_values_have_a_bin_each():
    found = bins([3.0, 1.0, 3.0, 2.0])
    assert held(found) == [[1.0], [2.0], [3.0, 3.0]]
    assert found.edges.tolist() == [1.5, 2.5]


def test_many_values_are_grouped_where_the_gaps_are():
    low, middle, high = [1.0, 1.1, 1.2, 1.3], [5.0, 5.1, 5.2, 5.3], [90.0, 91.0, 92.0, 99.0]
    found = bins([*middle, *high, *low], most=3)
    assert held(found) == [low, middle, high]
    assert found.means == pytest.approx([1.15, 5.15, 93.0])
    assert found.medians == pytest.approx([1.15, 5.15, 91.5])


def test_a_tail_gets_bins_of_its_own():
    """Bins of equal size would put both tails into one."""
    found = bins([*np.linspace(0, 1, 40), *[50.0] * 4, *[100.0] * 4], most=4)
    assert [found.place(value) for value in (60.0, 90.0)] == [2, 3]


def test_there_are_fewer_bins_than_allowed_if_they_would_hold_too_little():
    assert bins([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], most=6).count == 2


def test_values_beyond_the_history_belong_to_the_outermost_bins():
    found = bins([1.0, 2.0, 3.0])
    assert [found.place(value) for value in (-5.0, 1.0, 1.5, 2.6, 9.0)] == [0, 0, 1, 2, 2]
    assert found.exactly(9.0).tolist() == [0.0, 0.0, 1.0]


def test_a_lower_bound_leaves_the_share_of_each_bin_that_is_over_it():
    found = Bins(np.array([3.0]), (np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0, 6.0])))
    assert found.at_least(0.0).tolist() == [1.0, 1.0]
    assert found.at_least(2.0).tolist() == [0.5, 1.0]
    assert found.at_least(5.0).tolist() == [0.0, 0.5]
    assert found.at_least(7.0).tolist() == [0.0, 1.0]  # longer than ever: no bin is possible, and one must be


def test_no_values_make_one_bin_of_0():
    assert held(bins([])) == [[0.0]]


@given(st.lists(st.integers(0, 50).map(float) | st.floats(0, 1e6), min_size=1, max_size=60), st.integers(2, MAX_BINS))
def test_bins_hold_every_value_once_and_know_where(values: list[float], most: int):
    found = bins(values, most)
    assert 1 <= found.count <= most
    assert sorted(values) == [value for one in held(found) for value in one]
    assert all(found.place(value) == place for place, one in enumerate(held(found)) for value in one)
    again = Bins.of_plain(json.loads(json.dumps(found.plain())))
    assert held(again) == held(found)
    assert again.edges.tolist() == found.edges.tolist()
