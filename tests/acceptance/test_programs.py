"""Programs of users: functions with decorators, open jobs, LangChain, without `async`."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

import llmsched
from llmsched import Application
from llmsched.decorators import application, foreach, llm_stage, tool
from llmsched.types import JobState, StageState
from tests.acceptance.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.full]


@llm_stage(max_tokens=60)
def parts(topic: str) -> list[str]:
    """Two parts of {{ topic }}:"""


@llm_stage(system="You write.", max_tokens=5)
def verse(part: str) -> str:
    """A verse about {{ part }}:"""


@tool("text.statistics")
def statistics(text: str) -> dict[str, Any]:
    """Counts the words of a text."""
    raise AssertionError("executors run their own")


async def test_functions(client: llmsched.Client, own_name: str) -> None:
    @application(own_name)
    def poems(topic: str) -> dict[str, Any]:
        """Writes verses."""
        verses = foreach(verse, parts(topic))
        return {"verses": verses, "words": statistics(f"all: {verses}")["words"]}

    await client.register(poems)
    job = await client.submit(poems, {"topic": "rivers"})
    # An answer that was cut off is no JSON: that is the one way to fail.
    ended = await job.wait(timeout=60)
    if ended.state is JobState.FAILED:
        assert ended.failure is not None
        assert ended.failure.reason == "INVALID_JSON_OUTPUT"
    else:
        result = await job.result()
        assert all(isinstance(each, str) for each in result["verses"])
        assert result["words"] >= 1


async def test_an_open_job(client: llmsched.Client) -> None:
    name = f"acceptance-{uuid.uuid4().hex[:12]}"
    async with client.open_job(name, input={"question": "why?"}) as job:
        thought = await job.llm("think", "[[tokens: 6]] why?", max_tokens=6)
        beside = await asyncio.gather(
            job.tool("count", "text.statistics", {"text": thought}),
            job.tool("digest", "hash.digest", {"text": thought}),
        )
        with pytest.raises(llmsched.StageFailedError, match="TOOL_RAISED"):
            await job.tool("sum", "math.evaluate", {"expression": "1 +"}, max_attempts=1)
        stage = await job.start_llm("answer", f"[[tokens: 4]] {beside}", max_tokens=4)
        answer = await stage.result()
        job.output = {"answer": answer.text}
    ended = await client.job(job.name)
    assert (ended.state, ended.application) == (JobState.SUCCEEDED, name)
    assert await client.result(job.name) == {"answer": answer.text}
    states = {stage.stage_id: stage.state for stage in ended.stages}
    assert states.pop("sum") is StageState.FAILED
    assert states == dict.fromkeys(["think", "count", "digest", "answer"], StageState.SUCCEEDED)


async def test_an_open_job_that_fails_or_is_cancelled(client: llmsched.Client) -> None:
    name = f"acceptance-{uuid.uuid4().hex[:12]}"
    with pytest.raises(ZeroDivisionError):
        async with client.open_job(name) as job:
            _ = 1 / 0
    ended = await client.job(job.name)
    assert ended.failure is not None
    assert (ended.state, ended.failure.reason) == (JobState.FAILED, "OPEN_JOB_FAILED")

    async def cancelled() -> None:
        async with client.open_job(name) as job:
            await client.cancel(job.name)
            await job.llm("late", "x", max_tokens=2)

    with pytest.raises(llmsched.JobCancelledError) as found:
        await cancelled()
    assert found.value.job.state is JobState.CANCELLED


async def test_names_of_applications_are_not_for_open_jobs(client: llmsched.Client, own_name: str) -> None:
    app = Application(own_name)
    app.tool("one", call="hash.digest", args={"text": "x"})
    await client.register(app)
    with pytest.raises(llmsched.ConflictError):
        async with client.open_job(own_name):
            pass


def test_without_async(cluster: Cluster) -> None:
    name = f"acceptance-{uuid.uuid4().hex[:12]}"
    app = Application(name, input={"text": "string"})
    app.tool("count", call="text.statistics", args={"text": "{{ input.text }}"})
    with llmsched.SyncClient(options=cluster.options) as client:
        client.register(app)
        try:
            job = client.submit(name, {"text": "one two three"})
            assert job.result(timeout=60)["count"]["words"] == 3
            with client.open_job(f"{name}-open") as opened:
                opened.output = opened.tool("count", "text.statistics", {"text": "one two"})
            assert client.result(opened.name)["words"] == 2
        finally:
            client.delete_application(name)


async def test_a_model_of_langchain(cluster: Cluster) -> None:
    pytest.importorskip("langchain_core", reason="langchain-core is not installed")
    from llmsched.langchain import ChatLLMSched

    name = f"acceptance-{uuid.uuid4().hex[:12]}"
    async with llmsched.Client(options=cluster.options) as client:
        model = ChatLLMSched(address=cluster.address, application=name, max_tokens=6, temperature=0)
        answer = await model.ainvoke("One word about rivers.")
        assert answer.content
        assert answer.usage_metadata is not None
        assert 1 <= answer.usage_metadata["output_tokens"] <= 6
        job = await client.handle(answer.response_metadata["job"]).wait(timeout=30)
        assert (job.application, job.state) == (name, JobState.SUCCEEDED)
