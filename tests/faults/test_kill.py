"""kill -9 in mid-run: every accepted job finishes, no result is applied twice, no job is stuck."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsched.types import JobState
from services.scheduler.event_log import replay
from tests.support.live import all_shapes, count_ended, kill, live_cluster, submit_many, until, verify_history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

JOBS = 100
VICTIMS = {
    "planner": ["planner"],
    "scheduler": ["scheduler"],
    "llm executor": ["llm-0"],
    "tool executor": ["tool-0"],
    "engine": ["engine-llm-0"],
    "Redis": ["redis"],
    "all services": ["planner", "profiler", "scheduler", "llm-0", "tool-0"],
    "everything": ["redis", "planner", "profiler", "scheduler", "llm-0", "tool-0", "engine-llm-0"],
}


#: What every run of the tests kills; the others are for the long checks.
ALWAYS = ("scheduler", "everything")


@pytest.mark.parametrize(
    "victims",
    [
        pytest.param(victims, id=name, marks=() if name in ALWAYS else pytest.mark.full)
        for name, victims in VICTIMS.items()
    ],
)
async def test_accepted_jobs_survive_kill_9(victims: list[str], tmp_path: Path) -> None:
    """Promises 1, 2 and 3: accepted jobs are not lost, results apply once, histories have no gaps."""
    log = tmp_path / "events.jsonl"
    # `everysec` would let a killed server take the last commits with it while a write to a slow disk is under way.
    async with (
        live_cluster(tmp_path, settings={"event_log": str(log)}, appendfsync="always") as cluster,
        cluster.client() as client,
    ):
        await client.register(all_shapes())
        handles = await submit_many(client, "all-shapes", JOBS)

        async def in_mid_run() -> bool:
            return await count_ended(client) >= JOBS // 5

        await until(in_mid_run, limit=120, what="a fifth of the jobs to end")
        assert await count_ended(client) < JOBS, "the run was over before anything could be killed"
        kill(cluster, *victims)

        async def all_ended() -> bool:
            return await count_ended(client) == JOBS

        await until(all_ended, limit=180, what="the end of all jobs")
        for handle in handles:
            job = await verify_history(client, handle.id)
            assert job.state is JobState.SUCCEEDED, f"{job.id}: {job.failure}"
            result = await handle.result()
            assert result["rounds"] == job.input["rounds"]
        # Executors were restarted where they were killed, and nothing else was.
        restarted = {name for name, child in cluster.supervisor.children.items() if child.restarts}
        assert set(victims) <= restarted
    assert replay(log) is None, "today's machine decides otherwise than the one that was killed"
