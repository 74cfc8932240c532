"""How fast the engines were: the work model and the slowdown by batching that explain the measured LLM calls best.

The model is the simulator's (docs/simulation-contract.md): a call has work w = prompt tokens · prefill + output tokens
· decode, and advances at speed 1/s(b) while b calls share its engine, s(b) = 1 + β (b - 1). So a call that spent T(b)
seconds in batches of b has done ∑ T(b)/s(b) of work, and given its work it takes w · m, with its mean slowdown
m = ∑ T(b) / ∑ T(b)/s(b). For a given β that is linear in prefill and decode: least squares on the measured seconds.
β is then searched for in one dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from services.profiler.core.statistics import WorkModel

DEFAULT_SLOWDOWN = 0.05  #: where the calls do not show it; the reference cluster's
_MAX_SLOWDOWN = 4.0
_PRECISION = 1e-6
#: More calls than this say nothing new, and are thinned out evenly.
_MAX_CALLS = 10_000
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class Call(NamedTuple):
    """An LLM attempt that succeeded, from its dispatch to its end."""

    prompt_tokens: int
    output_tokens: int
    batches: tuple[tuple[int, float], ...]  #: seconds that it spent in batches of each size, ascending

    @property
    def seconds(self) -> float:
        return math.fsum(seconds for _, seconds in self.batches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What the calls say about the engines."""

    work: WorkModel
    batch_slowdown: float
    calls: int  #: that it is learned from; 0: all of it is the default
    r_squared: float | None  #: of the calls' seconds; None: no calls, or they all took equally long
    median_error: float | None  #: half of the calls' seconds are this close to the model's, as a share; None: no calls
    largest_batch: int  #: seen; at 1 the slowdown is the default


def fit(calls: Sequence[Call]) -> Fit:
    """Learns prefill, decode and β from calls; what they do not show stays at the defaults."""
    used = [call for call in calls if call.seconds > 0 and call.prompt_tokens + call.output_tokens > 0]
    used = used[:: max(1, math.ceil(len(used) / _MAX_CALLS))]
    if not used:
        return Fit(
            work=WorkModel(),
            batch_slowdown=DEFAULT_SLOWDOWN,
            calls=0,
            r_squared=None,
            median_error=None,
            largest_batch=0,
        )
    largest = max(batch for call in used for batch, _ in call.batches)
    slowdown = DEFAULT_SLOWDOWN
    if largest > 1:
        slowdown = _minimum(lambda beta: _residual(used, beta, _work(used, beta)))
    work = _work(used, slowdown)
    seconds = [call.seconds for call in used]
    mean = math.fsum(seconds) / len(seconds)
    spread = math.fsum((each - mean) ** 2 for each in seconds)
    unexplained = _residual(used, slowdown, work)
    return Fit(
        work=work,
        batch_slowdown=slowdown,
        calls=len(used),
        r_squared=1.0 - unexplained / spread if spread > 0 else None,
        median_error=median(abs(_error(call, slowdown, work)) / call.seconds for call in used),
        largest_batch=largest,
    )


def _mean_slowdown(call: Call, beta: float) -> float:
    return call.seconds / math.fsum(seconds / (1.0 + beta * (batch - 1)) for batch, seconds in call.batches)


def _work(calls: Sequence[Call], beta: float) -> WorkModel:
    """Least squares through the origin; neither price may be negative."""
    pp = po = oo = ps = os = 0.0
    for call in calls:
        slowdown, seconds = _mean_slowdown(call, beta), call.seconds
        prompt, output = call.prompt_tokens * slowdown, call.output_tokens * slowdown
        pp, po, oo = pp + prompt * prompt, po + prompt * output, oo + output * output
        ps, os = ps + prompt * seconds, os + output * seconds
    determinant = pp * oo - po * po
    if determinant > 1e-9 * pp * oo:
        prefill, decode = (oo * ps - po * os) / determinant, (pp * os - po * ps) / determinant
        if prefill >= 0 and decode >= 0:
            return WorkModel(prefill=prefill, decode=decode)
    # One price explains it all. Of two, that of the output is the likelier one.
    alone = [WorkModel(prefill=0.0, decode=os / oo)] if oo else []
    alone += [WorkModel(prefill=ps / pp, decode=0.0)] if pp else []
    return min(alone, key=lambda work: _residual(calls, beta, work))


def _residual(calls: Sequence[Call], beta: float, work: WorkModel) -> float:
    """Sum of squared seconds that the model does not explain."""
    return math.fsum(_error(call, beta, work) ** 2 for call in calls)


def _error(call: Call, beta: float, work: WorkModel) -> float:
    """Seconds that the call took longer than the model says."""
    return call.seconds - work.work(call.prompt_tokens, call.output_tokens) * _mean_slowdown(call, beta)


def _minimum(value: Callable[[float], float]) -> float:
    """Where the function of a slowdown is smallest, by golden section."""
    low, high = 0.0, _MAX_SLOWDOWN
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = value(left), value(right)
    while high - low > _PRECISION:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = value(right)
    return (low + high) / 2.0
