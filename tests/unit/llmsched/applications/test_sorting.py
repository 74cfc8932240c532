"""The tools of the sorting application."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsched.applications.sorting.tools import keep_best, merge, pairs, parse, score, split

numbers = st.lists(st.integers(-50, 50))


@given(numbers, st.integers(1, 20))
def test_parts_are_nearly_equal_and_complete(values: list[int], parts: int) -> None:
    found = split(values, parts)
    assert [value for part in found for value in part] == values
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1
    assert len(found) == max(1, min(parts, len(values)))


def test_no_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        split([1], 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2, 3]", [1, 2, 3]),
        ("Input: [3, 1]\nFirst I take 1.\nOutput: [1, 3]", [1, 3]),
        ("[1, 2]\n[]", [1, 2]),
        ("Sure! Here it is:\n1, 2, 3\nAnything else?", [1, 2, 3]),
        ("[-1, 2.5,3]", [-1, 2.5, 3]),
        ("[1, 2, 3", [1, 2, 3]),
        ("v2 and x1y are no numbers", []),
        ("no idea", []),
        ("", []),
        ("[[1, 2], [3]]", [3]),
    ],
)
def test_the_last_list_of_an_answer_counts(text: str, expected: list[float]) -> None:
    assert parse(text) == expected


@given(st.text())
def test_any_text_can_be_parsed_and_scored(text: str) -> None:
    assert score([1, 2], text)["errors"] >= 0


@given(numbers)
def test_a_perfect_answer_has_no_errors(values: list[int]) -> None:
    assert score(values, str(sorted(values)))["errors"] == (0 if values else score(values, "")["errors"])


@pytest.mark.parametrize(
    ("text", "inversions", "miscounted"),
    [
        ("[1, 2, 2, 3]", 0, 0),
        ("[2, 1, 2, 3]", 1, 0),
        ("[1, 2, 3]", 0, 1),
        ("[1, 2, 2, 2, 3]", 0, 1),
        ("[1, 2, 2, 4]", 0, 2),
        ("[3, 2, 2, 1]", 2, 0),
        ("I cannot do that", 0, 4),
    ],
)
def test_errors_are_inversions_and_wrong_counts(text: str, inversions: int, miscounted: int) -> None:
    found = score([3, 2, 1, 2], text)
    assert (found["inversions"], found["miscounted"]) == (inversions, miscounted)
    assert found["errors"] == inversions + miscounted


def test_the_first_of_the_best_tries_is_kept() -> None:
    best = keep_best([2, 1, 3], ["[1]", "[1, 2, 3]", [1, 2, 3], "no"])
    assert best == {"sorted": [1, 2, 3], "errors": 0, "index": 1}
    with pytest.raises(ValueError, match="no try"):
        keep_best([1], [])


def test_lists_are_paired_for_merging() -> None:
    assert pairs([[1], [2], [3]]) == [[[1], [2]], [[3]]]
    assert pairs([]) == []
    assert merge([[1, 3], [2], []]) == [1, 2, 3]
