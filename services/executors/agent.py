"""The executor's side of ExecutorGatewayService: find the leader, attach, work, and after any break attach again.

Attempts go on while no scheduler is in reach; their outcomes wait in `Attempts` until somebody has stored them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import grpc

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2, executor_pb2_grpc
from services.common.errors import error_info
from services.common.grpc_server import CHANNEL_OPTIONS
from services.common.lifecycle import cancel_and_wait
from services.common.logs import get_logger
from services.common.telemetry import Telemetry
from services.executors.attempts import Attempts
from services.executors.health import HealthWatch
from services.executors.instruments import Instruments
from services.executors.work import ExecutorError, Offer, Worker

_log = get_logger(__name__)
_Result = TypeVar("_Result")

_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 1.0
#: A scheduler that does not answer a registration within this time is given up for the next one.
_ANSWER_SECONDS = 5.0
#: How long to wait, after all attempts have ended, until the last outcomes are acknowledged and the stream is over.
_FAREWELL_SECONDS = 3.0
#: A scheduler that is not connected to by then is passed over for now; connecting goes on meanwhile.
_CONNECT_SECONDS, _LOOK_SECONDS = 0.3, 0.02
_UNDECIDED = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
#: A leader whose host is gone says nothing. That is to be noticed by the time that a standby leads, and not after it.
_CHANNEL_OPTIONS = [
    *(dict(CHANNEL_OPTIONS) | {"grpc.keepalive_time_ms": 1_000, "grpc.keepalive_timeout_ms": 1_000}).items()
]


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
        self._channels: dict[str, grpc.aio.Channel] = {}  #: kept, so that who takes over is connected to already
        self._stream: _Stream | None = None
        self._health = HealthWatch(worker, on_change=self._beat)
        self._instruments = Instruments(telemetry, executor_id)
        self._attempts = Attempts(
            worker, instruments=self._instruments, send=self._send, on_suspect=self._health.suspect
        )
        self._draining = asyncio.Event()
        self._leaving = False
        self._gone = False
        self.attached = asyncio.Event()  #: set while a scheduler knows us

    async def run(self, stop: asyncio.Event, *, drain_seconds: float = 30.0) -> None:
        """Works until `stop` is set, which gives running attempts `drain_seconds`, or until a scheduler drains it.

        Raises ExecutorError when the worker cannot start or no scheduler would ever take it.
        """
        offer = await _unless(stop, self._worker.start())
        if offer is None:
            return
        attach = asyncio.create_task(self._attach_forever(offer), name="attach")
        health = asyncio.create_task(self._health.run(), name="health")
        try:
            await self._work(attach, stop)
            await self._leave(attach, drain_seconds)
        finally:
            await cancel_and_wait(attach, health)
            await self._attempts.aclose()
            for channel in self._channels.values():
                await channel.close()

    async def _work(self, attach: asyncio.Task[None], stop: asyncio.Event) -> None:
        """Returns when there is a reason to leave."""
        reasons = [asyncio.create_task(stop.wait()), asyncio.create_task(self._drain())]
        try:
            await asyncio.wait([*reasons, attach], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(*reasons)
        if attach.done():
            attach.result()

    async def _drain(self) -> None:
        """Waits to be drained, then for everything to end, however long that takes."""
        await self._draining.wait()
        await self._attempts.wait_settled()

    async def _leave(self, attach: asyncio.Task[None], drain_seconds: float) -> None:
        """Ends in peace: no new work, outcomes handed over."""
        if not self._leaving:
            self._say_leaving()
        if not await _within(drain_seconds, self._attempts.wait_settled()):
            _log.warning("not everything ended in time", action="drain_cut_short", attempts=len(self._attempts.held))
        # What is cut off now is told as cancelled, so that it can run elsewhere at once.
        await self._attempts.aclose()
        await _within(_FAREWELL_SECONDS, self._farewell(attach))

    async def _farewell(self, attach: asyncio.Task[None]) -> None:
        await self._attempts.wait_settled()
        self._gone = True
        if self._stream is not None:
            # The scheduler reads what is on its way, the message of leaving included, and then ends the stream.
            self._stream.close()
            await asyncio.wait([attach])

    def _say_leaving(self) -> None:
        self._leaving = True
        self._send(executor_pb2.AttachRequest(leaving=executor_pb2.Leaving()))

    def _send(self, message: executor_pb2.AttachRequest) -> bool:
        if self._stream is None:
            return False
        self._stream.send(message)
        return True

    async def _attach_forever(self, offer: Offer) -> None:
        backoff, turn, hint = _FIRST_BACKOFF, 0, ""
        while not self._gone:
            address, hinted = hint or self._schedulers[turn % len(self._schedulers)], bool(hint)
            stream, hint = _Stream(), ""
            try:
                await self._attach(address, stream, offer)
            except Exception as error:  # the loop that makes every failure the next try
                leader = _explain(address, error)
                hint = "" if hinted else leader  # two standbys that name each other must not send us to and fro
            if stream.attached:
                backoff = _FIRST_BACKOFF
            if not hint:
                # Not the same again: a leader that was lost is known to whoever takes over.
                turn = 1 + (self._schedulers.index(address) if address in self._schedulers else turn)
            if not hint and not self._gone:
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LAST_BACKOFF)

    async def _attach(self, address: str, stream: _Stream, offer: Offer) -> None:
        """One stream, from registration to its end."""
        channel = await self._connected(address)
        stream.send(executor_pb2.AttachRequest(register=self._registration(offer)))
        if not self._health.condition.healthy:
            # A new leader takes us for healthy until it hears otherwise. Else nothing is sent before it answers:
            # gRPC hides a refusal, and the leader's address in it, behind the failure of a write that it meets.
            stream.send(self._heartbeat(stream))
        call = executor_pb2_grpc.ExecutorGatewayServiceStub(channel).Attach(stream.messages())
        heartbeats: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS) as patience:
                while (message := await call.read()) is not grpc.aio.EOF:
                    if not message.HasField("registered"):
                        self._obey(stream, message)
                        continue
                    patience.reschedule(None)
                    self._registered(stream, message.registered)
                    interval = message.registered.heartbeat_interval.ToTimedelta().total_seconds()
                    heartbeats = asyncio.create_task(self._beat_forever(interval or 1.0), name="heartbeats")
                    _log.info("attached", action="attached", scheduler=address, epoch=message.registered.epoch)
        finally:
            self._stream = None
            self.attached.clear()
            self._instruments.attached(False)
            stream.close()
            call.cancel()
            await cancel_and_wait(heartbeats, *stream.counting)

    async def _connected(self, address: str) -> grpc.aio.Channel:
        """The channel to a scheduler, connected or known to fail. Raises TimeoutError if its host says nothing."""
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, _CHANNEL_OPTIONS)
        channel = self._channels[address]
        async with asyncio.timeout(_CONNECT_SECONDS):
            while channel.get_state(try_to_connect=True) in _UNDECIDED:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
        return channel

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
            running=self._attempts.held,
        )

    def _registered(self, stream: _Stream, registered: executor_pb2.Registered) -> None:
        for ref in registered.stale:
            self._attempts.abandon(ref)
        self._stream = stream
        for finished in self._attempts.unacknowledged:
            stream.send(executor_pb2.AttachRequest(finished=finished))
        if self._leaving:
            self._say_leaving()
        stream.attached = True
        self.attached.set()
        self._instruments.attached(True)

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
                self._say_leaving()
                self._draining.set()

    async def _beat_forever(self, interval: float) -> None:
        while True:
            self._beat()
            await asyncio.sleep(interval)

    def _beat(self) -> None:
        if self._stream is not None:
            self._stream.send(self._heartbeat(self._stream))

    def _heartbeat(self, stream: _Stream) -> executor_pb2.AttachRequest:
        condition = self._health.condition
        return executor_pb2.AttachRequest(
            heartbeat=executor_pb2.Heartbeat(
                running=self._attempts.held,
                load=condition.load,
                healthy=condition.healthy,
                last_assignment=stream.last_assignment,
                steps=self._worker.steps() if stream.attached else None,
            )
        )


class _Stream:
    """What goes out on one stream, in order."""

    def __init__(self) -> None:
        self._out: asyncio.Queue[executor_pb2.AttachRequest | None] = asyncio.Queue()
        self.attached = False  #: the scheduler has taken us
        self.last_assignment = 0
        self.counting: set[asyncio.Task[None]] = set()

    def send(self, message: executor_pb2.AttachRequest) -> None:
        self._out.put_nowait(message)

    def close(self) -> None:
        """Nothing follows. Also ends gRPC's reader of `messages`, which outlives a stream that the other side ended."""
        self._out.put_nowait(None)

    async def messages(self) -> AsyncIterator[executor_pb2.AttachRequest]:
        while (message := await self._out.get()) is not None:
            yield message

    def count(self, worker: Worker, request: executor_pb2.CountTokens) -> None:
        """Counts in the background: a slow tokenizer must not hold up assignments."""
        task = asyncio.create_task(self._count(worker, request.count_id, list(request.calls)), name="count-tokens")
        self.counting.add(task)
        task.add_done_callback(self.counting.discard)

    async def _count(self, worker: Worker, count_id: int, calls: list[task_pb2.LlmCall]) -> None:
        try:
            counts = await worker.count_tokens(calls)
        except Exception:
            # Counts are estimated where there are none; only an answer must come.
            _log.exception("counting tokens failed", action="count_failed")
            counts = [-1] * len(calls)
        answer = executor_pb2.TokensCounted(count_id=count_id, prompt_tokens=counts)
        self.send(executor_pb2.AttachRequest(tokens_counted=answer))


