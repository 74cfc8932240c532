"""Reading answers that should be JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsched.applications.answers import read_list, read_object

VALUES = st.dictionaries(
    st.text(max_size=6),
    st.one_of(st.integers(), st.text(max_size=12), st.booleans(), st.lists(st.text(max_size=5), max_size=3)),
    max_size=4,
)


@given(VALUES)
def test_good_json_is_taken_as_it_is(value: dict[str, Any]) -> None:
    assert read_object(json.dumps(value)) == (value, None)


@given(VALUES, st.data())
def test_what_was_cut_off_is_a_beginning_of_what_was_meant(value: dict[str, Any], data: st.DataObject) -> None:
    whole = json.dumps(value)
    found, problem = read_object(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert problem
    assert list(found) == list(value)[: len(found)]
    # All but the last value are whole.
    assert all(found[key] == value[key] for key in list(found)[:-1])


@given(st.text())
def test_anything_else_is_told_and_never_an_error(text: str) -> None:
    for read in (read_object, read_list):
        found, problem = read(text)
        assert found or problem or text.strip() in ("{}", "[]")


@pytest.mark.parametrize(
    ("text", "found", "said"),
    [
        ('["a", "b', ["a", "b"], "cut off"),
        ('["a", {"b": [1, 2', ["a", {"b": [1, 2]}], "cut off"),
        ('["say \\"hi', ['say "hi'], "cut off"),
        ('["a", tru', ["a"], "cut off"),
        ("no idea", [], "no JSON: 'no idea'"),
        ("{}", [], "something else than a list"),
        ("[" * 10_000, [], "no JSON"),
        ("x" * 100, [], "…'"),
    ],
)
def test_it_is_said_what_was_wrong(text: str, found: list[Any], said: str) -> None:
    read, problem = read_list(text)
    assert read == found
    assert problem is not None
    assert said in problem
    assert len(problem) < 200
