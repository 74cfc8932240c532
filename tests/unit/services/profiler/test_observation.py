"""From what a scheduler has observed of a job to the job in its application's history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.profiler.core.observation import JobObserved, recorded
from services.profiler.core.trace import TraceJob, canonicals, read_history, write_jobs
from tests.unit.services.profiler.observed import CALL, RUN, job, llm, placeholder, tool


def trace(observed: JobObserved) -> TraceJob:
    """The job in the history, which is one that can be written and read."""
    found = recorded(observed)
    assert found is not None
    (read,) = read_history(write_jobs([found]), "history")
    assert replace(read, line=0) == found
    return found


def parents(found: TraceJob) -> dict[str, tuple[str, ...]]:
    return {stage.id: stage.parents for stage in found.stages}


def test_stages_come_as_they_ran() -> None:
    output = placeholder("$output", "draft", "check")
    found = trace(job(llm("draft"), tool("check", "draft", width_by="draft"), output))
    draft, check = found.stages
    assert (found.app, found.job_id, found.structure, found.recorded_jct_seconds) == ("app", "j", "static", 60.5)
    assert found.arrival_seconds is None
    assert (draft.kind, draft.parents, draft.tasks, draft.width_by) == ("llm", (), (CALL,), None)
    assert (check.kind, check.parents, check.tasks, check.width_by) == ("tool", ("draft",), (RUN,), "draft")


@pytest.mark.parametrize(
    "observed",
    [
        job(llm("draft"), outcome="failed"),
        job(llm("draft"), outcome="cancelled"),
        job(placeholder("$output")),
        job(),
        job(llm("draft", ended_at=99.0)),  # taken over by a rerun
    ],
    ids=["failed", "cancelled", "only placeholders", "empty", "rerun"],
)
def test_a_job_that_does_not_show_what_jobs_take_is_left_out(observed: JobObserved) -> None:
    assert recorded(observed) is None


def test_a_loop_is_its_rounds() -> None:
    """Also where only the last of them is known to be the loop's, as after a change of leader."""
    found = trace(
        job(
            llm("plan"),
            placeholder("loop", "plan", adds=("draft#1", "test#1")),
            llm("draft", "plan"),
            tool("test", "draft"),
            llm("draft#1", "test", generated_by="test"),
            tool("test#1", "draft#1", generated_by="test"),
            llm("end", "loop"),
            structure="chain",
        )
    )
    assert parents(found) == {
        "plan": (),
        "draft": ("plan",),
        "test": ("draft",),
        "draft#1": ("test",),
        "test#1": ("draft#1",),
        "end": ("test#1",),
    }
    assert {stage.id: stage.generated_by for stage in found.stages}["draft#1"] == "test"
    assert {stage.kind for stage in found.stages} == {"llm", "tool"}


def test_what_a_placeholder_generates_is_generated_by_the_last_stage_that_it_stood_for() -> None:
    """An outer loop whose rounds end with an inner one."""
    found = trace(
        job(
            placeholder("outer", adds=("inner#1",)),
            placeholder("inner", adds=("step",)),
            llm("step"),
            placeholder("inner#1", "inner", adds=("step#1",), generated_by="inner"),
            llm("step#1", "inner", generated_by="inner"),
            structure="chain",
        )
    )
    assert parents(found) == {"step": (), "step#1": ("step",)}
    assert found.stages[1].generated_by == "step"


def test_a_fallback_comes_after_what_failed() -> None:
    found = trace(
        job(
            llm("draft", added=("draft!",), tasks=()),
            llm("draft!", generated_by="draft"),
            tool("check", "draft"),
        )
    )
    assert parents(found) == {"draft": (), "draft!": ("draft",), "check": ("draft!",)}
    assert found.stages[0].tasks == ()


def test_a_plan_is_an_llm_stage_that_makes_others() -> None:
    found = trace(
        job(
            llm("plan"),
            placeholder("do", "plan", adds=("do.search", "do.read")),
            tool("do.search", "plan", generated_by="plan"),
            tool("do.read", "do.search", generated_by="plan"),
            llm("answer", "do"),
            structure="generated",
        )
    )
    assert [stage.kind for stage in found.stages] == ["plan", "tool", "tool", "llm"]
    assert parents(found)["answer"] == ("do.read",)


def test_the_end_of_a_round_is_no_plan() -> None:
    found = trace(
        job(
            placeholder("loop", adds=("draft#1",)),
            llm("draft"),
            llm("draft#1", "draft", generated_by="draft"),
            structure="generated",
        )
    )
    assert [stage.kind for stage in found.stages] == ["llm", "llm"]


def test_of_a_skipped_stage_the_width_shows_with_its_last_parent() -> None:
    found = trace(job(llm("first"), llm("extra", "first", tasks=(), state="SKIPPED"), llm("alone", tasks=())))
    assert [(stage.width_by, stage.tasks) for stage in found.stages[1:]] == [("first", ()), (None, ())]


def test_names_and_occurrences_are_those_that_the_job_has_shown() -> None:
    """Whatever the order in which the stages could have run."""
    observed = job(
        llm("plan"),
        tool("do#1", "plan", generated_by="plan"),
        tool("do", "wait", generated_by="plan"),
        tool("wait", "plan", generated_by="plan"),
    )
    shown = {stage.stage: (stage.name, stage.occurrence) for stage in observed.stages}
    assert canonicals(trace(observed)) == shown


def test_dependencies_count_more_than_the_numbers_that_a_plan_gives() -> None:
    observed = job(llm("plan"), tool("do", "do#1", generated_by="plan"), tool("do#1", "plan", generated_by="plan"))
    assert [stage.id for stage in trace(observed).stages] == ["plan", "do#1", "do"]


def test_what_named_stages_are_not_there_for_is_left_out() -> None:
    found = trace(job(llm("draft", generated_by="gone", width_by="gone")))
    assert (found.stages[0].generated_by, found.stages[0].width_by) == (None, None)


def test_a_long_chain() -> None:
    stages = [llm("step")]
    for number in range(1, 3000):
        stages.append(llm(f"step#{number}", stages[-1].stage, generated_by=stages[-1].stage))
    assert len(trace(job(*stages, structure="chain")).stages) == 3000


def test_stages_that_wait_for_each_other_are_noticed() -> None:
    with pytest.raises(ValueError, match="in a cycle"):
        recorded(job(llm("a", "b"), llm("b", "a")))
    with pytest.raises(LookupError):
        recorded(job(llm("a", "nowhere")))
