"""What the client shows of a running system, as plain values.

Times are aware datetimes in UTC, spans are timedeltas, and None says that something has not happened (yet). Servers
may learn new states: a client that does not know one sees the state named in the enum's docstring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmsched.application import ApplicationSpec


class JobState(StrEnum):
    """Where a job is. Unknown ones are seen as RUNNING."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether the job will never change again."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class StageState(StrEnum):
    """Where a stage is. Unknown ones are seen as RUNNING."""

    WAITING = "WAITING"
    UNFOLDING = "UNFOLDING"
    READY = "READY"
    RUNNING = "RUNNING"
    EXPANDED = "EXPANDED"
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether the stage will never change again."""
        return self in (StageState.SUCCEEDED, StageState.SKIPPED, StageState.FAILED, StageState.CANCELLED)


class TaskState(StrEnum):
    """Where a task is. Unknown ones are seen as RUNNING."""

    READY = "READY"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class StageKind(StrEnum):
    """What a stage does. Unknown ones are seen as DYNAMIC."""

    LLM = "LLM"
    TOOL = "TOOL"
    DYNAMIC = "DYNAMIC"


class ExecutorState(StrEnum):
    """Where an executor is. Unknown ones are seen as DETACHED."""

    ATTACHED = "ATTACHED"
    DRAINING = "DRAINING"
    UNHEALTHY = "UNHEALTHY"
    DETACHED = "DETACHED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens, as engines counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    #: Prompt tokens that came from the engine's prefix cache.
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt, a stage or a job failed."""

    #: UPPER_SNAKE, for example TOOL_RAISED or TIMEOUT.
    reason: str
    #: For people; says what to do where that is known.
    message: str
    #: Whether the same call may succeed later.
    retryable: bool = False
    #: The varying parts of the message, by name.
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of an attempt went, measured by its executor."""

    #: From arrival at the executor to the start of work.
    queue: timedelta | None = None
    #: Start of work to first token; None for tools.
    prefill: timedelta | None = None
    #: First to last token; None for tools.
    decode: timedelta | None = None
    #: From arrival at the executor to the result.
    total: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One unit of work of a stage."""

    #: Place in the stage, from 0.
    index: int
    state: TaskState
    #: Number of the latest attempt, from 1; 0 before the first.
    attempt: int = 0
    #: Executor of the latest attempt.
    executor: str = ""
    #: Dispatch and end of the latest attempt.
    start_time: datetime | None = None
    end_time: datetime | None = None
    usage: Usage = Usage()
    #: Why the latest attempt failed.
    failure: Failure | None = None
    timings: Timings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of a job."""

    #: Unique in the job, for example `refine/2/test`.
    stage_id: str
    #: The same for all occurrences, for example `refine.test`.
    name: str
    kind: StageKind
    state: StageState
    #: Stages (stage_id) before it.
    parents: tuple[str, ...] = ()
    #: Stage whose completion made it exist; empty if known from the start.
    generated_by: str = ""
    tasks: tuple[Task, ...] = ()
    #: When its tasks became ready.
    ready_time: datetime | None = None
    end_time: datetime | None = None
    usage: Usage = Usage()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of an application on one input."""

    #: Format: jobs/{job}.
    name: str
    application: str
    version: int
    state: JobState
    failure: Failure | None = None
    #: When it was accepted; the job completion time counts from here.
    create_time: datetime | None = None
    #: First dispatch of one of its tasks.
    start_time: datetime | None = None
    end_time: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    usage: Usage = Usage()
    #: Stages known so far, in order of their position; empty in listings.
    stages: tuple[Stage, ...] = ()
    #: Changes with every update.
    etag: str = ""
    #: The job this one reruns; empty if none.
    rerun_of: str = ""
    #: W3C traceparent of the job's trace; empty when tracing is off.
    traceparent: str = ""
    #: Empty in listings.
    input: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The name without `jobs/`."""
        return self.name.removeprefix("jobs/")

    @property
    def completion_time(self) -> timedelta | None:
        """From acceptance to end; None until the job has ended."""
        return self.end_time - self.create_time if self.end_time and self.create_time else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredApplication:
    """A version of an application as a planner has it. Never changes."""

    #: Format: applications/{application}/versions/{version}.
    name: str
    application: str
    version: int
    #: What was registered.
    spec: ApplicationSpec
    create_time: datetime | None = None
    #: Hash of the spec.
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutput:
    """What a finished task produced."""

    stage_id: str
    #: Place in the stage, from 0.
    task_index: int
    #: Text of a model's answer, or the JSON value a tool returned.
    output: Any
    #: `stop` or `length`; empty for tools.
    finish_reason: str = ""
    usage: Usage = Usage()
    timings: Timings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A scheduling policy with its parameters."""

    #: A registered name, for example `fcfs`.
    name: str
    #: For `ps-tcs`: applications, first served first.
    application_order: tuple[str, ...] = ()
    #: A stage that has waited longer goes first. None: the cluster's default; zero: no guard.
    ageing: timedelta | None = None
    #: For `random`: another seed, another order. None: the cluster's default.
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """A process that runs attempts."""

    executor_id: str
    #: `llm` or `tool`.
    kind: str
    state: ExecutorState
    #: Attempts it can run at a time.
    slots: int
    used_slots: int
    #: `llm`, `llm:<model>`, `tool:<tool>`.
    offers: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    attach_time: datetime | None = None
    #: Last sign of life.
    heartbeat_time: datetime | None = None
    #: Requests that wait in its engine.
    engine_waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Executors and load, as the leading scheduler sees them."""

    executors: tuple[Executor, ...]
    #: Jobs that have not ended.
    active_jobs: int
    #: Stages whose tasks wait for a slot.
    ready_stages: int
    running_attempts: int
    #: Grows with each change of leader.
    epoch: int
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedStage:
    """A stage whose tasks wait for a slot."""

    #: Place in the queue, from 0.
    rank: int
    job_id: str
    stage_id: str
    application: str
    kind: StageKind
    #: What an executor must offer, for example `llm` or `tool:python.run_tests`.
    requirement: str
    waiting_tasks: int
    ready_time: datetime | None
    #: The policy's key as text; the smallest goes first.
    key: str
    #: Why it has this place, in a few words.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A dispatch, with the numbers used at that moment."""

    #: Grows by one with each decision of a leader.
    number: int
    decide_time: datetime | None
    job_id: str
    stage_id: str
    #: Place in the stage, from 0.
    task_index: int
    #: From 1.
    attempt: int
    executor_id: str
    policy: str
    #: The key that won, as text.
    key: str
    #: Why: `policy` or `ageing`.
    rule: str
    #: How long the task had been ready.
    waited: timedelta | None
    #: Stages that were ready and waited on.
    waiting_stages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job's ready stages run or wait."""

    queued: tuple[QueuedStage, ...]
    #: Latest decisions about the job, newest last.
    decisions: tuple[Decision, ...]
    policy: Policy
    #: One line per finding, for people.
    reasons: tuple[str, ...]
