"""Stages become tasks or further stages: fan-out, conditions, plans, loops, fallbacks, and senseless answers."""

from __future__ import annotations

import pytest

from services.scheduler.core.effects import CancelAttempt, JobChanged, StageChanged, StoreResult, TaskChanged, Unfold
from services.scheduler.core.model import Failure, JobState, StageState, TaskSpec, TaskState
from tests.support.scheduling import (
    BROKEN,
    FLAKY,
    Bench,
    aborted,
    admitted,
    attached,
    counted,
    dispatched,
    dynamic,
    failed,
    job,
    llm,
    of,
    ref,
    succeeded,
    tool,
    unfold_failed,
    unfolded,
)


def states(bench: Bench, job_id: str = "j") -> dict[str, str]:
    return {one.spec.stage_id: str(one.state) for one in bench.machine.snapshot(job_id).stages}


def asked(effects) -> list[tuple[str, int]]:
    return [(one.stage_id, one.unfolding) for one in of(Unfold, effects)]


def test_a_stage_runs_through_all_its_tasks_before_its_children_start():
    bench = Bench()
    bench.feed(attached("e1", slots=2), admitted(job("j", llm("a", timeout_seconds=9.0), llm("b", "a"))))
    effects = bench.feed(unfolded("j", "a", tasks=2, at=1.0, cause="planner"))
    assert effects[:3] == [
        StageChanged(cause="planner", job_id="j", stage_id="a", state=StageState.READY),
        # The first dispatch of a stage sets it RUNNING.
        StageChanged(cause="planner", job_id="j", stage_id="a", state=StageState.RUNNING),
        TaskChanged(cause="planner", job_id="j", stage_id="a", task_index=0, attempt=1, state=TaskState.RUNNING),
    ]
    assert dispatched(effects) == [("j", "a", 0, 1, "e1"), ("j", "a", 1, 1, "e1")]
    assert bench.feed(succeeded(ref("j", "a", 1), at=2.0, cause="stream")) == [
        StoreResult(cause="stream", attempt=ref("j", "a", 1)),
        TaskChanged(cause="stream", job_id="j", stage_id="a", task_index=1, attempt=1, state=TaskState.SUCCEEDED),
    ]
    assert bench.feed(succeeded(ref("j", "a", 0), at=3.0, cause="stream"))[2:] == [
        StageChanged(cause="stream", job_id="j", stage_id="a", state=StageState.SUCCEEDED),
        StageChanged(cause="stream", job_id="j", stage_id="b", state=StageState.UNFOLDING),
        Unfold(cause="stream", job_id="j", stage_id="b", unfolding=1),
    ]
    stage = bench.machine.stage_snapshot("j", "a")
    assert (stage.ready_at, stage.ended_at, stage.unfolding) == (1.0, 3.0, 1)


@pytest.mark.parametrize("answer", [{"skipped": True}, {}])
def test_a_stage_that_is_skipped_or_empty_is_done_at_once(answer):
    bench = Bench()
    bench.feed(admitted(job("j", llm("a"), llm("b", "a"))))
    effects = bench.feed(unfolded("j", "a", **answer))
    state = StageState.SKIPPED if answer else StageState.SUCCEEDED
    assert effects[0] == StageChanged(cause="test", job_id="j", stage_id="a", state=state)
    assert asked(effects) == [("b", 1)]


def test_a_job_whose_stages_are_all_skipped_succeeds():
    bench = Bench()
    effects = bench.feed(admitted(job("j", llm("a"))), unfolded("j", "a", skipped=True))
    assert of(JobChanged, effects)[-1].state is JobState.SUCCEEDED


def test_a_join_waits_for_all_its_parents():
    bench = Bench()
    bench.feed(admitted(job("j", llm("a"), llm("b"), llm("c", "a", "b"))))
    assert asked(bench.feed(unfolded("j", "b"))) == []
    assert asked(bench.feed(unfolded("j", "a"))) == [("c", 1)]


# ---- plans and loops -----------------------------------------------------------------------------------------------


