"""UnfoldStage: reads what a job has shown, asks the core, answers. Stateless, so any planner may answer any call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import planner_pb2
from services.common.logs import get_logger
from services.planner.core.model import Item, Limits, ToolInfo
from services.planner.core.unfold import unfold
from services.planner.registry import parse
from services.planner.stages import failure_from_proto, stage_outputs, unfolding_to_proto
from services.state.port import State
from services.state.records import JobOutputs

_log = get_logger(__name__)
_Item = planner_pb2.UnfoldStageResponse.Item


class Unfolder:
    """Answers UnfoldStage."""

    def __init__(self, state: State, *, catalogue: Mapping[str, ToolInfo], limits: Limits) -> None:
        """`catalogue` describes the tools that plans may name."""
        self._state = state
        self._catalogue = catalogue
        self._limits = limits

    async def unfold(self, request: planner_pb2.UnfoldStageRequest) -> planner_pb2.UnfoldStageResponse:
        """Raises StateUnavailable; what is wrong with one stage is data."""
        jobs = {item.job_id for item in request.items}
        read = dict(zip(jobs, await asyncio.gather(*map(self._state.get_outputs, jobs)), strict=True))
        items = [await self._item(item, read[item.job_id]) for item in request.items]
        return planner_pb2.UnfoldStageResponse(items=items)

    async def _item(self, item: planner_pb2.UnfoldStageRequest.Item, outputs: JobOutputs | None) -> _Item:
        if outputs is None:
            return _failed(item, "JOB_NOT_FOUND", f"jobs/{item.job_id} is not stored any more")
        record = outputs.job.record
        application = await self._state.get_application(record.application, record.version, include_deleted=True)
        if application is None:
            message = f"version {record.version} of {record.application} is not stored any more"
            return _failed(item, "APPLICATION_NOT_FOUND", message)
        try:
            unfolding = unfold(
                parse(application.spec),
                json.loads(outputs.input),
                stage_outputs(outputs),
                Item(
                    stage_id=item.stage_id,
                    # The wire counts unfoldings from 1, the core counts those before this one.
                    unfolding=item.unfolding - 1,
                    failure=failure_from_proto(item.failure) if item.HasField("failure") else None,
                ),
                catalogue=self._catalogue,
                limits=self._limits,
            )
            return unfolding_to_proto(item, unfolding)
        except Exception as error:
            # A bug of ours must cost one job, not stall every job that shares the call.
            _log.exception("unfolding failed", action="unfold_crashed", job=item.job_id, stage=item.stage_id)
            return _failed(item, "UNFOLD_FAILED", f"the planner failed: {type(error).__name__}: {error}")


def _failed(item: planner_pb2.UnfoldStageRequest.Item, reason: str, message: str) -> _Item:
    return _Item(
        job_id=item.job_id,
        stage_id=item.stage_id,
        unfolding=item.unfolding,
        failure=task_pb2.Failure(reason=reason, message=message),
    )
