"""What a job's trace should be: its spans from what the API says of the job, their edges from docs/telemetry.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from llmsched.types import Job
from services.common import names
from tests.support.otlp import Received
from tests.support.telemetry_page import edges_of_spans

Key = tuple[object, ...]

#: Clocks of two processes on one machine differ by less.
CLOCKS = 0.02


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
    assert edges == {edge for edge in edges_of_spans() if edge[0] not in beside}
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
