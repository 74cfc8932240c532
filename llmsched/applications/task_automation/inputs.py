"""Requests to automate."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

from llmsched.applications.task_automation.taskbench import read_requests


def make_input(random: Random, taskbench: str | Path | None = None) -> dict[str, Any]:
    """One of the requests that ship with the application, or of those in a file of TaskBench."""
    if taskbench is not None:
        return {"request": random.choice(_read(str(taskbench))).text}
    lines = files(__package__).joinpath("data/requests.jsonl").read_text("utf-8")
    request: dict[str, Any] = json.loads(random.choice(lines.splitlines()))
    return request


_read = functools.lru_cache(maxsize=4)(read_requests)