def test_a_plan_adds_stages_and_its_children_wait_for_them():
    bench = Bench()
    bench.feed(attached("t1", "tool:any"), admitted(job("j", dynamic("plan"), llm("report", "plan"))))
    effects = bench.feed(unfolded("j", "plan", stages=[tool("plan/1"), tool("plan/2", "plan/1")]))
    assert effects == [
        StageChanged(cause="test", job_id="j", stage_id="plan/1", state=StageState.WAITING),
        StageChanged(cause="test", job_id="j", stage_id="plan/2", state=StageState.WAITING),
        StageChanged(cause="test", job_id="j", stage_id="plan", state=StageState.EXPANDED),
        StageChanged(cause="test", job_id="j", stage_id="plan/1", state=StageState.UNFOLDING),
        Unfold(cause="test", job_id="j", stage_id="plan/1", unfolding=1),
    ]
    assert bench.machine.stage_snapshot("j", "plan").waits_on == ("plan/1", "plan/2")
    bench.feed(unfolded("j", "plan/1", tasks=1))
    assert asked(bench.feed(succeeded(ref("j", "plan/1")))) == [("plan/2", 1)]
    assert states(bench)["report"] == "WAITING"
    effects = bench.feed(unfolded("j", "plan/2", skipped=True))
    assert asked(effects) == [("report", 1)]
    assert states(bench)["plan"] == "SUCCEEDED"


def test_added_stages_may_wait_for_stages_that_were_there_before():
    bench = Bench()
    bench.feed(admitted(job("j", dynamic("plan"), llm("slow"), llm("done"))), unfolded("j", "done"))
    effects = bench.feed(unfolded("j", "plan", stages=[tool("x", "slow", "done"), tool("y", "done")]))
    assert asked(effects) == [("y", 1)]
    assert asked(bench.feed(unfolded("j", "slow"))) == [("x", 1)]


def test_a_loop_is_unfolded_again_until_it_says_that_it_is_done():
    bench = Bench()
    bench.feed(admitted(job("j", dynamic("loop"), llm("after", "loop"))))
    bench.feed(unfolded("j", "loop", stages=[llm("loop/1")], again=True))
    effects = bench.feed(unfolded("j", "loop/1"))
    assert effects[1:] == [
        StageChanged(cause="test", job_id="j", stage_id="loop", state=StageState.UNFOLDING),
        Unfold(cause="test", job_id="j", stage_id="loop", unfolding=2),
    ]
    bench.feed(unfolded("j", "loop", unfolding=2, stages=[llm("loop/2")], again=True))
    assert asked(bench.feed(unfolded("j", "loop/2"))) == [("loop", 3)]
    # The third answer is empty: the loop is over.
    assert asked(bench.feed(unfolded("j", "loop", unfolding=3))) == [("after", 1)]
    loop = bench.machine.stage_snapshot("j", "loop")
    assert (loop.unfolding, loop.again, loop.waits_on) == (3, False, ())


def test_a_loop_may_end_with_its_last_round():
    bench = Bench()
    bench.feed(admitted(job("j", dynamic("loop"))), unfolded("j", "loop", stages=[llm("loop/1")]))
    assert of(JobChanged, bench.feed(unfolded("j", "loop/1")))[-1].state is JobState.SUCCEEDED


def test_expansions_can_be_nested_very_deeply():
    bench = Bench()
    bench.feed(admitted(job("j", dynamic("d0"))))
    for depth in range(600):
        bench.machine.handle(unfolded("j", f"d{depth}", stages=[dynamic(f"d{depth + 1}")]))
    effects = bench.feed(unfolded("j", "d600"))
    assert len(of(StageChanged, effects)) == 601
    assert of(JobChanged, effects)[-1].state is JobState.SUCCEEDED


# ---- stale and senseless answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        unfolded("ghost", "a", tasks=1),
        unfolded("j", "ghost", tasks=1),
        unfolded("j", "a", tasks=1, unfolding=2),
        unfolded("j", "b", tasks=1, unfolding=0),
        unfold_failed("j", "a", unfolding=7),
        unfold_failed("ghost", "a"),
    ],
)
def test_an_answer_that_nobody_waits_for_changes_nothing(answer):
    bench = Bench()
    bench.feed(admitted(job("j", llm("a"), llm("b", "a"))))
    before = bench.machine.snapshot("j")
    assert bench.feed(answer) == []
    assert bench.machine.snapshot("j") == before


