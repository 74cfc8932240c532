"""What the profiler notices while jobs run: applications that change, how good beliefs were, how fast engines are."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmsched.api.executor.v1 import executor_pb2
from llmsched.api.profiler.v1 import profiler_pb2
from services.profiler.core.calibration import Calibration, DecodeSteps, Report
from services.profiler.core.calibrator import Calibrator
from services.profiler.core.packing import unpack
from services.scheduler.core.events import CalibrationChanged
from services.scheduler.event_log import read_log, replay
from services.state.memory import MemoryState
from services.state.port import State
from services.state.redis_store import RedisState
from services.state.settings import RedisSettings
from tests.integration.test_profiler_store import Forgetful
from tests.support.cluster import Cluster
from tests.support.planner import refusal
from tests.support.profiler import InlineLearner, RunningProfiler, finished_job
from tests.support.redis import make_server
from tests.support.state import eventually, observe

Drift = profiler_pb2.Drift


class Application:
    """Jobs whose lengths are random, and `factor` times as long as at first."""

    def __init__(self) -> None:
        self._random = Random(1)
        self.factor = 1.0

    def job(self) -> bytes:
        job: dict[str, Any] = json.loads(finished_job())
        draft, check, _ = job["stages"]
        length = self._random.gauss(100.0, 15.0)
        draft["tasks"][0]["output_tokens"] = max(1, round(self.factor * length))
        check["tasks"][0]["seconds"] = self.factor * length * self._random.uniform(0.009, 0.011)
        return json.dumps(job).encode()

    def jobs(self, count: int) -> list[bytes]:
        return [self.job() for _ in range(count)]


@contextlib.asynccontextmanager
async def valkey(tmp_path: Path) -> AsyncIterator[RedisState]:
    with make_server(tmp_path) as server:
        state = RedisState(RedisSettings(url=server.url))
        try:
            yield state
        finally:
            await state.aclose()


# Applications that change.


async def test_an_application_that_changes_is_noticed_and_learned_anew(tmp_path: Path) -> None:
    """Within 50 jobs; and whichever profiler leads, nothing of it is forgotten."""
    application = Application()
    async with valkey(tmp_path) as state:
        async with RunningProfiler.start(state) as profiler:
            await profiler.observe(*application.jobs(40))
            before = await learned_from(profiler, 40)
            assert before.drift.state == Drift.STATE_STEADY
            assert before.drift.false_alarm_job_count == 100_000
            application.factor = 2.0
            await profiler.observe(*application.jobs(5))
        async with RunningProfiler.start(state) as profiler:
            jobs = 5
            while (found := await profiler.profile()).drift.state != Drift.STATE_CHANGED:
                assert jobs < 50
                await profiler.observe(application.job())
                jobs += 1
            assert (found.drift.change_count, found.drift.level) == (1, 1.0)
            assert found.drift.HasField("notice_time")
            wide = await profiler.learned(version=version_of(before) + 1)
            assert (wide.trigger, wide.jobs) == ("drift", 40)
            alarmed = await profiler.profile()
            assert alarmed.new_job_count == alarmed.drift.changed_job_count <= jobs
            if jobs < 12:
                assert alarmed.next_new_job_count == 10
        async with RunningProfiler.start(state) as profiler:
            await profiler.observe(*application.jobs(30))
            new = await profiler.learned(version=wide.version + 1)
            assert (new.trigger, new.jobs < 45) == ("drift", True)
            learned = unpack(new.compiled, new.encoding)
            assert learned.levels["draft"].units == pytest.approx(200.0, rel=0.1)
            now = await profiler.profile()
            assert now.drift.state in (Drift.STATE_UNWATCHED, Drift.STATE_STEADY)
            assert now.drift.change_count == 1
            assert now.history_job_count == 40 + jobs + 30


async def learned_from(profiler: RunningProfiler, jobs: int) -> profiler_pb2.Profile:
    async def it_was() -> bool:
        newest = await profiler.state.profiles.newest_profiles()
        record = await profiler.state.profiles.get_profile("app", newest.get("app", 0))
        return record is not None and record.jobs == jobs

    await eventually(it_was)
    return await profiler.profile()


def version_of(profile: profiler_pb2.Profile) -> int:
    return int(profile.name.rpartition("/")[2])


async def test_a_profile_that_an_alarm_has_overtaken_is_not_published() -> None:
    """It would be of jobs before the change and after it."""
    application, learner = Application(), InlineLearner()
    async with RunningProfiler.start(learner=learner) as profiler:
        await profiler.observe(*application.jobs(40))
        first = await learned_from(profiler, 40)
        learner.gate.close()
        await profiler.observe(*application.jobs(40))
        await learner.gate.arrived.wait()
        application.factor = 2.0
        await profiler.observe(*application.jobs(20))
        wide = await profiler.learned(version=version_of(first) + 1)  # it does not wait for what is being learned
        assert (wide.trigger, wide.jobs) == ("drift", 40)
        learner.gate.open()
        new = await profiler.learned(version=version_of(first) + 2)
        assert (new.trigger, new.jobs < 40) == ("drift", True)


async def test_a_job_that_cannot_be_judged_is_in_the_history_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RunningProfiler.start() as profiler:
        await profiler.observe(*Application().jobs(10))
        await profiler.learned()

        def fails(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("services.profiler.conducts.score", fails)
        await profiler.observe(finished_job("odd"))
        assert "odd" in await profiler.jobs()
        assert not (await profiler.profile()).HasField("reliability")


# How good beliefs were.


async def test_what_became_of_beliefs_is_told() -> None:
    application = Application()
    async with RunningProfiler.start() as profiler:
        await profiler.observe(*application.jobs(40))
        await learned_from(profiler, 40)
        assert not (await profiler.profile()).HasField("reliability")
        await profiler.observe(*application.jobs(30))
        found = (await profiler.profile()).reliability
        assert (found.job_count, found.belief_count) == (30, 60)  # two stages each
        assert [one.level for one in found.coverage] == [0.5, 0.8, 0.95]
        shares = [one.share for one in found.coverage]
        assert shares == sorted(shares)
        assert shares[-1] > 0.8
        assert 0.0 < found.mean_crps.ToTimedelta().total_seconds() < 1.0
        assert 0.0 < found.mean_error.ToTimedelta().total_seconds() < 1.0
        (listed,) = (await profiler.stub.ListProfiles(profiler_pb2.ListProfilesRequest())).profiles
        assert listed.reliability == found


# How fast engines are.


def steps(seconds: float, executor: str = "llm-0", *, count: float = 100.0, batch: int = 1) -> bytes:
    """What an executor reports of steps that took so long each."""
    report = Report(decode=(DecodeSteps(batch, count, count * seconds, count * seconds * seconds),))
    known = {"type": "steps", "executor": executor, "models": ["m"], "slots": 4, "at": 7.0}
    return json.dumps(known | report.plain()).encode()


async def calibrations(profiler: RunningProfiler, **page: Any) -> list[profiler_pb2.Calibration]:
    answer = await profiler.stub.ListCalibrations(profiler_pb2.ListCalibrationsRequest(**page))
    return list(answer.calibrations)


async def test_a_calibration_is_published_when_an_engine_has_changed_noticeably() -> None:
    async with RunningProfiler.start() as profiler:
        assert await calibrations(profiler) == []
        await profiler.observe(steps(0.020), steps(0.010, "llm-1"))
        first, other = await calibrations(profiler)
        assert (first.executor_id, first.version, list(first.models)) == ("llm-0", 1, ["m"])
        assert first.step_seconds[0] == pytest.approx(0.020, rel=0.05)
        assert (first.step_counts[0], len(first.step_seconds)) == (100.0, 8)
        assert other.executor_id == "llm-1"
        await profiler.observe(steps(0.0201))
        assert (await calibrations(profiler, page_size=1))[0] == first
        await profiler.observe(*(steps(0.030) for _ in range(20)))
        assert (await calibrations(profiler))[0].version > 1
        assert (await calibrations(profiler))[0].step_seconds[0] == pytest.approx(0.030, rel=0.05)
        await profiler.observe(steps(0.030, "llm-2", count=0.0))
        assert len(await calibrations(profiler)) == 2


async def test_each_report_counts_once_whatever_happens(tmp_path: Path) -> None:
    """Promise: an observation has its effect exactly once; what was learned of engines survives the profiler."""
    reports = [steps(0.02 + 0.0001 * number, batch=1 + number % 3) for number in range(20)]
    alone = Calibrator()
    for report in reports:
        alone.observe(Report.of_plain(json.loads(report)))

    async def told(state: State) -> dict[str, Any]:
        for begin in (0, 10):
            async with RunningProfiler.start(state, leader_renew_seconds=0.02, batch=3) as profiler:
                await profiler.observe(*reports[begin : begin + 10])
        learned: dict[str, Any] = json.loads((await state.profiles.engines())["llm-0"].learned)
        return learned

    assert await told(Forgetful(MemoryState())) == alone.plain()  # type: ignore[arg-type]
    async with valkey(tmp_path) as state:
        assert await told(state) == alone.plain()


async def test_schedulers_hear_of_calibrations_and_their_log_has_them(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with RunningProfiler.start() as profiler:
        await profiler.observe(steps(0.020))
        async with Cluster.start(profiler.state, profilers=(profiler.address,), event_log=str(log)) as cluster:

            async def known(version: int) -> bool:
                client = cluster.leader.app._profiles
                return client._calibrations.get("llm-0", (0, None))[0] >= version

            await eventually(lambda: known(1))
            newest = await import_(profiler, measured(0.030))
            await eventually(lambda: known(newest.version))
            executor = await cluster.attach("llm-0", kind=executor_pb2.Register.KIND_LLM, models=["m"])
            believed = cluster.leader.app._term.machine.knowledge  # type: ignore[union-attr]
            assert believed.beliefs.work.decode == newest.step_seconds[0]
            await executor.aclose()
    logged = [event for term in read_log(log) for record in term.records for event in record.events]
    heard = [event for event in logged if isinstance(event, CalibrationChanged)]
    assert {event.executor_id for event in heard} == {"llm-0"}
    assert heard[-1].cause == f"calibration:llm-0:{newest.version}"
    assert heard[-1].calibration == Calibration(
        prefill=newest.prefill_seconds,
        steps=tuple(newest.step_seconds),
        weights=tuple(newest.step_counts),
        prompts=newest.prompt_count,
    )
    assert replay(log) is None


def measured(seconds: float = 0.05) -> executor_pb2.EngineSteps:
    decode = executor_pb2.DecodeSteps(batch=1, steps=100.0, square_seconds=100.0 * seconds * seconds)
    decode.duration.FromNanoseconds(round(100e9 * seconds))
    return executor_pb2.EngineSteps(decode=[decode])


async def import_(profiler: RunningProfiler, report: executor_pb2.EngineSteps, executor: str = "llm-0") -> Any:
    request = profiler_pb2.ImportCalibrationRequest(executor_id=executor, report=report)
    return (await profiler.stub.ImportCalibration(request)).calibration


async def test_a_calibration_run_replaces_what_was_known_and_its_repeat_changes_nothing() -> None:
    state = MemoryState()
    async with RunningProfiler.start(state) as profiler:
        await profiler.observe(*(steps(0.020) for _ in range(5)))
        found = await import_(profiler, measured())
        assert (found.version, list(found.models)) == (2, ["m"])
        assert found.step_seconds[0] == pytest.approx(0.05, rel=1e-2)
        await profiler.observe(steps(0.050))
        kept = (await state.profiles.engines())["llm-0"]
        assert (await import_(profiler, measured())).version == 2
        assert (await state.profiles.engines())["llm-0"] == kept
    async with RunningProfiler.start(state) as profiler:
        assert (await import_(profiler, measured())).version == 2
        assert (await import_(profiler, measured(0.08))).version == 3
        assert (await import_(profiler, measured(), "new")).version == 1


async def test_what_a_calibration_run_must_have(caplog: pytest.LogCaptureFixture) -> None:
    async with RunningProfiler.start() as profiler:
        found = await refusal(import_(profiler, measured(), ""))
        assert (found.name, found.fields) == ("INVALID_ARGUMENT/INVALID_REQUEST", ["executor_id"])
        found = await refusal(import_(profiler, executor_pb2.EngineSteps()))
        assert (found.name, found.fields) == ("INVALID_ARGUMENT/EMPTY_REPORT", ["report"])
        assert await calibrations(profiler) == []


async def test_those_who_watch_get_calibrations_too() -> None:
    async with RunningProfiler.start() as profiler:
        await profiler.observe(steps(0.020))
        stream = profiler.stub.WatchProfiles(profiler_pb2.WatchProfilesRequest())
        async with asyncio.timeout(10):
            first = await stream.read()
            assert (first.calibration.executor_id, first.HasField("profile")) == ("llm-0", False)
            while (message := await stream.read()).calibration.version < 2:
                await observe(profiler.state, *(steps(0.030) for _ in range(5)))
        assert message.calibration.step_seconds[0] > 0.021
        stream.cancel()
