from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import planner_pb2
from llmsched.application import Message, Sampling
from llmsched.values import JsonValueError, from_struct, from_value
from services.planner.core.model import (
    Failure,
    Item,
    LlmCall,
    LlmOutput,
    StageKind,
    StageOutput,
    StageSpec,
    StageState,
    Task,
    ToolCall,
    ToolOutput,
    Unfolding,
)
from services.planner.stages import item_from_proto, stage_outputs, stage_snapshot, unfolding_to_proto
from services.scheduler.convert import stage_to_core
from services.scheduler.core import model as stored
from services.state.records import JobOutputs, JobStatus, StoredJob
from tests.support import scheduling as make
from tests.support.state import make_record

FULL = StageSpec(
    stage_id="loop/2/a",
    name="loop.a",
    kind=StageKind.LLM,
    occurrence=1,
    parents=("x", "y"),
    requirement="llm:m",
    position=4,
    max_attempts=2,
    timeout_seconds=1.5,
    backoff_seconds=0.25,
    recoverable=True,
    generated_by="x",
    width_by="y",
)
ASKED = planner_pb2.UnfoldStageRequest.Item(job_id="j", stage_id="s", unfolding=2)


@pytest.mark.parametrize("spec", [FULL, StageSpec(stage_id="a", name="a", kind=StageKind.DYNAMIC)])
def test_a_stage_is_the_same_whether_it_is_stored_at_once_or_told_later(spec: StageSpec) -> None:
    (told,) = unfolding_to_proto(ASKED, Unfolding(stages=(spec,))).stages
    assert stage_to_core(told) == stage_snapshot(spec).spec
    assert dataclasses.asdict(stage_snapshot(spec).spec) == dataclasses.asdict(spec)


def test_an_answer_is_about_what_was_asked() -> None:
    answer = unfolding_to_proto(ASKED, Unfolding(stages=(FULL,), again=True))
    assert (answer.job_id, answer.stage_id, answer.unfolding) == ("j", "s", 2)
    assert (answer.again, answer.skipped) == (True, False)
    assert not answer.HasField("failure")
    assert not answer.HasField("output")
    assert unfolding_to_proto(ASKED, Unfolding(skipped=True)).skipped


def test_a_call_of_a_model_is_sent_whole_and_no_more() -> None:
    messages = tuple(Message(role=role, content=role) for role in ("system", "user", "assistant"))
    sampling = Sampling(max_tokens=5, temperature=0.0, stop=("x",), ignore_eos=False)
    call = LlmCall(messages=messages, model="m", sampling=sampling, json_schema={"minItems": 2})
    (task,) = unfolding_to_proto(ASKED, Unfolding(tasks=(Task(payload=call, prompt_tokens=9),))).tasks
    assert (task.spec.prompt_tokens, task.spec.counted) == (9, False)
    sent = task.payload.llm
    roles = task_pb2.LlmCall
    assert [each.role for each in sent.messages] == [roles.ROLE_SYSTEM, roles.ROLE_USER, roles.ROLE_ASSISTANT]
    assert (sent.prompt, sent.model, from_struct(sent.json_schema)) == ("", "m", {"minItems": 2})
    # Zero and false are said; what is not said is left to the engine.
    said = {field.name: value for field, value in sent.sampling.ListFields()}
    assert said == {"max_tokens": 5, "temperature": 0.0, "stop": ["x"], "ignore_eos": False}


def test_a_plain_prompt_has_no_schema() -> None:
    (task,) = unfolding_to_proto(ASKED, Unfolding(tasks=(Task(payload=LlmCall(prompt="p")),))).tasks
    assert (task.payload.llm.prompt, task.payload.llm.HasField("json_schema")) == ("p", False)


@pytest.mark.parametrize("args", [{}, {"n": 3, "x": 0.5, "deep": [{"a": None, "b": True}], "e": {}}])
def test_arguments_of_a_tool_arrive_as_they_are(args: dict[str, Any]) -> None:
    (task,) = unfolding_to_proto(ASKED, Unfolding(tasks=(Task(payload=ToolCall(tool="t", args=args)),))).tasks
    assert task.payload.tool.tool == "t"
    assert task.payload.WhichOneof("call") == "tool"
    # As text, since 3 and 3.0 are equal in Python.
    assert json.dumps(from_struct(task.payload.tool.args), sort_keys=True) == json.dumps(args, sort_keys=True)


def test_an_argument_that_cannot_be_sent_is_named() -> None:
    call = ToolCall(tool="t", args={"n": 2**60})
    with pytest.raises(JsonValueError, match=r"n: .* beyond"):
        unfolding_to_proto(ASKED, Unfolding(tasks=(Task(payload=call),)))


