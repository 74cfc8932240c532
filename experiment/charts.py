"""Charts that only live runs have: engines over time; and how the jobs of an application differ."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from experiment.store import Phase, Store
from services.common.drawing import Drawing, Scale
from simulator.compare.palette import css_class

_WIDTH, _HEIGHT = 460.0, 210.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 446.0, 28.0, 172.0
_BINS = 24  #: means over this many parts of the time


def read_samples(path: Path) -> list[dict[str, float]]:
    """Rows of a samples file; what was not known is left out."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def engines_over_time(store: Store, phases: Sequence[Phase]) -> list[Drawing]:
    """Batches, output tokens a second and waiting stages, a line for each policy (of its first repeat)."""
    first = {phase.policy: phase for phase in reversed(phases)}
    rows = {policy: read_samples(store.samples(phase.name)) for policy, phase in first.items()}
    rows = {policy: found for policy, found in rows.items() if len(found) > 1}
    if not rows:
        return []
    return [
        _lines(
            "Requests in the engines (batch size)", {name: _of(each, "engine_running") for name, each in rows.items()}
        ),
        _lines("Output tokens a second", {name: _speeds(each) for name, each in rows.items()}),
        _lines("Stages that wait for a slot", {name: _of(each, "ready_stages") for name, each in rows.items()}),
        _lines("Jobs in the system", {name: _of(each, "active") for name, each in rows.items()}),
    ]


def histogram(title: str, counts: Mapping[str, Counter[int]], unit: str) -> Drawing:
    """A row of bars for each application: the share of its jobs with each number."""
    numbers = sorted({number for each in counts.values() for number in each})
    low, high = numbers[0], numbers[-1]
    left, row = 8.0 + 6.6 * max(map(len, counts)), 46.0
    right, bottom = left + 300.0, 26.0 + row * len(counts)
    picture = Drawing(right + 12.0, bottom + 36.0, title)
    picture.text("title", 0, 14, title)
    scale = Scale(low - 0.5, high + 0.5, left, right)
    width = max(1.0, (right - left) / (high - low + 1) - 1.5)
    for index, (name, each) in enumerate(counts.items()):
        base, total = 26.0 + row * (index + 1), sum(each.values())
        tallest = max(each.values())
        picture.line("grid", left, base, right, base)
        picture.text("name", left - 8, base - 10, name)
        picture.begin("series one", f"{name}: {total} jobs")
        for number, count in sorted(each.items()):
            height = (row - 12.0) * count / tallest
            picture.rect("bar", scale(number) - width / 2, base - height, width, height)
        picture.end()
    for tick in scale.ticks():
        if tick == round(tick):
            picture.text("mid", scale(tick), bottom + 15, f"{tick:g}")
    picture.text("mid", (left + right) / 2, bottom + 31, unit)
    return picture


def _lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> Drawing:
    picture = Drawing(_WIDTH, _HEIGHT, title)
    end = max(point[0] for points in series.values() for point in points) or 1.0
    most = max(point[1] for points in series.values() for point in points) or 1.0
    across, up = Scale(0.0, end, _LEFT, _RIGHT), Scale(0.0, most, _BOTTOM, _TOP)
    picture.text("title", 0, 14, title)
    for tick in up.ticks():
        picture.line("grid", _LEFT, up(tick), _RIGHT, up(tick))
        picture.text("end", _LEFT - 5, up(tick) + 4, f"{tick:,g}")
    for tick in across.ticks():
        picture.text("mid", across(tick), _BOTTOM + 15, f"{tick:,g}")
    picture.text("mid", (_LEFT + _RIGHT) / 2, _BOTTOM + 31, "seconds since the phase began")
    for policy, points in series.items():
        picture.begin(f"series {css_class(policy)}", policy)
        picture.path((across(seconds), up(value)) for seconds, value in points)
        picture.end()
    return picture


def _of(rows: Sequence[Mapping[str, float]], column: str) -> list[tuple[float, float]]:
    """Means of the column over parts of the time."""
    return [
        (sum(row["seconds"] for row in part) / len(part), sum(row.get(column, 0.0) for row in part) / len(part))
        for part in _parts(rows)
    ]


def _speeds(rows: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
    """Growth of the number of tokens over parts of the time."""
    parts = _parts(rows)
    ends = [parts[0][0], *(part[-1] for part in parts)]
    found = []
    for one, other in pairwise(ends):
        seconds = other["seconds"] - one["seconds"]
        if seconds > 0:
            middle = (one["seconds"] + other["seconds"]) / 2
            found.append((middle, (other["output_tokens"] - one["output_tokens"]) / seconds))
    return found or [(0.0, 0.0)]


def _parts(rows: Sequence[Mapping[str, float]]) -> list[Sequence[Mapping[str, float]]]:
    size = -(-len(rows) // _BINS)
    return [rows[start : start + size] for start in range(0, len(rows), size)]
