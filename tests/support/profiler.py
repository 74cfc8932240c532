"""A profiler in this process: real gRPC, a state in memory, learning here and now.

async with RunningProfiler.start() as profiler:
    await profiler.observe(*finished_jobs(12))
    await profiler.learned("app")
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from llmsched.api.profiler.v1 import profiler_pb2, profiler_pb2_grpc
from services.common.grpc_server import CHANNEL_OPTIONS
from services.common.telemetry import Telemetry
from services.profiler.app import Profiler
from services.profiler.core.statistics import WorkModel
from services.profiler.learner import Learned, Learner, LearningFailed, learn_lines
from services.profiler.settings import ProfilerSettings
from services.profiler.term import Listeners
from services.state.memory import MemoryState
from services.state.port import State
from services.state.records import ProfileRecord
from tests.support.cluster import Gate
from tests.support.state import eventually, observe

_numbers = itertools.count(1)


class InlineLearner:
    """Learns in this process, when its gate is open."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.failures: list[str] = []  #: of the next times
        self.calls = 0

    async def learn(self, lines: Sequence[bytes], *, version: int, work: WorkModel) -> Learned:
        self.calls += 1
        await self.gate.passed()
        if self.failures:
            raise LearningFailed(self.failures.pop(0))
        return learn_lines(lines, version, work)


def finished_job(job_id: str = "", application: str = "app", **fields: Any) -> bytes:
    """The observation of a job of two stages that has ended well; its numbers differ from job to job."""
    number = next(_numbers)
    stages = [
        _stage("draft", "LLM", [{"prompt_tokens": 10 + number % 7, "output_tokens": number % 50, "seconds": 0.5}]),
        _stage("check", "TOOL", [{"seconds": 0.25 * (1 + number % 3)}], parents=["draft"], position=1),
        _stage("$output", "DYNAMIC", [], parents=["draft", "check"], position=2),
    ]
    known = {
        "type": "job",
        "job": job_id or f"job-{number}",
        "application": application,
        "version": 1,
        "structure": "static",
        "outcome": "succeeded",
        "arrived_at": 1000.0,
        "ended_at": 1010.0,
        "stages": stages,
    }
    return json.dumps(known | fields).encode()


def ended_attempt(job_id: str = "job-1", **fields: Any) -> bytes:
    """The observation of an attempt that succeeded."""
    known = {
        "type": "attempt",
        "job": job_id,
        "application": "app",
        "stage": "draft",
        "name": "draft",
        "occurrence": 0,
        "kind": "LLM",
        "requirement": "llm",
        "task": 0,
        "attempt": 1,
        "outcome": "succeeded",
        "executor": "llm-0",
        "started_at": 1000.0,
        "ended_at": 1001.0,
        "output_tokens": 7,
    }
    return json.dumps(known | fields).encode()


def _stage(stage: str, kind: str, tasks: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    known = {"stage": stage, "name": stage, "occurrence": 0, "kind": kind, "state": "SUCCEEDED", "parents": []}
    return known | {"position": 0, "added": [], "tasks": tasks, "ended_at": 1005.0} | fields


class RunningProfiler:
    def __init__(
        self,
        state: State,
        settings: ProfilerSettings,
        telemetry: Telemetry,
        learner: Learner,
        listeners: Listeners,
    ) -> None:
        self.state = state
        self.profiler = Profiler(settings, state, telemetry=telemetry, learner=learner, listeners=listeners)
        self.address = self.profiler.address
        self.channel = grpc.aio.insecure_channel(self.address, CHANNEL_OPTIONS)
        self.stub = profiler_pb2_grpc.ProfilerServiceStub(self.channel)

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        state: State | None = None,
        *,
        telemetry: Telemetry | None = None,
        learner: Learner | None = None,
        listeners: Listeners = lambda learning: (),
        leads: bool = True,
        **settings: Any,
    ) -> AsyncIterator[RunningProfiler]:
        """`leads`: waits until it does. `settings` are ProfilerSettings."""
        known: dict[str, Any] = {"listen": "127.0.0.1:0", "poll_seconds": 0.01}
        running = cls(
            state or MemoryState(),
            ProfilerSettings(**(known | settings)),
            telemetry or Telemetry("profiler"),
            learner or InlineLearner(),
            listeners,
        )
        await running.profiler.start()
        try:
            if leads:
                async with asyncio.timeout(10):
                    await running.profiler.leads.wait()
            yield running
        finally:
            await running.channel.close()
            await running.profiler.stop(0)

    async def observe(self, *observations: bytes) -> None:
        """A scheduler commits them; returns when they are handled."""
        await observe(self.state, *observations)
        await self.handled()

    async def handled(self) -> None:
        """Waits until nothing is left to be handled."""
        store = self.state.profiles

        async def all_of_them() -> bool:
            return not await store.read_observations(after=await store.handled())

        await eventually(all_of_them)

    async def learned(self, application: str = "app", version: int = 1) -> ProfileRecord:
        """Waits for a version of the application's profile."""
        store = self.state.profiles

        async def it_is_there() -> bool:
            return await store.get_profile(application, version) is not None

        await eventually(it_is_there)
        profile = await store.get_profile(application, version)
        assert profile is not None
        return profile

    async def jobs(self, application: str = "app") -> list[str]:
        """Ids of the jobs in its history."""
        return [job.job_id for job in await self.state.profiles.read_history(application, limit=10_000)]

    async def train(self, application: str = "app", request_id: str = "") -> profiler_pb2.Profile:
        request = profiler_pb2.TrainProfileRequest(application=f"applications/{application}", request_id=request_id)
        return (await self.stub.TrainProfile(request)).profile

    async def profile(self, name: str = "app", version: str = "") -> profiler_pb2.Profile:
        """`version` as "/2"."""
        request = profiler_pb2.GetProfileRequest(name=f"applications/{name}/profiles{version}")
        return (await self.stub.GetProfile(request)).profile

    async def import_lines(self, *lines: str | bytes) -> int:
        """Each in a message of its own."""
        parts = [line.encode() if isinstance(line, str) else line for line in lines]
        requests = [profiler_pb2.ImportHistoryRequest(lines=part) for part in parts]
        return (await self.stub.ImportHistory(iter(requests))).job_count

    async def exported(self, application: str = "") -> bytes:
        name = f"applications/{application}" if application else ""
        stream = self.stub.ExportHistory(profiler_pb2.ExportHistoryRequest(application=name))
        return b"".join([message.lines async for message in stream])
