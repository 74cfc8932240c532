"""The table of errors in the comments of profiler.proto: each of them can be produced, and there are no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from llmsched.api.profiler.v1 import profiler_pb2
from services.profiler.refusals import Reason
from services.state.memory import MemoryState
from tests.support.documented import documented_errors
from tests.support.planner import Refusal, refusal
from tests.support.profiler import InlineLearner, RunningProfiler, finished_job
from tests.support.state import lead_profiler

#: What any call may be refused with.
EVERYWHERE = {Reason.INVALID_REQUEST, Reason.STATE_UNAVAILABLE, Reason.SHUTTING_DOWN}


def documented() -> list[tuple[str, str]]:
    return documented_errors("profiler/v1/profiler.proto", "ProfilerService")


Scenario = Callable[[RunningProfiler], Awaitable[Refusal]]
SCENARIOS: dict[tuple[str, str], Scenario] = {}


def produces(rpc: str, name: str) -> Callable[[Scenario], Scenario]:
    def note(scenario: Scenario) -> Scenario:
        SCENARIOS[rpc, name] = scenario
        return scenario

    return note


@produces("ListProfiles", "INVALID_ARGUMENT/INVALID_PAGE_TOKEN")
async def _(profiler: RunningProfiler) -> Refusal:
    return await refusal(profiler.stub.ListProfiles(profiler_pb2.ListProfilesRequest(page_token="x")))


@produces("ListCalibrations", "INVALID_ARGUMENT/INVALID_PAGE_TOKEN")
async def _(profiler: RunningProfiler) -> Refusal:
    return await refusal(profiler.stub.ListCalibrations(profiler_pb2.ListCalibrationsRequest(page_token="x")))


@produces("ImportCalibration", "INVALID_ARGUMENT/EMPTY_REPORT")
async def _(profiler: RunningProfiler) -> Refusal:
    request = profiler_pb2.ImportCalibrationRequest(executor_id="llm-0")
    return await refusal(profiler.stub.ImportCalibration(request))


@produces("ImportCalibration", "FAILED_PRECONDITION/NOT_LEADER")
async def _(profiler: RunningProfiler) -> Refusal:
    request = profiler_pb2.ImportCalibrationRequest(executor_id="llm-0")
    async with RunningProfiler.start(profiler.state, leads=False) as standby:
        return await refusal(standby.stub.ImportCalibration(request))


@produces("GetProfile", "NOT_FOUND/PROFILE_NOT_FOUND")
async def _(profiler: RunningProfiler) -> Refusal:
    return await refusal(profiler.profile())


@produces("TrainProfile", "FAILED_PRECONDITION/NO_HISTORY")
async def _(profiler: RunningProfiler) -> Refusal:
    return await refusal(profiler.train())


@produces("TrainProfile", "ALREADY_EXISTS/REQUEST_ID_REUSED")
async def _(profiler: RunningProfiler) -> Refusal:
    await profiler.observe(finished_job())
    await profiler.train(request_id="r")
    return await refusal(profiler.train("other", request_id="r"))


@produces("TrainProfile", "INTERNAL/LEARNING_FAILED")
async def _(profiler: RunningProfiler) -> Refusal:
    await profiler.observe(finished_job())
    learner = profiler.profiler._learner
    assert isinstance(learner, InlineLearner)
    learner.failures = ["no luck"]
    return await refusal(profiler.train())


@produces("TrainProfile", "FAILED_PRECONDITION/NOT_LEADER")
async def _(profiler: RunningProfiler) -> Refusal:
    async with standby(profiler) as second:
        return await refusal(second.train())


@produces("Predict", "NOT_FOUND/JOB_NOT_FOUND")
async def _(profiler: RunningProfiler) -> Refusal:
    return await refusal(profiler.stub.Predict(profiler_pb2.PredictRequest(job="jobs/nobody")))


@produces("WatchProfiles", "UNAVAILABLE/SHUTTING_DOWN")
async def _(profiler: RunningProfiler) -> Refusal:
    stream = profiler.stub.WatchProfiles(profiler_pb2.WatchProfilesRequest())
    await stream.read()
    profiler.profiler._servicer.stop_watches()
    return await refusal(_to_the_end(stream))


@produces("ImportHistory", "INVALID_ARGUMENT/INVALID_TRACE")
async def _(profiler: RunningProfiler) -> Refusal:
    return await refusal(profiler.import_lines("nonsense"))


@produces("ImportHistory", "RESOURCE_EXHAUSTED/IMPORT_TOO_LARGE")
async def _(profiler: RunningProfiler) -> Refusal:
    return await refusal(profiler.import_lines("x" * 3000))


@produces("ImportHistory", "FAILED_PRECONDITION/NOT_LEADER")
async def _(profiler: RunningProfiler) -> Refusal:
    async with standby(profiler) as second:
        return await refusal(second.import_lines("nonsense"))


def standby(profiler: RunningProfiler) -> Any:
    return RunningProfiler.start(profiler.state, leads=False)


async def _to_the_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


@pytest.mark.parametrize(("rpc", "name"), documented())
async def test_every_documented_error_can_be_produced(rpc: str, name: str) -> None:
    assert (rpc, name) in SCENARIOS, "no test produces it"
    async with RunningProfiler.start(max_import_bytes=2048) as profiler:
        refused = await SCENARIOS[rpc, name](profiler)
    assert refused.name == name
    assert refused.domain == "profiler.llmsched"
    assert refused.message
    if refused.code is grpc.StatusCode.INVALID_ARGUMENT:
        assert refused.violations
    elif refused.code is not grpc.StatusCode.UNAVAILABLE:
        assert refused.metadata, "what varies in the message must be there for programs, too"
    assert (refused.retry_after is not None) == (refused.code is grpc.StatusCode.UNAVAILABLE)


def test_no_error_is_produced_here_that_is_not_documented() -> None:
    assert set(SCENARIOS) == set(documented())


def test_the_profiler_has_no_other_reasons() -> None:
    assert {name.partition("/")[2] for _, name in documented()} | EVERYWHERE == set(Reason)


@pytest.fixture
async def profiler() -> AsyncIterator[RunningProfiler]:
    async with RunningProfiler.start() as running:
        yield running


async def test_names_and_pages_that_make_no_sense(profiler: RunningProfiler) -> None:
    stub = profiler.stub
    calls: dict[str, Any] = {
        "name": stub.GetProfile(profiler_pb2.GetProfileRequest(name="applications/app")),
        "application": stub.TrainProfile(profiler_pb2.TrainProfileRequest(application="app")),
        "job": stub.Predict(profiler_pb2.PredictRequest(job="app")),
        "page_size": stub.ListProfiles(profiler_pb2.ListProfilesRequest(page_size=-1)),
    }
    for field, call in calls.items():
        found = await refusal(call)
        assert (found.name, found.fields) == ("INVALID_ARGUMENT/INVALID_REQUEST", [field])
    stream = stub.ExportHistory(profiler_pb2.ExportHistoryRequest(application="app"))
    assert (await refusal(_to_the_end(stream))).fields == ["application"]


async def test_a_version_that_is_not_kept_names_the_newest(profiler: RunningProfiler) -> None:
    await profiler.observe(finished_job())
    await profiler.train()
    found = await refusal(profiler.profile(version="/7"))
    assert "the newest is applications/app/profiles/1" in found.message


async def test_a_state_that_cannot_be_reached_is_worth_another_try() -> None:
    state = MemoryState()
    async with RunningProfiler.start(state) as profiler:
        await state.aclose()
        found = await refusal(profiler.profile())
        assert (found.name, found.retry_after) == ("UNAVAILABLE/STATE_UNAVAILABLE", 1.0)


async def test_it_leads_again_after_the_state_was_away() -> None:
    """A term ends with what it cannot write, and the next one goes on from what is durable."""
    state = MemoryState()
    async with RunningProfiler.start(state, leader_renew_seconds=0.02) as profiler:
        await profiler.observe(finished_job("a"))
        leader = await lead_profiler_anew(state)
        await profiler.observe(finished_job("b"))
        assert await profiler.jobs() == ["a", "b"]
        now = await state.profiles.leader()
        assert now is not None
        assert now.epoch > leader


async def lead_profiler_anew(state: MemoryState) -> int:
    """Takes the lead from the profiler and gives it up at once."""
    holder = await state.profiles.leader()
    assert holder is not None
    await state.profiles.release_leadership(holder)
    usurper = await lead_profiler(state, "usurper")
    await state.profiles.release_leadership(usurper)
    await asyncio.sleep(0)
    return usurper.epoch