def test_an_answer_counts_once():
    bench = Bench()
    bench.feed(admitted(job("j", llm("a"))), unfolded("j", "a", tasks=1))
    assert bench.feed(unfolded("j", "a", tasks=5)) == []
    assert len(bench.machine.stage_snapshot("j", "a").tasks) == 1


@pytest.mark.parametrize(
    ("stage_id", "answer", "words"),
    [
        ("a", {"tasks": 1, "stages": [llm("x")]}, "both tasks and stages"),
        ("a", {"tasks": 1, "again": True}, "only stages can be unfolded again"),
        ("p", {"tasks": 1}, "DYNAMIC stage cannot have tasks"),
        ("p", {"again": True}, "no stages, and yet wants to be unfolded again"),
        ("p", {"stages": [llm("a")]}, "stage id 'a' is taken"),
        ("p", {"stages": [llm("x"), llm("x")]}, "stage id 'x' is taken"),
        ("p", {"stages": [llm("x", "ghost")]}, "unknown stage 'ghost'"),
        ("p", {"stages": [llm("x", "y"), llm("y", "x")]}, "in a cycle"),
        # "p" waits for "x", and "x" for "p", or for what comes after it.
        ("p", {"stages": [llm("x", "p")]}, "in a cycle"),
        ("p", {"stages": [llm("x", "z")]}, "in a cycle"),
    ],
)
def test_a_senseless_answer_fails_the_stage_with_the_reason(stage_id, answer, words):
    bench = Bench()
    bench.feed(admitted(job("j", llm("a"), dynamic("p"), llm("z", "p"))))
    effects = bench.feed(unfolded("j", stage_id, **answer))
    failure = of(JobChanged, effects)[-1].failure
    assert failure.reason == "INVALID_UNFOLDING"
    assert words in failure.message
    assert of(JobChanged, effects)[-1].state is JobState.FAILED


def test_a_stage_inside_an_expansion_cannot_wait_for_the_expansion():
    bench = Bench()
    bench.feed(admitted(job("j", dynamic("outer"))), unfolded("j", "outer", stages=[dynamic("inner")]))
    effects = bench.feed(unfolded("j", "inner", stages=[llm("x", "outer")]))
    assert of(JobChanged, effects)[-1].failure.reason == "INVALID_UNFOLDING"


def test_an_unfolding_that_failed_fails_the_job():
    bench = Bench()
    bench.feed(admitted(job("j", llm("a"), llm("b", "a"))))
    assert bench.feed(unfold_failed("j", "a", failure=BROKEN)) == [
        StageChanged(cause="test", job_id="j", stage_id="a", state=StageState.FAILED),
        StageChanged(cause="test", job_id="j", stage_id="b", state=StageState.CANCELLED),
        JobChanged(cause="test", job_id="j", state=JobState.FAILED, failure=BROKEN),
    ]
    assert bench.machine.stage_snapshot("j", "a").failure == BROKEN


# ---- fallbacks -----------------------------------------------------------------------------------------------------


def falling_back() -> Bench:
    """Stage "a" of four tasks: one succeeded, one runs, one waits, and one has just failed for good."""
    bench = Bench()
    bench.start(job("j", llm("a", recoverable=True), llm("z", "a")), tasks=4)
    bench.feed(attached("e1", slots=3), succeeded(ref("j", "a", 0), at=1.0), failed(ref("j", "a", 3), FLAKY, at=1.0))
    bench.effects = bench.feed(failed(ref("j", "a", 1), BROKEN, at=2.0))
    return bench


def test_a_stage_that_fails_asks_for_its_fallback_and_drops_its_other_tasks():
    bench = falling_back()
    assert of(CancelAttempt, bench.effects) == [CancelAttempt(cause="test", attempt=ref("j", "a", 2), executor_id="e1")]
    changed = [(one.task_index, one.state) for one in of(TaskChanged, bench.effects)]
    assert changed == [(1, TaskState.FAILED), (2, TaskState.CANCELLED), (3, TaskState.CANCELLED)]
    assert of(Unfold, bench.effects) == [Unfold(cause="test", job_id="j", stage_id="a", unfolding=2, failure=BROKEN)]
    assert of(JobChanged, bench.effects) == []
    assert bench.machine.next_wake is None


