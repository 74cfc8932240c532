"""Programs that add stages to their jobs while they go, on a live cluster."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner

import llmsched
from llmsched.cli.main import cli
from llmsched.types import JobState, StageState
from services.profiler.core.trace import read_history, read_workload
from services.scheduler.event_log import replay
from services.up.cluster import LocalCluster
from tests.support.live import all_shapes, kill, live_cluster, until, verify_history

# One cluster for all.
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

PROGRAMS = 12  #: of one kind, for the profiler


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("open-jobs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(directory: Path) -> AsyncIterator[LocalCluster]:
    settings = {"event_log": str(directory / "events.jsonl")}
    async with live_cluster(directory, settings=settings) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def client(cluster: LocalCluster) -> AsyncIterator[llmsched.Client]:
    # On a busy machine a leader of a short lease may be without the lead for a while.
    options = cluster.client().options.replace(connect_timeout=30.0)
    async with llmsched.Client(options=options) as client:
        yield client


async def running(client: llmsched.Client, job_id: str, stage_id: str) -> None:
    async def runs() -> bool:
        job = await client.job(job_id)
        return any(each.stage_id == stage_id and each.state is StageState.RUNNING for each in job.stages)

    await until(runs, limit=30, what=f"the start of {stage_id}")


async def test_a_program_gets_results_and_gives_its_own(client: llmsched.Client) -> None:
    async with client.open_job("first-agent", input={"topic": "rivers"}, labels={"team": "a"}) as job:
        text = await job.llm("plan", "[[tokens: 6]] Say something about rivers", max_tokens=6)
        digest = await job.tool("digest", "hash.digest", {"text": text})
        again = await job.llm("plan", messages=[{"role": "user", "content": "[[tokens: 4]] more"}], max_tokens=4)
        stage = await job.start_llm("last", f"[[tokens: 3]] {again}", after=["digest", "plan/2"], max_tokens=3)
        result = await stage.result()
        job.output = {"digest": digest, "tokens": result.usage.completion_tokens}
    assert text
    assert again
    assert result is await stage.result()
    assert await client.result(job.id) == {"digest": digest, "tokens": 3}
    ended = await verify_history(client, job.id)
    assert ended.state is JobState.SUCCEEDED
    assert (ended.application, ended.version, dict(ended.input)) == ("first-agent", 0, {"topic": "rivers"})
    shape = [(stage.stage_id, stage.parents, stage.generated_by) for stage in ended.stages]
    assert shape == [
        ("plan", (), ""),
        ("digest", (), "plan"),
        ("plan/2", (), "digest"),
        ("last", ("digest", "plan/2"), "plan/2"),
    ]
    assert [each.name async for each in client.jobs(application="first-agent")] == [job.name]
    assert "first-agent" not in [each.application async for each in client.applications()]


async def test_the_example_of_the_documentation_runs(client: llmsched.Client) -> None:
    page = (Path(__file__).parents[2] / "docs" / "open-jobs.md").read_text()
    source = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {"asyncio": asyncio, "llmsched": llmsched}
    exec(source, names)
    job_id = await names["agent"](client, "why is the sky blue?")
    assert (await client.result(job_id))["answer"]
    ids = [stage.stage_id for stage in (await client.job(job_id)).stages]
    assert len(ids) == 10
    assert ids[0] == "think"
    assert ids[-1] == "answer"


async def test_stages_run_side_by_side_and_may_wait_for_each_other(client: llmsched.Client) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with client.open_job("parallel-agent") as job:
        parts = await asyncio.gather(*(job.tool("part", "hash.digest", {"text": str(n)}) for n in range(20)))
        slow = await job.start_llm("slow", "[[tokens: 40]] go", max_tokens=40)
        after = await job.start_tool("after", "hash.digest", {"text": "x"}, after=[slow])
        answer = await (await job.start_llm("answer", "Give n", json_schema=schema, max_tokens=50)).result()
        await after.result()
        job.output = parts
    assert len(set(parts)) == 20
    assert isinstance(answer.json["n"], int)
    stages = {stage.stage_id: stage for stage in (await client.job(job.id)).stages}
    slow_end, after_start = stages["slow"].end_time, stages["after"].ready_time
    assert slow_end
    assert after_start
    assert slow_end <= after_start


async def test_a_stage_that_fails_does_not_end_the_program(client: llmsched.Client) -> None:
    async with client.open_job("patient-agent") as job:
        with pytest.raises(llmsched.StageFailedError, match="TOOL_RAISED") as caught:
            await job.tool("sum", "math.evaluate", {"expression": "1 +"}, max_attempts=1)
        assert caught.value.failure
        assert caught.value.reason == "TOOL_RAISED"
        job.output = await job.tool("sum", "hash.digest", {"text": "1 + 1"}, after=["sum"])
    ended = await client.job(job.id)
    assert [stage.state for stage in ended.stages] == [StageState.FAILED, StageState.SUCCEEDED]
    assert ended.state is JobState.SUCCEEDED


async def test_an_exception_fails_the_job_and_goes_on(client: llmsched.Client) -> None:
    with pytest.raises(ValueError, match="no idea"):  # noqa: PT012 - the block is what is tested
        async with client.open_job("failing-agent") as job:
            await job.tool("one", "hash.digest", {"text": "x"})
            raise ValueError("no idea")
    ended = await client.job(job.id)
    assert (ended.state, ended.failure and ended.failure.reason) == (JobState.FAILED, "OPEN_JOB_FAILED")
    assert ended.failure
    assert ended.failure.message == "ValueError: no idea"
    with pytest.raises(llmsched.ConflictError) as caught:
        await client.rerun(job.id)
    assert caught.value.reason == "NOTHING_TO_RERUN"


async def test_a_program_that_is_cancelled_cancels_its_job(client: llmsched.Client) -> None:
    opened: asyncio.Queue[str] = asyncio.Queue()

    async def program() -> None:
        async with client.open_job("hasty-agent") as job:
            opened.put_nowait(job.id)
            await job.llm("long", "[[tokens: 5000]] go", max_tokens=5000)

    task = asyncio.create_task(program())
    job_id = await opened.get()
    await running(client, job_id, "long")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await client.handle(job_id).wait(timeout=30)).state is JobState.CANCELLED


async def test_a_program_hears_that_its_job_was_cancelled(cluster: LocalCluster, client: llmsched.Client) -> None:
    with pytest.raises(llmsched.JobCancelledError, match="not wanted"):  # noqa: PT012 - the block is what is tested
        async with client.open_job("cancelled-agent") as job:
            long = await job.start_llm("long", "[[tokens: 5000]] go", max_tokens=5000)
            await running(client, job.id, "long")
            # As an operator would, from elsewhere.
            arguments = ["--address", client.options.address, "cancel", job.id, "--reason", "not wanted"]
            said = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
            assert said.exit_code == 0, said.output
            with pytest.raises(llmsched.JobCancelledError):
                await long.result()
            await job.tool("more", "hash.digest", {"text": "x"})
    assert (await client.job(job.id)).state is JobState.CANCELLED
    listed = await asyncio.to_thread(
        CliRunner().invoke, cli, ["--address", client.options.address, "jobs", "--app", "cancelled-agent"]
    )
    assert job.id in listed.output
    assert "cancelled-agent " in listed.output
    shown = await asyncio.to_thread(CliRunner().invoke, cli, ["--address", client.options.address, "get", job.id])
    assert "long" in shown.output
    assert "not wanted" in shown.output


async def test_bad_input_is_refused_with_every_violation_and_leaves_nothing(client: llmsched.Client) -> None:
    with pytest.raises(llmsched.InvalidRequestError) as caught:
        async with client.open_job("bad", idle_timeout=0.5, labels={"": "x"}):
            pass
    assert {each.path for each in caught.value.violations} == {"idle_timeout", "labels"}
    async with client.open_job("careful-agent") as job:
        with pytest.raises(llmsched.InvalidRequestError) as caught:
            await job.llm("no good name", "", after=["nobody"], max_tokens=-1, top_p=3.0, json_schema={"type": "x"})
        assert {each.path for each in caught.value.violations} == {
            "stage_id",
            "stage_name",
            "after[0]",
            "payload.llm",
            "payload.llm.sampling.max_tokens",
            "payload.llm.sampling.top_p",
            "payload.llm.json_schema.type",
        }
        with pytest.raises(llmsched.InvalidRequestError) as caught:
            await job.tool("fine", "hash.digest", {"text": "x"}, after=["nobody", "no-one"])
        assert [each.path for each in caught.value.violations] == ["after[0]", "after[1]"]
        with pytest.raises(llmsched.InvalidRequestError) as caught:
            await job.tool("large", "hash.digest", {"text": "x" * (2 << 20)})
        assert caught.value.reason == "PAYLOAD_TOO_LARGE"
        assert (await client.job(job.id)).stages == ()
        await job.tool("same", "hash.digest", {"text": "x"}, stage_id="it")
        assert await job.tool("same", "hash.digest", {"text": "x"}, stage_id="it")  # a repeat
        for name, text in (("same", "y"), ("other", "x")):
            with pytest.raises(llmsched.ConflictError) as refused:
                await job.tool(name, "hash.digest", {"text": text}, stage_id="it")
            assert refused.value.reason == "STAGE_ID_REUSED"
    with pytest.raises(llmsched.ConflictError, match="has ended") as refused:
        await job.tool("late", "hash.digest", {"text": "x"})
    assert refused.value.reason == "JOB_ENDED"
    assert len((await client.job(job.id)).stages) == 1


async def test_a_registered_application_is_no_program(client: llmsched.Client) -> None:
    await client.register(all_shapes("declared-app"))
    with pytest.raises(llmsched.ConflictError) as caught:
        async with client.open_job("declared-app"):
            pass
    assert caught.value.reason == "APPLICATION_IS_REGISTERED"


async def test_an_output_that_cannot_be_sent_fails_the_job(client: llmsched.Client) -> None:
    with pytest.raises(llmsched.InvalidRequestError):
        async with client.open_job("odd-agent") as job:
            job.output = {"number": float("nan")}
    assert (await client.job(job.id)).state is JobState.FAILED


async def test_with_the_same_request_id_a_program_takes_its_job_up_again(client: llmsched.Client) -> None:
    request_id = str(uuid.uuid4())

    async def program(*, ends: bool) -> str:
        job = client.open_job("restarted-agent", request_id=request_id)
        await job.__aenter__()
        text = await job.llm("first", "[[tokens: 5]] go", max_tokens=5)
        if not ends:
            assert job._alive is not None
            job._alive.cancel()  # as if its process were gone
            return text
        job.output = text
        await job.__aexit__(None, None, None)
        return job.id

    text = await program(ends=False)
    job_id = await program(ends=True)
    assert await client.result(job_id) == text
    (stage,) = (await client.job(job_id)).stages
    assert stage.tasks[0].attempt == 1, "it ran twice"


async def test_a_program_that_dies_frees_everything(cluster: LocalCluster, client: llmsched.Client) -> None:
    program = f"""
        import asyncio, llmsched

        async def main():
            async with llmsched.Client({client.options.address!r}) as client:
                async with client.open_job("mortal-agent", idle_timeout=3.0) as job:
                    await job.tool("one", "hash.digest", {{"text": "x"}})
                    print(job.id, flush=True)
                    await asyncio.Event().wait()

        asyncio.run(main())
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(program), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    job_id = (await process.stdout.readline()).decode().strip()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    ended = await client.handle(job_id).wait(timeout=30)
    assert (ended.state, ended.failure and ended.failure.reason) == (JobState.FAILED, "ABANDONED")


