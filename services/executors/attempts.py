"""The attempts of one executor: what runs, and which outcomes nobody has acknowledged yet.

Outlives any stream to a scheduler: after a break the same attempts and the same outcomes go to whoever leads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.common.logs import get_logger
from services.executors.instruments import Instruments, execution_place
from services.executors.work import AttemptError, Worker

_log = get_logger(__name__)

Key = tuple[str, str, int, int]  #: job, stage, task, attempt
#: Puts a message on the stream to the scheduler; False if there is none.
Send = Callable[[executor_pb2.AttachRequest], bool]

#: The first text of an attempt is sent at once, further text this often.
_PROGRESS_SECONDS = 0.1
#: Half of what fits into a message: an outcome that can never be delivered would break every stream anew.
_MAX_RESULT_BYTES = 32 << 20


def key_of(ref: executor_pb2.AttemptRef) -> Key:
    """The reference as something to find attempts by."""
    return ref.job_id, ref.stage_id, ref.task_index, ref.attempt


class Attempts:
    """Runs attempts on a worker and keeps their outcomes until the scheduler has stored them."""

    def __init__(
        self,
        worker: Worker,
        *,
        instruments: Instruments,
        send: Send,
        on_suspect: Callable[[], None],
    ) -> None:
        """`on_suspect` is called, before the outcome is sent, when an attempt says that the worker is broken."""
        self._worker = worker
        self._instruments = instruments
        self._send = send
        self._on_suspect = on_suspect
        self._running: dict[Key, _Attempt] = {}
        self._outcomes: dict[Key, executor_pb2.Finished] = {}
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def held(self) -> list[executor_pb2.AttemptRef]:
        """Attempts that run, or whose outcome is still to be acknowledged: they are ours, and not lost."""
        running = [attempt.ref for attempt in self._running.values()]
        return [*running, *(finished.attempt for finished in self._outcomes.values())]

    @property
    def unacknowledged(self) -> list[executor_pb2.Finished]:
        """Outcomes to send again on a new stream."""
        return list(self._outcomes.values())

    def start(self, assign: executor_pb2.Assign) -> None:
        """Runs an attempt; one that runs or has ended already is not run again."""
        key = key_of(assign.attempt)
        if key in self._outcomes:
            self._send(executor_pb2.AttachRequest(finished=self._outcomes[key]))
        elif key not in self._running:
            self._settled.clear()
            self._running[key] = attempt = _Attempt(assign, self._send)
            attempt.begin(self._work(attempt), on_end=partial(self._ended, attempt))
            self._changed()

    def cancel(self, ref: executor_pb2.AttemptRef) -> None:
        """Ends an attempt; the answer is its outcome. One that is not known here is answered as cancelled."""
        key = key_of(ref)
        if key in self._running:
            self._running[key].end("cancel")
        elif key not in self._outcomes:
            finished = executor_pb2.Finished(attempt=ref, cancelled=executor_pb2.Cancelled())
            self._send(executor_pb2.AttachRequest(finished=finished))

    def forget(self, ref: executor_pb2.AttemptRef) -> None:
        """The outcome is durable, or of no use."""
        self._outcomes.pop(key_of(ref), None)
        self._changed()

    def abandon(self, ref: executor_pb2.AttemptRef) -> None:
        """The scheduler has given the attempt up: ends it and tells nobody how."""
        attempt = self._running.get(key_of(ref))
        if attempt is not None:
            attempt.abandoned = True
            attempt.end("cancel")
        self.forget(ref)

    async def wait_settled(self) -> None:
        """Returns when nothing runs and every outcome is acknowledged."""
        await self._settled.wait()

    async def aclose(self) -> None:
        """Ends everything that runs; the outcomes stay."""
        tasks = [attempt.task for attempt in self._running.values()]
        for attempt in self._running.values():
            attempt.end("cancel")
        if tasks:
            await asyncio.wait(tasks)

    async def _work(self, attempt: _Attempt) -> task_pb2.TaskResult:
        assign = attempt.assign
        place = execution_place(assign)
        return await self._worker.run(
            assign.payload,
            rid="/".join(map(str, key_of(assign.attempt))),
            priority=assign.priority,
            traceparent=place.traceparent if place else "",
            on_text=attempt.text.add if assign.stream_output else None,
        )

    def _ended(self, attempt: _Attempt, task: asyncio.Task[task_pb2.TaskResult]) -> None:
        attempt.close()
        key = key_of(attempt.ref)
        finished, suspect = _outcome(attempt, task)
        del self._running[key]
        if not attempt.abandoned:
            self._outcomes[key] = finished
        if suspect:
            self._on_suspect()  # first: what the outcome sets free must not come back to a broken worker
        if not attempt.abandoned:
            self._send(executor_pb2.AttachRequest(finished=finished))
        self._changed()
        self._instruments.ended(attempt.assign, finished, started=attempt.started)

    def _changed(self) -> None:
        self._instruments.holds(running=len(self._running), waiting=len(self._outcomes))
        if not self._running and not self._outcomes:
            self._settled.set()


@dataclass(slots=True, eq=False)
class _Attempt:
    """One attempt that runs."""

    assign: executor_pb2.Assign
    send: Send
    started: float = field(default_factory=time.time)
    ended_by: Literal["", "cancel", "timeout"] = ""  #: empty: it ends by itself
    abandoned: bool = False
    text: _Text = field(init=False)
    task: asyncio.Task[task_pb2.TaskResult] = field(init=False)
    alarm: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self.text = _Text(self.ref, self.send)

    @property
    def ref(self) -> executor_pb2.AttemptRef:
        return self.assign.attempt

    @property
    def limit(self) -> float:
        return self.assign.timeout.ToTimedelta().total_seconds()

    def begin(self, work: Any, *, on_end: Callable[[asyncio.Task[task_pb2.TaskResult]], None]) -> None:
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(work, name=f"attempt {'/'.join(map(str, key_of(self.ref)))}")
        # A callback rather than a frame around the work: a task cancelled before its first step has no frame.
        self.task.add_done_callback(on_end)
        if self.assign.HasField("timeout"):
            self.alarm = loop.call_later(self.limit, self.end, "timeout")

    def end(self, why: Literal["cancel", "timeout"]) -> None:
        """Cancels the work, once: a second time would cut short the abort inside the engine."""
        if not self.ended_by:
            self.ended_by = why
            self.task.cancel()

    def close(self) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
        self.text.close()


class _Text:
    """Text of one attempt on its way to the scheduler. While there is none it is kept, so that no part is missing."""

    def __init__(self, ref: executor_pb2.AttemptRef, send: Send) -> None:
        self._ref = ref
        self._send = send
        self._offset = 0
        self._parts: list[str] = []
        self._tokens = 0
        self._pause: asyncio.TimerHandle | None = None

    def add(self, text: str, tokens: int) -> None:
        if text:
            self._parts.append(text)
        self._tokens = tokens
        if self._pause is None:
            self._flush()

    def close(self) -> None:
        """Sends the rest."""
        self._flush()
        if self._pause is not None:
            self._pause.cancel()

    def _flush(self) -> None:
        if not self._parts:
            return
        text = "".join(self._parts)
        self._parts.clear()
        progress = executor_pb2.Progress(
            attempt=self._ref, offset=self._offset, text=text, completion_tokens=self._tokens
        )
        if self._send(executor_pb2.AttachRequest(progress=progress)):
            self._offset += len(text)
        else:
            self._parts.append(text)
        self._pause = self._pause or asyncio.get_running_loop().call_later(_PROGRESS_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._flush()


def _outcome(attempt: _Attempt, task: asyncio.Task[task_pb2.TaskResult]) -> tuple[executor_pb2.Finished, bool]:
    """How it ended, and whether that throws suspicion on the worker."""
    finished = executor_pb2.Finished(attempt=attempt.ref, start_time=_timestamp(attempt.started))
    finished.end_time.CopyFrom(_timestamp(time.time()))
    error = _cancellation(attempt) if task.cancelled() else task.exception()
    if error is None and not task.cancelled():
        size = task.result().ByteSize()
        if size <= _MAX_RESULT_BYTES:
            finished.result.CopyFrom(task.result())
            return finished, False
        message = f"the result has {size} bytes; more than {_MAX_RESULT_BYTES} cannot be sent"
        error = AttemptError("RESULT_TOO_LARGE", message, retryable=False)
    match error:
        case None:
            finished.cancelled.SetInParent()
        case AttemptError():
            finished.failure.CopyFrom(error.failure)
        case _:
            # A bug of ours must cost one attempt, not the executor.
            _log.error(
                "attempt failed unexpectedly",
                action="attempt_crashed",
                job=attempt.ref.job_id,
                stage=attempt.ref.stage_id,
                task=attempt.ref.task_index,
                exc_info=error,
            )
            told = str(error).encode(errors="replace").decode()  # what is not UTF-8 cannot be sent
            message = f"the executor failed: {type(error).__name__}: {told}"
            finished.failure.CopyFrom(task_pb2.Failure(reason="EXECUTOR_ERROR", message=message, retryable=True))
    return finished, isinstance(error, AttemptError) and error.suspect


def _cancellation(attempt: _Attempt) -> AttemptError | None:
    """What it means that the work was cancelled; None: somebody asked for it."""
    match attempt.ended_by:
        case "cancel":
            return None
        case "timeout":
            message = f"the attempt did not end within its timeout of {attempt.limit:g} s"
            return AttemptError("TIMEOUT", message, retryable=True)
        case _:
            return AttemptError("EXECUTOR_ERROR", "the attempt was cut off inside the executor", retryable=True)


def _timestamp(seconds: float) -> Timestamp:
    message = Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message
