"""The client against a planner and a scheduler behind real gRPC."""

from __future__ import annotations

import asyncio
import socket
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

import llmsched
from llmsched import Client, JobState, Options, Policy
from tests.unit.llmsched.fake_servers import (
    UNAVAILABLE,
    FakePlanner,
    FakeScheduler,
    FakeServer,
    State,
    failure,
    stage,
    status,
)


def hello() -> llmsched.Application:
    app = llmsched.Application("hello", input={"topic": "string"})
    app.llm("idea", prompt="One idea about {{ input.topic }}:", max_tokens=40)
    app.llm("poem", prompt="A short poem about {{ idea.text }}:", max_tokens=60)
    app.output = {"poem": "{{ poem.text }}"}
    return app


async def test_the_first_program_of_the_readme(client: Client, planner: FakePlanner) -> None:
    await client.register(hello())
    job = await client.submit("hello", {"topic": "rivers", "count": 3})
    assert await job.result() == {"topic": "rivers", "count": 3}
    assert planner.requests("SubmitJob")[0].application == "applications/hello"


# Applications


async def test_register_gives_back_what_is_registered(client: Client, planner: FakePlanner) -> None:
    registered = await client.register(hello())
    assert (registered.application, registered.version, registered.etag) == ("hello", 1, "e1")
    assert registered.spec == hello().spec()
    assert await client.application("hello") == registered
    assert [each async for each in client.applications()] == [registered]
    uuid.UUID(planner.requests("RegisterApplication")[0].request_id, version=4)


