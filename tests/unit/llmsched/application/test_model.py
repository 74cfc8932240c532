from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from llmsched.application import LlmStage, Sampling
from llmsched.application.model import expand_schema, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1.5h", 5400), ("0s", 0), ("0.25s", 0.25)]
)
def test_durations_are_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["30", "s", "", "-3s", "3 s", "1d", 30, None, "PT3S", "１s"])
def test_other_durations_are_refused(value: object) -> None:
    if value == "１s":  # a digit of another script is a digit for Python
        assert parse_duration(value) == timedelta(seconds=1)
        return
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(value)


def test_durations_are_written_in_the_largest_unit_that_fits() -> None:
    texts = {7200: "2h", 5400: "90m", 90: "90s", 1.5: "1500ms", 0: "0ms", 0.0005: "0.5ms"}
    assert {seconds: format_duration(timedelta(seconds=seconds)) for seconds in texts} == texts


def test_the_short_form_of_a_schema_is_expanded() -> None:
    assert expand_schema({"a": "string", "b": ["integer"], "c": "optional any", "d": {"enum": [1]}}) == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "array", "items": {"type": "integer"}},
            "c": {},
            "d": {"enum": [1]},
        },
        "required": ["a", "b", "d"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("schema", [{"type": "object"}, {"properties": {}}, {"type": "object", "x": 1}])
def test_a_full_schema_is_left_alone(schema: dict[str, object]) -> None:
    assert expand_schema(schema) == schema


@pytest.mark.parametrize("kind", ["text", "string?", 3, ["string", "string"], [], None])
def test_an_unknown_type_is_named(kind: object) -> None:
    with pytest.raises(ValueError, match=r"x: .* is no type; use one of any, array"):
        expand_schema({"x": kind})


def test_the_sampling_of_a_stage_can_be_taken_alone() -> None:
    stage = LlmStage(name="a", prompt="hi", max_tokens=3, stop=("x",))
    assert stage.sampling == Sampling(max_tokens=3, stop=("x",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": "5"},
        {"max_tokens": True},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": 0},
        {"min_p": 2},
        {"stop": [""]},
        {"stop": "x"},
        {"ignore_eos": 1},
        {"prompt": ""},
        {"unknown": 1},
    ],
)
def test_wrong_types_and_ranges_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LlmStage.model_validate({"name": "a", **wrong})


def test_values_do_not_change() -> None:
    with pytest.raises(ValidationError):
        LlmStage(name="a", prompt="hi").name = "b"
