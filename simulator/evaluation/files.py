"""The evaluation as plain values for JSON. Seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from services.profiler.core.scoring import Calibration
from simulator.compare.bootstrap import Estimate
from simulator.evaluation.figures import Cell, always, ratio, reduction
from simulator.evaluation.plan import FAITHFUL, FLAGSHIP, ORACLE, ablations, sweep
from simulator.evaluation.targets import Target


def policies_plain(cells: Sequence[Cell], baselines: Sequence[str], goals: Sequence[Target]) -> dict[str, Any]:
    """Cells, targets, reductions by mix and ratios to the oracle."""
    mixes = list(dict.fromkeys(cell.mix for cell in cells))
    return {
        "cells": [_cell(cell) for cell in cells],
        "targets": [{**asdict(goal), "met": goal.met, "missed_by": goal.missed_by} for goal in goals],
        "to_oracle": {policy: _estimate(ratio(cells, policy, always(ORACLE))) for policy in cells[0].mean},
        "reductions": [
            {"mix": mix, "policy": policy, "baseline": other, **_estimate(reduction(group, policy, other))}
            for mix in mixes
            for group in [[cell for cell in cells if cell.mix == mix]]
            for policy in (FAITHFUL, FLAGSHIP)
            for other in baselines
        ],
    }


def ablations_plain(cells: Sequence[Cell]) -> dict[str, Any]:
    """Ratios of variants to their policy, and the sweep."""
    return {
        "cells": [_cell(cell) for cell in cells],
        "ratios": {
            variant: _estimate(ratio(cells, variant, always(policy)))
            for policy in (FLAGSHIP, FAITHFUL)
            for variant in ablations(policy)
        },
        "sweep": [
            {"epsilon": epsilon, "sample_ratio": share, **_estimate(ratio(cells, variant, always(FAITHFUL)))}
            for (epsilon, share), variant in sweep().items()
        ],
    }


def beliefs_plain(learnt: Mapping[str, Calibration], independent: Mapping[str, Calibration]) -> dict[str, Any]:
    """By application: scores with the network and with independent variables."""
    return {name: {"network": _scores(one), "independent": _scores(independent[name])} for name, one in learnt.items()}


def _scores(one: Calibration) -> dict[str, Any]:
    coverage = {f"{level:g}": share for level, share in one.coverage.items()}
    return {"count": one.count, "error": one.error, "crps": one.crps, "coverage": coverage, "pit": list(one.pit)}


def _cell(cell: Cell) -> dict[str, Any]:
    policies = {
        policy: {
            **_estimate(cell.estimate(policy), "mean_jct"),
            "p95_jct": cell.p95[policy],
            "makespan": cell.makespan[policy],
        }
        for policy in cell.mean
    }
    return {"mix": cell.mix, "load": cell.load, "seeds": cell.seeds, "policies": policies}


def _estimate(one: Estimate, name: str = "value") -> dict[str, float | None]:
    names = (name, f"{name}_low", f"{name}_high") if name != "value" else ("value", "low", "high")
    return {key: number if isfinite(number) else None for key, number in zip(names, one, strict=True)}
