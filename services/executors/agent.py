"""The executor's side of ExecutorGatewayService: find the leader, attach, work, and after any break attach again.

Attempts go on while no scheduler is in reach; their outcomes wait in `Attempts` until somebody has stored them.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2, executor_pb2_grpc
from services.common.errors import error_info
from services.common.grpc_server import CHANNEL_OPTIONS
from services.common.lifecycle import cancel_and_wait
from services.common.logs import get_logger
from services.common.telemetry import Telemetry
from services.executors.attempts import Attempts
from services.executors.work import Offer, Worker

_log = get_logger(__name__)
_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 1.0


class Agent:
    """Keeps one worker attached to whichever scheduler leads."""

    def __init__(
        self,
        worker: Worker,
        *,
        executor_id: str,
        schedulers: Sequence[str],
        labels: Mapping[str, str] | None = None,
        telemetry: Telemetry,
    ) -> None:
        """`schedulers` are addresses to try in turn; a standby names the leader's."""
        self._worker = worker
        self._executor_id = executor_id
        self._incarnation = uuid.uuid4().hex
        self._schedulers = list(schedulers)
        self._labels = dict(labels or {})
        self._stream: _Stream | None = None
        self._attempts = Attempts(worker, executor_id=executor_id, telemetry=telemetry, send=self._send)
        self._draining = asyncio.Event()
        self.attached = asyncio.Event()  #: set while a scheduler knows us

    async def run(self, stop: asyncio.Event, *, drain_seconds: float = 30.0) -> None:
        """Works until `stop` is set or a scheduler drains it; then gives running attempts `drain_seconds`."""
        offer = await self._worker.start()
        attach = asyncio.create_task(self._attach_forever(offer), name="attach")
        texts = asyncio.create_task(self._attempts.send_texts_forever(), name="texts")
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._draining.wait())]
        try:
            await asyncio.wait([*waits, attach], return_when=asyncio.FIRST_COMPLETED)
            if attach.done():
                attach.result()
            await self._leave(drain_seconds)
        finally:
            await cancel_and_wait(attach, texts, *waits)
            await self._attempts.aclose()

    async def _leave(self, drain_seconds: float) -> None:
        """Ends in peace: no new work, results handed over."""
        self._send(executor_pb2.AttachRequest(leaving=executor_pb2.Leaving()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await self._attempts.wait_idle()
                if self.attached.is_set():
                    await self._attempts.wait_acknowledged()

    def _send(self, message: executor_pb2.AttachRequest) -> None:
        if self._stream is not None:
            self._stream.send(message)

    async def _attach_forever(self, offer: Offer) -> None:
        backoff, turn, hint = _FIRST_BACKOFF, 0, ""
        while True:
            address = hint or self._schedulers[turn % len(self._schedulers)]
            try:
                await self._attach(address, offer)
                hint, backoff = "", _FIRST_BACKOFF
            except grpc.aio.AioRpcError as error:
                reason, metadata = error_info(error)
                hint = metadata.get("leader", "") if reason == "NOT_LEADER" and not hint else ""
                if reason == "INVALID_REGISTRATION":
                    raise SystemExit(f"the scheduler refuses this executor: {error.details()}") from error
                turn += 0 if hint else 1
                _log.info(
                    "not attached",
                    action="attach_failed",
                    scheduler=address,
                    code=error.code().name,
                    reason=reason,
                    detail=error.details(),
                )
            if self.attached.is_set():
                self.attached.clear()
                backoff = _FIRST_BACKOFF
            if not hint:
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LAST_BACKOFF)

    async def _attach(self, address: str, offer: Offer) -> None:
        """One stream, from registration to its end."""
        async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
            stream = _Stream()
            stream.send(executor_pb2.AttachRequest(register=self._registration(offer)))
            call = executor_pb2_grpc.ExecutorGatewayServiceStub(channel).Attach(stream.messages())
            heartbeats: asyncio.Task[None] | None = None
            try:
                async for message in call:
                    if message.HasField("registered"):
                        await self._registered(stream, message.registered)
                        interval = message.registered.heartbeat_interval.ToTimedelta().total_seconds()
                        heartbeats = asyncio.create_task(self._heartbeats(stream, interval or 1.0), name="heartbeats")
                        _log.info("attached", action="attached", scheduler=address, epoch=message.registered.epoch)
                    else:
                        self._obey(stream, message)
            finally:
                if self._stream is stream:
                    self._stream = None
                await cancel_and_wait(heartbeats, *stream.counting)
                call.cancel()

    def _registration(self, offer: Offer) -> executor_pb2.Register:
        return executor_pb2.Register(
            executor_id=self._executor_id,
            incarnation=self._incarnation,
            kind=offer.kind,
            slots=offer.slots,
            models=offer.models,
            tools=offer.tools,
            labels=self._labels,
            counts_tokens=offer.counts_tokens,
            # An attempt that ended but is not acknowledged is still ours: its outcome follows.
            running=[*self._attempts.running, *(each.attempt for each in self._attempts.unacknowledged)],
        )

    async def _registered(self, stream: _Stream, registered: executor_pb2.Registered) -> None:
        for ref in registered.stale:
            await self._attempts.abandon(ref)
        self._stream = stream
        for finished in self._attempts.unacknowledged:
            stream.send(executor_pb2.AttachRequest(finished=finished))
        if self._draining.is_set():
            stream.send(executor_pb2.AttachRequest(leaving=executor_pb2.Leaving()))
        self.attached.set()

    def _obey(self, stream: _Stream, message: executor_pb2.AttachResponse) -> None:
        match message.WhichOneof("message"):
            case "assign":
                stream.last_assignment = message.assign.assignment
                self._attempts.start(message.assign)
            case "cancel":
                self._attempts.cancel(message.cancel.attempt)
            case "result_stored":
                for ref in message.result_stored.attempts:
                    self._attempts.forget(ref)
            case "count_tokens":
                stream.count(self._worker, message.count_tokens)
            case "drain":
                self._draining.set()

    async def _heartbeats(self, stream: _Stream, interval: float) -> None:
        while True:
            healthy = await self._worker.healthy()
            load = await self._worker.load() if healthy else None
            # Read after the waits, so that what it says is true when it is sent.
            running = [*self._attempts.running, *(each.attempt for each in self._attempts.unacknowledged)]
            beat = executor_pb2.Heartbeat(
                running=running, load=load, healthy=healthy, last_assignment=stream.last_assignment
            )
            stream.send(executor_pb2.AttachRequest(heartbeat=beat))
            await asyncio.sleep(interval)


class _Stream:
    """What goes out on one stream, in order."""

    def __init__(self) -> None:
        self._out: asyncio.Queue[executor_pb2.AttachRequest] = asyncio.Queue()
        self.last_assignment = 0
        self.counting: set[asyncio.Task[None]] = set()

    def send(self, message: executor_pb2.AttachRequest) -> None:
        self._out.put_nowait(message)

    async def messages(self) -> AsyncIterator[executor_pb2.AttachRequest]:
        while True:
            yield await self._out.get()

    def count(self, worker: Worker, request: executor_pb2.CountTokens) -> None:
        """Counts in the background: a slow tokenizer must not hold up assignments."""
        task = asyncio.create_task(self._count(worker, request.count_id, list(request.calls)), name="count-tokens")
        self.counting.add(task)
        task.add_done_callback(self.counting.discard)

    async def _count(self, worker: Worker, count_id: int, calls: list[task_pb2.LlmCall]) -> None:
        counts = await worker.count_tokens(calls)
        self.send(
            executor_pb2.AttachRequest(
                tokens_counted=executor_pb2.TokensCounted(count_id=count_id, prompt_tokens=counts)
            )
        )
