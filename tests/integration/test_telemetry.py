"""One trace holds a whole job, whoever dies meanwhile; services show the metrics that docs/telemetry.md promises."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import grpc
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

import llmsched
from llmsched.api.planner.v1 import planner_pb2, planner_pb2_grpc
from llmsched.types import Job, JobState
from llmsched.values import to_struct
from services.common import names
from services.common.telemetry import Place
from services.executors.engine_sim.core import BatchSettings
from services.executors.engine_sim.server import EngineSimulator, SimSettings
from services.up.cluster import LocalCluster
from services.up.stack import StackOptions, build
from tests.conftest import ROOT
from tests.support.live import all_shapes, kill, live_cluster, until
from tests.support.otlp import Received, Receiver, otlp_receiver
from tests.support.telemetry_page import quoted, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

#: Who writes what.
SPANS = {
    "llmsched-planner": {names.SPAN_SUBMIT, names.SPAN_UNFOLD},
    "llmsched-scheduler": {names.SPAN_JOB, names.SPAN_STAGE, names.SPAN_TASK, names.SPAN_ATTEMPT},
    "llmsched-executor-llm": {names.SPAN_EXECUTE},
    "llmsched-executor-tool": {names.SPAN_EXECUTE},
}
#: What hangs below what.
EDGES = {
    (names.SPAN_SUBMIT, names.SPAN_JOB),
    (names.SPAN_UNFOLD, names.SPAN_JOB),
    (names.SPAN_STAGE, names.SPAN_JOB),
    (names.SPAN_TASK, names.SPAN_STAGE),
    (names.SPAN_ATTEMPT, names.SPAN_TASK),
    (names.SPAN_EXECUTE, names.SPAN_ATTEMPT),
}
#: Clocks of two processes on one machine differ by less.
CLOCKS = 0.02
INPUT = {"topic": "traces", "rounds": 2}
CALLER = Place(trace_id=0xCA11E4, span_id=0xCA11)

Key = tuple[object, ...]


@dataclass
class Engine:
    """The engine simulator in our process: remembers where requests say they belong, and can keep them waiting."""

    url: str = ""
    traceparents: list[str] = field(default_factory=list)
    waiting: int = 0
    held: str = "nothing"  #: prompts that contain this wait for `release`
    release: asyncio.Event = field(default_factory=asyncio.Event)

    @web.middleware
    async def look(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Sees every request."""
        if request.path == "/generate":
            self.traceparents.append(request.headers.get("traceparent", ""))
            if self.held in await request.text():
                self.waiting += 1
                await self.release.wait()
        return await handler(request)


@asynccontextmanager
async def watched_engine() -> AsyncIterator[Engine]:
    engine = Engine()
    app = EngineSimulator(SimSettings(time_scale=0.05, batch=BatchSettings(slots=8))).app()
    app.middlewares.append(engine.look)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine.url = "http://127.0.0.1:{1}".format(*runner.addresses[0])
    try:
        yield engine
    finally:
        engine.release.set()
        await runner.cleanup()


# What a trace should be.


def promised(job: Job) -> Counter[Key]:
    """The spans of stages, tasks and attempts, from what the API says of the job."""
    keys: list[Key] = [(names.SPAN_JOB,)]
    for stage in job.stages:
        keys.append((names.SPAN_STAGE, stage.stage_id))
        for task in stage.tasks:
            keys.append((names.SPAN_TASK, stage.stage_id, task.index))
            for attempt in range(1, task.attempt + 1):
                keys.append((names.SPAN_ATTEMPT, stage.stage_id, task.index, attempt))
                keys.append((names.SPAN_EXECUTE, stage.stage_id, task.index, attempt))
    return Counter(keys)


def written(spans: Iterable[Received]) -> Counter[Key]:
    """The same, from the spans; the planner's, and stages that clients do not see, left out."""
    parts = {
        names.SPAN_JOB: [],
        names.SPAN_STAGE: [names.STAGE_ID],
        names.SPAN_TASK: [names.STAGE_ID, names.TASK_INDEX],
        names.SPAN_ATTEMPT: [names.STAGE_ID, names.TASK_INDEX, names.ATTEMPT],
        names.SPAN_EXECUTE: [names.STAGE_ID, names.TASK_INDEX, names.ATTEMPT],
    }
    return Counter(
        (span.what, *(span.attributes[part] for part in parts[span.what]))
        for span in spans
        if span.what in parts and not str(span.attributes.get(names.STAGE_ID, "")).startswith("$")
    )


