"""Failures and stragglers, drawn from the name of an attempt: every policy meets the same trouble."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from services.scheduler.core.effects import Dispatch
from services.scheduler.core.model import AttemptRef, Failure
from simulator.cluster import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """None by default. Raises ValueError, with all that is wrong, for what is no probability and no factor."""

    failures: float = 0.0  #: probability that an attempt fails, at a uniformly drawn point of its work
    stragglers: float = 0.0  #: probability that an attempt has more work than it should
    straggler_factor: float = 4.0  #: how many times more
    seed: int = 0

    def __post_init__(self) -> None:
        odds = {"failures": self.failures, "stragglers": self.stragglers}
        problems = [f"{name} is {value}, no probability" for name, value in odds.items() if not 0.0 <= value <= 1.0]
        if not (math.isfinite(self.straggler_factor) and self.straggler_factor >= 0.0):
            problems.append(f"straggler_factor is {self.straggler_factor}, a number from 0 up is needed")
        if problems:
            raise ValueError("; ".join(problems))

    def around(self, load: Callable[[Dispatch], Load]) -> Callable[[Dispatch], Load]:
        """`load` with this trouble in it."""
        if not self.failures and not self.stragglers:
            return load

        def troubled(dispatch: Dispatch) -> Load:
            work, outcome = load(dispatch)
            fails, point, straggles = self._draws(dispatch.attempt)
            if straggles < self.stragglers:
                work *= self.straggler_factor
            if fails < self.failures:
                broken = Failure(reason="SIMULATED", message="one of the simulated failures", retryable=True)
                return Load(work * point, broken)
            return Load(work, outcome)

        return troubled

    def _draws(self, ref: AttemptRef) -> tuple[float, float, float]:
        """Three numbers from [0, 1) that depend on the seed and the attempt only."""
        name = f"{self.seed}/{ref.job_id}/{ref.stage_id}/{ref.task_index}/{ref.attempt}"
        digest = hashlib.blake2b(name.encode(), digest_size=24).digest()
        first, second, third = (int.from_bytes(digest[at : at + 8], "big") / 2.0**64 for at in (0, 8, 16))
        return first, second, third
