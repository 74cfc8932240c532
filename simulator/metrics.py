"""What a run is judged by: job completion times, makespan, utilisation."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, fsum

from services.scheduler.core.model import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class JctSummary:
    """Job completion times of some jobs that succeeded, in seconds; all 0 when there are none."""

    jobs: int
    mean_jct: float
    p50_jct: float
    p95_jct: float
    p99_jct: float
    max_jct: float


def quantile(ascending: Sequence[float], q: float) -> float:
    """The element at index floor(q (n - 1)); docs/simulation-contract.md."""
    return ascending[floor(q * (len(ascending) - 1))]


def summarise(jcts: Sequence[float]) -> JctSummary:
    """Summary of job completion times in any order."""
    if not jcts:
        return JctSummary(jobs=0, mean_jct=0.0, p50_jct=0.0, p95_jct=0.0, p99_jct=0.0, max_jct=0.0)
    ascending = sorted(jcts)
    return JctSummary(
        jobs=len(ascending),
        mean_jct=fsum(ascending) / len(ascending),
        p50_jct=quantile(ascending, 0.50),
        p95_jct=quantile(ascending, 0.95),
        p99_jct=quantile(ascending, 0.99),
        max_jct=ascending[-1],
    )


class JobLog:
    """Collects how jobs ended, in 16 bytes for each."""

    def __init__(self) -> None:
        #: By application, of jobs that succeeded.
        self.jcts: dict[str, array[float]] = defaultdict(lambda: array("d"))
        #: Beside `jcts`: which job of the workload, from 0.
        self.orders: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self.failed = 0
        self.makespan = 0.0  #: time of the latest end

    def ended(self, application: str, order: int, arrival: float, at: float, state: JobState) -> None:
        self.makespan = max(self.makespan, at)
        if state is JobState.SUCCEEDED:
            self.jcts[application].append(at - arrival)
            self.orders[application].append(order)
        else:
            self.failed += 1

    def overall(self) -> JctSummary:
        return summarise([jct for jcts in self.jcts.values() for jct in jcts])

    def per_application(self) -> Mapping[str, JctSummary]:
        return {application: summarise(self.jcts[application]) for application in sorted(self.jcts)}

    def by_order(self) -> list[tuple[int, str, float]]:
        """Order in the workload, application and job completion time of each job that succeeded, by order."""
        rows = [
            (order, application, jct)
            for application, jcts in self.jcts.items()
            for order, jct in zip(self.orders[application], jcts, strict=True)
        ]
        rows.sort()
        return rows
