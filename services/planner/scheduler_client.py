"""The planner's line to whichever scheduler leads. The leader's address is in the durable state."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
from google.protobuf.message import Message

from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from services.common.errors import DomainError, error_info, refused
from services.common.grpc_server import CHANNEL_OPTIONS
from services.common.lifecycle import cancel_and_wait
from services.common.logs import get_logger
from services.planner.refusals import Reason, job_not_found
from services.state.port import State, StateUnavailable
from services.state.records import Leader

_log = get_logger(__name__)
_NUDGE_BATCH = 500
_PAUSE = 0.2  #: seconds before the leader is looked up again
_LOOK_SECONDS = 0.5  #: between two looks whether the scheduler that was asked still leads
#: Codes that another look for the leader may help against; FAILED_PRECONDITION is NOT_LEADER.
_LOOK_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
#: What the leader refuses in its own words, which are the planner's too.
_REFUSALS = {Reason.JOB_NOT_OPEN, Reason.INVALID_STAGE, Reason.STAGE_ID_REUSED, Reason.TOO_MANY_STAGES}
_AboutJob = (
    scheduler_pb2.CancelJobRequest
    | scheduler_pb2.AddStageRequest
    | scheduler_pb2.CloseJobRequest
    | scheduler_pb2.KeepJobOpenRequest
)


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
        await self._tell("CancelJob", scheduler_pb2.CancelJobRequest(job_id=job_id, reason=reason))

    async def add_stage(self, request: scheduler_pb2.AddStageRequest) -> None:
        """Returns when the stage is durable. Raises UNAVAILABLE/NO_LEADER and what AddStage refuses."""
        await self._tell("AddStage", request)

    async def close_job(self, request: scheduler_pb2.CloseJobRequest) -> None:
        """Returns when the leader has made that durable. Raises UNAVAILABLE/NO_LEADER, NOT_FOUND."""
        await self._tell("CloseJob", request)

    async def keep_job_open(self, job_id: str) -> None:
        """Raises UNAVAILABLE/NO_LEADER and what KeepJobOpen refuses."""
        await self._tell("KeepJobOpen", scheduler_pb2.KeepJobOpenRequest(job_id=job_id))

    async def _tell(self, method: str, request: _AboutJob) -> None:
        """Asks whoever leads until it answers. What it refuses is raised as the planner's own."""
        try:
            async with asyncio.timeout(self._deadline):
                while True:
                    if await self._is_told(method, request):
                        return
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise _no_leader() from None

    async def aclose(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def _is_told(self, method: str, request: _AboutJob) -> bool:
        """Whether a leader has done it; False if the one that we know of does not lead any more."""
        try:
            await self._ask(method, request)
            return True
        except _Deposed:
            return False
        except grpc.aio.AioRpcError as error:
            reason = error_info(error)[0]
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise job_not_found(request.job_id) from error
            if reason in _REFUSALS:
                raise refused(error) from error
            if error.code() not in _LOOK_AGAIN:
                raise
            _log.info(
                "call goes to another scheduler",
                action=f"{method}_retried",
                job=request.job_id,
                reason=reason or error.code().name,
            )
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
            await self._ask("AdmitJob", scheduler_pb2.AdmitJobRequest(job_ids=job_ids))
        except (grpc.aio.AioRpcError, DomainError, StateUnavailable, _Deposed) as error:
            _log.debug("jobs wait for a leader", action="admit_postponed", jobs=len(job_ids), error=str(error))

    async def _ask(self, method: str, request: _AboutJob | scheduler_pb2.AdmitJobRequest) -> None:
        """Asks the scheduler that leads now.

        Raises:
            _Deposed: it lost the lead before it answered. Its host may be gone, so it is not waited for.
            AioRpcError, StateUnavailable, UNAVAILABLE/NO_LEADER
        """
        leader = await self._state.leader()
        if leader is None:
            raise _no_leader()
        call = asyncio.create_task(self._call(leader, method, request), name=method)
        deposed = asyncio.create_task(self._deposed(leader), name="deposed")
        try:
            await asyncio.wait([call, deposed], return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise _Deposed(f"{leader.address} does not lead any more")
            call.result()
        finally:
            await cancel_and_wait(call, deposed)

    async def _call(self, leader: Leader, method: str, request: Message) -> None:
        channel = self._channels.get(leader.address)
        if channel is None:
            channel = self._channels[leader.address] = grpc.aio.insecure_channel(leader.address, CHANNEL_OPTIONS)
        await getattr(scheduler_pb2_grpc.SchedulerServiceStub(channel), method)(request, timeout=self._deadline)

    async def _deposed(self, leader: Leader) -> None:
        """Returns when this one does not lead any more."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(StateUnavailable):
                if await self._state.leader() != leader:
                    return


class _Deposed(Exception):
    """The scheduler that was asked has lost the lead."""


def _no_leader() -> DomainError:
    return DomainError(
        grpc.StatusCode.UNAVAILABLE,
        Reason.NO_LEADER,
        "no scheduler leads at the moment; one takes over within seconds if any is running",
        retry_after=1.0,
    )
