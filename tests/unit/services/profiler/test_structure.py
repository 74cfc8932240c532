"""Which variables depend on which, from jobs whose dependence is known."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from services.profiler.core import structure
from services.profiler.core.junction_tree import JunctionTree
from services.profiler.core.structure import Column, search, tables


def column(states: list[int], card: int | None = None, *, optional: bool = False) -> Column:
    return Column(np.array(states), max(states) + 1 if card is None else card, optional)


def cut(values: list[float], card: int = 5) -> Column:
    """Equally many jobs in each state."""
    ranks = np.argsort(np.argsort(values))
    return Column(ranks * card // len(values), card)


def drawn(count: int, seed: int = 0) -> list[float]:
    generator = random.Random(seed)
    return [generator.gauss(0.0, 1.0) for _ in range(count)]


def combined(*parts: list[float], by: Callable[..., float]) -> list[float]:
    return [by(*values) for values in zip(*parts, strict=True)]


def test_a_copy_depends_on_its_original_and_noise_on_nothing():
    original, noise = drawn(60), drawn(60, seed=1)
    assert search([cut(original), cut(noise), cut(original)]) == ((), (), (0,))


def test_the_nearest_of_a_chain_is_the_parent():
    first = drawn(200)
    second = combined(first, drawn(200, seed=1), by=lambda x, e: x + 0.3 * e)
    third = combined(second, drawn(200, seed=2), by=lambda x, e: x + 0.3 * e)
    assert search([cut(first), cut(second), cut(third)]) == ((), (0,), (1,))


def test_two_that_rise_together_and_pull_a_third_apart_are_found_as_a_pair():
    one = drawn(80)
    other = combined(one, drawn(80, seed=1), by=lambda x, e: x + 0.8 * e)
    apart = combined(one, other, by=lambda x, y: y - x)
    alone = combined(apart, drawn(80, seed=2), by=lambda x, e: x + 0.3 * e)
    assert search([cut(one), cut(other), cut(alone)])[2] == (0, 1)


def test_a_relation_that_is_not_a_trend_is_found_in_the_counts():
    states = [job % 4 for job in range(80)]
    hump = [{0: 0, 1: 3, 2: 1, 3: 2}[state] for state in states]
    assert search([column(states), column(hump)]) == ((), (0,))


def test_presence_follows_what_decides_it():
    large = [job % 5 for job in range(60)]
    round_two = [0 if state < 3 else 1 + job % 2 for job, state in enumerate(large)]
    columns = [column(large), column(round_two, optional=True)]
    parents = search(columns)
    assert parents == ((), (0,))
    absent = tables(columns, parents)[1][:, 0]
    assert absent[:3].min() > 0.75
    assert absent[3:].max() < 0.25


def test_a_trend_fills_in_what_few_jobs_have_not_shown():
    """Ten jobs in 25 cells: a state that the parent was never in has its children where the trend points."""
    states = [0, 0, 0, 1, 1, 3, 3, 4, 4, 4]
    table = tables([column(states, 5), column(states, 5)], ((), (0,)))[1]
    assert table[2].argmax() in (1, 2, 3)
    means = table @ np.arange(5)
    assert (np.diff(means) > 0.3).all()


def test_tables_are_distributions_without_zeros():
    columns = [cut(drawn(30)), column([0] * 20 + [1, 2] * 5, optional=True), column([0] * 30)]
    for table in tables(columns, ((), (0,), (0, 1))):
        assert table.sum(axis=-1) == pytest.approx(np.ones(table.shape[:-1]))
        assert table.min() > 0.0


def test_with_one_job_nothing_depends_on_anything():
    columns = [column([0], 1), column([1], 2)]
    assert search(columns) == ((), ())
    assert tables(columns, ((), ()))[1].argmax() == 1


def test_cliques_stay_small(monkeypatch: pytest.MonkeyPatch):
    level = drawn(300)
    columns = [cut(combined(level, drawn(300, seed=seed), by=lambda x, e: x + 0.7 * e)) for seed in range(1, 9)]
    cards = [one.card for one in columns]

    def largest() -> int:
        tree = JunctionTree([(*parents, index) for index, parents in enumerate(search(columns))], cards)
        return max(int(np.prod([cards[one] for one in clique.scope])) for clique in tree.cliques)

    assert largest() > 125
    monkeypatch.setattr(structure, "MAX_CLIQUE_CELLS", 125)
    assert largest() <= 125
