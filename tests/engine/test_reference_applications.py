"""Every application that ships, on a real SGLang with small weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsched.applications.catalogue import REFERENCE_APPLICATIONS, ReferenceApplication
from tests.support.live import live_cluster
from tests.support.reference_jobs import run_jobs

pytestmark = [pytest.mark.slow, pytest.mark.sglang, pytest.mark.full, pytest.mark.timeout(400)]

JOBS = 2


@pytest.mark.parametrize("app", REFERENCE_APPLICATIONS, ids=lambda app: app.name)
async def test_its_jobs_succeed(sglang_url: str, tmp_path: Path, app: ReferenceApplication) -> None:
    async with live_cluster(tmp_path, engines=(sglang_url,), slots=4) as cluster, cluster.client() as client:
        for one in await run_jobs(client, app, JOBS, limit=180):
            one.check()
            print(f"{app.name}: {one.llm_calls} calls, {one.output_tokens} tokens, {one.job.completion_time}")
            print(one.result)
