"""Sorting by a graph of thoughts: split, sort the parts, then merge and improve until one list is left."""

# ruff: noqa: RUF009 - a Size is frozen
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import Structure, TraceJob, TraceStage, TraceTask
from simulator.generate.applications.draws import Size


class Operation(NamedTuple):
    """What one stage asks for."""

    prompt: int  #: tokens
    output: Size  #: tokens
    tries: int = 1  #: answers asked for, of which the best is kept


class _Level(NamedTuple):
    """Stages of the same operation side by side."""

    name: str
    stages: list[tuple[TraceTask, ...]]


#: Merging two lists into one, and improving what came of it, for lists of 32, 64 and 128 numbers.
MERGES = (
    Operation(257, Size(98.2, 0.037), 10),
    Operation(355, Size(200.5, 0.041), 10),
    Operation(550, Size(377.9, 0.123), 10),
)
IMPROVEMENTS = (
    Operation(1489, Size(164.7, 0.661), 5),
    Operation(1685, Size(393.9, 0.790), 5),
    Operation(2060, Size(1155.9, 0.405), 10),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorting:
    """128 numbers, split into eight parts. All stages and widths are known at arrival.

    The graph and the sizes are those of ten recordings of the sorting example of github.com/spcl/graph-of-thoughts
    (Besta et al., AAAI 2024, arXiv 2308.09687), as published in github.com/NephrenCake/Hermes, commit 3894339. Each
    try is a task. Drawn independently, the longest of a level's tries come out within 11 % of the recorded ones.
    Keeping the best takes no time and is no stage; scoring is local there, and takes no time by default.
    """

    name: str = "sorting"
    split: Operation = Operation(1542, Size(434.0))  #: recorded: the same 128 numbers in all of them
    sort: Operation = Operation(768, Size(50.1, 0.040), 5)  #: recorded
    merges: tuple[Operation, ...] = MERGES  #: level by level, recorded; n levels for 2^n parts
    improvements: tuple[Operation, ...] = IMPROVEMENTS  #: one for each level of merges, recorded
    #: Whether each of the four operations is one stage with one task, after one another: levels of the same operation
    #: are added, each as long as its longest try. Ours, for models in which an executor does a whole operation.
    folded: bool = False
    #: How long a tool scores what a stage wrote, as a multiple of that stage's longest task; 0: not at all. Splitting
    #: is not scored. Ours: the graph has these operations, the recordings do not say how long they take.
    scoring: float = 0.0

    @property
    def structure(self) -> Structure:
        return "static"

    def job(self, random: Random, job_id: str) -> TraceJob:
        """See `ParametricApplication`."""
        levels = list(self._levels(random))
        stages: list[TraceStage] = []
        before: list[str] = []
        for number, level in enumerate(_fold(levels) if self.folded else levels):
            ids = [f"{level.name}-{number}-{place}" for place in range(len(level.stages))]
            share = max(1, len(before) // len(ids))  # how many of the level before lead to each stage of this one
            ends = []
            for place, (stage_id, tasks) in enumerate(zip(ids, level.stages, strict=True)):
                parents = before[place * share : (place + 1) * share] if len(before) >= len(ids) else before
                stages.append(_stage(stage_id, level.name, parents, tasks))
                ends.append(self._score(stages))
            before = ends
        return TraceJob(app=self.name, job_id=job_id, structure=self.structure, stages=tuple(stages))

    def _levels(self, random: Random) -> Iterable[_Level]:
        def level(name: str, operation: Operation, count: int) -> _Level:
            return _Level(name, [_tries(operation, random) for _ in range(count)])

        count = 2 ** len(self.merges)
        yield level("split", self.split, 1)
        yield level("sort", self.sort, count)
        for merge, improvement in zip(self.merges, self.improvements, strict=True):
            count //= 2
            yield level("merge", merge, count)
            yield level("improve", improvement, count)

    def _score(self, stages: list[TraceStage]) -> str:
        """Adds the scoring of the last stage, if there is any. Returns the id of what others have to wait for."""
        scored = stages[-1]
        if not self.scoring or scored.name == "split":
            return scored.id
        longest = max(WorkModel().work(task.prompt_tokens or 0, task.output_tokens or 0) for task in scored.tasks)
        task = TraceTask(seconds=round(self.scoring * longest, 6))
        score_id = f"score-{scored.id}"
        stages.append(TraceStage(id=score_id, name="score", kind="tool", parents=(scored.id,), tasks=(task,)))
        return score_id


def _fold(levels: Iterable[_Level]) -> list[_Level]:
    sums: dict[str, tuple[int, int]] = {}
    for name, stages in levels:
        prompt, output = sums.get(name, (0, 0))
        longest = max(task.output_tokens or 0 for tasks in stages for task in tasks)
        sums[name] = (prompt + (stages[0][0].prompt_tokens or 0), output + longest)
    return [
        _Level(name, [(TraceTask(prompt_tokens=prompt, output_tokens=output),)])
        for name, (prompt, output) in sums.items()
    ]


def _tries(operation: Operation, random: Random) -> tuple[TraceTask, ...]:
    prompt, output, tries = operation
    return tuple(TraceTask(prompt_tokens=prompt, output_tokens=output.tokens(random)) for _ in range(tries))


def _stage(stage_id: str, name: str, parents: Sequence[str], tasks: tuple[TraceTask, ...]) -> TraceStage:
    return TraceStage(id=stage_id, name=name, kind="llm", parents=tuple(parents), tasks=tasks)
