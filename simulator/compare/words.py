"""The summary of a comparison, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.drawing import seconds
from simulator.compare.bootstrap import Estimate
from simulator.compare.study import Knows, knows
from simulator.compare.summary import FAMILIAR, Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Who wins in a cell, and by how much."""

    load: float
    best: str
    mean: str
    against: str  #: compared with order of arrival, or with the slowest policy
    ties: str  #: which policies may well be as good; empty: none
    oracle: str  #: what knowing the future would bring; empty: no such policy was compared


def verdict(cell: Cell) -> Verdict:
    """The cell in words."""
    best = cell.rows[cell.best]
    others = [row.policy for row in cell.rows.values() if row.policy != cell.best and _fair(row.policy)]
    ties = [policy for policy in others if cell.rows[policy].to_best.low <= 1.0]
    return Verdict(
        load=cell.load,
        best=cell.best,
        mean=f"{seconds(best.mean.value)} s ({seconds(best.mean.low)} to {seconds(best.mean.high)})",
        against=_against(cell),
        ties="all others" if len(ties) == len(others) > 1 else _listed(ties),
        oracle="; ".join(_oracle(row.policy, row.to_best) for row in cell.rows.values() if not _fair(row.policy)),
    )


def headline(cells: Sequence[Cell]) -> list[str]:
    """What holds over all cells, a sentence each."""
    policies = list(cells[0].rows)
    honest = [policy for policy in policies if _fair(policy)]
    if len(honest) < 2:
        return []
    wins = Counter(cell.best for cell in cells)
    told = [f"{policy} in {count}" if len(cells) > 1 else policy for policy, count in wins.most_common()]
    overall = {policy: typical_ratio(cells, policy) for policy in honest}
    ranked = sorted(honest, key=overall.__getitem__)
    first, second = ranked[:2]
    where = f"Of {len(cells)} combinations of mix and load" if len(cells) > 1 else "Here"
    overall_best = (
        f"Over all of them {first} stays closest to the best: on (geometric) average its mean JCT is"
        f" {_percent(overall[first] - 1)} above it, and that of {second}, which comes next,"
        f" {_percent(overall[second] - 1)}."
    )
    sentences = [f"{where}, the lowest mean JCT without knowing the future is that of {_listed(told)}."]
    if len(cells) > 1:
        sentences.append(overall_best)
    last = ranked[-1]
    if last not in (first, second):
        sentences.append(f"Furthest off is {last}, at {overall[last]:.2f} times the best.")
    return sentences


def typical_ratio(cells: Sequence[Cell], policy: str) -> float:
    """The geometric mean, over the cells, of mean JCT over that of the best policy that does not know the future."""
    logs = [math.log(ratio) for cell in cells if (ratio := cell.rows[policy].to_best.value) > 0]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def _against(cell: Cell) -> str:
    others = [row for row in cell.rows.values() if row.policy != cell.best and _fair(row.policy)]
    if not others:
        return ""
    slowest = max(others, key=lambda row: row.mean.value)
    other = next((row for row in others if row.policy == FAMILIAR), slowest)
    saved = _saved(1 / other.to_best.value, 1 / other.to_best.high, 1 / other.to_best.low)
    return f"{saved} below {other.policy}" if other.to_best.low > 1 else f"not clearly below {other.policy}"


def _oracle(policy: str, ratio: Estimate) -> str:
    saved = _saved(*ratio)
    return f"{saved} lower with {policy}" + ("" if ratio.high < 1 else ", no clear difference")


def _saved(value: float, low: float, high: float) -> str:
    """What ratios (and their interval) save, in per cent."""
    return f"{_percent(1 - value)} ({_number(1 - high)} to {_number(1 - low)})"


def _fair(policy: str) -> bool:
    return knows(policy) is not Knows.FUTURE


def _percent(share: float) -> str:
    return f"{_number(share)}\N{NO-BREAK SPACE}%"


def _number(share: float) -> str:
    percent = share * 100
    text = f"{percent:.1f}" if abs(percent) < 9.95 else f"{percent:.0f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""
