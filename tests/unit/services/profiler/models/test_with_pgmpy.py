"""Learning with pgmpy: it keeps the core's limits, agrees with counts by hand, and draws nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from services.profiler.core import profile
from services.profiler.core.belief import Beliefs
from services.profiler.core.junction_tree import JunctionTree
from services.profiler.core.structure import Column
from services.profiler.core.variables import completed
from services.profiler.models import with_pgmpy
from tests.unit.services.profiler.test_profile import history, rounds
from tests.unit.services.profiler.test_structure import column, combined, cut, drawn

SEARCHES = [with_pgmpy.search, with_pgmpy.search_bdeu]


def chain(length: int, count: int = 300) -> list[Column]:
    """Each is the one before it, and some noise."""
    values = [drawn(count)]
    for place in range(1, length):
        values.append(combined(values[-1], drawn(count, seed=place), by=lambda x, e: x + 0.3 * e))
    return [cut(one, 3) for one in values]


@pytest.mark.parametrize("search", SEARCHES)
def test_the_nearest_of_a_chain_is_the_parent(search):
    assert [max(parents, default=None) for parents in search(chain(4))] == [None, 0, 1, 2]


@pytest.mark.parametrize("search", SEARCHES)
def test_noise_depends_on_nothing_and_one_job_neither(search):
    assert search([cut(drawn(200)), cut(drawn(200, seed=1))]) == ((), ())
    assert search([column([0], 1), column([1], 2)]) == ((), ())


@pytest.mark.parametrize("search", SEARCHES)
def test_parents_are_earlier_and_few_and_cliques_small(search, monkeypatch: pytest.MonkeyPatch):
    level = drawn(3000)
    columns = [cut(combined(level, drawn(3000, seed=seed), by=lambda x, e: x + e), 2) for seed in range(1, 7)]
    parents = search(columns)
    assert all(parent < index for index, chosen in enumerate(parents) for parent in chosen)
    assert max(map(len, parents)) == 3

    def largest(parents: tuple[tuple[int, ...], ...]) -> int:
        tree = JunctionTree([(*chosen, index) for index, chosen in enumerate(parents)], [2] * len(columns))
        return max(2 ** len(clique.scope) for clique in tree.cliques)

    assert largest(parents) > 8
    monkeypatch.setattr("services.profiler.core.structure.MAX_CLIQUE_CELLS", 8)
    assert largest(search(columns)) == 8


def test_tables_are_counts_and_a_uniform_prior():
    """Three states in two: the prior of five jobs is 5/6 in each cell."""
    columns = [column([0, 0, 1, 1, 1], 2), column([0, 1, 2, 2, 2], 3)]
    first, second = with_pgmpy.estimate(columns, ((), (0,)))
    assert first == pytest.approx(np.array([4.5, 5.5]) / 10)
    prior = 5 / 6
    assert second[0] == pytest.approx((np.array([1, 1, 0]) + prior) / (2 + 3 * prior))
    assert second[1] == pytest.approx((np.array([0, 0, 3]) + prior) / (3 + 3 * prior))


def test_axes_of_tables_are_the_parents_in_their_order():
    columns = [column([0, 1, 0, 1] * 9, 2), column([0, 0, 1, 2] * 9, 3), column([0, 1, 2, 3] * 9, 4)]
    table = with_pgmpy.estimate(columns, ((), (), (0, 1)))[2]
    assert table.shape == (2, 3, 4)
    assert table[1, 2].argmax() == 3


def test_profiles_of_pgmpy_make_beliefs():
    jobs = history(*[rounds(2 + job % 5) for job in range(30)])
    learned = profile.learn(jobs, with_pgmpy.search, with_pgmpy.estimate)
    belief = Beliefs(learned).of(completed(jobs[0]))
    assert belief is not None
    assert belief.posterior.log_evidence < 0.0


PRINT = """
from tests.unit.services.profiler.models.test_with_pgmpy import chain
from services.profiler.models import with_pgmpy
columns = chain(6)
parents = with_pgmpy.search(columns), with_pgmpy.search_bdeu(columns)
print(parents, [table.tolist() for table in with_pgmpy.estimate(columns, parents[0])])
"""


def test_what_is_learned_does_not_depend_on_the_order_of_sets():
    def learned(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True, check=True)
        return run.stdout

    assert learned("1") == learned("2")
