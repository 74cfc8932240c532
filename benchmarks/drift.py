"""How soon the drift monitor notices a change, and how often it cries wolf.

    python -m benchmarks.drift [--sizes 20 50 100] [--histories 5] [--jobs 2000] [--recorded FOLDER]

For each built-in application and size of history: profiles are learned from several histories; `--jobs` jobs like those
of the history follow, and the alarms are counted; then jobs of a changed application, and the jobs until the alarm are
counted. `--recorded` takes recorded jobs instead: half of them are the history, what follows is drawn from the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.learning import recorded
from benchmarks.report import table
from services.profiler.core import drift, profile
from services.profiler.core.belief import Beliefs
from services.profiler.core.trace import TraceJob, TraceStage
from services.profiler.core.variables import completed
from simulator.generate.applications import PARAMETRIC
from simulator.generate.applications.code_generation import CodeGeneration
from simulator.generate.streams import stream

#: After so many jobs without an alarm the change counts as unnoticed.
PATIENCE = 400

Draw = Callable[[Random, int], TraceJob]  #: the generator, and the number of the job


def longer(factor: float, job: TraceJob) -> TraceJob:
    """With output lengths and tool seconds multiplied."""
    return replace(job, stages=tuple(_longer(factor, stage) for stage in job.stages))


def _longer(factor: float, stage: TraceStage) -> TraceStage:
    tasks = [
        replace(
            task,
            output_tokens=None if task.output_tokens is None else round(factor * task.output_tokens),
            seconds=None if task.seconds is None else factor * task.seconds,
        )
        for task in stage.tasks
    ]
    return replace(stage, tasks=tuple(tasks))


def made(name: str) -> tuple[Draw, dict[str, Draw]]:
    """The jobs of a built-in application, and those of the changed one by what is changed."""
    application = PARAMETRIC[name]()

    def job(random: Random, number: int) -> TraceJob:
        return application.job(random, f"{number}")

    changes = changes_of(job)
    if name == "code_generation":
        changes["rounds x2"] = lambda random, number: CodeGeneration(mean_rounds=5.4).job(random, f"{number}")
    return job, changes


def changes_of(job: Draw) -> dict[str, Draw]:
    def changed(factor: float, random: Random, number: int) -> TraceJob:
        return longer(factor, job(random, number))

    return {f"lengths x{factor:g}": partial(changed, factor) for factor in (2.0, 1.5, 0.5)}


def alarms(expected: drift.Expected, beliefs: Beliefs, jobs: Iterator[TraceJob], patience: int) -> int | None:
    """After how many jobs the alarm comes. None: not within `patience`."""
    monitor = drift.Monitor(expected=expected)
    for number in range(1, patience + 1):
        belief = beliefs.of(completed(next(jobs)))
        assert belief is not None
        monitor = monitor.after(drift.score(belief))
        if monitor.alarm:
            return number
    return None


def endless(draw: Draw, random: Random) -> Iterator[TraceJob]:
    number = 0
    while True:
        number += 1
        yield draw(random, number)


def measure(
    history: Sequence[TraceJob], job: Draw, changes: dict[str, Draw], jobs: int, random: Random
) -> dict[str, int | None]:
    """Jobs until the alarm, unchanged ("-") and by change."""
    expected = drift.expected_scores(history, profile.learn)
    beliefs = Beliefs(profile.learn(history))
    found = {"-": alarms(expected, beliefs, endless(job, random), jobs)}
    for what, draw in changes.items():
        found[what] = alarms(expected, beliefs, endless(draw, random), PATIENCE)
    return found


def row(name: str, size: int, found: Sequence[dict[str, int | None]]) -> list[str]:
    cells = [name, str(size), f"{sum(one['-'] is not None for one in found)} of {len(found)}"]
    for what in ("lengths x2", "lengths x1.5", "lengths x0.5", "rounds x2"):
        delays = sorted(PATIENCE + 1 if one[what] is None else one[what] or 0 for one in found if what in one)
        shown = [f"> {PATIENCE}" if one > PATIENCE else str(one) for one in delays]
        cells.append(f"{shown[len(shown) // 2]} ({shown[-1]})" if shown else "")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--histories", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--recorded", type=Path)
    arguments = parser.parse_args()
    rows = []
    if arguments.recorded:
        for name, jobs in recorded(arguments.recorded).items():
            found = []
            for seed in range(arguments.histories):
                random = stream(seed, f"drift/{name}")
                mixed = random.sample(jobs, len(jobs))
                half = len(jobs) // 2

                def draw(random: Random, _: int, rest: Sequence[TraceJob] = mixed[half:]) -> TraceJob:
                    return random.choice(rest)

                found.append(measure(mixed[:half], draw, changes_of(draw), arguments.jobs, random))
            rows.append(row(name, half, found))
    else:
        for name in PARAMETRIC:
            job, changes = made(name)
            for size in arguments.sizes:
                found = []
                for seed in range(arguments.histories):
                    random = stream(seed, f"drift/{name}/{size}")
                    history = [job(random, number) for number in range(size)]
                    found.append(measure(history, job, changes, arguments.jobs, random))
                rows.append(row(name, size, found))
    head = ["application", "history", f"alarms in {arguments.jobs:,}", "lengths x2", "x1.5", "x0.5", "rounds x2"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
