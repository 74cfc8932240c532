"""The client against real services: a planner and a scheduler on a state in memory, and an executor that obeys."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

import llmsched
from llmsched import Client, Job, JobHandle, JobState, Options, Policy, Snapshot, StageState
from llmsched.api.executor.v1 import executor_pb2
from services.common.telemetry import Telemetry
from services.planner.app import Planner
from services.planner.settings import PlannerSettings
from services.scheduler.settings import SchedulerSettings
from services.state.memory import MemoryState
from tests.support.cluster import RunningScheduler, ScriptedExecutor
from tests.unit.llmsched.fake_servers import FakePlanner, FakeServer


@dataclass(slots=True)
class Cluster:
    """The addresses of real services, and what runs their tasks."""

    options: Options
    executor: ScriptedExecutor


@asynccontextmanager
async def real_services() -> AsyncIterator[Cluster]:
    """All that a client can talk to, in this process."""
    state = MemoryState()
    planner = Planner(PlannerSettings(listen="127.0.0.1:0"), state, telemetry=Telemetry("planner"))
    await planner.start()
    address = f"127.0.0.1:{planner.port}"
    scheduler = RunningScheduler(SchedulerSettings(listen="127.0.0.1:0", planners=(address,)), state)
    await scheduler.start()
    await scheduler.app.leads.wait()
    register = executor_pb2.Register(
        executor_id="tool-0",
        incarnation=uuid.uuid4().hex,
        slots=2,
        kind=executor_pb2.Register.KIND_TOOL,
        tools=["test.any"],
    )
    executor = ScriptedExecutor(scheduler.address, register)
    await executor.attach()
    executor.automatic = True
    try:
        yield Cluster(Options(address=address, scheduler=(scheduler.address,)), executor)
    finally:
        await executor.aclose()
        await scheduler.stop()
        await planner.stop()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with real_services() as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    async with Client(options=cluster.options) as client:
        await client.register(two_steps())
        yield client


def two_steps(version: int = 1, description: str = "") -> llmsched.Application:
    app = llmsched.Application("two-steps", version=version, description=description, input={"n": "integer"})
    app.tool("first", call="test.any", args={"n": "{{ input.n }}"})
    app.tool("second", call="test.any", args={"before": "{{ first }}"})
    app.output = {"n": "{{ input.n }}", "last": "{{ second }}"}
    return app


async def test_a_job_from_registration_to_result(client: Client) -> None:
    job = await client.submit("two-steps", {"n": 3}, labels={"team": "a"})
    assert await job.result(timeout=30) == {"n": 3, "last": "ok"}
    done = await job.status()
    assert (done.state, done.application, done.version, done.input) == (JobState.SUCCEEDED, "two-steps", 1, {"n": 3})
    assert done.completion_time is not None
    assert done.completion_time > timedelta()
    outputs = {output.stage_id: output.output for output in await job.outputs()}
    assert outputs == {"first": "ok", "second": "ok"}


async def test_folded_events_give_the_job_as_it_is(client: Client) -> None:
    handle = await client.submit("two-steps", {"n": 1})
    job = None
    sequences = []
    async for event in handle.events():
        sequences.append(event.sequence)
        if isinstance(event, Snapshot):
            job = event.job
        else:
            assert job is not None
            job = llmsched.apply(job, event)
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    final = await handle.status()
    assert job is not None
    assert job.state is final.state is JobState.SUCCEEDED
    assert _states(final) == {
        "first": (StageState.SUCCEEDED, ["SUCCEEDED"]),
        "second": (StageState.SUCCEEDED, ["SUCCEEDED"]),
    }
    assert _states(final).items() <= _states(job).items()
    assert [event.sequence async for event in handle.events(after_sequence=sequences[2])] == sequences[3:]
    assert [event.sequence async for event in handle.events(after_sequence=sequences[-1])] == []


def _states(job: Job) -> dict[str, tuple[StageState, list[str]]]:
    return {stage.stage_id: (stage.state, [task.state for task in stage.tasks]) for stage in job.stages}


async def test_a_registered_version_never_changes(client: Client) -> None:
    again = await client.register(two_steps())
    assert again == await client.application("two-steps")
    assert again.spec == two_steps().spec()
    with pytest.raises(llmsched.ConflictError) as caught:
        await client.register(two_steps(description="changed"))
    assert caught.value.reason == "VERSION_EXISTS"
    await client.register(two_steps(version=2))
    assert [application.version async for application in client.applications()] == [2]
    assert await client.delete_application("two-steps@2") == (2,)
    assert (await client.application("two-steps")).version == 1


async def test_bad_input_is_refused_with_its_places(client: Client) -> None:
    with pytest.raises(llmsched.InvalidRequestError) as caught:
        await client.submit("two-steps", {"n": "three", "m": 1})
    assert caught.value.reason == "INVALID_INPUT"
    assert {violation.path for violation in caught.value.violations} >= {"input.n"}


async def test_a_request_id_stands_for_one_job(client: Client) -> None:
    known = str(uuid.uuid4())
    first = await client.submit("two-steps", {"n": 1}, request_id=known)
    assert (await client.submit("two-steps", {"n": 1}, request_id=known)).name == first.name
    with pytest.raises(llmsched.ConflictError) as caught:
        await client.submit("two-steps", {"n": 2}, request_id=known)
    assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_listing_by_state_label_and_application(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsched.client._PAGE_SIZE", 2)
    names = []
    for number in range(5):
        handle = await client.submit("two-steps", {"n": number}, labels={"even": str(number % 2 == 0)})
        await handle.wait(timeout=30)
        names.append(handle.name)
    assert [job.name async for job in client.jobs()] == names[::-1]
    assert [job.name async for job in client.jobs(labels={"even": "True"})] == [names[4], names[2], names[0]]
    assert [job.name async for job in client.jobs(states=[JobState.SUCCEEDED], limit=3)] == names[:1:-1]
    assert [job.name async for job in client.jobs(states=[JobState.FAILED])] == []
    assert len([job async for job in client.jobs(application="two-steps@1")]) == 5


async def test_cancel_explain_and_rerun(client: Client, cluster: Cluster) -> None:
    cluster.executor.automatic = False
    handle = await client.submit("two-steps", {"n": 1})
    first = await cluster.executor.assigned()
    await cluster.executor.succeed(first.attempt, "kept")
    await cluster.executor.assigned()
    explanation = await client.explain(handle.name)
    assert [decision.stage_id for decision in explanation.decisions] == ["first", "second"]
    with pytest.raises(llmsched.ConflictError) as caught:
        await client.result(handle.name)
    assert caught.value.reason == "JOB_NOT_ENDED"
    assert (await handle.cancel(reason="enough")).state in (JobState.CANCELLING, JobState.CANCELLED)
    aborted = await cluster.executor.cancelled()
    await cluster.executor.send(
        finished=executor_pb2.Finished(attempt=aborted, failure={"reason": "CANCELLED", "message": "aborted"})
    )
    with pytest.raises(llmsched.JobCancelledError, match="enough"):
        await handle.result(timeout=30)
    cluster.executor.automatic = True
    again = await handle.rerun()
    assert await again.result(timeout=30) == {"n": 1, "last": "ok"}
    assert (await again.status()).rerun_of == handle.name
    outputs = {output.stage_id: output.output for output in await again.outputs()}
    assert outputs["first"] == "kept"


async def _until_ready(handle: JobHandle) -> None:
    """Returns when the job's first stage waits for a slot."""
    job = await handle.status()
    async for event in handle.events():
        job = llmsched.apply(job, event)
        if job.stages[0].state is StageState.READY:
            return


