"""The command line against a running cluster: what a person does on the first day."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.live import live_cluster

pytestmark = [pytest.mark.slow]

HELLO = """
application: hello
input: {topic: string}
stages:
  - llm: idea
    prompt: "An idea about {{ input.topic }}"
    max_tokens: 8
output: {idea: "{{ idea.text }}"}
"""


@dataclass(frozen=True)
class Cli:
    planner: str
    scheduler: str

    async def __call__(self, *words: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llmsched.cli",
            *words,
            env={**os.environ, "LLMSCHED_ADDRESS": self.planner, "LLMSCHED_SCHEDULER": self.scheduler},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == code, f"{words}: {process.returncode}\n{output.decode()}\n{errors.decode()}"
        assert "Traceback" not in errors.decode()
        return output.decode() if code == 0 else errors.decode()

    async def json(self, *words: str) -> Any:
        return json.loads(await self(*words, "--output", "json"))


async def test_the_first_day(tmp_path: Path) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text(HELLO)
    async with live_cluster(tmp_path / "cluster", settings={"policy": "fair"}) as cluster:
        cli = Cli(cluster.stack.planner, ",".join(cluster.stack.schedulers))
        await cli("apps", "validate", str(file))
        await cli("apps", "apply", str(file))
        assert "hello" in await cli("apps", "list")
        result = await cli("submit", "hello", "-i", "topic=rivers", "--wait")
        assert "idea" in result
        jobs = await cli.json("jobs")
        assert len(jobs) == 1
        name = jobs[0].get("name") or jobs[0].get("id")
        shown = await cli.json("get", name)
        assert shown["state"] == "SUCCEEDED"
        assert "idea" in await cli("get", name)
        assert "SUCCEEDED" in await cli("watch", name)
        executors = await cli("executors")
        assert "llm-0" in executors
        assert "tool-0" in executors
        assert "fair" in await cli("policy", "show")
        await cli("policy", "set", "fcfs")
        assert "fcfs" in await cli("policy", "show")
        await cli("queue")
        assert "no such job" in (await cli("get", "jobs/nobody", code=3)).lower()
        assert "nowhere" in await cli("submit", "nowhere", "-i", "topic=x", code=3)
        assert "topic" in await cli("submit", "hello", "-i", "wrong=x", code=4)
