"""Fits what the poster does not publish to columns 10 and 40 of its Table I; writes simulator/poster/parameters.json.

    nice -n 10 python scripts/fit_poster.py
    python scripts/fit_poster.py --at 0.88 0.93     # only the loss of the committed world at other utilisations

Five numbers are free, and none of them sees columns 20 and 30. How they are searched:

* All times of the model can be multiplied by one factor, and so are all JCTs. The best factor follows from the means
  of any run in closed form, so that four numbers are left: the utilisation of the scarcer kind of executors when
  there are 40 of each, the mean number of rounds, and how the time of undisturbed jobs is shared between the three
  applications.
* The loss is a sum of six squares. Errors of the cells at 10 count in units of 5 %, that of FCFS at 40 of 2 %: about
  the spread between seeds. RS and PS-TCS at 40 count by their distance from FCFS, in units of 0.5 s: such differences
  hardly vary between seeds, they are published to the second, and they say how close to saturation 40 executors are.
* Every point is tried with the same seeds (common random numbers): random points with one seed, then Nelder-Mead from
  the best of them with two, with six and with twelve: the more there are, the less chance moves the optimum.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random
from statistics import fmean

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from simulator.parallel import run_task
from simulator.poster.published import APPLICATION_ORDER, FITTED, POLICIES, TABLE
from simulator.poster.world import Fit, Parameters, committed_fit, fit_json, jobs, population, run_of
from simulator.workload import task_work

TARGET = Path(__file__).parents[1] / "simulator" / "poster" / "parameters.json"

#: Figure 1(a) shows chains of ten rounds among HumanEval's 164 problems. With fewer rounds on average than this, not
#: even one of them would be expected.
LEAST_ROUNDS = 2.3
MOST_ROUNDS = 5.5  #: of rounds that are geometric and at most ten
UTILISATION = (0.75, 1.1)

POINTS = 10
SEARCHES = ((2, 12), (6, 13), (12, 6))  #: with how many seeds, how many steps
#: Starting points and first steps, for: utilisation and rounds (logits between their limits), and the logarithms of
#: the shares of code generation and sorting over that of task automation. Starting points are from around where wider
#: searches had ended; nothing keeps the search there.
RANGES = ((-0.8, 0.4), (-2.0, 0.0), (0.0, 0.6), (1.6, 2.2))
STEPS = ((0.3, 0.6, 0.2, 0.2), (0.2, 0.4, 0.15, 0.15), (0.2, 0.3, 0.1, 0.1))

Point = tuple[float, ...]
Cells = Mapping[tuple[str, int], float]  #: mean JCT by policy and number of executors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--at", type=float, nargs="+", metavar="UTILISATION", help="search nothing, write nothing")
    parser.add_argument("--seeds", type=int, default=30, help="of --at")
    arguments = parser.parse_args()
    if arguments.at:
        for utilisation in arguments.at:
            Search().loss(point_of(committed_fit().parameters, utilisation), arguments.seeds)
    else:
        fit(arguments.out)


def fit(out: Path) -> None:
    """Searches, and writes what it finds."""
    search = Search()
    random = Random("fit_poster")
    points = [tuple(random.uniform(low, high) for low, high in RANGES) for _ in range(POINTS)]
    loss, point = min((search.loss(point, 1), point) for point in points)
    for (seeds, rounds), steps in zip(SEARCHES, STEPS, strict=True):
        loss, point = nelder_mead(partial(search.loss, seeds=seeds), point, steps, rounds)
    parameters, cells = search.world(point, seeds)
    provenance = {
        "script": "scripts/fit_poster.py",
        "seeds": list(range(1, seeds + 1)),
        "runs": search.runs,
        "loss": round(loss, 4),
        "fitted_cells": {f"{policy} {executors}": round(jct, 2) for (policy, executors), jct in cells.items()},
        "versions": {"llmsched": version("llmsched"), "python": platform.python_version()},
    }
    out.write_text(fit_json(Fit(parameters=rounded(parameters), provenance=provenance)), encoding="utf-8")


def rounded(parameters: Parameters) -> Parameters:
    """Four decimals are more than ten seeds can tell."""
    return Parameters(
        arrival_gap=round(parameters.arrival_gap, 4),
        mean_rounds=round(parameters.mean_rounds, 4),
        scales={name: round(scale, 4) for name, scale in parameters.scales.items()},
    )


class Search:
    """Tries points."""

    def __init__(self) -> None:
        self.runs = 0
        self._began = time.perf_counter()

    def loss(self, point: Point, seeds: int) -> float:
        _, cells = self.world(point, seeds)
        found = sum((error / 0.05) ** 2 for (_, executors), error in errors(cells).items() if executors == 10)
        found += (errors(cells)["fcfs", 40] / 0.02) ** 2
        for policy in POLICIES[1:]:
            published = TABLE["fcfs"][40] - TABLE[policy][40]
            found += ((cells["fcfs", 40] - cells[policy, 40] - published) / 0.5) ** 2
        found += sum(max(0.0, abs(value) - 6.0) ** 2 for value in point)  # keeps the search out of flat corners
        shown = " ".join(f"{value:7.3f}" for value in point)
        print(f"{time.perf_counter() - self._began:7.0f} s  {seeds:3d} seeds  {shown}  loss {found:.4f}", flush=True)
        return found

    def world(self, point: Point, seeds: int) -> tuple[Parameters, Cells]:
        """The parameters at a point, scaled as well as can be, and the fitted cells that they give."""
        parameters = at(point)
        sums: dict[tuple[str, int], list[float]] = {(p, n): [] for n in FITTED for p in POLICIES}
        for seed in range(1, seeds + 1):
            workload = jobs(parameters, seed)
            for (policy, executors), means in sums.items():
                means.append(run_task(run_of(workload, policy, executors, seed)).summary.mean_jct)
                self.runs += 1
        cells = {cell: fmean(means) for cell, means in sums.items()}
        # The factor that makes the weighted sum of squared logarithmic errors smallest.
        weights = {(policy, 10): 0.05**-2 for policy in POLICIES} | {("fcfs", 40): 0.02**-2}
        shift = sum(weight * errors(cells)[cell] for cell, weight in weights.items()) / sum(weights.values())
        factor = math.exp(-shift)
        return parameters.scaled(factor), {cell: jct * factor for cell, jct in cells.items()}


def errors(cells: Cells) -> dict[tuple[str, int], float]:
    """Logarithms of measured over published."""
    return {(policy, executors): math.log(jct / TABLE[policy][executors]) for (policy, executors), jct in cells.items()}


def at(point: Point) -> Parameters:
    """The parameters at a point, with undisturbed jobs taking 87 s on average."""

    def between(low: float, high: float, logit: float) -> float:
        return low + (high - low) / (1 + math.exp(-logit))

    mean_rounds = between(LEAST_ROUNDS, MOST_ROUNDS, point[1])
    made = population(mean_rounds, 1)
    shares = dict(zip(APPLICATION_ORDER, (1.0, math.exp(point[2]), math.exp(point[3])), strict=True))
    undisturbed = {name: fmean(undisturbed_seconds(job) for job in some) for name, some in made.items()}
    total = len(shares) * TABLE["fcfs"][40] / sum(shares.values())
    scales = {name: share * total / undisturbed[name] for name, share in shares.items()}
    demand = max(sum(scales[name] * demanded(some, llm) for name, some in made.items()) for llm in (True, False))
    gap = demand / len(made) / (between(*UTILISATION, point[0]) * 40)
    return Parameters(arrival_gap=gap, mean_rounds=mean_rounds, scales=scales)


def point_of(parameters: Parameters, utilisation: float) -> Point:
    """The point of these parameters, but for the arrival rate."""

    def logit(low: float, high: float, value: float) -> float:
        return -math.log((high - low) / (value - low) - 1)

    made = population(parameters.mean_rounds, 1)
    first, second, third = (
        parameters.scales[name] * fmean(undisturbed_seconds(job) for job in made[name]) for name in APPLICATION_ORDER
    )
    rounds = logit(LEAST_ROUNDS, MOST_ROUNDS, parameters.mean_rounds)
    return logit(*UTILISATION, utilisation), rounds, math.log(second / first), math.log(third / first)


def undisturbed_seconds(job: TraceJob) -> float:
    """The job's critical path."""
    ends: dict[str, float] = {}
    for stage in job.stages:
        longest = max(task_work(stage, task, WorkModel()) for task in stage.tasks)
        ends[stage.id] = max((ends[parent] for parent in stage.parents), default=0.0) + longest
    return max(ends.values())


