"""The attempts of one executor: what runs, and which results nobody has acknowledged yet.

Outlives any stream to a scheduler: after a break the same running set and the same outbox go to whoever leads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.common import names
from services.common.logs import get_logger
from services.common.telemetry import Place, Telemetry, derived_span_id
from services.executors.work import AttemptError, Worker

_log = get_logger(__name__)

Key = tuple[str, str, int, int]  #: job, stage, task, attempt

#: How often text that is being written is sent on.
_PROGRESS_SECONDS = 0.1


def key_of(ref: executor_pb2.AttemptRef) -> Key:
    return ref.job_id, ref.stage_id, ref.task_index, ref.attempt


def ref_of(key: Key) -> executor_pb2.AttemptRef:
    return executor_pb2.AttemptRef(job_id=key[0], stage_id=key[1], task_index=key[2], attempt=key[3])


class Attempts:
    """Runs attempts on a worker and keeps their outcomes until the scheduler has stored them."""

    def __init__(
        self,
        worker: Worker,
        *,
        executor_id: str,
        telemetry: Telemetry,
        send: Callable[[executor_pb2.AttachRequest], None],
    ) -> None:
        """`send` puts a message on the current stream, if there is one; outcomes are kept besides."""
        self._worker = worker
        self._executor_id = executor_id
        self._telemetry = telemetry
        self._send = send
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._outcomes: dict[Key, executor_pb2.Finished] = {}
        self._texts: dict[Key, _Text] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._acknowledged = asyncio.Event()
        self._acknowledged.set()

    @property
    def running(self) -> list[executor_pb2.AttemptRef]:
        return [ref_of(key) for key in self._running]

    @property
    def unacknowledged(self) -> list[executor_pb2.Finished]:
        return list(self._outcomes.values())

    def start(self, assign: executor_pb2.Assign) -> None:
        """Runs an attempt; one that runs or has ended already is not run again."""
        key = key_of(assign.attempt)
        if key in self._outcomes:
            self._send(executor_pb2.AttachRequest(finished=self._outcomes[key]))
        elif key not in self._running:
            self._idle.clear()
            self._running[key] = asyncio.create_task(self._run(key, assign), name=f"attempt {'/'.join(map(str, key))}")

    def cancel(self, ref: executor_pb2.AttemptRef) -> None:
        """Ends an attempt; the answer is its outcome. One that never ran here is answered as cancelled."""
        key = key_of(ref)
        if key in self._running:
            self._running[key].cancel()
        elif key not in self._outcomes:
            finished = executor_pb2.Finished(attempt=ref, cancelled=executor_pb2.Cancelled())
            self._send(executor_pb2.AttachRequest(finished=finished))

    def forget(self, ref: executor_pb2.AttemptRef) -> None:
        """The outcome is durable, or stale."""
        self._outcomes.pop(key_of(ref), None)
        if not self._outcomes:
            self._acknowledged.set()

    async def abandon(self, ref: executor_pb2.AttemptRef) -> None:
        """The scheduler has given the attempt up: end it and tell nobody."""
        task = self._running.get(key_of(ref))
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.forget(ref)

    def flush_texts(self) -> None:
        """Sends what was written since the last time."""
        for key, text in self._texts.items():
            progress = text.take()
            if progress is not None:
                progress.attempt.CopyFrom(ref_of(key))
                self._send(executor_pb2.AttachRequest(progress=progress))

    async def send_texts_forever(self) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            self.flush_texts()

    async def wait_idle(self) -> None:
        """Returns when nothing runs."""
        await self._idle.wait()

    async def wait_acknowledged(self) -> None:
        """Returns when every outcome is stored."""
        await self._acknowledged.wait()

    async def aclose(self) -> None:
        """Ends everything that runs."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, key: Key, assign: executor_pb2.Assign) -> None:
        started = time.time()
        finished = executor_pb2.Finished(attempt=assign.attempt, start_time=_timestamp(started))
        try:
            finished.result.CopyFrom(await self._result(key, assign))
        except AttemptError as error:
            finished.failure.CopyFrom(error.failure)
        except asyncio.CancelledError:
            finished.cancelled.SetInParent()
        except Exception as error:
            # A bug of ours must cost one attempt, not the executor.
            _log.exception(
                "attempt failed unexpectedly", action="attempt_crashed", job=key[0], stage=key[1], task=key[2]
            )
            message = f"the executor failed: {type(error).__name__}: {error}"
            finished.failure.CopyFrom(task_pb2.Failure(reason="EXECUTOR_ERROR", message=message, retryable=True))
        ended = time.time()
        finished.end_time.CopyFrom(_timestamp(ended))
        self.flush_texts()
        self._texts.pop(key, None)
        self._outcomes[key] = finished
        self._acknowledged.clear()
        del self._running[key]
        if not self._running:
            self._idle.set()
        self._send(executor_pb2.AttachRequest(finished=finished))
        self._trace(key, assign, finished, started, ended)

    async def _result(self, key: Key, assign: executor_pb2.Assign) -> task_pb2.TaskResult:
        on_text = None
        if assign.stream_output:
            on_text = self._texts.setdefault(key, _Text()).add
        place = self._place(key, assign)
        limit = assign.timeout.ToTimedelta().total_seconds() if assign.HasField("timeout") else None
        try:
            async with asyncio.timeout(limit):
                return await self._worker.run(
                    assign.payload,
                    rid="/".join(map(str, key)),
                    priority=assign.priority,
                    traceparent=place.traceparent if place else "",
                    on_text=on_text,
                )
        except TimeoutError:
            message = f"the attempt did not end within its timeout of {limit:g} s"
            raise AttemptError("TIMEOUT", message, retryable=True) from None

    def _place(self, key: Key, assign: executor_pb2.Assign) -> Place | None:
        outer = Place.parse(assign.traceparent) if assign.traceparent else None
        return Place(outer.trace_id, derived_span_id(*key, "execute")) if outer else None

    def _trace(
        self, key: Key, assign: executor_pb2.Assign, finished: executor_pb2.Finished, started: float, ended: float
    ) -> None:
        place = self._place(key, assign)
        if place is None or not self._telemetry.enabled:
            return
        is_llm = assign.payload.WhichOneof("call") == "llm"
        usage = finished.result.usage
        attributes: dict[str, Any] = {
            names.JOB_ID: key[0],
            names.STAGE_ID: key[1],
            names.TASK_INDEX: key[2],
            names.ATTEMPT: key[3],
            names.EXECUTOR: self._executor_id,
            names.OPENINFERENCE_KIND: "LLM" if is_llm else "TOOL",
        }
        if is_llm:
            attributes |= {
                names.PROMPT_TOKENS: usage.prompt_tokens,
                names.COMPLETION_TOKENS: usage.completion_tokens,
                "llm.token_count.prompt": usage.prompt_tokens,
                "llm.token_count.completion": usage.completion_tokens,
            }
        else:
            attributes[names.TOOL] = assign.payload.tool.tool
        error = {"failure": finished.failure.message, "cancelled": "cancelled"}.get(
            finished.WhichOneof("outcome") or "", ""
        )
        self._telemetry.span(
            names.SPAN_EXECUTE,
            place,
            parent=Place.parse(assign.traceparent),
            start=started,
            end=ended,
            attributes=attributes,
            error=error,
        )


class _Text:
    """Text of one attempt that waits to be sent."""

    def __init__(self) -> None:
        self._sent = 0
        self._parts: list[str] = []
        self._tokens = 0

    def add(self, text: str, tokens: int) -> None:
        self._parts.append(text)
        self._tokens = tokens

    def take(self) -> executor_pb2.Progress | None:
        if not self._parts:
            return None
        text = "".join(self._parts)
        self._parts.clear()
        progress = executor_pb2.Progress(offset=self._sent, text=text, completion_tokens=self._tokens)
        self._sent += len(text)
        return progress


def _timestamp(seconds: float) -> Timestamp:
    message = Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message
