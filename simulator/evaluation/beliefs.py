"""How good beliefs are along the course of jobs that they were not learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import fsum

from services.profiler.core.belief import Beliefs
from services.profiler.core.gittins import uniforms
from services.profiler.core.scoring import Calibration
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import course
from simulator.workload import task_work

#: Samples of a posterior, enough for the ends of a 95 % interval.
SAMPLES = 256


def spaced(jobs: Sequence[TraceJob], count: int) -> list[TraceJob]:
    """At most so many of the jobs, from all along the row."""
    step = max(1.0, len(jobs) / count)
    return [jobs[int(place * step)] for place in range(min(count, len(jobs)))]


def score(
    beliefs: Beliefs, population: Mapping[str, Sequence[TraceJob]], done: Callable[[], None] = lambda: None
) -> dict[str, Calibration]:
    """By application: beliefs of the work left, before each end of a stage, beside what was left indeed.

    Stages run one after another, in the order of the recording. `done` is told of each job.
    """
    found: dict[str, Calibration] = {}
    for application, jobs in population.items():
        scores = found[application] = Calibration()
        for job in jobs:
            for seen, left in zip(course(job), remaining(job, beliefs.work), strict=True):
                belief = beliefs.of(seen)
                if belief is not None:
                    samples = belief.samples(uniforms(SAMPLES, belief.draws, 0)).sum(axis=1)
                    scores.add(samples, left, belief.expected.total)
            done()
    return found


def remaining(job: TraceJob, work: WorkModel) -> list[float]:
    """Seconds of work left before the first stage of the job ends, before the second does, and so on."""
    stages = [fsum(task_work(stage, task, work) for task in stage.tasks) for stage in job.stages]
    return list(accumulate(reversed(stages)))[::-1]
