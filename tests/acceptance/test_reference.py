"""Applications that ship, and what can be made of recorded jobs: exports, simulations, comparisons."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random

import pytest

import llmsched
from llmsched import Application
from llmsched.applications.catalogue import ReferenceApplication
from llmsched.types import JobState
from tests.acceptance.cluster import Cli, Cluster, until

pytestmark = [pytest.mark.slow, pytest.mark.full]
JOBS = 6


@pytest.mark.parametrize("shipped", ["sorting", "task-automation", "map-reduce"])
async def test_it_runs(client: llmsched.Client, own_name: str, shipped: str) -> None:
    """What a model answers is anything; it ends none of them."""
    reference = ReferenceApplication(shipped)
    await client.register(reference.load().model_copy(update={"application": own_name}))
    handles = [await client.submit(own_name, each) for each in islice(reference.inputs(Random(5)), 2)]
    for job in await asyncio.gather(*(handle.wait(timeout=110) for handle in handles)):
        assert job.state is JobState.SUCCEEDED, job.failure
        assert any(stage.usage.completion_tokens for stage in job.stages)
    assert await handles[0].result() is not None


async def recorded(client: llmsched.Client, name: str, count: int) -> list[bytes]:
    """Jobs that have ended, as the profiler has recorded them."""
    app = Application(name, input={"n": "integer"})
    app.llm("draft", prompt="[[tokens: {{ 5 + 3 * input.n }}]] draft", max_tokens=40)
    app.llm("part", prompt="{{ draft.text }}", foreach="{{ range(1 + input.n % 3) | list }}", max_tokens=5)
    app.tool("check", call="text.statistics", args={"text": "{{ part | map(attribute='text') | join(' ') }}"})
    await client.register(app)
    handles = [await client.submit(name, {"n": number}) for number in range(count)]
    await asyncio.gather(*(handle.result(timeout=90) for handle in handles))
    lines: list[bytes] = []

    async def all_there() -> bool:
        lines[:] = [line async for part in client.export_history(name) for line in part.splitlines()]
        return len(lines) == count

    await until(all_there, what="the jobs in the profiler's history")
    return lines


async def test_policies_are_compared_on_recorded_jobs(
    client: llmsched.Client, cli: Cli, own_name: str, tmp_path: Path
) -> None:
    await recorded(client, own_name, JOBS)
    history = tmp_path / "history.jsonl"
    history.write_text(await cli("profiles", "export", "--application", own_name))
    assert {json.loads(line)["app"] for line in history.read_text().splitlines()} == {own_name}
    out = tmp_path / "comparison"
    words = ["--traces", str(history), "--mix", "mixed", "--policy", "fcfs", "--policy", "fair", "--load", "0.7"]
    await cli("compare", *words, "--seeds", "2", "--jobs", "20", "--processes", "1", "--out", str(out))
    assert own_name in (out / "results.csv").read_text()
    report = (out / "report.html").read_text()
    assert "fcfs" in report
    assert "fair" in report
    # It comes back as it went.
    assert "6 jobs" in await cli("profiles", "import", str(history))


async def test_a_live_run_is_exported_and_simulated(
    client: llmsched.Client, cli: Cli, cluster: Cluster, own_name: str, tmp_path: Path
) -> None:
    if cluster.event_log is None:
        pytest.skip("no event log of the cluster is on this machine (LLMSCHED_SCHEDULER_EVENT_LOG names it)")
    since = datetime.now(UTC) - timedelta(minutes=1)
    await recorded(client, own_name, JOBS)
    out = tmp_path / "export"
    words = [str(cluster.event_log), "--application", own_name, "--since", since.isoformat(), "--out", str(out)]
    assert (await cli.json("jobs", "export", *words))["jobs"] == JOBS
    policies = ["--policy", "fcfs", "--policy", "fair"]
    cluster_file = ["--cluster", str(out / "cluster.json")]
    simulated = await cli("simulate", str(out / "workload.jsonl"), *cluster_file, *policies, "--json", "-")
    assert [run["jobs"] for run in json.loads(simulated)["runs"]] == [JOBS, JOBS]
