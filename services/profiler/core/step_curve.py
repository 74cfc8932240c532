"""A curve l(b) through measured step times: a line where data are thin, the measurements where they are not.

Rules of this file:

1. The line l(1)·(1 + β (b - 1)) is fitted first, by weighted least squares on relative errors, with 0 ≤ β ≤ 1: a
   batch is neither faster than a request alone nor slower than its requests one after the other. A prior keeps β
   near its default until the sizes that were seen say otherwise.
2. Each measured mean then pulls the curve off the line by as much as it is worth: engines are not exactly linear
   (about `_SPREAD`), and a mean of n steps is off by noise/√n. Between measured sizes the pull is interpolated.
3. The result never falls with b (pool adjacent violators), since a larger batch is more work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from typing import NamedTuple

import numpy as np

from services.profiler.core.calibration import DEFAULT_SLOWDOWN

#: How far engines are off the best line, relative. vLLM's and SGLang's recorded curves: 0.05 to 0.15.
_SPREAD = 0.1
#: How far β is off its default, in units of l(1).
_SLOPE_SPREAD = 0.05
#: Weight, in steps, of a size nobody measured when the curve is made monotone.
_UNSEEN = 0.01


class Mean(NamedTuple):
    """Measured steps of one batch size."""

    weight: float  #: how many steps, the old ones discounted
    seconds: float  #: their mean


def curve(means: Mapping[int, Mean], *, batches: int, noise: float) -> tuple[float, ...]:
    """l(1), ... l(B) in seconds. `means` by batch size, not empty; `noise`: the relative variance of one step."""
    sizes = sorted(means)
    alone, slope = _line(means, noise)
    line = {size: alone + slope * (size - 1) for size in sizes}
    pulls = [
        (means[size].seconds / line[size] - 1.0) * _SPREAD**2 / (_SPREAD**2 + noise / means[size].weight)
        for size in sizes
    ]
    every = np.arange(1, batches + 1)
    raw = (alone + slope * (every - 1)) * (1.0 + np.interp(every, sizes, pulls))
    weights = [means[size].weight if size in means else _UNSEEN for size in range(1, batches + 1)]
    return _rising(raw.tolist(), weights)


def _line(means: Mapping[int, Mean], noise: float) -> tuple[float, float]:
    """l(1) and what each further request adds, in seconds."""
    middle = fsum(mean.seconds for mean in means.values()) / len(means)
    prior = 1.0 / (_SLOPE_SPREAD * middle) ** 2
    w0 = w1 = w2 = y0 = y1 = 0.0
    for size, mean in sorted(means.items()):  # sums to the last digit must not depend on who was seen first
        extra = size - 1
        weight = 1.0 / ((_SPREAD**2 + noise / mean.weight) * mean.seconds**2)
        w0, w1, w2 = w0 + weight, w1 + weight * extra, w2 + weight * extra * extra
        y0, y1 = y0 + weight * mean.seconds, y1 + weight * extra * mean.seconds
    # Minimise ∑ weight (y - u - v·extra)² + prior (v - β u)². Written so that the prior's terms, which are positive,
    # are not lost in differences of large numbers: the determinant is at least prior·w0 > 0.
    beta = DEFAULT_SLOWDOWN
    determinant = max(0.0, w0 * w2 - w1 * w1) + prior * (w0 + 2.0 * beta * w1 + beta * beta * w2)
    share = prior * (y0 + beta * y1)
    alone, slope = (w2 * y0 - w1 * y1 + share) / determinant, (w0 * y1 - w1 * y0 + beta * share) / determinant
    if slope < 0.0:
        return y0 / w0, 0.0
    if slope > alone:
        serial = (y0 + y1) / (w0 + 2.0 * w1 + w2)
        return serial, serial
    return alone, slope


def _rising(values: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
    """The closest sequence that never falls: neighbours that do are pooled (isotonic regression)."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values, weights, strict=True):
        count = 1
        while pools and pools[-1][0] > value:
            mean, other, more = pools.pop()
            value = (value * weight + mean * other) / (weight + other)
            weight, count = weight + other, count + more
        pools.append((value, weight, count))
    return tuple(mean for mean, _, count in pools for _ in range(count))
