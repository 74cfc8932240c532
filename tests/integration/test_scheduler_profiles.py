"""A scheduler goes by the newest profiles of a profiler that comes and goes, and never waits for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from services.common.clock import SystemClock
from services.common.lifecycle import cancel_and_wait
from services.profiler.core.profile import Profile
from services.scheduler.core.events import JobAdmitted, ProfileChanged
from services.scheduler.event_log import read_log, replay
from services.scheduler.profiles_client import ProfilesClient
from services.state.memory import MemoryState
from services.state.records import Leader
from tests.support.cluster import Cluster, RunningScheduler
from tests.support.profiler import RunningProfiler, finished_job
from tests.support.scheduling import tool
from tests.support.state import eventually, make_profile
from tests.unit.services.profiler.traces import line, stage


def known_to(scheduler: RunningScheduler) -> dict[str, Profile]:
    """What the machine of a leading scheduler goes by."""
    term = scheduler.app._term
    return {} if term is None else dict(term.machine.knowledge.beliefs.profiles)


def version_in(scheduler: RunningScheduler) -> int:
    profile = known_to(scheduler).get("app")
    return 0 if profile is None else profile.version


async def until(condition: Callable[[], bool]) -> None:
    async def it_holds() -> bool:
        return condition()

    await eventually(it_holds)


async def run_a_job(cluster: Cluster, job_id: str) -> None:
    executor = await cluster.attach(f"executor of {job_id}")
    await cluster.submit(job_id, tool("work"))
    await executor.succeed((await executor.assigned()).attempt)
    await cluster.ended(job_id)
    await executor.aclose()


async def test_new_profiles_reach_the_machine_and_its_log(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with (
        RunningProfiler.start() as profiler,
        Cluster.start(profiler.state, profilers=(profiler.address,), event_log=str(log)) as cluster,
    ):
        jobs = [(line(stage("a", tasks=[{"output_tokens": n}]), app="app", arrival_seconds=...)) for n in range(5)]
        for version in (1, 2):
            await profiler.import_lines(*jobs)
            await profiler.train()
            await until(lambda version=version: version_in(cluster.leader) == version)  # type: ignore[misc]
        believed = known_to(cluster.leader)["app"]
        await run_a_job(cluster, "run-1")
    logged = [event for term in read_log(log) for record in term.records for event in record.events]
    profiles = [event.profile for event in logged if isinstance(event, ProfileChanged)]
    assert [profile.version for profile in profiles] == [1, 2]
    assert profiles[-1] == believed
    assert replay(log) is None


async def test_it_goes_on_with_what_it_knows_while_no_profiler_answers() -> None:
    state = MemoryState()
    async with RunningProfiler.start(state) as profiler:
        await profiler.observe(finished_job())
        await profiler.train()
        port = profiler.profiler._server.port
        cluster_of = Cluster.start(state, profilers=(profiler.address,))
        cluster = await cluster_of.__aenter__()
        try:
            await until(lambda: "app" in known_to(cluster.leader))
            await profiler.profiler.stop(0)
            await run_a_job(cluster, "run-1")
            assert known_to(cluster.leader)["app"].version == 1
            async with RunningProfiler.start(state, listen=f"127.0.0.1:{port}") as again:
                await again.train()
                await until(lambda: known_to(cluster.leader)["app"].version == 2)
        finally:
            await cluster_of.__aexit__(None, None, None)


async def test_without_any_profiler_jobs_run() -> None:
    async with Cluster.start(profilers=("127.0.0.1:1",)) as cluster:
        await run_a_job(cluster, "run-1")
        assert known_to(cluster.leader) == {}


async def test_a_new_leader_begins_with_the_profiles_that_it_has_heard_of(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with RunningProfiler.start() as profiler:
        await profiler.observe(finished_job())
        await profiler.train()
        async with Cluster.start(profiler.state, profilers=(profiler.address,), event_log=str(log)) as cluster:
            standby = await cluster.add_scheduler()
            await until(lambda: "app" in standby.app._profiles._newest)
            await cluster.submit("run-1", tool("work"))
            first = cluster.leader
            await first.stop()
            await standby.app.leads.wait()
            assert known_to(standby)["app"].version == 1
            executor = await cluster.attach(scheduler=standby)
            await executor.succeed((await executor.assigned()).attempt)
            await cluster.ended("run-1")
            cluster.schedulers.remove(first)
    kinds = [type(event) for term in list(read_log(log))[1:] for record in term.records for event in record.events]
    assert kinds.index(ProfileChanged) < kinds.index(JobAdmitted)
    assert replay(log) is None


async def test_what_it_cannot_read_is_left_aside() -> None:
    state = MemoryState()
    async with RunningProfiler.start(state) as profiler:
        await profiler.observe(finished_job())
        await profiler.train()
        leader = await state.profiles.leader()
        assert isinstance(leader, Leader)
        await state.profiles.publish(leader, make_profile(1, "other"))
        async with Cluster.start(state, profilers=(profiler.address,)) as cluster:
            await until(lambda: "app" in known_to(cluster.leader))
            assert set(known_to(cluster.leader)) == {"app"}


async def test_a_profiler_that_falls_silent_is_left_for_another() -> None:
    async with RunningProfiler.start(progress_seconds=3600.0) as silent, RunningProfiler.start() as other:
        await other.observe(finished_job())
        await other.train()
        client = ProfilesClient([silent.address, other.address], clock=SystemClock(), silence=0.2)
        following = asyncio.create_task(client.run())
        try:
            await until(lambda: "app" in client._newest)
        finally:
            await cancel_and_wait(following)


async def test_an_explanation_has_the_numbers_of_the_belief_that_decided() -> None:
    async with (
        RunningProfiler.start() as profiler,
        Cluster.start(profiler.state, profilers=(profiler.address,), policy="gittins") as cluster,
    ):
        recorded = [stage("check", kind="tool", tasks=[{"seconds": seconds}]) for seconds in range(1, 10)]
        await profiler.import_lines(*(line(one, app="app", arrival_seconds=...) for one in recorded))
        await profiler.train()
        await until(lambda: "app" in known_to(cluster.leader))
        executor = await cluster.attach()
        await cluster.submit("runs", tool("work"), application="other")
        assign = await executor.assigned()
        await cluster.submit("waits", tool("check"), application="app")
        await cluster.until("waits", lambda job: bool(job.stages["check"].tasks))
        stub = cluster.leader.stub
        found = await stub.ExplainJob(scheduler_pb2.ExplainJobRequest(job_id="waits"))
        believed = {figure.name: figure.value for figure in found.figures}
        assert (believed["profile_jobs"], believed["profile_version"]) == (9, 1)
        assert believed["expected_total"] > 0
        (waiting,) = found.stages
        key = {figure.name: figure.value for figure in waiting.figures}
        assert key["index"] > 0
        assert found.queued[0].reason.startswith("index: least service for the chance of an end: ")
        assert waiting.changes[0].text == "goes next: as soon as a slot for tool:any is free"
        assert "ageing puts it before all younger ones in " in waiting.changes[-1].text
        await executor.succeed(assign.attempt)
        await executor.assigned()
        after = await stub.ExplainJob(scheduler_pb2.ExplainJobRequest(job_id="waits"))
        (decision,) = after.decisions
        # The very number that it waited with.
        assert (decision.figures[0].name, decision.figures[0].value) == ("index", key["index"])


async def test_policies_that_need_a_history_can_be_set_as_soon_as_there_is_a_profile(tmp_path: Path) -> None:
    """And a scheduler that starts anew goes on with one."""
    log = tmp_path / "events.jsonl"
    state = MemoryState()
    async with RunningProfiler.start(state) as profiler:
        async with Cluster.start(state, profilers=(profiler.address,), event_log=str(log)) as cluster:
            assert not {"srtf", "hermes"} & await settable_in(cluster)
            with pytest.raises(grpc.aio.AioRpcError, match="wait until the profiler has learned"):
                await set_policy(cluster, "srtf")
            await profiler.import_lines(line(stage("a"), app="app", arrival_seconds=...))
            await profiler.train()
            await until(lambda: version_in(cluster.leader) == 1)
            assert {"carbyne", "hermes", "sjf", "srtf"} <= await settable_in(cluster)
            await set_policy(cluster, "srtf")
            await run_a_job(cluster, "run-1")
        async with Cluster.start(state, profilers=(profiler.address,)) as cluster:
            assert cluster.leader.app._term is not None
            assert cluster.leader.app._term.machine.settings.name == "srtf"
    assert replay(log) is None
    async with Cluster.start(state) as cluster:  # of no profiler it was told
        assert cluster.leader.app._term is not None
        assert cluster.leader.app._term.machine.settings.name != "srtf"


async def settable_in(cluster: Cluster) -> set[str]:
    async with grpc.aio.insecure_channel(cluster.leader.address) as channel:
        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        return set((await stub.GetPolicy(scheduler_pb2.GetPolicyRequest())).available)


async def set_policy(cluster: Cluster, name: str) -> None:
    async with grpc.aio.insecure_channel(cluster.leader.address) as channel:
        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        await stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy=scheduler_pb2.Policy(name=name)))
