"""What has ended, with all that is known of it: made once by the ledger, read by observations, spans and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.scheduler.core.effects import Dispatch
from services.scheduler.core.model import AttemptRef, Failure, JobSnapshot, Measurement, StageSnapshot
from services.state.records import JobRecord, JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """A dispatch that is durable."""

    record: JobRecord
    dispatch: Dispatch
    at: float  #: seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    record: JobRecord
    ref: AttemptRef
    stage: StageSnapshot  #: after the attempt
    outcome: str  #: "succeeded", "failed", "lost" or "cancelled"
    failure: Failure | None
    measurement: Measurement | None  #: of an attempt that succeeded
    executor_id: str
    used_slots: int | None  #: on that executor right after the dispatch, this attempt included; None: not known
    started_at: float  #: dispatch
    ended_at: float
    dispatch: Dispatch | None  #: None: another leader dispatched it
    is_last: bool  #: the task has ended with it


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnded:
    record: JobRecord
    stage: StageSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    record: JobRecord
    status: JobStatus
    job: JobSnapshot | None  #: None: the job was refused as invalid and never ran
    #: By stage id: what its unfoldings have added, without what was over before this leader took the job up.
    added: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


Fact = AttemptStarted | AttemptEnded | StageEnded | JobEnded
