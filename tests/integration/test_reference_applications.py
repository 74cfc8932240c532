"""Every application that ships, on a cluster with the engine simulator."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmsched.applications.catalogue import REFERENCE_APPLICATIONS
from tests.support.live import live_cluster
from tests.support.reference_jobs import Ran, run_jobs

pytestmark = [pytest.mark.slow]

JOBS = 3


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Ran]]:
    """Jobs of all applications, on one cluster, at once; by the application's name."""

    async def run(directory: Path) -> dict[str, list[Ran]]:
        async with live_cluster(directory) as cluster, cluster.client() as client:
            found = await asyncio.gather(*(run_jobs(client, app, JOBS, limit=90) for app in REFERENCE_APPLICATIONS))
        return {app.name: jobs for app, jobs in zip(REFERENCE_APPLICATIONS, found, strict=True)}

    return asyncio.run(run(tmp_path_factory.mktemp("cluster")))


@pytest.mark.parametrize("name", [app.name for app in REFERENCE_APPLICATIONS])
def test_its_jobs_succeed(ran: dict[str, list[Ran]], name: str) -> None:
    assert len(ran[name]) == JOBS
    for one in ran[name]:
        one.check()
