"""Observations: what jobs have shown, for the profiler to learn from. One JSON object per line, written with the
commit that made it true, so that each is there exactly once. Times are seconds; moments are seconds since the epoch.

An attempt that ended:
    {"type": "attempt", "job", "application", "version", "stage" (id), "name", "occurrence", "kind", "requirement",
     "task" (index), "width", "attempt", "outcome" ("succeeded", "failed", "lost", "cancelled"),
     "reason" (of a failure), "executor",
     "used_slots" (on it at dispatch, this one included; null if another leader dispatched it),
     "ready_at" (of the stage), "started_at" (dispatch), "ended_at",
     and of a success: "queue", "prefill", "decode", "total" (measured by the executor),
     "prompt_tokens", "output_tokens", "cached_tokens"}

A job that ended:
    {"type": "job", "job", "application", "version", "structure", "outcome" ("succeeded", "failed", "cancelled"),
     "reason", "arrived_at", "started_at", "ended_at", "prompt_tokens", "completion_tokens", "cached_tokens",
     "stages": [{"stage", "name", "occurrence", "kind", "requirement", "state", "parents", "generated_by", "width",
                 "ready_at", "ended_at"}]}
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from services.scheduler.core.model import StageSnapshot
from services.scheduler.facts import AttemptEnded, Fact, JobEnded

_encoder = msgspec.json.Encoder()


def observations(facts: Iterable[Fact]) -> tuple[bytes, ...]:
    """The lines that these facts are worth."""
    lines = []
    for fact in facts:
        if isinstance(fact, AttemptEnded):
            lines.append(_encoder.encode(_attempt(fact)))
        elif isinstance(fact, JobEnded):
            lines.append(_encoder.encode(_job(fact)))
    return tuple(lines)


def _attempt(fact: AttemptEnded) -> dict[str, object]:
    spec, measured = fact.stage.spec, fact.measurement
    line: dict[str, object] = {
        "type": "attempt",
        "job": fact.record.job_id,
        "application": fact.record.application,
        "version": fact.record.version,
        "stage": spec.stage_id,
        "name": spec.name,
        "occurrence": spec.occurrence,
        "kind": spec.kind.value,
        "requirement": spec.requirement,
        "task": fact.ref.task_index,
        "width": len(fact.stage.tasks),
        "attempt": fact.ref.attempt,
        "outcome": fact.outcome,
        "reason": fact.failure.reason if fact.failure else "",
        "executor": fact.executor_id,
        "used_slots": fact.used_slots,
        "ready_at": fact.stage.ready_at,
        "started_at": fact.started_at,
        "ended_at": fact.ended_at,
    }
    if measured is not None:
        line |= {
            "queue": measured.queue_seconds,
            "prefill": measured.prefill_seconds,
            "decode": measured.decode_seconds,
            "total": measured.total_seconds,
            "prompt_tokens": measured.prompt_tokens,
            "output_tokens": measured.output_tokens,
            "cached_tokens": measured.cached_tokens,
        }
    return line


def _job(fact: JobEnded) -> dict[str, object]:
    record, status = fact.record, fact.status
    return {
        "type": "job",
        "job": record.job_id,
        "application": record.application,
        "version": record.version,
        "structure": record.structure,
        "outcome": status.state.lower(),
        "reason": status.failure.reason if status.failure else "",
        "arrived_at": record.created_at,
        "started_at": status.started_at,
        "ended_at": status.ended_at,
        "prompt_tokens": status.prompt_tokens,
        "completion_tokens": status.completion_tokens,
        "cached_tokens": status.cached_tokens,
        "stages": [_stage(stage) for stage in (fact.job.stages if fact.job else ())],
    }


def _stage(stage: StageSnapshot) -> dict[str, object]:
    return {
        "stage": stage.spec.stage_id,
        "name": stage.spec.name,
        "occurrence": stage.spec.occurrence,
        "kind": stage.spec.kind.value,
        "requirement": stage.spec.requirement,
        "state": stage.state.value,
        "parents": stage.spec.parents,
        "generated_by": stage.spec.generated_by,
        "width": len(stage.tasks),
        "ready_at": stage.ready_at,
        "ended_at": stage.ended_at,
    }
