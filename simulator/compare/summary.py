"""From runs to what is said of each policy under each mix and load."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, nan

import numpy as np

from simulator.compare.bootstrap import Array, Estimate, interval, resampled_sums
from simulator.compare.study import Knows, StudyRun, knows
from simulator.metrics import JctSummary, summarise
from simulator.run import RunResult

#: What every policy is measured against by default, beside the best policy that does not know the future.
ORACLE = "clairvoyant-srpt"

#: What a reader knows without any scheduler: order of arrival.
FAMILIAR = "fcfs"

#: Enough that the ends of an interval move by a few per cent of its width from one bootstrap seed to the next.
RESAMPLES = 10_000

_Runs = Sequence[RunResult]  # of one policy in one cell, by seed


class NothingToCompare(ValueError):
    """In some cell no job succeeded under all policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The jobs of one application under one policy. Seconds."""

    summary: JctSummary
    mean: Estimate  #: JCT


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy under one mix and load: all its seeds together. Seconds, unless it says otherwise."""

    policy: str
    summary: JctSummary  #: of all jobs of all seeds that succeeded under every policy
    mean: Estimate  #: JCT
    to_best: Estimate  #: mean JCT over that of the best policy that does not know the future
    to_reference: Estimate | None  #: mean JCT over that of the reference
    applications: Mapping[str, Application]
    jcts: Sequence[float]  #: ascending
    failed: int  #: jobs, under this policy
    llm_utilisation: float  #: mean over the seeds
    tool_utilisation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """All policies under one mix and load, on the same workloads."""

    mix: str
    load: float
    seeds: int
    best: str  #: of the policies that do not know the future, the one with the smallest mean JCT; on a tie fcfs
    rows: Mapping[str, Row]  #: by policy, in the order of the study
    left_out: int  #: jobs that failed under some policy, and so are counted under none


def cells(runs: Sequence[StudyRun], *, reference: str | None = ORACLE, resamples: int = RESAMPLES) -> list[Cell]:
    """What the runs of a study say, in the order of the study.

    Args: `reference`: a policy of the study that every other is divided by (None, or not in the study: none).

    Raises:
        NothingToCompare: no job of a cell succeeded under all policies.
    """
    grouped: dict[tuple[str, float], dict[str, list[RunResult]]] = defaultdict(lambda: defaultdict(list))
    for (mix, load, _), result in runs:
        grouped[mix, load][result.policy].append(result)
    return [_cell(mix, load, by_policy, reference, resamples) for (mix, load), by_policy in grouped.items()]


def _cell(mix: str, load: float, by_policy: Mapping[str, _Runs], reference: str | None, resamples: int) -> Cell:
    policies = list(by_policy)
    common = _common_jobs(by_policy)
    if not any(common):
        raise NothingToCompare(f"mix {mix}, load {load:g}: no job succeeded under all policies")
    applications = sorted({application for jobs in common for application in jobs.values()})
    table = _Table(by_policy, common, applications)
    sums = resampled_sums(table.groups, resamples, _generator(mix, load))
    seeds = len(common)

    def estimate(over: int, under: int) -> Estimate:
        value = table.totals[over] / table.totals[under] if table.totals[under] else nan
        with np.errstate(divide="ignore", invalid="ignore"):
            return Estimate(value, *interval(sums[:, over] / sums[:, under], seeds))

    counts = table.column(None)
    totals = {policy: table.totals[table.column(policy)] for policy in policies}
    candidates = [policy for policy in policies if knows(policy) is not Knows.FUTURE] or policies
    least = min(totals[policy] for policy in candidates)
    # Policies that took the same decisions differ in the last digits only, for their sums were taken in another order.
    tied = [policy for policy in candidates if totals[policy] <= least * (1 + 1e-9)]
    best = FAMILIAR if FAMILIAR in tied else tied[0]
    rows = {}
    for policy, results in by_policy.items():
        column = table.column(policy)
        jcts = table.jcts(policy)
        rows[policy] = Row(
            policy=policy,
            summary=summarise(jcts),
            mean=estimate(column, counts),
            to_best=estimate(column, table.column(best)),
            to_reference=estimate(column, table.column(reference)) if reference in by_policy else None,
            applications={
                name: Application(
                    summary=summarise(table.jcts(policy, name)),
                    mean=estimate(table.column(policy, name), table.column(None, name)),
                )
                for name in applications
            },
            jcts=sorted(jcts),
            failed=sum(result.failed for result in results),
            llm_utilisation=fsum(result.llm_utilisation for result in results) / seeds,
            tool_utilisation=fsum(result.tool_utilisation for result in results) / seeds,
        )
    submitted = sum(len(result.jcts) + result.failed for result in by_policy[best])
    return Cell(
        mix=mix, load=load, seeds=seeds, best=best, rows=rows, left_out=submitted - sum(len(jobs) for jobs in common)
    )


def _common_jobs(by_policy: Mapping[str, _Runs]) -> list[dict[int, str]]:
    """For each seed: the application of each job that succeeded under every policy, by order in the workload."""
    by_seed = zip(*by_policy.values(), strict=True)
    found = []
    for results in by_seed:
        succeeded = set.intersection(*({order for order, _, _ in result.jcts} for result in results))
        found.append({order: application for order, application, _ in results[0].jcts if order in succeeded})
    return found


class _Table:
    """The common jobs as numbers: a row for each job; columns of JCTs and of ones, for all jobs and by application."""

    def __init__(
        self, by_policy: Mapping[str, _Runs], common: Sequence[Mapping[int, str]], applications: Sequence[str]
    ) -> None:
        self._policies = [*by_policy, None]  # None: the column that counts
        self._scopes: list[str | None] = [None, *applications]
        self.groups = [
            self._group([results[seed] for results in by_policy.values()], jobs)
            for seed, jobs in enumerate(common)
            if jobs
        ]
        self.totals: Array = np.sum([group.sum(axis=0) for group in self.groups], axis=0)

    def column(self, policy: str | None, application: str | None = None) -> int:
        return self._scopes.index(application) * len(self._policies) + self._policies.index(policy)

    def jcts(self, policy: str, application: str | None = None) -> list[float]:
        ones, times = self.column(None, application), self.column(policy, application)
        return [float(jct) for group in self.groups for jct in group[group[:, ones] > 0, times]]

    def _group(self, results: Sequence[RunResult], jobs: Mapping[int, str]) -> Array:
        columns = [[jct for order, _, jct in result.jcts if order in jobs] for result in results]
        base = np.array([*columns, [1.0] * len(jobs)]).T
        named = np.array(list(jobs.values()))
        return np.hstack([base if scope is None else base * (named == scope)[:, None] for scope in self._scopes])


def _generator(mix: str, load: float) -> np.random.Generator:
    """A cell's own stream, so that a cell does not depend on which others there are."""
    digest = hashlib.blake2b(f"{mix}/{load!r}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
