"""The pictures of a profile's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.common.drawing import CHART_STYLE, DARK, LIGHT, Drawing, Scale
from services.profiler.plot.layout import layout
from services.profiler.plot.picture import Node, Picture, number

_COLUMN, _NODE, _ROW, _TALL = 214.0, 158.0, 58.0, 42.0
_COLUMNS = 24  #: of a histogram
_LETTERS = 20  #: of a stage's name that fit into a node

_KINDS = {"llm": ("#0072b2", "#4ba6e3"), "tool": ("#b86e00", "#f0ac3c"), "shape": ("#007a59", "#38c79b")}


def style() -> str:
    """CSS for the charts, for light and dark pages."""
    light, dark = ("".join(f".k-{kind}{{--c:{pair[shade]}}}" for kind, pair in _KINDS.items()) for shade in (0, 1))
    return (
        f":root{{color-scheme:light dark;{LIGHT}}}{light}@media (prefers-color-scheme:dark){{:root{{{DARK}}}{dark}}}"
        f"{CHART_STYLE}"
        ".links path{fill:none;stroke:var(--muted);stroke-opacity:.55;stroke-linecap:round}"
        ".links:hover path{stroke:var(--ink);stroke-opacity:1}"
        ".node rect{fill:var(--paper);stroke:var(--c);stroke-width:1.5}.node rect.fill{fill:var(--c);fill-opacity:.14}"
        ".chart .node text{fill:var(--ink)}.chart .node text.small{fill:var(--muted);font-size:11px}"
        ".hist rect{fill:var(--c);fill-opacity:.75}.hist rect.odd{fill-opacity:.4}"
        ".mean{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:3 2}"
    )


def network(picture: Picture) -> Drawing:
    """Variables as boxes, links as lines: the thicker, the more they tell of each other."""
    found = layout([node.parents for node in picture.nodes])
    width = max(1, found.columns - 1) * _COLUMN + _NODE + 8 if found.columns > 1 else _NODE + 8
    drawing = Drawing(width, (found.rows + 0.6) * _ROW + 8, f"Variables of {picture.profile.application}")
    most = max((link.bits for link in picture.links), default=0.0) or 1.0

    def spot(column: int, row: float) -> tuple[float, float]:
        return 4 + column * _COLUMN, 4 + row * _ROW

    for link in sorted(picture.links, key=lambda link: link.bits):
        way = [spot(*place) for place in found.ways[link.parent, link.child]]
        points = [point for x, y in way for point in ((x, y), (x + _NODE, y))][1:-1]
        told = f"{label(picture.nodes[link.parent])} → {label(picture.nodes[link.child])}: {link.bits:.2f} bits"
        drawing.begin("links", told)
        drawing.curve(points, 0.8 + 6.0 * link.bits / most)
        drawing.end()
    for node in picture.nodes:
        _box(drawing, node, *spot(*found.places[node.index]))
    return drawing


def label(node: Node) -> str:
    """A variable in words."""
    return f"{node.what} of {node.stage}"


def _box(drawing: Drawing, node: Node, x: float, y: float) -> None:
    top = y - _TALL / 2
    drawing.begin(f"node k-{node.kind}", f"{label(node)}: mean {number(node.mean)}, in {node.presence:.0%} of jobs")
    drawing.rect("box", x, top, _NODE, _TALL)
    drawing.rect("fill", x, top, _NODE * node.presence, _TALL)
    name = node.stage if len(node.stage) <= _LETTERS else "…" + node.stage[1 - _LETTERS :]
    drawing.text("title", x + 8, top + 17, name)
    share = f" · {node.presence:.0%}" if node.presence < 0.995 else ""
    drawing.text("small", x + 8, top + 33, f"{node.what}{share}")
    drawing.end()


def histogram(node: Node) -> Drawing:
    """The history's values; the two shades are the bins, the dashed line is the mean."""
    left, right, top, bottom = 6.0, 314.0, 8.0, 96.0
    drawing = Drawing(320.0, 124.0, f"Values of {label(node)}")
    values = np.concatenate(node.values)
    low, high = float(values.min()), float(values.max())
    few = np.unique(values)
    if len(few) <= 12 and all(value == int(value) for value in few.tolist()):
        edges = np.arange(low - 0.5, high + 1.0)
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, _COLUMNS + 1)
    edges = edges if len(edges) <= 60 else np.linspace(low, high, _COLUMNS + 1)
    counts = [np.histogram(one, edges)[0] for one in node.values]
    most = max(1, int(np.sum(counts, axis=0).max()))
    scale, tall = Scale(float(edges[0]), float(edges[-1]), left, right), Scale(0.0, float(most), bottom, top)
    for column in range(len(edges) - 1):
        base = 0
        for place, one in enumerate(counts):
            here = int(one[column])
            if here:
                x, x2 = scale(float(edges[column])), scale(float(edges[column + 1]))
                drawing.begin(f"hist k-{node.kind}", f"{number(edges[column])} to {number(edges[column + 1])}: {here}")
                y, y2 = tall(base + here), tall(base)
                drawing.rect("odd" if place % 2 else "even", x + 0.5, y, x2 - x - 1.0, y2 - y)
                drawing.end()
            base += here
    drawing.line("axis", left, bottom, right, bottom)
    drawing.line("mean", scale(node.mean), top, scale(node.mean), bottom)
    for tick in scale.ticks(4):
        if low <= tick <= high or high - low > 1:
            drawing.text("mid", min(max(scale(tick), left + 16), right - 16), bottom + 15, number(tick))
    return drawing


