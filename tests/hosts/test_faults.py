"""Hosts that are lost, cut off and come back, under load. What must hold: no job is lost, and nothing is done twice
but what was lost itself.

Every engine is full of answers that take seconds when a fault comes, so that what ran then is no matter of luck.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from lab.hosts import EXECUTORS, SCHEDULERS
from llmsched.types import TaskState
from tests.hosts.site import SLOTS, Site, attempts_of, other, repeated, site, task_of, tokens_of

pytestmark = [
    pytest.mark.network,
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One cluster for all tests: each leaves it as it found it."""
    async with site(tmp_path_factory.mktemp("hosts")) as running:
        yield running


async def test_the_leaders_host_is_lost(whole: Site) -> None:
    """The standby takes over; what ran on executors goes on there and is not repeated."""
    await whole.attached(*EXECUTORS.values())
    leader, made = await whole.led_by(*SCHEDULERS), await whole.hosts.generated_tokens()
    handles = await whole.fill(waiting=4)
    begun = await whole.begun(handles)

    await whole.hosts.processes.lose(leader)
    assert await whole.led_by(other(leader)) == other(leader)
    jobs = await whole.all_succeed(handles)

    assert not repeated(jobs, begun)
    assert await whole.hosts.generated_tokens() - made == tokens_of(jobs)

    await whole.hosts.processes.restore(leader)
    await whole.hosts.processes.ready(f"{leader}.llmsched-scheduler")
    await whole.leads_no_more(leader)
    assert await whole.led_by(*SCHEDULERS) == other(leader)


async def test_the_leader_is_cut_off_and_comes_back(whole: Site) -> None:
    """It runs on, alone: it stops leading by itself, and nothing is given out twice."""
    await whole.attached(*EXECUTORS.values())
    leader, made = await whole.led_by(*SCHEDULERS), await whole.hosts.generated_tokens()
    handles = await whole.fill(waiting=4)
    begun = await whole.begun(handles)

    whole.hosts.network.cut(leader)
    await whole.leads_no_more(leader)
    assert await whole.led_by(other(leader)) == other(leader)
    await whole.attached(*EXECUTORS.values())
    whole.hosts.network.heal(leader)
    jobs = await whole.all_succeed(handles)

    assert not repeated(jobs, begun)
    assert await whole.hosts.generated_tokens() - made == tokens_of(jobs)
    assert whole.logged(leader, "leadership_lost")
    await whole.leads_no_more(leader)
    assert await whole.led_by(*SCHEDULERS) == other(leader)


async def test_an_executors_host_is_lost(whole: Site) -> None:
    """What ran there runs again on the other one, which repeats nothing of its own."""
    await whole.attached(*EXECUTORS.values())
    handles = await whole.fill()
    before = await whole.thinking(handles)
    assert sorted(task.executor for task in before.values()) == ["llm-a"] * SLOTS + ["llm-b"] * SLOTS

    await whole.hosts.processes.lose("exec-a")
    jobs = {job.id: job for job in await whole.all_succeed(handles)}

    for job_id, task in before.items():
        after = task_of(jobs[job_id])
        assert after.executor == "llm-b"
        assert after.attempt == (2 if task.executor == "llm-a" else 1)

    await whole.hosts.processes.restore("exec-a")
    await whole.attached(*EXECUTORS.values())


async def test_an_executors_host_is_cut_off_for_longer_than_its_lease(whole: Site) -> None:
    """Its attempts run elsewhere; it finishes them all the same, and when it is back nobody wants what it has."""
    await whole.attached(*EXECUTORS.values())
    leader = await whole.led_by(*SCHEDULERS)
    handles = await whole.fill()
    before = await whole.thinking(handles)
    lost = [job_id for job_id, task in before.items() if task.executor == "llm-a"]

    whole.hosts.network.cut("exec-a")

    async def run_elsewhere() -> bool:
        now = await whole.thinking(handles)
        return all(now[job_id].attempt == 2 and now[job_id].state is not TaskState.READY for job_id in lost)

    await whole.until(run_elsewhere, "second attempts of all that was lost")
    whole.hosts.network.heal("exec-a")
    await whole.attached(*EXECUTORS.values())
    jobs = {job.id: job for job in await whole.all_succeed(handles)}

    for job_id, task in before.items():
        after = task_of(jobs[job_id])
        assert (after.attempt, after.executor) == ((2, "llm-b") if job_id in lost else (1, task.executor))
    came_back = [line for line in whole.logged(leader, "executor_attached") if line["executor"] == "llm-a"][-1]
    assert came_back["running"] == SLOTS, "it should have brought the attempts that nobody wants"


async def test_the_host_of_redis_is_lost_and_comes_back(whole: Site) -> None:
    """Nobody leads meanwhile and nothing is accepted; what runs goes on."""
    await whole.attached(*EXECUTORS.values())
    await whole.led_by(*SCHEDULERS)
    made = await whole.hosts.generated_tokens()
    handles = await whole.fill()
    begun = await whole.begun(handles)

    await whole.hosts.processes.lose("redis")
    for host in SCHEDULERS:
        await whole.leads_no_more(host)
    await whole.hosts.processes.restore("redis")
    await whole.hosts.processes.ready("redis.llmsched-redis")
    jobs = await whole.all_succeed(handles)

    assert not repeated(jobs, begun)
    assert await whole.hosts.generated_tokens() - made == tokens_of(jobs)


async def test_every_service_is_restarted_under_load(whole: Site) -> None:
    """One after the other, each in order, as an upgrade does it. Whoever submits jobs meanwhile notices nothing."""
    await whole.attached(*EXECUTORS.values())
    over, jobs = asyncio.Event(), []

    async def use() -> None:
        while not over.is_set():
            handle = await whole.client.submit("short", {"topic": "rivers"})
            assert (await handle.result())["words"] > 0
            jobs.append(await handle.status())

    async with asyncio.TaskGroup() as users:
        for _ in range(6):
            users.create_task(use())
        processes = whole.hosts.processes
        for host in processes_by_host(whole):
            for name in reversed(processes.on(host)):  # executors before their engine
                await processes.stop(name)
            for name in processes.on(host):
                await processes.start(name)
            await processes.ready(*processes.on(host))
            done = len(jobs)
            await whole.until(lambda done=done: _more(jobs, done), "jobs that end after the restart")  # type: ignore[misc]
        over.set()
    assert set(attempts_of(jobs)) == {1}


def processes_by_host(whole: Site) -> list[str]:
    return list(dict.fromkeys(service.host for service in whole.hosts.processes.services.values()))


async def _more(jobs: list[object], done: int) -> bool:
    return len(jobs) > done + 6