async def test_register_takes_a_file_and_a_spec(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text("application: hello\nversion: 2\nstages:\n  - {llm: a, prompt: x, max_tokens: 4}\n")
    assert (await client.register(file)).name == "applications/hello/versions/2"
    assert (await client.register(str(file))).version == 2
    assert (await client.register(hello().spec())).version == 1


async def test_register_can_only_check(client: Client, planner: FakePlanner) -> None:
    await client.register(hello(), validate_only=True)
    assert planner.applications == {}


async def test_a_bad_application_is_refused_before_it_is_sent(client: Client, planner: FakePlanner) -> None:
    app = llmsched.Application("hello")
    app.llm("a", prompt="{{ nobody.text }}", max_tokens=0)
    with pytest.raises(llmsched.InvalidRequestError) as caught:
        await client.register(app)
    assert caught.value.violations
    assert planner.calls == []


async def test_an_application_this_client_cannot_read(client: Client, planner: FakePlanner) -> None:
    await client.register(hello())
    planner.applications["applications/hello/versions/1"].spec.stages[0].ClearField("llm")
    with pytest.raises(llmsched.ServerError, match="may be too old"):
        await client.application("hello")


async def test_delete_application(client: Client) -> None:
    await client.register(hello())
    assert await client.delete_application("hello") == (1,)
    with pytest.raises(llmsched.NotFoundError) as caught:
        await client.application("hello")
    assert caught.value.reason == "APPLICATION_NOT_FOUND"


# Jobs


async def test_submitting_an_application_names_its_version(client: Client, planner: FakePlanner) -> None:
    await client.submit(hello(), labels={"team": "a"})
    await client.submit(hello().spec())
    sent = planner.requests("SubmitJob")
    assert [request.application for request in sent] == ["applications/hello/versions/1"] * 2
    assert dict(sent[0].labels) == {"team": "a"}


async def test_the_same_request_id_gives_the_same_job(client: Client) -> None:
    known = str(uuid.uuid4())
    first = await client.submit("hello", request_id=known)
    assert (await client.submit("hello", request_id=known)).name == first.name
    assert (await client.submit("hello")).name != first.name


async def test_input_that_json_cannot_carry_is_refused_with_its_place(client: Client, planner: FakePlanner) -> None:
    with pytest.raises(llmsched.InvalidRequestError) as caught:
        await client.submit("hello", {"rows": [{"id": 2**60}]})
    assert [violation.path for violation in caught.value.violations] == ["input.rows[0].id"]
    labels: Any = {"a": 1}
    with pytest.raises(llmsched.InvalidRequestError, match=r"labels\.a"):
        await client.submit("hello", labels=labels)
    assert planner.calls == []


async def test_the_violations_of_the_server_arrive(client: Client, planner: FakePlanner) -> None:
    wrong = {"input.topic": "is missing", "input.count": "is no integer"}
    planner.refuse("SubmitJob", status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", violations=wrong))
    with pytest.raises(llmsched.InvalidRequestError) as caught:
        await client.submit("hello")
    assert {violation.path: violation.message for violation in caught.value.violations} == wrong


async def test_a_job_with_stages(client: Client, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING, stages=[stage("idea", 4), stage("poem", 1)])
    for name in ("j", "jobs/j"):
        job = await client.job(name)
        assert [each.stage_id for each in job.stages] == ["idea", "poem"]
    assert await client.handle("j").status() == job


async def test_jobs_come_page_by_page(client: Client, planner: FakePlanner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsched.client._PAGE_SIZE", 2)
    for number in range(5):
        planner.add_job(f"j{number}", State.STATE_RUNNING if number else State.STATE_FAILED)
    assert [job.id async for job in client.jobs()] == ["j0", "j1", "j2", "j3", "j4"]
    assert [(request.page_size, request.page_token) for request in planner.requests("ListJobs")] == [
        (2, ""), (2, "2"), (2, "4"),
    ]  # fmt: skip
    assert [job.id async for job in client.jobs(limit=3)] == ["j0", "j1", "j2"]
    assert [job.id async for job in client.jobs(limit=0)] == []
    assert [job.id async for job in client.jobs(states=[JobState.FAILED])] == ["j0"]
    assert [job.id async for job in client.jobs(application="hello@2", labels={"a": "b"})]
    assert planner.requests("ListJobs")[-1].application == "applications/hello/versions/2"
    assert dict(planner.requests("ListJobs")[-1].labels) == {"a": "b"}


async def test_pages_are_asked_for_only_when_needed(
    client: Client, planner: FakePlanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmsched.client._PAGE_SIZE", 1)
    planner.add_job("a", State.STATE_RUNNING)
    planner.add_job("b", State.STATE_RUNNING)
    listing = client.jobs()
    assert (await anext(listing)).id == "a"
    assert len(planner.requests("ListJobs")) == 1
    await listing.aclose()


async def test_cancel_and_rerun(client: Client, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    handle = client.handle("j")
    assert (await handle.cancel(reason="too dear")).state is JobState.CANCELLED
    assert planner.requests("CancelJob")[0].reason == "too dear"
    with pytest.raises(llmsched.JobCancelledError, match="too dear"):
        await handle.result()
    assert (await handle.rerun()).id == "again"
    assert (await client.job("again")).rerun_of == "jobs/j"


async def test_the_result_of_a_failed_job_is_its_failure(client: Client, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_FAILED, failure=failure("TOOL_RAISED", "ZeroDivisionError"))
    with pytest.raises(llmsched.JobFailedError, match="TOOL_RAISED: ZeroDivisionError") as caught:
        await client.handle("j").result()
    assert caught.value.failure is not None
    assert caught.value.job.id == "j"


async def test_the_result_of_a_running_job_is_a_conflict(client: Client, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    with pytest.raises(llmsched.ConflictError) as caught:
        await client.result("j")
    assert caught.value.reason == "JOB_NOT_ENDED"


async def test_result_waits_for_the_end(client: Client, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING, output=[1, 2.5])
    planner.tell("j", job_changed={"state": State.STATE_SUCCEEDED})
    assert await client.handle("j").result(timeout=10) == [1, 2.5]


async def test_result_gives_up_after_its_timeout(client: Client, planner: FakePlanner) -> None:
    planner.let_watches_end.clear()
    planner.add_job("j", State.STATE_RUNNING)
    with pytest.raises(llmsched.DeadlineExceededError, match=r"jobs/j has not ended within 0\.2 s"):
        await client.handle("j").result(timeout=0.2)


async def test_a_call_that_times_out_is_not_mistaken_for_a_job_that_takes_long(
    client: Client, planner: FakePlanner
) -> None:
    planner.add_job("j", State.STATE_SUCCEEDED)
    planner.refuse("GetJob", status(grpc.StatusCode.DEADLINE_EXCEEDED))
    with pytest.raises(llmsched.DeadlineExceededError, match="did not answer in time"):
        await client.handle("j").wait(timeout=30)


async def test_outputs_of_tasks(client: Client, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    task = planner.task_outputs["jobs/j"]
    task.append(llmsched_task_output("idea", "a boat"))
    (found,) = await client.handle("j").outputs()
    assert (found.stage_id, found.output) == ("idea", "a boat")


def llmsched_task_output(stage_id: str, text: str) -> Any:
    from llmsched.api.planner.v1 import planner_pb2

    output = planner_pb2.GetJobResultResponse.TaskOutput(stage_id=stage_id)
    output.result.llm.text = text
    return output


# Retries


async def test_a_repeat_carries_the_same_request_id(client: Client, planner: FakePlanner) -> None:
    planner.refuse("SubmitJob", UNAVAILABLE, UNAVAILABLE)
    await client.submit("hello")
    ids = [request.request_id for request in planner.requests("SubmitJob")]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert len(planner.jobs) == 1


async def test_a_full_queue_is_waited_for_as_long_as_it_says(client: Client, planner: FakePlanner) -> None:
    full = status(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.4)
    planner.refuse("SubmitJob", full)
    clock = asyncio.get_running_loop().time
    begin = clock()
    await client.submit("hello")
    assert clock() - begin >= 0.4
    assert len(planner.requests("SubmitJob")) == 2


async def test_a_queue_that_is_full_for_longer_than_the_deadline(client: Client, planner: FakePlanner) -> None:
    full = status(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=60)
    planner.refuse("SubmitJob", full)
    with pytest.raises(llmsched.OverloadedError) as caught:
        await client.submit("hello")
    assert caught.value.retry_after == timedelta(seconds=60)
    assert len(planner.requests("SubmitJob")) == 1


@pytest.mark.parametrize(
    "error",
    [
        status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
        status(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE"),
        status(grpc.StatusCode.INTERNAL),
        status(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"),
    ],
)
async def test_what_a_repeat_cannot_help_is_not_repeated(client: Client, planner: FakePlanner, error: Any) -> None:
    planner.refuse("SubmitJob", error)
    with pytest.raises(llmsched.LLMSchedError):
        await client.submit("hello")
    assert len(planner.calls) == 1


async def test_a_server_that_comes_back_is_reached(client: Client, server: FakeServer) -> None:
    server.stop()
    submitting = asyncio.create_task(client.submit("hello"))
    await asyncio.sleep(0.3)  # long enough for a first try against the closed port
    server.start()
    assert (await submitting).id == "j1"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_planner_that_is_not_there() -> None:
    options = Options(address=f"127.0.0.1:{_free_port()}", connect_timeout=0.3)
    async with Client(options=options) as client:
        with pytest.raises(llmsched.UnavailableError, match=f"planner at {options.address}: is `llmsched up` running"):
            await client.job("j")


async def test_a_call_ends_at_its_deadline(server: FakeServer, planner: FakePlanner) -> None:
    planner.let_watches_end.clear()
    planner.GetJob = lambda request, context: planner.let_watches_end.wait(30)  # type: ignore[method-assign]
    restarted = FakeServer(planner)
    async with Client(options=Options(address=restarted.address, timeout=0.3)) as client:
        with pytest.raises(llmsched.DeadlineExceededError, match="did not answer in time"):
            await client.job("j")
    planner.let_watches_end.set()
    restarted.stop()


# The scheduler


async def test_what_operators_ask(client: Client) -> None:
    cluster = await client.cluster()
    assert (cluster.executors[0].used_slots, cluster.epoch, cluster.policy.name) == (3, 7, "fcfs")
    assert [stage.rank async for stage in client.queue()] == [0, 1, 2]
    assert [stage.rank async for stage in client.queue(limit=2)] == [0, 1]
    explanation = await client.explain("jobs/j1")
    assert explanation.decisions[0].job_id == "j1"
    assert explanation.decisions[0].waited == timedelta(seconds=1.5)
    assert explanation.reasons == ("draft waits for a slot",)
    assert await client.policies() == ("fcfs", "llmsched", "ps-tcs")


async def test_set_policy(client: Client, scheduler: FakeScheduler) -> None:
    assert await client.set_policy("llmsched") == Policy(name="llmsched")
    wanted = Policy(name="ps-tcs", application_order=("b", "a"), ageing=timedelta(seconds=30))
    assert await client.set_policy(wanted) == wanted
    assert await client.policy() == wanted
    uuid.UUID(scheduler.requests("SetPolicy")[0].request_id, version=4)


async def test_the_leader_that_is_named_is_followed(server: FakeServer) -> None:
    follower = FakeServer(scheduler=FakeScheduler(leader=server.address))
    async with Client(options=Options(scheduler=(follower.address,))) as client:
        assert (await client.policy()).name == "fcfs"
    follower.stop()


async def test_without_a_name_the_next_address_is_tried(server: FakeServer) -> None:
    lost = FakeServer(scheduler=FakeScheduler(leader=""))
    gone = f"127.0.0.1:{_free_port()}"
    async with Client(options=Options(scheduler=(gone, lost.address, server.address))) as client:
        assert (await client.policy()).name == "fcfs"
        # From now on the one that answered is asked first.
        assert (await client.cluster()).epoch == 7
    lost.stop()


async def test_schedulers_without_a_leader_end_the_patience() -> None:
    scheduler = FakeScheduler(leader="")
    server = FakeServer(scheduler=scheduler)
    async with Client(options=Options(scheduler=(server.address,), connect_timeout=0.5)) as client:
        with pytest.raises(llmsched.ConflictError) as caught:
            await client.policy()
    assert caught.value.reason == "NOT_LEADER"
    assert len(scheduler.calls) > 1
    server.stop()


async def test_missing_certificates_are_named(tmp_path: Path) -> None:
    options = Options(tls=True, ca_file=tmp_path / "ca.pem")
    async with Client(options=options) as client:
        with pytest.raises(llmsched.OptionsError, match=r"ca\.pem: No such file"):
            await client.job("j")


async def test_an_address_wins_over_the_options_it_comes_with() -> None:
    assert Client("a:1", options=Options(timeout=3)).options == Options(address="a:1", timeout=3)
