"""The values the machine works on: frozen, serialisable, free of payloads.

A job enters the machine as a `JobSnapshot`, whether it is new, recovered from the store or a rerun, and
`SchedulerMachine.snapshot` gives the same value back: there is one way in and one format to keep.
Times are seconds on the driver's clock (live: since the epoch; simulated: since the start of the run).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

OPEN = "open"  #: structure of a job whose stages a program adds while it goes


class StageKind(StrEnum):
    LLM = "LLM"
    TOOL = "TOOL"
    DYNAMIC = "DYNAMIC"  #: a placeholder: its unfolding adds stages, and it is done when they are


class JobState(StrEnum):
    PENDING = "PENDING"  #: durable, not yet taken up by the scheduler
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"  #: will be FAILED or CANCELLED once its running attempts have ended
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class StageState(StrEnum):
    WAITING = "WAITING"  #: its parents are not done
    UNFOLDING = "UNFOLDING"  #: the planner was asked for its tasks
    READY = "READY"  #: tasks wait for a slot, none was dispatched yet
    RUNNING = "RUNNING"
    EXPANDED = "EXPANDED"  #: waits for the stages its unfolding added
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_done(self) -> bool:
        """Whether children may start."""
        return self in (StageState.SUCCEEDED, StageState.SKIPPED)

    @property
    def is_final(self) -> bool:
        return self in (StageState.SUCCEEDED, StageState.SKIPPED, StageState.FAILED, StageState.CANCELLED)


class TaskState(StrEnum):
    READY = "READY"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"  #: waits before its next attempt
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        return self in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    reason: str  #: UPPER_SNAKE
    message: str
    retryable: bool = False
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRef:
    """One try of one task. `attempt` is the fencing token."""

    job_id: str
    stage_id: str
    task_index: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """What must come before a stage and what it needs; never changes."""

    stage_id: str  #: unique in the job, for example "refine/2/test"
    name: str  #: the same for all occurrences, for example "refine.test"
    kind: StageKind
    occurrence: int = 0
    parents: tuple[str, ...] = ()
    requirement: str = ""  #: what an executor must offer: "llm", "llm:<model>", "tool:<tool>"; "" for DYNAMIC
    position: int = 0  #: place in the job's topological order
    max_attempts: int = 3  #: of each task; 1 is at most once
    timeout_seconds: float | None = None  #: of one attempt; the executor enforces it
    backoff_seconds: float = 1.0  #: before the second attempt; doubles with each further one
    recoverable: bool = False  #: on final failure the planner is asked for a fallback
    generated_by: str | None = None  #: stage whose completion made it exist
    width_by: str | None = None  #: stage whose completion fixes its number of tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """What a policy may know of a task before it runs."""

    prompt_tokens: int = 0
    counted: bool = False  #: by an engine's tokenizer; else estimated


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What an attempt that succeeded has shown."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSnapshot:
    spec: TaskSpec
    state: TaskState = TaskState.READY
    attempt: int = 0  #: number of the latest attempt; 0 before the first
    losses: int = 0  #: attempts that ended with their executor, not by themselves; do not count against max_attempts
    executor_id: str | None = None  #: of the latest attempt
    started_at: float | None = None  #: dispatch of the latest attempt
    ended_at: float | None = None
    retry_at: float | None = None  #: end of the backoff
    measurement: Measurement | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSnapshot:
    spec: StageSpec
    state: StageState = StageState.WAITING
    unfolding: int = 0  #: number of the latest unfolding, asked or answered; 0 before the first
    again: bool = False  #: EXPANDED: unfold again when the added stages are done
    waits_on: tuple[str, ...] = ()  #: EXPANDED: the stages it waits for
    tasks: tuple[TaskSnapshot, ...] = ()
    ready_at: float | None = None  #: when its tasks became ready
    ended_at: float | None = None
    failure: Failure | None = None  #: why it failed; kept when a fallback stands in


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnapshot:
    job_id: str
    application: str  #: name, without version
    version: int
    arrival: float  #: when it was accepted; JCT counts from here
    order: int  #: breaks ties between equal arrivals: intake sequence, or line of a workload
    stages: tuple[StageSnapshot, ...]
    structure: str = "static"  #: set by the planner: "generated", "chain+width", "chain", "width", "static" or OPEN
    state: JobState = JobState.PENDING
    started_at: float | None = None
    ended_at: float | None = None
    failure: Failure | None = None
    cancel_requested: bool = False  #: CANCELLING ends as CANCELLED, else as FAILED
    open: bool = False  #: its program may add stages: it is not done when its stages are


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """Names a policy with its parameters."""

    name: str = "fcfs"
    application_order: tuple[str, ...] = ()  #: ps-tcs
    ageing_seconds: float | None = None  #: a stage that has waited longer goes first; None: no guard
    seed: int = 0  #: of policies that look random
    epsilon: float | None = None  #: llmsched: how often it looks for information; None: 0.2
    sample_ratio: float | None = None  #: llmsched: share of a stage's tasks that are enough for that; None: 0.3
    without: tuple[str, ...] = ()  #: gittins, llmsched: ingredients that are left out, for comparison
