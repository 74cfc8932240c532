"""The evaluation as tables of text, for terminals and for pages alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.common.drawing import seconds
from services.profiler.core.scoring import LEVELS, Calibration, total
from simulator.compare.bootstrap import Estimate
from simulator.evaluation.figures import Cell, always, of_mix, ratio, reduction
from simulator.evaluation.plan import (
    CONTENDED,
    EPSILONS,
    FAITHFUL,
    FLAGSHIP,
    ORACLE,
    SAMPLE_RATIOS,
    ablations,
    sweep,
)
from simulator.evaluation.targets import Target

#: What the paper says: its mean JCT is below those of its baselines by 14 to 79 %.
PUBLISHED = "14 to 79 %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One table. The first column is of names, the others of figures."""

    title: str
    note: str  #: what the figures are
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def policies_sheets(cells: Sequence[Cell], baselines: Sequence[str], goals: Sequence[Target]) -> list[Sheet]:
    """Targets, ratios to the oracle, reductions, and each mix in full."""
    mixes = list(dict.fromkeys(cell.mix for cell in cells))
    return [
        _targets(goals),
        _to_oracle(cells),
        *(_reductions(cells, mixes, policy, baselines) for policy in (FAITHFUL, FLAGSHIP)),
        *(_of_mix(of_mix(cells, mix)) for mix in mixes),
    ]


def ablation_sheets(cells: Sequence[Cell]) -> list[Sheet]:
    """What each ingredient is worth, and llmsched's two numbers."""
    mixes = list(dict.fromkeys(cell.mix for cell in cells))
    return [*(_ablations(cells, mixes, policy) for policy in (FLAGSHIP, FAITHFUL)), _sweep(cells)]


def belief_sheets(learnt: Mapping[str, Calibration], independent: Mapping[str, Calibration]) -> list[Sheet]:
    """How good beliefs are, with the network and without."""
    rows = [_belief_row(name, one, independent[name]) for name, one in learnt.items()]
    rows.append(_belief_row("(all)", total(list(learnt.values())), total(list(independent.values()))))
    return [
        Sheet(
            title="Beliefs along the course of held-out jobs",
            note="Work left, in seconds, before each end of a stage: mean absolute error of the expectation, CRPS"
            " (smaller is better) with the network and with independent variables, and how often the truth lies in the"
            " central intervals.",
            columns=["application", "beliefs", "error", "CRPS", "independent", *(f"in {_percent(x)}" for x in LEVELS)],
            rows=rows,
        )
    ]


def _belief_row(name: str, one: Calibration, independent: Calibration) -> list[str]:
    inside = [_percent(share) for share in one.coverage.values()]
    return [name, str(one.count), seconds(one.error), seconds(one.crps), seconds(independent.crps), *inside]


def _targets(goals: Sequence[Target]) -> Sheet:
    return Sheet(
        title="Targets",
        note=f"Ratios; over all mixes at loads {_listed(CONTENDED)}, unless it says otherwise. The best baseline is"
        f" chosen in each cell by its mean JCT, {ORACLE} and {FAITHFUL} aside.",
        columns=["", "what", "at most", "measured", "where", ""],
        rows=[_target_row(goal) for goal in goals],
    )


def _target_row(goal: Target) -> list[str]:
    measured = f"{goal.value:.3f}" + (f" ({goal.interval[0]:.3f} to {goal.interval[1]:.3f})" if goal.interval else "")
    verdict = "met" if goal.met else f"{'not yet' if goal.wish else 'MISSED'}, by {goal.missed_by:.3f}"
    return [goal.name, goal.what, f"{goal.bound:.2f}", measured, goal.where, verdict]


def _to_oracle(cells: Sequence[Cell]) -> Sheet:
    policies = ranked(cells)
    rows = []
    for policy in policies:
        each = [f"{cell.mean[policy] / cell.mean[ORACLE]:.2f}" for cell in cells]
        rows.append([policy, *each, _estimate(ratio(cells, policy, always(ORACLE)))])
    return Sheet(
        title=f"Mean JCT over that of {ORACLE}",
        note="By mix and load; the last column is their mean with its 95 % interval. Smallest first.",
        columns=["policy", *(cell.name for cell in cells), "all"],
        rows=rows,
    )


def ranked(cells: Sequence[Cell]) -> list[str]:
    """The policies by their mean ratio to the oracle."""
    return sorted(cells[0].mean, key=lambda policy: ratio(cells, policy, always(ORACLE)).value)


def _reductions(cells: Sequence[Cell], mixes: Sequence[str], policy: str, baselines: Sequence[str]) -> Sheet:
    order = [other for other in reversed(ranked(cells)) if other in baselines]
    rows = [[other, *(_reduction(reduction(of_mix(cells, mix), policy, other)) for mix in mixes)] for other in order]
    return Sheet(
        title=f"How far {policy} is below each baseline",
        note=f"Mean JCT, on average over the loads, with 95 % intervals; the paper says {PUBLISHED} of LLMSched.",
        columns=["baseline", *mixes],
        rows=rows,
    )


def _of_mix(cells: Sequence[Cell]) -> Sheet:
    columns = ["policy"]
    for cell in cells:
        columns += [f"mean at {cell.load:g}", "p95", "makespan"]
    rows = []
    for policy in ranked(cells):
        row = [policy]
        for cell in cells:
            mean = cell.estimate(policy)
            row += [f"{seconds(mean.value)} ({seconds(mean.low)} to {seconds(mean.high)})"]
            row += [seconds(cell.p95[policy]), seconds(cell.makespan[policy])]
        rows.append(row)
    return Sheet(
        title=f"Mix {cells[0].mix}",
        note="JCT in seconds: mean with its 95 % interval and p95 by load, and the makespan.",
        columns=columns,
        rows=rows,
    )


def _ablations(cells: Sequence[Cell], mixes: Sequence[str], policy: str) -> Sheet:
    rows = []
    for variant in ablations(policy):
        each = [_estimate(ratio(of_mix(cells, mix), variant, always(policy))) for mix in mixes]
        rows.append([variant.partition(":")[2], *each, _estimate(ratio(cells, variant, always(policy)))])
    return Sheet(
        title=f"What the ingredients of {policy} are worth",
        note=f"Mean JCT without them over that of {policy} itself, at loads {_listed(CONTENDED)}, with 95 % intervals;"
        " above 1 the ingredient helps.",
        columns=["", *mixes, "all"],
        rows=rows,
    )


def _sweep(cells: Sequence[Cell]) -> Sheet:
    variants = sweep()
    rows = [
        [f"ε = {epsilon:g}"]
        + [_estimate(ratio(cells, variants[epsilon, share], always(FAITHFUL))) for share in SAMPLE_RATIOS]
        for epsilon in EPSILONS
    ]
    return Sheet(
        title=f"The two numbers of {FAITHFUL}",
        note="Mean JCT over that with the default pair (1), all mixes: how often it explores, and with which share of a"
        " stage's tasks.",
        columns=["", *(f"r = {share:g}" for share in SAMPLE_RATIOS)],
        rows=rows,
    )


def _estimate(one: Estimate) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _reduction(one: Estimate) -> str:
    low, high = (f"{100 * bound:.0f}".replace("-", "−") for bound in (one.low, one.high))
    return f"{100 * one.value:.1f} % ({low} to {high})".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _listed(loads: Sequence[float]) -> str:
    return " and ".join(f"{load:g}" for load in loads)
