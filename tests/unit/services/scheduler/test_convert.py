from __future__ import annotations

from typing import Any

import pytest

from llmsched.api.common.v1 import stage_pb2, task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.api.planner.v1 import planner_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from services.common.errors import DomainError
from services.scheduler import convert
from services.scheduler.core.model import AttemptRef, Failure, PolicySettings, StageKind, StageSpec, TaskSpec
from services.scheduler.registration import registration_to_core

REF = AttemptRef(job_id="job", stage_id="a/b", task_index=3, attempt=2)


def full_stage(**changes: Any) -> stage_pb2.StageSpec:
    fields: dict[str, Any] = {
        "stage_id": "loop/1/a",
        "name": "loop.a",
        "occurrence": 1,
        "kind": stage_pb2.STAGE_KIND_LLM,
        "parents": ["x", "y"],
        "requirement": "llm:m",
        "position": 4,
        "max_attempts": 2,
        "timeout": convert.duration(1.5),
        "retry_backoff": convert.duration(0.25),
        "recoverable": True,
        "generated_by": "x",
        "width_by": "y",
    }
    return stage_pb2.StageSpec(**(fields | changes))


def test_a_stage_keeps_everything() -> None:
    assert convert.stage_to_core(full_stage()) == StageSpec(
        stage_id="loop/1/a",
        name="loop.a",
        occurrence=1,
        kind=StageKind.LLM,
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


def test_what_a_stage_does_not_say_has_its_default() -> None:
    bare = stage_pb2.StageSpec(stage_id="a", name="a", kind=stage_pb2.STAGE_KIND_DYNAMIC)
    stage = convert.stage_to_core(bare)
    assert (stage.timeout_seconds, stage.backoff_seconds, stage.max_attempts) == (None, 1.0, 1)
    assert (stage.generated_by, stage.width_by) == (None, None)


@pytest.mark.parametrize(
    "changes", [{"stage_id": ""}, {"kind": stage_pb2.STAGE_KIND_UNSPECIFIED}, {"kind": 99}, {"requirement": ""}]
)
def test_a_stage_that_could_never_run_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(convert.BadMessage):
        convert.stage_to_core(full_stage(**changes))


def test_references_and_failures_go_both_ways() -> None:
    assert convert.ref_to_core(convert.ref_to_proto(REF)) == REF
    failure = Failure(reason="R", message="m", retryable=True, metadata={"k": "v"})
    assert convert.failure_to_core(convert.failure_to_proto(failure)) == failure


def test_a_failure_without_a_reason_gets_one() -> None:
    assert convert.failure_to_core(task_pb2.Failure(message="m")).reason == "UNKNOWN"


def test_times_keep_their_microseconds() -> None:
    moment = 1_795_386_553.492904
    assert convert.seconds_since_epoch(convert.timestamp(moment)) == pytest.approx(moment, abs=1e-6)
    assert convert.seconds(convert.duration(0.000001)) == pytest.approx(1e-6)


def test_an_answer_of_the_planner_becomes_an_event() -> None:
    item = planner_pb2.UnfoldStageResponse.Item(job_id="job", stage_id="a", unfolding=2, again=True)
    item.stages.append(full_stage())
    item.tasks.add().spec.prompt_tokens = 7
    event = convert.unfolded_to_core(item, at=1.0, cause="c")
    assert (event.unfolding, event.again, event.skipped) == (2, True, False)
    assert event.tasks == (TaskSpec(prompt_tokens=7),)
    assert [stage.stage_id for stage in event.stages] == ["loop/1/a"]


def test_a_result_becomes_a_measurement() -> None:
    result = task_pb2.TaskResult(usage=task_pb2.TokenUsage(prompt_tokens=1, completion_tokens=2, cached_tokens=3))
    result.timings.total.FromMilliseconds(1500)
    measured = convert.measurement_to_core(result)
    assert (measured.prompt_tokens, measured.output_tokens, measured.cached_tokens) == (1, 2, 3)
    assert (measured.total_seconds, measured.prefill_seconds) == (1.5, 0.0)


def test_ageing_and_seed_of_a_policy_may_be_set_or_left_alone_and_ageing_switched_off() -> None:
    default = PolicySettings(ageing_seconds=300.0, seed=5)
    silent = scheduler_pb2.Policy(name="fair")
    assert convert.policy_to_core(silent, default=default).ageing_seconds == 300.0
    off = scheduler_pb2.Policy(name="fair", ageing=convert.duration(0))
    assert convert.policy_to_core(off, default=default).ageing_seconds is None
    own = scheduler_pb2.Policy(name="fair", ageing=convert.duration(2.5), application_order=["a"])
    policy = convert.policy_to_core(own, default=default)
    assert policy == PolicySettings(name="fair", ageing_seconds=2.5, application_order=("a",), seed=5)
    assert convert.policy_to_core(convert.policy_to_proto(policy), default=default) == policy
    seeded = scheduler_pb2.Policy(name="random", seed=0)
    assert convert.policy_to_core(seeded, default=default).seed == 0


def test_offers_follow_from_models_and_tools() -> None:
    register = executor_pb2.Register(
        executor_id="x", incarnation="1", kind=executor_pb2.Register.KIND_LLM, slots=1, models=["m", "n"]
    )
    assert registration_to_core(register).offers == {"llm", "llm:m", "llm:n"}
    register = executor_pb2.Register(
        executor_id="x", incarnation="1", kind=executor_pb2.Register.KIND_TOOL, slots=1, tools=["a.b"]
    )
    assert registration_to_core(register).offers == {"tool:a.b"}


def test_all_faults_of_a_registration_are_named_at_once() -> None:
    with pytest.raises(DomainError) as refused:
        registration_to_core(executor_pb2.Register(kind=executor_pb2.Register.KIND_TOOL, models=["m"]))
    assert [violation.field for violation in refused.value.violations] == [
        "register.executor_id",
        "register.incarnation",
        "register.slots",
        "register.models",
        "register.tools",
    ]
