"""How good beliefs turned out to be: error, CRPS, coverage of intervals and PIT histogram of what was left of jobs.

A belief is scored as a sample of its distribution and the value that came true. Beliefs have atoms (a job that may be
done already has exactly 0 left), so the PIT is the non-randomised one: its mass is spread over the steps that the
distribution function takes at the value (Czado, Gneiting and Held 2009, Biometrics 65, section 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.profiler.core.network import Array

#: The central intervals whose coverage is measured: the probability that they are to hold.
LEVELS = (0.5, 0.8, 0.95)

#: Columns of the PIT histogram.
COLUMNS = 10


def crps(samples: Array, actual: float) -> float:
    """Continuous ranked probability score, in the unit of the samples; 0 is best, and a point has its absolute error.

    E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007, JASA 102, equation 21), with the second mean over different
    members: so the score of a sample is on average that of what it was drawn from (Ferro 2014, "fair").

    Args: `samples`: shape (samples,), one at least.
    """
    count = len(samples)
    ordered = np.sort(samples)
    weights = 2.0 * np.arange(count) - count + 1.0
    spread = float(weights @ ordered) / (count * (count - 1)) if count > 1 else 0.0
    return float(np.abs(ordered - actual).mean()) - spread


def steps(samples: Array, actual: float) -> tuple[float, float]:
    """What the distribution function goes from and to at the actual value.

    A value that no sample has still lies between two of them: then both are the middle of the step.
    """
    below, same = float((samples < actual).mean()), float((samples == actual).mean())
    return below, below + same


def interval(samples: Array, level: float) -> tuple[float, float]:
    """The central interval that holds this share of the samples."""
    low, high = np.quantile(samples, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


@dataclass(slots=True, kw_only=True)
class Calibration:
    """Adds up scores. `merge` joins those of several places; `plain` and `of_plain` carry them elsewhere."""

    count: int = 0
    error_sum: float = 0.0  #: of absolute errors of the mean
    crps_sum: float = 0.0
    inside: list[int] = field(default_factory=lambda: [0] * len(LEVELS))  #: how many lay in each central interval
    pit: list[float] = field(default_factory=lambda: [0.0] * COLUMNS)  #: adds up to `count`

    def add(self, samples: Array, actual: float, mean: float | None = None) -> None:
        """One belief and what came true.

        Args:
            samples: of the belief, shape (samples,); one at least.
            mean: of the belief; None: of the samples.
        """
        self.count += 1
        self.error_sum += abs((float(samples.mean()) if mean is None else mean) - actual)
        self.crps_sum += crps(samples, actual)
        # What rounding does to a sum of the same numbers in another order must not decide what is inside.
        slack = 1e-9 * max(1.0, abs(actual))
        for place, level in enumerate(LEVELS):
            low, high = interval(samples, level)
            self.inside[place] += low - slack <= actual <= high + slack
        self._spread(*steps(samples, actual))

    def _spread(self, low: float, high: float) -> None:
        """Adds 1 to the histogram, spread evenly from `low` to `high`."""
        if high <= low:
            self.pit[min(COLUMNS - 1, int(low * COLUMNS))] += 1.0
            return
        limits = np.clip(np.linspace(0.0, 1.0, COLUMNS + 1), low, high)
        for place, share in enumerate(np.diff(limits) / (high - low)):
            self.pit[place] += float(share)

    @property
    def error(self) -> float:
        """Mean absolute error; 0 if nothing was scored."""
        return self.error_sum / max(1, self.count)

    @property
    def crps(self) -> float:
        """Mean; 0 if nothing was scored."""
        return self.crps_sum / max(1, self.count)

    @property
    def coverage(self) -> Mapping[float, float]:
        """By level: the share of values that lay in the interval of that level. 0 if nothing was scored."""
        return {level: inside / max(1, self.count) for level, inside in zip(LEVELS, self.inside, strict=True)}

    def merge(self, other: Calibration) -> None:
        self.count += other.count
        self.error_sum += other.error_sum
        self.crps_sum += other.crps_sum
        self.inside = [one + more for one, more in zip(self.inside, other.inside, strict=True)]
        self.pit = [one + more for one, more in zip(self.pit, other.pit, strict=True)]

    def plain(self) -> dict[str, Any]:
        """As numbers and lists."""
        return {
            "count": self.count,
            "error_sum": self.error_sum,
            "crps_sum": self.crps_sum,
            "inside": list(self.inside),
            "pit": list(self.pit),
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Calibration:
        return cls(**{**plain, "inside": list(plain["inside"]), "pit": list(plain["pit"])})


def total(scores: Sequence[Calibration]) -> Calibration:
    """Of several, together."""
    found = Calibration()
    for one in scores:
        found.merge(one)
    return found
