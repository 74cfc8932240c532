"""What happened. The only way to tell the machine anything.

Every event carries the driver's time (`at`, seconds) and the id of what caused it (`cause`: an RPC, a timer, a
stream); effects carry the cause on. Outcomes are classes, not flags.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.profiler.core.calibration import Calibration
from services.profiler.core.profile import Profile
from services.scheduler.core.model import (
    AttemptRef,
    Failure,
    JobSnapshot,
    Measurement,
    PolicySettings,
    StageSpec,
    TaskSpec,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    at: float
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAdmitted(Event):
    """A job is durable: new (no stage started), recovered, or a rerun (some stages done). A known id is ignored."""

    job: JobSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelRequested(Event):
    job_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageAdded(Event):
    """The program of an open job wants something done. Ignored unless `programs.problem` finds nothing wrong with it.

    Occurrence, position and generator are the machine's to say: what the spec has there does not count.
    """

    job_id: str
    stage: StageSpec
    task: TaskSpec  #: a stage of a program has one


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClosed(Event):
    """The program of an open job adds no more: the job succeeds once its stages have ended, or fails at once."""

    job_id: str
    failure: Failure | None = None
    if_idle: bool = False  #: only if none of its stages waits or runs


@dataclass(frozen=True, slots=True, kw_only=True)
class StageUnfolded(Event):
    """The planner's answer to `Unfold`; ignored unless the stage waits for exactly this unfolding."""

    job_id: str
    stage_id: str
    unfolding: int
    tasks: tuple[TaskSpec, ...] = ()
    stages: tuple[StageSpec, ...] = ()  #: added to the job; the stage waits for all of them
    again: bool = False  #: unfold once more when `stages` are done
    skipped: bool = False  #: the stage's condition was false


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfoldFailed(Event):
    """The stage cannot be unfolded and fails; if it is recoverable, a fallback is asked for. Ignored when stale."""

    job_id: str
    stage_id: str
    unfolding: int
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTokensCounted(Event):
    """An engine counted the prompts of a stage, in the order of its tasks; None where it could not."""

    job_id: str
    stage_id: str
    prompt_tokens: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorAttached(Event):
    """An executor joined, came back after a break (same incarnation) or was restarted (another one).

    Attempts the machine believes to run there and that are not in `running` are lost; those in `running` that it
    does not want are cancelled, and hold their slots until they have ended.
    """

    executor_id: str
    incarnation: str
    kind: str  #: "llm" or "tool"
    slots: int
    offers: frozenset[str]
    running: tuple[AttemptRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorDetached(Event):
    """Its stream broke: nothing new is assigned, its attempts are kept until `ExecutorLost`."""

    executor_id: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorLost(Event):
    """Its lease ran out: its attempts are lost."""

    executor_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorDraining(Event):
    """It finishes what runs and takes nothing new."""

    executor_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorHealthChanged(Event):
    """Its engine or pool can, or cannot, take work; an unhealthy one is assigned nothing."""

    executor_id: str
    healthy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSucceeded(Event):
    attempt: AttemptRef
    measurement: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(Event):
    attempt: AttemptRef
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCancelled(Event):
    """The executor aborted the attempt as asked; its slot is free."""

    attempt: AttemptRef


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLost(Event):
    """The executor lives but does not run the attempt (its heartbeat does not name it)."""

    attempt: AttemptRef


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(Event):
    """The time of `SchedulerMachine.next_wake` has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChanged(Event):
    """An application's profile was learned (anew): beliefs about its jobs go by it from now on."""

    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationChanged(Event):
    """How fast the engine of an LLM executor is was measured (anew)."""

    executor_id: str
    calibration: Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged(Event):
    """Operators want another policy. Ignored if `make_policy` refuses it: check before."""

    policy: PolicySettings