async def test_blocking_programs(client: llmsched.Client) -> None:
    await asyncio.to_thread(blocking_programs, client.options.address)


def blocking_programs(address: str) -> None:
    with llmsched.SyncClient(address) as blocking:
        with blocking.open_job("blocking-agent") as job:
            stage = job.start_tool("one", "hash.digest", {"text": "x"})
            answer = job.llm("two", "[[tokens: 2]] go", after=[stage], max_tokens=2)
            job.output = [stage.result().value, answer]
        assert blocking.result(job.id) == job.output
        with pytest.raises(KeyError), blocking.open_job("blocking-agent") as job:
            raise KeyError("x")
        assert blocking.job(job.id).state is JobState.FAILED


@pytest.mark.parametrize("victims", [["planner", "scheduler"], ["redis"]], ids=["planner and leader", "Redis"])
async def test_a_program_outlives_kill_9(cluster: LocalCluster, client: llmsched.Client, victims: list[str]) -> None:
    async with client.open_job("tough-agent") as job:
        before = await job.tool("digest", "hash.digest", {"text": "x"})
        stage = await job.start_llm("long", "[[tokens: 300]] go", max_tokens=300)
        await running(client, job.id, "long")
        kill(cluster, *victims)
        after = await job.tool("digest", "hash.digest", {"text": "x"})
        assert (await stage.result()).usage.completion_tokens == 300
        assert after == before
        job.output = "done"
    ended = await verify_history(client, job.id)
    assert ended.state is JobState.SUCCEEDED
    assert [stage.tasks[0].attempt for stage in ended.stages] == [1, 1, 1]
    assert await client.result(job.id) == "done"


