from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profiler.core.schedule import due, next_at


def learnings(limit: int) -> list[int]:
    """How many jobs there had been each time, if jobs came one by one and `limit` are kept."""
    found, learned = [], 0
    for added in range(1, 6000):
        if due(added, learned, min(added, limit)):
            found.append(added)
            learned = added
    return found


def test_it_is_learned_often_while_little_is_known() -> None:
    assert list(islice(learnings(2000), 10)) == [10, 20, 40, 80, 160, 200, 250, 312, 390, 488]


def test_a_full_history_is_learned_from_when_a_quarter_of_it_is_new() -> None:
    last = learnings(2000)[-3:]
    assert [later - earlier for earlier, later in pairwise(last)] == [500, 500]


def test_a_small_history_goes_on_too() -> None:
    assert len(learnings(10)) > 1000


@pytest.mark.parametrize(("learned", "expected"), [(0, 10), (3, 10), (10, 20), (17, 34), (200, 250)])
def test_a_profile_that_was_asked_for_counts(learned: int, expected: int) -> None:
    assert next_at(learned, learned) == expected


@given(learned=st.integers(0, 10**6), kept=st.integers(0, 10**4))
def test_there_is_always_a_next_time(learned: int, kept: int) -> None:
    wanted = next_at(learned, kept)
    assert wanted > learned
    assert due(wanted, learned, kept)
    assert not due(wanted - 1, learned, kept)