def coverage(shares: Mapping[float, float]) -> Drawing:
    """How often a central interval held what came true, against how often it should have."""
    left, right, top, bottom = 46.0, 306.0, 10.0, 270.0
    drawing = Drawing(320.0, 312.0, "Intervals: meant and measured")
    x, y = Scale(0.0, 1.0, left, right), Scale(0.0, 1.0, bottom, top)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.line("axis" if tick == 0 else "grid", left, y(tick), right, y(tick))
        drawing.text("end", left - 5, y(tick) + 4, f"{tick:.0%}")
        drawing.text("mid", x(tick), bottom + 16, f"{tick:.0%}")
    drawing.line("mean", x(0.0), y(0.0), x(1.0), y(1.0))
    drawing.text("mid", (left + right) / 2, bottom + 34, "the interval should hold")
    points = [(0.0, 0.0), *sorted(shares.items()), (1.0, 1.0)]
    drawing.begin("series k-llm", "what intervals held")
    drawing.path((x(level), y(share)) for level, share in points)
    drawing.end()
    for level, share in sorted(shares.items()):
        drawing.begin("series k-llm", f"intervals of {level:.0%} held {share:.0%}")
        drawing.circle(x(level), y(share), 4)
        drawing.end()
    return drawing


def pit(columns: Sequence[float]) -> Drawing:
    """Where in its belief's distribution what came true lay; even if beliefs are right."""
    left, right, top, bottom = 6.0, 314.0, 10.0, 130.0
    drawing = Drawing(320.0, 156.0, "PIT histogram")
    total = sum(columns) or 1.0
    heights = [column * len(columns) / total for column in columns]
    y = Scale(0.0, max(2.0, *heights), bottom, top)
    width = (right - left) / len(columns)
    for place, height in enumerate(heights):
        told = f"{place / len(columns):.0%} to {(place + 1) / len(columns):.0%}: {height / len(columns):.1%} of jobs"
        drawing.begin("hist k-llm", told)
        drawing.rect("even", left + place * width + 1, y(height), width - 2, bottom - y(height))
        drawing.end()
    drawing.line("mean", left, y(1.0), right, y(1.0))
    drawing.text("", left, bottom + 16, "less than believed")
    drawing.text("end", right, bottom + 16, "more than believed")
    return drawing