async def test_operators(client: Client, cluster: Cluster) -> None:
    found = await client.cluster()
    assert [(each.executor_id, each.kind, each.slots) for each in found.executors] == [("tool-0", "tool", 2)]
    assert found.policy == await client.policy()
    cluster.executor.automatic = False
    for number in range(2):
        await client.submit("two-steps", {"n": number})
        await cluster.executor.assigned()
    waiting = await client.submit("two-steps", {"n": 2})
    await _until_ready(waiting)
    queued = [stage async for stage in client.queue()]
    assert [(stage.rank, stage.stage_id, stage.requirement) for stage in queued] == [(0, "first", "tool:test.any")]
    assert queued[0].application.endswith("two-steps")
    wanted = Policy(name=(await client.policies())[-1], ageing=timedelta(seconds=42))
    assert await client.set_policy(wanted) == await client.policy()
    assert (await client.policy()).ageing == timedelta(seconds=42)
    with pytest.raises(llmsched.InvalidRequestError) as caught:
        await client.set_policy("no-such-policy")
    assert caught.value.reason == "UNKNOWN_POLICY"


@pytest.mark.parametrize("call", ["job", "result", "cancel", "rerun", "outputs", "explain"])
async def test_unknown_jobs(client: Client, call: str) -> None:
    with pytest.raises(llmsched.NotFoundError) as caught:
        await getattr(client, call)("0123456789")
    assert caught.value.reason == "JOB_NOT_FOUND"


def _certificates(directory: Path) -> None:
    """An authority, and certificates of a server and of a client that it signed."""

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(*new, "-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2")
    for name in ("server", "client"):
        (directory / "names").write_text("subjectAltName=DNS:localhost")
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        authority = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl(
            "x509", "-req", "-in", f"{name}.csr", *authority, "-out", f"{name}.pem", "-days", "2", "-extfile", "names"
        )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
async def test_encrypted_connections_with_certificates_of_both_sides(tmp_path: Path) -> None:
    _certificates(tmp_path)
    authority, key, certificate = ((tmp_path / name).read_bytes() for name in ("ca.pem", "server.key", "server.pem"))
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
    planner = FakePlanner()
    planner.add_job("j", 5)
    server = FakeServer(planner, credentials=credentials)
    known = Options(
        address=server.address.replace("127.0.0.1", "localhost"),
        tls=True,
        ca_file=tmp_path / "ca.pem",
        cert_file=tmp_path / "client.pem",
        key_file=tmp_path / "client.key",
        connect_timeout=0.5,
    )
    async with Client(options=known) as client:
        assert (await client.job("j")).id == "j"
    for stranger in (known.replace(cert_file=None, key_file=None), Options(address=known.address, connect_timeout=0.5)):
        async with Client(options=stranger) as client:
            with pytest.raises(llmsched.UnavailableError):
                await client.job("j")
    server.stop()
