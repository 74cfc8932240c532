"""The planner's line to whichever scheduler leads. The leader's address is in the durable state."""

from __future__ import annotations

import asyncio
import contextlib

import grpc

from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from services.common.errors import DomainError, error_info
from services.common.grpc_server import CHANNEL_OPTIONS
from services.common.logs import get_logger
from services.planner.refusals import Reason, job_not_found
from services.state.port import State, StateUnavailable

_log = get_logger(__name__)
_NUDGE_BATCH = 500
_PAUSE = 0.2  #: seconds before the leader is looked up again
#: Codes that another look for the leader may help against; FAILED_PRECONDITION is NOT_LEADER.
_LOOK_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


class SchedulerClient:
    """Tells the leader about new jobs (best effort: it also finds them by itself) and about cancellations."""

    def __init__(self, state: State, *, deadline: float, sweep_seconds: float) -> None:
        """`deadline`: seconds that a scheduler may take to answer, and a cancellation in all."""
        self._state = state
        self._deadline = deadline
        self._sweep_seconds = sweep_seconds
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._nudges: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Hands new jobs to the leader until cancelled: at once, and by sweeping up what was missed."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._nudge_forever(), name="nudge")
            tasks.create_task(self._sweep_forever(), name="sweep")

    def nudge(self, job_id: str) -> None:
        """Announces a job that is durable already."""
        self._nudges.put_nowait(job_id)

    async def cancel_job(self, job_id: str, reason: str) -> None:
        """Returns when the leader has made the cancellation durable. Raises UNAVAILABLE/NO_LEADER, NOT_FOUND."""
        request = scheduler_pb2.CancelJobRequest(job_id=job_id, reason=reason)
        try:
            async with asyncio.timeout(self._deadline):
                while True:
                    if await self._is_cancelled(request):
                        return
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise _no_leader() from None

    async def aclose(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def _is_cancelled(self, request: scheduler_pb2.CancelJobRequest) -> bool:
        """Whether a leader has done it; False if the one that we know of does not lead any more."""
        stub = await self._leader()
        try:
            await stub.CancelJob(request, timeout=self._deadline)
            return True
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise job_not_found(request.job_id) from error
            if error.code() not in _LOOK_AGAIN:
                raise
            reason = error_info(error)[0] or error.code().name
            _log.info("cancel goes to another scheduler", action="cancel_retried", job=request.job_id, reason=reason)
            return False

    async def _nudge_forever(self) -> None:
        while True:
            batch = [await self._nudges.get()]
            while len(batch) < _NUDGE_BATCH and not self._nudges.empty():
                batch.append(self._nudges.get_nowait())
            await self._admit(batch)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds)
            with contextlib.suppress(StateUnavailable):
                pending = await self._state.pending_admissions(limit=_NUDGE_BATCH)
                if pending:
                    await self._admit(pending)

    async def _admit(self, job_ids: list[str]) -> None:
        try:
            stub = await self._leader()
            await stub.AdmitJob(scheduler_pb2.AdmitJobRequest(job_ids=job_ids), timeout=self._deadline)
        except (grpc.aio.AioRpcError, DomainError, StateUnavailable) as error:
            _log.debug("jobs wait for a leader", action="admit_postponed", jobs=len(job_ids), error=str(error))

    async def _leader(self) -> scheduler_pb2_grpc.SchedulerServiceStub:
        leader = await self._state.leader()
        if leader is None:
            raise _no_leader()
        channel = self._channels.get(leader.address)
        if channel is None:
            channel = self._channels[leader.address] = grpc.aio.insecure_channel(leader.address, CHANNEL_OPTIONS)
        return scheduler_pb2_grpc.SchedulerServiceStub(channel)


def _no_leader() -> DomainError:
    return DomainError(
        grpc.StatusCode.UNAVAILABLE,
        Reason.NO_LEADER,
        "no scheduler leads at the moment; one takes over within seconds if any is running",
        retry_after=1.0,
    )
