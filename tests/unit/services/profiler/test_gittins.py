"""The Gittins index from samples: against closed forms, brute force, and the example that a fixed limit gets wrong."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profiler.core.gittins import fixed_limit, index, uniforms

NO_NEWS = np.zeros(2, dtype=np.int64)


def test_what_is_certain_has_its_length() -> None:
    assert fixed_limit(np.full(10, 3.5)) == pytest.approx(3.5)
    assert index(np.full(10, 1.0), np.full(10, 2.5), np.arange(10) % 2) == pytest.approx(3.5)


def test_stopping_after_bad_news_is_worth_it() -> None:
    first, rest, news = np.array([1.0, 1.0]), np.array([1.0, 100.0]), np.array([0, 1])
    assert fixed_limit(first + rest) == pytest.approx(4.0)  # (2 + 2) / ½ of two
    assert index(first, rest, news) == pytest.approx(3.0)
    # Where the end of the stage shows nothing, there is nothing to stop after.
    assert index(first, rest, NO_NEWS) == pytest.approx(4.0)


def test_the_numerator_counts_the_time_spent_on_jobs_that_do_not_end() -> None:
    # E[S | S <= D] in its place (as Hermes' code has it) would rank this exponential of mean 1.04 before a sure 0.8.
    exponential = -1.04 * np.log1p(-(np.arange(4000) + 0.5) / 4000)
    assert fixed_limit(exponential) == pytest.approx(1.04, rel=0.02)
    assert fixed_limit(exponential) > 0.8


def test_the_luckiest_few_decide_nothing() -> None:
    service = np.array([0.001] + [10.0] * 99)
    assert fixed_limit(service) == pytest.approx(service.mean(), rel=0.02)
    assert fixed_limit(service, least_mass=0.01) == pytest.approx(0.1, rel=0.01)


def test_rare_news_is_not_told_apart() -> None:
    rest = np.array([0.0] + [10.0] * 99)
    assert index(np.full(100, 1.0), rest, np.arange(100)) == pytest.approx(fixed_limit(1.0 + rest))


def test_a_rule_that_ends_too_few_is_none() -> None:
    first, rest = np.full(10, 1.0), np.array([0.0] + [100.0] * 9)
    news = np.array([0] + [1] * 9)
    assert index(first, rest, news, least_mass=0.5) == pytest.approx(fixed_limit(first + rest, 0.5))
    assert index(first, rest, news, least_mass=0.1) == pytest.approx(10.0)


@st.composite
def stages(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(1, 6))
    seconds = st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0, 40.0])
    return (
        np.array([draw(seconds) for _ in range(count)]),
        np.array([draw(seconds) for _ in range(count)]),
        np.array([draw(st.integers(0, 2)) for _ in range(count)], dtype=np.int64),
    )


def by_enumeration(first: np.ndarray, rest: np.ndarray, news: np.ndarray) -> float:
    """Every limit after every piece of news, and none; every fixed limit."""
    total = first + rest
    rules = [(np.minimum(total, limit).sum(), (total <= limit).sum()) for limit in total]
    kinds = sorted(set(news.tolist()))
    choices = [[-1.0, *rest[news == kind].tolist()] for kind in kinds]
    for limits in product(*choices):
        limit = np.array([limits[kinds.index(kind)] for kind in news.tolist()])
        goes_on = limit >= 0.0
        spent = first.sum() + np.minimum(rest, np.maximum(limit, 0.0))[goes_on].sum()
        rules.append((spent, (goes_on & (rest <= limit)).sum()))
    return min(spent / ended for spent, ended in rules if ended)


@given(stages())
def test_it_is_the_best_of_all_rules_of_its_kind(sample: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    assert index(*sample, least_mass=0.0) == pytest.approx(by_enumeration(*sample))


@given(stages())
def test_news_only_helps(sample: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    first, rest, _ = sample
    assert index(*sample) <= fixed_limit(first + rest) + 1e-9


def test_uniforms_are_the_same_for_all_that_are_compared() -> None:
    numbers = uniforms(16, 3, seed=5)
    assert numbers.shape == (16, 3)
    assert uniforms(16, 3, seed=5) is numbers
    assert uniforms(16, 3, seed=6).tolist() != numbers.tolist()
    assert ((numbers >= 0.0) & (numbers < 1.0)).all()
