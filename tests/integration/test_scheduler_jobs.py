"""Jobs through a real scheduler: gRPC on a free port, scripted executors and a scripted planner."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.api.planner.v1 import planner_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from services.profiler.core.calibration import DecodeSteps, Report
from services.scheduler.core.model import JobState, StageState, TaskState
from services.scheduler.event_log import read_log, replay
from tests.support.cluster import OUTPUT, Cluster, UnfoldedItem, UnfoldItem, llm_task, tool_tasks
from tests.support.scheduling import llm, tool


async def test_a_job_runs_stage_by_stage_and_ends_with_its_output() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("first"), tool("second", "first", position=1))
        for stage in ("first", "second"):
            assign = await executor.assigned()
            assert assign.attempt.stage_id == stage
            assert assign.payload.tool.args["stage"] == stage
            await executor.succeed(assign.attempt, f"result of {stage}")
            assert await executor.stored() == assign.attempt
        job = await cluster.ended("job-1")
        assert job.status.state is JobState.SUCCEEDED
        assert {stage.state for stage in job.stages.values()} == {StageState.SUCCEEDED}
        outputs = await cluster.state.get_outputs("job-1")
        assert outputs is not None
        results = {key: task_pb2.TaskResult.FromString(data) for key, data in outputs.results.items()}
        assert {key: result.tool.string_value for key, result in results.items()} == {
            ("first", 0): "result of first",
            ("second", 0): "result of second",
        }
        assert await cluster.state.get_output("job-1") == b"\x1a\x04done"


async def test_the_status_tells_when_a_job_started_and_ended_and_what_it_used() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach(kind=executor_pb2.Register.KIND_LLM, models=["m"])
        cluster.planner.script["ask"] = llm_task("how are you?")
        await cluster.submit("job-1", llm("ask"))
        assign = await executor.assigned()
        assert assign.stream_output
        running = await cluster.job("job-1")
        assert running.status.state is JobState.RUNNING
        assert running.status.started_at == running.stages["ask"].tasks[0].started_at
        finished = executor_pb2.Finished(attempt=assign.attempt)
        finished.result.llm.text = "fine"
        finished.result.usage.prompt_tokens, finished.result.usage.completion_tokens = 7, 3
        await executor.send(finished=finished)
        status = (await cluster.ended("job-1")).status
        assert (status.prompt_tokens, status.completion_tokens, status.cached_tokens) == (7, 3, 0)
        assert status.started_at is not None
        assert status.ended_at is not None
        assert status.started_at <= status.ended_at


async def test_watchers_see_every_change_in_order() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        executor.automatic = True
        await cluster.submit("job-1", tool("work"))
        await cluster.ended("job-1")
        seen = [type(event.update).__name__ for event in await cluster.state.read_events("job-1", after=0)]
        # Accepted; taken up and unfolding; ready, dispatched; done; the output; the end.
        assert seen[0] == "JobUpdate"
        assert seen[-1] == "JobUpdate"
        assert seen.count("JobUpdate") == 3
        assert seen.count("TaskUpdate") == 2


async def test_observations_tell_how_fast_engines_are() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach(slots=2)
        cluster.planner.script["work"] = tool_tasks(1)
        await cluster.submit("job-1", tool("work"))
        assign = await executor.assigned()
        steps = executor_pb2.EngineSteps(decode=[executor_pb2.DecodeSteps(batch=2, steps=10.0, square_seconds=0.001)])
        steps.decode[0].duration.FromMilliseconds(100)
        beat = executor_pb2.Heartbeat(healthy=True, running=[assign.attempt], steps=steps)
        await executor.send(heartbeat=beat)
        await executor.succeed(assign.attempt)
        await cluster.ended("job-1")
        (line,) = await cluster.observations("steps")
        report = Report.of_plain(line)
        assert report == Report(decode=(DecodeSteps(batch=2, steps=10.0, seconds=0.1, squares=0.001),))


async def test_observations_tell_what_attempts_and_jobs_have_shown() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach(slots=2)
        cluster.planner.script["work"] = tool_tasks(2)
        await cluster.submit("job-1", tool("work"))
        for _ in range(2):
            assign = await executor.assigned()
            finished = executor_pb2.Finished(attempt=assign.attempt)
            finished.result.tool.string_value = "ok"
            finished.result.timings.total.FromMilliseconds(250)
            await executor.send(finished=finished)
        await cluster.ended("job-1")
        attempts = await cluster.observations("attempt")
        assert [(line["task"], line["used_slots"], line["width"], line["total"]) for line in attempts] == [
            (0, 1, 2, 0.25),
            (1, 2, 2, 0.25),
        ]
        (job,) = await cluster.observations("job")
        assert job["outcome"] == "succeeded"
        assert [(stage["stage"], stage["state"], stage["width"]) for stage in job["stages"]] == [
            ("work", "SUCCEEDED", 2),
            (OUTPUT, "SUCCEEDED", 0),
        ]


async def test_a_failed_attempt_is_tried_again_with_the_same_payload() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("work", backoff_seconds=0.01))
        first = await executor.assigned()
        failure = task_pb2.Failure(reason="FLAKY", message="try again", retryable=True)
        await executor.send(finished=executor_pb2.Finished(attempt=first.attempt, failure=failure))
        second = await executor.assigned()
        assert second.attempt.attempt == 2
        # It is not in memory any more: read back from the durable state.
        assert second.payload == first.payload
        await executor.succeed(second.attempt)
        assert (await cluster.ended("job-1")).status.state is JobState.SUCCEEDED
        assert [line["outcome"] for line in await cluster.observations("attempt")] == ["failed", "succeeded"]


async def test_a_payload_that_the_state_has_lost_fails_its_job_and_frees_the_slot() -> None:
    async with Cluster.start(payload_cache_bytes=0) as cluster:
        executor = await cluster.attach()
        cluster.leader.state.forgotten = {"job-1"}
        await cluster.submit("job-1", tool("work"))
        job = await cluster.ended("job-1")
        assert job.status.failure is not None
        assert job.status.failure.reason == "PAYLOAD_LOST"
        await cluster.submit("job-2", tool("work"))
        assert (await executor.assigned()).attempt.job_id == "job-2"


async def test_a_job_fails_when_a_stage_fails_for_good() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("work"))
        assign = await executor.assigned()
        failure = task_pb2.Failure(reason="BROKEN", message="no way", metadata={"file": "x"})
        await executor.send(finished=executor_pb2.Finished(attempt=assign.attempt, failure=failure))
        job = await cluster.ended("job-1")
        assert job.status.state is JobState.FAILED
        assert job.status.failure is not None
        assert job.status.failure.metadata == {"file": "x"}


async def test_cancel_reaches_the_executor_and_frees_the_slot() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("work"))
        assign = await executor.assigned()
        await cluster.leader.stub.CancelJob(scheduler_pb2.CancelJobRequest(job_id="job-1", reason="not needed"))
        # The answer means that it is durable.
        stopping = await cluster.job("job-1")
        assert (stopping.status.state, stopping.status.cancel_requested) == (JobState.CANCELLING, True)
        assert await executor.cancelled() == assign.attempt
        await executor.send(finished=executor_pb2.Finished(attempt=assign.attempt, cancelled=executor_pb2.Cancelled()))
        job = await cluster.ended("job-1")
        assert job.status.state is JobState.CANCELLED
        await cluster.submit("job-2", tool("work"))
        assert (await executor.assigned()).attempt.job_id == "job-2"


async def test_a_job_that_no_scheduler_has_taken_up_can_be_cancelled() -> None:
    async with Cluster.start() as cluster:
        await cluster.submit("job-1", tool("work"), admit=False)
        await cluster.leader.stub.CancelJob(scheduler_pb2.CancelJobRequest(job_id="job-1"))
        assert (await cluster.job("job-1")).status.state is JobState.CANCELLED
        # Once more changes nothing.
        await cluster.leader.stub.CancelJob(scheduler_pb2.CancelJobRequest(job_id="job-1"))


async def test_admitting_a_job_again_changes_nothing_before_and_after_its_end() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("work"))
        assert await cluster.admit("job-1", "job-1", "nobody") == ["nobody"]
        await executor.succeed((await executor.assigned()).attempt)
        ended = await cluster.ended("job-1")
        assert await cluster.admit("job-1") == []
        assert await cluster.job("job-1") == ended
        assert executor.nothing_assigned()


async def test_a_job_that_can_never_run_fails_at_once() -> None:
    async with Cluster.start() as cluster:
        await cluster.submit("job-1", tool("work", "nowhere"))
        job = await cluster.ended("job-1")
        assert job.status.failure is not None
        assert job.status.failure.reason == "INVALID_JOB"


async def test_a_planner_that_is_down_stalls_stages_and_nothing_else() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("first"), tool("second", "first", position=1))
        assign = await executor.assigned()
        address = cluster.planner.address
        await cluster.planner.stop()
        await executor.succeed(assign.attempt)
        job = await cluster.until("job-1", lambda job: job.stages["first"].state is StageState.SUCCEEDED)
        assert job.stages["second"].state is StageState.UNFOLDING
        await cluster.planner.start(address)
        assert (await executor.assigned()).attempt.stage_id == "second"


async def test_a_stage_that_breaks_the_planner_takes_no_other_with_it() -> None:
    def broken(item: UnfoldItem) -> UnfoldedItem:
        raise RuntimeError("cannot unfold this")

    async with Cluster.start() as cluster:
        executor = await cluster.attach(slots=2)
        cluster.planner.script["bad"] = broken
        await cluster.submit("good", tool("work"), admit=False)
        await cluster.submit("bad", tool("bad"), admit=False)
        await cluster.admit("good", "bad")
        # Both were asked for in one call; the good one is asked for again alone.
        assert (await executor.assigned()).attempt.job_id == "good"
        job = await cluster.ended("bad")
        assert job.status.failure is not None
        assert job.status.failure.reason == "UNFOLD_FAILED"
        assert sorted(cluster.planner.calls[0]) == ["bad", "work"]


async def test_planner_errors_that_pass_are_not_the_stages_fault() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        cluster.planner.errors = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.ABORTED]
        await cluster.submit("job-1", tool("work"))
        assert (await executor.assigned()).attempt.stage_id == "work"


async def test_what_the_planner_says_of_a_stage_becomes_its_failure() -> None:
    async with Cluster.start() as cluster:
        cluster.planner.script["work"] = lambda item: UnfoldedItem(
            failure=task_pb2.Failure(reason="TEMPLATE_ERROR", message="no such variable")
        )
        await cluster.submit("job-1", tool("work"))
        job = await cluster.ended("job-1")
        assert job.status.failure is not None
        assert job.status.failure.reason == "TEMPLATE_ERROR"


async def test_text_reaches_watchers_while_it_is_written() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach(kind=executor_pb2.Register.KIND_LLM, models=["m"])
        cluster.planner.script["ask"] = llm_task("how are you?")
        await cluster.submit("job-1", llm("ask"))
        assign = await executor.assigned()
        deltas = cluster.state.watch_deltas("job-1")
        taken = asyncio.ensure_future(anext(deltas))
        await asyncio.sleep(0)  # the watcher subscribes
        stale = executor_pb2.AttemptRef(job_id="job-1", stage_id="ask", task_index=0, attempt=9)
        await executor.send(progress=executor_pb2.Progress(attempt=stale, text="from the past"))
        await executor.send(progress=executor_pb2.Progress(attempt=assign.attempt, offset=4, text="fine"))
        delta = planner_pb2.WatchJobResponse.OutputDelta.FromString(await taken)
        assert (delta.stage_id, delta.attempt, delta.offset, delta.text) == ("ask", 1, 4, "fine")
        await deltas.aclose()


async def test_prompts_that_wait_are_counted_and_the_rest_is_not() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach(kind=executor_pb2.Register.KIND_LLM, models=["m"], counts_tokens=True)
        cluster.planner.script["ask"] = llm_task("how are you?")
        await cluster.submit("job-1", llm("ask"))
        first = await executor.assigned()
        assert executor.questions.empty()
        await cluster.submit("job-2", llm("ask"))
        question = await executor.questions.get()
        assert [call.prompt for call in question.calls] == ["how are you?"]
        await executor.send(tokens_counted=executor_pb2.TokensCounted(count_id=question.count_id, prompt_tokens=[5]))
        await executor.succeed(first.attempt)
        await executor.assigned()
        task = (await cluster.job("job-2")).stages["ask"].tasks[0]
        assert (task.spec.prompt_tokens, task.spec.counted, task.state) == (5, True, TaskState.RUNNING)


async def test_many_small_jobs_need_few_commits() -> None:
    """While a commit is under way, what happens gathers for the next one."""
    async with Cluster.start() as cluster:
        executor = await cluster.attach(slots=100)
        executor.automatic = True
        store = cluster.leader.state
        for number in range(100):
            await cluster.submit(f"job-{number}", tool("work"), admit=False)
        before = len(store.commits)
        store.commit_gate.close()
        calls = [asyncio.create_task(cluster.admit(f"job-{number}")) for number in range(100)]
        await store.commit_gate.arrived.wait()
        store.commit_gate.open()
        await asyncio.gather(*calls)
        for number in range(100):
            assert (await cluster.ended(f"job-{number}")).status.state is JobState.SUCCEEDED
        numbers = [number for number, _ in store.commits[before:]]
        assert numbers == sorted(set(numbers))
        # Each job changes in four batches at least.
        assert len(numbers) < 400


async def test_the_event_log_of_a_live_run_replays_to_the_same_decisions(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with Cluster.start(event_log=str(path), policy="fair") as cluster:
        executor = await cluster.attach(slots=2)
        executor.automatic = True
        for number in range(5):
            await cluster.submit(f"job-{number}", tool("first"), tool("second", "first", position=1))
        for number in range(5):
            await cluster.ended(f"job-{number}")
    (term,) = read_log(path)
    assert term.policy.name == "fair"
    assert sum(len(record.events) for record in term.records) > 5 * 5
    assert replay(path) is None
    # A log that says otherwise is found out.
    text = path.read_text().replace('"executor_id":"tool-0","priority"', '"executor_id":"tool-1","priority"', 1)
    path.write_text(text)
    divergence = replay(path)
    assert divergence is not None
    assert divergence.expected is not None