@pytest.mark.parametrize("value", [None, 0, "", {"a": [1, 2.5]}])
def test_only_the_output_stage_has_an_output(value: Any) -> None:
    asked = planner_pb2.UnfoldStageRequest.Item(job_id="j", stage_id="$output", unfolding=1)
    answer = unfolding_to_proto(asked, Unfolding(output=value))
    assert answer.HasField("output")
    assert repr(from_value(answer.output)) == repr(value)
    failed = unfolding_to_proto(asked, Unfolding(failure=Failure(reason="R", message="m", metadata={"k": "v"})))
    assert not failed.HasField("output")
    assert (failed.failure.reason, failed.failure.message, dict(failed.failure.metadata)) == ("R", "m", {"k": "v"})


def test_a_question_is_counted_from_nought_inside() -> None:
    assert item_from_proto(ASKED) == Item(stage_id="s", unfolding=1)
    asked = planner_pb2.UnfoldStageRequest.Item(stage_id="s", unfolding=1)
    asked.failure.CopyFrom(task_pb2.Failure(reason="R", message="m", retryable=True, metadata={"k": "v"}))
    failure = Failure(reason="R", message="m", retryable=True, metadata={"k": "v"})
    assert item_from_proto(asked) == Item(stage_id="s", unfolding=0, failure=failure)


def outputs(
    results: dict[tuple[str, int], task_pb2.TaskResult], *stages: stored.StageSnapshot
) -> dict[str, StageOutput]:
    job = StoredJob(
        record=make_record("j"),
        status=JobStatus(state=stored.JobState.RUNNING),
        sequence=1,
        stages={stage.spec.stage_id: stage for stage in stages},
    )
    data = {key: result.SerializeToString() for key, result in results.items()}
    return stage_outputs(JobOutputs(job=job, input=b"{}", results=data))


def stage(spec: stored.StageSpec, state: stored.StageState, width: int = 0, **more: Any) -> stored.StageSnapshot:
    tasks = (stored.TaskSnapshot(spec=stored.TaskSpec()),) * width
    return stored.StageSnapshot(spec=spec, state=state, tasks=tasks, **more)


DONE, SKIPPED, RUNNING = stored.StageState.SUCCEEDED, stored.StageState.SKIPPED, stored.StageState.RUNNING


def test_templates_see_what_has_ended_and_only_that() -> None:
    text = task_pb2.TaskResult(llm=task_pb2.LlmOutput(text="hi", finish_reason="length"))
    values = [task_pb2.TaskResult(tool=Value(number_value=number)) for number in (3, 0.5)]
    found = outputs(
        {("a", 0): text, ("b", 0): values[0], ("b", 1): values[1], ("d", 0): text},
        stage(make.llm("a", name="named"), DONE, 1),
        stage(make.tool("b"), DONE, 2),
        stage(make.tool("c"), SKIPPED),
        stage(make.tool("d"), RUNNING, 2),
        stage(make.dynamic("e"), stored.StageState.EXPANDED),
        stage(make.dynamic("f"), DONE),
        stage(make.tool("g"), stored.StageState.WAITING),
    )
    assert found == {
        "a": StageOutput(name="named", tasks=(LlmOutput(text="hi", finish_reason="length"),)),
        "b": StageOutput(name="b", tasks=(ToolOutput(value=3), ToolOutput(value=0.5))),
        "c": StageOutput(name="c", state=StageState.SKIPPED),
        "f": StageOutput(name="f"),
    }


@pytest.mark.parametrize("state", [stored.StageState.UNFOLDING, stored.StageState.EXPANDED, DONE])
def test_a_stage_that_failed_stays_failed_for_templates_while_and_after_its_fallback_runs(
    state: stored.StageState,
) -> None:
    failure = stored.Failure(reason="TIMEOUT", message="too late", retryable=True, metadata={"k": "v"})
    result = task_pb2.TaskResult(llm=task_pb2.LlmOutput(text="of the task that went well"))
    found = outputs({("a", 0): result}, stage(make.llm("a"), state, 2, failure=failure))
    same = Failure(reason="TIMEOUT", message="too late", retryable=True, metadata={"k": "v"})
    assert found == {"a": StageOutput(name="a", state=StageState.FAILED, failure=same)}


def test_a_model_that_says_nothing_of_its_end_has_stopped() -> None:
    result = task_pb2.TaskResult(llm=task_pb2.LlmOutput(text="hi"))
    found = outputs({("a", 0): result}, stage(make.llm("a"), DONE, 1))
    assert found["a"].tasks == (LlmOutput(text="hi", finish_reason="stop"),)
