"""Observations: what jobs and engines have shown, for the profiler to learn from. One JSON object per line. Those of
jobs are written with the commit that made them true, so that each is there exactly once; those of engines with the next
commit, so that each is there at most once. Times are seconds; moments are seconds since the epoch.

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
                 "ready_at", "ended_at", "position", "width_by", "added" (stages, by its unfoldings),
                 "tasks" (those that succeeded): [{"prompt_tokens", "output_tokens", "seconds" (in its slot)}]}]}

The line of a job says all that a history needs to know of it, so that nobody has to keep lines of attempts until then.

How fast an engine was since the executor's last such line, at most one every five seconds for each executor:
    {"type": "steps", "executor", "models" (names that it answers to), "slots", "at",
     "decode": [{"batch", "steps" (how many), "seconds" (their sum), "squares" (sum of their squares)}],
     "prefill": [{"batch", "prompts" (how many), "tokens", "seconds" (sums over the prompts),
                  "token_squares", "token_seconds", "squares" (sums of tokens², tokens·seconds, seconds²)}]}
    Each batch size is there once; services/profiler/core/calibration.py says what counts, `Report.of_plain` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from services.profiler.core.calibration import Report
from services.scheduler.core.model import StageKind, StageSnapshot
from services.scheduler.facts import AttemptEnded, Fact, JobEnded
from services.scheduler.registration import Registration
from services.scheduler.task_trace import trace_task

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


def steps_observation(registration: Registration, report: Report, *, at: float) -> bytes:
    """The line about an engine's speed."""
    line: dict[str, object] = {
        "type": "steps",
        "executor": registration.executor_id,
        "models": registration.models,
        "slots": registration.slots,
        "at": at,
    }
    return _encoder.encode(line | report.plain())


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
        "stages": [_stage(stage, fact.added) for stage in (fact.job.stages if fact.job else ())],
    }


def _stage(stage: StageSnapshot, added: Mapping[str, Sequence[str]]) -> dict[str, object]:
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
        "position": stage.spec.position,
        "width_by": stage.spec.width_by,
        "added": added.get(stage.spec.stage_id, ()),
        "tasks": [
            trace_task(task, is_llm=stage.spec.kind is StageKind.LLM) for task in stage.tasks if task.measurement
        ],
    }
