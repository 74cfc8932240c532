"""ExecutorGatewayService: executors' streams become calls of the pool and events for the driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from llmsched.api.executor.v1 import executor_pb2, executor_pb2_grpc
from llmsched.api.planner.v1 import planner_pb2
from services.common.errors import DomainError
from services.common.lifecycle import cancel_and_wait
from services.common.logs import get_logger
from services.scheduler.convert import failure_to_core, measurement_to_core, ref_to_core
from services.scheduler.core.events import AttemptCancelled, AttemptFailed, AttemptSucceeded, Event
from services.scheduler.core.model import Failure
from services.scheduler.executor_pool import Attachment
from services.scheduler.inbox import Arrival
from services.scheduler.registration import registration_to_core
from services.scheduler.term import Term

_log = get_logger(__name__)


class ExecutorGateway(executor_pb2_grpc.ExecutorGatewayServiceServicer):
    def __init__(self, leading: Callable[[], Term]) -> None:
        """`leading` gives the present term of leadership, or raises FAILED_PRECONDITION/NOT_LEADER."""
        self._leading = leading

    async def Attach(
        self, request_iterator: AsyncIterator[executor_pb2.AttachRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[executor_pb2.AttachResponse]:
        requests = aiter(request_iterator)
        # Read before anything is refused: gRPC hides a refusal, and the leader's address in it, from who still writes.
        registration = registration_to_core((await anext(requests, executor_pb2.AttachRequest())).register)
        term = self._leading()
        line = QueueLine()
        attachment = term.pool.attach(registration, line)
        listener = asyncio.create_task(
            _listen(term, attachment, requests, line), name=f"executor {registration.executor_id}"
        )
        try:
            while (message := await line.next()) is not None:
                yield message
        finally:
            await cancel_and_wait(listener)
            term.pool.detach(attachment)


class QueueLine:
    """What is to be sent on one stream, in order, and whether the stream shall end."""

    def __init__(self) -> None:
        self._out: asyncio.Queue[executor_pb2.AttachResponse | None] = asyncio.Queue()
        self._error: DomainError | None = None

    def send(self, message: executor_pb2.AttachResponse) -> None:
        self._out.put_nowait(message)

    def close(self, error: DomainError | None = None) -> None:
        self._error = self._error or error
        self._out.put_nowait(None)

    async def next(self) -> executor_pb2.AttachResponse | None:
        """The next message; None when the line was closed. Raises the error it was closed with."""
        message = await self._out.get()
        if message is None and self._error is not None:
            raise self._error
        return message


async def _listen(
    term: Term, attachment: Attachment, requests: AsyncIterator[executor_pb2.AttachRequest], line: QueueLine
) -> None:
    """Takes in what the executor says until it stops, its stream breaks or another one took its place."""
    try:
        async for request in requests:
            if not term.pool.hear(attachment):
                break
            _take(term, attachment, request)
    except Exception as error:
        # Whatever is wrong with one executor's messages costs its stream, not the scheduler.
        _log.exception("bad stream", action="stream_failed", executor=attachment.registration.executor_id)
        line.close(DomainError(grpc.StatusCode.INTERNAL, "INTERNAL", f"the stream failed: {error}"))
    else:
        line.close()


def _take(term: Term, attachment: Attachment, request: executor_pb2.AttachRequest) -> None:
    match request.WhichOneof("message"):
        case "heartbeat":
            term.pool.beat(attachment, request.heartbeat)
            term.steps.heard(attachment.registration, request.heartbeat)
        case "progress":
            _progressed(term, attachment, request.progress)
        case "finished":
            _finished(term, attachment, request.finished)
        case "tokens_counted":
            term.pool.counted(attachment, request.tokens_counted)
        case "leaving":
            term.pool.leave(attachment)


def _finished(term: Term, attachment: Attachment, finished: executor_pb2.Finished) -> None:
    ref = ref_to_core(finished.attempt)
    term.pool.ended(attachment, ref)
    at = term.clock.now()
    cause = f"executor:{attachment.registration.executor_id}"
    event: Event
    result = None
    match finished.WhichOneof("outcome"):
        case "result":
            event = AttemptSucceeded(at=at, cause=cause, attempt=ref, measurement=measurement_to_core(finished.result))
            result = finished.result.SerializeToString()
        case "cancelled":
            event = AttemptCancelled(at=at, cause=cause, attempt=ref)
        case "failure":
            event = AttemptFailed(at=at, cause=cause, attempt=ref, failure=failure_to_core(finished.failure))
        case _:
            missing = Failure(reason="NO_OUTCOME", message="the executor did not say how it ended", retryable=True)
            event = AttemptFailed(at=at, cause=cause, attempt=ref, failure=missing)
    # Acknowledged also when the machine has no use for it: the executor shall forget it.
    acknowledge = _acknowledgement(term, attachment, finished)
    term.driver.put(Arrival(event=event, result=result, durable=acknowledge))


def _acknowledgement(term: Term, attachment: Attachment, finished: executor_pb2.Finished) -> Callable[[], None]:
    ref = ref_to_core(finished.attempt)
    return lambda: term.pool.acknowledge(attachment, ref)


def _progressed(term: Term, attachment: Attachment, progress: executor_pb2.Progress) -> None:
    ref = ref_to_core(progress.attempt)
    if not term.pool.runs(attachment, ref):
        return
    delta = planner_pb2.WatchJobResponse.OutputDelta(
        stage_id=ref.stage_id,
        task_index=ref.task_index,
        attempt=ref.attempt,
        offset=progress.offset,
        text=progress.text,
    )
    term.deltas.publish(ref.job_id, delta.SerializeToString())