async def looping_program(client: llmsched.Client, rounds: int) -> str:
    async with client.open_job("looping-agent") as job:
        for _ in range(rounds):
            thought = await job.llm("think", f"[[tokens: {4 + rounds}]] go", max_tokens=20)
            await job.tool("act", "hash.digest", {"text": thought})
        job.output = await job.llm("answer", "[[tokens: 10]] go", max_tokens=10)
    return job.id


async def test_the_profiler_learns_what_programs_are_like(client: llmsched.Client) -> None:
    await asyncio.gather(*(looping_program(client, 1 + number % 3) for number in range(PROGRAMS)))

    async def learned() -> bool:
        lines = b"".join([part async for part in client.export_history("looping-agent")])
        return lines.count(b"\n") == PROGRAMS

    await until(learned, limit=30, what="the history of all programs")
    profile = await client.train("looping-agent")
    assert profile.job_count == PROGRAMS
    assert profile.variable_count > 0
    async with client.open_job("looping-agent") as job:
        await job.llm("think", "[[tokens: 7]] go", max_tokens=20)
        left = await client.predict(job.id)
        # It has nothing to run now, and yet more is to come.
        assert left is not None
        assert left.llm_work.expected.total_seconds() > 0
    left = await client.predict(job.id)
    assert left is None or left.total.expected.total_seconds() == 0


