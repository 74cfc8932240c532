"""Recorded jobs for tests of the generator: a test writes only what it is about."""

from __future__ import annotations

from services.profiler.core.trace import Structure, TraceJob, TraceStage, TraceTask


def recorded(
    app: str = "app",
    job_id: str = "one",
    *,
    output: int = 100,
    tool: float | None = 1.0,
    tools: int = 1,
    name: str = "fetch",
    structure: Structure = "static",
    group: str | None = None,
) -> TraceJob:
    """A call of `output` tokens and no prompt, then `tools` tasks of a tool that take `tool` seconds each."""
    ask = TraceStage(
        id="ask", name="ask", kind="llm", parents=(), tasks=(TraceTask(prompt_tokens=0, output_tokens=output),)
    )
    fetch = TraceStage(id="fetch", name=name, kind="tool", parents=("ask",), tasks=(TraceTask(seconds=tool),) * tools)
    return TraceJob(app=app, job_id=job_id, structure=structure, group=group, stages=(ask, fetch))


def tool_seconds(job: TraceJob) -> list[float | None]:
    return [task.seconds for stage in job.stages if not stage.is_llm for task in stage.tasks]
