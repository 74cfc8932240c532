"""Messages as values: nothing is lost, nothing unknown breaks an old client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from llmsched import conversion
from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import job_pb2, planner_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from llmsched.types import (
    ExecutorState,
    Failure,
    Job,
    JobState,
    Policy,
    Stage,
    StageKind,
    StageState,
    Task,
    TaskState,
    Timings,
    Usage,
)


def _full_job() -> job_pb2.Job:
    usage = task_pb2.TokenUsage(prompt_tokens=7, completion_tokens=5, cached_tokens=3)
    why = task_pb2.Failure(reason="TIMEOUT", message="slow", retryable=True, metadata={"limit": "3s"})
    task = job_pb2.JobTask(index=1, state=5, attempt=2, executor="llm-1", usage=usage, failure=why)
    task.start_time.FromSeconds(11)
    task.timings.decode.FromMilliseconds(250)
    stage = job_pb2.JobStage(
        stage_id="r/1/d",
        name="r.d",
        kind=1,
        state=8,
        parents=["x"],
        generated_by="r",
        tasks=[task],
        usage=usage,
        failure=why,
    )
    stage.ready_time.FromSeconds(10)
    job = job_pb2.Job(
        name="jobs/j", application="applications/a-b/versions/3", state=5, failure=why, labels={"k": "v"}, usage=usage,
        stages=[stage], etag="e", rerun_of="jobs/i", traceparent="00-1", input=conversion_input(),
    )  # fmt: skip
    job.create_time.FromSeconds(9)
    job.end_time.FromSeconds(20)
    return job


def conversion_input() -> object:
    from llmsched.values import to_struct

    return to_struct({"n": 3})


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_a_whole_job() -> None:
    usage = Usage(prompt_tokens=7, completion_tokens=5, cached_tokens=3)
    why = Failure(reason="TIMEOUT", message="slow", retryable=True, metadata={"limit": "3s"})
    task = Task(
        index=1,
        state=TaskState.FAILED,
        attempt=2,
        executor="llm-1",
        start_time=_time(11),
        usage=usage,
        failure=why,
        timings=Timings(decode=timedelta(milliseconds=250)),
    )
    stage = Stage(
        stage_id="r/1/d",
        name="r.d",
        kind=StageKind.LLM,
        state=StageState.FAILED,
        parents=("x",),
        generated_by="r",
        tasks=(task,),
        ready_time=_time(10),
        usage=usage,
        failure=why,
    )
    job = conversion.job(_full_job())
    assert job == Job(
        name="jobs/j",
        application="a-b",
        version=3,
        state=JobState.FAILED,
        failure=why,
        create_time=_time(9),
        end_time=_time(20),
        labels={"k": "v"},
        usage=usage,
        stages=(stage,),
        etag="e",
        rerun_of="jobs/i",
        traceparent="00-1",
        input={"n": 3},
    )
    assert (job.id, job.completion_time, job.usage.total_tokens) == ("j", timedelta(seconds=11), 12)


def test_states_of_the_future_are_seen_as_documented() -> None:
    job = conversion.job(
        job_pb2.Job(state=99, stages=[job_pb2.JobStage(state=99, kind=99, tasks=[job_pb2.JobTask(state=99)])])
    )
    executor = scheduler_pb2.Executor(state=99)
    assert job.state is JobState.RUNNING
    assert job.stages[0].state is StageState.RUNNING
    assert job.stages[0].kind is StageKind.DYNAMIC
    assert job.stages[0].tasks[0].state is TaskState.RUNNING
    cluster = conversion.cluster(scheduler_pb2.GetClusterResponse(executors=[executor]))
    assert cluster.executors[0].state is ExecutorState.DETACHED


def test_every_state_of_the_contract_is_known() -> None:
    for wire, ours in (
        (job_pb2.Job.State, JobState),
        (job_pb2.JobStage.State, StageState),
        (job_pb2.JobTask.State, TaskState),
        (scheduler_pb2.Executor.State, ExecutorState),
    ):
        assert {f"STATE_{state}" for state in ours} == set(wire.keys()) - {"STATE_UNSPECIFIED"}


def test_states_go_back_to_the_wire() -> None:
    assert conversion.state_to_wire(JobState.CANCELLING) == job_pb2.Job.State.STATE_CANCELLING


def test_signs_of_life_and_unknown_updates_are_no_events() -> None:
    progress = planner_pb2.WatchJobResponse(sequence=3, progress=planner_pb2.WatchJobResponse.Progress())
    assert conversion.event(progress) is None
    assert conversion.event(planner_pb2.WatchJobResponse(sequence=3)) is None


def test_policies_go_both_ways() -> None:
    for ageing in (None, timedelta(), timedelta(seconds=90)):
        policy = Policy(name="ps-tcs", application_order=("a", "b"), ageing=ageing)
        assert conversion.policy(conversion.policy_to_wire(policy)) == policy
    for seed in (None, 0, -3):
        policy = Policy(name="random", seed=seed)
        assert conversion.policy(conversion.policy_to_wire(policy)) == policy


def test_outputs_of_models_and_tools() -> None:
    kind = planner_pb2.GetJobResultResponse.TaskOutput
    answer = task_pb2.TaskResult(llm=task_pb2.LlmOutput(text="hi", finish_reason="stop"))
    returned = task_pb2.TaskResult()
    returned.tool.number_value = 3
    text = conversion.task_output(kind(stage_id="a", task_index=2, result=answer))
    value = conversion.task_output(kind(stage_id="b", result=returned))
    assert (text.output, text.finish_reason, text.task_index) == ("hi", "stop", 2)
    assert (value.output, value.finish_reason) == (3, "")
