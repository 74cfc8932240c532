"""`llmsched up --tracing`: the page of a job's trace in Phoenix shows every span of it, each below the right one."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import llmsched
from llmsched.types import Job, JobState
from services.common import names
from services.common.telemetry import Place
from services.up.phoenix import find_phoenix
from tests.conftest import ROOT
from tests.support.live import all_shapes, until
from tests.support.otlp import Received
from tests.support.traces import promised, verify_trace, written

SCRIPT = ROOT / "scripts" / "phoenix_screenshot.py"
OURS = (names.SPAN_JOB, names.SPAN_STAGE, names.SPAN_TASK, names.SPAN_ATTEMPT, names.SPAN_SUBMIT, names.SPAN_UNFOLD)
OUTERMOST = ""

pytestmark = [
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here: scripts/install-chromium.sh"),
]


@asynccontextmanager
async def up(directory: Path, *arguments: str) -> AsyncIterator[dict[str, str]]:
    """Inside, a cluster runs; gives what its line for scripts says."""
    addresses = [word for name in ("planner", "scheduler", "profiler") for word in (f"--{name}", "127.0.0.1:0")]
    command = ["-m", "llmsched.cli", "up", "--directory", str(directory), "--tracing", *addresses, *arguments]
    with (directory / "up.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("ready "), (directory / "up.log").read_text()[-3000:]
        yield dict(re.findall(r"(\w+)=(\S+)", line))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def run_job(ready: dict[str, str]) -> Job:
    options = llmsched.Options(address=ready["planner"], scheduler=(ready["scheduler"],))
    async with llmsched.Client(options=options) as client:
        await client.register(all_shapes())
        handle = await client.submit("all-shapes", {"topic": "pictures", "rounds": 2})
        job = await handle.wait()
    assert job.state is JobState.SUCCEEDED, job.failure
    return job


# What Phoenix has.


async def trace_in(phoenix: str, trace_id: str) -> list[Received]:
    """The spans of one trace, by Phoenix's own account."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{phoenix}/v1/projects/llmsched/spans", params={"limit": "1000"}) as answer,
    ):
        found = (await answer.json())["data"] if answer.status == 200 else []
    return [received(span) for span in found if span["context"]["trace_id"] == trace_id]


def received(span: dict[str, Any]) -> Received:
    return Received(
        service="",  # Phoenix does not keep it
        name=" ".join(span["name"].split()),  # as a page shows it: SGLang's begin with a space
        trace_id=span["context"]["trace_id"],
        span_id=span["context"]["span_id"],
        parent_id=span["parent_id"] or "",
        start=datetime.fromisoformat(span["start_time"]).timestamp(),
        end=datetime.fromisoformat(span["end_time"]).timestamp(),
        attributes=span["attributes"],
        error=span["status_message"] if span["status_code"] == "ERROR" else "",
    )


def is_ours(span: Received) -> bool:
    return span.what in (*OURS, names.SPAN_EXECUTE)


def edges(spans: Sequence[Received]) -> Counter[tuple[str, str]]:
    """Names of spans, each with the name of the one that it is below."""
    by_id = {span.span_id: span.name for span in spans}
    return Counter((by_id.get(span.parent_id, OUTERMOST), span.name) for span in spans)


# What its page shows.


async def page_of(phoenix: str, trace_id: str, picture: Path) -> list[tuple[int, str]]:
    """The tree on the page, as somebody would look at it: how deep each span is, and its name."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), phoenix, trace_id, "--json", "--picture", str(picture)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return [(depth, name) for depth, name in json.loads(output)]


def edges_of_page(tree: list[tuple[int, str]]) -> Counter[tuple[str, str]]:
    found, above = Counter(), [OUTERMOST]
    for depth, name in tree:
        del above[depth + 1 :]
        found[above[-1], name] += 1
        above.append(name)
    return found


def calls(spans: Sequence[Received]) -> set[str]:
    """Ids of the spans that SGLang's requests are to be below."""
    return {span.span_id for span in spans if span.name == f"{names.SPAN_EXECUTE} llm"}


def above_requests(spans: Sequence[Received]) -> set[str]:
    return {span.parent_id for span in spans if span.what == "Req"}


async def verify(directory: Path, engine: str, *arguments: str) -> None:
    """One job's trace, in Phoenix and on its page."""
    if find_phoenix() is None:
        pytest.skip("no Phoenix here: scripts/install-phoenix.sh")
    async with up(directory, "--engine", engine, *arguments) as ready:
        job = await run_job(ready)
        place = Place.parse(job.traceparent)
        assert place is not None
        trace_id = f"{place.trace_id:032x}"

        async def complete() -> bool:
            spans = await trace_in(ready["traces"], trace_id)
            beneath = calls(spans) if engine == "sglang" else set()
            return written(spans) == promised(job) and above_requests(spans) == beneath

        await until(complete, limit=60, what="the whole trace in Phoenix")
        picture = directory / "trace.png"
        tree = await page_of(ready["traces"], trace_id, picture)
        spans = await trace_in(ready["traces"], trace_id)
        verify_trace([span for span in spans if is_ours(span)], job)
        assert edges_of_page(tree) == edges(spans)
        assert picture.read_bytes().startswith(b"\x89PNG")


async def test_the_page_shows_the_whole_tree(tmp_path: Path) -> None:
    await verify(tmp_path, "sim")


@pytest.mark.sglang
async def test_on_sglang_its_spans_are_below_ours(tmp_path: Path) -> None:
    if not (ROOT / ".cache" / "sglang" / "venv" / ".llmsched-stamp").exists():
        pytest.skip("no SGLang here: run deploy/sglang-cpu/setup.sh")
    await verify(tmp_path, "sglang", "--slots", "4")