def _explain(address: str, error: Exception) -> str:
    """Tells why a stream ended; gives the leader's address if the answer named it. Raises ExecutorError if it is
    no use to try again."""
    if not isinstance(error, grpc.aio.AioRpcError):
        late = isinstance(error, TimeoutError)
        detail = "it says nothing" if late else str(error)
        _log.warning(
            "no stream", action="attach_failed", scheduler=address, detail=detail, exc_info=None if late else error
        )
        return ""
    reason, metadata = error_info(error)
    if reason == "INVALID_REGISTRATION":
        raise ExecutorError(f"the scheduler refuses this executor: {error.details()}") from error
    tell = _log.warning if reason == "EXECUTOR_ID_IN_USE" else _log.info
    tell(
        "no stream",
        action="attach_failed",
        scheduler=address,
        code=error.code().name,
        reason=reason,
        detail=error.details(),
    )
    return metadata.get("leader", "") if reason == "NOT_LEADER" else ""


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, _Result]) -> _Result | None:
    """The result of the work, or None if `stop` comes first."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        await cancel_and_wait(task, stopped)


async def _within(seconds: float, event: Awaitable[None]) -> bool:
    """Whether it happens in time."""
    try:
        async with asyncio.timeout(seconds):
            await event
    except TimeoutError:
        return False
    return True
