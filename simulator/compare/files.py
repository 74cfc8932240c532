"""A comparison as CSV and JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from simulator.compare.bootstrap import Estimate
from simulator.compare.study import StudyRun
from simulator.compare.summary import Cell, Row

#: What stands in the column `application` of a whole run. Names of applications have no brackets.
ALL = "(all)"

_METRICS = ("jobs", "mean_jct", "p50_jct", "p95_jct", "p99_jct", "max_jct")
_RUN = ("mix", "load", "seed", "policy", "application", *_METRICS)
_WHOLE_RUN = ("failed", "makespan", "llm_utilisation", "tool_utilisation", "decisions", "wall_seconds")
_CELL = (
    "mix",
    "load",
    "policy",
    "seeds",
    "jobs",
    "failed",
    *("mean_jct", "mean_jct_low", "mean_jct_high"),
    *_METRICS[2:],
    *("best", "ratio_to_best", "ratio_to_best_low", "ratio_to_best_high"),
    *("reference", "ratio_to_reference", "ratio_to_reference_low", "ratio_to_reference_high"),
    "llm_utilisation",
    "tool_utilisation",
)


def write_runs(path: Path, runs: Iterable[StudyRun]) -> None:
    """A row for each run (application `(all)`) and one for each of its applications. Seconds."""
    _write(path, (*_RUN, *_WHOLE_RUN), (row for run in runs for row in _run_rows(run)))


def write_table(path: Path, cells: Iterable[Cell], reference: str | None) -> None:
    """A row for each cell and policy, with 95 % intervals. Seconds; ratios are of mean JCTs."""
    _write(path, _CELL, (_cell_row(cell, row, reference) for cell in cells for row in cell.rows.values()))


def as_json(
    config: Mapping[str, Any], cells: Sequence[Cell], runs: Sequence[StudyRun], reference: str | None
) -> dict[str, Any]:
    """All of it, applications of cells included. Seconds."""
    return {
        "config": dict(config),
        "cells": [
            {
                "mix": cell.mix,
                "load": cell.load,
                "seeds": cell.seeds,
                "best": cell.best,
                "left_out": cell.left_out,
                "policies": [_policy_json(cell, row, reference) for row in cell.rows.values()],
            }
            for cell in cells
        ],
        "runs": [_run_json(run) for run in runs],
    }


def _run_rows(run: StudyRun) -> Iterable[dict[str, Any]]:
    where = {**run.condition._asdict(), "policy": run.result.policy}
    whole = {name: getattr(run.result, name) for name in _WHOLE_RUN}
    yield {**where, "application": ALL, **asdict(run.result.summary), **whole}
    for name, summary in run.result.per_application.items():
        yield {**where, "application": name, **asdict(summary)}


def _cell_row(cell: Cell, row: Row, reference: str | None) -> dict[str, Any]:
    return {
        "mix": cell.mix,
        "load": cell.load,
        "policy": row.policy,
        "seeds": cell.seeds,
        **_whole(row),
        "best": cell.best,
        **_estimate("ratio_to_best", row.to_best),
        "reference": reference if row.to_reference else None,
        **_estimate("ratio_to_reference", row.to_reference),
    }


def _policy_json(cell: Cell, row: Row, reference: str | None) -> dict[str, Any]:
    applications = {
        name: {**asdict(each.summary), **_estimate("mean_jct", each.mean)} for name, each in row.applications.items()
    }
    found = _cell_row(cell, row, reference)
    for place in ("mix", "load", "seeds", "best"):
        del found[place]
    return {**found, "per_application": applications}


def _run_json(run: StudyRun) -> dict[str, Any]:
    result = run.result
    return {
        **run.condition._asdict(),
        "policy": result.policy,
        **asdict(result.summary),
        **{name: getattr(result, name) for name in _WHOLE_RUN},
        "per_application": {name: asdict(summary) for name, summary in result.per_application.items()},
    }


def _whole(row: Row) -> dict[str, Any]:
    return {
        **asdict(row.summary),
        **_estimate("mean_jct", row.mean),
        "failed": row.failed,
        "llm_utilisation": row.llm_utilisation,
        "tool_utilisation": row.tool_utilisation,
    }


def _estimate(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    numbers = [number if isfinite(number) else None for number in estimate or ()] or [None, None, None]
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))


def _write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
