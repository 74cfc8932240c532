"""Attempts end: well, badly, never, twice, late. Each result is applied once, whatever comes in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.scheduler.core.effects import JobChanged, StageChanged, StoreResult, TaskChanged
from services.scheduler.core.lifecycle import MAX_DOUBLINGS, MAX_LOSSES
from services.scheduler.core.model import JobState, Measurement, StageState, TaskState
from tests.support.scheduling import (
    BROKEN,
    FLAKY,
    Bench,
    aborted,
    admitted,
    attached,
    attempt_lost,
    dispatched,
    failed,
    job,
    llm,
    lost,
    of,
    ref,
    succeeded,
    timer,
    tool,
)


def one_running(**more: object) -> Bench:
    """One job, one stage, one task, running on "e1"."""
    bench = Bench()
    bench.feed(attached("e1"))
    bench.start(job("j", llm("a", **more)))
    return bench


def test_a_result_is_stored_and_what_was_measured_is_kept():
    bench = one_running()
    measured = Measurement(prompt_tokens=3, output_tokens=5, queue_seconds=0.5, total_seconds=2.0)
    event = succeeded(ref("j", "a"), at=2.0)
    event = type(event)(at=2.0, cause="stream", attempt=event.attempt, measurement=measured)
    assert bench.feed(event) == [
        StoreResult(cause="stream", attempt=ref("j", "a")),
        TaskChanged(cause="stream", job_id="j", stage_id="a", task_index=0, attempt=1, state=TaskState.SUCCEEDED),
        StageChanged(cause="stream", job_id="j", stage_id="a", state=StageState.SUCCEEDED),
        JobChanged(cause="stream", job_id="j", state=JobState.SUCCEEDED),
    ]
    task = bench.machine.task_snapshot("j", "a", 0)
    assert (task.measurement, task.ended_at, task.executor_id) == (measured, 2.0, "e1")


def test_service_is_counted_by_kind_without_the_wait_inside_the_executor():
    bench = Bench("fair")
    bench.feed(attached("e1"), attached("t1", "tool:any"))
    bench.start(job("j", llm("a"), tool("b"), llm("c")), tasks=1)
    event = succeeded(ref("j", "a"))
    waited = Measurement(prompt_tokens=3, output_tokens=2, queue_seconds=1.0, total_seconds=5.0)
    bench.feed(type(event)(at=1.0, cause="test", attempt=event.attempt, measurement=waited))
    bench.feed(succeeded(ref("j", "b"), seconds=7.0))
    bench.start(job("k", llm("x")))
    view = bench.machine.view("j")
    assert (view.attained_llm_seconds, view.attained_tool_seconds, view.running_tasks) == (4.0, 7.0, 1)
    assert (view.done_prompt_tokens, view.done_output_tokens) == (3, 2)
    # A job that is recovered has attained as much as before.
    other = Bench()
    other.feed(admitted(bench.machine.snapshot("j")))
    recovered = other.machine.view("j")
    assert replace(recovered, stages=view.stages) == view
    assert [one.state for one in recovered.stages.values()] == [one.state for one in view.stages.values()]


# ---- failures ------------------------------------------------------------------------------------------------------


def test_a_failed_attempt_is_tried_again_after_a_backoff_that_doubles():
    bench = one_running(max_attempts=4, backoff_seconds=3.0)
    assert bench.feed(failed(ref("j", "a"), FLAKY, at=10.0)) == [
        TaskChanged(cause="test", job_id="j", stage_id="a", task_index=0, attempt=1, state=TaskState.BACKOFF)
    ]
    assert bench.machine.next_wake == 13.0
    assert bench.machine.task_snapshot("j", "a", 0).failure == FLAKY
    # A timer that rings early wakes nobody.
    assert bench.feed(timer(12.9)) == []
    effects = bench.feed(timer(13.5))
    assert dispatched(effects) == [("j", "a", 0, 2, "e1")]
    # It waited since the end of the backoff, not since the timer rang.
    assert effects[-1].waited_seconds == 0.5
    assert bench.machine.next_wake is None
    bench.feed(failed(ref("j", "a", attempt=2), FLAKY, at=20.0))
    assert bench.machine.next_wake == 26.0
    bench.feed(timer(26.0), failed(ref("j", "a", attempt=3), FLAKY, at=30.0))
    assert bench.machine.next_wake == 42.0


def test_the_last_attempt_that_fails_fails_the_job():
    bench = one_running(max_attempts=2)
    bench.feed(failed(ref("j", "a"), FLAKY, at=1.0), timer(2.0))
    assert bench.feed(failed(ref("j", "a", attempt=2), FLAKY, at=3.0)) == [
        TaskChanged(cause="test", job_id="j", stage_id="a", task_index=0, attempt=2, state=TaskState.FAILED),
        StageChanged(cause="test", job_id="j", stage_id="a", state=StageState.FAILED),
        JobChanged(cause="test", job_id="j", state=JobState.FAILED, failure=FLAKY),
    ]


def test_a_failure_that_would_come_again_is_not_retried():
    assert of(JobChanged, one_running().feed(failed(ref("j", "a"), BROKEN)))[-1].failure == BROKEN


def test_the_backoff_stops_doubling():
    bench = one_running(max_attempts=10_000)
    # Long after: an exponent of thousands would overflow.
    bench.machine._lifecycle.jobs["j"].stages["a"].tasks[0].attempt = 5_000
    bench.machine._fleet.release(ref("j", "a"))
    bench.machine._fleet.hold(bench.machine._fleet.executors["e1"], ref("j", "a", attempt=5_000))
    bench.feed(failed(ref("j", "a", attempt=5_000), FLAKY, at=0.0))
    assert bench.machine.next_wake == 2.0**MAX_DOUBLINGS


def test_backoffs_end_in_the_order_of_their_times():
    bench = Bench()
    bench.feed(attached("e1", slots=2))
    bench.start(job("j", llm("a")), tasks=2)
    bench.feed(failed(ref("j", "a", 1), FLAKY, at=1.0), failed(ref("j", "a", 0), FLAKY, at=1.5))
    assert bench.machine.next_wake == 2.0
    assert dispatched(bench.feed(timer(2.0))) == [("j", "a", 1, 2, "e1")]
    assert dispatched(bench.feed(timer(2.5))) == [("j", "a", 0, 2, "e1")]


# ---- losses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [attempt_lost, aborted])
def test_a_lost_attempt_is_tried_again_at_once(ending):
    bench = one_running()
    # Aborted though nobody asked, as by an executor that shuts down: as good as lost.
    effects = bench.feed(ending(ref("j", "a"), at=4.0))
    assert effects[0] == TaskChanged(
        cause="test", job_id="j", stage_id="a", task_index=0, attempt=1, state=TaskState.READY
    )
    assert dispatched(effects) == [("j", "a", 0, 2, "e1")]
    assert effects[-1].waited_seconds == 0.0
    assert bench.machine.task_snapshot("j", "a", 0).losses == 1


def test_losses_do_not_count_against_max_attempts():
    bench = one_running(max_attempts=2, backoff_seconds=3.0)
    bench.feed(attempt_lost(ref("j", "a")), attempt_lost(ref("j", "a", attempt=2)))
    # The third attempt is the first that fails by itself: it is retried, after the first backoff.
    bench.feed(failed(ref("j", "a", attempt=3), FLAKY, at=10.0))
    assert bench.machine.next_wake == 13.0
    bench.feed(timer(13.0))
    assert of(JobChanged, bench.feed(failed(ref("j", "a", attempt=4), FLAKY)))[-1].state is JobState.FAILED


def test_a_task_that_takes_every_executor_with_it_fails_in_the_end():
    bench = one_running()
    for attempt in range(1, MAX_LOSSES + 1):
        assert dispatched(bench.feed(attempt_lost(ref("j", "a", attempt=attempt))))
    effects = bench.feed(attempt_lost(ref("j", "a", attempt=MAX_LOSSES + 1)))
    assert of(JobChanged, effects)[-1].failure.reason == "EXECUTOR_LOST"


def test_a_task_that_runs_at_most_once_is_not_tried_again_when_its_executor_is_lost():
    bench = one_running(max_attempts=1)
    bench.feed(attached("e2"))
    effects = bench.feed(lost("e1"))
    assert dispatched(effects) == []
    assert of(JobChanged, effects)[-1].failure.reason == "EXECUTOR_LOST"


# ---- fencing -------------------------------------------------------------------------------------------------------


def test_a_result_of_an_attempt_that_was_given_up_is_dropped():
    bench = one_running()
    bench.feed(attached("e2"))
    # e1 goes silent. Its lease runs out, and the task is tried again elsewhere.
    assert dispatched(bench.feed(lost("e1", at=30.0))) == [("j", "a", 0, 2, "e2")]
    # e1 comes back from the dead and delivers what it had done.
    assert bench.feed(succeeded(ref("j", "a"), at=31.0)) == []
    assert bench.feed(failed(ref("j", "a"), BROKEN, at=31.0)) == []
    # Only the second attempt counts.
    effects = bench.feed(succeeded(ref("j", "a", attempt=2), at=32.0))
    assert of(StoreResult, effects) == [StoreResult(cause="test", attempt=ref("j", "a", attempt=2))]


@pytest.mark.parametrize(
    "event",
    [
        succeeded(ref("ghost", "a")),
        succeeded(ref("j", "ghost")),
        succeeded(ref("j", "a", 1)),
        succeeded(ref("j", "a", -1)),
        succeeded(ref("j", "a", attempt=2)),
        failed(ref("j", "a", attempt=0)),
        aborted(ref("j", "a", 99)),
        attempt_lost(ref("ghost", "a")),
    ],
)
def test_news_of_an_attempt_that_does_not_run_changes_nothing(event):
    bench = one_running()
    bench.start(job("k", llm("b"), order=1))
    before = (bench.machine.snapshot("j"), bench.machine.snapshot("k"), bench.machine.executors())
    assert bench.feed(event) == []
    assert (bench.machine.snapshot("j"), bench.machine.snapshot("k"), bench.machine.executors()) == before


def test_a_result_that_is_delivered_twice_is_applied_once_and_frees_one_slot():
    bench = Bench()
    bench.feed(attached("e1", slots=2))
    bench.start(job("j", llm("a")), tasks=4)
    assert dispatched(bench.feed(succeeded(ref("j", "a", 0)))) == [("j", "a", 2, 1, "e1")]
    assert bench.feed(succeeded(ref("j", "a", 0))) == []
    assert bench.machine.counts().running_attempts == 2


def test_strays_hold_slots_but_have_no_say():
    # e1 was lost with the attempt, then comes back and still runs it.
    bench = one_running()
    bench.feed(lost("e1"))
    bench.feed(attached("e1", running=[ref("j", "a"), ref("ghost", "x"), ref("j", "a", 7)], slots=4))
    assert bench.machine.counts().free_slots == 0
    assert dispatched(bench.feed(aborted(ref("ghost", "x")))) == []
    assert bench.machine.task_snapshot("j", "a", 0).attempt == 2
    bench.feed(succeeded(ref("j", "a"), at=3.0), aborted(ref("j", "a", 7)))
    assert bench.machine.executors()[0].running == (ref("j", "a", attempt=2),)
