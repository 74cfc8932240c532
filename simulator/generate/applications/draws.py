"""How parametric applications draw sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Size:
    """A lognormal distribution by its mean and its coefficient of variation: tokens or seconds.

    Lognormal is ours: sizes are above 0 and skewed, and two moments are what sources give.
    """

    mean: float
    cv: float = 0.0

    def draw(self, random: Random) -> float:
        variance = math.log1p(self.cv**2)
        return self.mean * math.exp(random.gauss(0.0, math.sqrt(variance)) - variance / 2)

    def tokens(self, random: Random, most: int | None = None) -> int:
        """At least 1; at most `most`, as a limit on the output cuts it."""
        drawn = max(1, round(self.draw(random)))
        return drawn if most is None else min(drawn, most)

    def seconds(self, random: Random) -> float:
        """Rounded to microseconds."""
        return round(self.draw(random), 6)
