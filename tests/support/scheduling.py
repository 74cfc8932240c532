"""Builders for tests of the scheduling core: a test writes only what it is about.

Times default to 0 and causes to "test". `Bench` is a machine that checks its invariants after every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from zlib import crc32

from services.profiler.core.belief import Beliefs
from services.profiler.core.calibration import Calibration
from services.profiler.core.profile import learn
from services.profiler.core.statistics import ApplicationStatistics, StageStatistics, Statistics
from services.profiler.core.trace import TraceJob, TraceStage, TraceTask
from services.scheduler.core import PolicySettings, SchedulerMachine, events, make_policy
from services.scheduler.core.effects import Dispatch, Effect
from services.scheduler.core.events import Event
from services.scheduler.core.invariants import validate
from services.scheduler.core.model import (
    AttemptRef,
    Failure,
    JobSnapshot,
    Measurement,
    StageKind,
    StageSnapshot,
    StageSpec,
    TaskSpec,
)
from services.scheduler.core.policies import NOTHING
from services.scheduler.core.policies.base import Knowledge, Policy

E = TypeVar("E", bound=Effect)

BROKEN = Failure(reason="BROKEN", message="it broke")
FLAKY = Failure(reason="FLAKY", message="it broke for now", retryable=True)


# ---- knowledge -----------------------------------------------------------------------------------------------------


def learned(*totals: float, **spans: float) -> ApplicationStatistics:
    """An application whose jobs had these totals; `spans` are LLM stages by name, once a job, of one task (seconds)."""
    stages = {name: StageStatistics(per_job=1.0, seconds=span, span=span, is_llm=True) for name, span in spans.items()}
    return ApplicationStatistics(totals=tuple(sorted(totals)), stages=stages)


def foretold(job_id: str) -> dict[str, tuple[float, ...]]:
    """An oracle that has an answer for every job: stages "a", "b" and "c", of lengths that its name decides."""
    lengths = crc32(job_id.encode())
    return {"a": (lengths % 3 + 0.5,), "b": (lengths % 5 * 1.0, 1.0), "c": (lengths % 2 * 1.0,)}


def jobs_of(application: str, count: int) -> list[TraceJob]:
    """Recorded jobs: a, then b twice as long; each job is longer than the one before."""
    found = []
    for number in range(1, count + 1):
        first = TraceStage(id="a", name="a", kind="llm", parents=(), tasks=(_tokens(10 * number),))
        second = TraceStage(id="b", name="b", kind="llm", parents=("a",), tasks=(_tokens(20 * number),))
        found.append(TraceJob(app=application, stages=(first, second), job_id=f"{application}-{number}"))
    return found


def _tokens(output: int) -> TraceTask:
    return TraceTask(prompt_tokens=5, output_tokens=output)


#: All that a policy may be told, of any job: some applications by name, the pooled one for all others.
KNOWLEDGE = Knowledge(
    statistics=Statistics(
        applications={
            "app-0": learned(1.0, 2.0, 9.0, a=1.0, b=3.0),
            "app-2": learned(0.5, 1.0, a=0.5),
            "chain": learned(20.0, 30.0, sum=3.0),
            "fan": learned(2.0, 18.0, 25.0, split=3.0, each=6.0, join=3.0),
            "plan": learned(8.0, 12.0, 16.0, plan=3.0, say=3.0),
        },
        pooled=learned(1.0, 2.0, 4.0, 4.0, 9.0, a=1.0, b=3.0, c=2.0),
    ),
    beliefs=Beliefs(learn([*jobs_of("app-0", 12), *jobs_of("app-2", 3), *jobs_of("fan", 8)])),
    oracle=foretold,
)


def make_policy_for_tests(settings: PolicySettings, knowledge: Knowledge = NOTHING) -> Policy:
    """Makes any policy, knowing `KNOWLEDGE`, and the profiles that the machine has heard of if it has of any."""
    known = replace(KNOWLEDGE, beliefs=knowledge.beliefs) if knowledge.beliefs.profiles else KNOWLEDGE
    return make_policy(settings, known)


# ---- jobs ----------------------------------------------------------------------------------------------------------


def llm(stage_id: str, *parents: str, position: int = 0, **more: Any) -> StageSpec:
    """An LLM stage; `more` are fields of StageSpec."""
    return _stage(StageKind.LLM, stage_id, parents, position, {"requirement": "llm", **more})


def tool(stage_id: str, *parents: str, position: int = 0, **more: Any) -> StageSpec:
    return _stage(StageKind.TOOL, stage_id, parents, position, {"requirement": "tool:any", **more})


def dynamic(stage_id: str, *parents: str, position: int = 0, **more: Any) -> StageSpec:
    return _stage(StageKind.DYNAMIC, stage_id, parents, position, more)


def _stage(kind: StageKind, stage_id: str, parents: tuple[str, ...], position: int, more: dict[str, Any]) -> StageSpec:
    named = {"name": stage_id, "stage_id": stage_id, **more}
    return StageSpec(kind=kind, parents=parents, position=position, **named)


def job(
    job_id: str, *stages: StageSpec | StageSnapshot, arrival: float = 0.0, order: int = 0, **more: Any
) -> JobSnapshot:
    """A job; stages given as specs have not started. `more` are fields of JobSnapshot."""
    snapshots = [one if isinstance(one, StageSnapshot) else StageSnapshot(spec=one) for one in stages]
    more = {"application": "app", "version": 1, **more}
    return JobSnapshot(job_id=job_id, arrival=arrival, order=order, stages=tuple(snapshots), **more)


# ---- events --------------------------------------------------------------------------------------------------------


def admitted(snapshot: JobSnapshot, at: float = 0.0, cause: str = "test") -> events.JobAdmitted:
    return events.JobAdmitted(at=at, cause=cause, job=snapshot)


def cancel(job_id: str, at: float = 0.0, cause: str = "test", reason: str = "") -> events.JobCancelRequested:
    return events.JobCancelRequested(at=at, cause=cause, job_id=job_id, reason=reason)


def unfolded(
    job_id: str,
    stage_id: str,
    *,
    tasks: int | Sequence[TaskSpec] = 0,
    stages: Sequence[StageSpec] = (),
    unfolding: int = 1,
    at: float = 0.0,
    cause: str = "test",
    again: bool = False,
    skipped: bool = False,
) -> events.StageUnfolded:
    """The planner's answer; `tasks` may be just their number."""
    specs = tuple(TaskSpec() for _ in range(tasks)) if isinstance(tasks, int) else tuple(tasks)
    return events.StageUnfolded(
        at=at,
        cause=cause,
        job_id=job_id,
        stage_id=stage_id,
        unfolding=unfolding,
        tasks=specs,
        stages=tuple(stages),
        again=again,
        skipped=skipped,
    )


