"""A task that succeeded, as the trace format has it."""

from __future__ import annotations

from services.profiler.core.trace import TraceTask
from services.scheduler.core.model import TaskSnapshot


def trace_task(task: TaskSnapshot, *, is_llm: bool) -> TraceTask:
    """With the seconds that it held a slot, from the dispatch of the attempt that succeeded to its end."""
    assert task.measurement is not None
    seconds = task.measurement.total_seconds
    if task.started_at is not None and task.ended_at is not None:
        seconds = task.ended_at - task.started_at
    seconds = round(max(0.0, seconds), 6)
    if not is_llm:
        return TraceTask(seconds=seconds)
    prompt_tokens = task.measurement.prompt_tokens or task.spec.prompt_tokens
    return TraceTask(prompt_tokens=prompt_tokens, output_tokens=task.measurement.output_tokens, seconds=seconds)
