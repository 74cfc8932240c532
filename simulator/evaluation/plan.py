"""What is run: every policy under every condition, and the policies of interest with something left out or changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from services.profiler.core.statistics import WorkModel
from services.scheduler.core import POLICIES, PolicySettings, UnknownPolicy, make_policy
from services.scheduler.core.policies.believing import Ingredient
from services.scheduler.core.policies.llmsched import EPSILON, SAMPLE_RATIO
from simulator.compare.study import Knows, Study, knows
from simulator.generate import MIXES, reference_cluster
from simulator.poster.published import APPLICATION_ORDER
from simulator.variants import label, parse

#: Ours, and the one that the paper describes.
FLAGSHIP, FAITHFUL = "gittins", "llmsched"

#: Knows the future; what the others are held against.
ORACLE = "clairvoyant-srpt"

LOADS = (0.7, 0.95, 1.5)
CONTENDED = (0.95, 1.5)  #: loads at which much waits, so that the order matters

#: Values of llmsched's two numbers that are tried, all pairs.
EPSILONS = (0.1, EPSILON, 0.5)
SAMPLE_RATIOS = (SAMPLE_RATIO, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is run. Twice as much of anything takes twice as long."""

    jobs: int = 400  #: in each workload
    seeds: int = 5  #: workloads of each mix and load
    ablation_jobs: int = 100
    ablation_seeds: int = 5
    held_out: int = 40  #: jobs of each application along which beliefs are scored
    resamples: int = 2000
    at_most: Mapping[str, int] = field(default_factory=dict)  #: jobs of a workload, by mix, where that is less

    def jobs_of(self, mix: str) -> int:
        return min(self.jobs, self.at_most.get(mix, self.jobs))

    def ablation_jobs_of(self, mix: str) -> int:
        return min(self.ablation_jobs, self.at_most.get(mix, self.ablation_jobs))


QUICK = Scale(jobs=12, seeds=2, ablation_jobs=5, ablation_seeds=1, held_out=2, resamples=500)


def baselines() -> list[str]:
    """The policies that know no more than what jobs have shown and a history, but for the two of interest."""
    return sorted(name for name in POLICIES if name not in (FLAGSHIP, FAITHFUL) and knows(name) is not Knows.FUTURE)


def policies_study(scale: Scale, first_seed: int, order: Sequence[str], work: WorkModel) -> Study:
    """Every policy under every mix and load."""
    names = [FLAGSHIP, FAITHFUL, *baselines(), ORACLE]
    return _study(names, LOADS, scale.seeds, first_seed, order, work)


def ablations_study(scale: Scale, first_seed: int, work: WorkModel) -> Study:
    """The two policies and their variants, where the order matters."""
    names = [FLAGSHIP, *ablations(FLAGSHIP), FAITHFUL, *ablations(FAITHFUL), *sweep().values()]
    return _study(list(dict.fromkeys(names)), CONTENDED, scale.ablation_seeds, first_seed, (), work)


def ablations(policy: str) -> list[str]:
    """Variants of the policy without an ingredient each."""
    if policy == FAITHFUL:
        own = [f"{policy}:without={one}" for one in (Ingredient.NETWORK, Ingredient.INFORMATION)]
        return [*own, f"{policy}:epsilon=0"]
    return [f"{policy}:without={one}" for one in Ingredient if _has(policy, one)]


def sweep() -> dict[tuple[float, float], str]:
    """Variants of llmsched by epsilon and sample ratio; the usual pair is llmsched itself."""
    found = {}
    for epsilon, ratio in product(EPSILONS, SAMPLE_RATIOS):
        usual = (epsilon, ratio) == (EPSILON, SAMPLE_RATIO)
        settings = PolicySettings(name=FAITHFUL, epsilon=epsilon, sample_ratio=ratio)
        found[epsilon, ratio] = FAITHFUL if usual else label(settings)
    return found


def _has(policy: str, ingredient: Ingredient) -> bool:
    try:
        make_policy(PolicySettings(name=policy, without=(str(ingredient),)))
    except UnknownPolicy:
        return False
    return True


def _study(
    names: Sequence[str], loads: Sequence[float], seeds: int, first_seed: int, order: Sequence[str], work: WorkModel
) -> Study:
    chosen = [parse(name) for name in names]
    in_order = tuple(order) or APPLICATION_ORDER
    return Study(
        policies=tuple(replace(one, application_order=in_order) if one.name == "ps-tcs" else one for one in chosen),
        mixes=tuple(MIXES),
        loads=tuple(loads),
        seeds=tuple(range(first_seed, first_seed + seeds)),
        clusters={mix: reference_cluster(mix) for mix in MIXES},
        work=work,
    )
