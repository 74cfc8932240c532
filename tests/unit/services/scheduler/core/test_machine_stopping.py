"""Jobs that are cancelled or fail: what runs is asked to stop, what waits is dropped, and then the job ends."""

from __future__ import annotations

import pytest

from services.scheduler.core.effects import CancelAttempt, JobChanged, StageChanged, StoreResult, TaskChanged
from services.scheduler.core.model import Failure, JobState, StageState, TaskState
from tests.support.scheduling import (
    BROKEN,
    FLAKY,
    Bench,
    aborted,
    admitted,
    attached,
    attempt_lost,
    cancel,
    detached,
    dispatched,
    dynamic,
    failed,
    job,
    llm,
    lost,
    of,
    ref,
    succeeded,
    timer,
    tool,
    unfolded,
)

ASKED = Failure(reason="CANCELLED", message="enough")


def job_states(effects) -> list[str]:
    return [str(one.state) for one in of(JobChanged, effects)]


def test_a_job_that_waits_is_cancelled_at_once():
    bench = Bench()
    bench.start(job("j", llm("a"), llm("b", "a")), tasks=2)
    assert bench.feed(cancel("j", at=3.0, reason="enough", cause="rpc")) == [
        TaskChanged(cause="rpc", job_id="j", stage_id="a", task_index=0, attempt=0, state=TaskState.CANCELLED),
        TaskChanged(cause="rpc", job_id="j", stage_id="a", task_index=1, attempt=0, state=TaskState.CANCELLED),
        StageChanged(cause="rpc", job_id="j", stage_id="a", state=StageState.CANCELLED),
        StageChanged(cause="rpc", job_id="j", stage_id="b", state=StageState.CANCELLED),
        JobChanged(cause="rpc", job_id="j", state=JobState.CANCELLED, failure=ASKED),
    ]
    assert bench.machine.counts().waiting_tasks == 0


def test_a_job_that_runs_ends_when_its_attempts_have_ended():
    bench = Bench()
    bench.feed(attached("e1", slots=2))
    bench.start(job("j", llm("a")), tasks=3)
    effects = bench.feed(cancel("j", reason="enough"))
    assert effects == [
        JobChanged(cause="test", job_id="j", state=JobState.CANCELLING, failure=ASKED),
        CancelAttempt(cause="test", attempt=ref("j", "a", 0), executor_id="e1"),
        CancelAttempt(cause="test", attempt=ref("j", "a", 1), executor_id="e1"),
        TaskChanged(cause="test", job_id="j", stage_id="a", task_index=2, attempt=0, state=TaskState.CANCELLED),
    ]
    assert bench.machine.snapshot("j").cancel_requested
    assert job_states(bench.feed(aborted(ref("j", "a", 1)))) == []
    effects = bench.feed(aborted(ref("j", "a", 0)))
    assert of(StageChanged, effects)[-1].state is StageState.CANCELLED
    assert job_states(effects) == ["CANCELLED"]


@pytest.mark.parametrize(
    "ending",
    [
        succeeded(ref("j", "a"), at=2.0),  # it was faster than the order to stop
        failed(ref("j", "a"), FLAKY, at=2.0),
        aborted(ref("j", "a"), at=2.0),
        attempt_lost(ref("j", "a"), at=2.0),
        lost("e1", at=2.0),
        attached("e1", incarnation="second", at=2.0),
    ],
)
def test_however_the_last_attempt_ends_the_job_is_cancelled_and_no_result_is_stored(ending):
    bench = Bench()
    bench.feed(attached("e1"))
    bench.start(job("j", llm("a")))
    bench.feed(cancel("j"))
    effects = bench.feed(ending)
    assert job_states(effects) == ["CANCELLED"]
    assert of(StoreResult, effects) == []
    assert dispatched(effects) == []
    assert bench.machine.task_snapshot("j", "a", 0).state is TaskState.CANCELLED


