"""The charts of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.drawing import Drawing, Scale, seconds, spread
from simulator.compare.palette import css_class
from simulator.compare.study import Knows, knows
from simulator.compare.summary import FAMILIAR, Cell, Row
from simulator.metrics import quantile

_WIDTH = 400.0
_ROW = 20.0
_HEAD = 26.0
_CDF_POINTS = 120


def bars(cell: Cell, order: Sequence[str]) -> Drawing:
    """Mean JCT of each policy with its interval."""
    left, bottom = max(118.0, 6.4 * max(map(len, order)) + 12.0), _HEAD + _ROW * len(order)
    right = left + _WIDTH - 176.0
    picture = Drawing(right + 58.0, bottom + 34.0, f"Mean JCT by policy: {_name(cell)}")
    scale = Scale(0.0, max(max(row.mean.high, row.mean.value) for row in cell.rows.values()) or 1.0, left, right)
    picture.text("title", 0, 14, _name(cell))
    for tick in scale.ticks():
        picture.line("grid", scale(tick), _HEAD - 4, scale(tick), bottom)
        picture.text("mid", scale(tick), bottom + 15, f"{tick:,g}")
    picture.text("mid", (left + right) / 2, bottom + 30, "mean JCT, seconds")
    for index, policy in enumerate(order):
        mean, y = cell.rows[policy].mean, _HEAD + _ROW * index
        middle = y + _ROW / 2
        picture.begin(f"series {css_class(policy)}", _told(cell.rows[policy]))
        picture.rect("bar", left, y + 3, scale(mean.value) - left, _ROW - 6)
        _whisker(picture, scale(mean.low), scale(mean.high), middle)
        picture.end()
        picture.text("best" if policy == cell.best else "name", left - 8, middle + 4, policy)
        picture.text("best" if policy == cell.best else "end", right + 58.0, middle + 4, seconds(mean.value))
    return picture


def cdf(cell: Cell, order: Sequence[str], loud: Sequence[str]) -> Drawing:
    """The share of jobs that were done within a time, for each policy; those in `loud` stand out."""
    left, right, top, bottom = 42.0, _WIDTH - 18.0, _HEAD, 230.0
    picture = Drawing(_WIDTH, bottom + 36.0, f"Distribution of JCTs by policy: {_name(cell)}")
    low, high = _positive_range([jct for row in cell.rows.values() for jct in (quantile(row.jcts, 0.01), row.jcts[-1])])
    scale, share = Scale(low, high, left, right, log=True), Scale(0.0, 1.0, bottom, top)
    picture.text("title", 0, 14, _name(cell))
    for tick in scale.ticks():
        picture.line("grid", scale(tick), top, scale(tick), bottom)
        picture.text("mid", scale(tick), bottom + 15, f"{tick:,g}")
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        picture.line("axis" if tick == 0 else "grid", left, share(tick), right, share(tick))
        picture.text("end", left - 5, share(tick) + 4, f"{tick:.0%}")
    picture.text("mid", (left + right) / 2, bottom + 31, "JCT, seconds")
    for policy in sorted(order, key=lambda name: name in loud):
        jcts = cell.rows[policy].jcts
        shares = [index / _CDF_POINTS for index in range(_CDF_POINTS + 1)]
        look = "loud" if policy in loud else "quiet"
        picture.begin(f"series {look} {css_class(policy)}", policy)
        picture.path((scale(quantile(jcts, q)), share(q)) for q in shares)
        picture.end()
    return picture


def by_load(mix: str, cells: Sequence[Cell], order: Sequence[str]) -> Drawing:
    """Mean JCT against load, a line for each policy, its name at the end. Intervals: `bars` has them."""
    left, right, top, bottom = 44.0, _WIDTH - 112.0, _HEAD, max(250.0, _HEAD + 15.0 * len(order))
    width = right + max(112.0, 6.4 * max(map(len, order)) + 14.0)
    picture = Drawing(width, bottom + 36.0, f"Mean JCT against load: {mix}")
    low, high = _positive_range([cell.rows[policy].mean.value for cell in cells for policy in order])
    time = Scale(low, high, bottom, top, log=True)
    loads = [cell.load for cell in cells]
    margin = (max(loads) - min(loads)) * 0.04 or 1.0
    load = Scale(min(loads) - margin, max(loads) + margin, left, right)
    picture.text("title", 0, 14, mix)
    for tick in time.ticks(5):
        picture.line("grid", left, time(tick), right, time(tick))
        picture.text("end", left - 6, time(tick) + 4, f"{tick:,g}")
    picture.line("axis", left, bottom, right, bottom)
    for tick in loads:
        picture.text("mid", load(tick), bottom + 15, f"{tick:g}")
    picture.text("mid", (left + right) / 2, bottom + 31, "load")
    picture.text("end", right, 14, "mean JCT, seconds")
    ends = [time(cells[-1].rows[policy].mean.value) for policy in order]
    for policy, end, place in zip(order, ends, spread(ends, 14.0, top, bottom), strict=True):
        picture.begin(f"series {css_class(policy)}", policy)
        points = [(load(cell.load), time(cell.rows[policy].mean.value)) for cell in cells]
        picture.path(points)
        for x, y in points:
            picture.circle(x, y, 2.6)
        picture.line("leader", load(loads[-1]) + 4, end, right + 8, place)
        picture.text("", right + 11, place + 4, policy)
        picture.end()
    return picture


def loud_policies(cell: Cell) -> list[str]:
    """Those that a crowded chart should show first: the best, who knows the future, and arrival order."""
    return [name for name in cell.rows if name in (cell.best, FAMILIAR) or knows(name) is Knows.FUTURE]


def _whisker(picture: Drawing, low: float, high: float, y: float) -> None:
    picture.line("whisker", low, y, high, y)
    for x in (low, high):
        picture.line("whisker", x, y - 3.0, x, y + 3.0)


def _positive_range(values: Sequence[float]) -> tuple[float, float]:
    """The range of the values for a logarithmic scale, never empty."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    return (low, high) if high > low * 1.05 else (low / 1.5, high * 1.5)


def _name(cell: Cell) -> str:
    return f"{cell.mix}, load {cell.load:g}"


def _told(row: Row) -> str:
    mean = row.mean
    return f"{row.policy}: mean JCT {seconds(mean.value)} s ({seconds(mean.low)} to {seconds(mean.high)})"
