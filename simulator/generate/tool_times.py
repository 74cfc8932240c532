"""Named models for the tool seconds that a recording lacks. Nothing is ever filled in without one.

A model sees the name of a tool and the name of a task, and answers with the same seconds each time: no seed decides,
nor the order of the questions. So workloads of different seeds, and the history that policies learn from, agree on
what a tool takes and what a recorded task took.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.profiler.core.trace import TraceJob
from simulator.generate.arrivals import DIGITS
from simulator.generate.errors import RecipeError
from simulator.generate.recording import read_recorded
from simulator.generate.streams import normal, uniform


class ToolTimes(Protocol):
    """Says how long tools take whose seconds are unknown."""

    def seconds(self, tool: str, task: str) -> float:
        """Of the task with this name, which is unique; `tool` is the name of its stage."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """All tasks take the same."""

    value: float  #: seconds

    def seconds(self, tool: str, task: str) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Each tool has a median of its own, drawn around `median`; its tasks are drawn around that.

    Both draws are lognormal with the same sigma (ours: tools differ from each other about as much as the calls of one
    tool do). So the median over all tools is `median`, and the mean over tools and tasks `median`·exp(sigma²).
    """

    median: float  #: seconds
    sigma: float  #: of the logarithm

    def seconds(self, tool: str, task: str) -> float:
        around = normal(f"tool/{tool}") + normal(f"task/{tool}/{task}")
        return round(self.median * math.exp(self.sigma * around), DIGITS)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Recorded seconds of the same tool, uniformly; of any tool, where there are none of the same."""

    by_tool: Mapping[str, Sequence[float]]
    of_any: Sequence[float]  #: not empty

    @classmethod
    def of(cls, jobs: Iterable[TraceJob]) -> Recorded:
        """Raises RecipeError if no tool task of the jobs has seconds."""
        by_tool: dict[str, list[float]] = {}
        for job in jobs:
            for stage in job.stages:
                known = [] if stage.is_llm else [task.seconds for task in stage.tasks if task.seconds is not None]
                if known:
                    by_tool.setdefault(stage.name, []).extend(known)
        of_any = [value for name in sorted(by_tool) for value in by_tool[name]]
        if not of_any:
            raise RecipeError(["tool times: no tool task in the given files has recorded seconds"])
        return cls(by_tool, of_any)

    def seconds(self, tool: str, task: str) -> float:
        known = self.by_tool.get(tool) or self.of_any
        return known[int(uniform(f"task/{tool}/{task}") * len(known))]


def parse_tool_times(text: str) -> ToolTimes:
    """Reads `constant:SECONDS`, `lognormal:MEDIAN,SIGMA` or `recorded:PATH[,PATH…]` (files, or folders of them).

    Raises:
        RecipeError: it is none of them, or a value makes no sense.
        TraceError: a recorded file breaks the format.
        OSError: a recorded file cannot be read.
    """
    kind, _, rest = text.partition(":")
    if kind == "constant":
        return Constant(*_numbers(text, rest, 1))
    if kind == "lognormal":
        return LogNormal(*_numbers(text, rest, 2))
    if kind == "recorded" and rest:
        recording = read_recorded(tool_time_files(text))
        return Recorded.of(job for jobs in recording.jobs.values() for job in jobs)
    raise RecipeError(
        [f"tool times must be constant:SECONDS, lognormal:MEDIAN,SIGMA or recorded:FILE[,FILE…], not {text!r}"]
    )


def tool_time_files(text: str) -> list[Path]:
    """The files and folders that a model was made from; most are made from none."""
    kind, _, rest = text.partition(":")
    return [Path(path) for path in rest.split(",")] if kind == "recorded" else []


def _numbers(text: str, rest: str, count: int) -> list[float]:
    try:
        numbers = [float(number) for number in rest.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise RecipeError([f"tool times {text!r}: {'a number' if count == 1 else 'two numbers'} from 0 up must follow"])
    return numbers
