"""Values on their way to the wire and back."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from llmsched.values import MAX_DEPTH, MAX_INTEGER, JsonValueError, from_struct, from_value, to_struct, to_value

_texts = st.text(st.characters(exclude_categories=["Cs"]))
_numbers = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
_scalars = st.none() | st.booleans() | _numbers | _texts
_json = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(_texts, inner), max_leaves=20)


def _same(sent: Any, received: Any) -> bool:
    """Equal, and of the same types except that whole floats have become integers."""
    if isinstance(sent, float) and isinstance(received, int) and not isinstance(received, bool):
        return sent == received
    if type(sent) is not type(received) or isinstance(received, float) != isinstance(sent, float):
        return False
    if isinstance(sent, dict):
        return sent.keys() == received.keys() and all(_same(sent[key], received[key]) for key in sent)
    if isinstance(sent, list):
        return len(sent) == len(received) and all(map(_same, sent, received))
    return bool(sent == received)


@given(_json)
def test_every_json_value_survives_the_wire(value: Any) -> None:
    wire = to_value(value).SerializeToString()
    assert _same(value, from_value(struct_pb2.Value.FromString(wire)))


@given(st.dictionaries(_texts, _json))
def test_every_json_object_survives_the_wire(value: dict[str, Any]) -> None:
    wire = to_struct(value).SerializeToString()
    assert _same(value, from_struct(struct_pb2.Struct.FromString(wire)))


def _sorted(value: Any) -> Any:
    """The value with keys in order: a Struct's fields have none."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@given(_json)
def test_the_second_round_changes_nothing(value: Any) -> None:
    once = from_value(to_value(value))
    twice = from_value(to_value(once))
    assert repr(_sorted(twice)) == repr(_sorted(once))


@given(st.integers(min_value=MAX_INTEGER + 1) | st.integers(max_value=-MAX_INTEGER - 1))
def test_an_integer_a_double_cannot_hold_is_refused(number: int) -> None:
    with pytest.raises(JsonValueError, match=r"send it as text") as caught:
        to_struct({"rows": [{"id": number}]})
    assert caught.value.path == "rows[0].id"


@pytest.mark.parametrize("number", [MAX_INTEGER, -MAX_INTEGER])
def test_the_largest_integers_are_kept(number: int) -> None:
    received = from_value(to_value(number))
    assert received == number
    assert isinstance(received, int)


def test_whole_floats_become_integers_and_huge_ones_stay_floats() -> None:
    assert [repr(from_value(to_value(n))) for n in (3.0, -0.0, 2.5, 1e300)] == ["3", "0", "2.5", "1e+300"]


def test_tuples_and_other_mappings_are_accepted() -> None:
    assert from_value(to_value((1, OrderedDict(a=(True,))))) == [1, {"a": [True]}]


def test_empty_containers_and_none_differ() -> None:
    assert [from_value(to_value(v)) for v in (None, {}, [], "", 0, False)] == [None, {}, [], "", 0, False]
    assert from_value(struct_pb2.Value()) is None


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        ({"a": float("nan")}, "a", "nan is not a JSON number"),
        ({"a": {"b": float("-inf")}}, "a.b", "-inf is not a JSON number"),
        ({"a": b"x"}, "a", "bytes is not a JSON value"),
        ({"a": [{1, 2}]}, "a[0]", "set is not a JSON value"),
        ({"a": {3: 1}}, "a", "keys must be text, not int (3)"),
        ({"a": "\ud800"}, "a", "contains a lone surrogate, which UTF-8 cannot encode"),
        ({"\ud800": 1}, "", "contains a lone surrogate, which UTF-8 cannot encode"),
    ],
)
def test_what_json_cannot_carry_is_refused_with_its_place(value: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(JsonValueError) as caught:
        to_struct(value)
    assert (caught.value.path, caught.value.problem) == (path, problem)


def test_a_struct_needs_a_mapping() -> None:
    with pytest.raises(JsonValueError, match="must be a mapping"):
        to_struct([1])  # type: ignore[arg-type]


def _nested(depth: int) -> dict[str, Any]:
    return {"a": _nested(depth - 1)} if depth > 1 else {}


def test_the_deepest_accepted_value_can_be_read_back_inside_larger_messages() -> None:
    value = to_value(_nested(MAX_DEPTH))
    for _ in range(5):
        wrapped = struct_pb2.Value()
        wrapped.list_value.values.append(value)
        value = wrapped
    assert struct_pb2.Value.FromString(value.SerializeToString()) == value


def test_deeper_values_and_cycles_are_refused() -> None:
    with pytest.raises(JsonValueError, match="nested more than"):
        to_struct(_nested(MAX_DEPTH + 1))
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(JsonValueError, match="nested more than"):
        to_value(cycle)
