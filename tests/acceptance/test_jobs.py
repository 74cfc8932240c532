"""What jobs do besides succeeding: fail, are repeated, cancelled, watched, submitted by the hundred."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest

import llmsched
from llmsched import Application, OutputDelta, Snapshot
from llmsched.application import ToolStage
from llmsched.types import JobState, StageState, TaskState
from tests.acceptance.cluster import Cli, until

pytestmark = [pytest.mark.slow, pytest.mark.full]


def failing(name: str, **options: object) -> Application:
    """Its tool cannot do what it is asked."""
    app = Application(name)
    app.llm("first", prompt="one", max_tokens=3)
    app.tool("sum", call="math.evaluate", args={"expression": "1 +"}, after=["first"], **options)
    app.output = {"sum": "{{ sum }}"}
    return app


def endless(name: str) -> Application:
    """One answer that takes as long as anybody looks."""
    app = Application(name)
    app.llm("long", prompt="[[tokens: 4000]] go on", max_tokens=4000, ignore_eos=True)
    app.output = {"text": "{{ long.text }}"}
    return app


def unserved(name: str) -> Application:
    """It waits for a model that nobody has."""
    app = Application(name)
    app.llm("wait", prompt="x", model="acceptance/no-such-model", max_tokens=3)
    return app


async def test_what_takes_too_long_is_tried_again(client: llmsched.Client, own_name: str) -> None:
    app = Application(own_name)
    retry = {"max_attempts": 2, "backoff": "50ms"}
    app.llm("long", prompt="[[tokens: 4000]] go on", max_tokens=4000, ignore_eos=True, timeout="300ms", retry=retry)
    await client.register(app)
    job = await (await client.submit(own_name)).wait(timeout=60)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.reason == "TIMEOUT"
    assert job.stages[0].tasks[0].attempt == 2


async def test_a_tool_that_raises_fails_the_job(client: llmsched.Client, cli: Cli, own_name: str) -> None:
    await client.register(failing(own_name, retry={"max_attempts": 3, "backoff": "100ms"}))
    handle = await client.submit(own_name)
    with pytest.raises(llmsched.JobFailedError, match=r"math\.evaluate") as failed:
        await handle.result(timeout=60)
    stage = next(each for each in failed.value.job.stages if each.stage_id == "sum")
    # The same call would raise again.
    assert stage.state is StageState.FAILED
    assert stage.failure is not None
    assert stage.tasks[0].attempt == 1
    assert stage.failure.reason in await cli("get", handle.id)
    assert stage.failure.reason in await cli.refused(1, "result", handle.id)
    code, _, _ = await cli.run("submit", own_name, "--wait")
    assert code == 1

    rerun = await handle.rerun()
    job = await rerun.wait(timeout=60)
    assert (job.state, job.rerun_of) == (JobState.FAILED, handle.name)
    first = next(each for each in job.stages if each.stage_id == "first")
    assert first.state is StageState.SUCCEEDED


async def test_a_fallback_stands_in_for_what_failed(client: llmsched.Client, own_name: str) -> None:
    fallback = ToolStage(name="zero", call="hash.digest", args={"text": "{{ error.reason }}"})
    await client.register(failing(own_name, retry={"max_attempts": 1}, on_error=fallback))
    assert (await (await client.submit(own_name)).result(timeout=60))["sum"]


async def test_what_is_cancelled_stops(client: llmsched.Client, cli: Cli, own_name: str) -> None:
    await client.register(endless(own_name))
    handle = await client.submit(own_name)

    async def runs() -> bool:
        tasks = [task for stage in (await handle.status()).stages for task in stage.tasks]
        return [task.state for task in tasks] == [TaskState.RUNNING]

    await until(runs, what="the start of the answer")
    await cli.refused(7, "result", handle.id)
    assert handle.id in await cli("cancel", handle.id, "--reason", "seen enough")
    job = await handle.wait(timeout=60)
    assert job.state is JobState.CANCELLED
    assert job.failure is not None
    assert "seen enough" in job.failure.message
    assert [task.state for stage in job.stages for task in stage.tasks] == [TaskState.CANCELLED]
    assert job.usage.completion_tokens < 4000
    with pytest.raises(llmsched.JobCancelledError):
        await handle.result()
    assert (await handle.cancel()).state is JobState.CANCELLED  # changes nothing


async def test_what_nobody_offers_waits_and_says_why(client: llmsched.Client, cli: Cli, own_name: str) -> None:
    await client.register(unserved(own_name))
    handle = await client.submit(own_name)

    async def queued() -> bool:
        return handle.id in [stage.job_id async for stage in client.queue()]

    await until(queued, what="the job in the queue")
    (row,) = [each for each in await cli.json("queue", "--limit", "1000") if each["job_id"] == handle.id]
    assert row["application"].startswith(own_name)
    assert row["reason"]
    assert "acceptance/no-such-model" in await cli("explain", handle.id)
    await handle.cancel()
    assert (await handle.wait(timeout=30)).state is JobState.CANCELLED
    assert not await queued()
    await cli.refused(3, "explain", handle.id)


async def test_text_is_shown_while_it_is_written(client: llmsched.Client, own_name: str) -> None:
    app = Application(own_name)
    app.llm("long", prompt="[[tokens: 100]] go on", max_tokens=100, ignore_eos=True)
    app.output = {"text": "{{ long.text }}"}
    await client.register(app)
    handle = await client.submit(own_name)
    pieces: list[OutputDelta] = []
    sequences: list[int] = []
    async with asyncio.timeout(60), aclosing(handle.events(deltas=True)) as events:
        async for event in events:
            if isinstance(event, OutputDelta):
                pieces.append(event)
            else:
                sequences.append(event.sequence)
                assert isinstance(event, Snapshot) is (len(sequences) == 1)
    assert sequences == sorted(set(sequences))
    assert len(pieces) >= 2
    whole = (await handle.result())["text"]
    for piece in pieces:
        assert whole[piece.offset : piece.offset + len(piece.text)] == piece.text


async def test_many_jobs_of_a_file(client: llmsched.Client, cli: Cli, own_name: str) -> None:
    app = Application(own_name, input={"n": "integer"})
    app.tool("digest", call="hash.digest", args={"text": "{{ input.n | string }}"})
    app.output = {"n": "{{ input.n }}"}
    await client.register(app)
    lines = "".join(
        json.dumps({"input": {"n": number}, "labels": {"half": str(number % 2)}}) + "\n" for number in range(20)
    )
    output = await cli("submit", own_name, "--from", "-", "--wait", text=lines)
    assert [json.loads(line)["n"] for line in output.splitlines()] == list(range(20))
    odd = await cli.json("jobs", "--app", own_name, "--label", "half=1", "--state", "succeeded")
    assert len(odd) == 10
    assert len(await cli.json("jobs", "--app", own_name, "--limit", "3")) == 3
    assert "line 2" in await cli.refused(
        4, "submit", own_name, "--from", "-", text='{"input": {"n": 1}}\n{"inputs": 1}\n'
    )
    assert len([job async for job in client.jobs(application=own_name)]) == 20
