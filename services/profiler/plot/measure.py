"""How good the beliefs of profiles are that are learned from a history: each part of it judged by the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.profiler.core.belief import Beliefs
from services.profiler.core.profile import filled, learn
from services.profiler.core.scoring import Calibration
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import completed, course

FOLDS, SAMPLES = 3, 128

#: The newest jobs are enough, and so are the first moments of long ones.
MOST_JOBS, MOST_MOMENTS = 150, 12

#: Fewer jobs show nothing.
LEAST_JOBS = 12


def measured(jobs: Sequence[TraceJob]) -> Calibration | None:
    """Of the work that was left before each end of a stage; None of too few jobs.

    Args: `jobs` of one application. Jobs with one input are judged by the others.
    """
    jobs = filled(jobs[-MOST_JOBS:])
    if len(jobs) < LEAST_JOBS:
        return None
    groups = sorted({_group(job, place) for place, job in enumerate(jobs)})
    fold_of = {group: place % FOLDS for place, group in enumerate(groups)}
    found = Calibration()
    for fold in range(FOLDS):
        held = [job for place, job in enumerate(jobs) if fold_of[_group(job, place)] == fold]
        known = [job for place, job in enumerate(jobs) if fold_of[_group(job, place)] != fold]
        beliefs = Beliefs(learn(known))
        for job in held:
            _judge(found, beliefs, job)
    return found if found.count else None


def _group(job: TraceJob, place: int) -> str:
    return job.group or f"job {place:06d}"


def _judge(found: Calibration, beliefs: Beliefs, job: TraceJob) -> None:
    for moment, (seen, left) in enumerate(zip(course(job), remaining(job, beliefs.work), strict=True)):
        belief = beliefs.of(seen)
        if belief is None or moment == MOST_MOMENTS:
            return
        uniforms = np.random.default_rng(moment).random((SAMPLES, belief.draws))
        found.add(belief.samples(uniforms).sum(axis=1), left, belief.expected.total)


def remaining(job: TraceJob, work: WorkModel) -> list[float]:
    """Seconds of work that were left before each end of a stage."""
    each = [
        work.prefill * one.prompt_tokens + work.decode * one.units if one.is_llm else one.units
        for one in completed(job).stages
    ]
    return np.cumsum(each[::-1])[::-1].tolist()
