"""What to do about it. The machine returns effects in the order in which they came to be; the driver makes the
changes durable first, then carries out the actions.

Two families: *changes* of state (`JobChanged`, `StageChanged`, `TaskChanged`, `StoreResult`), which are stored and
shown to watchers, and *actions* (`Unfold`, `Dispatch`, `CancelAttempt`), which reach other processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from services.scheduler.core.model import AttemptRef, Failure, JobState, StageState, TaskState
from services.scheduler.core.policies.explaining import Figure, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    cause: str  #: of the event that led to it


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChanged(Effect):
    """With a final state the machine forgets the job; until its next call the job's snapshot can still be read."""

    job_id: str
    state: JobState
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChanged(Effect):
    """A stage was added to a job or changed its state."""

    job_id: str
    stage_id: str
    state: StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChanged(Effect):
    """A task changed its state. Tasks come into being with the `StageChanged` to READY of their stage."""

    job_id: str
    stage_id: str
    task_index: int
    attempt: int
    state: TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult(Effect):
    """The result that came with this attempt is accepted: keep it. Anything else that arrives is dropped."""

    attempt: AttemptRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfold(Effect):
    """Ask the planner for the stage's tasks; answered by `StageUnfolded` or `UnfoldFailed`."""

    job_id: str
    stage_id: str
    unfolding: int
    failure: Failure | None = None  #: set when a fallback is wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch(Effect):
    attempt: AttemptRef
    executor_id: str
    priority: int  #: for the engine's queue; higher is sooner
    timeout_seconds: float | None
    number: int  #: of the decision, from 1
    policy: str
    key: tuple[object, ...]  #: the policy's key that won
    rule: str  #: "policy", "explore" or "ageing"
    waited_seconds: float  #: since the task became ready
    waiting_stages: int  #: stages that were ready at that moment, this one included
    #: For explanations: what the parts of the key are, but for the three that every key ends in, and what else counted.
    parts: tuple[Part, ...] = field(default=(), compare=False)
    more: tuple[Figure, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAttempt(Effect):
    """Abort the attempt; answered by `AttemptCancelled` (or its end, if that was faster)."""

    attempt: AttemptRef
    executor_id: str
