"""The acceptance suite against several hosts: what people do works wherever the services run."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from lab.hosts import client_environment, running

pytestmark = [pytest.mark.network, pytest.mark.full, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


async def test_the_acceptance_suite_passes(tmp_path: Path) -> None:
    async with running(tmp_path):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "tests/acceptance", "-q", "-p", "no:cacheprovider"),
            cwd=ROOT,
            env={**os.environ, **client_environment()},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
