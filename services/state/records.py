"""What is kept: values in the words of the scheduling core, plus payloads as opaque bytes.

The snapshots of `services.scheduler.core.model` *are* the format of the store (encoded by msgspec in `codec`), so a
scheduler that starts rebuilds its machine from what it reads, without a translation that could drift.
Payloads and results are serialised protobuf messages (`TaskPayload`, `TaskResult`, `google.protobuf.Value`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from services.scheduler.core.model import (
    OPEN,
    Failure,
    JobSnapshot,
    JobState,
    PolicySettings,
    StageSnapshot,
    TaskSnapshot,
)

TaskKey = tuple[str, int]  #: (stage_id, task index)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationRecord:
    """A registered version. Immutable; deleting hides it from new jobs only."""

    application: str
    version: int
    spec: bytes  #: serialised ApplicationSpec
    etag: str  #: hash of `spec`
    created_at: float  #: seconds since the epoch
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """What SubmitJob or OpenJob fixed; never changes."""

    job_id: str
    application: str
    version: int  #: 0: a program's job, whose application is only a name
    created_at: float  #: seconds since the epoch; the job's arrival
    order: int  #: intake sequence, assigned by the store
    structure: str
    labels: dict[str, str] = field(default_factory=dict)
    request_id: str = ""
    digest: str = ""  #: hash of what was asked, to tell a repeat from a reused request_id
    traceparent: str = ""
    rerun_of: str = ""
    idle_seconds: float = 0.0  #: of a program's job: without a sign of life for so long, and nothing to do, it fails


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What changes as the job goes: a `JobSnapshot` without its stages."""

    state: JobState
    started_at: float | None = None
    ended_at: float | None = None
    failure: Failure | None = None
    cancel_requested: bool = False
    prompt_tokens: int = 0  #: of attempts that succeeded
    completion_tokens: int = 0
    cached_tokens: int = 0
    closed: bool = False  #: of a program's job: no stages can be added any more


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    record: JobRecord
    status: JobStatus
    sequence: int  #: of the last change
    stages: dict[str, StageSnapshot] = field(default_factory=dict)

    def snapshot(self) -> JobSnapshot:
        """The value with which the job enters the machine."""
        return JobSnapshot(
            job_id=self.record.job_id,
            application=self.record.application,
            version=self.record.version,
            arrival=self.record.created_at,
            order=self.record.order,
            stages=tuple(sorted(self.stages.values(), key=lambda stage: stage.spec.position)),
            state=self.status.state,
            started_at=self.status.started_at,
            ended_at=self.status.ended_at,
            failure=self.status.failure,
            cancel_requested=self.status.cancel_requested,
            structure=self.record.structure,
            open=self.record.structure == OPEN and not self.status.closed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """The job's state changed."""

    state: JobState
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageUpdate:
    """A stage appeared or changed."""

    stage: StageSnapshot  #: without its tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskUpdate:
    """A task changed."""

    stage_id: str
    task_index: int
    task: TaskSnapshot


Update = JobUpdate | StageUpdate | TaskUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """A change of a job, as watchers see it."""

    sequence: int  #: grows by one with every change of the job, from 1
    at: float  #: seconds since the epoch
    update: Update


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCommit:
    """All that one batch of events changed in a job."""

    job_id: str
    at: float  #: seconds since the epoch
    status: JobStatus | None = None
    stages: dict[str, StageSnapshot] = field(default_factory=dict)  #: the changed ones, whole
    payloads: dict[TaskKey, bytes] = field(default_factory=dict)  #: serialised TaskPayload
    results: dict[TaskKey, bytes] = field(default_factory=dict)  #: serialised TaskResult
    output: bytes | None = None  #: serialised google.protobuf.Value
    updates: tuple[Update, ...] = ()  #: become events, numbered by the store
    observations: tuple[bytes, ...] = ()  #: for the profiler's stream
    finished: bool = False  #: drops payloads, leaves the active set, starts the retention time


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What one batch of events changed. Applied whole or not at all."""

    jobs: tuple[JobCommit, ...] = ()
    policy: PolicySettings | None = None
    decisions: int = 0  #: number of the batch's last decision; 0: it had none


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    epoch: int
    instance: str  #: one start of one process
    address: str  #: host:port of its gRPC server


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a job has shown to the profiler."""

    position: str  #: opaque; where to go on reading
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStage:
    """One stage of a job and what it gave."""

    record: JobRecord
    status: JobStatus
    stage: StageSnapshot | None  #: None: the job has no such stage
    results: dict[int, bytes]  #: serialised TaskResult, by task


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutputs:
    """What unfolding a stage may look at."""

    job: StoredJob
    input: bytes  #: JSON
    results: dict[TaskKey, bytes]  #: serialised TaskResult


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryJob:
    """A job in the history of its application."""

    application: str
    job_id: str  #: unique in the application
    line: bytes  #: of the trace format, as JSON
    number: int = 0  #: grows with every job that is added to the application's history; assigned by the store


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRecord:
    """A profile as it was published. Immutable."""

    application: str
    version: int  #: from 1, without gaps
    jobs: int  #: that it was learned from
    added: int  #: jobs that the history had ever got by then
    created_at: float  #: seconds since the epoch
    learn_seconds: float  #: that learning took
    trigger: str  #: why it was learned: "history", "request" or "drift"
    compiled: bytes
    encoding: str  #: of `compiled`
    variables: int = 0  #: of its network
    expected: bytes = b""  #: scores that jobs like those it was learned from get (JSON); empty: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """What was learned of the engine of an executor. Replaced as more is measured."""

    executor: str
    learned: bytes  #: all of it, as JSON
    measured_at: float  #: seconds since the epoch: the latest report
    version: int  #: of the calibration that was published last, from 1
    calibration: bytes  #: that one, as JSON
    published_at: float  #: seconds since the epoch
    models: tuple[str, ...] = ()  #: names that it answers to; empty: not told
    slots: int = 0  #: 0: not told
    imported: str = ""  #: digest of the report that was imported last
