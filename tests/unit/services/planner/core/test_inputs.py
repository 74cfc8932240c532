from __future__ import annotations

from llmsched.application import JsonValue
from services.planner.core.inputs import validate_input
from tests.unit.services.planner.core.jobs import application

STAGES = "- {llm: a, prompt: hi}"


def found(schema: str, job_input: dict[str, JsonValue]) -> list[str]:
    return [str(each) for each in validate_input(application(STAGES, input=schema), job_input)]


def test_a_good_input_has_no_violations() -> None:
    assert found("{topic: string, tags: [string], n: optional integer}", {"topic": "x", "tags": []}) == []


def test_everything_wrong_is_named_by_path() -> None:
    assert found("{topic: string, tags: [string], n: integer}", {"topic": 3, "tags": ["a", 4], "m": 1}) == [
        "'n' is a required property",
        "Additional properties are not allowed ('m' was unexpected)",
        "tags[1]: 4 is not of type 'string'",
        "topic: 3 is not of type 'string'",
    ]


def test_a_schema_that_refers_to_itself_without_end_is_reported() -> None:
    assert found('{type: object, $ref: "#"}', {}) == ["is nested too deep, or the schema refers to itself without end"]
