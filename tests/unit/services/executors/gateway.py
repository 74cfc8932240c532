"""A scheduler's gateway that does what the test says, on a real gRPC server."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from llmsched.api.executor.v1 import executor_pb2, executor_pb2_grpc
from services.common.errors import DomainError
from services.common.grpc_server import GrpcServer
from services.common.lifecycle import cancel_and_wait


class Session:
    """One stream of one executor, from the scheduler's side."""

    def __init__(self, register: executor_pb2.Register) -> None:
        self.register = register
        self.kinds: list[str] = []  #: of the messages after `register`, in order
        self._heard: defaultdict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        self._out: asyncio.Queue[executor_pb2.AttachResponse | None] = asyncio.Queue()
        self._error: DomainError | None = None
        self._assignments = 0
        self.finished_reading = asyncio.Event()  #: the executor has ended its side, or the stream broke

    def registered(
        self, *, stale: Sequence[executor_pb2.AttemptRef] = (), heartbeat: float = 0.02, epoch: int = 1
    ) -> None:
        answer = executor_pb2.Registered(epoch=epoch, stale=stale)
        answer.lease.FromMicroseconds(round(heartbeat * 3e6))
        answer.heartbeat_interval.FromMicroseconds(round(heartbeat * 1e6))
        self.send(registered=answer)

    def assign(self, message: executor_pb2.Assign) -> None:
        self._assignments += 1
        message.assignment = self._assignments
        self.send(assign=message)

    def cancel(self, ref: executor_pb2.AttemptRef) -> None:
        self.send(cancel=executor_pb2.Cancel(attempt=ref))

    def stored(self, *refs: executor_pb2.AttemptRef) -> None:
        self.send(result_stored=executor_pb2.ResultStored(attempts=refs))

    def send(self, **message: Any) -> None:
        self._out.put_nowait(executor_pb2.AttachResponse(**message))

    def end(self, error: DomainError | None = None) -> None:
        """Ends the stream from the scheduler's side."""
        self._error = error
        self._out.put_nowait(None)

    async def heard(self, kind: str) -> Any:
        """The next message of this kind."""
        return await self._heard[kind].get()

    def silent(self, kind: str) -> bool:
        """Whether no (further) message of this kind has come."""
        return self._heard[kind].empty()

    async def heartbeat(self, *, healthy: bool) -> executor_pb2.Heartbeat:
        """The next heartbeat that says so."""
        while True:
            beat: executor_pb2.Heartbeat = await self.heard("heartbeat")
            if beat.healthy == healthy:
                return beat

    async def listen(self, requests: AsyncIterator[executor_pb2.AttachRequest], *, end: bool) -> None:
        try:
            async for request in requests:
                kind = request.WhichOneof("message") or ""
                self.kinds.append(kind)
                self._heard[kind].put_nowait(getattr(request, kind))
            if end:
                self.end()
        finally:
            self.finished_reading.set()

    async def messages(self) -> AsyncIterator[executor_pb2.AttachResponse]:
        while (message := await self._out.get()) is not None:
            yield message
        if self._error is not None:
            raise self._error


class ScriptedGateway(executor_pb2_grpc.ExecutorGatewayServiceServicer):
    """Serves Attach. Each stream that is not refused becomes a `Session`."""

    def __init__(self) -> None:
        self._sessions: asyncio.Queue[Session] = asyncio.Queue()
        self.refusals: list[DomainError] = []  #: of the next streams
        self._refusal: DomainError | None = None
        self.attempts = 0  #: streams that were opened, refused ones included
        self.ends_with_executor = True  #: as a scheduler does
        service = executor_pb2.DESCRIPTOR.services_by_name["ExecutorGatewayService"].full_name
        self._server = GrpcServer(
            address="127.0.0.1:0",
            domain="scheduler.llmsched",
            services=[service],
            register=lambda server: executor_pb2_grpc.add_ExecutorGatewayServiceServicer_to_server(self, server),
        )
        self.address = f"127.0.0.1:{self._server.port}"

    async def start(self) -> ScriptedGateway:
        await self._server.start()
        return self

    async def stop(self) -> None:
        await self._server.stop(0)

    def refuse_all(self, error: DomainError | None) -> None:
        """Refuses every stream from now on; None: no longer."""
        self._refusal = error

    async def session(self) -> Session:
        """The next stream of an executor."""
        return await self._sessions.get()

    async def attached(self, **answer: Any) -> Session:
        """The next stream of an executor, its registration answered."""
        session = await self.session()
        session.registered(**answer)
        return session

    async def Attach(
        self, request_iterator: AsyncIterator[executor_pb2.AttachRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[executor_pb2.AttachResponse]:
        self.attempts += 1
        refusal = self.refusals.pop(0) if self.refusals else self._refusal
        if refusal is not None:
            raise refusal
        requests = aiter(request_iterator)
        session = Session((await anext(requests)).register)
        listener = asyncio.create_task(session.listen(requests, end=self.ends_with_executor), name="scripted gateway")
        self._sessions.put_nowait(session)
        try:
            async for message in session.messages():
                yield message
        finally:
            await cancel_and_wait(listener)


def not_leader(leader: str = "") -> DomainError:
    return DomainError(grpc.StatusCode.FAILED_PRECONDITION, "NOT_LEADER", "stand by", metadata={"leader": leader})
