"""Builders of observed jobs: a test names only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.profiler.core.observation import JobObserved, StageObserved
from services.profiler.core.trace import TraceTask

CALL = TraceTask(prompt_tokens=3, output_tokens=4, seconds=0.5)
RUN = TraceTask(seconds=0.25)


def llm(stage: str, *parents: str, **fields: Any) -> StageObserved:
    return _stage(stage, parents, {"kind": "LLM", "tasks": (CALL,)} | fields)


def tool(stage: str, *parents: str, **fields: Any) -> StageObserved:
    return _stage(stage, parents, {"kind": "TOOL", "tasks": (RUN,)} | fields)


def placeholder(stage: str, *parents: str, adds: tuple[str, ...] = (), **fields: Any) -> StageObserved:
    return _stage(stage, parents, {"kind": "DYNAMIC", "tasks": (), "added": adds} | fields)


def _stage(stage: str, parents: tuple[str, ...], fields: dict[str, Any]) -> StageObserved:
    """The number behind a "#" is its occurrence."""
    name, _, occurrence = stage.partition("#")
    known = {
        "name": name,
        "occurrence": int(occurrence or 0),
        "state": "SUCCEEDED",
        "position": 0,
        "ended_at": 150.0,
    }
    return StageObserved(stage=stage, parents=parents, **(known | fields))


def job(*stages: StageObserved, **fields: Any) -> JobObserved:
    """Positions are the order in which the stages are given."""
    known: dict[str, Any] = {
        "job": "j",
        "application": "app",
        "structure": "static",
        "outcome": "succeeded",
        "arrived_at": 100.0,
        "ended_at": 160.5,
    }
    placed = tuple(replace(stage, position=index) for index, stage in enumerate(stages))
    return JobObserved(stages=placed, **(known | fields))
