"""What a newcomer gets wrong, on a whole cluster of real processes: each mistake ends with words that help.

The tools that misbehave come from a package of the test's own, found as any user's package would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

import llmsched
from llmsched import Client, JobState
from llmsched.api.planner.v1 import application_pb2, planner_pb2, planner_pb2_grpc
from llmsched.application import parse_yaml
from services.up.cluster import LocalCluster
from tests.support.live import live_cluster, until
from tests.support.planner import refusal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

TOOLS = '''
import ctypes
import os
import time

from llmsched.tools import tool


@tool(name="bad.exit", timeout=20)
def leave() -> str:
    """Ends its process."""
    os._exit(3)


@tool(name="bad.segfault", timeout=20)
def segfault() -> str:
    """Reads where there is nothing."""
    return str(ctypes.string_at(0))


@tool(name="bad.sleep", timeout=1)
def sleep() -> str:
    """Takes too long."""
    time.sleep(3600)
    return ""


@tool(name="bad.remember", timeout=20, memory_bytes=64 * 2**20)
def remember() -> int:
    """Needs more memory than it may."""
    return len(bytearray(2**30))


@tool(name="bad.divide", timeout=20)
def divide(number: int) -> float:
    """Divides one by a number."""
    return 1 / number


@tool(name="bad.chatter", timeout=20, max_output_bytes=1000)
def chatter() -> str:
    """Says too much."""
    return "x" * 2000
'''


@dataclass(frozen=True, slots=True)
class Site:
    """A running cluster, and a client of it."""

    cluster: LocalCluster
    client: Client
    directory: Path

    async def register(self, stages: str, *, output: Any = None, input: str = "{}") -> str:
        """Registers an application of these stages; returns its name."""
        name = f"app-{uuid.uuid4().hex[:8]}"
        body = textwrap.indent(textwrap.dedent(stages).strip(), "  ")
        text = f"application: {name}\ninput: {input}\nstages:\n{body}\noutput: {json.dumps(output)}\n"
        await self.client.register(parse_yaml(text))
        return name

    async def fail(self, app: str, job_input: dict[str, Any] | None = None) -> llmsched.JobFailedError:
        """How a job fails. What it was and what it did until then stays there to be looked at."""
        job = await self.client.submit(app, job_input or {})
        with pytest.raises(llmsched.JobFailedError) as caught:
            await job.result(timeout=60)
        kept = await job.status()
        assert (kept.state, kept.input) == (JobState.FAILED, job_input or {})
        assert kept.failure == caught.value.failure
        assert job.id not in [stage.job_id async for stage in self.client.queue()]
        return caught.value

    async def explained(self, job: llmsched.JobHandle) -> str:
        """Why a job waits."""
        told: list[str] = []

        async def condition() -> bool:
            with contextlib.suppress(llmsched.NotFoundError):  # the scheduler has not taken it up yet
                told[:] = (await self.client.explain(job.name)).reasons
            return any("has waited" in reason for reason in told)

        await until(condition, limit=60, what="the explanation")
        return "\n".join(told)

    async def cli(self, *words: str, code: int) -> str:
        """Runs a command; returns what it says to a person."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llmsched.cli",
            *words,
            env={**os.environ, "LLMSCHED_ADDRESS": self.cluster.stack.planner, "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == code, output.decode()
        assert "Traceback" not in output.decode()
        return output.decode()

    async def jobs(self) -> int:
        return len([job async for job in self.client.jobs()])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("bad-input")
    packages = directory / "packages"
    distribution = packages / "badtools-1.0.dist-info"
    distribution.mkdir(parents=True)
    (packages / "badtools.py").write_text(TOOLS)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: badtools\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[llmsched.tools]\nbad = badtools\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")])))
        async with live_cluster(directory / "cluster") as cluster, cluster.client() as client:
            yield Site(cluster, client, directory)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _still_works(site: Site) -> AsyncIterator[None]:
    """After every mistake others can work on: the next job goes through model and tool."""
    yield
    app = await site.register(
        """
        - {llm: say, prompt: '[[reply: "1 + 1"]]', max_tokens: 8}
        - {tool: count, call: math.evaluate, args: {expression: "{{ say.text }}"}}
        """,
        output="{{ count.value }}",
    )
    assert await (await site.client.submit(app)).result(timeout=60) == 2


def reply(text: str) -> str:
    """A line of a prompt that makes the engine answer this."""
    return f"[[reply: {json.dumps(text)}]]"


# ---- refused at the door -------------------------------------------------------------------------------------------


async def test_an_unknown_application(site: Site) -> None:
    before = await site.jobs()
    with pytest.raises(llmsched.NotFoundError, match=r"no such application: applications/nowhere .*apps apply"):
        await site.client.submit("nowhere", {})
    assert "no such application: applications/nowhere" in await site.cli("submit", "nowhere", code=3)
    assert await site.jobs() == before


INVALID = {
    "no yaml at all": ("application: [\n", "line 2"),
    "a misspelt field": ("application: a\nstages:\n  - llm: x\n    promt: hi\n", "line 4: stages[0].promt"),
    "no stages": ("application: a\n", "stages"),
    "a cycle": (
        "application: a\nstages:\n  - {llm: x, prompt: hi, after: [y]}\n  - {llm: y, prompt: hi, after: [x]}\n",
        "x → y → x",
    ),
    "a stage that is not there": (
        'application: a\nstages:\n  - llm: x\n    prompt: "{{ nobody.text }}"\n',
        "line 4: stages[0].prompt",
    ),
    "a template that does not end": (
        'application: a\nstages:\n  - llm: x\n    prompt: "{{ input.topic"\n',
        "line 4: stages[0].prompt",
    ),
}


@pytest.mark.parametrize(("text", "told"), INVALID.values(), ids=INVALID.keys())
async def test_an_application_file_that_is_wrong(text: str, told: str, site: Site) -> None:
    file = site.directory / "wrong.yaml"
    file.write_text(text)
    assert told in await site.cli("apps", "apply", str(file), code=4)
    with pytest.raises(llmsched.InvalidRequestError) as caught:
        await site.client.register(file)
    assert told in str(caught.value)
    assert caught.value.violations
    assert "a" not in [application.application async for application in site.client.applications()]


async def test_an_application_that_no_client_has_checked(site: Site) -> None:
    """Clients in other languages send what they like."""
    spec = application_pb2.ApplicationSpec(application="unchecked", version=1)
    spec.stages.add(name="x", after=["y"]).llm.prompt = "{{ nobody.text }}"
    spec.stages.add(name="y", after=["x"]).llm.prompt = "hi"
    async with grpc.aio.insecure_channel(site.cluster.stack.planner) as channel:
        stub = planner_pb2_grpc.PlannerServiceStub(channel)
        refused = await refusal(stub.RegisterApplication(planner_pb2.RegisterApplicationRequest(spec=spec)))
    assert refused.name == "INVALID_ARGUMENT/INVALID_APPLICATION"
    assert any("x → y → x" in description for _, description in refused.violations)
    assert "stages[0].prompt" in refused.fields
    with pytest.raises(llmsched.NotFoundError):
        await site.client.application("unchecked")


async def test_an_input_of_wrong_types(site: Site) -> None:
    app = await site.register('- {llm: a, prompt: "{{ input.n }}"}', input="{n: integer, tags: [string]}")
    before = await site.jobs()
    with pytest.raises(llmsched.InvalidRequestError) as caught:
        await site.client.submit(app, {"n": "three", "tags": ["a", 5], "extra": 1})
    assert caught.value.reason == "INVALID_INPUT"
    assert {each.path for each in caught.value.violations} == {"input", "input.n", "input.tags[1]"}
    assert "'three' is not of type 'integer'" in str(caught.value)
    assert "is a required property" in await site.cli("submit", app, code=4)
    assert await site.jobs() == before


async def test_an_input_that_is_too_large(site: Site) -> None:
    app = await site.register('- {llm: a, prompt: "{{ input.text }}"}', input="{text: string}")
    before = await site.jobs()
    with pytest.raises(llmsched.InvalidRequestError, match="at most 1048576 are allowed: pass large data by reference"):
        await site.client.submit(app, {"text": "x" * 2**20})
    assert await site.jobs() == before


async def test_a_wrong_value_that_is_huge_does_not_hide_the_message(site: Site) -> None:
    app = await site.register('- {llm: a, prompt: "{{ input.n }}"}', input="{n: integer}")
    with pytest.raises(llmsched.InvalidRequestError) as caught:
        await site.client.submit(app, {"n": "x" * 500_000})
    assert [each.path for each in caught.value.violations] == ["input.n"]


async def test_a_request_id_for_another_request(site: Site) -> None:
    app = await site.register('- {llm: a, prompt: "{{ input.n }}", max_tokens: 4}', input="{n: integer}")
    request_id = str(uuid.uuid4())
    first = await site.client.submit(app, {"n": 1}, request_id=request_id)
    before = await site.jobs()
    with pytest.raises(llmsched.ConflictError, match="every new request needs a new id") as caught:
        await site.client.submit(app, {"n": 2}, request_id=request_id)
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert (await site.client.submit(app, {"n": 1}, request_id=request_id)).name == first.name
    assert await site.jobs() == before


# ---- found while the job runs --------------------------------------------------------------------------------------


async def test_a_template_that_fails_on_what_a_model_said(site: Site) -> None:
    app = await site.register(
        """
        - {llm: facts, prompt: "{{ input.script }}", json_schema: {type: object}}
        - {tool: use, call: text.statistics, args: {text: "{{ facts.json.title }}"}}
        """,
        input="{script: string}",
    )
    error = await site.fail(app, {"script": reply('{"name": "x"}')})
    assert error.reason == "TEMPLATE_ERROR"
    for word in ("stage use", "args.text", "there is no 'title'", "'name'", "{{ facts.json.title }}"):
        assert word in str(error)
    # What was done until then is not lost.
    assert [output.output for output in await site.client.outputs(error.job.name)] == ['{"name": "x"}']


async def test_a_prompt_that_becomes_too_large(site: Site) -> None:
    app = await site.register(
        '- {llm: a, prompt: "{% for i in range(2000) %}{{ input.text }}{% endfor %}"}', input="{text: string}"
    )
    error = await site.fail(app, {"text": "x" * 1000})
    assert error.reason == "PAYLOAD_TOO_LARGE"
    assert "stage a" in str(error)
    assert "1048576" in str(error)


PLANNING = """
- plan: plan
  prompt: "{{ input.script }}\\nPlan with {{ tools }}"
  tools: [math.evaluate]
  max_retries: 2
  max_tokens: 400
- {dynamic: execute, plan: plan}
"""
BAD_PLAN = json.dumps({"steps": [{"id": "s1", "tool": "no.such", "args": {}, "after": []}]})
GOOD_PLAN = json.dumps({"steps": [{"id": "s1", "tool": "math.evaluate", "args": {"expression": "2*3"}, "after": []}]})


async def test_a_plan_with_an_unknown_tool_is_sent_back_and_then_given_up(site: Site) -> None:
    app = await site.register(PLANNING, input="{script: string}")
    error = await site.fail(app, {"script": reply(BAD_PLAN)})
    assert error.reason == "INVALID_PLAN"
    assert "step s1: there is no tool 'no.such'; there are math.evaluate" in str(error)
    stages = {stage.stage_id: stage for stage in error.job.stages}
    assert {"plan", "plan~2", "plan~3"} <= set(stages)
    sizes = [stages[name].tasks[0].usage.prompt_tokens for name in ("plan", "plan~2")]
    assert sizes[0] < sizes[1], "the second prompt has what was wrong with the first plan"


async def test_a_plan_that_is_mended_on_the_second_try_is_run(site: Site) -> None:
    app = await site.register(PLANNING, input="{script: string}", output="{{ execute.results.s1.value }}")
    # The engine obeys the last such line, and the second prompt quotes the first answer.
    script = reply(f"This is no plan.\n{reply(GOOD_PLAN)}")
    job = await site.client.submit(app, {"script": script})
    assert await job.result(timeout=60) == 6
    assert {"plan", "plan~2", "execute/s1"} <= {stage.stage_id for stage in (await job.status()).stages}


MISBEHAVING = {
    "bad.exit": ("WORKER_CRASHED", ["bad.exit", "exit"]),
    "bad.segfault": ("WORKER_CRASHED", ["bad.segfault", "SIGSEGV"]),
    "bad.sleep": ("TIMEOUT", ["bad.sleep", "1 s"]),
    "bad.remember": ("MEMORY_EXCEEDED", ["bad.remember", "64 MiB"]),
    "bad.divide": ("TOOL_RAISED", ["bad.divide", "ZeroDivisionError", "badtools.py", "1 / number"]),
    "bad.chatter": ("OUTPUT_TOO_LARGE", ["bad.chatter", "2002", "1000"]),
}


@pytest.mark.parametrize(("tool", "reason", "words"), [(tool, *rest) for tool, rest in MISBEHAVING.items()])
async def test_a_tool_that_misbehaves(tool: str, reason: str, words: list[str], site: Site) -> None:
    args = "{number: 0}" if tool == "bad.divide" else "{}"
    app = await site.register(
        f"""
        - {{tool: before, call: text.statistics, args: {{text: "kept"}}}}
        - {{tool: a, call: {tool}, after: [before], args: {args}, retry: {{max_attempts: 2, backoff: 10ms}}}}
        """
    )
    error = await site.fail(app)
    assert error.reason == reason
    for word in words:
        assert word in str(error), str(error)
    before, failed = error.job.stages
    assert failed.failure == error.failure
    assert failed.tasks[0].attempt == (2 if reason in ("WORKER_CRASHED", "TIMEOUT") else 1)
    assert [output.stage_id for output in await site.client.outputs(error.job.name)] == [before.stage_id]


async def test_a_tool_that_is_called_with_wrong_arguments(site: Site) -> None:
    app = await site.register("- {tool: a, call: bad.divide, args: {nubmer: 1}}")
    error = await site.fail(app)
    assert error.reason == "INVALID_ARGUMENTS"
    for word in ("bad.divide", "nubmer", "number"):
        assert word in str(error)


async def test_a_stage_that_takes_longer_than_it_may(site: Site) -> None:
    app = await site.register("- {tool: a, call: bad.sleep, timeout: 200ms, retry: {max_attempts: 1}}")
    error = await site.fail(app)
    assert error.reason == "TIMEOUT"
    assert "timeout of 0.2 s" in str(error)


async def test_a_tool_that_nobody_offers(site: Site) -> None:
    """It may come with the next executor, so the job waits, and says for what."""
    app = await site.register("- {tool: a, call: nobody.has, args: {}}")
    job = await site.client.submit(app)
    assert "tool:nobody.has: no executor offers it" in await site.explained(job)
    await job.cancel(reason="never mind")
    with pytest.raises(llmsched.JobCancelledError, match="never mind"):
        await job.result(timeout=30)


# ---- engines -------------------------------------------------------------------------------------------------------


async def test_an_engine_that_refuses_a_request(site: Site) -> None:
    app = await site.register('- {llm: a, prompt: "[[fail: 400]]"}')
    error = await site.fail(app)
    assert error.reason == "ENGINE_REJECTED"
    assert "HTTP 400" in str(error)
    assert error.job.stages[0].tasks[0].attempt == 1


async def test_an_engine_that_fails_is_tried_again_until_it_works(site: Site) -> None:
    prompt = f"[[fail: 503 x2]]\\n[[tokens: 2]]\\n{uuid.uuid4()}"
    app = await site.register(f'- {{llm: a, prompt: "{prompt}", max_tokens: 4, retry: {{backoff: 10ms}}}}')
    job = await site.client.submit(app)
    await job.result(timeout=60)
    assert (await job.status()).stages[0].tasks[0].attempt == 3


async def test_an_engine_that_goes_on_failing(site: Site) -> None:
    app = await site.register(
        '- {llm: a, prompt: "[[fail: 500]]", retry: {max_attempts: 2, backoff: 10ms}}',
    )
    error = await site.fail(app)
    assert error.reason == "ENGINE_UNAVAILABLE"
    assert "HTTP 500" in str(error)
    assert error.job.stages[0].tasks[0].attempt == 2


async def test_a_job_waits_for_an_engine_that_is_down(site: Site) -> None:
    engine = site.cluster.supervisor.children["engine-llm-0"]
    app = await site.register('- {llm: a, prompt: "hi", max_tokens: 4, retry: {max_attempts: 5}}')
    await engine.stop()

    async def shown_unhealthy() -> bool:
        executors = (await site.client.cluster()).executors
        return any(each.executor_id == "llm-0" and each.state == "UNHEALTHY" for each in executors)

    await until(shown_unhealthy, limit=60, what="the executor's complaint")
    job = await site.client.submit(app)
    assert "1 executors are detached, draining or unhealthy" in await site.explained(job)
    assert not (await job.status()).state.ended
    await engine.start()
    await job.result(timeout=60)
