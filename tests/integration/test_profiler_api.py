"""ProfilerService over real gRPC, on a state in memory: observations in, profiles and predictions out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from llmsched.api.profiler.v1 import profiler_pb2
from services.profiler.app import SERVICE
from services.profiler.core.calibration import DecodeSteps, Prefills, Report
from services.profiler.core.observation import AttemptObserved, StepsObserved
from services.profiler.core.packing import unpack
from services.profiler.core.trace import TraceJob
from services.profiler.learning import DRIFT, Learning
from services.scheduler.core.model import (
    JobState,
    Measurement,
    StageKind,
    StageSnapshot,
    StageSpec,
    StageState,
    TaskSnapshot,
    TaskSpec,
    TaskState,
)
from services.state.memory import MemoryState
from services.state.records import JobCommit, JobStatus, ProfileRecord
from services.state.settings import Limits
from tests.support.planner import refusal
from tests.support.profiler import InlineLearner, RunningProfiler, ended_attempt, finished_job
from tests.support.state import commit_of, lead, make_record, observe, submit
from tests.unit.services.profiler.traces import line, stage, tool


@pytest.fixture
async def profiler() -> AsyncIterator[RunningProfiler]:
    async with RunningProfiler.start() as running:
        yield running


async def test_it_answers_health_probes_and_tells_its_contract(profiler: RunningProfiler) -> None:
    stub = health_pb2_grpc.HealthStub(profiler.channel)
    for service in ("", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stream = reflection_pb2_grpc.ServerReflectionStub(profiler.channel).ServerReflectionInfo(iter([request]))
    listed = await stream.read()
    assert SERVICE in {service.name for service in listed.list_services_response.service}


# Observations.


async def test_finished_jobs_come_into_the_history_of_their_application(profiler: RunningProfiler) -> None:
    other = finished_job("c", application="other")
    await profiler.observe(
        finished_job("a"), ended_attempt(), finished_job("b"), other, finished_job("d", outcome="failed")
    )
    assert await profiler.jobs() == ["a", "b"]
    assert await profiler.jobs("other") == ["c"]
    (first,) = [json.loads(one) for one in (await profiler.exported("other")).splitlines()]
    assert [(each["name"], each["kind"], len(each["tasks"])) for each in first["stages"]] == [
        ("draft", "llm", 1),
        ("check", "tool", 1),
    ]


def encoded(observation: object) -> bytes:
    return json.dumps(observation).encode()


async def test_lines_that_cannot_be_read_are_left_out(profiler: RunningProfiler) -> None:
    circle = json.loads(finished_job("circle"))
    circle["stages"][0]["parents"] = ["check"]
    unknown_parent = json.loads(finished_job("unknown"))
    unknown_parent["stages"][0]["parents"] = ["nowhere"]
    nameless = finished_job("nameless", application="")
    bad = [b"nonsense", b'{"type": "job"}', b'{"type": "new"}', nameless, *map(encoded, (circle, unknown_parent))]
    await profiler.observe(*bad, finished_job("good"))
    assert await profiler.jobs() == ["good"]


async def test_a_profile_is_learned_when_there_are_enough_jobs(profiler: RunningProfiler) -> None:
    await profiler.observe(*(finished_job() for _ in range(9)))
    found = await refusal(profiler.profile())
    assert "the history has 9 jobs; a profile is learned after 10" in found.message
    await profiler.observe(finished_job())
    assert (await profiler.learned()).jobs == 10
    await profiler.observe(*(finished_job() for _ in range(10)))
    record = await profiler.learned(version=2)
    assert (record.jobs, record.added, record.trigger) == (20, 20, "history")
    profile = await profiler.profile()
    assert (profile.name, profile.job_count) == ("applications/app/profiles/2", 20)
    assert (profile.history_job_count, profile.new_job_count, profile.next_new_job_count) == (20, 0, 20)
    compiled = unpack(profile.compiled, profile.encoding)
    assert (compiled.application, compiled.version, compiled.jobs) == ("app", 2, 20)
    old = await profiler.profile(version="/1")
    assert (old.job_count, old.new_job_count, old.next_new_job_count) == (10, 10, 0)


#: As services/scheduler/observe.py writes it.
STEPS = encoded(
    {"type": "steps", "executor": "llm-0", "models": ["m"], "slots": 4, "at": 1.0}
    | Report(decode=(DecodeSteps(1, 3.0, 0.5, 0.1),), prefill=(Prefills(1, 1.0, 9.0, 0.5, 81.0, 4.5, 0.25),)).plain()
)


class Ears:
    """Notes all that it hears, and finds job "b" unlike what was learned."""

    def __init__(self, learning: Learning) -> None:
        self.learning = learning
        self.heard: list[str] = []

    def job_finished(self, job: TraceJob) -> None:
        self.heard.append(f"job {job.job_id}")
        if job.job_id == "b":
            self.learning.ask(job.app, DRIFT)

    def attempt_ended(self, attempt: AttemptObserved) -> None:
        self.heard.append(f"attempt of {attempt.job}: {attempt.output_tokens} tokens")

    def engine_measured(self, steps: StepsObserved) -> None:
        self.heard.append(f"{steps.executor}: {steps.report.decode[0].steps:g} steps")

    def profile_published(self, profile: ProfileRecord) -> None:
        self.heard.append(f"profile {profile.version}")


async def test_what_listens_hears_of_what_is_durable_and_can_have_profiles_learned() -> None:
    all_ears: list[Ears] = []

    def listeners(learning: Learning) -> list[Ears]:
        all_ears.append(Ears(learning))
        return all_ears[-1:]

    state = MemoryState()
    async with RunningProfiler.start(state, listeners=listeners) as profiler:
        await profiler.observe(ended_attempt("a"), finished_job("a"), finished_job("x", outcome="failed"), STEPS)
        await profiler.observe(finished_job("b"))
        assert (await profiler.learned()).trigger == "drift"
        assert (await profiler.profile()).trigger == profiler_pb2.Profile.TRIGGER_DRIFT
        (ears,) = all_ears
        assert ears.heard == ["attempt of a: 7 tokens", "job a", "llm-0: 3 steps", "job b", "profile 1"]
    async with RunningProfiler.start(state, listeners=listeners) as profiler:
        await profiler.observe(finished_job("c"))
        assert all_ears[-1].heard == ["profile 1", "job c"]


async def test_the_history_is_bounded() -> None:
    async with RunningProfiler.start(MemoryState(limits=Limits(max_history=3))) as profiler:
        await profiler.observe(*(finished_job(name) for name in "abcde"))
        assert await profiler.jobs() == ["c", "d", "e"]


async def test_learning_that_fails_is_tried_again_when_there_is_more() -> None:
    learner = InlineLearner()
    learner.failures = ["no luck"]
    async with RunningProfiler.start(learner=learner) as profiler:
        await profiler.observe(*(finished_job() for _ in range(10)))
        await profiler.observe(*(finished_job() for _ in range(10)))
        assert (await profiler.learned()).jobs == 20
        assert learner.calls == 2


# Several profilers.


async def test_one_of_two_profilers_leads_and_the_other_takes_over() -> None:
    state = MemoryState()
    async with (
        RunningProfiler.start(state) as first,
        RunningProfiler.start(state, leads=False, leader_renew_seconds=0.05, leader_ttl_seconds=1.0) as second,
    ):
        await first.observe(*(finished_job() for _ in range(10)))
        await first.learned()
        assert (await second.profile()).job_count == 10  # a standby reads
        for call in (second.train(), second.import_lines(line(arrival_seconds=...))):
            found = await refusal(call)
            assert (found.name, found.metadata) == ("FAILED_PRECONDITION/NOT_LEADER", {"leader": first.address})
        await first.profiler.stop(0)
        async with asyncio.timeout(10):
            await second.profiler.leads.wait()
        await second.observe(*(finished_job() for _ in range(10)))
        assert (await second.learned(version=2)).jobs == 20
        assert len(set(await second.jobs())) == 20


async def test_a_profiler_that_lost_the_lead_changes_nothing_more() -> None:
    learner = InlineLearner()
    learner.gate.close()
    state = MemoryState()
    async with RunningProfiler.start(state, learner=learner) as profiler:
        await profiler.observe(*(finished_job() for _ in range(10)))
        await learner.gate.arrived.wait()
        usurper = await state.profiles.leader()
        assert usurper is not None
        again = await state.profiles.acquire_leadership(instance=usurper.instance, address="x", ttl=60.0)
        assert again is not None
        learner.gate.open()
        # What it has learned is refused; it leads anew, and learns it again.
        assert (await profiler.learned()).jobs == 10
        leader = await state.profiles.leader()
        assert leader is not None
        assert leader.epoch > again.epoch
        assert await state.profiles.newest_profiles() == {"app": 1}


# Training.


async def test_training_on_request_and_its_repeat() -> None:
    learner = InlineLearner()
    async with RunningProfiler.start(learner=learner) as profiler:
        await profiler.observe(finished_job(), finished_job())
        learner.gate.close()
        first = asyncio.create_task(profiler.train(request_id="r"))
        await learner.gate.arrived.wait()
        second = asyncio.create_task(profiler.train(request_id="r"))
        learner.gate.open()
        profile = await first
        assert await second == await profiler.train(request_id="r") == profile
        assert (profile.name, profile.job_count) == ("applications/app/profiles/1", 2)
        assert profile.trigger == profiler_pb2.Profile.TRIGGER_REQUEST
        assert not profile.compiled
        assert learner.calls == 1
        assert (await profiler.train()).name == "applications/app/profiles/2"


async def test_training_goes_on_when_its_caller_does_not() -> None:
    learner = InlineLearner()
    async with RunningProfiler.start(learner=learner) as profiler:
        await profiler.observe(finished_job())
        learner.gate.close()
        call = profiler.stub.TrainProfile(
            profiler_pb2.TrainProfileRequest(application="applications/app", request_id="r")
        )
        await learner.gate.arrived.wait()
        call.cancel()
        learner.gate.open()
        assert (await profiler.train(request_id="r")).name == "applications/app/profiles/1"
        assert learner.calls == 1


# Reading.


async def test_profiles_are_listed_by_name_in_pages(profiler: RunningProfiler) -> None:
    for name in ("b", "c", "a"):
        await profiler.observe(finished_job(application=name))
        await profiler.train(name)
    first = await profiler.stub.ListProfiles(profiler_pb2.ListProfilesRequest(page_size=2))
    assert [each.name for each in first.profiles] == ["applications/a/profiles/1", "applications/b/profiles/1"]
    assert not any(each.compiled for each in first.profiles)
    token = first.next_page_token
    last = await profiler.stub.ListProfiles(profiler_pb2.ListProfilesRequest(page_size=2, page_token=token))
    assert [each.name for each in last.profiles] == ["applications/c/profiles/1"]
    assert not last.next_page_token


async def test_those_who_watch_get_all_that_is_there_and_what_comes(profiler: RunningProfiler) -> None:
    for name in ("b", "a"):
        await profiler.observe(finished_job(application=name))
        await profiler.train(name)
    stream = profiler.stub.WatchProfiles(profiler_pb2.WatchProfilesRequest())
    async with asyncio.timeout(10):
        messages = [await stream.read() for _ in range(3)]
        assert [message.profile.name for message in messages] == [
            "applications/a/profiles/1",
            "applications/b/profiles/1",
            "",
        ]
        assert messages[0].profile.compiled
        await profiler.train("a")
        assert (await stream.read()).profile.name == "applications/a/profiles/2"
    stream.cancel()


async def test_an_idle_watch_shows_that_it_is_alive_and_ends_with_the_profiler() -> None:
    async with RunningProfiler.start(progress_seconds=0.01) as profiler:
        stream = profiler.stub.WatchProfiles(profiler_pb2.WatchProfilesRequest())
        async with asyncio.timeout(10):
            for _ in range(2):
                assert not (await stream.read()).HasField("profile")
            profiler.profiler._servicer.stop_watches()
            with pytest.raises(grpc.aio.AioRpcError, match="is ending"):
                await _drain(stream)


async def _drain(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


# Histories.


async def test_a_history_comes_back_as_it_was_imported(profiler: RunningProfiler) -> None:
    one = line(stage("a"), tool("b", "a", seconds=None), app="x", job_id="1", arrival_seconds=...)
    two = line(stage("a"), app="ä", job_id="2", group="g", arrival_seconds=...)
    assert await profiler.import_lines(f"{one}\n\n", two) == 2
    assert await profiler.import_lines(one) == 1  # nothing new
    exported = await profiler.exported()
    assert [json.loads(each)["app"] for each in exported.splitlines()] == ["x", "ä"]
    assert await profiler.import_lines(exported) == 2
    assert await profiler.exported() == exported
    assert len((await profiler.exported("x")).splitlines()) == 1
    assert await profiler.exported("nothing") == b""


async def test_jobs_without_an_id_get_one_that_stays(profiler: RunningProfiler) -> None:
    lines = [line(stage("a", tasks=[{"output_tokens": n}]), app="x", arrival_seconds=...) for n in (1, 2)]
    for _ in range(2):
        await profiler.import_lines(*lines)
    assert len(await profiler.jobs("x")) == 2


async def test_an_imported_history_is_learned_from(profiler: RunningProfiler) -> None:
    lines = [line(stage("a", tasks=[{"output_tokens": n}]), app="x", arrival_seconds=...) for n in range(300)]
    assert await profiler.import_lines(*lines) == 300
    assert (await profiler.learned("x")).jobs == 300


async def test_every_violation_is_named_and_nothing_is_stored(profiler: RunningProfiler) -> None:
    good = line(stage("a"), app="x", job_id="1", arrival_seconds=...)
    bad = line(stage("a", "b", generated_by="c"), app="x", arrival_seconds=...)
    found = await refusal(profiler.import_lines(good, bad, "nonsense", line()))
    assert found.name == "INVALID_ARGUMENT/INVALID_TRACE"
    assert found.fields == [
        "lines[2].stages[0].generated_by",
        "lines[2].stages[0].parents[0]",
        "lines[3]",
        "lines[4].arrival_seconds",
    ]
    assert "no stage has the id 'c'" in found.violations[0][1]
    assert await profiler.exported() == b""
    assert (await refusal(profiler.import_lines())).violations == (("lines", "no jobs: each line holds one"),)


# Predictions.


async def test_a_prediction_is_what_beliefs_say_of_what_the_job_has_shown(profiler: RunningProfiler) -> None:
    await profiler.observe(*(finished_job() for _ in range(40)))
    await profiler.learned()
    request = profiler_pb2.PredictRequest(job=f"jobs/{await _running_job(profiler)}")
    before = await profiler.stub.Predict(request)
    assert before.profile.startswith("applications/app/profiles/")
    assert before.llm_work.expected.ToTimedelta().total_seconds() > 0.1
    parts = before.llm_work.expected.ToTimedelta() + before.tool_time.expected.ToTimedelta()
    assert before.total.expected.ToTimedelta() == pytest.approx(parts, abs=timedelta(milliseconds=1))
    done = profiler_pb2.PredictRequest(job=f"jobs/{await _running_job(profiler, done=True)}")
    after = await profiler.stub.Predict(done)
    assert after.llm_work.expected.ToTimedelta().total_seconds() == 0.0
    assert after.tool_time.expected.ToTimedelta().total_seconds() > 0.0
    ended = profiler_pb2.PredictRequest(job=f"jobs/{await _running_job(profiler, ended=True)}")
    assert (await profiler.stub.Predict(ended)).total.upper.ToTimedelta().total_seconds() == 0.0


async def test_of_an_application_without_a_profile_nothing_is_believed(profiler: RunningProfiler) -> None:
    request = profiler_pb2.PredictRequest(job=f"jobs/{await _running_job(profiler)}")
    assert await profiler.stub.Predict(request) == profiler_pb2.PredictResponse()


async def _running_job(profiler: RunningProfiler, *, done: bool = False, ended: bool = False) -> str:
    """A job of "app" whose first stage waits, or is done, or that has ended."""
    draft = StageSpec(stage_id="draft", name="draft", kind=StageKind.LLM, requirement="llm")
    check = StageSpec(stage_id="check", name="check", kind=StageKind.TOOL, parents=("draft",), position=1)
    waiting = TaskSnapshot(spec=TaskSpec(prompt_tokens=12))
    measured = Measurement(prompt_tokens=12, output_tokens=9, total_seconds=0.3)
    over = TaskSnapshot(spec=TaskSpec(prompt_tokens=12), state=TaskState.SUCCEEDED, measurement=measured)
    first = StageSnapshot(
        spec=draft,
        state=StageState.SUCCEEDED if done else StageState.READY,
        tasks=(over,) if done else (waiting,),
        ready_at=1.0,
    )
    record = await submit(profiler.state, make_record(application="app"), stages=(first, StageSnapshot(spec=check)))
    if ended:
        status = JobStatus(state=JobState.FAILED, ended_at=2.0)
        await profiler.state.commit(
            await lead(profiler.state), 1, commit_of(JobCommit(job_id=record.job_id, at=2.0, status=status))
        )
    return record.job_id


async def test_observations_that_came_while_no_profiler_ran_are_handled() -> None:
    state = MemoryState()
    await observe(state, *(finished_job() for _ in range(12)))
    async with RunningProfiler.start(state) as profiler:
        assert (await profiler.learned()).jobs == 12
