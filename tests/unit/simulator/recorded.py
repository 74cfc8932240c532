"""Builders of recorded jobs for tests of the simulator."""

from __future__ import annotations

from typing import Any

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, TraceStage, TraceTask
from services.scheduler.core.model import PolicySettings
from simulator.cluster import ClusterShape
from simulator.run import RunSettings

#: A token is a second, and engines do not slow down.
WORK = WorkModel(prefill=0.0, decode=1.0)


def llm(stage_id: str, *parents: str, tokens: tuple[int, ...] = (1,), **more: Any) -> TraceStage:
    """An LLM stage with a task for each number of output tokens."""
    tasks = tuple(TraceTask(prompt_tokens=10, output_tokens=one) for one in tokens)
    return TraceStage(**{"id": stage_id, "name": stage_id, "kind": "llm", "parents": parents, "tasks": tasks, **more})


def tool(stage_id: str, *parents: str, seconds: tuple[float, ...] = (1.0,), **more: Any) -> TraceStage:
    tasks = tuple(TraceTask(seconds=one) for one in seconds)
    return TraceStage(**{"id": stage_id, "name": stage_id, "kind": "tool", "parents": parents, "tasks": tasks, **more})


def job(*stages: TraceStage, at: float | None = 0.0, **more: Any) -> TraceJob:
    return TraceJob(**{"app": "app", "job_id": "job", "stages": stages, "arrival_seconds": at, **more})


def settings(policy: str = "fcfs", **more: Any) -> RunSettings:
    """Two engines with two slots each, and two tool slots."""
    cluster = ClusterShape(llm_executors=2, max_batch=2, tool_slots=2, batch_slowdown=0.0)
    return RunSettings(**{"policy": PolicySettings(name=policy), "cluster": cluster, "work": WORK, **more})


#: Two sorts of jobs of one application: what a first call writes says how long the second will take.
SHORT, LONG = (3, 2), (1, 40)


def telling(sort: tuple[int, int], at: float | None = None, **more: Any) -> TraceJob:
    """A job of two calls that write so many tokens."""
    first, second = sort
    return job(llm("ask", tokens=(first,)), llm("say", "ask", tokens=(second,)), at=at, app="telling", **more)


def told() -> list[TraceJob]:
    """A history of both sorts, in equal parts."""
    return [telling(LONG if number % 2 else SHORT) for number in range(40)]
