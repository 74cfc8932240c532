"""What we want to reach, and whether the figures do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.compare.bootstrap import Estimate
from simulator.evaluation.figures import Against, Cell, always, at_loads, ratio
from simulator.evaluation.plan import CONTENDED, FAITHFUL, FLAGSHIP, ORACLE

#: Whom the faithful policy must beat on every mix, at the highest load.
BEATEN = ("fcfs", "fair", "sjf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A ratio that is to be at most `bound`."""

    name: str
    what: str
    bound: float
    value: float
    interval: tuple[float, float] | None = None  #: 95 %; None for a worst case
    where: str = ""  #: of a worst case: the cell
    wish: bool = False  #: more than a target: what is hoped for

    @property
    def met(self) -> bool:
        return self.value <= self.bound

    @property
    def missed_by(self) -> float:
        """By how much the ratio is above the bound; negative: what is to spare."""
        return self.value - self.bound


def targets(cells: Sequence[Cell], baselines: Sequence[str]) -> list[Target]:
    """All targets. Cells are those of all mixes, loads and policies."""
    contended = at_loads(cells, CONTENDED)
    highest = at_loads(cells, CONTENDED[-1:])

    def best(cell: Cell) -> str:
        return cell.best(baselines)

    def tail(cell: Cell) -> float:
        return cell.p95[FLAGSHIP] / max(cell.p95[ORACLE], cell.p95[best(cell)])

    def against_best(cell: Cell) -> float:
        return cell.mean[FLAGSHIP] / cell.mean[best(cell)]

    found = [
        _average("T1", f"{FLAGSHIP} over the best baseline, on average", contended, best, 0.95),
        _worst("T1", f"{FLAGSHIP} over the best baseline, worst cell", contended, against_best, 1.01),
        _worst("T1", f"p95 of {FLAGSHIP} over the larger of {ORACLE}'s and the best baseline's", contended, tail, 1.10),
        _average("T2", f"{FLAGSHIP} over {ORACLE}, on average", contended, always(ORACLE), 1.05),
        _average("T2", "the same, what we hope for", contended, always(ORACLE), 1.00, wish=True),
    ]
    for other in BEATEN:
        what = f"{FAITHFUL} over {other} at load {CONTENDED[-1]:g}, worst mix"
        found.append(_worst("T3", what, highest, _faithful_over(other), 1.0))
    return found


def _faithful_over(other: str) -> Callable[[Cell], float]:
    return lambda cell: cell.mean[FAITHFUL] / cell.mean[other]


def _average(
    name: str, what: str, cells: Sequence[Cell], against: Against, bound: float, *, wish: bool = False
) -> Target:
    found: Estimate = ratio(cells, FLAGSHIP, against)
    interval = (found.low, found.high)
    return Target(name=name, what=what, bound=bound, value=found.value, interval=interval, wish=wish)


def _worst(name: str, what: str, cells: Sequence[Cell], value: Callable[[Cell], float], bound: float) -> Target:
    where = max(cells, key=value)
    return Target(name=name, what=what, bound=bound, value=value(where), where=where.name)
