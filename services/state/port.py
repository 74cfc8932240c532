"""How the durable state is asked for. `MemoryState` and `RedisState` implement all of it and pass one contract suite.

Promises of every implementation:
* each method is atomic: after a crash its effect is there whole or not at all;
* when a mutating method returns, its effect is durable (Redis: as durable as its AOF settings say);
* losing the connection raises `StateUnavailable`; repeating the call is safe.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from services.scheduler.core.model import JobState, PolicySettings, StageSnapshot
from services.state.records import (
    ApplicationRecord,
    Commit,
    EngineRecord,
    HistoryJob,
    JobEvent,
    JobOutputs,
    JobRecord,
    Leader,
    Observation,
    ProfileRecord,
    StoredJob,
    StoredStage,
    TaskKey,
)

NOTHING: Mapping[str, bytes] = MappingProxyType({})


class StateError(Exception):
    """The durable state refused or failed."""


class StateUnavailable(StateError):
    """The store cannot be reached, or is still loading; the call may be repeated."""


class LeadershipLost(StateError):
    """Another process leads: this one must stop acting at once."""


class CommitGap(StateError):
    """The store has lost commits that were acknowledged (a restart without full fsync): rebuild from what it has."""


class VersionExists(StateError):
    """The application's version is registered with other content."""


class RequestIdReused(StateError):
    """The request id was used for something else."""


class QueueFull(StateError):
    """As many jobs are active as may be."""


class HistoryCompacted(StateError):
    """Changes after the given sequence are not kept any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    states: frozenset[JobState] = frozenset()  #: empty: all
    application: str = ""  #: empty: all
    version: int = 0  #: 0: all
    labels: tuple[tuple[str, str], ...] = ()  #: all of them

    def matches(self, job: StoredJob) -> bool:
        record = job.record
        return (
            (not self.states or job.status.state in self.states)
            and self.application in ("", record.application)
            and self.version in (0, record.version)
            and all(record.labels.get(key) == value for key, value in self.labels)
        )


class ApplicationStore(Protocol):
    async def put_application(self, record: ApplicationRecord) -> ApplicationRecord:
        """Registers a version; the same content again returns (and if need be undeletes) what is there.

        Raises VersionExists.
        """
        ...

    async def get_application(
        self, application: str, version: int | None = None, *, include_deleted: bool = False
    ) -> ApplicationRecord | None:
        """Returns a version, or the highest one that is not deleted."""
        ...

    async def list_applications(self, *, after: str = "", limit: int = 50) -> list[ApplicationRecord]:
        """Returns the highest version of each application whose name is greater than `after`, by name."""
        ...

    async def delete_application(self, application: str, version: int | None = None) -> list[int]:
        """Hides a version, or all; returns the versions that were hidden now."""
        ...


class JobStore(Protocol):
    """The planner's view."""

    async def submit(
        self,
        record: JobRecord,
        *,
        input: bytes,
        stages: Sequence[StageSnapshot],
        results: Mapping[TaskKey, bytes] | None = None,
        max_active: int,
    ) -> tuple[JobRecord, bool]:
        """Makes a job durable as PENDING with its first event, and marks it for admission.

        Returns the record with its `order`, and whether it is new: a repeat (same request_id, same digest; or same
        job_id, as after a lost answer) gives the first job's record. `results` are given for a rerun.
        Raises RequestIdReused, QueueFull; a repeat is never refused for the queue's length.
        """
        ...

    async def get_job(self, job_id: str, *, stages: bool = True) -> StoredJob | None: ...

    async def get_input(self, job_id: str) -> bytes | None: ...

    async def list_jobs(self, where: JobFilter, *, before: int | None = None, limit: int = 50) -> list[StoredJob]:
        """Returns jobs without stages, newest first, whose `order` is smaller than `before`."""
        ...

    async def get_stage(self, job_id: str, stage_id: str) -> StoredStage | None:
        """Reads one stage and the results of its tasks; what it costs does not grow with the job.

        All of a stage with one task is of one moment; of another, a result may be there before the stage says so.
        """
        ...

    async def get_outputs(self, job_id: str) -> JobOutputs | None:
        """Reads the job, its input and all results in one consistent step."""
        ...

    async def get_output(self, job_id: str) -> bytes | None:
        """Returns the job's rendered output, a serialised google.protobuf.Value."""
        ...

    async def read_events(self, job_id: str, *, after: int, limit: int = 500) -> list[JobEvent]:
        """Returns changes with a sequence greater than `after`, in order; none of a job that is not kept.

        Raises HistoryCompacted, also when `after` lies ahead of the job: then the store has lost changes.
        """
        ...

    def watch_changes(self, job_id: str) -> AsyncGenerator[None, None]:
        """Yields when the job may have changed (at once for the first time, and at least every second).

        Ends when the state is closed. Never raises StateUnavailable: the read that follows does.
        """
        ...

    def watch_deltas(self, job_id: str) -> AsyncGenerator[bytes, None]:
        """Yields output deltas (serialised WatchJobResponse.OutputDelta) published from now on; may drop some.

        Ends when the state is closed.
        """
        ...

    async def pending_admissions(self, *, limit: int = 1000) -> list[str]:
        """Returns ids of jobs that no scheduler has taken up yet, in their order: those without any commit."""
        ...

    async def leader(self) -> Leader | None: ...


class LeadStore(Protocol):
    """Who leads, of the processes of one kind."""

    async def acquire_leadership(self, *, instance: str, address: str, ttl: float) -> Leader | None:
        """Takes the lead with a new epoch if nobody else holds it; None if somebody does. `ttl` in seconds.

        Epochs grow, and do so even if the store lost the last ones: they are at least milliseconds since the epoch.
        """
        ...

    async def renew_leadership(self, leader: Leader, *, ttl: float) -> bool:
        """Extends the lead; False when it was lost. A lead that ran out is still extended if nobody took it."""
        ...

    async def release_leadership(self, leader: Leader) -> None:
        """Gives the lead up, if it is still held; later writes of this epoch are refused."""
        ...

    async def leader(self) -> Leader | None: ...


