"""From runs to figures: means, ratios of means over several cells, and how sure they are.

All policies and all cells share the draws of the bootstrap (`simulator.compare.bootstrap`): ratios are paired by seed
and job, and averages over cells mind that equal seeds have equal jobs at every load.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from simulator.compare.bootstrap import Array, Estimate, interval, resampled_sums
from simulator.compare.study import StudyRun
from simulator.metrics import summarise
from simulator.run import RunResult

#: Of the bootstrap.
_SEED = 20250701


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """All policies under one mix and load. Seconds; by policy."""

    mix: str
    load: float
    seeds: int
    mean: Mapping[str, float]  #: JCT, of the jobs of all seeds
    p95: Mapping[str, float]
    makespan: Mapping[str, float]  #: mean over seeds
    resampled: Mapping[str, Array]  #: mean JCTs of resamples

    @property
    def name(self) -> str:
        return f"{self.mix} {self.load:g}"

    def best(self, among: Sequence[str]) -> str:
        """The policy with the smallest mean."""
        return min(among, key=lambda policy: self.mean[policy])

    def estimate(self, policy: str) -> Estimate:
        """Of the mean JCT."""
        return Estimate(self.mean[policy], *interval(self.resampled[policy], self.seeds))


def figures(runs: Sequence[StudyRun], resamples: int) -> list[Cell]:
    """The cells of a study, in its order. All jobs of all runs must have succeeded."""
    grouped: dict[tuple[str, float], dict[str, list[RunResult]]] = defaultdict(lambda: defaultdict(list))
    for (mix, load, _), result in runs:
        grouped[mix, load][result.policy].append(result)
    return [_cell(mix, load, results, resamples) for (mix, load), results in grouped.items()]


def _cell(mix: str, load: float, results: Mapping[str, Sequence[RunResult]], resamples: int) -> Cell:
    policies = list(results)
    by_policy = {policy: [[jct for _, _, jct in one.jcts] for one in runs] for policy, runs in results.items()}
    seeds = len(by_policy[policies[0]])
    groups = []
    for seed in range(seeds):
        columns = [by_policy[policy][seed] for policy in policies]
        groups.append(np.array([*columns, [1.0] * len(columns[0])]).T)
    sums = resampled_sums(groups, resamples, np.random.default_rng(_SEED))
    pooled = {policy: summarise([jct for one in jcts for jct in one]) for policy, jcts in by_policy.items()}
    return Cell(
        mix=mix,
        load=load,
        seeds=seeds,
        mean={policy: one.mean_jct for policy, one in pooled.items()},
        p95={policy: one.p95_jct for policy, one in pooled.items()},
        makespan={policy: fsum(one.makespan for one in runs) / seeds for policy, runs in results.items()},
        resampled={policy: sums[:, place] / sums[:, -1] for place, policy in enumerate(policies)},
    )


#: Which policy of a cell another one is compared with.
Against = Callable[[Cell], str]


def always(policy: str) -> Against:
    return lambda cell: policy


def ratio(cells: Sequence[Cell], policy: str, against: Against) -> Estimate:
    """The mean over the cells of mean JCT over that of another policy."""
    values = [cell.mean[policy] / cell.mean[against(cell)] for cell in cells]
    resampled = sum(cell.resampled[policy] / cell.resampled[against(cell)] for cell in cells) / len(cells)
    return Estimate(fsum(values) / len(values), *interval(np.asarray(resampled), min(cell.seeds for cell in cells)))


def reduction(cells: Sequence[Cell], policy: str, baseline: str) -> Estimate:
    """By what share of it the policy's mean JCT is below that of the baseline, on average over the cells."""
    found = ratio(cells, policy, always(baseline))
    return Estimate(1.0 - found.value, 1.0 - found.high, 1.0 - found.low)


def of_mix(cells: Sequence[Cell], mix: str) -> list[Cell]:
    return [cell for cell in cells if cell.mix == mix]


def at_loads(cells: Sequence[Cell], loads: Sequence[float]) -> list[Cell]:
    return [cell for cell in cells if cell.load in loads]