def demanded(some: Sequence[TraceJob], llm: bool) -> float:
    """Mean seconds of executors of a kind that a job takes."""
    works = [
        task_work(stage, task, WorkModel())
        for job in some
        for stage in job.stages
        if stage.is_llm == llm
        for task in stage.tasks
    ]
    return sum(works) / len(some)


def nelder_mead(
    loss: Callable[[Point], float], start: Point, steps: Sequence[float], rounds: int
) -> tuple[float, Point]:
    """The best point of a simplex that crawls downhill (Nelder and Mead 1965), and its loss."""
    corners = [start, *(tuple(x + step * (i == j) for j, x in enumerate(start)) for i, step in enumerate(steps))]
    simplex = sorted((loss(corner), corner) for corner in corners)
    for _ in range(rounds):
        worst, corner = simplex[-1]
        centre = tuple(fmean(axis) for axis in zip(*(point for _, point in simplex[:-1]), strict=True))

        def along(factor: float, centre: Point = centre, corner: Point = corner) -> tuple[float, Point]:
            point = tuple(c + factor * (x - c) for c, x in zip(centre, corner, strict=True))
            return loss(point), point

        tried = along(-1.0)
        if tried[0] < simplex[0][0]:
            simplex[-1] = min(tried, along(-2.0))
        elif tried[0] < simplex[-2][0]:
            simplex[-1] = tried
        else:
            closer = along(-0.5 if tried[0] < worst else 0.5)
            if closer[0] < min(tried[0], worst):
                simplex[-1] = closer
            else:
                best = simplex[0][1]
                halves = [tuple((x + b) / 2 for x, b in zip(point, best, strict=True)) for _, point in simplex[1:]]
                simplex = [simplex[0], *((loss(point), point) for point in halves)]
        simplex.sort()
    return simplex[0]


if __name__ == "__main__":
    main()