def test_a_stage_that_fails_takes_the_whole_job_with_it():
    bench = Bench()
    bench.feed(attached("e1", slots=3), attached("t1", "tool:any"))
    bench.start(job("j", llm("a"), tool("b"), dynamic("p"), llm("never", "a")), tasks=2)
    bench.feed(unfolded("j", "p", stages=[llm("p/1")]), succeeded(ref("j", "b", 0)))
    effects = bench.feed(failed(ref("j", "a", 1), BROKEN))
    assert [one.attempt for one in of(CancelAttempt, effects)] == [ref("j", "a", 0), ref("j", "b", 1)]
    # The stage has failed, though one of its attempts still runs.
    assert {(one.stage_id, str(one.state)) for one in of(StageChanged, effects)} == {
        ("a", "FAILED"),
        ("p", "CANCELLED"),
        ("p/1", "CANCELLED"),
        ("never", "CANCELLED"),
    }
    assert job_states(effects) == ["CANCELLING"]
    # The planner's answer for a stage of a job that stops comes too late.
    assert bench.feed(unfolded("j", "p/1", tasks=1)) == []
    bench.feed(aborted(ref("j", "a", 0)))
    assert job_states(bench.feed(succeeded(ref("j", "b", 1)))) == ["FAILED"]
    stages = {one.spec.stage_id: one for one in bench.machine.snapshot("j").stages}
    assert (stages["a"].state, stages["a"].failure) == (StageState.FAILED, BROKEN)
    assert [str(task.state) for task in stages["b"].tasks] == ["SUCCEEDED", "CANCELLED"]


def test_a_backoff_of_a_job_that_stops_wakes_nobody():
    bench = Bench()
    bench.feed(attached("e1"))
    bench.start(job("j", llm("a")))
    bench.feed(failed(ref("j", "a"), FLAKY))
    assert bench.machine.next_wake == 1.0
    assert job_states(bench.feed(cancel("j"))) == ["CANCELLED"]
    assert bench.machine.next_wake is None
    assert bench.feed(timer(2.0)) == []


def test_a_job_that_fails_stays_failed_when_it_is_cancelled_too():
    bench = Bench()
    bench.feed(attached("e1", slots=2))
    bench.start(job("j", llm("a")), tasks=2)
    bench.feed(failed(ref("j", "a", 0), BROKEN))
    assert bench.feed(cancel("j")) == []
    assert job_states(bench.feed(aborted(ref("j", "a", 1)))) == ["FAILED"]


def test_cancelling_an_unknown_job_changes_nothing():
    assert Bench().feed(cancel("ghost")) == []


def test_a_slot_of_a_cancelled_attempt_is_free_only_when_the_executor_says_so():
    bench = Bench()
    bench.feed(attached("e1"))
    bench.start(job("j", llm("a")), job("k", llm("b"), order=1))
    assert dispatched(bench.feed(cancel("j"))) == []
    assert dispatched(bench.feed(aborted(ref("j", "a")))) == [("k", "b", 0, 1, "e1")]


def test_the_order_to_cancel_is_repeated_when_the_executor_was_away():
    bench = Bench()
    bench.feed(attached("e1"))
    bench.start(job("j", llm("a")))
    # The stream breaks, the order to cancel reaches nobody.
    bench.feed(detached("e1"), cancel("j"))
    effects = bench.feed(attached("e1", running=[ref("j", "a")]))
    assert effects == [CancelAttempt(cause="test", attempt=ref("j", "a"), executor_id="e1")]


def test_attempts_of_a_job_that_is_gone_are_cancelled_when_their_executor_comes_back():
    bench = Bench()
    effects = bench.feed(attached("e1", running=[ref("gone", "a")]))
    assert effects == [CancelAttempt(cause="test", attempt=ref("gone", "a"), executor_id="e1")]
    bench.start(job("j", llm("a")))
    assert dispatched(bench.feed(aborted(ref("gone", "a")))) == [("j", "a", 0, 1, "e1")]


def test_other_jobs_go_on():
    bench = Bench()
    bench.feed(attached("e1"), admitted(job("j", llm("a"))), admitted(job("k", llm("a"))))
    bench.feed(cancel("j"))
    assert bench.machine.job_ids() == ["k"]


def test_a_stage_that_is_ready_and_cancelled_at_once_never_waits():
    bench = Bench()
    bench.feed(admitted(job("j", llm("a"))))
    effects = bench.feed_at_once(unfolded("j", "a", tasks=1), cancel("j"))
    assert of(JobChanged, effects)[-1].state is JobState.CANCELLED
    assert bench.machine.active_jobs == 0
    assert dispatched(bench.feed(attached("e", "llm"))) == []
