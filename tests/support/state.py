"""Builders of what the durable state keeps. A test names only what matters to it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from services.scheduler.core.model import JobState, StageKind, StageSnapshot, StageSpec, StageState
from services.state.port import State
from services.state.records import (
    ApplicationRecord,
    Commit,
    EngineRecord,
    HistoryJob,
    JobCommit,
    JobRecord,
    JobStatus,
    JobUpdate,
    Leader,
    ProfileRecord,
    TaskKey,
)

_numbers = itertools.count(1)


def make_application(application: str = "chat", version: int = 1, **fields: Any) -> ApplicationRecord:
    content: dict[str, Any] = {"spec": b"spec", "etag": "etag-1", "created_at": 1000.0} | fields
    return ApplicationRecord(application=application, version=version, **content)


def make_record(job_id: str = "", **fields: Any) -> JobRecord:
    known: dict[str, Any] = {
        "job_id": job_id or f"job-{next(_numbers)}",
        "application": "chat",
        "version": 1,
        "created_at": 1000.0,
        "order": 0,
        "structure": "static",
    }
    return JobRecord(**(known | fields))


def make_stage(stage_id: str = "draft", *, position: int = 0, **fields: Any) -> StageSnapshot:
    spec = StageSpec(stage_id=stage_id, name=stage_id, kind=StageKind.LLM, requirement="llm", position=position)
    return StageSnapshot(spec=spec, **({"state": StageState.WAITING} | fields))


async def submit(
    state: State,
    record: JobRecord | None = None,
    *,
    input: bytes = b"{}",
    stages: tuple[StageSnapshot, ...] = (make_stage(),),
    results: dict[TaskKey, bytes] | None = None,
    max_active: int = 10_000,
) -> JobRecord:
    """Submits a job and returns its record."""
    kept, _ = await state.submit(
        record or make_record(), input=input, stages=stages, results=results, max_active=max_active
    )
    return kept


async def lead(state: State, instance: str = "scheduler-1", *, ttl: float = 60.0) -> Leader:
    leader = await state.acquire_leadership(instance=instance, address="127.0.0.1:7000", ttl=ttl)
    assert leader is not None
    return leader


def running(job_id: str, **fields: Any) -> JobCommit:
    """A commit that takes a job up."""
    known: dict[str, Any] = {
        "at": 1001.0,
        "status": JobStatus(state=JobState.RUNNING, started_at=1001.0),
        "updates": (JobUpdate(state=JobState.RUNNING),),
    }
    return JobCommit(job_id=job_id, **(known | fields))


def finished(job_id: str, **fields: Any) -> JobCommit:
    """A commit that ends a job."""
    known: dict[str, Any] = {
        "at": 1002.0,
        "status": JobStatus(state=JobState.SUCCEEDED, started_at=1001.0, ended_at=1002.0),
        "updates": (JobUpdate(state=JobState.SUCCEEDED),),
        "finished": True,
    }
    return JobCommit(job_id=job_id, **(known | fields))


def progressed(job_id: str, updates: int = 1) -> JobCommit:
    """A commit that appends changes and nothing else."""
    return JobCommit(job_id=job_id, at=1001.5, updates=(JobUpdate(state=JobState.RUNNING),) * updates)


def commit_of(*jobs: JobCommit) -> Commit:
    return Commit(jobs=jobs)


async def eventually(condition: Callable[[], Awaitable[bool]], *, seconds: float = 10.0) -> None:
    """Waits for what happens on another process's clock, such as an expiry."""
    limit = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < limit, "it did not happen"
        await asyncio.sleep(0.005)


def make_history(job_id: str, application: str = "chat", line: bytes = b"{}") -> HistoryJob:
    return HistoryJob(application=application, job_id=job_id, line=line)


def make_profile(version: int = 1, application: str = "chat", **fields: Any) -> ProfileRecord:
    known: dict[str, Any] = {
        "jobs": 10,
        "added": 12,
        "created_at": 1000.5,
        "learn_seconds": 0.25,
        "trigger": "history",
        "compiled": b"\x00compiled",
        "encoding": "test/1",
    }
    return ProfileRecord(application=application, version=version, **(known | fields))


def make_engine(executor: str = "llm-0", **fields: Any) -> EngineRecord:
    known: dict[str, Any] = {
        "learned": b"{}",
        "measured_at": 1000.5,
        "version": 1,
        "calibration": b"{}",
        "published_at": 1000.5,
    }
    return EngineRecord(executor=executor, **(known | fields))


async def lead_profiler(state: State, instance: str = "profiler-1", *, ttl: float = 60.0) -> Leader:
    leader = await state.profiles.acquire_leadership(instance=instance, address="127.0.0.1:7000", ttl=ttl)
    assert leader is not None
    return leader


async def observe(state: State, *observations: bytes) -> None:
    """A scheduler commits what a job has shown, and gives the lead up."""
    record = await submit(state)
    leader = await lead(state)
    await state.commit(leader, 1, commit_of(finished(record.job_id, observations=observations)))
    await state.release_leadership(leader)
