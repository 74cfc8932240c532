"""The blocking client: the same calls for programs without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from llmsched.application import Application, ApplicationSpec
from llmsched.client import Client
from llmsched.events import Event
from llmsched.jobs import JobHandle
from llmsched.open_jobs import LlmOptions, OpenJob, OpenStage, StageOptions, StageResult, Tool
from llmsched.options import Options
from llmsched.types import (
    Calibration,
    Cluster,
    Decision,
    Explanation,
    Job,
    JobState,
    Policy,
    Prediction,
    Profile,
    QueuedStage,
    RegisteredApplication,
    TaskOutput,
)

_T = TypeVar("_T")


class _Loop:
    """An event loop in a thread of its own, and the way into it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that forgets to close its client still ends.
        self._thread = threading.Thread(target=self._loop.run_forever, name="llmsched-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("this client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C in the waiting thread ends the call too.
            future.cancel()
            raise

    def iterate(self, source: AsyncGenerator[_T, None]) -> Generator[_T, None, None]:
        async def advance() -> tuple[_T] | None:
            # An iterator's end cannot travel through a future as an exception.
            try:
                return (await anext(source),)
            except StopAsyncIteration:
                return None

        try:
            while item := self.run(advance()):
                yield item[0]
        finally:
            if self._thread.is_alive():
                self.run(source.aclose())

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class SyncJobHandle:
    """Refers to one job; see `JobHandle`."""

    def __init__(self, loop: _Loop, handle: JobHandle) -> None:
        self._loop = loop
        self._handle = handle

    @property
    def name(self) -> str:
        """Format: jobs/{job}."""
        return self._handle.name

    @property
    def id(self) -> str:
        """The name without `jobs/`."""
        return self._handle.id

    def __repr__(self) -> str:
        return f"SyncJobHandle({self.name!r})"

    def status(self) -> Job:
        """See `JobHandle.status`."""
        return self._loop.run(self._handle.status())

    def events(self, *, deltas: bool = False, after_sequence: int = 0) -> Generator[Event, None, None]:
        """See `JobHandle.events`."""
        return self._loop.iterate(self._handle.events(deltas=deltas, after_sequence=after_sequence))

    def wait(self, *, timeout: float | None = None) -> Job:
        """See `JobHandle.wait`; `timeout` in seconds."""
        return self._loop.run(self._handle.wait(timeout=timeout))

    def result(self, *, timeout: float | None = None) -> Any:
        """See `JobHandle.result`; `timeout` in seconds."""
        return self._loop.run(self._handle.result(timeout=timeout))

    def outputs(self) -> tuple[TaskOutput, ...]:
        """See `JobHandle.outputs`."""
        return self._loop.run(self._handle.outputs())

    def cancel(self, *, reason: str = "") -> Job:
        """See `JobHandle.cancel`."""
        return self._loop.run(self._handle.cancel(reason=reason))

    def rerun(self) -> SyncJobHandle:
        """See `JobHandle.rerun`."""
        return SyncJobHandle(self._loop, self._loop.run(self._handle.rerun()))


class SyncOpenStage:
    """A stage that was added; see `OpenStage`."""

    def __init__(self, loop: _Loop, stage: OpenStage) -> None:
        self._loop = loop
        self._stage = stage

    @property
    def id(self) -> str:
        """Unique in the job."""
        return self._stage.id

    def __str__(self) -> str:
        return self._stage.id

    def __repr__(self) -> str:
        return f"SyncOpenStage({self._stage.id!r})"

    def result(self) -> StageResult:
        """See `OpenStage.result`."""
        return self._loop.run(self._stage.result())


class SyncOpenJob:
    """A job whose stages the program adds; see `OpenJob`. Safe to share between threads."""

    def __init__(self, loop: _Loop, job: OpenJob) -> None:
        self._loop = loop
        self._job = job

    @property
    def name(self) -> str:
        """Format: jobs/{job}. Empty before the block is entered."""
        return self._job.name

    @property
    def id(self) -> str:
        """The name without `jobs/`."""
        return self._job.id

    @property
    def output(self) -> Any:
        """What the job's result will be: a JSON value."""
        return self._job.output

    @output.setter
    def output(self, value: Any) -> None:
        self._job.output = value

    def __repr__(self) -> str:
        return f"SyncOpenJob({self.name!r})"

    def __enter__(self) -> Self:
        self._loop.run(self._job.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._job.__aexit__(kind, error, trace))

    def llm(self, name: str, prompt: str | None = None, **options: Unpack[LlmOptions]) -> str:
        """See `OpenJob.llm`."""
        return self._loop.run(self._job.llm(name, prompt, **options))

    def tool(
        self, name: str, tool: Tool, args: Mapping[str, Any] | None = None, **options: Unpack[StageOptions]
    ) -> Any:
        """See `OpenJob.tool`."""
        return self._loop.run(self._job.tool(name, tool, args, **options))

    def start_llm(self, name: str, prompt: str | None = None, **options: Unpack[LlmOptions]) -> SyncOpenStage:
        """See `OpenJob.start_llm`."""
        return SyncOpenStage(self._loop, self._loop.run(self._job.start_llm(name, prompt, **options)))

    def start_tool(
        self, name: str, tool: Tool, args: Mapping[str, Any] | None = None, **options: Unpack[StageOptions]
    ) -> SyncOpenStage:
        """See `OpenJob.start_tool`."""
        return SyncOpenStage(self._loop, self._loop.run(self._job.start_tool(name, tool, args, **options)))


class SyncClient:
    """`Client` for blocking programs: the same methods with the same errors. Safe to share between threads.

    with llmsched.SyncClient() as client:
        print(client.submit("hello", {"topic": "rivers"}).result())
    """

    def __init__(self, address: str | None = None, *, options: Options | None = None) -> None:
        self._client = Client(address, options=options)
        self._loop = _Loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; closing twice changes nothing."""
        try:
            self._loop.run(self._client.close())
        except RuntimeError:
            return
        self._loop.close()

    def register(
        self, app: Application | ApplicationSpec | str | Path, *, validate_only: bool = False
    ) -> RegisteredApplication:
        """See `Client.register`."""
        return self._loop.run(self._client.register(app, validate_only=validate_only))

    def application(self, name: str) -> RegisteredApplication:
        """See `Client.application`."""
        return self._loop.run(self._client.application(name))

    def applications(self) -> Generator[RegisteredApplication, None, None]:
        """See `Client.applications`."""
        return self._loop.iterate(self._client.applications())

    def delete_application(self, name: str) -> tuple[int, ...]:
        """See `Client.delete_application`."""
        return self._loop.run(self._client.delete_application(name))

    def submit(
        self,
        app: str | Application | ApplicationSpec,
        input: Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> SyncJobHandle:
        """See `Client.submit`."""
        work = self._client.submit(app, input, labels=labels, request_id=request_id)
        return SyncJobHandle(self._loop, self._loop.run(work))

    def open_job(
        self,
        application: str,
        *,
        input: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        idle_timeout: timedelta | float = 60.0,
    ) -> SyncOpenJob:
        """See `Client.open_job`."""
        job = self._client.open_job(
            application, input=input, labels=labels, request_id=request_id, idle_timeout=idle_timeout
        )
        return SyncOpenJob(self._loop, job)

    def handle(self, name: str) -> SyncJobHandle:
        """See `Client.handle`."""
        return SyncJobHandle(self._loop, self._client.handle(name))

    def job(self, name: str) -> Job:
        """See `Client.job`."""
        return self._loop.run(self._client.job(name))

    def jobs(
        self,
        *,
        states: Iterable[JobState] = (),
        application: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Generator[Job, None, None]:
        """See `Client.jobs`."""
        return self._loop.iterate(self._client.jobs(states=states, application=application, labels=labels, limit=limit))

    def watch(self, name: str, *, deltas: bool = False, after_sequence: int = 0) -> Generator[Event, None, None]:
        """See `Client.watch`."""
        return self._loop.iterate(self._client.watch(name, deltas=deltas, after_sequence=after_sequence))

    def result(self, name: str) -> Any:
        """See `Client.result`."""
        return self._loop.run(self._client.result(name))

    def outputs(self, name: str) -> tuple[TaskOutput, ...]:
        """See `Client.outputs`."""
        return self._loop.run(self._client.outputs(name))

    def cancel(self, name: str, *, reason: str = "") -> Job:
        """See `Client.cancel`."""
        return self._loop.run(self._client.cancel(name, reason=reason))

    def rerun(self, name: str, *, request_id: str | None = None) -> SyncJobHandle:
        """See `Client.rerun`."""
        return SyncJobHandle(self._loop, self._loop.run(self._client.rerun(name, request_id=request_id)))

    def cluster(self) -> Cluster:
        """See `Client.cluster`."""
        return self._loop.run(self._client.cluster())

    def queue(self, *, limit: int | None = None) -> Generator[QueuedStage, None, None]:
        """See `Client.queue`."""
        return self._loop.iterate(self._client.queue(limit=limit))

    def explain(self, name: str) -> Explanation:
        """See `Client.explain`."""
        return self._loop.run(self._client.explain(name))

    def decisions(self, name: str | None = None) -> Generator[Decision, None, None]:
        """See `Client.decisions`."""
        return self._loop.iterate(self._client.decisions(name))

    def policy(self) -> Policy:
        """See `Client.policy`."""
        return self._loop.run(self._client.policy())

    def policies(self) -> tuple[str, ...]:
        """See `Client.policies`."""
        return self._loop.run(self._client.policies())

    def set_policy(self, policy: str | Policy) -> Policy:
        """See `Client.set_policy`."""
        return self._loop.run(self._client.set_policy(policy))

    def profiles(self) -> Generator[Profile, None, None]:
        """See `Client.profiles`."""
        return self._loop.iterate(self._client.profiles())

    def profile(self, name: str) -> Profile:
        """See `Client.profile`."""
        return self._loop.run(self._client.profile(name))

    def train(self, application: str, *, request_id: str | None = None) -> Profile:
        """See `Client.train`."""
        return self._loop.run(self._client.train(application, request_id=request_id))

    def predict(self, name: str) -> Prediction | None:
        """See `Client.predict`."""
        return self._loop.run(self._client.predict(name))

    def import_history(self, lines: Iterable[bytes]) -> int:
        """See `Client.import_history`."""
        return self._loop.run(self._client.import_history(lines))

    def calibrations(self) -> Generator[Calibration, None, None]:
        """See `Client.calibrations`."""
        return self._loop.iterate(self._client.calibrations())

    def import_calibration(self, executor_id: str, report: Mapping[str, Any]) -> Calibration:
        """See `Client.import_calibration`."""
        return self._loop.run(self._client.import_calibration(executor_id, report))

    def export_history(self, application: str | None = None) -> Generator[bytes, None, None]:
        """See `Client.export_history`."""
        return self._loop.iterate(self._client.export_history(application))
