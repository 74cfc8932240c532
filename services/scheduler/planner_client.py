"""Asks planners to unfold stages, for as long as it takes.

A planner that cannot be reached only stalls the stages that need it. A call that a planner cannot cope with is split
up and tried again, so that one bad stage takes no other with it, and at last fails that stage alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import grpc

from llmsched.api.planner.v1 import planner_pb2, planner_pb2_grpc
from services.common.clock import Clock
from services.common.errors import error_info
from services.common.grpc_server import CHANNEL_OPTIONS
from services.common.logs import get_logger
from services.scheduler.convert import BadMessage, failure_to_core, failure_to_proto, unfolded_to_core
from services.scheduler.core.effects import Unfold
from services.scheduler.core.events import UnfoldFailed
from services.scheduler.core.model import Failure
from services.scheduler.inbox import Arrival

_log = get_logger(__name__)

#: Codes that say nothing about the request: try again until it works.
_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
}
_FIRST_BACKOFF, _LAST_BACKOFF = 0.05, 2.0
_TRIES = 4  #: of a single stage whose unfolding breaks the planner
_ITEMS_PER_CALL = 100


class PlannerClient:
    def __init__(self, addresses: Sequence[str], *, clock: Clock, deadline: float) -> None:
        """`addresses` are asked in turn; `deadline` (seconds) is what a planner may take for one call."""
        self._channels = [grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) for address in addresses]
        self._stubs = [planner_pb2_grpc.PlannerServiceStub(channel) for channel in self._channels]
        self._clock = clock
        self._deadline = deadline
        self._turn = 0

    async def aclose(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def unfold(self, wanted: Sequence[Unfold], put: Callable[[Arrival], None]) -> None:
        """Puts one answer for each of `wanted`. Returns when all are there; cancelling gives up."""
        async with asyncio.TaskGroup() as calls:
            for start in range(0, len(wanted), _ITEMS_PER_CALL):
                calls.create_task(self._unfold(wanted[start : start + _ITEMS_PER_CALL], put), name="unfold")

    async def _unfold(self, wanted: Sequence[Unfold], put: Callable[[Arrival], None]) -> None:
        try:
            response = await self._call(wanted, tries=1 if len(wanted) > 1 else _TRIES)
        except _Broken as broken:
            if len(wanted) == 1:
                put(Arrival(event=self._failed(wanted[0], "UNFOLD_FAILED", str(broken))))
                return
            async with asyncio.TaskGroup() as calls:
                for unfold in wanted:
                    calls.create_task(self._unfold([unfold], put), name="unfold")
            return
        for unfold, item in zip(wanted, response.items, strict=True):
            put(self._answer(unfold, item))

    async def _call(self, wanted: Sequence[Unfold], *, tries: int) -> planner_pb2.UnfoldStageResponse:
        """Raises _Broken when planners have failed at this request so many times."""
        request = planner_pb2.UnfoldStageRequest(items=[_item(unfold) for unfold in wanted])
        backoff, failures = _FIRST_BACKOFF, 0
        while True:
            self._turn += 1
            stub = self._stubs[self._turn % len(self._stubs)]
            try:
                response = await stub.UnfoldStage(request, timeout=self._deadline)
                _check(wanted, response)
                return response
            except grpc.aio.AioRpcError as error:
                problem = f"{error.code().name} {error_info(error)[0]}: {error.details()}"
                failures += error.code() not in _TRANSIENT
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and len(wanted) > 1:
                    # One stage that takes for ever must not hold up the others.
                    raise _Broken(problem) from error
            except BadMessage as error:
                problem = str(error)
                failures += 1
            if failures >= tries:
                raise _Broken(problem)
            _log.warning(
                "unfolding postponed", action="unfold_retried", stages=len(wanted), problem=problem, backoff=backoff
            )
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _LAST_BACKOFF)

    def _answer(self, unfold: Unfold, item: planner_pb2.UnfoldStageResponse.Item) -> Arrival:
        if item.HasField("failure"):
            return Arrival(event=self._failure(unfold, failure_to_core(item.failure)))
        try:
            event = unfolded_to_core(item, at=self._clock.now(), cause=_cause(unfold))
        except BadMessage as error:
            return Arrival(event=self._failed(unfold, "INVALID_UNFOLDING", str(error)))
        return Arrival(
            event=event,
            payloads=tuple(task.payload.SerializeToString() for task in item.tasks),
            output=item.output.SerializeToString() if item.HasField("output") else None,
        )

    def _failed(self, unfold: Unfold, reason: str, problem: str) -> UnfoldFailed:
        message = f"the planner cannot unfold stage {unfold.stage_id!r}: {problem}"
        return self._failure(unfold, Failure(reason=reason, message=message))

    def _failure(self, unfold: Unfold, failure: Failure) -> UnfoldFailed:
        return UnfoldFailed(
            at=self._clock.now(),
            cause=_cause(unfold),
            job_id=unfold.job_id,
            stage_id=unfold.stage_id,
            unfolding=unfold.unfolding,
            failure=failure,
        )


class _Broken(Exception):
    """Planners answer, but not this request."""


def _cause(unfold: Unfold) -> str:
    return f"unfold:{unfold.job_id}:{unfold.stage_id}:{unfold.unfolding}"


def _item(unfold: Unfold) -> planner_pb2.UnfoldStageRequest.Item:
    return planner_pb2.UnfoldStageRequest.Item(
        job_id=unfold.job_id,
        stage_id=unfold.stage_id,
        unfolding=unfold.unfolding,
        failure=failure_to_proto(unfold.failure) if unfold.failure else None,
    )


def _check(wanted: Sequence[Unfold], response: planner_pb2.UnfoldStageResponse) -> None:
    asked = [(unfold.job_id, unfold.stage_id, unfold.unfolding) for unfold in wanted]
    answered = [(item.job_id, item.stage_id, item.unfolding) for item in response.items]
    if asked != answered:
        raise BadMessage(f"{len(asked)} stages were asked for, and the {len(answered)} answers are not about them")
