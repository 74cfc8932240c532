"""Just enough SVG for charts: text stays text, and looks come from the page's style sheet. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

#: Style of charts. The page's style sheet has it as well, so that charts in a page and in files look the same.
CHART_STYLE = """
.chart{font:12px system-ui,-apple-system,"Segoe UI",sans-serif}.paper{fill:var(--paper)}
.chart text{fill:var(--muted)}.chart text.name,.chart text.title{fill:var(--ink)}.chart text.title{font-weight:600}
.chart text.best{fill:var(--ink);font-weight:700}.chart text.end{text-anchor:end}.chart text.mid{text-anchor:middle}
.chart text.name{text-anchor:end}.chart text.best{text-anchor:end}
.grid{stroke:var(--line)}.axis{stroke:var(--muted)}.whisker{stroke:var(--ink);stroke-width:1.3}
.series rect{fill:var(--c);fill-opacity:.6}.series circle{fill:var(--c)}
.series path{fill:none;stroke:var(--c);stroke-width:1.5;stroke-dasharray:var(--d)}
.series line.leader{stroke:var(--c);stroke-width:.6;opacity:.6}
.chart .series text{fill:var(--c)}.quiet path{stroke-width:1;opacity:.55}.loud path{stroke-width:2.6}
"""

#: Colours of a page, as CSS variables: for light and for dark ones.
LIGHT = "--ink:#22262b;--muted:#5f6670;--line:#e3e1dc;--paper:#fff;"
DARK = "--ink:#e8e6e1;--muted:#a0a6ae;--line:#363b42;--paper:#16191d;"


@dataclass(slots=True)
class Drawing:
    """A picture that grows. Sizes are in its own units, about a pixel each."""

    width: float
    height: float
    title: str
    parts: list[str] = field(default_factory=list)

    def line(self, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def rect(self, kind: str, x: float, y: float, width: float, height: float) -> None:
        self.parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" rx="2"/>'
        )

    def circle(self, x: float, y: float, radius: float) -> None:
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>')

    def path(self, points: Iterable[tuple[float, float]]) -> None:
        """A line through the points."""
        self.parts.append('<path d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + '"/>')

    def curve(self, points: Sequence[tuple[float, float]], width: float) -> None:
        """From left to right through the points, smoothly; `width` of the line."""
        (x, y), *rest = points
        way = f"M{x:.1f} {y:.1f}"
        for x2, y2 in rest:
            middle = (x + x2) / 2
            way += f"C{middle:.1f} {y:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
            x, y = x2, y2
        self.parts.append(f'<path d="{way}" style="stroke-width:{width:.1f}"/>')

    def text(self, kind: str, x: float, y: float, text: str) -> None:
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def begin(self, kind: str, tooltip: str) -> None:
        """What is drawn until `end` belongs together."""
        self.parts.append(f'<g class="{kind}"><title>{escape(tooltip)}</title>')

    def end(self) -> None:
        self.parts.append("</g>")

    def markup(self, style: str = "") -> Markup:
        """The picture: for a page that has the style sheet, or with `style` (CSS) a file of its own."""
        own = f'xmlns="http://www.w3.org/2000/svg" width="{self.width:g}" height="{self.height:g}"' if style else ""
        head = f'<style>{style}</style><rect class="paper" width="100%" height="100%"/>' if style else ""
        return Markup(
            f'<svg {own} class="chart" viewBox="0 0 {self.width:g} {self.height:g}" role="img"'
            f' aria-label="{escape(self.title)}">{head}{"".join(self.parts)}</svg>'
        )


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places on a line, evenly or by logarithm."""

    low: float  #: the value at `start`
    high: float  #: the value at `end`
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self, about: int = 4) -> list[float]:
        """Round values from the scale's range."""
        return _log_ticks(self.low, self.high, about) if self.log else _even_ticks(self.low, self.high, about)


def _even_ticks(low: float, high: float, about: int) -> list[float]:
    rough = (high - low) / about or 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    return [step * index for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, about: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        marks = [factor * 10.0**decade for decade in decades for factor in factors]
        found = [mark for mark in marks if low * 0.999 <= mark <= high * 1.001]
        if len(found) >= about - 1:
            return found
    # A narrow range: there the logarithm is almost even.
    return found if len(found) > 1 else _even_ticks(low, high, about)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves places apart, until neighbours are `gap` apart, and as little as possible; in the order given."""
    blocks: list[tuple[float, list[int]]] = []  # centre, members
    for index in sorted(range(len(places)), key=places.__getitem__):
        members = [index]
        while True:
            half = len(members) * gap / 2
            centre = min(max(sum(places[each] for each in members) / len(members), low + half), high - half)
            if not blocks or blocks[-1][0] + len(blocks[-1][1]) * gap / 2 <= centre - half:
                break
            members = blocks.pop()[1] + members
        blocks.append((centre, members))
    moved = [0.0] * len(places)
    for centre, members in blocks:
        for rank, index in enumerate(members):
            moved[index] = centre + (rank - (len(members) - 1) / 2) * gap
    return moved


def seconds(value: float) -> str:
    """A time with three digits that count: 0.123, 4.56, 78.9, 1,234."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 4)}f}"
