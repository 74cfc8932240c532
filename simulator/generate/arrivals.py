"""When jobs arrive: a renewal process whose gaps have a given mean and a given coefficient of variation.

Gaps are gamma distributed with shape 1/CV² and scale CV²/rate, so their mean is 1/rate and their coefficient of
variation is CV, both exactly. CV = 1 is the exponential distribution: a Poisson process. A larger CV makes bursts: many
short gaps, a few long ones. Source: gamma arrivals as in AlpaServe (Li et al., OSDI 2023) and BurstGPT (Wang et al.,
arXiv 2401.17644); the default CV of `bursty` is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from simulator.generate.errors import RecipeError

BURSTY_CV = 3.0
MAX_CV = 100.0

#: Arrivals and tool seconds are rounded to microseconds: files are equal on machines whose logarithms differ.
DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """The default is a Poisson process."""

    cv: float = 1.0  #: of the gaps, above 0

    def __post_init__(self) -> None:
        if not 0 < self.cv <= MAX_CV:
            raise RecipeError([f"arrivals: the CV must be above 0 and at most {MAX_CV:g}, not {self.cv:g}"])

    @classmethod
    def parse(cls, text: str) -> Arrivals:
        """Reads `poisson`, `bursty` or `bursty:CV`.

        Raises:
            RecipeError: it is none of them.
        """
        if text == "poisson":
            return cls()
        kind, colon, cv = text.partition(":")
        if kind == "bursty":
            try:
                return cls(cv=float(cv) if colon else BURSTY_CV)
            except ValueError as error:
                if isinstance(error, RecipeError):
                    raise
        raise RecipeError([f"arrivals must be poisson, bursty or bursty:CV, not {text!r}"])

    def __str__(self) -> str:
        return "poisson" if self.cv == 1 else f"bursty:{self.cv}"

    def times(self, rate: float, random: Random) -> Iterator[float]:
        """Yields arrivals without end, in seconds from 0 on, ascending; `rate` is in jobs a second.

        With an equal generator, another rate scales the times and changes nothing else.
        """
        shape, scale = self.cv**-2, self.cv**2
        units = 0.0
        while True:
            units += random.gammavariate(shape, scale)
            yield round(units / rate, DIGITS)
