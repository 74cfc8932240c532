"""UnfoldStage: reads what a job has shown, asks the core, answers. Stateless, so any planner may answer any call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from llmsched.api.planner.v1 import planner_pb2
from llmsched.application import ApplicationSpec
from services.common.logs import get_logger
from services.planner.core import unfold
from services.planner.core.model import Failure, Item, Limits, ToolInfo, Unfolding
from services.planner.instruments import Instruments
from services.planner.registry import parse
from services.planner.stages import item_from_proto, stage_outputs, unfolding_to_proto
from services.state.port import State
from services.state.records import JobOutputs

_log = get_logger(__name__)
_Asked = planner_pb2.UnfoldStageRequest.Item
_Answered = planner_pb2.UnfoldStageResponse.Item


class Unfolder:
    """Answers UnfoldStage."""

    def __init__(
        self, state: State, *, catalogue: Mapping[str, ToolInfo], limits: Limits, instruments: Instruments
    ) -> None:
        """`catalogue` describes the tools that plans may name."""
        self._state = state
        self._catalogue = catalogue
        self._limits = limits
        self._instruments = instruments

    async def unfold(self, request: planner_pb2.UnfoldStageRequest) -> planner_pb2.UnfoldStageResponse:
        """Raises StateUnavailable; what is wrong with one stage is data."""
        began = self._instruments.now()
        job_ids = list({item.job_id for item in request.items})
        jobs = dict(zip(job_ids, await asyncio.gather(*map(self._state.get_outputs, job_ids)), strict=True))
        versions = list({_version(job) for job in jobs.values() if job is not None})
        applications = dict(zip(versions, await asyncio.gather(*map(self._application, versions)), strict=True))
        items = []
        for asked in request.items:
            job = jobs[asked.job_id]
            if job is None:
                message = f"jobs/{asked.job_id} is not stored any more"
                items.append(unfolding_to_proto(asked, _failed("JOB_NOT_FOUND", message)))
                continue
            items.append(self._answer(asked, job, applications[_version(job)], began))
            await asyncio.sleep(0)  # rendering takes time, and others want to be served
        return planner_pb2.UnfoldStageResponse(items=items)

    async def _application(self, version: tuple[str, int]) -> ApplicationSpec | None:
        record = await self._state.get_application(*version, include_deleted=True)
        return None if record is None else parse(record.spec)

    def _answer(self, asked: _Asked, job: JobOutputs, application: ApplicationSpec | None, began: float) -> _Answered:
        item = item_from_proto(asked)
        unfolding = self._unfold(item, job, application)
        try:
            answer = unfolding_to_proto(asked, unfolding)
        except ValueError as error:  # numbers, depths and characters that the wire does not carry
            message = f"stage {item.stage_id}: what its templates give cannot be sent: {error}"
            unfolding = _failed("TEMPLATE_ERROR", message)
            answer = unfolding_to_proto(asked, unfolding)
        self._instruments.unfolded(job.job.record, item, unfolding, began=began)
        return answer

    def _unfold(self, item: Item, job: JobOutputs, application: ApplicationSpec | None) -> Unfolding:
        record = job.job.record
        if application is None:
            message = f"version {record.version} of {record.application} is not stored any more"
            return _failed("APPLICATION_NOT_FOUND", message)
        try:
            outputs = stage_outputs(job)
            return unfold(
                application, json.loads(job.input), outputs, item, catalogue=self._catalogue, limits=self._limits
            )
        except Exception as error:
            # A bug of ours must cost one job, not stall every job that shares the call.
            _log.exception("unfolding failed", action="unfold_crashed", job=record.job_id, stage=item.stage_id)
            return _failed("UNFOLD_FAILED", f"the planner failed: {type(error).__name__}: {error}")


def _version(job: JobOutputs) -> tuple[str, int]:
    return job.job.record.application, job.job.record.version


def _failed(reason: str, message: str) -> Unfolding:
    return Unfolding(failure=Failure(reason=reason, message=message))
