"""Spans of jobs, stages, tasks and attempts, written when they have ended: one trace per job.

Their ids are derived from what they describe, so that an executor can hang its span below an attempt that has not
ended yet, and a stage that began under another leader still gets its one span.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.common import names
from services.common.telemetry import Place, Telemetry, job_place
from services.scheduler.core.effects import Effect
from services.scheduler.core.events import Event
from services.scheduler.core.model import AttemptRef, Failure, JobState, StageSpec
from services.scheduler.facts import AttemptEnded, JobEnded, StageEnded
from services.scheduler.ledger import Entry
from services.state.records import JobRecord

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue


def place_in(record: JobRecord, *parts: object) -> Place:
    """Where the span of a part of the job is: () the job, (stage), (stage, task) or (stage, task, attempt)."""
    job = job_place(record.job_id, record.traceparent)
    return job.of(record.job_id, *parts) if parts else job


def attempt_place(record: JobRecord, ref: AttemptRef) -> Place:
    return place_in(record, ref.stage_id, ref.task_index, ref.attempt)


class SpanJournal:
    """Writes the spans of what a commit has ended."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def handled(self, events: Sequence[Event], effects: Sequence[Effect], seconds: float) -> None:
        """Nothing is durable yet."""

    def committed(self, entry: Entry, seconds: float) -> None:
        for fact in entry.facts:
            match fact:
                case AttemptEnded():
                    self._attempt(fact)
                    if fact.is_last:
                        self._task(fact)
                case StageEnded():
                    self._stage(fact)
                case JobEnded():
                    self._job(fact)

    def _attempt(self, fact: AttemptEnded) -> None:
        attributes = _stage_attributes(fact.record, fact.stage.spec)
        attributes |= {
            names.TASK_INDEX: fact.ref.task_index,
            names.ATTEMPT: fact.ref.attempt,
            names.EXECUTOR: fact.executor_id,
        }
        if fact.dispatch is not None:
            attributes |= {
                names.POLICY: fact.dispatch.policy,
                names.POLICY_KEY: str(fact.dispatch.key),
                names.POLICY_RULE: fact.dispatch.rule,
                names.QUEUE_SECONDS: fact.dispatch.waited_seconds,
            }
        if fact.measurement is not None:
            attributes |= {
                names.PROMPT_TOKENS: fact.measurement.prompt_tokens,
                names.COMPLETION_TOKENS: fact.measurement.output_tokens,
            }
        if fact.failure is not None:
            attributes[names.FAILURE_REASON] = fact.failure.reason
        self._telemetry.span(
            names.SPAN_ATTEMPT,
            attempt_place(fact.record, fact.ref),
            about=str(fact.ref.attempt),
            parent=place_in(fact.record, fact.ref.stage_id, fact.ref.task_index),
            start=fact.started_at,
            end=fact.ended_at,
            attributes=attributes,
            error="" if fact.outcome == "succeeded" else _error(fact.failure, fact.outcome),
        )

    def _task(self, fact: AttemptEnded) -> None:
        attributes = _stage_attributes(fact.record, fact.stage.spec)
        attributes |= {names.TASK_INDEX: fact.ref.task_index, names.ATTEMPT: fact.ref.attempt}
        self._telemetry.span(
            names.SPAN_TASK,
            place_in(fact.record, fact.ref.stage_id, fact.ref.task_index),
            about=str(fact.ref.task_index),
            parent=place_in(fact.record, fact.ref.stage_id),
            start=_first(fact.stage.ready_at, fact.started_at),
            end=fact.ended_at,
            attributes=attributes,
            error="" if fact.outcome == "succeeded" else _error(fact.failure, fact.outcome),
        )

    def _stage(self, fact: StageEnded) -> None:
        stage = fact.stage
        # A stage that was skipped or cancelled before it had tasks took no time.
        end = _first(stage.ended_at, stage.ready_at, fact.record.created_at)
        attributes = _stage_attributes(fact.record, stage.spec) | {names.STAGE_WIDTH: len(stage.tasks)}
        if stage.failure is not None:
            attributes[names.FAILURE_REASON] = stage.failure.reason
        self._telemetry.span(
            names.SPAN_STAGE,
            place_in(fact.record, stage.spec.stage_id),
            about=stage.spec.name,
            parent=place_in(fact.record),
            start=_first(stage.ready_at, end),
            end=end,
            attributes=attributes,
            error="" if stage.state.is_done else _error(stage.failure, stage.state.lower()),
        )

    def _job(self, fact: JobEnded) -> None:
        record, status = fact.record, fact.status
        attributes: dict[str, AttributeValue] = {
            names.JOB_ID: record.job_id,
            names.JOB_STATE: status.state.value,
            names.APPLICATION: record.application,
            names.APPLICATION_VERSION: record.version,
            names.PROMPT_TOKENS: status.prompt_tokens,
            names.COMPLETION_TOKENS: status.completion_tokens,
            names.OPENINFERENCE_KIND: "CHAIN",
        }
        if status.failure is not None:
            attributes[names.FAILURE_REASON] = status.failure.reason
        self._telemetry.span(
            names.SPAN_JOB,
            place_in(record),
            about=record.application,
            parent=Place.parse(record.traceparent),
            start=record.created_at,
            end=_first(status.ended_at, record.created_at),
            attributes=attributes,
            error="" if status.state is JobState.SUCCEEDED else _error(status.failure, status.state.lower()),
        )


def _error(failure: Failure | None, outcome: str) -> str:
    """What went wrong: the failure's message, or how it ended."""
    return (failure.message if failure else "") or outcome


def _first(*moments: float | None) -> float:
    """The first moment that is known."""
    return next((moment for moment in moments if moment is not None), 0.0)


def _stage_attributes(record: JobRecord, spec: StageSpec) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        names.JOB_ID: record.job_id,
        names.APPLICATION: record.application,
        names.STAGE_ID: spec.stage_id,
        names.STAGE_NAME: spec.name,
        names.STAGE_KIND: spec.kind.value,
        names.OPENINFERENCE_KIND: "CHAIN",
    }
    resource, _, name = spec.requirement.partition(":")
    if name:
        attributes[names.MODEL if resource == "llm" else names.TOOL] = name
    return attributes
