"""What a part of a stage's tasks says of the mean of all of them: those that have ended, and those that still run.

The tasks of one stage are alike: their units are taken for draws from a Weibull distribution, whose shape follows from
how much tasks of such a stage differ, and whose scale is what is to be learned. A task that runs is not ignored: it is
longer than what it has used (a censored observation), without which the first tasks to end, the short ones, would make
all look short. Both enter the likelihood in closed form (Lawless 2003, section 5.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gamma

import numpy as np

from services.profiler.core.network import Array

#: Bounds of the shape: exponential tails and heavier ones, and tasks that are nearly equal.
LEAST_SHAPE, MOST_SHAPE = 0.6, 12.0

#: How much of an observation each task is worth: tasks of one stage are no independent draws (ours).
WORTH = 0.7


def shape(spread: float) -> float:
    """The Weibull shape for a coefficient of variation (Justus et al. 1978; 1 % off between 0.1 and 1)."""
    return float(np.clip(max(spread, 1e-3) ** -1.086, LEAST_SHAPE, MOST_SHAPE))


def likelihood(means: Array, ended: Sequence[float], running: Sequence[float], spread: float) -> Array:
    """How likely these tasks are if the mean of all is as given; only ratios matter, and the largest is 1.

    Args:
        means: candidates, in units, shape (candidates,).
        ended: units of tasks that have ended, at least one.
        running: units that running tasks have used already.
        spread: coefficient of variation of the units of one stage's tasks.
    """
    power = shape(spread)
    scales = np.maximum(means, 1e-9) / gamma(1.0 + 1.0 / power)
    total = sum(one**power for one in ended) + sum(one**power for one in running)
    logarithms = -len(ended) * power * np.log(scales) - total / scales**power
    return np.asarray(np.exp(WORTH * (logarithms - logarithms.max())))
