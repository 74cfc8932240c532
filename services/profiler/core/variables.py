"""What there is to know of a job: stages as they show themselves, and the variables that they are values of.

A stage of one job is the same as a stage of another if name and occurrence agree (`Canonical`). A job that runs and a
job that was recorded say what they have shown as the same value, `JobSeen`, and everything that is learned or believed
is computed from that: nothing that a job has not shown can get into a belief.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from services.profiler.core.discretise import Bins
from services.profiler.core.network import Array
from services.profiler.core.trace import Canonical, TraceJob, TraceStage, canonicals, generators


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeen:
    """What a stage has shown. Its units are output tokens of LLM calls, seconds of tools."""

    name: str
    occurrence: int
    is_llm: bool
    done: bool = False
    growing: bool = False  #: it is done, but what it generates has not been shown yet
    width: int | None = None  #: number of tasks; None until the stage is ready
    prompt_tokens: int = 0  #: of all its tasks
    units: float = 0.0  #: of the tasks that have ended
    running_units: float = 0.0  #: what the running tasks have certainly used already
    ended: tuple[float, ...] = ()  #: units of each task that has ended
    running: tuple[float, ...] = ()  #: what each running task has certainly used already
    left: int = 0  #: tasks that have not ended
    left_prompt_tokens: int = 0  #: of these

    @property
    def canonical(self) -> Canonical:
        return self.name, self.occurrence


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen:
    """What a job has shown: its stages, in its topological order."""

    application: str
    stages: tuple[StageSeen, ...]


class Aspect(StrEnum):
    """What of a stage, or of several, a variable measures."""

    PROMPT = "PROMPT"  #: mean prompt tokens of its tasks; known when it is ready
    WIDTH = "WIDTH"  #: number of tasks; known when it is ready
    UNITS = "UNITS"  #: mean units of its tasks; known when it is done
    COUNT = "COUNT"  #: how many stages of a pool a job has; known when no more can come


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of an application's network. If `optional`, state 0 is ABSENT: the job has no such stage."""

    aspect: Aspect
    stage: Canonical  #: COUNT: the name of the pool, and 0
    bins: Bins
    optional: bool = False

    @property
    def card(self) -> int:
        return self.bins.count + self.optional

    @property
    def label(self) -> str:
        name, occurrence = self.stage
        return f"{self.aspect.lower()} of {name}" + (f"#{occurrence}" if occurrence else "")

    def numbers(self, of_bins: Array) -> Array:
        """A number for each state: those of the bins, and 0 for ABSENT."""
        return np.concatenate([[0.0], of_bins]) if self.optional else of_bins

    def state(self, value: float | None) -> int:
        """The state of a value; None: absent."""
        return 0 if value is None else self.bins.place(value) + self.optional

    def plain(self) -> dict[str, Any]:
        return {
            "aspect": str(self.aspect),
            "stage": list(self.stage),
            "bins": self.bins.plain(),
            "optional": self.optional,
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Variable:
        name, occurrence = plain["stage"]
        return cls(Aspect(plain["aspect"]), (name, occurrence), Bins.of_plain(plain["bins"]), plain["optional"])


def measure(aspect: Aspect, stage: StageSeen) -> float | None:
    """The value of a stage's variable; None: not known yet."""
    if stage.width is None or (aspect is Aspect.UNITS and not stage.done):
        return None
    if aspect is Aspect.WIDTH:
        return float(stage.width)
    return (stage.units if aspect is Aspect.UNITS else stage.prompt_tokens) / max(1, stage.width)


def least_units(stage: StageSeen) -> float:
    """A lower bound of the mean units of its tasks: what they have used already."""
    return (stage.units + stage.running_units) / stage.width if stage.width else 0.0


def completed(job: TraceJob) -> JobSeen:
    """The job when all is done. What it does not know (null) counts as 0."""
    names = canonicals(job)
    return JobSeen(application=job.app, stages=tuple(_done(stage, names[stage.id]) for stage in job.stages))


def course(job: TraceJob) -> Iterator[JobSeen]:
    """Yields what the job had shown before its first stage ended, before its second did, and so on.

    As if the stages had run one after another in the order of the recording.
    """
    names = canonicals(job)
    made_by = generators(job)
    done: set[str] = set()
    for finished in job.stages:
        shown = [stage for stage in job.stages if made_by[stage.id] is None or made_by[stage.id] in done]
        yield JobSeen(application=job.app, stages=tuple(_now(stage, names[stage.id], done) for stage in shown))
        done.add(finished.id)


def _now(stage: TraceStage, canonical: Canonical, done: set[str]) -> StageSeen:
    if stage.id in done:
        return _done(stage, canonical)
    name, occurrence = canonical
    if not done.issuperset(stage.parents):
        return StageSeen(name=name, occurrence=occurrence, is_llm=stage.is_llm)
    prompt = sum(task.prompt_tokens or 0 for task in stage.tasks)
    return StageSeen(
        name=name,
        occurrence=occurrence,
        is_llm=stage.is_llm,
        width=len(stage.tasks),
        prompt_tokens=prompt,
        left=len(stage.tasks),
        left_prompt_tokens=prompt,
    )


def _done(stage: TraceStage, canonical: Canonical) -> StageSeen:
    units: Sequence[float] = (
        [task.output_tokens or 0 for task in stage.tasks]
        if stage.is_llm
        else [task.seconds or 0.0 for task in stage.tasks]
    )
    return StageSeen(
        name=canonical[0],
        occurrence=canonical[1],
        is_llm=stage.is_llm,
        done=True,
        width=len(stage.tasks),
        prompt_tokens=sum(task.prompt_tokens or 0 for task in stage.tasks),
        units=sum(units),
        ended=tuple(units),
    )
