"""What the README prints works as printed."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.live import live_cluster

pytestmark = [pytest.mark.slow]
README = Path(__file__).parents[2] / "README.md"


async def test_the_first_application_runs_as_printed(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    program = tmp_path / "first.py"
    program.write_text(blocks[0], encoding="utf-8")
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 14
    async with live_cluster(tmp_path / "cluster") as cluster:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            program,
            env={**os.environ, "LLMSCHED_ADDRESS": cluster.stack.planner},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert "poem" in output.decode()
