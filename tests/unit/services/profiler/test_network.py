"""Factors and networks as arrays."""

from __future__ import annotations

import numpy as np
import pytest

from services.profiler.core.network import Factor, Network
from tests.unit.services.profiler.networks import network

HALF = [0.5, 0.5]
#: 0 -> 1 -> 3, 2 -> 3, 4 alone; 1 has three states.
DIAGRAM = network(
    ([], HALF), ([0], [[0.2, 0.3, 0.5]] * 2), ([], HALF), ([1, 2], [[HALF] * 2] * 3), ([], [1.0])
)  # fmt: skip


def test_a_factor_over_more_variables_in_another_order():
    factor = Factor((3, 1), np.arange(6.0).reshape(2, 3))
    assert factor.over((0, 1, 2, 3)).shape == (1, 3, 1, 2)
    assert factor.over((1, 3)).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_slice_of_a_factor_loses_the_variables_whose_states_are_known():
    factor = Factor((3, 1), np.arange(6.0).reshape(2, 3))
    assert (factor.at({3: 1, 7: 0}).scope, factor.at({3: 1, 7: 0}).table.tolist()) == ((1,), [3, 4, 5])
    assert (factor.at({3: 1, 1: 2}).scope, factor.at({3: 1, 1: 2}).table.item()) == ((), 5)
    assert factor.at({0: 1}) is factor


def test_factors_are_the_conditional_tables():
    assert [factor.scope for factor in DIAGRAM.factors()] == [(0,), (0, 1), (2,), (1, 2, 3), (4,)]
    assert DIAGRAM.cards == (2, 3, 2, 2, 1)


def test_descendants_are_what_a_directed_path_leads_to():
    assert [sorted(DIAGRAM.descendants(one)) for one in range(5)] == [[1, 3], [3], [3], [], []]


def test_ancestral_sets_hold_the_variables_themselves():
    assert DIAGRAM.ancestral([1]) == [0, 1]
    assert DIAGRAM.ancestral([2]) == [2]
    assert DIAGRAM.ancestral([3, 4]) == [0, 1, 2, 3, 4]
    assert DIAGRAM.ancestral([]) == []


@pytest.mark.parametrize(
    ("parents", "table", "problem"),
    [
        ([], 1.0, "a variable must have states"),
        ([], [], "a variable must have states"),
        ([1], [HALF, HALF], "parents must come before their children"),
        ([0, 0], [[HALF] * 2] * 2, "a parent must not be named twice"),
        ([0], [HALF] * 3, "the table's axes are not its parents' states"),
        ([], [0.5, 0.6], "each row of the table must be a distribution"),
        ([], [1.5, -0.5], "each row of the table must be a distribution"),
        ([], [np.nan, 1.0], "each row of the table must be a distribution"),
    ],
)
def test_a_table_that_does_not_fit_is_named(parents: list[int], table: object, problem: str):
    with pytest.raises(ValueError, match=f"^v1: {problem}$"):
        network(([], HALF), (parents, table))


def test_all_tables_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"^v0: a variable must have states; v1: the table's axes .*; v2: each row"):
        network(([], 1.0), ([0], [HALF]), ([], [0.0, 0.0]))


def test_names_parents_and_tables_belong_together():
    with pytest.raises(ValueError, match="equally many"):
        Network(names=("a",), parents=((), ()), tables=(np.ones(1),))
