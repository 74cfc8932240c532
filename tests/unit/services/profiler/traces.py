"""Builders: a line of a trace file with only what matters to a test, and any job at all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from services.profiler.core.trace import TraceJob, TraceStage, TraceTask


def stage(stage_id: str, *parents: str, tasks: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """An LLM stage of one task."""
    default = [{"prompt_tokens": 1, "output_tokens": 1}]
    fields = {"id": stage_id, "name": stage_id, "kind": "llm", "parents": list(parents)}
    return {**fields, "tasks": default if tasks is None else tasks, **more}


def tool(stage_id: str, *parents: str, seconds: float | None = 1.0, **more: Any) -> dict[str, Any]:
    """A tool stage of one task."""
    return stage(stage_id, *parents, kind="tool", tasks=[{"seconds": seconds}], **more)


def line(*stages: dict[str, Any], **more: Any) -> str:
    """A job of a workload that arrives at 0; `arrival_seconds=...` (Ellipsis) leaves the arrival out."""
    fields = {"app": "sorting", "arrival_seconds": 0.0, "stages": list(stages or [stage("a")]), **more}
    return json.dumps({name: value for name, value in fields.items() if value is not ...})


_words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
_seconds = st.floats(0, allow_infinity=False) | st.none()
_tokens = st.integers(0, 2**53) | st.none()
_llm_tasks = st.builds(TraceTask, prompt_tokens=_tokens, output_tokens=_tokens, seconds=_seconds)
_tool_tasks = st.builds(TraceTask, seconds=_seconds)


@st.composite
def _stages(draw: st.DrawFn) -> tuple[TraceStage, ...]:
    ids = draw(st.lists(_words, min_size=1, max_size=5, unique=True))
    stages = []
    for place, stage_id in enumerate(ids):
        earlier = ids[:place]
        named = st.sampled_from([None, *earlier])
        kind = draw(st.sampled_from(["llm", "plan", "tool"]))
        tasks = draw(st.lists(_tool_tasks if kind == "tool" else _llm_tasks, max_size=3))
        stages.append(
            TraceStage(
                id=stage_id,
                name=draw(_words),
                kind=kind,
                parents=tuple(draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if earlier else ()),
                tasks=tuple(tasks),
                generated_by=draw(named),
                width_by=draw(named),
            )
        )
    return tuple(stages)


def jobs() -> st.SearchStrategy[TraceJob]:
    """Any job of a history."""
    text = _words | st.none()
    return st.builds(
        TraceJob,
        app=_words,
        stages=_stages(),
        job_id=_words,
        structure=st.sampled_from(["static", "width", "chain", "chain+width", "generated"]),
        group=text,
        job_seconds=_seconds,
        request_tokens=_tokens,
        input_class=text,
        planner=text,
        domain=text,
        recorded_jct_seconds=_seconds,
        recorded_policy=text,
    )