def verify_trace(spans: list[Received], job: Job, *, caller: str = "") -> None:
    """`spans` are all that there are of one trace; `caller` is the id of the span that it was begun in."""
    assert written(spans) == promised(job)
    assert {span.attributes[names.JOB_ID] for span in spans} == {job.id}
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans), "two spans have the same id"
    roots = [span for span in spans if span.parent_id not in by_id]
    assert {span.parent_id for span in roots} == {caller}, "a span's parent is missing"
    edges = {(span.what, by_id[span.parent_id].what) for span in spans if span.parent_id in by_id}
    beside = {names.SPAN_SUBMIT} if caller else set()  # then it is not below the job
    assert {span.what for span in roots} == {names.SPAN_JOB} | beside
    assert edges == {edge for edge in EDGES if edge[0] not in beside}
    for span in spans:
        outer = by_id.get(span.parent_id)
        if outer is not None and span.what != names.SPAN_SUBMIT:  # a job begins when it is written down
            assert outer.start - CLOCKS <= span.start <= span.end <= outer.end + CLOCKS, (outer, span)
    assert not [span for span in spans if span.error]


def spans_by_service(spans: Iterable[Received]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for span in spans:
        found.setdefault(span.service, set()).add(span.what)
    return found


async def run_job(client: llmsched.Client) -> Job:
    """One job with everything in it, to its end."""
    await client.register(all_shapes())
    return await succeeded(await client.submit("all-shapes", INPUT))


async def succeeded(handle: llmsched.JobHandle) -> Job:
    job = await handle.wait()
    assert job.state is JobState.SUCCEEDED, job.failure
    return job


# Traces. Everything is asserted when the cluster has ended: by then all services have sent what they had.


async def test_one_trace_holds_the_whole_job(tmp_path: Path) -> None:
    async with otlp_receiver() as receiver, watched_engine() as engine:
        async with (
            live_cluster(tmp_path, engines=[engine.url], otlp_endpoint=receiver.endpoint) as cluster,
            cluster.client() as client,
        ):
            job = await run_job(client)
        place = Place.parse(job.traceparent)
        assert place is not None
        spans = receiver.trace(f"{place.trace_id:032x}")
        assert len(spans) == len(receiver.spans), "there is more than the one trace"
        verify_trace(spans, job)
        assert spans_by_service(spans) == SPANS
        (root,) = [span for span in spans if not span.parent_id]
        assert root.span_id == f"{place.span_id:016x}", "the job says that it is elsewhere"
        # The engine is told which span to go on from.
        executed = [span for span in spans if span.service == "llmsched-executor-llm"]
        told = {f"00-{span.trace_id}-{span.span_id}-01" for span in executed}
        assert set(engine.traceparents) == told


async def test_a_caller_s_trace_is_continued(tmp_path: Path) -> None:
    """And one that its caller does not want written is not."""
    unwanted = replace(CALLER, trace_id=CALLER.trace_id + 1, sampled=False)
    async with otlp_receiver() as receiver:
        async with (
            live_cluster(tmp_path, otlp_endpoint=receiver.endpoint) as cluster,
            cluster.client() as client,
            grpc.aio.insecure_channel(cluster.stack.planner) as channel,
        ):
            await client.register(all_shapes())
            stub = planner_pb2_grpc.PlannerServiceStub(channel)

            async def submitted_from(caller: Place) -> Job:
                request = planner_pb2.SubmitJobRequest(application="applications/all-shapes", input=to_struct(INPUT))
                reply = await stub.SubmitJob(request, metadata=[("traceparent", caller.traceparent)], timeout=10)
                return await succeeded(client.handle(reply.job.name))

            await submitted_from(unwanted)
            job = await submitted_from(CALLER)
        assert {span.trace_id for span in receiver.spans} == {f"{CALLER.trace_id:032x}"}
        verify_trace(receiver.spans, job, caller=f"{CALLER.span_id:016x}")


async def test_a_trace_survives_its_scheduler(tmp_path: Path) -> None:
    """Killed while a stage runs whose siblings have ended: its successor writes what is left, and nothing twice."""
    async with otlp_receiver() as receiver, watched_engine() as engine:
        engine.held = "[[tokens: 8]]"  # the stage `part`
        async with (
            live_cluster(tmp_path, engines=[engine.url], otlp_endpoint=receiver.endpoint) as cluster,
            cluster.client() as client,
        ):
            await client.register(all_shapes())
            handle = await client.submit("all-shapes", INPUT)
            await until_only_held(engine, receiver)
            kill(cluster, "scheduler")
            engine.release.set()
            job = await succeeded(handle)
            assert cluster.supervisor.children["scheduler"].restarts == 1
        verify_trace(receiver.spans, job)
        assert all(task.attempt == 1 for stage in job.stages for task in stage.tasks), "something was done again"


async def until_only_held(engine: Engine, receiver: Receiver) -> None:
    """Until the engine holds the three tasks of a stage, and the spans of all that ended before have been sent."""

    async def holds_three() -> bool:
        return engine.waiting == 3

    await until(holds_three, limit=60, what="three requests in the engine")
    await receiver.until(
        lambda spans: {"outline", "polish"} <= {span.attributes.get(names.STAGE_ID) for span in spans_of_stages(spans)}
    )


def spans_of_stages(spans: Iterable[Received]) -> list[Received]:
    return [span for span in spans if span.what == names.SPAN_STAGE]


@pytest.mark.sglang
@pytest.mark.full
async def test_sglang_continues_the_trace(tmp_path: Path) -> None:
    if not (ROOT / ".cache" / "sglang" / "venv" / ".llmsched-stamp").exists():
        pytest.skip("no SGLang here: run deploy/sglang-cpu/setup.sh")
    async with otlp_receiver() as receiver:
        async with (
            live_cluster(
                tmp_path, engines=["sglang"], engine_arguments=(), slots=4, otlp_endpoint=receiver.endpoint, wait=200
            ) as cluster,
            cluster.client() as client,
        ):
            job = await run_job(client)
            place = Place.parse(job.traceparent)
            assert place is not None
            trace = f"{place.trace_id:032x}"
            executed = [each for each in promised(job) if each[0] == names.SPAN_EXECUTE]
            calls = len([each for each in executed if not str(each[1]).endswith(("count", "check"))])
            # SGLang sends in its own time.
            await receiver.until(lambda _: len(roots_of_sglang(receiver.trace(trace))) == calls)
        spans = receiver.trace(trace)
        ours = [span for span in spans if span.service.startswith("llmsched-")]
        verify_trace(ours, job)
        parents = {span.span_id for span in ours if span.service == "llmsched-executor-llm"}
        assert {span.parent_id for span in roots_of_sglang(spans)} == parents
        ids = {span.span_id for span in spans}
        assert not [span for span in spans if span.parent_id and span.parent_id not in ids]


def roots_of_sglang(spans: Iterable[Received]) -> list[Received]:
    """The outermost spans of requests."""
    return [span for span in spans if not span.service.startswith("llmsched-") and span.what == "Req"]


# Metrics.


async def test_every_promised_metric_is_there(tmp_path: Path) -> None:
    options = StackOptions(
        directory=tmp_path,
        planner="127.0.0.1:0",
        scheduler="127.0.0.1:0",
        engine_arguments=("--time-scale", "0.05"),
        slots=8,
        tool_slots=2,
        prometheus=True,
    )
    rows = table("metric")
    assert rows
    async with (
        LocalCluster(build(options), tmp_path, on_event=print) as cluster,
        cluster.client() as client,
        aiohttp.ClientSession() as session,
    ):
        await cluster.wait_ready(60)
        await run_job(client)
        with pytest.raises(llmsched.InvalidRequestError):
            await client.submit("all-shapes", {"topic": 3})
        for service in {row["written by"] for row in rows}:
            wanted = [row for row in rows if row["written by"] == service]
            await until_shown(session, cluster.stack.metrics[service], service, wanted)


async def until_shown(session: aiohttp.ClientSession, address: str, service: str, wanted: list[dict[str, str]]) -> None:
    """Until the service shows exactly these; gauges are set every now and then."""
    expected = {quoted(row["in Prometheus"])[0]: label_names(row) for row in wanted}
    shown: dict[str, set[str]] = {}

    async def all_there() -> bool:
        async with session.get(f"http://{address}/metrics") as answer:
            shown.clear()
            shown.update(series(await answer.text()))
        return shown.keys() >= expected.keys()

    try:
        await until(all_there, limit=15, what=f"all metrics of the {service}")
    finally:
        assert shown == expected


def label_names(row: dict[str, str]) -> set[str]:
    return {label.replace(".", "_") for label in quoted(row["labels"])}


def series(text: str) -> dict[str, set[str]]:
    """Our metrics on a page for Prometheus, with the labels that are ours; histograms under their own name."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if not line.startswith("llmsched_"):
            continue
        name, _, rest = line.partition("{")
        labels = {pair.partition("=")[0] for pair in rest.partition("}")[0].split(",") if pair}
        name = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        found.setdefault(name, set()).update(
            label for label in labels if label != "le" and not label.startswith("otel_scope")
        )
    return found