class SchedulerStore(LeadStore, Protocol):
    """The scheduler's view. Every write carries the leader's epoch, and an old epoch is refused."""

    async def commit(self, leader: Leader, number: int, commit: Commit) -> None:
        """Applies a commit. `number` counts the commits of this epoch from 1.

        A repeat of the last number is a no-op, so a commit whose answer was lost can be sent again. Any commit of a
        job takes it off the pending admissions. Raises LeadershipLost, StateUnavailable; CommitGap when the number
        skips some, the store does not know this epoch yet or not one of the jobs: acquire the lead again (which
        starts a new epoch), and load what there is.
        """
        ...

    def load_active_jobs(self) -> AsyncIterator[StoredJob]:
        """All jobs that have not ended, PENDING ones included, in their order."""
        ...

    async def load_jobs(self, job_ids: Iterable[str]) -> list[StoredJob]:
        """The given jobs with their stages; unknown ones are left out."""
        ...

    async def get_payload(self, job_id: str, task: TaskKey) -> bytes | None: ...

    async def get_policy(self) -> PolicySettings | None:
        """The policy that was last committed."""
        ...

    async def get_decisions(self) -> int:
        """Number of the last decision that any leader committed; 0 before the first.

        Read by a new leader, whose epoch keeps its predecessors from adding to it.
        """
        ...

    async def publish_delta(self, job_id: str, delta: bytes) -> None:
        """Sends a delta to whoever watches; nobody hears it later."""
        ...


class ProfileStore(LeadStore, Protocol):
    """The profiler's view: what was observed, histories, profiles. Its lead is one of its own.

    Every write carries the leader's epoch, and an old epoch is refused with LeadershipLost; CommitGap says that the
    store has lost something that the caller has seen: begin again with what there is.
    """

    async def read_observations(self, *, after: str = "", limit: int = 500) -> list[Observation]:
        """Returns observations behind a position, in the order of their commits; "" is the oldest one kept.

        What is compacted before it was read is skipped silently: it is a sample less.
        """
        ...

    async def handled(self) -> str:
        """The position up to which observations have had their effect; "" before the first."""
        ...

    async def absorb(
        self,
        leader: Leader,
        jobs: Sequence[HistoryJob],
        *,
        after: str,
        upto: str,
        engines: Sequence[EngineRecord] = (),
        conduct: Mapping[str, bytes] = NOTHING,
    ) -> None:
        """Adds the jobs that the observations behind `after` and up to `upto` have shown, and notes these as handled.

        With what follows from them: of engines, and by application of how its jobs agree with its profile. Once:
        `after` must be what `handled` says, and a repeat, after which that is `upto`, changes nothing. What is handled
        may be forgotten. Raises LeadershipLost, CommitGap.
        """
        ...

    async def add_history(self, leader: Leader, jobs: Sequence[HistoryJob]) -> int:
        """Adds recorded jobs, newest last; returns how many the history did not have. Raises LeadershipLost, CommitGap.

        A job that is there already (same application, same id) is replaced and keeps its place. Of each application
        the newest `max_history` jobs are kept.
        """
        ...

    async def histories(self) -> dict[str, int]:
        """How many jobs were ever added, by application."""
        ...

    async def read_history(self, application: str, *, after: int = 0, limit: int = 500) -> list[HistoryJob]:
        """Returns jobs with a number greater than `after`, oldest first."""
        ...

    async def count_history(self, application: str) -> int:
        """How many jobs are kept."""
        ...

    async def publish(
        self, leader: Leader, profile: ProfileRecord, *, request_id: str = "", conduct: bytes | None = None
    ) -> None:
        """Makes a profile the newest of its application. Its version must be the one behind the newest.

        `conduct`, if given, replaces what is kept of how the application's jobs agree with its profile. The newest
        `max_profiles` are kept. With a `request_id` the store remembers for the retention time what came of it. A
        repeat changes nothing. Raises LeadershipLost, CommitGap.
        """
        ...

    async def newest_profiles(self) -> dict[str, int]:
        """The newest version, by application."""
        ...

    async def get_profile(self, application: str, version: int) -> ProfileRecord | None: ...

    async def conduct(self) -> dict[str, bytes]:
        """How jobs agree with their profile, by application; of those of which something is known."""
        ...

    async def put_engine(self, leader: Leader, engine: EngineRecord) -> None:
        """Replaces what was learned of an engine. Raises LeadershipLost, CommitGap."""
        ...

    async def engines(self) -> dict[str, EngineRecord]:
        """What was learned of engines, by executor."""
        ...

    async def trained(self, request_id: str) -> tuple[str, int] | None:
        """Application and version that this request has led to."""
        ...

    def watch_profiles(self) -> AsyncGenerator[None, None]:
        """Yields when there may be a new profile (at once for the first time, and at least every second).

        Ends when the state is closed. Never raises StateUnavailable: the read that follows does.
        """
        ...


class State(ApplicationStore, JobStore, SchedulerStore, Protocol):
    """All of it, as one connection to one shard."""

    @property
    def profiles(self) -> ProfileStore:
        """What the profiler keeps."""
        ...

    async def read_observations(self, *, after: str = "", limit: int = 500) -> list[Observation]:
        """As in `ProfileStore`."""
        ...

    async def ping(self) -> None:
        """Raises StateUnavailable if the store does not answer."""
        ...

    async def aclose(self) -> None: ...