def test_the_fallback_does_not_wait_for_attempts_that_are_being_cancelled():
    bench = falling_back()
    bench.feed(unfolded("j", "a", unfolding=2, stages=[llm("a/fallback")], again=True))
    bench.feed(unfolded("j", "a/fallback", tasks=1))
    # The cancelled attempt still holds its slot, two others are free.
    assert bench.machine.executors()[0].running == (ref("j", "a", 2), ref("j", "a/fallback"))
    # Its result comes too late to count; its slot is free.
    assert of(StoreResult, bench.feed(succeeded(ref("j", "a", 2)))) == []
    effects = bench.feed(succeeded(ref("j", "a/fallback"), at=5.0))
    # A fallback is not a loop, whatever the answer said.
    assert asked(effects) == [("z", 1)]
    stage = bench.machine.stage_snapshot("j", "a")
    assert (stage.state, stage.failure) == (StageState.SUCCEEDED, BROKEN)


def test_the_job_may_end_while_a_dropped_attempt_still_runs():
    bench = falling_back()
    bench.feed(unfolded("j", "a", unfolding=2, skipped=True))
    assert of(JobChanged, bench.feed(unfolded("j", "z")))[-1].state is JobState.SUCCEEDED
    assert bench.machine.counts().running_attempts == 1
    assert bench.feed(aborted(ref("j", "a", 2))) == []
    assert bench.machine.counts().running_attempts == 0


def test_there_is_one_fallback():
    bench = falling_back()
    other = Failure(reason="OTHER", message="no fallback either")
    effects = bench.feed(unfold_failed("j", "a", unfolding=2, failure=other))
    assert of(JobChanged, effects)[-1] == JobChanged(cause="test", job_id="j", state=JobState.FAILED, failure=other)
    # The stage keeps the reason for which it was in need of a fallback.
    assert bench.machine.stage_snapshot("j", "a").failure == BROKEN


def test_a_fallback_has_stages_not_tasks():
    effects = falling_back().feed(unfolded("j", "a", unfolding=2, tasks=1))
    assert "a fallback cannot have tasks" in of(JobChanged, effects)[-1].failure.message


def test_an_unfolding_that_failed_or_made_no_sense_can_have_a_fallback_too():
    bench = Bench()
    bench.feed(admitted(job("j", dynamic("p", recoverable=True), dynamic("q", recoverable=True))))
    assert of(Unfold, bench.feed(unfold_failed("j", "p"))) == [
        Unfold(cause="test", job_id="j", stage_id="p", unfolding=2, failure=BROKEN)
    ]
    effects = bench.feed(unfolded("j", "q", tasks=1))
    assert of(Unfold, effects)[0].failure.reason == "INVALID_UNFOLDING"


# ---- token counts --------------------------------------------------------------------------------------------------


def test_counted_tokens_replace_estimates_where_there_are_any():
    bench = Bench()
    guesses = [TaskSpec(prompt_tokens=10), TaskSpec(prompt_tokens=20)]
    bench.feed(admitted(job("j", llm("a"))), unfolded("j", "a", tasks=guesses))
    assert bench.machine.queue()[0].stage.prompt_tokens == 30
    assert bench.feed(counted("j", "a", 14, None)) == []
    assert bench.machine.queue()[0].stage.prompt_tokens == 34
    assert [task.spec for task in bench.machine.stage_snapshot("j", "a").tasks] == [
        TaskSpec(prompt_tokens=14, counted=True),
        TaskSpec(prompt_tokens=20),
    ]


@pytest.mark.parametrize("event", [counted("ghost", "a", 1), counted("j", "b", 1), counted("j", "a", 1)])
def test_counts_that_fit_no_tasks_change_nothing(event):
    bench = Bench()
    bench.feed(admitted(job("j", llm("a"), llm("b"))), unfolded("j", "a", tasks=2))
    before = bench.machine.snapshot("j")
    assert bench.feed(event) == []
    assert bench.machine.snapshot("j") == before
    assert dispatched(bench.feed(attached("e1"))) == [("j", "a", 0, 1, "e1")]