async def test_the_log_replays_and_can_be_exported(
    cluster: LocalCluster, client: llmsched.Client, directory: Path
) -> None:
    job_id = await looping_program(client, 2)
    log = directory / "events.jsonl"
    assert await asyncio.to_thread(replay, log) is None
    out = directory / "export"
    arguments = ["jobs", "export", str(log), "--out", str(out), "-o", "json"]
    said = await asyncio.to_thread(CliRunner().invoke, cli, arguments, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["jobs"] > 0
    with (out / "workload.jsonl").open() as lines:
        (exported,) = [job for job in read_workload(lines, "workload") if job.job_id == job_id]
    learned = b"".join([part async for part in client.export_history("looping-agent")]).splitlines()

    async def there() -> bool:
        nonlocal learned
        learned = b"".join([part async for part in client.export_history("looping-agent")]).splitlines()
        return any(job_id.encode() in line for line in learned)

    await until(there, limit=30, what="the job in its history")
    (seen,) = [job for job in read_history(learned, "history") if job.job_id == job_id]
    # What the log tells of a program is what the profiler was told.
    assert (exported.structure, exported.stages) == (seen.structure, seen.stages)
    assert [(stage.id, stage.generated_by) for stage in exported.stages] == [
        ("think", None),
        ("act", "think"),
        ("think/2", "act"),
        ("act/2", "think/2"),
        ("answer", "act/2"),
    ]