def unfold_failed(
    job_id: str, stage_id: str, *, unfolding: int = 1, failure: Failure = BROKEN, at: float = 0.0, cause: str = "test"
) -> events.UnfoldFailed:
    return events.UnfoldFailed(
        at=at, cause=cause, job_id=job_id, stage_id=stage_id, unfolding=unfolding, failure=failure
    )


def counted(job_id: str, stage_id: str, *tokens: int | None, at: float = 0.0) -> events.PromptTokensCounted:
    return events.PromptTokensCounted(at=at, cause="test", job_id=job_id, stage_id=stage_id, prompt_tokens=tokens)


def attached(
    executor_id: str,
    *offers: str,
    slots: int = 1,
    incarnation: str = "first",
    running: Iterable[AttemptRef] = (),
    at: float = 0.0,
    cause: str = "test",
) -> events.ExecutorAttached:
    """An executor that offers "llm" unless told otherwise."""
    offered = frozenset(offers or {"llm"})
    return events.ExecutorAttached(
        at=at,
        cause=cause,
        executor_id=executor_id,
        incarnation=incarnation,
        kind="llm" if "llm" in offered else "tool",
        slots=slots,
        offers=offered,
        running=tuple(running),
    )


def detached(executor_id: str, *, incarnation: str = "first", at: float = 0.0) -> events.ExecutorDetached:
    return events.ExecutorDetached(at=at, cause="test", executor_id=executor_id, incarnation=incarnation)


def lost(executor_id: str, *, at: float = 0.0, cause: str = "test") -> events.ExecutorLost:
    return events.ExecutorLost(at=at, cause=cause, executor_id=executor_id)


def draining(executor_id: str, *, at: float = 0.0) -> events.ExecutorDraining:
    return events.ExecutorDraining(at=at, cause="test", executor_id=executor_id)


