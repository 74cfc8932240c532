"""How sure a mean, or a ratio of means, is: a hierarchical bootstrap with expanded percentiles.

Jobs of one run share a queue, so they are not independent, and what tells how far a result depends on chance is how
much the seeds differ. A resample therefore draws as many seeds as there are, with replacement, and inside each of them
as many jobs as it has, with replacement (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section
3.8). Policies that are compared share the draws: a ratio is paired by seed and by job.

Percentiles of a handful of seeds are too narrow: with five, plain 95 % intervals hold in about 85 % of cases. So the
percentiles are moved outwards until they are as wide as Student's t asks for (the expanded percentile interval of
Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015). With a single seed only
its jobs are drawn, and the interval says nothing about other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Draws held in memory at once.
_CHUNK = 2_000_000


class Estimate(NamedTuple):
    """A value and the interval that it is believed to lie in."""

    value: float
    low: float
    high: float


def resampled_sums(groups: Sequence[Array], resamples: int, random: np.random.Generator) -> Array:
    """Column sums of hierarchical resamples.

    Args: `groups`: for each seed an array (jobs of the seed × columns); all have the same columns.

    Returns an array (resamples × columns). A mean is one of its columns divided by the column that counts the jobs.
    """
    seeds = len(groups)
    chosen = random.integers(seeds, size=(resamples, seeds))
    sums = np.zeros((resamples, groups[0].shape[1]))
    for index, group in enumerate(groups):
        rows = np.nonzero(chosen == index)[0]
        for part in _parts(rows, len(group)):
            np.add.at(sums, part, _counts(len(part), len(group), random) @ group)
    return sums


def interval(values: Array, seeds: int, confidence: float = 0.95) -> tuple[float, float]:
    """The expanded percentile interval of a statistic's resampled values (NaN, of empty resamples, left out)."""
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan
    tail = expanded_tail(seeds, confidence)
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return float(low), float(high)


def expanded_tail(seeds: int, confidence: float = 0.95) -> float:
    """The share of resamples to leave out at each end, so that the interval is as wide as one by Student's t."""
    if seeds < 2:
        return (1.0 - confidence) / 2.0
    return NormalDist().cdf(-math.sqrt(seeds / (seeds - 1)) * student_quantile(seeds - 1, confidence))


def student_quantile(freedom: int, confidence: float) -> float:
    """t with P(|T| <= t) = confidence, T being Student's with that many degrees of freedom.

    By bisection of the closed form for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, math.pi / 2.0
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _student_within(middle, freedom) < confidence else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _student_within(angle: float, freedom: int) -> float:
    """P(|T| <= t) for angle = arctan(t / sqrt(freedom))."""
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for step in range(3 if odd else 2, freedom, 2):
        term *= (step - 1) / step * math.cos(angle) ** 2
        total += term
    return 2.0 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def _parts(rows: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    step = max(1, _CHUNK // max(size, 1))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _counts(resamples: int, size: int, random: np.random.Generator) -> Array:
    """How often each of `size` jobs is drawn in each of some resamples of that many jobs."""
    drawn = random.integers(size, size=(resamples, size))
    drawn += np.arange(resamples)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=resamples * size)
    return counts.reshape(resamples, size).astype(np.float64)
