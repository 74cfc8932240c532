"""kill -9 of the profiler, and of Redis, in mid-run: each finished job counts once, and the scheduler goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import llmsched
from llmsched.types import JobState
from services.scheduler.event_log import replay
from services.state.factory import open_state
from services.up.cluster import LocalCluster
from tests.support.live import all_shapes, count_ended, kill, live_cluster, submit_many, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

JOBS = 40


async def test_each_finished_job_is_in_the_history_once(tmp_path: Path) -> None:
    """Promise: an observation has its effect exactly once, whoever is killed; jobs do not wait for a profiler."""
    log = tmp_path / "events.jsonl"
    async with (
        live_cluster(tmp_path, settings={"event_log": str(log)}, appendfsync="always") as cluster,
        cluster.client() as client,
    ):
        await client.register(all_shapes())
        handles = await submit_many(client, "all-shapes", JOBS)
        await until(lambda: ended(client, JOBS // 5), limit=120, what="a fifth of the jobs to end")
        kill(cluster, "profiler")
        await until(lambda: ended(client, JOBS // 2), limit=120, what="half of the jobs to end")
        kill(cluster, "profiler", "scheduler", "redis")
        await until(lambda: ended(client, JOBS), limit=120, what="the end of all jobs")
        assert {job.state async for job in client.jobs()} == {JobState.SUCCEEDED}

        await until(lambda: in_history(client, JOBS), limit=60, what="all jobs in the history")
        exported = b"".join([lines async for lines in client.export_history("all-shapes")])
        assert sorted(json.loads(line)["job_id"] for line in exported.splitlines()) == sorted(one.id for one in handles)
        assert await ever_added(cluster) == {"all-shapes": JOBS}
        assert (await client.train("all-shapes")).job_count == JOBS
    assert replay(log) is None, "today's machine decides otherwise than the one that was killed"


async def ended(client: llmsched.Client, jobs: int) -> bool:
    return await count_ended(client) >= jobs


async def in_history(client: llmsched.Client, jobs: int) -> bool:
    return any(profile.history_job_count >= jobs for profile in await newest(client))


async def newest(client: llmsched.Client) -> list[llmsched.Profile]:
    return [profile async for profile in client.profiles()]


async def ever_added(cluster: LocalCluster) -> dict[str, int]:
    """How many jobs histories have ever got: one that came twice would count twice."""
    state = open_state(cluster.stack.redis_url)
    try:
        return await state.profiles.histories()
    finally:
        await state.aclose()