def health(executor_id: str, healthy: bool, *, at: float = 0.0) -> events.ExecutorHealthChanged:
    return events.ExecutorHealthChanged(at=at, cause="test", executor_id=executor_id, healthy=healthy)


def ref(job_id: str, stage_id: str, task_index: int = 0, attempt: int = 1) -> AttemptRef:
    return AttemptRef(job_id=job_id, stage_id=stage_id, task_index=task_index, attempt=attempt)


def succeeded(
    attempt: AttemptRef, *, at: float = 0.0, cause: str = "test", seconds: float = 1.0, tokens: int = 0
) -> events.AttemptSucceeded:
    measured = Measurement(total_seconds=seconds, output_tokens=tokens)
    return events.AttemptSucceeded(at=at, cause=cause, attempt=attempt, measurement=measured)


def failed(
    attempt: AttemptRef, failure: Failure = BROKEN, *, at: float = 0.0, cause: str = "test"
) -> events.AttemptFailed:
    return events.AttemptFailed(at=at, cause=cause, attempt=attempt, failure=failure)


def aborted(attempt: AttemptRef, *, at: float = 0.0, cause: str = "test") -> events.AttemptCancelled:
    return events.AttemptCancelled(at=at, cause=cause, attempt=attempt)


def attempt_lost(attempt: AttemptRef, *, at: float = 0.0, cause: str = "test") -> events.AttemptLost:
    return events.AttemptLost(at=at, cause=cause, attempt=attempt)


def timer(at: float) -> events.TimerFired:
    return events.TimerFired(at=at, cause="timer")


def policy_changed(at: float = 0.0, **settings: Any) -> events.PolicyChanged:
    return events.PolicyChanged(at=at, cause="test", policy=PolicySettings(**settings))


def calibrated(executor_id: str, *steps: float, prefill: float = 1e-4, at: float = 0.0) -> events.CalibrationChanged:
    """The engine's steps, in seconds, at batches of 1, 2, ..."""
    calibration = Calibration(prefill=prefill, steps=steps, weights=(1.0,) * len(steps))
    return events.CalibrationChanged(at=at, cause="test", executor_id=executor_id, calibration=calibration)


def profile_changed(jobs: Sequence[TraceJob], *, at: float = 0.0) -> events.ProfileChanged:
    """The profile of the one application that these jobs are of."""
    (profile,) = learn(jobs).values()
    return events.ProfileChanged(at=at, cause="test", profile=profile)


# ---- machines ------------------------------------------------------------------------------------------------------


class Bench:
    """A machine on the workbench: validates itself after every call."""

    def __init__(
        self,
        name: str = "fcfs",
        *,
        policies: Callable[[PolicySettings, Knowledge], Policy] = make_policy,
        knowledge: Knowledge = NOTHING,
        decisions: int = 0,
        **settings: Any,
    ) -> None:
        chosen = PolicySettings(name=name, **settings)
        self.machine = SchedulerMachine(chosen, knowledge=knowledge, policies=policies, decisions=decisions)

    def feed(self, *arriving: Event) -> list[Effect]:
        """Handles the events one after the other, and returns all effects."""
        effects: list[Effect] = []
        for event in arriving:
            effects += self.machine.handle(event)
            validate(self.machine)
        return effects

    def feed_at_once(self, *arriving: Event) -> list[Effect]:
        """Handles the events as one batch."""
        effects = self.machine.handle_batch(arriving)
        validate(self.machine)
        return effects

    def start(self, *jobs: JobSnapshot, tasks: int = 1) -> list[Effect]:
        """Admits the jobs and gives every stage that asks `tasks` tasks."""
        effects: list[Effect] = []
        for one in jobs:
            effects += self.feed(admitted(one, at=one.arrival))
            for stage in one.stages:
                if not stage.spec.parents and stage.spec.kind is not StageKind.DYNAMIC:
                    effects += self.feed(unfolded(one.job_id, stage.spec.stage_id, tasks=tasks, at=one.arrival))
        return effects


def of(kind: type[E], effects: Iterable[Effect]) -> list[E]:
    """Those effects that are of this kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def dispatched(effects: Iterable[Effect]) -> list[tuple[str, str, int, int, str]]:
    """Job, stage, task, attempt and executor of every dispatch."""
    return [
        (one.attempt.job_id, one.attempt.stage_id, one.attempt.task_index, one.attempt.attempt, one.executor_id)
        for one in of(Dispatch, effects)
    ]
