"""deploy/compose with its observability, seen to work: a real Prometheus asks all services, every panel shows data,
and traces, metrics and logs are those that docs/telemetry.md states.

One cluster lives through all that metrics tell of; then everything is asked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from itertools import chain

import pytest
import pytest_asyncio
from opentelemetry.sdk.trace import TracerProvider

import llmsched
from llmsched import Application
from llmsched.types import Job, JobState, TaskState
from services.common.telemetry import Place
from tests.support import prometheus
from tests.support.live import all_shapes, submit_many, until
from tests.support.observed import SCHEDULERS, Observed, observed
from tests.support.otlp import Received
from tests.support.prometheus import Question, questions
from tests.support.telemetry_page import quoted, spans_of_services, table
from tests.support.traces import promised, spans_by_service, verify_trace, written

pytestmark = [
    pytest.mark.network,
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(prometheus.program() is None, reason="no prometheus here: scripts/install-prometheus.sh"),
]

#: By the services' names in docs/telemetry.md: their containers.
CONTAINERS = {
    "planner": ("planner",),
    "profiler": ("profiler",),
    "scheduler": SCHEDULERS,
    "LLM executor": ("llm-0",),
    "tool executor": ("tool-0",),
}
#: Panels that may rightly show only zeros, and why.
ZEROS = {
    "Requests that wait in the engine": "an executor gives its engine no more requests than that has slots",
}
#: Alerts whose condition holds here, or may; each waits for minutes before it fires.
CAUSED = {"JobsFail", "AttemptsLost", "ApplicationChanged", "BeliefsOff"}
SLOW = "[[tokens: 150]]"


# A cluster's life.


def one_call(name: str, prompt: str, **options: int) -> Application:
    app = Application(name, input={"n": "integer"})
    app.llm("answer", prompt=prompt, max_tokens=200, retry={"max_attempts": 2, "backoff": "0.1s"}, **options)
    app.output = "{{ answer.text }}"
    return app


APPLICATIONS = (
    all_shapes(),
    one_call("flaky", "[[fail: 503 x1]] [[tokens: 4]] {{ input.n }}"),
    one_call("broken", "[[fail: 400]] {{ input.n }}"),
    one_call("changing", "[[tokens: {{ input.n }}]]"),
    one_call("slow", SLOW + " {{ input.n }}"),
)


async def ended(jobs: list[llmsched.JobHandle]) -> Counter[JobState]:
    return Counter(job.state for job in await asyncio.gather(*(handle.wait() for handle in jobs)))


async def submit(client: llmsched.Client, app: str, numbers: range | list[int]) -> list[llmsched.JobHandle]:
    return list(await asyncio.gather(*(client.submit(app, {"n": number}) for number in numbers)))


async def refused(call: Awaitable[object], error: type[Exception]) -> None:
    with pytest.raises(error):
        await call


async def learns(client: llmsched.Client) -> None:
    """Jobs of all kinds, refusals, retries, failures; profiles, beliefs, and an application that changes."""
    await refused(client.submit("all-shapes", {"topic": 3}), llmsched.InvalidRequestError)
    await refused(client.submit("unknown", {}), llmsched.NotFoundError)
    several = await submit_many(client, "all-shapes", 8)
    jobs = await submit(client, "flaky", range(3)) + await submit(client, "changing", [4 + n % 3 for n in range(40)])
    assert await ended(several + jobs) == {JobState.SUCCEEDED: len(several + jobs)}
    for app in ("all-shapes", "changing"):
        assert (await client.train(app)).version > 0
    await client.set_policy("llmsched")
    more = await submit_many(client, "all-shapes", 6) + await submit(client, "changing", [20] * 40)
    assert await ended(more) == {JobState.SUCCEEDED: len(more)}


async def loses_its_executor(run: Observed, client: llmsched.Client) -> None:
    jobs = await submit(client, "slow", range(8))

    async def running() -> bool:
        states = [task.state for handle in jobs for stage in (await handle.status()).stages for task in stage.tasks]
        return states.count(TaskState.RUNNING) == len(jobs)

    await until(running, limit=30, what="attempts on the executor")
    await run.running.kill("llm-0")
    await run.running.start("llm-0")
    cancelled = jobs.pop()
    await cancelled.cancel()
    assert await ended(jobs) == {JobState.SUCCEEDED: len(jobs)}
    assert await ended([cancelled]) == {JobState.CANCELLED: 1}


async def loses_its_leader(run: Observed, client: llmsched.Client) -> None:
    leader = await run.leader()
    await run.running.kill(leader)
    assert await ended(await submit_many(client, "all-shapes", 2)) == {JobState.SUCCEEDED: 2}
    await run.running.start(leader)
    await run.ready()
    assert await run.leader() != leader


async def fails(run: Observed, client: llmsched.Client) -> None:
    """Until the alert waits: an increase is seen only between two scrapes of one leader."""
    for first in range(0, 100, 4):
        assert await ended(await submit(client, "broken", range(first, first + 4))) == {JobState.FAILED: 4}
        await run.prometheus.scrapes(2)
        if "JobsFail" in await run.alerts("pending"):
            break


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def life(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    async with observed(tmp_path_factory.mktemp("observed")) as run:
        async with run.client() as client:
            for app in APPLICATIONS:
                await client.register(app)
            await learns(client)
            await loses_its_executor(run, client)
            await loses_its_leader(run, client)
            await fails(run, client)
        await run.prometheus.scrapes(3)
        yield run


# Metrics.


async def test_every_service_is_asked_and_answers(life: Observed) -> None:
    targets = (await life.prometheus.get("targets"))["activeTargets"]
    assert {target["health"] for target in targets} == {"up"}, [target["lastError"] for target in targets]
    found = Counter(target["labels"]["job"] for target in targets)
    assert found == {"planner": 1, "profiler": 1, "scheduler": 2, "executor": 2, "engine": 1}
    assert sum(found.values()) == len(set(life.running.services) - {"redis"})


@pytest.mark.parametrize("question", questions(), ids=str)
async def test_a_panel_shows_something(life: Observed, question: Question) -> None:
    found = await life.prometheus.values(question.substituted)
    assert found, "no data"
    assert question.panel in ZEROS or any(chain.from_iterable(found.values())), "nothing but zeros"


async def test_no_panel_is_excused_that_is_not_there() -> None:
    assert ZEROS.keys() <= {question.panel for question in questions()}


async def test_alerts_are_loaded_and_only_those_wait_whose_condition_holds(life: Observed) -> None:
    (group,) = (await life.prometheus.get("rules"))["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert await life.alerts("firing") == set()
    waiting = await life.alerts("pending")
    assert "JobsFail" in waiting
    assert waiting <= CAUSED, "an alert's condition holds that should not"


# What each service tells.


@pytest.mark.parametrize("row", table("service"), ids=lambda row: row["service"])
async def test_metrics_and_logs_are_those_of_the_page(life: Observed, row: dict[str, str]) -> None:
    containers = CONTAINERS.get(row["service"], ())
    shown: set[str] = set()
    for container in containers:
        name = life.running.hosts[container] if container not in ("llm-0", "tool-0") else container
        data = await life.prometheus.get("query", query=f'{{__name__=~"llmsched_.+",instance=~"{name}(:.*)?"}}')
        names = {series["metric"]["__name__"] for series in data["result"]}
        shown |= {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in names}
    promised = [each for each in table("metric") if each["written by"] in quoted(row["metrics"])]
    assert shown == {quoted(each["in Prometheus"])[0] for each in promised}

    lines = list(chain.from_iterable(life.log(container) for container in containers))
    always = {"timestamp", "level", "service", "module", "event"}
    assert always <= {quoted(each["field"])[0] for each in table("field")}
    assert all(always <= line.keys() for line in lines)
    assert {line["service"] for line in lines} == set(quoted(row["logs"]))


# Traces.


def has_all(spans: list[Received], job: Job) -> bool:
    return written(spans) == promised(job) and spans_by_service(spans) == spans_of_services()


async def test_a_trace_has_the_spans_of_all_services_below_the_caller(life: Observed) -> None:
    """The caller writes spans too, as a program of a user does: the SDK goes on from the one that it is in."""
    tracer = TracerProvider().get_tracer("a user's program")
    async with life.client() as client:
        with tracer.start_as_current_span("question") as question:
            handle = await client.submit("all-shapes", {"topic": "traces", "rounds": 2})
        job = await handle.wait()
    assert job.state is JobState.SUCCEEDED
    place = Place.parse(job.traceparent)
    assert place is not None
    context = question.get_span_context()
    assert place.trace_id == context.trace_id
    trace_id = f"{place.trace_id:032x}"
    # Each service sends in its own time.
    await life.receiver.until(lambda _: has_all(life.receiver.trace(trace_id), job))
    spans = life.receiver.trace(trace_id)
    verify_trace(spans, job, caller=f"{context.span_id:016x}")
