"""Table I measured in our model, beside the published one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from simulator.parallel import run_all
from simulator.poster.published import EXECUTORS, POLICIES, TABLE, Role, role
from simulator.poster.world import Parameters, jobs, run_of

#: Seeds from here on were not used for the fit.
FIRST_SEED = 1001

#: Columns in which the policies differ, and the order in which they do: best first.
CONTENDED = (10, 20, 30)
ORDER = ("ps-tcs", "random", "fcfs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the table. Seconds."""

    executors: int  #: of each kind
    policy: str
    by_seed: tuple[float, ...]  #: mean JCT of each run

    @property
    def published(self) -> float:
        return TABLE[self.policy][self.executors]

    @property
    def measured(self) -> float:
        """Mean over seeds."""
        return fmean(self.by_seed)

    @property
    def spread(self) -> float:
        """Standard deviation between seeds; 0 for a single one."""
        return stdev(self.by_seed) if len(self.by_seed) > 1 else 0.0

    @property
    def relative_error(self) -> float:
        return self.measured / self.published - 1

    @property
    def role(self) -> Role:
        return role(self.executors)

    def as_json(self) -> dict[str, Any]:
        names = ("executors", "policy", "published", "measured", "spread", "role", "relative_error")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCheck:
    """Whether PS-TCS < RS < FCFS in a column."""

    executors: int
    holds: bool  #: of the means over seeds
    seeds: int  #: in how many of them it holds


def seeds_from(count: int) -> range:
    """The seeds of a table."""
    return range(FIRST_SEED, FIRST_SEED + count)


def runs_of(seeds: Sequence[int]) -> int:
    """How many runs `measure` takes."""
    return len(seeds) * len(EXECUTORS) * len(POLICIES)


def measure(
    parameters: Parameters,
    seeds: Sequence[int],
    *,
    processes: int | None = None,
    done: Callable[[], None] = lambda: None,
) -> list[Cell]:
    """All cells, policy by policy. A seed has the same workload in all of them. `done` is told of each run."""
    cells = [(policy, executors) for policy in POLICIES for executors in EXECUTORS]
    tasks = []
    for seed in seeds:
        workload = jobs(parameters, seed)
        tasks += [run_of(workload, policy, executors, seed) for policy, executors in cells]
    results = run_all(tasks, processes=processes, done=lambda *_: done())
    means = [result.summary.mean_jct for result in results]
    return [
        Cell(executors=executors, policy=policy, by_seed=tuple(means[place :: len(cells)]))
        for place, (policy, executors) in enumerate(cells)
    ]


def by_name(cells: Sequence[Cell]) -> Mapping[tuple[str, int], Cell]:
    """Cells by policy and number of executors."""
    return {(cell.policy, cell.executors): cell for cell in cells}


def order_checks(cells: Sequence[Cell]) -> list[OrderCheck]:
    """Whether the policies come in the published order."""
    named = by_name(cells)
    checks = []
    for executors in CONTENDED:
        column = [named[policy, executors] for policy in ORDER]
        means = [cell.measured for cell in column]
        rows = list(zip(*(cell.by_seed for cell in column), strict=True))
        checks.append(OrderCheck(executors=executors, holds=_ascends(means), seeds=sum(_ascends(row) for row in rows)))
    return checks


def _ascends(values: Sequence[float]) -> bool:
    return all(left < right for left, right in pairwise(values))
