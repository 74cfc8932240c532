"""Jobs that come in: new ones, ones known already, recovered ones, reruns, and ones that make no sense."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from services.scheduler.core import PolicySettings, SchedulerMachine
from services.scheduler.core.effects import CancelAttempt, Dispatch, JobChanged, StageChanged, TaskChanged, Unfold
from services.scheduler.core.jobs import Stage, Task
from services.scheduler.core.model import (
    JobState,
    StageSnapshot,
    StageState,
    TaskSnapshot,
    TaskSpec,
    TaskState,
)
from tests.support.scheduling import (
    BROKEN,
    FLAKY,
    Bench,
    aborted,
    admitted,
    attached,
    cancel,
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


def running(attempt: int = 1, executor_id: str | None = "e1", **more: object) -> TaskSnapshot:
    return TaskSnapshot(
        spec=TaskSpec(), state=TaskState.RUNNING, attempt=attempt, executor_id=executor_id, started_at=0.0, **more
    )


def busy(spec_id: str = "a", *tasks: TaskSnapshot, **more: object) -> StageSnapshot:
    """A stage that was running when the scheduler went down."""
    return StageSnapshot(
        spec=llm(spec_id, **more), state=StageState.RUNNING, unfolding=1, ready_at=0.0, tasks=tasks or (running(),)
    )


def test_a_new_job_starts_with_the_stages_that_have_no_parents():
    bench = Bench()
    # "c" waits for "a": only "a" and "b" can be unfolded now.
    effects = bench.feed(admitted(job("j", llm("a"), tool("b"), llm("c", "a")), at=5.0, cause="rpc-1"))
    assert effects == [
        JobChanged(cause="rpc-1", job_id="j", state=JobState.RUNNING),
        StageChanged(cause="rpc-1", job_id="j", stage_id="a", state=StageState.UNFOLDING),
        Unfold(cause="rpc-1", job_id="j", stage_id="a", unfolding=1),
        StageChanged(cause="rpc-1", job_id="j", stage_id="b", state=StageState.UNFOLDING),
        Unfold(cause="rpc-1", job_id="j", stage_id="b", unfolding=1),
    ]
    assert bench.machine.active_jobs == 1
    assert bench.machine.job_ids() == ["j"]
    snapshot = bench.machine.snapshot("j")
    assert (snapshot.state, snapshot.started_at, snapshot.ended_at) == (JobState.RUNNING, 5.0, None)


def test_a_job_without_stages_is_done_at_once():
    assert [one.state for one in of(JobChanged, Bench().feed(admitted(job("j"))))] == [
        JobState.RUNNING,
        JobState.SUCCEEDED,
    ]


def test_a_known_job_is_not_admitted_again():
    bench = Bench()
    bench.feed(admitted(job("j", llm("a"))))
    before = bench.machine.snapshot("j")
    assert bench.feed(admitted(job("j", llm("x"), llm("y")), at=9.0)) == []
    assert bench.machine.snapshot("j") == before


def test_a_job_that_has_ended_is_not_admitted():
    bench = Bench()
    assert bench.feed(admitted(job("j", llm("a"), state=JobState.FAILED))) == []
    assert bench.machine.active_jobs == 0


def test_a_rerun_starts_where_the_stages_that_succeeded_end():
    done = StageSnapshot(spec=llm("a"), state=StageState.SUCCEEDED, unfolding=1)
    effects = Bench().feed(admitted(job("j", done, llm("b", "a"), llm("c", "b"))))
    assert [one.stage_id for one in of(Unfold, effects)] == ["b"]


def test_a_rerun_in_which_everything_is_done_succeeds_at_once():
    done = StageSnapshot(spec=llm("a"), state=StageState.SKIPPED, unfolding=1)
    effects = Bench().feed(admitted(job("j", done, state=JobState.RUNNING)))
    assert effects == [JobChanged(cause="test", job_id="j", state=JobState.SUCCEEDED)]


def test_a_recovered_stage_that_was_being_unfolded_is_asked_again_under_the_same_number():
    asked = StageSnapshot(spec=llm("a", recoverable=True), state=StageState.UNFOLDING, unfolding=4, failure=BROKEN)
    effects = Bench().feed(admitted(job("j", asked, state=JobState.RUNNING)))
    assert effects == [Unfold(cause="test", job_id="j", stage_id="a", unfolding=4, failure=BROKEN)]


def test_a_recovered_expansion_whose_stages_are_done_goes_on():
    # The scheduler stopped between the end of the last added stage and what follows from it.
    done = StageSnapshot(spec=llm("x"), state=StageState.SUCCEEDED, unfolding=1)
    plan = StageSnapshot(spec=dynamic("p"), state=StageState.EXPANDED, unfolding=1, waits_on=("x",))
    effects = Bench().feed(admitted(job("j", plan, done, llm("z", "p"), state=JobState.RUNNING)))
    assert effects == [
        StageChanged(cause="test", job_id="j", stage_id="p", state=StageState.SUCCEEDED),
        StageChanged(cause="test", job_id="j", stage_id="z", state=StageState.UNFOLDING),
        Unfold(cause="test", job_id="j", stage_id="z", unfolding=1),
    ]


def test_recovered_tasks_that_wait_are_dispatched_and_backoffs_go_on():
    waiting = busy(
        "a",
        TaskSnapshot(spec=TaskSpec(), state=TaskState.SUCCEEDED, attempt=1),
        TaskSnapshot(spec=TaskSpec()),
        TaskSnapshot(spec=TaskSpec(), state=TaskState.BACKOFF, attempt=1, retry_at=7.0, failure=FLAKY),
    )
    bench = Bench()
    bench.feed(attached("e1", slots=4))
    effects = bench.feed(admitted(job("j", waiting, state=JobState.RUNNING), at=3.0))
    assert dispatched(effects) == [("j", "a", 1, 1, "e1")]
    assert bench.machine.next_wake == 7.0
    assert dispatched(bench.feed(timer(7.0))) == [("j", "a", 2, 2, "e1")]


# ---- attempts that were running when the scheduler went down -------------------------------------------------------


def test_an_attempt_that_survived_the_scheduler_is_neither_lost_nor_run_twice():
    bench = Bench()
    # A new leader recovers the job; the executor has not come back yet, so its attempt is believed.
    assert bench.feed(admitted(job("j", busy(), state=JobState.RUNNING))) == []
    awaited = bench.machine.executors()[0]
    assert (awaited.executor_id, awaited.incarnation, awaited.attached) == ("e1", None, False)
    assert (awaited.running, awaited.free_slots) == ((ref("j", "a"),), 0)
    # It comes back and says that it still runs the attempt: nothing to do.
    assert bench.feed(attached("e1", slots=1, running=[ref("j", "a")])) == []
    # The result counts.
    assert of(JobChanged, bench.feed(succeeded(ref("j", "a"))))[-1].state is JobState.SUCCEEDED


def test_an_attempt_that_did_not_survive_is_tried_again_when_its_executor_is_back():
    bench = Bench()
    bench.feed(admitted(job("j", busy(), state=JobState.RUNNING)))
    assert dispatched(bench.feed(attached("e1"))) == [("j", "a", 0, 2, "e1")]


def test_an_attempt_whose_executor_never_comes_back_is_tried_elsewhere():
    bench = Bench()
    bench.feed(admitted(job("j", busy(), state=JobState.RUNNING)), attached("e2"))
    # The driver waits for the lease of the awaited executor, then gives it up.
    assert dispatched(bench.feed(lost("e1"))) == [("j", "a", 0, 2, "e2")]
    assert [one.executor_id for one in bench.machine.executors()] == ["e2"]


@pytest.mark.parametrize("executor_id", [None, "e1"])
def test_an_attempt_is_lost_if_its_executor_is_unknown_or_back_without_it(executor_id):
    bench = Bench()
    bench.feed(attached("e1"))
    effects = bench.feed(admitted(job("j", busy("a", running(executor_id=executor_id)), state=JobState.RUNNING)))
    assert dispatched(effects) == [("j", "a", 0, 2, "e1")]


def test_two_recovered_attempts_wait_for_the_same_executor():
    bench = Bench()
    bench.feed(admitted(job("j", busy("a", running(), running()), state=JobState.RUNNING)))
    assert bench.machine.executors()[0].running == (ref("j", "a", 0), ref("j", "a", 1))


def test_an_executor_that_attaches_before_its_job_is_recovered_has_its_attempt_cancelled_and_run_again():
    bench = Bench()
    # The wrong order, which costs an attempt but no job.
    effects = bench.feed(attached("e1", running=[ref("j", "a")]))
    assert effects == [CancelAttempt(cause="test", attempt=ref("j", "a"), executor_id="e1")]
    assert bench.feed(admitted(job("j", busy(), state=JobState.RUNNING))) == []
    assert dispatched(bench.feed(aborted(ref("j", "a")))) == [("j", "a", 0, 2, "e1")]


def test_an_attempt_held_by_another_executor_than_recorded_is_lost():
    bench = Bench()
    bench.feed(attached("e1", running=[ref("j", "a")]), attached("e2"))
    effects = bench.feed(admitted(job("j", busy("a", running(executor_id="e3")), state=JobState.RUNNING)))
    assert dispatched(effects) == [("j", "a", 0, 2, "e2")]


def test_losing_an_attempt_in_recovery_can_fail_the_job():
    # max_attempts of 1 promises at most one execution; nobody knows how far the lost one got.
    lonely = busy("a", running(executor_id=None), max_attempts=1)
    other = busy("b", running(executor_id="e1"), running(executor_id=None))
    bench = Bench()
    effects = bench.feed(admitted(job("j", lonely, other, state=JobState.RUNNING)))
    assert [one.state for one in of(JobChanged, effects)] == [JobState.CANCELLING]
    assert bench.machine.snapshot("j").failure.reason == "EXECUTOR_LOST"
    assert of(JobChanged, bench.feed(lost("e1")))[-1].state is JobState.FAILED


# ---- jobs that were stopping ---------------------------------------------------------------------------------------


def stopping(**more: object):
    return job("j", busy(), state=JobState.CANCELLING, failure=BROKEN, **more)


def test_a_job_that_was_stopping_asks_again_to_cancel_when_the_executor_is_back():
    bench = Bench()
    bench.feed(admitted(stopping(cancel_requested=True)))
    effects = bench.feed(attached("e1", running=[ref("j", "a")]))
    assert of(CancelAttempt, effects) == [CancelAttempt(cause="test", attempt=ref("j", "a"), executor_id="e1")]
    assert bench.feed(aborted(ref("j", "a"))) == [
        TaskChanged(cause="test", job_id="j", stage_id="a", task_index=0, attempt=1, state=TaskState.CANCELLED),
        StageChanged(cause="test", job_id="j", stage_id="a", state=StageState.CANCELLED),
        JobChanged(cause="test", job_id="j", state=JobState.CANCELLED, failure=BROKEN),
    ]


def test_a_job_that_was_stopping_ends_if_nothing_runs_any_more():
    bench = Bench()
    bench.feed(attached("e1"))
    effects = bench.feed(admitted(stopping()))
    assert of(JobChanged, effects) == [JobChanged(cause="test", job_id="j", state=JobState.FAILED, failure=BROKEN)]
    assert of(Dispatch, effects) == []


def test_a_stopping_job_whose_stages_all_ended_ends_at_admission():
    over = StageSnapshot(spec=llm("a"), state=StageState.CANCELLED)
    snapshot = job("j", over, state=JobState.CANCELLING, failure=BROKEN, cancel_requested=True)
    assert Bench().feed(admitted(snapshot)) == [
        JobChanged(cause="test", job_id="j", state=JobState.CANCELLED, failure=BROKEN)
    ]


# ---- jobs that make no sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([llm("a"), llm("a")], "stage id 'a' is taken"),
        ([llm("a", "ghost")], "waits for an unknown stage 'ghost'"),
        ([llm("a", "b"), llm("b", "c"), llm("c", "a")], "in a cycle"),
        ([llm("a", "a")], "in a cycle"),
        ([StageSnapshot(spec=dynamic("p"), state=StageState.EXPANDED, waits_on=("x",))], "unknown stage 'x'"),
        ([StageSnapshot(spec=llm("a"), state=StageState.FAILED)], "stage 'a' is FAILED, the job is not"),
        ([StageSnapshot(spec=llm("a"), state=StageState.READY, ready_at=0.0)], "is READY, its tasks are not"),
        ([StageSnapshot(spec=llm("a"), state=StageState.READY, tasks=(running(),))], "is READY, its tasks are not"),
        ([replace(busy(), ready_at=None)], "is RUNNING, its tasks are not"),
        ([busy("a", TaskSnapshot(spec=TaskSpec(), state=TaskState.SUCCEEDED))], "is RUNNING, its tasks are not"),
        ([busy("a", running(), TaskSnapshot(spec=TaskSpec(), state=TaskState.FAILED))], "its tasks are not"),
    ],
)
def test_a_job_that_could_never_end_is_refused_with_the_reason(stages, words):
    bench = Bench()
    effects = bench.feed(admitted(job("j", *stages)))
    assert [type(one) for one in effects] == [JobChanged]
    assert effects[0].state is JobState.FAILED
    assert effects[0].failure.reason == "INVALID_JOB"
    assert words in effects[0].failure.message
    assert bench.machine.active_jobs == 0


def test_a_diamond_is_not_a_cycle():
    stages = [llm("a"), llm("b", "a"), llm("c", "a", "b", "a"), llm("d", "b", "c")]
    assert of(JobChanged, Bench().feed(admitted(job("j", *stages))))[-1].state is JobState.RUNNING


# ---- leaving -------------------------------------------------------------------------------------------------------


def test_a_job_that_has_ended_can_be_read_until_the_next_call_and_is_then_forgotten():
    bench = Bench()
    bench.start(job("j", llm("a")))
    bench.feed(attached("e1"), succeeded(ref("j", "a"), at=4.0))
    assert bench.machine.active_jobs == 0
    snapshot = bench.machine.snapshot("j")
    assert (snapshot.state, snapshot.ended_at) == (JobState.SUCCEEDED, 4.0)
    assert bench.machine.stage_snapshot("j", "a") == snapshot.stages[0]
    assert bench.machine.task_snapshot("j", "a", 0) == snapshot.stages[0].tasks[0]
    bench.feed(timer(5.0))
    with pytest.raises(KeyError, match="j"):
        bench.machine.snapshot("j")


def test_a_forgotten_job_takes_no_memory():
    def count() -> int:
        return sum(isinstance(one, Stage | Task) for one in gc.get_objects())

    gc.collect()
    before = count()
    # No reference cycle must be left for the collector to find: under load it would come late.
    gc.disable()
    try:
        machine = SchedulerMachine(PolicySettings())
        machine.handle_batch([attached("e1"), admitted(job("j", llm("a"), llm("b", "a"))), unfolded("j", "a", tasks=2)])
        assert count() == before + 4
        machine.handle_batch([cancel("j"), aborted(ref("j", "a", 0))])
        assert machine.active_jobs == 0
        machine.handle(timer(1.0))
        assert count() == before
    finally:
        gc.enable()


def test_a_forgotten_job_may_come_in_again():
    bench = Bench()
    bench.feed(admitted(job("j")), admitted(job("j", llm("a"))))
    assert bench.machine.job_ids() == ["j"]


def test_a_snapshot_taken_in_the_middle_goes_in_again_unchanged():
    bench = Bench()
    bench.start(job("j", llm("a", backoff_seconds=4.0), dynamic("p"), llm("z", "a", "p"), structure="chain"), tasks=3)
    bench.feed(attached("e1", slots=3), unfolded("j", "p", stages=[tool("p/1"), tool("p/2", "p/1")], again=True))
    bench.feed(failed(ref("j", "a"), FLAKY), succeeded(ref("j", "a", 1), at=2.0))
    snapshot = bench.machine.snapshot("j")
    other = Bench()
    other.feed(admitted(snapshot))
    assert other.machine.snapshot("j") == snapshot
    assert other.machine.next_wake == bench.machine.next_wake == 4.0
    bench.feed(cancel("j"))
    halted = bench.machine.snapshot("j")
    other = Bench()
    other.feed(admitted(halted))
    assert other.machine.snapshot("j") == halted
