"""The durable state in the memory of one process: for tests, for the demo, for reading what a store must do.

It keeps every promise of the port but durability. A method does not wait between its first and its last look at the
data, so one event loop makes each of them atomic.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from services.scheduler.core.model import JobState, PolicySettings, StageSnapshot
from services.state.memory_lead import MemoryLead
from services.state.memory_profiles import MemoryProfiles
from services.state.port import (
    CommitGap,
    HistoryCompacted,
    JobFilter,
    ProfileStore,
    QueueFull,
    RequestIdReused,
    StateUnavailable,
    VersionExists,
)
from services.state.records import (
    ApplicationRecord,
    Commit,
    JobCommit,
    JobEvent,
    JobOutputs,
    JobRecord,
    JobStatus,
    JobUpdate,
    Leader,
    Observation,
    StoredJob,
    StoredStage,
    TaskKey,
    Update,
)
from services.state.settings import Limits
from services.state.watch import Watchers


@dataclass(slots=True)
class _Job:
    record: JobRecord
    status: JobStatus
    input: bytes
    stages: dict[str, StageSnapshot]
    events: deque[JobEvent]
    results: dict[TaskKey, bytes]
    payloads: dict[TaskKey, bytes] = field(default_factory=dict)
    output: bytes | None = None
    sequence: int = 0

    def stored(self, *, stages: bool) -> StoredJob:
        kept = dict(self.stages) if stages else {}
        return StoredJob(record=self.record, status=self.status, sequence=self.sequence, stages=kept)


class MemoryState:
    """A `State` that lives as long as the process.

    `clock` gives seconds since the epoch; the leader's ttl and the retention time follow it.
    """

    def __init__(self, *, limits: Limits | None = None, clock: Callable[[], float] = time.time) -> None:
        self._limits = limits or Limits()
        self._clock = clock
        self._closed = False
        self._watchers = Watchers()
        self._applications: dict[str, dict[int, ApplicationRecord]] = {}
        self._jobs: dict[str, _Job] = {}  # in the order of their intake
        self._requests: dict[str, str] = {}
        self._active: dict[str, None] = {}
        self._pending: dict[str, None] = {}
        self._ended: deque[tuple[float, str]] = deque()
        self._order = 0
        self._policy: PolicySettings | None = None
        self._decisions = 0
        self._profiles = MemoryProfiles(self._now, self._limits, self._watchers)
        self.profiles: ProfileStore = self._profiles
        self._lead = MemoryLead(self._now)
        self._last_number = 0

    async def ping(self) -> None:
        self._now()

    async def aclose(self) -> None:
        self._closed = True
        self._watchers.close()

    def _now(self) -> float:
        """The time, after everything that is due by then has happened."""
        if self._closed:
            raise StateUnavailable("the state is closed")
        now = self._clock()
        while self._ended and self._ended[0][0] <= now:
            _, job_id = self._ended.popleft()
            job = self._jobs.pop(job_id)
            self._requests.pop(job.record.request_id, None)
        return now

    def _job(self, job_id: str) -> _Job | None:
        self._now()
        return self._jobs.get(job_id)

    # Applications

    async def put_application(self, record: ApplicationRecord) -> ApplicationRecord:
        self._now()
        versions = self._applications.setdefault(record.application, {})
        kept = versions.get(record.version)
        if kept is not None and kept.etag != record.etag:
            raise VersionExists(f"{record.application} version {record.version} is registered with other content")
        versions[record.version] = replace(kept or record, deleted=False)
        return versions[record.version]

    async def get_application(
        self, application: str, version: int | None = None, *, include_deleted: bool = False
    ) -> ApplicationRecord | None:
        self._now()
        versions = self._applications.get(application, {})
        visible = {number: record for number, record in versions.items() if include_deleted or not record.deleted}
        return visible.get(max(visible, default=0) if version is None else version)

    async def list_applications(self, *, after: str = "", limit: int = 50) -> list[ApplicationRecord]:
        names = sorted(name for name in self._applications if name > after)
        records = [await self.get_application(name) for name in names]
        return [record for record in records if record is not None][:limit]

    async def delete_application(self, application: str, version: int | None = None) -> list[int]:
        self._now()
        versions = self._applications.get(application, {})
        hidden = [
            number
            for number, record in sorted(versions.items())
            if not record.deleted and (version is None or number == version)
        ]
        for number in hidden:
            versions[number] = replace(versions[number], deleted=True)
        return hidden

    # Jobs, as the planner sees them

    async def submit(
        self,
        record: JobRecord,
        *,
        input: bytes,
        stages: Sequence[StageSnapshot],
        results: Mapping[TaskKey, bytes] | None = None,
        max_active: int,
    ) -> tuple[JobRecord, bool]:
        self._now()
        if (first := self._first_submission(record)) is not None:
            return first, False
        if len(self._active) >= max_active:
            raise QueueFull(f"{len(self._active)} jobs are active, which is the limit")
        self._order += 1
        record = replace(record, order=self._order)
        self._jobs[record.job_id] = job = _Job(
            record=record,
            status=JobStatus(state=JobState.PENDING),
            input=input,
            stages={stage.spec.stage_id: stage for stage in stages},
            events=deque(maxlen=self._limits.max_events),
            results=dict(results or {}),
        )
        self._append_event(job, record.created_at, JobUpdate(state=JobState.PENDING))
        self._active[record.job_id] = None
        self._pending[record.job_id] = None
        if record.request_id:
            self._requests[record.request_id] = record.job_id
        return record, True

    def _first_submission(self, record: JobRecord) -> JobRecord | None:
        if record.job_id in self._jobs:
            return self._jobs[record.job_id].record
        first = self._requests.get(record.request_id) if record.request_id else None
        if first is None:
            return None
        if self._jobs[first].record.digest != record.digest:
            raise RequestIdReused(f"request id {record.request_id!r} was used for something else")
        return self._jobs[first].record

    async def get_job(self, job_id: str, *, stages: bool = True) -> StoredJob | None:
        job = self._job(job_id)
        return None if job is None else job.stored(stages=stages)

    async def get_input(self, job_id: str) -> bytes | None:
        job = self._job(job_id)
        return None if job is None else job.input

    async def list_jobs(self, where: JobFilter, *, before: int | None = None, limit: int = 50) -> list[StoredJob]:
        self._now()
        newest_first = (job.stored(stages=False) for job in reversed(self._jobs.values()))
        older = (job for job in newest_first if before is None or job.record.order < before)
        return list(islice(filter(where.matches, older), limit))

    async def get_stage(self, job_id: str, stage_id: str) -> StoredStage | None:
        job = self._job(job_id)
        if job is None:
            return None
        stage = job.stages.get(stage_id)
        keys = [(stage_id, index) for index in range(len(stage.tasks) if stage else 0)]
        results = {key[1]: job.results[key] for key in keys if key in job.results}
        return StoredStage(record=job.record, status=job.status, stage=stage, results=results)

    async def get_outputs(self, job_id: str) -> JobOutputs | None:
        job = self._job(job_id)
        if job is None:
            return None
        return JobOutputs(job=job.stored(stages=True), input=job.input, results=dict(job.results))

    async def get_output(self, job_id: str) -> bytes | None:
        job = self._job(job_id)
        return None if job is None else job.output

    async def read_events(self, job_id: str, *, after: int, limit: int = 500) -> list[JobEvent]:
        job = self._job(job_id)
        if job is None:
            return []
        compacted = job.sequence - len(job.events)
        if not compacted <= after <= job.sequence:
            raise HistoryCompacted(
                f"job {job_id}: changes {compacted + 1} to {job.sequence} are kept, not after {after}"
            )
        return list(islice(job.events, after - compacted, after - compacted + limit))

    def watch_changes(self, job_id: str) -> AsyncGenerator[None, None]:
        return self._watchers.changes(job_id)

    def watch_deltas(self, job_id: str) -> AsyncGenerator[bytes, None]:
        return self._watchers.deltas(job_id)

    async def pending_admissions(self, *, limit: int = 1000) -> list[str]:
        self._now()
        return list(islice(self._pending, limit))

    # The lead

    async def leader(self) -> Leader | None:
        return await self._lead.leader()

    async def acquire_leadership(self, *, instance: str, address: str, ttl: float) -> Leader | None:
        leader = await self._lead.acquire_leadership(instance=instance, address=address, ttl=ttl)
        if leader is not None:
            self._last_number = 0
        return leader

    async def renew_leadership(self, leader: Leader, *, ttl: float) -> bool:
        return await self._lead.renew_leadership(leader, ttl=ttl)

    async def release_leadership(self, leader: Leader) -> None:
        await self._lead.release_leadership(leader)

    # Commits, as the scheduler makes them

    async def commit(self, leader: Leader, number: int, commit: Commit) -> None:
        now = self._now()
        self._lead.check(leader)
        if number <= self._last_number:
            return
        if number != self._last_number + 1:
            raise CommitGap(f"commit {number} follows {self._last_number}")
        if missing := [change.job_id for change in commit.jobs if change.job_id not in self._jobs]:
            raise CommitGap(f"the store does not have job {missing[0]}")
        for change in commit.jobs:
            self._apply(self._jobs[change.job_id], change, now)
        if commit.policy is not None:
            self._policy = commit.policy
        self._decisions = commit.decisions or self._decisions
        self._last_number = number
        self._watchers.changed(change.job_id for change in commit.jobs)

    def _apply(self, job: _Job, change: JobCommit, now: float) -> None:
        job.status = change.status or job.status
        job.stages |= change.stages
        job.payloads |= change.payloads
        job.results |= change.results
        job.output = job.output if change.output is None else change.output
        for update in change.updates:
            self._append_event(job, change.at, update)
        for data in change.observations:
            self._profiles.observe(data)
        self._pending.pop(change.job_id, None)
        if change.finished and change.job_id in self._active:
            del self._active[change.job_id]
            job.payloads.clear()
            self._ended.append((now + self._limits.retention_seconds, change.job_id))

    def _append_event(self, job: _Job, at: float, update: Update) -> None:
        job.sequence += 1
        job.events.append(JobEvent(sequence=job.sequence, at=at, update=update))

    async def load_active_jobs(self) -> AsyncIterator[StoredJob]:
        for job_id in list(self._active):
            job = await self.get_job(job_id)
            if job is not None and not job.status.state.is_final:
                yield job

    async def load_jobs(self, job_ids: Iterable[str]) -> list[StoredJob]:
        jobs = [await self.get_job(job_id) for job_id in job_ids]
        return [job for job in jobs if job is not None]

    async def get_payload(self, job_id: str, task: TaskKey) -> bytes | None:
        job = self._job(job_id)
        return None if job is None else job.payloads.get(task)

    async def get_policy(self) -> PolicySettings | None:
        self._now()
        return self._policy

    async def get_decisions(self) -> int:
        self._now()
        return self._decisions

    async def publish_delta(self, job_id: str, delta: bytes) -> None:
        self._now()
        self._watchers.deliver(job_id, delta)

    async def read_observations(self, *, after: str = "", limit: int = 500) -> list[Observation]:
        return await self._profiles.read_observations(after=after, limit=limit)
