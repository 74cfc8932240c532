from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from llmsched.api.common.v1 import stage_pb2
from llmsched.api.planner.v1 import job_pb2
from services.common.telemetry import Place, job_place
from services.planner.convert import application_to_proto, event_to_proto, job_to_proto, stage_to_proto, timestamp
from services.scheduler.core.model import (
    Failure,
    JobState,
    Measurement,
    StageKind,
    StageSnapshot,
    StageState,
    TaskSnapshot,
    TaskSpec,
    TaskState,
)
from services.state.records import JobEvent, JobStatus, JobUpdate, StageUpdate, StoredJob, TaskUpdate
from tests.support import scheduling as make
from tests.support.state import make_application, make_record

FAILURE = Failure(reason="R", message="m", retryable=True, metadata={"k": "v"})
MEASURED = Measurement(
    prompt_tokens=9,
    output_tokens=3,
    cached_tokens=2,
    queue_seconds=0.5,
    prefill_seconds=0.25,
    decode_seconds=1.0,
    total_seconds=1.75,
)


def stored(*stages: StageSnapshot, sequence: int = 1, **status: Any) -> StoredJob:
    return StoredJob(
        record=make_record("j", labels={"a": "b"}, rerun_of="i"),
        status=JobStatus(**({"state": JobState.RUNNING} | status)),
        sequence=sequence,
        stages={stage.spec.stage_id: stage for stage in stages},
    )


@pytest.mark.parametrize(
    ("states", "wire"),
    [
        (JobState, job_pb2.Job.State),
        (StageState, job_pb2.JobStage.State),
        (TaskState, job_pb2.JobTask.State),
    ],
)
def test_every_state_has_its_word_on_the_wire(states: type[StrEnum], wire: Any) -> None:
    assert {f"STATE_{state}" for state in states} == set(wire.keys()) - {"STATE_UNSPECIFIED"}


def test_every_kind_of_stage_has_its_word_on_the_wire() -> None:
    kinds = {f"STAGE_KIND_{kind}" for kind in StageKind}
    assert kinds == set(stage_pb2.StageKind.keys()) - {"STAGE_KIND_UNSPECIFIED"}


def test_a_job_is_shown_with_all_that_is_known() -> None:
    job = stored(
        state=JobState.FAILED,
        started_at=2.0,
        ended_at=3.5,
        failure=FAILURE,
        prompt_tokens=9,
        completion_tokens=3,
        cached_tokens=2,
    )
    message = job_to_proto(job)
    assert (message.name, message.application) == ("jobs/j", "applications/chat/versions/1")
    assert (message.state, message.rerun_of, dict(message.labels)) == (job_pb2.Job.STATE_FAILED, "jobs/i", {"a": "b"})
    times = [message.create_time, message.start_time, message.end_time]
    assert [each.ToMicroseconds() / 1e6 for each in times] == [1000.0, 2.0, 3.5]
    assert (message.failure.reason, message.failure.metadata["k"]) == ("R", "v")
    usage = message.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (9, 3, 2)


def test_what_has_not_happened_is_unset() -> None:
    message = job_to_proto(stored())
    assert not any(message.HasField(name) for name in ("start_time", "end_time", "failure", "input"))
    assert message.traceparent == ""


def test_stages_come_by_position_and_the_output_is_none_of_them() -> None:
    specs = [make.llm("b", position=2), make.dynamic("$output", position=9), make.llm("a", position=1)]
    message = job_to_proto(stored(*(StageSnapshot(spec=spec) for spec in specs)))
    assert [stage.stage_id for stage in message.stages] == ["a", "b"]


def test_the_etag_changes_with_every_change() -> None:
    etags = {job_to_proto(stored(sequence=number)).etag for number in range(1, 6)}
    assert len(etags) == 5
    assert job_to_proto(stored()).etag == job_to_proto(stored(make_stage())).etag


