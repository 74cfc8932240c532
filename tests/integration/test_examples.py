"""The examples, each run as its docstring says, on a live cluster of engine simulators."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from llmsched.types import Job, JobState, StageState
from services.up.cluster import LocalCluster
from tests.support.live import live_cluster, until

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one cluster for all
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalCluster]:
    async with live_cluster(tmp_path_factory.mktemp("examples")) as cluster:
        yield cluster


async def run(cluster: LocalCluster, name: str, *arguments: str) -> tuple[str, Job]:
    """What an example prints, and the job that its last line names, once it has ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name),
        *arguments,
        env=os.environ | {"LLMSCHED_ADDRESS": cluster.stack.planner},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    assert not stderr, stderr.decode()
    text = stdout.decode()
    async with cluster.client() as client:
        job = await client.job(text.split()[-1])
    return text, job


async def test_langgraph_agent(cluster: LocalCluster) -> None:
    pytest.importorskip("langgraph", reason="langgraph is not installed")
    text, job = await run(cluster, "langgraph_agent.py", "Multiply 3 and 4.")
    assert "Human Message" in text
    assert "Ai Message" in text
    # Nothing of the program waited for the job's end, but the end of its process did.
    assert (job.application, job.state) == ("calculator", JobState.SUCCEEDED)
    names = [stage.stage_id.partition("/")[0] for stage in job.stages]
    assert names == ["llm_call"] * text.count("Ai Message")
    for before, stage in zip(job.stages, job.stages[1:], strict=False):
        assert stage.parents == (before.stage_id,)


async def test_open_job(cluster: LocalCluster) -> None:
    _, job = await run(cluster, "open_job.py", "lakes")
    assert (job.application, job.state, job.input["topic"]) == ("shortener", JobState.SUCCEEDED, "lakes")
    names = [stage.stage_id.partition("/")[0] for stage in job.stages]
    assert names[:2] == ["draft", "measure"]
    assert names[-2:] == ["title", "title"]


async def test_decorators(cluster: LocalCluster) -> None:
    text, job = await run(cluster, "decorators.py", "lakes")
    assert (job.application, job.state) == ("poems", JobState.SUCCEEDED)
    assert "'verses': [" in text
    assert {"outline", "verse", "statistics"} <= {stage.stage_id for stage in job.stages}


async def test_graphs_side_by_side_end_as_their_jobs(cluster: LocalCluster) -> None:
    """Forty runs of a graph in this process: most end well, one fails, and one is cancelled while its model writes."""
    pytest.importorskip("langgraph", reason="langgraph is not installed")
    from langgraph.graph import END, START, StateGraph

    from llmsched.langchain import ChatLLMSched, Connection

    async def think(state: dict[str, Any]) -> dict[str, Any]:
        answer = await model.ainvoke(f"think\n[[tokens: {state['tokens']}]]\n", max_tokens=30_000)
        if state["tokens"] == 13:
            raise ValueError("thirteen")
        return {"tokens": answer.usage_metadata["output_tokens"]}

    connection = Connection(cluster.client)
    model = ChatLLMSched(connection=connection)
    builder = StateGraph(dict)
    builder.add_node("first", think)
    builder.add_node("second", think)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", END)
    graph, endless = builder.compile(name="thinker"), builder.compile(name="endless")

    async with cluster.client() as client:
        runs = (graph.ainvoke({"tokens": 1 + n}) for n in range(40))
        found = await asyncio.gather(*runs, return_exceptions=True)
        going = asyncio.create_task(endless.ainvoke({"tokens": 30_000}))

        async def jobs_of(application: str) -> list[Job]:
            return [await client.job(job.name) async for job in client.jobs(application=application)]

        async def writes() -> bool:
            stages = [stage for job in await jobs_of("endless") for stage in job.stages]
            return any(stage.state is StageState.RUNNING for stage in stages)

        await until(writes, limit=30, what="the model of the graph that is cancelled")
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        await asyncio.to_thread(connection.close)
        jobs, cancelled = await jobs_of("thinker"), await jobs_of("endless")

    assert [each["tokens"] for n, each in enumerate(found) if n != 12] == [n + 1 for n in range(40) if n != 12]
    assert isinstance(found[12], ValueError)
    states = Counter(job.state for job in jobs)
    assert states == {JobState.SUCCEEDED: 39, JobState.FAILED: 1}
    assert [job.state in (JobState.CANCELLED, JobState.CANCELLING) for job in cancelled] == [True]
    shapes = {tuple(stage.stage_id for stage in job.stages) for job in jobs if job.state is JobState.SUCCEEDED}
    assert shapes == {("first", "second")}
