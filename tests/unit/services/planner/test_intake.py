"""What the intake stores and whom it tells. (What it refuses: tests/integration/test_planner_api.py.)"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmsched.api.planner.v1 import planner_pb2
from llmsched.values import to_struct
from services.common.clock import ManualClock
from services.common.errors import DomainError
from services.common.telemetry import Telemetry
from services.planner.instruments import Instruments
from services.planner.intake import Intake
from services.planner.registry import Registry
from services.planner.settings import PlannerSettings
from services.scheduler.core.model import JobState, StageState
from services.state.memory import MemoryState
from services.state.records import JobUpdate
from tests.support.planner import TWO_STEPS, spec
from tests.support.state import commit_of, finished, lead


class Told:
    """Stands in for the line to the scheduler."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def nudge(self, job_id: str) -> None:
        self.jobs.append(job_id)


class Bench:
    """An intake in front of an empty store."""

    def __init__(self, **settings: Any) -> None:
        self.state, self.clock, self.told = MemoryState(), ManualClock(1234.5), Told()
        self.registry = Registry(self.state, self.clock)
        self.intake = Intake(
            self.state,
            self.registry,
            self.told,  # type: ignore[arg-type]
            self.clock,
            PlannerSettings(**settings),
            Instruments(Telemetry("planner"), self.clock),
        )

    async def submit(self, n: int = 1, **fields: Any) -> str:
        await self.registry.register(spec(TWO_STEPS))
        request = planner_pb2.SubmitJobRequest(
            application="applications/two-steps", input=to_struct({"n": n}), **fields
        )
        return (await self.intake.submit(request, traceparent="")).record.job_id

    async def end(self, job_id: str, **fields: Any) -> None:
        leader = await lead(self.state)
        await self.state.commit(leader, 1, commit_of(finished(job_id, **fields)))


async def test_a_job_is_stored_as_pending_with_all_its_first_stages() -> None:
    bench = Bench()
    job = await bench.state.get_job(await bench.submit(labels={"a": "b"}, request_id="r"))
    assert job is not None
    assert (job.status.state, job.sequence) == (JobState.PENDING, 1)
    assert (job.record.created_at, job.record.structure, job.record.labels) == (1234.5, "static", {"a": "b"})
    assert {stage_id: stage.state for stage_id, stage in job.stages.items()} == dict.fromkeys(
        ("first", "second", "$output"), StageState.WAITING
    )
    assert job.stages["second"].spec.parents == ("first",)
    assert await bench.state.get_input(job.record.job_id) == b'{"n":1}'


async def test_the_scheduler_is_told_of_new_jobs_once() -> None:
    bench = Bench()
    first = await bench.submit(request_id="r")
    assert await bench.submit(request_id="r") == first
    second = await bench.submit()
    assert bench.told.jobs == [first, second]


async def test_the_scheduler_is_told_nothing_of_a_job_that_was_only_checked_or_refused() -> None:
    bench = Bench(max_active_jobs=1)
    assert await bench.submit(validate_only=True) == ""
    await bench.submit()
    with pytest.raises(DomainError, match="limit"):
        await bench.submit()
    assert len(bench.told.jobs) == 1


@pytest.mark.parametrize("spelling", [{"n": 1}, {"n": 1.0}])
async def test_a_repeat_is_known_by_its_meaning_and_not_its_spelling(spelling: dict[str, Any]) -> None:
    bench = Bench()
    first = await bench.submit(request_id="r")
    request = planner_pb2.SubmitJobRequest(
        application="applications/two-steps", input=to_struct(spelling), request_id="r"
    )
    assert (await bench.intake.submit(request, traceparent="elsewhere")).record.job_id == first


async def test_a_rerun_takes_over_results_of_what_was_done_and_nothing_else() -> None:
    bench = Bench()
    job_id = await bench.submit(labels={"a": "b"})
    job = await bench.state.get_job(job_id)
    assert job is not None
    stages = {
        "first": replace(job.stages["first"], state=StageState.SUCCEEDED),
        "second": replace(job.stages["second"], state=StageState.FAILED),
        "$output": replace(job.stages["$output"], state=StageState.CANCELLED),
    }
    await bench.end(
        job_id,
        status=replace(job.status, state=JobState.FAILED),
        updates=(JobUpdate(state=JobState.FAILED),),
        stages=stages,
        results={("first", 0): b"kept", ("second", 1): b"of a task that went well in a stage that failed"},
    )
    again = await bench.intake.rerun(job_id, request_id="", traceparent="")
    outputs = await bench.state.get_outputs(again.record.job_id)
    assert outputs is not None
    assert outputs.results == {("first", 0): b"kept"}
    assert outputs.input == b'{"n":1}'
    assert (again.record.rerun_of, again.record.labels, again.record.structure) == (job_id, {"a": "b"}, "static")
    assert bench.told.jobs == [job_id, again.record.job_id]