def make_stage() -> StageSnapshot:
    return StageSnapshot(spec=make.llm("draft"))


def test_with_tracing_a_job_says_where_its_trace_is() -> None:
    assert Place.parse(job_to_proto(stored(), tracing=True).traceparent) == job_place("j", "")


def test_a_stage_sums_up_what_its_tasks_used() -> None:
    tasks = (
        TaskSnapshot(spec=TaskSpec(prompt_tokens=7), state=TaskState.SUCCEEDED, measurement=MEASURED),
        TaskSnapshot(spec=TaskSpec(prompt_tokens=7), state=TaskState.SUCCEEDED, measurement=MEASURED),
        TaskSnapshot(spec=TaskSpec(prompt_tokens=7)),
    )
    spec = make.llm("draft", "before", generated_by="before")
    stage = StageSnapshot(spec=spec, state=StageState.RUNNING, tasks=tasks, ready_at=5.0, failure=FAILURE)
    message = stage_to_proto(stage)
    assert (message.usage.prompt_tokens, message.usage.completion_tokens, message.usage.cached_tokens) == (18, 6, 4)
    assert (list(message.parents), message.generated_by, message.kind) == (
        ["before"],
        "before",
        stage_pb2.STAGE_KIND_LLM,
    )
    assert (message.ready_time, message.failure.reason) == (timestamp(5.0), "R")
    assert not message.HasField("end_time")


def test_a_task_shows_its_latest_attempt_and_an_estimate_until_it_is_measured() -> None:
    waiting = TaskSnapshot(spec=TaskSpec(prompt_tokens=7))
    done = TaskSnapshot(
        spec=TaskSpec(prompt_tokens=7),
        state=TaskState.SUCCEEDED,
        attempt=2,
        executor_id="llm-0",
        started_at=1.0,
        ended_at=2.75,
        failure=FAILURE,
        measurement=MEASURED,
    )
    first, second = stage_to_proto(StageSnapshot(spec=make.llm("draft"), tasks=(waiting, done))).tasks
    assert (first.index, first.attempt, first.executor, first.usage.prompt_tokens) == (0, 0, "", 7)
    assert not first.HasField("timings")
    assert (second.index, second.attempt, second.executor, second.usage.prompt_tokens) == (1, 2, "llm-0", 9)
    timings = second.timings
    spans = [timings.queue, timings.prefill, timings.decode, timings.total]
    assert [each.ToMilliseconds() for each in spans] == [500, 250, 1000, 1750]
    assert (second.start_time, second.end_time, second.failure.message) == (timestamp(1.0), timestamp(2.75), "m")


def test_changes_become_messages_with_their_number_and_time() -> None:
    task = TaskSnapshot(spec=TaskSpec(), state=TaskState.RUNNING, attempt=1)
    updates = [
        JobUpdate(state=JobState.FAILED, failure=FAILURE),
        StageUpdate(stage=make_stage()),
        TaskUpdate(stage_id="draft", task_index=3, task=task),
    ]
    messages = [event_to_proto(JobEvent(sequence=n, at=n + 0.5, update=each)) for n, each in enumerate(updates, 1)]
    assert [message.sequence for message in messages] == [1, 2, 3]
    assert [message.change_time for message in messages] == [timestamp(1.5), timestamp(2.5), timestamp(3.5)]
    job, stage, changed = messages
    assert (job.job_changed.state, job.job_changed.failure.reason) == (job_pb2.Job.STATE_FAILED, "R")
    assert stage.stage_changed.stage.stage_id == "draft"
    assert (changed.task_changed.stage_id, changed.task_changed.task.index) == ("draft", 3)


def test_an_application_is_shown_as_it_is_stored() -> None:
    message = application_to_proto(make_application("chat", 3, spec=b""))
    assert (message.name, message.etag, message.create_time) == (
        "applications/chat/versions/3",
        "etag-1",
        timestamp(1000.0),
    )
