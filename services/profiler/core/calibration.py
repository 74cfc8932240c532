"""How fast an engine is at each batch size, and what that makes of work: seconds at batch b = work · l(b)/l(1).

l(b) is the time of one decode step when b requests share the batch; work is the seconds of a request that has the
engine to itself (docs/calibration.md). `calibrator` learns a `Calibration` from what executors report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.profiler.core.statistics import WorkModel

#: A price that has changed by this share is worth telling.
NOTICEABLE = 0.03

DEFAULT_SLOWDOWN = 0.05  #: β of l(b) = l(1)·(1 + β (b - 1)) where nothing was measured; the reference cluster's


class DecodeSteps(NamedTuple):
    """Decode steps of one batch size, summed up. One step gives one token to each request of the batch."""

    batch: int
    steps: float  #: how many; not whole where they were counted by some of the batch's requests only
    seconds: float  #: their sum
    squares: float  #: sum over the steps of their seconds squared


class Prefills(NamedTuple):
    """Prompts that were computed while no other was, summed up; t are tokens that were not cached, s are seconds."""

    batch: int  #: requests that ran then, this one included
    prompts: float
    tokens: float  #: ∑ t
    seconds: float  #: ∑ s, until the first output token
    token_squares: float  #: ∑ t²
    token_seconds: float  #: ∑ t·s
    squares: float  #: ∑ s²


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What somebody saw of one engine's speed in a while."""

    decode: tuple[DecodeSteps, ...] = ()
    prefill: tuple[Prefills, ...] = ()

    def plus(self, other: Report) -> Report:
        """Both in one; each batch size once."""
        return Report(
            decode=tuple(DecodeSteps(*each) for each in _summed((*self.decode, *other.decode))),
            prefill=tuple(Prefills(*each) for each in _summed((*self.prefill, *other.prefill))),
        )

    def plain(self) -> dict[str, Any]:
        """What an observation line of type "steps" carries."""
        return {
            "decode": [each._asdict() for each in self.decode],
            "prefill": [each._asdict() for each in self.prefill],
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Report:
        """The inverse of `plain`; takes a whole observation line too. Raises KeyError, TypeError if it is none."""
        return cls(
            decode=tuple(DecodeSteps(**each) for each in plain["decode"]),
            prefill=tuple(Prefills(**each) for each in plain["prefill"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The speed of one engine. Raises ValueError for steps that are not positive or get shorter with the batch."""

    prefill: float  #: seconds a prompt token, alone
    steps: tuple[float, ...]  #: l(1), l(2), ... l(B) in seconds, never falling
    weights: tuple[float, ...]  #: of each, how many measured steps it rests on; 0: it follows from the others
    prompts: float = 0.0  #: how many measured prompts `prefill` rests on; 0: it is the default

    def __post_init__(self) -> None:
        rising = all(one <= other for one, other in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not math.isfinite(self.steps[-1]) or self.steps[0] <= 0.0 or not rising:
            raise ValueError("steps must be positive, finite and never fall with the batch size")
        if not (math.isfinite(self.prefill) and self.prefill >= 0.0) or len(self.weights) != len(self.steps):
            raise ValueError("prefill must be a number from 0 up, and every step needs a weight")

    @classmethod
    def default(
        cls, batches: int = 8, work: WorkModel | None = None, slowdown: float = DEFAULT_SLOWDOWN
    ) -> Calibration:
        """An engine of which nothing was measured: the model of docs/simulation-contract.md."""
        work = work or WorkModel()
        steps = tuple(work.decode * (1.0 + slowdown * extra) for extra in range(batches))
        return cls(prefill=work.prefill, steps=steps, weights=(0.0,) * batches)

    def step(self, batch: int) -> float:
        """l(b) in seconds; past the largest size in the table it goes on as steeply as the table is on average."""
        known = len(self.steps)
        if batch <= known:
            return self.steps[max(batch, 1) - 1]
        slope = (self.steps[-1] - self.steps[0]) / max(known - 1, 1)
        return self.steps[-1] + slope * (batch - known)

    def slowdown(self, batch: int) -> float:
        """s(b) = l(b)/l(1), at least 1."""
        return self.step(batch) / self.steps[0]

    @property
    def slowdowns(self) -> tuple[float, ...]:
        """s(1), s(2), ... s(B): the simulator's table."""
        return tuple(self.slowdown(batch) for batch in range(1, len(self.steps) + 1))

    def moved_from(self, other: Calibration) -> bool:
        """Whether a step of any size of either table, or a prompt token, costs noticeably more or less than before."""
        sizes = range(1, max(len(self.steps), len(other.steps)) + 1)
        prices = [(self.prefill, other.prefill), *((self.step(size), other.step(size)) for size in sizes)]
        return any(abs(new - old) > NOTICEABLE * old for new, old in prices)

    def work_model(self) -> WorkModel:
        """What makes work of tokens."""
        return WorkModel(prefill=self.prefill, decode=self.steps[0])

    def work(self, prompt_tokens: int, output_tokens: int) -> float:
        """Seconds that a call takes alone."""
        return self.work_model().work(prompt_tokens, output_tokens)

    def seconds(self, prompt_tokens: int, output_tokens: int, batch: int) -> float:
        """Seconds that a call takes in a batch of this size."""
        return self.time_of(self.work(prompt_tokens, output_tokens), batch)

    def time_of(self, work: float, batch: int) -> float:
        """Seconds at this batch size for work."""
        return work * self.slowdown(batch)

    def work_of(self, stretches: Iterable[tuple[int, float]]) -> float:
        """The work that a call has done in so many seconds at each batch size: pairs of batch size and seconds."""
        return math.fsum(seconds / self.slowdown(batch) for batch, seconds in stretches)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "prefill": self.prefill,
            "steps": list(self.steps),
            "weights": list(self.weights),
            "prompts": self.prompts,
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Calibration:
        """The inverse of `plain`. Raises KeyError, TypeError or ValueError if it is none."""
        return cls(
            prefill=float(plain["prefill"]),
            steps=_floats(plain["steps"]),
            weights=_floats(plain["weights"]),
            prompts=float(plain["prompts"]),
        )


def _summed(entries: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Entries of the same batch size, their first field, added up; by batch size."""
    sums: dict[int, tuple[Any, ...]] = {}
    for batch, *values in entries:
        old = sums.get(batch)
        added = values if old is None else [one + other for one, other in zip(old[1:], values, strict=True)]
        sums[batch] = (batch, *added)
    return [sums[batch] for batch in sorted(sums)]


def _floats(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
