from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import application_pb2
from llmsched.application import (
    ApplicationError,
    ApplicationSpec,
    DynamicStage,
    ForEach,
    LlmStage,
    LoopStage,
    Message,
    PlanStage,
    Retry,
    Sampling,
    ToolStage,
    dump_yaml,
    parse_yaml,
)
from llmsched.application.convert import from_proto, to_proto
from llmsched.application.parse import build_unchecked
from tests.unit.llmsched.application.test_yaml import EVERYTHING


def test_an_application_comes_back_as_it_went() -> None:
    app = parse_yaml(EVERYTHING)
    message = to_proto(app)
    assert from_proto(message) == app
    assert from_proto(application_pb2.ApplicationSpec.FromString(message.SerializeToString())) == app


NAME = st.sampled_from(["a", "b", "c", "draft", "test"])
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NUMBER = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
DURATION = st.timedeltas(timedelta(0), timedelta(days=7))
MAYBE_TEXT = st.none() | TEXT
COMMON: dict[str, Any] = {
    "name": NAME,
    "after": st.lists(NAME, max_size=2).map(tuple),
    "when": MAYBE_TEXT,
    "foreach": st.none() | st.builds(ForEach, items=TEXT, as_=TEXT),
    "retry": st.none() | st.builds(Retry, max_attempts=st.integers(1, 100), backoff=DURATION),
    "timeout": st.none() | DURATION,
}
SAMPLING: dict[str, Any] = {
    "max_tokens": st.none() | st.integers(1, 2**31 - 1),
    "temperature": st.none() | st.floats(0, 10),
    "top_p": st.none() | st.floats(0, 1, exclude_min=True),
    "top_k": st.none() | st.integers(1, 100),
    "min_p": st.none() | st.floats(0, 1),
    "stop": st.lists(TEXT, max_size=2).map(tuple),
    "seed": st.none() | st.integers(-(2**63), 2**63 - 1),
    "ignore_eos": st.none() | st.booleans(),
}
ROLE = st.sampled_from(["system", "user", "assistant"])
CALL: dict[str, Any] = {
    **SAMPLING,
    "prompt": MAYBE_TEXT,
    "model": MAYBE_TEXT,
    "messages": st.lists(st.builds(Message, role=ROLE, content=TEXT), max_size=2).map(tuple),
}
LEAF = st.one_of(
    st.builds(LlmStage, **COMMON, **CALL, json_schema=st.none() | OBJECT),
    st.builds(ToolStage, **COMMON, call=TEXT, args=OBJECT),
    st.builds(DynamicStage, **COMMON, plan=NAME),
    st.builds(
        PlanStage,
        **COMMON,
        **CALL,
        tools=st.lists(TEXT, min_size=1, max_size=2).map(tuple),
        max_stages=st.integers(1, 1000),
        max_retries=st.integers(0, 20),
    ),
)
STAGE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.builds(
            LoopStage,
            **COMMON,
            max_rounds=st.integers(1, 1000),
            until=TEXT,
            body=st.lists(inner, min_size=1, max_size=2).map(tuple),
        ),
        st.builds(ToolStage, **COMMON, call=TEXT, on_error=inner),
    ),
    max_leaves=3,
)
SPEC = st.builds(
    ApplicationSpec,
    application=st.just("some-name"),
    version=st.integers(1, 2**31 - 1),
    description=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5),
    input=OBJECT.map(lambda extra: {**extra, "type": "object"}),
    stages=st.lists(STAGE, min_size=1, max_size=3).map(tuple),
    output=JSON,
)


@given(SPEC)
def test_nothing_is_lost_on_the_wire(app: ApplicationSpec) -> None:
    assert from_proto(to_proto(app)) == app


@given(SPEC.filter(lambda app: "\\u" not in ascii(app.description)))
def test_any_application_survives_being_dumped_as_data(app: ApplicationSpec) -> None:
    again = build_unchecked(app.model_dump(by_alias=True))
    assert again == app


def test_defaults_of_the_wire_are_those_of_the_model() -> None:
    message = application_pb2.ApplicationSpec()
    json_format.ParseDict(
        {
            "application": "x",
            "version": 1,
            "stages": [
                {
                    "name": "p",
                    "retry": {},
                    "foreach": {"items": "{{ x }}"},
                    "plan": {"llm": {"prompt": "hi"}, "tools": ["a.b"]},
                },
            ],
        },
        message,
    )
    app = from_proto(message)
    assert app.stages == (
        PlanStage(name="p", prompt="hi", tools=("a.b",), retry=Retry(), foreach=ForEach(items="{{ x }}")),
    )
    assert app.input["properties"] == {}
    assert app.output is None


def refused(**fields: Any) -> list[str]:
    message = application_pb2.ApplicationSpec()
    json_format.ParseDict({"application": "x", "version": 1, **fields}, message)
    with pytest.raises(ApplicationError) as caught:
        from_proto(message)
    return [str(each) for each in caught.value.violations]


def test_what_is_not_well_formed_is_named() -> None:
    assert refused(application="", version=0) == [
        "application: must be lower-case letters, digits and hyphens, with a letter first",
        "version: should be greater than or equal to 1",
        "stages: must not be empty",
    ]
    assert refused(stages=[{"name": "a"}])[0].startswith("stages[0]: is no stage")
    assert refused(stages=[{"llm": {}}]) == ["stages[0].name: must not be empty"]
    assert refused(stages=[{"name": "a", "llm": {"messages": [{"content": "hi"}]}}])[0].startswith(
        "stages[0].messages[0].role: should be 'system'"
    )
    assert refused(stages=[{"name": "a", "plan": {"llm": {"jsonSchema": {}}, "tools": ["a.b"]}}])[0].startswith(
        "stages[0].json_schema: there is no such field"
    )


def test_every_sampling_parameter_is_on_the_wire() -> None:
    assert set(task_pb2.SamplingParameters.DESCRIPTOR.fields_by_name) == set(Sampling.model_fields)


def test_yaml_of_what_was_sent_is_what_was_written() -> None:
    app = parse_yaml(EVERYTHING)
    assert parse_yaml(dump_yaml(from_proto(to_proto(app)))) == app
