"""Renders a comparison as one HTML file that needs nothing else."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from services.common.drawing import Drawing, seconds
from services.scheduler.core.policies import POLICIES
from simulator.compare.charts import bars, by_load, cdf, loud_policies
from simulator.compare.palette import css_class, style
from simulator.compare.study import Knows, knows
from simulator.compare.summary import Cell, Row
from simulator.compare.words import headline, typical_ratio, verdict
from simulator.variants import name_of

_KNOWS = {
    Knows.JOBS: "what jobs have shown",
    Knows.HISTORY: "what jobs have shown, and a history",
    Knows.FUTURE: "the future (simulation only)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a report that not every report has."""

    key: str  #: for links
    title: str
    text: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    charts: Sequence[Markup] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report is about."""

    cells: Sequence[Cell]
    reference: str | None
    command: str  #: that makes it again
    facts: Mapping[str, str]  #: shown as they are: seeds, clusters, versions, machine
    left_out: Mapping[str, str]  #: policies that could not run, and why
    title: str = "Policies compared"
    note: str = ""  #: below the title: what is different from a simulation
    sections: Sequence[Section] = ()  #: further ones, before the table of all numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A heat table: a number for each policy and cell, divided by that of the cell's best policy."""

    key: str
    name: str
    of: Callable[[Row], float]


MEAN = Metric(key="mean", name="mean", of=lambda row: row.mean.value)
FAIRNESS = (
    Metric(key="p50", name="median", of=lambda row: row.summary.p50_jct),
    Metric(key="p95", name="p95", of=lambda row: row.summary.p95_jct),
    Metric(key="p99", name="p99", of=lambda row: row.summary.p99_jct),
    Metric(key="max", name="slowest job", of=lambda row: row.summary.max_jct),
)


def render(report: Report) -> str:
    """The page."""
    cells = report.cells
    order = ranking(cells)
    mixes = {mix: list(group) for mix, group in groupby(cells, key=lambda cell: cell.mix)}
    environment = Environment(
        loader=PackageLoader("simulator.compare", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"seconds": seconds, "css_class": css_class}
    environment.globals |= {"heat": heat, "shade": shade}
    return environment.get_template("report.html.j2").render(
        report=report,
        cells=cells,
        mixes=mixes,
        order=order,
        style=Markup(style(order)),
        headline=headline(cells),
        verdicts={mix: [verdict(cell) for cell in group] for mix, group in mixes.items()},
        mean=MEAN,
        fairness=FAIRNESS,
        charts={name: drawing.markup() for name, drawing in drawings(cells).items()},
        policies=[(name, _KNOWS[knows(name)], about(name)) for name in order],
    )


def drawings(cells: Sequence[Cell]) -> dict[str, Drawing]:
    """The charts by file name, without the ending."""
    order = ranking(cells)
    found: dict[str, Drawing] = {}
    for mix, group in groupby(cells, key=lambda cell: cell.mix):
        of_mix = list(group)
        for cell in of_mix:
            found[f"jct-{mix}-{cell.load:g}"] = bars(cell, order)
            found[f"cdf-{mix}-{cell.load:g}"] = cdf(cell, order, loud_policies(cell))
        found[f"load-{mix}"] = by_load(mix, of_mix, order)
    return found


def ranking(cells: Sequence[Cell]) -> list[str]:
    """The policies, those with the lowest JCTs over all cells first: the order in which the report shows them."""
    return sorted(cells[0].rows, key=lambda policy: typical_ratio(cells, policy))


def heat(cell: Cell, policy: str, metric: Metric) -> float:
    """What a heat table shows: 1 is the cell's best policy by mean JCT that does not know the future."""
    best = metric.of(cell.rows[cell.best])
    return metric.of(cell.rows[policy]) / best if best else math.nan


def shade(ratio: float) -> str:
    """Background of a cell of a heat table, as CSS: by the logarithm of the ratio, full from 4 (or a quarter) on."""
    if not ratio > 0:
        return ""
    strength = min(abs(math.log(ratio, 4)), 1.0) * 62
    return f"--h:{strength:.0f}%;--t:var(--{'worse' if ratio > 1 else 'better'})"


def about(policy: str) -> str:
    """The first sentence of what the policy says of itself."""
    text = inspect.getdoc(POLICIES[name_of(policy)]) or ""
    return " ".join(text.split("\n\n")[0].split())
