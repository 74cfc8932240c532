"""What operators ask for and change; whatever is changed is put back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

import llmsched
from llmsched import Application
from llmsched.types import Policy
from tests.acceptance.cluster import Cli, Cluster, until

pytestmark = [pytest.mark.slow, pytest.mark.full]


@pytest.fixture
async def policy(client: llmsched.Client) -> AsyncIterator[Policy]:
    """The policy in force, which is in force again afterwards."""
    before = await client.policy()
    yield before
    await client.set_policy(before)


def small(name: str) -> Application:
    app = Application(name, input={"n": "integer"})
    app.llm("first", prompt="[[tokens: {{ 3 + input.n }}]] one", max_tokens=20)
    app.llm("second", prompt="{{ first.text }}", foreach="{{ range(1 + input.n % 3) | list }}", max_tokens=4)
    app.output = {"n": "{{ input.n }}"}
    return app


async def test_another_policy_and_back(cli: Cli, client: llmsched.Client, policy: Policy, own_name: str) -> None:
    shown = await cli.json("policy", "show")
    assert shown["policy"]["name"] == policy.name
    assert {"fcfs", "fair", "random"} <= set(shown["available"])
    other = "fair" if policy.name != "fair" else "fcfs"
    assert (await cli("policy", "set", other)).startswith(other)
    assert (await client.cluster()).policy.name == other
    assert "seed 7" in await cli("policy", "set", "random", "--seed", "7", "--ageing", "60")
    # Jobs go on under each.
    await client.register(small(own_name))
    assert await (await client.submit(own_name, {"n": 1})).result(timeout=60) == {"n": 1}

    assert "no policy" in (await cli.refused(4, "policy", "set", "acceptance")).lower()
    assert "seed" in await cli.refused(4, "policy", "set", "fair", "--seed", "1")
    assert (await client.policy()).name == "random"
    assert await client.set_policy(policy) == policy


async def test_an_order_of_applications(cli: Cli, client: llmsched.Client, policy: Policy, own_name: str) -> None:
    await client.register(small(own_name))
    wanted = replace(policy, name="ps-tcs", application_order=(own_name, "acceptance-unknown"))
    assert (await client.set_policy(wanted)).application_order == wanted.application_order
    code, output, note = await cli.run("policy", "set", "ps-tcs", "--order", f"{own_name},acceptance-unknown")
    assert code == 0
    assert own_name in output
    assert "not registered" in note
    assert "acceptance-unknown" in note


async def test_decisions_are_seen_as_they_are_taken(cli: Cli, client: llmsched.Client, own_name: str) -> None:
    await client.register(small(own_name))
    follower = asyncio.create_task(cli("decisions", "--limit", "1", "-o", "json"))

    async def heard() -> bool:
        await (await client.submit(own_name, {"n": 0})).wait(timeout=60)
        return follower.done()

    await until(heard, what="a decision")
    decision = json.loads((await follower).splitlines()[0])
    assert decision["executor_id"] in [each.executor_id for each in (await client.cluster()).executors]
    assert decision["number"] >= 1


async def test_each_service_says_how_it_is(cli: Cli, cluster: Cluster, client: llmsched.Client) -> None:
    await cli("health", "planner", "--address", cluster.address)
    for address in cluster.scheduler.split(","):
        await cli("health", "scheduler", "--address", address)
    leading = [
        (await cli.run("health", "scheduler", "--leading", "--address", address))[0]
        for address in cluster.scheduler.split(",")
    ]
    assert sorted(leading) == [0, *[5] * (len(leading) - 1)]
    for address in cluster.profiler.split(","):
        await cli("health", "profiler", "--address", address)
    some = (await client.cluster()).executors[0].executor_id
    await cli("health", "executor", "--id", some, "--address", cluster.scheduler)
    assert "acceptance" in await cli.refused(
        5, "health", "executor", "--id", "acceptance", "--address", cluster.scheduler
    )
    assert "reach" in await cli.refused(5, "jobs", "--address", "127.0.0.1:1")


async def test_top_at_one_moment(cli: Cli, client: llmsched.Client, own_name: str) -> None:
    await client.register(small(own_name))
    await (await client.submit(own_name, {"n": 0})).result(timeout=60)
    seen = await cli.json("top")
    assert seen["problems"] == []
    assert {each["executor_id"] for each in seen["cluster"]["executors"]}
    assert seen["states"]["SUCCEEDED"] >= 1
    assert "EXECUTOR" in await cli("top", "--once")


async def test_what_was_learned(cli: Cli, client: llmsched.Client, own_name: str) -> None:
    """A profile is learned when it is asked for, and a job's rest is predicted from it."""
    await client.register(small(own_name))
    jobs = [await client.submit(own_name, {"n": number}) for number in range(12)]
    await asyncio.gather(*(job.result(timeout=90) for job in jobs))

    async def recorded() -> bool:
        lines = [line async for part in client.export_history(own_name) for line in part.splitlines()]
        return len(lines) == len(jobs)

    await until(recorded, what="the jobs in the profiler's history")
    assert "from 12 jobs" in await cli("profiles", "train", own_name)
    assert own_name in await cli("profiles", "list")
    shown = await cli("profiles", "show", own_name)
    assert "history: 12 jobs" in shown
    assert "second" in shown
    whole = await cli.json("profiles", "show", f"{own_name}@1")
    assert whole["content"]["application"] == own_name
    assert await client.predict(jobs[0].name) is not None
    await cli.refused(3, "profiles", "show", f"{own_name}-not")
