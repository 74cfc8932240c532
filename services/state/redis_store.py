"""The durable state in Redis or Valkey. `keys` says what is kept where, `lua/` what happens in one step."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from services.scheduler.core.model import JobState, PolicySettings, StageSnapshot
from services.state.codec import decode, decode_event, decode_task_key, encode, encode_event, encode_task_key
from services.state.connection import Argument, RedisConnection
from services.state.keys import Keys
from services.state.port import (
    CommitGap,
    HistoryCompacted,
    JobFilter,
    LeadershipLost,
    ProfileStore,
    QueueFull,
    RequestIdReused,
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
)
from services.state.redis_lead import RedisLead, milliseconds
from services.state.redis_profiles import RedisProfiles
from services.state.settings import RedisSettings
from services.state.subscriber import SEPARATOR, Subscriber

_BATCH = 100  #: jobs read in one step: bounds the time for which the server does nothing else
_SWEEP_BATCH = 500  #: expired jobs removed in one step
_SWEEP_BATCHES = 20  #: steps per sweep at most: a renewal must not take long


class RedisState:
    """A `State` in one shard of a Redis. Belongs to the event loop that first uses it."""

    def __init__(self, settings: RedisSettings) -> None:
        self._limits = settings.limits
        self._keys = Keys(settings.shard)
        self._connection = RedisConnection(settings)
        self._subscriber = Subscriber(self._connection, self._keys)
        self._lead = RedisLead(self._connection, self._keys.lead, self._keys.lease)
        self.profiles: ProfileStore = RedisProfiles(self._connection, self._keys, self._subscriber, settings.limits)

    async def ping(self) -> None:
        await self._connection.command("EXISTS", self._keys.lead)  # unlike PING it asks the node of this shard

    async def aclose(self) -> None:
        await self._subscriber.aclose()
        await self._connection.aclose()

    # Applications

    async def put_application(self, record: ApplicationRecord) -> ApplicationRecord:
        kept = await self._connection.run(
            "put_application",
            [self._keys.applications, *self._application_keys(record.application)],
            record.application,
            record.version,
            record.etag,
            encode(replace(record, deleted=False)),
        )
        if kept is None:
            raise VersionExists(f"{record.application} version {record.version} is registered with other content")
        return decode(ApplicationRecord, kept)

    async def get_application(
        self, application: str, version: int | None = None, *, include_deleted: bool = False
    ) -> ApplicationRecord | None:
        found = await self._read_applications([application], version, include_deleted)
        return found[0] if found else None

    async def list_applications(self, *, after: str = "", limit: int = 50) -> list[ApplicationRecord]:
        names = await self._connection.command(
            "ZRANGEBYLEX", self._keys.applications, f"({after}", "+", "LIMIT", 0, limit
        )
        return await self._read_applications([name.decode() for name in names], None, False)

    async def delete_application(self, application: str, version: int | None = None) -> list[int]:
        hidden = await self._connection.run(
            "delete_application",
            [self._keys.applications, *self._application_keys(application)],
            application,
            "" if version is None else version,
        )
        return sorted(map(int, hidden))

    def _application_keys(self, name: str) -> tuple[str, str]:
        return self._keys.application(name), self._keys.live_versions(name)

    async def _read_applications(
        self, names: Sequence[str], version: int | None, include_deleted: bool
    ) -> list[ApplicationRecord]:
        if not names:
            return []
        found = await self._connection.run(
            "read_applications",
            [key for name in names for key in self._application_keys(name)],
            "" if version is None else version,
            int(include_deleted),
        )
        return [replace(decode(ApplicationRecord, record), deleted=bool(hidden)) for record, hidden in found]

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
        status = JobStatus(state=JobState.PENDING)
        entry = msgspec.msgpack.encode((record.job_id, record.application, record.request_id, record.digest))
        fields = [
            *_counted({"record": encode(record), "status": encode(status), "input": input, "entry": entry}),
            *_counted({stage.spec.stage_id: encode(stage) for stage in stages}),
            *_counted({encode_task_key(task): data for task, data in (results or {}).items()}),
        ]
        first_event = encode_event(record.created_at, JobUpdate(state=JobState.PENDING))
        expired = b""
        while True:
            kind, value = await self._connection.run(
                "submit",
                self._submit_keys(record),
                record.job_id,
                record.request_id,
                _request_value(record.job_id, record.digest),
                expired,
                max_active,
                first_event,
                *fields,
            )
            if kind == b"NEW":
                return replace(record, order=value), True
            if kind == b"FULL":
                raise QueueFull(f"{value} jobs are active, which is the limit")
            if (first := await self._first_submission(record, value)) is not None:
                return first, False
            expired = value  # its job is gone, and the next sweep would have removed it

    def _submit_keys(self, record: JobRecord) -> list[str]:
        keys, job_id = self._keys, record.job_id
        indexes = [keys.requests, keys.active, keys.order, keys.pending, keys.jobs, keys.jobs_of(record.application)]
        return [*indexes, keys.job(job_id), keys.stages(job_id), keys.results(job_id), keys.events(job_id)]

    async def _first_submission(self, record: JobRecord, kept: bytes) -> JobRecord | None:
        job_id, digest = msgspec.msgpack.decode(kept, type=tuple[str, str])
        first = await self.get_job(job_id, stages=False)
        if first is not None and digest != record.digest and job_id != record.job_id:
            raise RequestIdReused(f"request id {record.request_id!r} was used for something else")
        return first.record if first is not None else None

    async def get_job(self, job_id: str, *, stages: bool = True) -> StoredJob | None:
        found = await self._read_jobs([job_id], stages=stages)
        return found[0] if found else None

    async def get_input(self, job_id: str) -> bytes | None:
        return await self._connection.command("HGET", self._keys.job(job_id), "input")

    async def list_jobs(self, where: JobFilter, *, before: int | None = None, limit: int = 50) -> list[StoredJob]:
        index = self._index(where)
        found: list[StoredJob] = []
        upper = "+inf" if before is None else f"({before}"
        while len(found) < limit:
            lowest, page = await self._connection.run("read_page", [index], upper, _BATCH)
            jobs = await self._read_jobs([job_id.decode() for job_id in page], stages=False)
            found += [job for job in jobs if where.matches(job)]
            if len(page) < _BATCH:
                break
            upper = f"({int(lowest)}"
        return found[:limit]

    def _index(self, where: JobFilter) -> str:
        """The shortest list of jobs that has all of the wanted ones."""
        if where.states and not any(state.is_final for state in where.states):
            return self._keys.active
        return self._keys.jobs_of(where.application) if where.application else self._keys.jobs

    async def get_stage(self, job_id: str, stage_id: str) -> StoredStage | None:
        keys = self._keys
        found = await self._connection.run(
            "read_stage", [keys.job(job_id), keys.stages(job_id), keys.results(job_id)], stage_id
        )
        if found is None:
            return None
        record, status, order, stage, first = found
        decoded = None if stage is None else decode(StageSnapshot, stage)
        results = [first]
        if decoded is not None and len(decoded.tasks) > 1:  # what a task gave never changes, so it may be read later
            fields = [encode_task_key((stage_id, index)) for index in range(len(decoded.tasks))]
            results = await self._connection.command("HMGET", keys.results(job_id), *fields)
        return StoredStage(
            record=replace(decode(JobRecord, record), order=int(order)),
            status=decode(JobStatus, status),
            stage=decoded,
            results={index: result for index, result in enumerate(results) if result is not None},
        )

    async def get_outputs(self, job_id: str) -> JobOutputs | None:
        keys = self._keys
        found = await self._connection.run(
            "read_outputs", [keys.job(job_id), keys.stages(job_id), keys.results(job_id)]
        )
        if found is None:
            return None
        *job, input, results = found
        decoded = {decode_task_key(field): data for field, data in _rows(results)}
        return JobOutputs(job=_stored_job(job), input=input, results=decoded)

    async def get_output(self, job_id: str) -> bytes | None:
        return await self._connection.command("HGET", self._keys.job(job_id), "output")

    async def read_events(self, job_id: str, *, after: int, limit: int = 500) -> list[JobEvent]:
        found = await self._connection.run(
            "read_events", [self._keys.job(job_id), self._keys.events(job_id)], after, limit
        )
        if found is None:
            return []
        last, entries = int(found[0]), found[1]
        first = int(entries[0][0].split(b"-")[0]) if entries else last + 1
        if first != after + 1:
            raise HistoryCompacted(f"job {job_id}: of {last} changes, those after {after} are not all kept")
        return [decode_event(int(name.split(b"-")[0]), fields[1]) for name, fields in entries]

    def watch_changes(self, job_id: str) -> AsyncGenerator[None, None]:
        self._subscriber.start()
        return self._subscriber.watchers.changes(job_id)

    def watch_deltas(self, job_id: str) -> AsyncGenerator[bytes, None]:
        self._subscriber.start()
        return self._subscriber.watchers.deltas(job_id)

    async def pending_admissions(self, *, limit: int = 1000) -> list[str]:
        found = await self._connection.command("ZRANGE", self._keys.pending, 0, limit - 1)
        return [job_id.decode() for job_id in found]

    async def _read_jobs(self, job_ids: Sequence[str], *, stages: bool) -> list[StoredJob]:
        jobs: list[StoredJob] = []
        for start in range(0, len(job_ids), _BATCH):
            batch = job_ids[start : start + _BATCH]
            keys = [key for job_id in batch for key in (self._keys.job(job_id), self._keys.stages(job_id))]
            jobs += map(_stored_job, await self._connection.run("read_jobs", keys, int(stages)))
        return jobs

    # The lead

    async def leader(self) -> Leader | None:
        return await self._lead.leader()

    async def acquire_leadership(self, *, instance: str, address: str, ttl: float) -> Leader | None:
        return await self._lead.acquire_leadership(instance=instance, address=address, ttl=ttl)

    async def renew_leadership(self, leader: Leader, *, ttl: float) -> bool:
        renewed = await self._lead.renew_leadership(leader, ttl=ttl)
        if renewed:
            await self.sweep()
        return renewed

    async def release_leadership(self, leader: Leader) -> None:
        await self._lead.release_leadership(leader)

    async def sweep(self) -> int:
        """Removes what expired jobs have left in the indexes; returns of how many jobs.

        Each renewal of the lead does this, so there is no need to call it.
        """
        swept = 0
        for _ in range(_SWEEP_BATCHES):
            due = await self._connection.run("read_due", [self._keys.ended], _SWEEP_BATCH)
            await self._sweep_entries(due)
            swept += len(due)
            if len(due) < _SWEEP_BATCH:
                break
        return swept

    async def _sweep_entries(self, due: Sequence[bytes]) -> None:
        keys = [self._keys.ended, self._keys.jobs, self._keys.requests]
        arguments: list[Argument] = []
        for entry in due:
            job_id, application, request_id, digest = msgspec.msgpack.decode(entry, type=tuple[str, str, str, str])
            keys.append(self._keys.jobs_of(application))
            arguments += [entry, job_id, request_id, _request_value(job_id, digest)]
        if due:
            await self._connection.run("sweep", keys, *arguments)

    # Commits, as the scheduler makes them

    async def commit(self, leader: Leader, number: int, commit: Commit) -> None:
        arguments = self._head(leader, number, commit)
        for change in commit.jobs:
            arguments += _change(change)
        kind, *detail = await self._connection.run("commit", self._commit_keys(commit), *arguments)
        if kind == b"LOST":
            raise LeadershipLost(f"epoch {leader.epoch} has ended: the epoch is {detail[0].decode()}")
        if kind == b"GAP":
            raise CommitGap(f"the store does not have {detail[0].decode()}")

    def _commit_keys(self, commit: Commit) -> list[str]:
        keys = self._keys
        names = [keys.lead, keys.active, keys.pending, keys.ended, keys.observations, keys.policy]
        for job_id in (change.job_id for change in commit.jobs):
            names += [keys.job(job_id), keys.stages(job_id), keys.payloads(job_id), keys.results(job_id)]
            names.append(keys.events(job_id))
        return names

    def _head(self, leader: Leader, number: int, commit: Commit) -> list[Argument]:
        return [
            leader.epoch,
            leader.instance,
            number,
            self._limits.max_events,
            self._limits.max_observations,
            milliseconds(self._limits.retention_seconds),
            self._keys.changes_channel,
            SEPARATOR.join(change.job_id for change in commit.jobs),
            b"" if commit.policy is None else encode(commit.policy),
            commit.decisions,
        ]

    async def load_active_jobs(self) -> AsyncIterator[StoredJob]:
        found = await self._connection.command("ZRANGE", self._keys.active, 0, -1)
        for start in range(0, len(found), _BATCH):
            for job in await self.load_jobs(job_id.decode() for job_id in found[start : start + _BATCH]):
                if not job.status.state.is_final:
                    yield job

    async def load_jobs(self, job_ids: Iterable[str]) -> list[StoredJob]:
        return await self._read_jobs(list(job_ids), stages=True)

    async def get_payload(self, job_id: str, task: TaskKey) -> bytes | None:
        return await self._connection.command("HGET", self._keys.payloads(job_id), encode_task_key(task))

    async def get_policy(self) -> PolicySettings | None:
        found = await self._connection.command("GET", self._keys.policy)
        return None if found is None else decode(PolicySettings, found)

    async def get_decisions(self) -> int:
        return int(await self._connection.command("HGET", self._keys.lead, "decisions") or 0)

    async def publish_delta(self, job_id: str, delta: bytes) -> None:
        await self._connection.command("PUBLISH", self._keys.deltas_channel(job_id), delta)

    async def read_observations(self, *, after: str = "", limit: int = 500) -> list[Observation]:
        return await self.profiles.read_observations(after=after, limit=limit)


def _change(change: JobCommit) -> list[Argument]:
    """What `commit.lua` expects for each job."""
    fields: dict[str, bytes] = {}
    if change.status is not None:
        fields["status"] = encode(change.status)
    if change.output is not None:
        fields["output"] = change.output
    return [
        change.job_id,
        int(change.finished),
        *_counted(fields),
        *_counted({stage_id: encode(stage) for stage_id, stage in change.stages.items()}),
        *_counted({encode_task_key(task): data for task, data in change.payloads.items()}),
        *_counted({encode_task_key(task): data for task, data in change.results.items()}),
        len(change.updates),
        *(encode_event(change.at, update) for update in change.updates),
        len(change.observations),
        *change.observations,
    ]


def _counted(fields: Mapping[str, bytes]) -> list[Argument]:
    """How many hash fields there are, then each with its value."""
    return [len(fields), *(word for pair in fields.items() for word in pair)]


def _rows(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Pairs from the flat list as which Redis gives them."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def _stored_job(found: Sequence[Any]) -> StoredJob:
    record, status, order, sequence, stages = found
    return StoredJob(
        record=replace(decode(JobRecord, record), order=int(order)),
        status=decode(JobStatus, status),
        sequence=int(sequence),
        stages={stage_id.decode(): decode(StageSnapshot, stage) for stage_id, stage in _rows(stages)},
    )


def _request_value(job_id: str, digest: str) -> bytes:
    return msgspec.msgpack.encode((job_id, digest))
