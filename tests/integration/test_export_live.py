"""A live run on real processes, exported and simulated under the policy that ran, takes as long as it took."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import llmsched
from llmsched import Application
from llmsched.cli.main import cli
from services.profiler.core.trace import TraceJob, read_history, read_workload
from tests.support.live import live_cluster

pytestmark = [pytest.mark.slow]

#: Of the mean JCT, besides what the planner took: a simulated planner answers at once, and this one may be on a busy
#: machine. What else differs: commits take time live, and an engine works in whole steps.
TOLERANCE = 0.05
ROUNDS = 5


def sorting() -> Application:
    """Parallel: its width is known from its input."""
    app = Application("sorting", input={"parts": "integer", "length": "integer"})
    app.llm("split", prompt="[[tokens: 20]] split", max_tokens=100)
    app.llm(
        "sort",
        prompt="[[tokens: {{ input.length + item }}]] {{ split.text }}",
        foreach="{{ range(input.parts) | list }}",
        max_tokens=300,
    )
    app.tool("score", call="text.statistics", args={"text": "{{ sort | map(attribute='text') | join(' ') }}"})
    app.llm("merge", prompt="[[tokens: 60]] {{ score.words }}", max_tokens=100)
    return app


def refining() -> Application:
    """A loop."""
    app = Application("refining", input={"rounds": "integer"})
    app.llm("draft", prompt="[[tokens: 40]] draft", max_tokens=100)
    with app.loop("refine", max_rounds=5, until="{{ refine.round >= input.rounds }}") as refine:
        refine.llm("write", prompt="[[tokens: 35]] {{ draft.text }} {{ refine.round }}", max_tokens=100)
        refine.tool("check", call="hash.digest", args={"text": "{{ write.text }}"})
    app.output = {"rounds": "{{ refine.count }}"}
    return app


def planning() -> Application:
    """A plan of two steps beside each other and one after them."""
    steps = [
        {"id": "a", "tool": "hash.digest", "args": {"text": "one"}, "after": []},
        {"id": "b", "tool": "hash.digest", "args": {"text": "two"}, "after": []},
        {"id": "c", "tool": "text.statistics", "args": {"text": "three"}, "after": ["a", "b"]},
    ]
    reply = json.dumps(json.dumps({"steps": steps}))
    app = Application("planning", input={"length": "integer"})
    app.plan(
        "plan",
        tools=["hash.digest", "text.statistics"],
        prompt=f"plan\n[[reply: {reply}]]\n[[tokens: {{{{ input.length }}}}]]\n",
        max_tokens=300,
    )
    app.dynamic("execute", plan="plan")
    app.llm("answer", prompt="[[tokens: 50]] {{ execute }}", max_tokens=100)
    return app


def conditional() -> Application:
    app = Application("conditional", input={"deep": "boolean"})
    app.llm("ask", prompt="[[tokens: 30]] ask", max_tokens=100)
    app.llm("think", prompt="[[tokens: 120]] {{ ask.text }}", when="{{ input.deep }}", max_tokens=200)
    app.llm("tell", prompt="[[tokens: 30]] {{ ask.text }}", after=["think"], max_tokens=100)
    return app


APPLICATIONS = (sorting, refining, planning, conditional)


async def run_live(policy: str, directory: Path) -> Path:
    """Runs a mixture that queues for two engines of three slots. Returns the event log."""
    log = directory / "events.jsonl"
    async with (
        live_cluster(
            directory / "cluster",
            engines=("sim", "sim"),
            engine_arguments=("--slots", "3"),
            slots=3,
            settings={"policy": policy, "event_log": str(log)},
        ) as cluster,
        cluster.client() as client,
    ):
        for make in APPLICATIONS:
            await client.register(make())
        handles: list[llmsched.JobHandle] = []
        for number in range(ROUNDS):
            inputs: dict[str, dict[str, Any]] = {
                "sorting": {"parts": 2 + number % 3, "length": 60 + 15 * number},
                "refining": {"rounds": 1 + number % 4},
                "planning": {"length": 60 + 10 * number},
                "conditional": {"deep": number % 2 == 0},
            }
            for name, value in inputs.items():
                handles.append(await client.submit(name, value))
                await asyncio.sleep(0.3)  # the load of the workload, not a wait for something
        for handle in handles:
            await handle.result(timeout=60)
    return log


def invoke(*args: object) -> str:
    result = CliRunner().invoke(cli, [str(each) for each in args], prog_name="llmsched", catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def shape(job: TraceJob) -> dict[str, tuple[str, tuple[str, ...], int]]:
    return {stage.id: (stage.kind, stage.parents, len(stage.tasks)) for stage in job.stages}


@pytest.mark.parametrize("policy", [pytest.param("fcfs", marks=pytest.mark.full), "fair"])
async def test_a_simulated_run_takes_as_long_as_the_live_one_that_it_was_made_of(policy: str, tmp_path: Path) -> None:
    log = await run_live(policy, tmp_path)
    out = tmp_path / "export"
    said = json.loads(invoke("jobs", "export", log, "--out", out, "-o", "json"))
    assert said["jobs"] == len(APPLICATIONS) * ROUNDS
    assert said["left_out"] == {}
    assert said["fit"]["r_squared"] > 0.98
    assert (said["cluster"]["llm_executors"], said["cluster"]["max_batch"]) == (2, 3)
    assert (said["cluster"]["tool_slots"], said["cluster"]["policy"]) == (2, policy)

    with (out / "workload.jsonl").open() as lines:
        jobs = list(read_workload(lines, "workload"))
    with (out / "history.jsonl").open() as lines:
        assert [job.job_id for job in read_history(lines, "history")] == [job.job_id for job in jobs]
    by_app = {make.__name__: [job for job in jobs if job.app == make.__name__] for make in APPLICATIONS}
    assert shape(by_app["sorting"][0]) == {
        "split": ("llm", (), 1),
        "sort": ("llm", ("split",), 2),
        "score": ("tool", ("sort",), 1),
        "merge": ("llm", ("score",), 1),
    }
    assert [stage.id for stage in by_app["refining"][1].stages] == [
        "draft",
        *("refine/1/write", "refine/1/check", "refine/2/write", "refine/2/check"),
    ]
    assert by_app["refining"][1].stages[3].generated_by == "refine/1/check"
    assert shape(by_app["planning"][0]) == {
        "plan": ("plan", (), 1),
        "execute/a": ("tool", ("plan",), 1),
        "execute/b": ("tool", ("plan",), 1),
        "execute/c": ("tool", ("execute/a", "execute/b"), 1),
        "answer": ("llm", ("execute/c",), 1),
    }
    assert {len(job.stages[1].tasks) for job in by_app["conditional"]} == {0, 1}

    simulated = json.loads(
        invoke("simulate", out / "workload.jsonl", "--cluster", out / "cluster.json", "--policy", policy, "--json", "-")
    )
    recorded = said["recorded"][policy]["mean_jct"]
    difference = abs(simulated["runs"][0]["mean_jct"] - recorded)
    assert difference <= TOLERANCE * recorded + said["unfold_seconds"]
