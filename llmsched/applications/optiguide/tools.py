"""Tools of the OptiGuide application: they take any answer of a model and say what is wrong with it."""

from __future__ import annotations

import json
import re
from typing import Any

from typing_extensions import TypedDict

from llmsched.applications.optiguide.model import SITES, Change, InvalidChange, SupplyChain, apply
from llmsched.applications.optiguide.solver import Solution, obstacles, solve
from llmsched.tools import tool

_CHANGE = {"kind", "of", "to", "percent"}
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
#: Routes that a prompt has room for.
_MOST_ROUTES = 4


class Checked(TypedDict):
    """What an answer asks for: the changes that can be made, and what is wrong with the others."""

    changes: list[dict[str, Any]]
    told: list[str]
    problems: list[str]
    valid: bool


class Solved(TypedDict):
    """The plan after the changes, compared with the one before."""

    feasible: bool
    cost_before: int
    cost_after: int | None
    flows: list[dict[str, Any]]
    unmet: list[dict[str, Any]]
    obstacles: list[str]
    facts: list[str]


class Reported(TypedDict):
    """A report, and what it says that the solver did not."""

    text: str
    problems: list[str]


@tool(name="optiguide.check")
def check(answer: str) -> Checked:
    """Read the changes that a model's answer asks for, and try each on the supply chain without solving it.

    Args:
        answer: JSON: {"changes": [{"kind", "of", "to", "percent"}]}; anything else is a problem, not an error.
    """
    chain = SupplyChain()
    changes, problems = _read(answer)
    good: list[Change] = []
    for number, raw in enumerate(changes, start=1):
        try:
            change = _change(raw)
            if change in good:
                continue
            chain = apply(chain, change)
            good.append(change)
        except InvalidChange as error:
            problems.append(f"change {number}: {error}")
    if not good and not problems:
        problems.append("the answer changes nothing")
    return {
        "changes": [{"kind": c.kind, "of": c.of, "to": c.to, "percent": c.percent} for c in good],
        "told": [change.told() for change in good],
        "problems": problems,
        "valid": not problems,
    }


@tool(name="optiguide.solve", timeout=20)
def solve_changed(changes: list[dict[str, Any]]) -> Solved:
    """Solve the supply chain as it is today and with changes, with the solver HiGHS; says why demands cannot be met.

    Args:
        changes: Valid changes, as optiguide.check gives them.
    """
    today = SupplyChain()
    chain = today
    for raw in changes:
        chain = apply(chain, _change(raw))
    before, after = solve(today), solve(chain)
    against = obstacles(chain) if after.unmet else []
    return {
        "feasible": not after.unmet,
        "cost_before": before.cost,
        "cost_after": None if after.unmet else after.cost,
        "flows": [{"from": start, "to": end, "tonnes": tonnes} for (start, end), tonnes in sorted(after.flows.items())],
        "unmet": [{"cafe": cafe, "kind": kind, "tonnes": tonnes} for (cafe, kind), tonnes in after.unmet.items()],
        "obstacles": against,
        "facts": _infeasible(after, against) if after.unmet else _feasible(before, after),
    }


@tool(name="optiguide.review")
def review(report: str, facts: list[str], given: list[str] | None = None, finish_reason: str = "stop") -> Reported:
    """Compare the numbers of a report with the facts it was to tell.

    Args:
        report: What a model wrote.
        facts: What the solver found.
        given: Texts whose numbers may be repeated, such as the question.
        finish_reason: Why the model stopped writing: stop or length.
    """
    known = {_plain(number) for text in [*facts, *(given or [])] for number in _NUMBER.findall(text)}
    strange = [number for number in dict.fromkeys(_NUMBER.findall(report)) if _plain(number) not in known]
    problems = []
    if not report.strip():
        problems.append("the model wrote no report; the facts stand in for it")
    if strange:
        problems.append(f"the report has numbers that the solver did not give: {', '.join(strange)}")
    if finish_reason == "length":
        problems.append("the report was cut off at the token limit")
    return {"text": report.strip() or ". ".join(facts) + ".", "problems": problems}


def _read(answer: str) -> tuple[list[Any], list[str]]:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return [], ["the answer is no complete JSON; it may have been cut off at the token limit"]
    changes = value.get("changes") if isinstance(value, dict) else None
    if not isinstance(changes, list):
        return [], ['the answer has no list "changes"']
    return changes, []


def _change(raw: Any) -> Change:
    """Raises InvalidChange."""
    if not isinstance(raw, dict) or not {"kind", "of"} <= raw.keys() <= _CHANGE:
        raise InvalidChange("a change has kind and of, and may have to and percent")
    to, percent = raw.get("to", "none"), raw.get("percent", 100)
    if raw["of"] not in SITES or to not in (*SITES, "none"):
        raise InvalidChange(f"of and to must name sites: {', '.join(SITES)}")
    if not isinstance(percent, int) or isinstance(percent, bool):
        raise InvalidChange("percent must be a whole number")
    return Change(kind=str(raw["kind"]), of=raw["of"], to=to, percent=percent)


def _feasible(before: Solution, after: Solution) -> list[str]:
    difference = after.cost - before.cost
    share = round(100 * abs(difference) / before.cost, 1)
    costs = f"Cost today {before.cost} euros, then {after.cost} euros"
    facts = [
        f"{costs}: {abs(difference)} euros or {share} % {'more' if difference > 0 else 'less'}"
        if difference
        else f"{costs}: no difference"
    ]
    moved = [
        (after.flows.get(route, 0) - before.flows.get(route, 0), route)
        for route in sorted(before.flows.keys() | after.flows.keys())
    ]
    largest = sorted((each for each in moved if each[0]), key=lambda each: -abs(each[0]))[:_MOST_ROUTES]
    for tonnes, (start, end) in largest:
        facts.append(f"{start} to {end}: {abs(tonnes)} t {'more' if tonnes > 0 else 'less'}")
    return facts


def _infeasible(after: Solution, against: list[str]) -> list[str]:
    lacking = [f"{cafe} lacks {tonnes} t of {kind}" for (cafe, kind), tonnes in after.unmet.items()]
    return ["It is not possible to meet all demands", *against, *lacking[:_MOST_ROUTES]]


def _plain(number: str) -> str:
    """Numbers as they compare: without separators of thousands and trailing zeros."""
    plain = re.sub(r",(?=\d{3}(?:\D|$))", "", number)
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
