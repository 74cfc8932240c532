"""The first day: an application from a file, a job, a look around. The short form of the suite."""

from __future__ import annotations

import json
import re
import sys
import uuid
from pathlib import Path

import pytest

import llmsched
from llmsched.types import ExecutorState, JobState
from tests.acceptance.cluster import ROOT, Cli, Cluster

pytestmark = [pytest.mark.slow]

HELLO = """
application: {name}
version: {version}
description: The first of all.
input: {{topic: string}}
stages:
  - llm: idea
    prompt: "An idea about {{{{ input.topic }}}}"
    max_tokens: 8
  - tool: count
    call: text.statistics
    args: {{text: "{{{{ idea.text }}}}"}}
output: {{idea: "{{{{ idea.text }}}}", words: "{{{{ count.words }}}}"}}
"""


def write(folder: Path, name: str, version: int = 1) -> str:
    file = folder / f"{name}-{version}.yaml"
    file.write_text(HELLO.format(name=name, version=version))
    return str(file)


async def test_from_a_file_to_a_result(cli: Cli, own_name: str, tmp_path: Path) -> None:
    file = write(tmp_path, own_name)
    assert f"{own_name}@1 is valid" in await cli("apps", "validate", file)
    assert f"{own_name}@1 is registered" in await cli("apps", "apply", file)
    assert f"{own_name}@1 is registered" in await cli("apps", "apply", file)  # changes nothing
    assert own_name in await cli("apps", "list")
    assert "An idea about" in await cli("apps", "show", own_name)

    result = json.loads(await cli("submit", own_name, "-i", "topic=rivers", "--label", "who=me", "--wait"))
    assert result["idea"]
    assert result["words"] >= 1
    (job,) = await cli.json("jobs", "--app", own_name)
    assert job["state"] == "SUCCEEDED"
    assert job["labels"] == {"who": "me"}
    assert job["usage"]["completion_tokens"] >= 1
    shown = await cli("get", job["name"])
    assert re.search(r"idea +LLM +SUCCEEDED|idea +llm +SUCCEEDED", shown, re.IGNORECASE)
    assert "SUCCEEDED" in await cli("watch", job["name"])
    assert json.loads(await cli("result", job["name"])) == result
    stages = await cli.json("result", job["name"], "--stages")
    assert {each["stage_id"] for each in stages} == {"idea", "count"}


async def test_versions(cli: Cli, client: llmsched.Client, own_name: str, tmp_path: Path) -> None:
    await cli("apps", "apply", write(tmp_path, own_name), write(tmp_path, own_name, version=2))
    assert (await client.application(own_name)).version == 2
    assert (await client.application(f"{own_name}@1")).version == 1
    changed = tmp_path / "changed.yaml"
    changed.write_text(HELLO.format(name=own_name, version=2).replace("An idea", "No idea"))
    assert "2" in await cli.refused(7, "apps", "apply", str(changed))
    assert "deleted version 2" in await cli("apps", "delete", f"{own_name}@2")
    assert (await client.application(own_name)).version == 1
    await cli("apps", "delete", own_name)
    await cli.refused(3, "apps", "show", own_name)


async def test_what_is_refused(cli: Cli, client: llmsched.Client, own_name: str, tmp_path: Path) -> None:
    """With every reason, and nothing is stored."""
    wrong = tmp_path / "wrong.yaml"
    broken = (
        HELLO.format(name=own_name, version=1)
        .replace("idea.text", "ideas.text")
        .replace("max_tokens: 8", "max_tokens: -8")
    )
    wrong.write_text(broken)
    for command in ("validate", "apply"):
        errors = await cli.refused(4, "apps", command, str(wrong))
        assert "stages[0].max_tokens" in errors
        assert "stages[1].args" in errors
        assert "output.idea" in errors
    with pytest.raises(llmsched.NotFoundError):
        await client.application(own_name)

    await cli("apps", "apply", write(tmp_path, own_name))
    errors = await cli.refused(4, "submit", own_name, "-i", "topics=x")
    assert "topic" in errors
    assert "topics" in errors
    with pytest.raises(llmsched.InvalidRequestError) as refused:
        await client.submit(own_name, {"topic": 7, "more": 1})
    assert len(refused.value.violations) == 2
    assert [job async for job in client.jobs(application=own_name)] == []
    await cli.refused(3, "submit", f"{own_name}-not", "-i", "topic=x")
    await cli.refused(3, "get", "nobody")
    await cli.refused(2, "submit", own_name, "-i", "no field")


async def test_the_same_request_is_one_job(client: llmsched.Client, own_name: str, tmp_path: Path) -> None:
    await client.register(write(tmp_path, own_name))
    request = str(uuid.uuid4())
    first = await client.submit(own_name, {"topic": "lakes"}, request_id=request)
    again = await client.submit(own_name, {"topic": "lakes"}, request_id=request)
    assert again.name == first.name
    with pytest.raises(llmsched.ConflictError):
        await client.submit(own_name, {"topic": "seas"}, request_id=request)
    assert (await first.wait(timeout=60)).state is JobState.SUCCEEDED
    assert len([job async for job in client.jobs(application=own_name)]) == 1


async def test_the_cluster_is_there(cli: Cli, client: llmsched.Client, cluster: Cluster) -> None:
    attached = [each for each in (await client.cluster()).executors if each.state is ExecutorState.ATTACHED]
    assert {each.kind for each in attached} >= {"llm", "tool"} or len(attached) >= 2
    listed = await cli("executors")
    assert all(each.executor_id in listed for each in attached)
    assert attached[0].executor_id in await cli("top", "--once")
    assert (await client.policy()).name in await cli("policy", "show")
    await cli("queue")
    await cli("profiles", "list")
    await cli("health", "planner", "--address", cluster.address)


async def test_the_first_application_of_the_readme_runs_as_printed(cli: Cli, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    program = tmp_path / "first.py"
    program.write_text(blocks[0], encoding="utf-8")
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 14
    code, output, errors = await cli.program(sys.executable, str(program))
    assert code == 0, errors
    assert "poem" in output
