"""Learns an engine's `Calibration` from reports of its steps, online: old ones fade, hiccups count little.

Rules of this file:

1. Deterministic and without a clock: what counts is how many steps and prompts came, not when.
2. Each batch size keeps a mean over its last `memory` steps or so (exponential forgetting). A size that is not
   seen forgets nothing, but it moves along: when the mean of a size that is well known changes, so has the engine, and
   all other sizes change in proportion. So l(b)/l(1) survives that an engine becomes slower while it is always full.
3. A report that is much slower than what is known is taken for a hiccup and cut to `_MOST` times the mean, and one
   whose steps differ much counts less. A lasting change gets through in a few reports all the same.
4. Prompts: seconds = (overhead + tokens·prefill) · s(b) for engines that compute prompts beside decoding, without s(b)
   for those that stop decoding meanwhile; whichever explains the reports better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from services.profiler.core.calibration import Calibration, DecodeSteps, Prefills, Report
from services.profiler.core.step_curve import Mean, curve

_MEMORY_STEPS = 1000.0
_MEMORY_PROMPTS = 500.0
_MOST = 1.5
#: A report counts in full up to so many times the usual variance.
_UNLIKE = 4.0
#: Steps from which on a size's changes are taken for the engine's, half way.
_KNOWN_STEPS = 50.0
#: Prompts from which on a slow one can be told.
_KNOWN_PROMPTS = 8.0
#: Relative variance of a step before any was seen, and how many steps that guess is worth.
_NOISE, _NOISE_STEPS = 0.04, 20.0
#: A prompt's overhead is one step (its first token); this many prompts is that guess worth.
_OVERHEAD_PROMPTS = 4.0
#: Larger batches are a reporter's fault: no engine has so many slots. So are sums beyond these, and such steps.
_LARGEST_BATCH = 4096
_LEAST, _LARGEST = 1e-18, 1e18
_SHORTEST_STEP, _LONGEST_STEP = 1e-9, 1e6
#: Relative variance of a step that says that nothing is known of it.
_MOST_NOISE = 4.0


class Calibrator:
    """What was learned of one engine so far. One owner; not safe for threads."""

    def __init__(self, *, memory: float = _MEMORY_STEPS) -> None:
        """`memory`: steps of a batch size that count. Raises ValueError if it is less than one."""
        if not memory >= 1.0:
            raise ValueError(f"memory must be at least one step, not {memory}")
        self._memory = memory
        self._means: dict[int, Mean] = {}
        self._noise = 0.0  # weighted sum of relative variances
        self._noise_steps = 0.0
        self._prefills: dict[int, Prefills] = {}

    def observe(self, report: Report) -> None:
        """Takes in what an executor reports. Entries that cannot be (no time, no steps) are passed over."""
        for steps in report.decode:
            if _is_sane(*steps):
                self._decoded(steps)
        for prompts in report.prefill:
            if _is_sane(*prompts):
                self._prefilled(prompts)

    def calibration(self, batches: int = 8) -> Calibration:
        """The best guess now, for batch sizes up to `batches` or the largest seen."""
        batches = max([batches, *self._means])
        default = Calibration.default(batches)
        if not self._means:
            return default
        steps = curve(self._means, batches=batches, noise=self._relative_variance())
        weights = tuple(self._means[size].weight if size in self._means else 0.0 for size in range(1, batches + 1))
        bare = Calibration(prefill=default.prefill * steps[0] / default.steps[0], steps=steps, weights=weights)
        prompts = math.fsum(each.prompts for each in self._prefills.values())
        prefill = _prefill(self._prefills, bare) if prompts else bare.prefill
        return Calibration(prefill=prefill, steps=steps, weights=weights, prompts=prompts)

    def _decoded(self, seen: DecodeSteps) -> None:
        known = self._means.get(seen.batch)
        mean = _step(seen.seconds / seen.steps)
        relative = max(0.0, seen.squares / seen.steps / (mean * mean) - 1.0)
        # Steps that differ among each other more than steps do: one of them was a hiccup, and their mean says little.
        count = seen.steps * min(1.0, _UNLIKE * self._relative_variance() / max(relative, _LEAST))
        weight = min(count, self._memory)
        if known is None:
            self._means[seen.batch] = Mean(weight, mean)
            return
        cut = min(1.0, _MOST * known.seconds / mean)
        ratio = cut * mean / known.seconds
        self._vary(weight, relative * ratio * ratio + (ratio - 1.0) ** 2)
        kept = known.weight * math.exp(-count / self._memory)
        change = (kept + weight * ratio) / (kept + weight)
        self._follow(seen.batch, change, known.weight / (known.weight + _KNOWN_STEPS))
        self._means[seen.batch] = Mean(min(kept + weight, self._memory), _step(known.seconds * change))

    def _follow(self, batch: int, ratio: float, trust: float) -> None:
        """The mean of a batch size has changed by `ratio`: the other sizes change too, as far as that is trusted."""
        for size, mean in self._means.items():
            if size != batch:
                self._means[size] = Mean(mean.weight, _step(mean.seconds * ratio**trust))

    def _vary(self, steps: float, relative_variance: float) -> None:
        kept = math.exp(-steps / self._memory)
        self._noise = self._noise * kept + steps * min(relative_variance, _MOST_NOISE)
        self._noise_steps = self._noise_steps * kept + steps

    def _relative_variance(self) -> float:
        return (self._noise + _NOISE * _NOISE_STEPS) / (self._noise_steps + _NOISE_STEPS)

    def _prefilled(self, seen: Prefills) -> None:
        known = self._prefills.get(seen.batch)
        if known is not None and known.prompts >= _KNOWN_PROMPTS:
            longer = max(1.0, (seen.tokens / seen.prompts) / (known.tokens / known.prompts))
            cut = min(1.0, _MOST * longer * known.seconds / known.prompts * seen.prompts / seen.seconds)
            seen = seen._replace(
                seconds=seen.seconds * cut, token_seconds=seen.token_seconds * cut, squares=seen.squares * cut * cut
            )
        kept = math.exp(-seen.prompts / _MEMORY_PROMPTS)
        for batch, sums in self._prefills.items():
            self._prefills[batch] = Prefills(batch, *(value * kept for value in sums[1:]))
        old = self._prefills.get(seen.batch, Prefills(seen.batch, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
        both = (one + other for one, other in zip(old[1:], seen[1:], strict=True))
        self._prefills[seen.batch] = Prefills(seen.batch, *both)

    def plain(self) -> dict[str, Any]:
        """All that was learned, for JSON."""
        return {
            "memory": self._memory,
            "means": [[size, *self._means[size]] for size in sorted(self._means)],
            "noise": [self._noise_steps, self._noise],
            "prefills": [list(self._prefills[batch]) for batch in sorted(self._prefills)],
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Calibrator:
        """The inverse of `plain`. Raises KeyError, TypeError or ValueError if it is none."""
        calibrator = cls(memory=float(plain["memory"]))
        calibrator._means = {int(size): Mean(weight, seconds) for size, weight, seconds in plain["means"]}
        calibrator._noise_steps, calibrator._noise = plain["noise"]
        calibrator._prefills = {int(sums[0]): Prefills(*sums) for sums in plain["prefills"]}
        return calibrator


class _Price(NamedTuple):
    """Of prompts, under one assumption."""

    residual: float
    prefill: float


def _prefill(prefills: Mapping[int, Prefills], calibration: Calibration) -> float:
    """Seconds a prompt token costs, alone."""
    # On a tie, as with a single batch size, the first: the model of work says that a batch slows prompts down too.
    beside, apart = (_priced(prefills, calibration, beside=beside) for beside in (True, False))
    return min(beside, apart, key=lambda price: price.residual).prefill


def _priced(prefills: Mapping[int, Prefills], calibration: Calibration, *, beside: bool) -> _Price:
    """Least squares of seconds = overhead + tokens·prefill; a guess at the overhead keeps it from being singular."""
    n, t, s, tt, ts, ss = _OVERHEAD_PROMPTS, 0.0, 0.0, 0.0, 0.0, 0.0
    overhead = calibration.step(1)
    s += _OVERHEAD_PROMPTS * overhead
    ss += _OVERHEAD_PROMPTS * overhead**2
    for batch, sums in sorted(prefills.items()):
        slower = calibration.slowdown(batch) if beside else 1.0
        n, t, tt = n + sums.prompts, t + sums.tokens, tt + sums.token_squares
        s, ts, ss = s + sums.seconds / slower, ts + sums.token_seconds / slower, ss + sums.squares / slower**2
    # Sums of real prompts are at least that far from singular; those of a faulty reporter may not be.
    determinant = max(n * tt - t * t, _OVERHEAD_PROMPTS * tt)
    prefill = max(0.0, (n * ts - t * s) / determinant)
    offset = (s - prefill * t) / n
    residual = ss - 2.0 * (offset * s + prefill * ts) + offset * (n * offset + 2.0 * prefill * t) + prefill**2 * tt
    return _Price(max(0.0, residual), prefill)


def _step(seconds: float) -> float:
    return min(max(seconds, _SHORTEST_STEP), _LONGEST_STEP)


def _is_sane(batch: int, *sums: float) -> bool:
    return 1 <= batch <= _LARGEST_BATCH and all(_LEAST <= each <= _LARGEST for each in sums)
