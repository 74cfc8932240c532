"""Jobs whose stages a program adds while it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.profiler.core.statistics import WorkModel
from services.scheduler.core import events
from services.scheduler.core.effects import CancelAttempt, Dispatch, JobChanged, StageChanged, StoreResult, Unfold
from services.scheduler.core.invariants import validate
from services.scheduler.core.jobs import SHOWN
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import (
    Failure,
    JobSnapshot,
    JobState,
    Measurement,
    PolicySettings,
    StageSpec,
    StageState,
    TaskSpec,
    TaskState,
)
from services.scheduler.core.policies.base import StageFacts
from services.scheduler.core.policies.dependents import from_the_end
from services.scheduler.core.programs import MAX_STAGES, Problem
from services.scheduler.core.replay import Record, first_divergence
from services.scheduler.core.seen import job_seen
from tests.support import scheduling as make

FAILED = Failure(reason="OPEN_JOB_FAILED", message="ValueError: no")


def program(**more: Any) -> JobSnapshot:
    return make.job("job", structure="open", open=True, **more)


def added(stage: StageSpec, *, job_id: str = "job", at: float = 0.0, tokens: int = 0) -> events.StageAdded:
    return events.StageAdded(
        at=at, cause=f"add:{stage.stage_id}", job_id=job_id, stage=stage, task=TaskSpec(prompt_tokens=tokens)
    )


def closed(*, at: float = 0.0, failure: Failure | None = None, if_idle: bool = False) -> events.JobClosed:
    return events.JobClosed(at=at, cause="close", job_id="job", failure=failure, if_idle=if_idle)


class Play:
    """A machine with two slots for tools, checked after every step."""

    def __init__(self, snapshot: JobSnapshot | None = None, *, slots: int = 2) -> None:
        self.machine = SchedulerMachine(PolicySettings())
        self.records: list[Record] = []
        self.tell(make.attached("tool-0", "tool", "tool:any", slots=slots))
        self.tell(make.admitted(snapshot or program()))

    def tell(self, *batch: events.Event) -> list[Any]:
        effects = self.machine.handle_batch(batch)
        validate(self.machine)
        self.records.append(Record(events=tuple(batch), effects=tuple(effects)))
        return effects

    def succeed(self, stage_id: str, *, at: float = 0.0) -> list[Any]:
        measured = Measurement(total_seconds=1.0)
        return self.tell(
            events.AttemptSucceeded(at=at, cause="done", attempt=make.ref("job", stage_id), measurement=measured)
        )

    def stage(self, stage_id: str) -> StageState:
        return self.machine.stage_snapshot("job", stage_id).state


def states(effects: list[Any], kind: type) -> list[Any]:
    return [effect.state for effect in effects if isinstance(effect, kind)]


def test_an_open_job_without_stages_waits_for_its_program() -> None:
    play = Play()
    assert play.machine.job_ids() == ["job"]
    assert play.machine.idle_programs() == ["job"]
    assert play.machine.is_open("job")
    assert not play.machine.is_open("other")


def test_a_stage_is_dispatched_at_once_and_nothing_is_unfolded() -> None:
    play = Play()
    effects = play.tell(added(make.tool("a")))
    assert states(effects, StageChanged) == [StageState.WAITING, StageState.READY, StageState.RUNNING]
    assert make.of(Dispatch, effects)
    assert not make.of(Unfold, effects)
    assert play.machine.idle_programs() == []
    effects = play.succeed("a")
    assert make.of(StoreResult, effects)
    assert states(effects, JobChanged) == []
    assert play.machine.idle_programs() == ["job"]


def test_closing_ends_a_job_whose_stages_have_ended() -> None:
    play = Play()
    play.tell(added(make.tool("a")))
    play.succeed("a")
    assert states(play.tell(closed(at=3.0)), JobChanged) == [JobState.SUCCEEDED]
    assert play.machine.job_ids() == []


def test_a_closed_job_ends_with_its_last_stage() -> None:
    play = Play()
    play.tell(added(make.tool("a")))
    effects = play.tell(closed())
    # Told, so that it becomes durable that the job takes no more stages.
    assert states(effects, JobChanged) == [JobState.RUNNING]
    assert not play.machine.snapshot("job").open
    assert play.tell(added(make.tool("b"))) == []
    assert states(play.succeed("a"), JobChanged) == [JobState.SUCCEEDED]


def test_closing_with_a_failure_stops_what_runs() -> None:
    play = Play(slots=1)
    play.tell(added(make.tool("a")), added(make.tool("b")), added(make.tool("c", "b")))
    effects = play.tell(closed(failure=FAILED))
    assert len(make.of(CancelAttempt, effects)) == 1
    assert states(effects, JobChanged) == [JobState.CANCELLING]
    snapshot = play.machine.snapshot("job")
    assert [stage.tasks[0].state for stage in snapshot.stages[1:]] == [TaskState.CANCELLED] * 2
    ended = make.of(JobChanged, play.tell(make.aborted(make.ref("job", "a"))))
    assert [(one.state, one.failure) for one in ended] == [(JobState.FAILED, FAILED)]


def test_occurrence_position_and_generator_are_the_machines_to_say() -> None:
    play = Play()
    play.tell(added(make.tool("a", occurrence=7, position=9, generated_by="x")), added(make.tool("b")))
    play.succeed("b", at=1.0)
    play.succeed("a", at=2.0)
    play.tell(added(make.tool("a/2", name="a"), at=3.0), added(make.tool("c", "b"), at=3.0))
    play.tell(added(make.tool("d", "a/2"), at=3.0), added(make.tool("e", "b", "a"), at=3.0))
    specs = {stage.spec.stage_id: stage.spec for stage in play.machine.snapshot("job").stages}
    assert [(one.occurrence, one.position) for one in specs.values()] == [
        (0, 0),
        (0, 1),
        (1, 2),
        (0, 3),
        (0, 4),
        (0, 5),
    ]
    generators = {name: spec.generated_by for name, spec in specs.items()}
    # Of parents that have ended the latest; else the job's latest, which the program had seen.
    assert generators == {"a": None, "b": None, "a/2": "a", "c": "b", "d": "a", "e": "a"}


def test_of_stages_that_end_at_once_the_one_added_later_is_the_latest() -> None:
    play = Play()
    play.tell(added(make.tool("a")), added(make.tool("b")))
    play.succeed("b", at=1.0)
    play.succeed("a", at=1.0)
    snapshot = play.machine.snapshot("job")
    play.tell(added(make.tool("c"), at=2.0))
    assert play.machine.stage_snapshot("job", "c").spec.generated_by == "b"
    # A new leader does not know in which order they were told of, and yet says the same.
    again = SchedulerMachine(PolicySettings())
    again.handle(make.admitted(snapshot))
    again.handle(added(make.tool("c"), at=2.0))
    assert again.stage_snapshot("job", "c").spec.generated_by == "b"


def test_a_stage_waits_for_the_end_of_its_parents_however_they_end() -> None:
    play = Play()
    play.tell(added(make.tool("a", max_attempts=1)), added(make.tool("b")), added(make.tool("c", "a", "b"), tokens=5))
    assert play.stage("c") is StageState.WAITING
    waiting = play.machine.stage_snapshot("job", "c").tasks[0]
    assert (waiting.state, waiting.spec.prompt_tokens) == (TaskState.READY, 5)
    assert play.tell(make.counted("job", "c", 3)) == []  # it shows itself when it is ready
    effects = play.tell(make.failed(make.ref("job", "a"), make.BROKEN))
    assert states(effects, StageChanged) == [StageState.FAILED]
    assert states(effects, JobChanged) == []
    play.succeed("b")
    assert play.stage("c") is StageState.RUNNING
    play.succeed("c")
    assert states(play.tell(closed()), JobChanged) == [JobState.SUCCEEDED]


def test_a_stage_that_fails_leaves_the_job_open() -> None:
    play = Play()
    play.tell(added(make.tool("a", max_attempts=1)))
    play.tell(make.failed(make.ref("job", "a"), make.FLAKY))
    assert play.machine.is_open("job")
    assert play.machine.idle_programs() == ["job"]
    assert play.stage("a") is StageState.FAILED
    play.tell(added(make.tool("b", "a")))
    assert play.stage("b") is StageState.RUNNING


def test_cancelling_stops_an_open_job() -> None:
    play = Play()
    play.tell(added(make.tool("a")))
    assert states(play.tell(make.cancel("job")), JobChanged) == [JobState.CANCELLING]
    assert not play.machine.is_open("job")
    assert play.tell(added(make.tool("b"))) == []
    assert play.tell(closed()) == []
    assert states(play.tell(make.aborted(make.ref("job", "a"))), JobChanged) == [JobState.CANCELLED]


def test_abandoning_is_for_idle_jobs_only() -> None:
    play = Play()
    play.tell(added(make.tool("a")))
    assert play.tell(closed(failure=FAILED, if_idle=True)) == []
    play.succeed("a")
    assert states(play.tell(closed(failure=FAILED, if_idle=True)), JobChanged) == [JobState.FAILED]
    assert play.tell(closed()) == []


@pytest.mark.parametrize(
    ("stage", "problem"),
    [
        (make.tool("a"), Problem.KNOWN),
        (make.tool("a", occurrence=3, position=4, generated_by="z"), Problem.KNOWN),
        (make.tool("a", max_attempts=9), Problem.TAKEN),
        (make.tool("b", "a", "nobody"), Problem.UNKNOWN_PARENTS),
        (make.tool("b", "a"), None),
    ],
)
def test_problems_of_a_stage(stage: StageSpec, problem: Problem | None) -> None:
    play = Play()
    play.tell(added(make.tool("a")))
    assert play.machine.addition_problem("job", stage) is problem
    before = play.machine.snapshot("job")
    play.tell(added(stage))
    assert (play.machine.snapshot("job") == before) is (problem is not None)


def test_problems_of_a_job() -> None:
    play = Play()
    play.tell(make.admitted(make.job("declared", make.tool("a"))), added(make.tool("a")))
    play.tell(closed())
    assert play.machine.addition_problem("nobody", make.tool("x")) is Problem.NOT_ACTIVE
    assert play.machine.addition_problem("declared", make.tool("a")) is Problem.NOT_OPEN
    assert play.machine.addition_problem("job", make.tool("x")) is Problem.NOT_OPEN
    assert play.machine.addition_problem("job", make.tool("a")) is Problem.KNOWN  # a repeat is answered as before
    assert play.tell(added(make.tool("x"), job_id="nobody")) == []


def test_a_job_can_have_too_many_stages() -> None:
    play = Play()
    stages = [replace(make.tool(f"s{number}"), position=number) for number in range(MAX_STAGES)]
    play.machine.handle_batch([added(stage) for stage in stages])
    assert play.machine.addition_problem("job", make.tool("more")) is Problem.TOO_MANY


def test_a_recovered_job_goes_on_where_it_was() -> None:
    play = Play()
    play.tell(added(make.tool("a", max_attempts=1)), added(make.tool("b", max_attempts=1)))
    play.tell(added(make.tool("c", "a")))
    play.tell(make.failed(make.ref("job", "b"), make.BROKEN, at=4.0))
    snapshot = play.machine.snapshot("job")
    assert snapshot.open

    again = SchedulerMachine(PolicySettings())
    again.handle(make.admitted(snapshot, at=5.0))
    again.handle(make.attached("tool-0", "tool", "tool:any", slots=2, running=[make.ref("job", "a")]))
    validate(again)
    assert again.snapshot("job") == snapshot
    again.handle(added(make.tool("b/2", name="b"), at=6.0))
    twice = again.stage_snapshot("job", "b/2").spec
    assert (twice.occurrence, twice.position, twice.generated_by) == (1, 3, "b")


def test_a_recovered_job_that_was_closed_ends_when_its_stages_have() -> None:
    play = Play()
    play.tell(added(make.tool("a")), closed())
    play.tell(make.lost("tool-0"))
    snapshot = play.machine.snapshot("job")
    again = SchedulerMachine(PolicySettings())
    again.handle(make.admitted(snapshot))
    again.handle(make.attached("tool-0", "tool", "tool:any"))
    ref = make.ref("job", "a", attempt=2)
    effects = again.handle(make.succeeded(ref))
    assert states(effects, JobChanged) == [JobState.SUCCEEDED]


def test_a_failed_stage_is_no_problem_in_an_open_job_but_in_another() -> None:
    play = Play()
    play.tell(added(make.tool("a", max_attempts=1)))
    play.tell(make.failed(make.ref("job", "a"), make.BROKEN))
    snapshot = play.machine.snapshot("job")
    refused = SchedulerMachine(PolicySettings()).handle(
        make.admitted(replace(snapshot, structure="static", open=False))
    )
    assert states(refused, JobChanged) == [JobState.FAILED]
    assert states(SchedulerMachine(PolicySettings()).handle(make.admitted(snapshot)), JobChanged) == []


def test_a_log_of_a_program_replays() -> None:
    play = Play()
    play.tell(added(make.tool("a")), added(make.tool("b", "a")))
    play.succeed("a")
    play.tell(make.failed(make.ref("job", "b"), make.FLAKY), closed())
    assert first_divergence(SchedulerMachine(PolicySettings()), play.records) is None


def test_stages_that_have_made_none_may_yet() -> None:
    play = Play()
    play.tell(added(make.tool("a")), added(make.tool("b")))
    play.succeed("a", at=1.0)
    play.succeed("b", at=2.0)
    work = WorkModel(prefill=0.001, decode=0.01)

    def growing() -> list[str]:
        return [stage.name for stage in job_seen(play.machine.view("job"), work).stages if stage.growing]

    assert growing() == ["a", "b"]
    play.tell(added(make.tool("c", "a"), at=3.0))
    assert growing() == ["b"]
    play.tell(closed())
    assert growing() == []


def test_policies_see_the_first_and_the_latest_of_the_stages_that_have_ended() -> None:
    play = Play()
    count = 2 * SHOWN + 5
    play.tell(added(make.tool("long")))
    for number in range(count):
        play.machine.handle(added(make.tool(f"s{number}"), at=float(number)))
        done = make.succeeded(make.ref("job", f"s{number}"), at=number + 0.5)
        play.machine.handle(done)
    first, latest = range(SHOWN), range(count - SHOWN, count)
    shown = ["long", *(f"s{number}" for number in (*first, *latest))]
    assert list(play.machine.view("job").stages) == shown
    assert len(play.machine.snapshot("job").stages) == count + 1
    again = SchedulerMachine(PolicySettings())
    again.handle(make.admitted(play.machine.snapshot("job")))
    assert list(again.view("job").stages) == shown
    # A stage that is not shown any more has ended, and holds nothing up.
    play.tell(added(make.tool("last", "s70", "long")))

    def names(stage: StageFacts, after: Sequence[list[str]]) -> list[str]:
        return [stage.spec.stage_id, *(name for one in after for name in one)]

    needs = from_the_end(play.machine.view("job").stages, names)
    assert needs == {"last": ["last"], "long": ["long", "last"]}
