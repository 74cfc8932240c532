"""Requests from files of TaskBench (Shen et al., "TaskBench: Benchmarking Large Language Models for Task Automation").

Its files hold one JSON object a line: `user_requests.json` with `user_request`, the data with `instruction`. Traces of
plans made for it (docs/workloads.md, structure `generated`) are taken too; they name the tools of a plan and hold no
text, so the request is made from these names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBenchRequest:
    """One request."""

    id: str
    text: str
    #: Names of the tools of the plan that the file gives for it; empty if it gives none.
    tools: tuple[str, ...] = ()


class BadTaskBenchFile(ValueError):
    """The file is none of those that are known; the message says where and why."""


def read_requests(path: str | Path) -> tuple[TaskBenchRequest, ...]:
    """All requests of a file. Raises OSError and BadTaskBenchFile."""
    requests = []
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                requests.append(_request(json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                raise BadTaskBenchFile(f"{path}, line {number}: {error}") from error
    if not requests:
        raise BadTaskBenchFile(f"{path} holds no requests")
    return tuple(requests)


def _request(raw: Any) -> TaskBenchRequest:
    if not isinstance(raw, dict):
        raise TypeError("not a JSON object")
    tools = _tools(raw)
    text = raw.get("user_request") or raw.get("instruction") or _made_up(tools)
    if not isinstance(text, str) or not text.strip():
        raise ValueError("neither user_request nor instruction, and no plan to make a request from")
    return TaskBenchRequest(id=str(raw.get("id", raw.get("job_id", ""))), text=text, tools=tools)


def _tools(raw: dict[str, Any]) -> tuple[str, ...]:
    if "stages" in raw:
        return tuple(stage["name"] for stage in raw["stages"] if stage["kind"] == "tool")
    nodes = raw.get("task_nodes") or raw.get("tool_nodes") or []
    if isinstance(nodes, str):  # some editions hold JSON in JSON
        nodes = json.loads(nodes)
    return tuple(node["task"] for node in nodes)


def _made_up(tools: tuple[str, ...]) -> str:
    steps = ", then ".join(name.lower() for name in tools)
    return f"Please do this, in order: {steps}." if tools else ""
