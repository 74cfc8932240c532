"""The core of deploy/compose, each service on a host of its own: what users do, and the end of its leader."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

import llmsched
from lab.compose import Running, load
from tests.support.live import all_shapes, until

# One cluster for all; its leader is killed last.
pytestmark = [
    pytest.mark.network,
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(900),
]
SCHEDULERS = ("scheduler-0", "scheduler-1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def compose(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    services = load("compose.yaml")["services"]
    async with Running(services, tmp_path_factory.mktemp("compose"), others=["client"]) as running:
        await running.ready()
        yield running


def addresses(compose: Running) -> dict[str, str]:
    """As the command line in the containers is told them."""
    told = compose.services["planner"]["environment"]
    return {f"LLMSCHED_{name}": told[f"LLMSCHED_{name}"] for name in ("ADDRESS", "SCHEDULER", "PROFILER")}


async def test_users_get_what_they_are_promised(compose: Running) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", "-pno:xdist", "tests/acceptance"]
    code, output, errors = await compose.run("client", *words, environment=addresses(compose))
    assert code == 0, output + errors
    assert " passed" in output
    assert "no event log" in output  # that file is in a container, so what needs it is skipped


async def test_the_cluster_survives_its_leader(compose: Running) -> None:
    told = addresses(compose)
    options = llmsched.Options(address=told["LLMSCHED_ADDRESS"], scheduler=tuple(told["LLMSCHED_SCHEDULER"].split(",")))
    async with llmsched.Client(options=options) as client:
        await client.register(all_shapes())
        first = await client.submit("all-shapes", {"topic": "rivers", "rounds": 1})
        assert (await first.result())["rounds"] == 1

        before = await client.cluster()
        leader = await leading(compose)
        await compose.kill(leader)
        second = await client.submit("all-shapes", {"topic": "lakes", "rounds": 2})
        assert (await second.result())["rounds"] == 2
        assert (await client.cluster()).epoch > before.epoch
    assert await leading(compose) != leader


async def leading(compose: Running) -> str:
    """The scheduler that says it leads."""
    found = []

    async def one() -> bool:
        answers = {name: await compose.run(name, "llmsched", "health", "scheduler", "--leading") for name in SCHEDULERS}
        found[:] = [name for name, (code, _, _) in answers.items() if code == 0]
        return len(found) == 1

    await until(one, limit=30, what="one leader")
    return found[0]
