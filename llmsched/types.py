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

# isort: off
from llmsched.explanations import (
    Change as Change,
    Decision as Decision,
    Explanation as Explanation,
    Figure as Figure,
    QueuedStage as QueuedStage,
    StageBefore as StageBefore,
    StageReasons as StageReasons,
)

# isort: on

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
    #: For `random`, `llmsched` and `gittins`: another seed, other draws. None: the cluster's default.
    seed: int | None = None
    #: For `llmsched`: how often it looks for information instead of the shortest job. None: 0.2.
    epsilon: float | None = None
    #: For `llmsched`: share of a stage's tasks that is enough to learn from. None: 0.3.
    sample_ratio: float | None = None
    #: For `llmsched` and `gittins`: ingredients to leave out, for comparison.
    without: tuple[str, ...] = ()


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


class Trigger(StrEnum):
    """Why a profile was learned. Unknown ones are seen as HISTORY."""

    HISTORY = "HISTORY"
    REQUEST = "REQUEST"
    DRIFT = "DRIFT"


class DriftState(StrEnum):
    """Whether jobs of an application are still as its profile says. Unknown ones are seen as UNWATCHED."""

    #: The profile was learned from too few jobs to tell.
    UNWATCHED = "UNWATCHED"
    STEADY = "STEADY"
    #: They may not be: until that is clear no profile is learned by itself.
    SUSPICIOUS = "SUSPICIOUS"
    #: They are not: beliefs are wide, and the next profile is learned from jobs since the change.
    CHANGED = "CHANGED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What the profiler has noticed of changes of an application."""

    state: DriftState
    #: When a change was last noticed, if ever.
    notice_time: datetime | None
    #: Changes that were noticed, ever.
    change_count: int
    #: Jobs since the change, if the state is CHANGED.
    changed_job_count: int
    #: Jobs between false alarms, on average, that the monitor is set to.
    false_alarm_job_count: int
    #: How near to an alarm: 0 is far, 1 is there.
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How good beliefs about an application's newest jobs were."""

    job_count: int
    #: Beliefs that were scored, at several moments of each job.
    belief_count: int
    #: By the share that a central interval is meant to hold: the share that it held.
    coverage: Mapping[float, float]
    mean_error: timedelta
    mean_crps: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How fast the engine of an LLM executor is, as it was measured."""

    executor_id: str
    #: Seconds that a prompt token takes, alone.
    prefill_seconds: float
    #: Seconds of a decode step with 1, 2, 3, … requests in the batch.
    step_seconds: tuple[float, ...]
    #: Measured steps that each of these rests on; 0: it follows from the others.
    step_counts: tuple[float, ...]
    #: Measured prompts that `prefill_seconds` rests on; 0: it follows from the steps.
    prompt_count: float
    #: Counts from 1; grows with every noticeable change.
    version: int
    publish_time: datetime | None
    #: When the engine was last measured.
    measure_time: datetime | None
    #: Models that the engine answers to.
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What was learned of an application."""

    application: str
    #: Counts from 1.
    version: int
    #: Jobs it was learned from.
    job_count: int
    create_time: datetime | None
    #: How long learning took.
    learn_time: timedelta | None
    trigger: Trigger
    #: Variables of its network.
    variable_count: int
    #: Jobs in the application's history now; 0 where the server was not asked for it.
    history_job_count: int = 0
    #: Jobs of these that it does not know.
    new_job_count: int = 0
    #: At so many new jobs the next profile is learned; 0 for old versions.
    next_new_job_count: int = 0
    #: The profile itself, if it was asked for and this client can read its format.
    content: Mapping[str, Any] | None = None
    #: Whether jobs are still as it says; None for old versions.
    drift: Drift | None = None
    #: How good beliefs were; None where no jobs have ended since there is a profile.
    reliability: Reliability | None = None

    @property
    def name(self) -> str:
        """Format: applications/{application}/profiles/{version}."""
        return f"applications/{self.application}/profiles/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is believed of a span."""

    #: The least that is likely.
    lower: timedelta
    #: The most that is likely.
    upper: timedelta
    #: The mean.
    expected: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a job still needs, given what it has shown."""

    #: Work of LLM calls, as if each had an engine to itself.
    llm_work: Estimate
    #: Time of tools.
    tool_time: Estimate
    #: Both together.
    total: Estimate
    #: Format: applications/{application}/profiles/{version}.
    profile: str
