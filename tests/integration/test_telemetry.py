"""One trace holds a whole job, whoever dies meanwhile; services show the metrics that docs/telemetry.md promises."""

from __future__ import annotations

import asyncio
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
from tests.support.telemetry_page import quoted, spans_of_services, table
from tests.support.traces import promised, spans_by_service, verify_trace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

INPUT = {"topic": "traces", "rounds": 2}
CALLER = Place(trace_id=0xCA11E4, span_id=0xCA11)


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
        assert spans_by_service(spans) == spans_of_services()
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
        profiler="127.0.0.1:0",
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
        await until(lambda: learned(client), limit=15, what="a profile")
        await succeeded(await client.submit("all-shapes", INPUT))  # what is believed of it is scored
        for name, address in cluster.stack.metrics.items():
            service = "executor" if name in cluster.stack.executors else name
            wanted = [row for row in rows if row["written by"] == service]
            assert wanted, f"no metric of {service} is promised"
            await until_shown(session, address, name, wanted)


async def learned(client: llmsched.Client) -> bool:
    """Whether there is a history to learn from by now; if so, it has been learned from."""
    try:
        return (await client.train("all-shapes")).version > 0
    except llmsched.ConflictError:
        return False


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
