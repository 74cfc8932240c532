"""Inputs and outputs of jobs, as messages."""

from __future__ import annotations

import json

from google.protobuf.struct_pb2 import Struct, Value

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import planner_pb2
from llmsched.values import to_struct
from services.state.port import JobStore


class JobResults:
    """Reads what a job was given and what it gave."""

    def __init__(self, state: JobStore) -> None:
        self._state = state

    async def input(self, job_id: str) -> Struct:
        content = await self._state.get_input(job_id)
        return to_struct(json.loads(content) if content else {})

    async def output(self, job_id: str) -> Value:
        """The rendered output of a job that succeeded."""
        return Value.FromString(await self._state.get_output(job_id) or b"")

    async def task_outputs(self, job_id: str) -> list[planner_pb2.GetJobResultResponse.TaskOutput]:
        """Results of all tasks that succeeded, in the order of stages and tasks."""
        outputs = await self._state.get_outputs(job_id)
        if outputs is None:
            return []
        position = {stage_id: stage.spec.position for stage_id, stage in outputs.job.stages.items()}
        keys = sorted(outputs.results, key=lambda key: (position.get(key[0], 0), key))
        return [
            planner_pb2.GetJobResultResponse.TaskOutput(
                stage_id=stage_id,
                task_index=index,
                result=task_pb2.TaskResult.FromString(outputs.results[stage_id, index]),
            )
            for stage_id, index in keys
        ]
