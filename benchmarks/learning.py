"""Which way of learning profiles predicts best: our search and tables beside pgmpy's, on jobs that nobody learned from.

    python -m benchmarks.learning [--history FOLDER] [--folds 5] [--ours | --sizes]

Cross-validation: jobs with the same input stay together, and bins are of the training part, the same for all ways.
Printed as Markdown tables: log-likelihood of a held-out job's variables (nats); of the work that is left before every
end of a stage, mean absolute error and CRPS (seconds) and how often it lies in the belief's central intervals; R² of
its mean at arrival and after the first and the second stage; the time to learn. Without `--history` the applications
are the built-in parametric ones. `--sizes` prints instead how the error falls with the number of jobs to learn from.
The comparison needs pgmpy (`pip install llmsched[profiler]`).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.report import table
from services.profiler.core import profile, structure
from services.profiler.core.belief import Beliefs
from services.profiler.core.network import Array
from services.profiler.core.scoring import Calibration
from services.profiler.core.statistics import WorkModel
from services.profiler.core.structure import Column, Estimate, Search
from services.profiler.core.trace import TraceJob, read_history
from services.profiler.core.variables import completed, course
from simulator.generate import parametric_population
from simulator.generate.applications import PARAMETRIC
from simulator.generate.streams import stream

WORK = WorkModel()
SAMPLES = 200
#: Of a built-in application: enough for several folds, few enough for a history.
PARAMETRIC_JOBS = 100
#: Stages after which R² is told.
AFTER = (0, 1, 2)
SIZES = (1, 2, 5, 10, 20, 40)


class Way(NamedTuple):
    """A way to learn."""

    name: str
    search: Search
    estimate: Estimate


def unlinked(columns: Sequence[Column]) -> tuple[tuple[int, ...], ...]:
    """No variable depends on another."""
    return tuple(() for _ in columns)


OURS = Way("ours", structure.search, structure.tables)


def others() -> Iterator[Way]:
    from services.profiler.models import with_pgmpy

    yield Way("pgmpy: BIC, BDeu tables", with_pgmpy.search, with_pgmpy.estimate)
    yield Way("pgmpy: BDeu, BDeu tables", with_pgmpy.search_bdeu, with_pgmpy.estimate)
    yield Way("pgmpy: BIC, our tables", with_pgmpy.search, structure.tables)
    yield Way("our search, BDeu tables", structure.search, with_pgmpy.estimate)
    yield Way("no links", unlinked, structure.tables)


@dataclass(slots=True, kw_only=True)
class Found:
    """Of one way and application."""

    nats: list[float] = field(default_factory=list)
    calibration: Calibration = field(default_factory=Calibration)
    pairs: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))  #: mean, actual
    seconds: list[float] = field(default_factory=list)

    def r_squared(self, after: int) -> str:
        mean, actual = np.array(self.pairs[after]).T
        variance = float(((actual - actual.mean()) ** 2).sum())
        return f"{1.0 - float(((mean - actual) ** 2).sum()) / variance:.2f}" if variance > 0.0 else "–"


def remaining(job: TraceJob) -> Array:
    """Seconds left before each stage ends, shape (stages,)."""
    of_stages = [
        sum(
            WORK.work(task.prompt_tokens or 0, task.output_tokens or 0) if stage.is_llm else task.seconds or 0.0
            for task in stage.tasks
        )
        for stage in job.stages
    ]
    return np.cumsum(of_stages[::-1])[::-1]


def judge(found: Found, beliefs: Beliefs, jobs: Iterable[TraceJob]) -> None:
    """Adds how the beliefs do on these jobs."""
    for job in jobs:
        whole = beliefs.of(completed(job))
        assert whole is not None
        found.nats.append(whole.log_likelihood)
        for after, (seen, actual) in enumerate(zip(course(job), remaining(job), strict=True)):
            belief = beliefs.of(seen)
            assert belief is not None
            uniforms = np.random.default_rng(after).random((SAMPLES, belief.draws))
            samples = belief.samples(uniforms).sum(axis=1)
            mean = belief.expected.total
            found.calibration.add(samples, float(actual), mean)
            if after in AFTER:
                found.pairs[after].append((mean, float(actual)))


def folds(jobs: Sequence[TraceJob], count: int) -> Iterator[tuple[list[TraceJob], list[TraceJob]]]:
    """Yields what to learn from, and what to judge by. Groups stay together."""
    groups: dict[str, list[TraceJob]] = defaultdict(list)
    for index, job in enumerate(jobs):
        groups[job.group or f"job {index}"].append(job)
    names = sorted(groups)
    stream(0, "folds").shuffle(names)
    for fold in range(count):
        held = set(names[fold::count])
        yield (
            [job for name in names if name not in held for job in groups[name]],
            [job for name in names if name in held for job in groups[name]],
        )


def cross_validated(way: Way, jobs: Sequence[TraceJob], count: int) -> Found:
    found = Found()
    for known, held in folds(jobs, count):
        begin = time.process_time()
        profiles = profile.learn(known, way.search, way.estimate)
        found.seconds.append(time.process_time() - begin)
        judge(found, Beliefs(profiles, WORK), held)
    return found


def recorded(folder: Path) -> dict[str, list[TraceJob]]:
    """By application. Where no tool has known seconds each counts as one second: then what is left is their number."""
    found: dict[str, list[TraceJob]] = defaultdict(list)
    for file in sorted(folder.glob("*.jsonl")):
        with file.open("rb") as lines:
            for job in read_history(lines, str(file)):
                found[job.app].append(job)
    return {name: profile.filled(jobs) if _timed(jobs) else list(map(_counted, jobs)) for name, jobs in found.items()}


def _timed(jobs: Sequence[TraceJob]) -> bool:
    tasks = [task for job in jobs for stage in job.stages if not stage.is_llm for task in stage.tasks]
    return not tasks or any(task.seconds is not None for task in tasks)


def _counted(job: TraceJob) -> TraceJob:
    stages = [
        stage if stage.is_llm else replace(stage, tasks=tuple(replace(task, seconds=1.0) for task in stage.tasks))
        for stage in job.stages
    ]
    return replace(job, stages=tuple(stages))


def compare(population: Mapping[str, Sequence[TraceJob]], count: int, chosen: Sequence[Way]) -> str:
    """A table with a line for each application and way."""
    rows = []
    for name, jobs in population.items():
        for way in chosen:
            found = cross_validated(way, jobs, count)
            scores = found.calibration
            rows.append(
                (
                    name,
                    way.name,
                    f"{np.mean(found.nats):.2f}",
                    f"{scores.error:.3g}",
                    f"{scores.crps:.3g}",
                    *(found.r_squared(after) for after in AFTER),
                    *(f"{100 * share:.0f}" for share in scores.coverage.values()),
                    f"{1000 * float(np.median(found.seconds)):.0f}",
                )
            )
    head = ["application", "way", "nats a job", "MAE (s)", "CRPS (s)", "R² at arrival", "after 1", "after 2"]
    return table([*head, "in 50 %", "in 80 %", "in 95 %", "ms to learn"], rows)


def by_size(population: Mapping[str, Sequence[TraceJob]], count: int) -> str:
    """CRPS with our way of learning, relative to that of all of the training part, by the number of jobs."""
    rows = []
    for name, jobs in population.items():
        scores: dict[int | None, Calibration] = defaultdict(Calibration)
        for known, held in folds(jobs, count):
            for size in (*SIZES, None):
                judge(Found(calibration=scores[size]), Beliefs(profile.learn(known[:size]), WORK), held)
        rows.append((name, *(f"{scores[size].crps / scores[None].crps:.2f}" for size in SIZES)))
    return table(["application", *(f"{size} jobs" for size in SIZES)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path, help="folder of recorded jobs")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--ours", action="store_true", help="our way alone: needs no pgmpy")
    arguments = parser.parse_args()
    if arguments.history is None:
        makers = {name: make() for name, make in PARAMETRIC.items()}
        population: Mapping[str, Sequence[TraceJob]] = parametric_population(
            makers, jobs=PARAMETRIC_JOBS, purpose="learning"
        )
    else:
        population = recorded(arguments.history)
    if arguments.sizes:
        print(by_size(population, arguments.folds))
    else:
        print(compare(population, arguments.folds, [OURS] if arguments.ours else [OURS, *others()]))


if __name__ == "__main__":
    main()
