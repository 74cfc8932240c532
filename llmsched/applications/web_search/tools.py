"""Tools of the ReAct application, beside `math.evaluate` of task automation: search, and the model's step read."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from llmsched.applications.answers import in_words, read_object
from llmsched.applications.web_search import corpus
from llmsched.tools import tool

_MAX_INPUT = 200
_SHOWN = 160


class Step(TypedDict):
    """What the model wants to do next."""

    action: Literal["search", "calculate", "finish", "none"]
    input: str
    #: What was wrong with what it wrote; null if nothing.
    problem: str | None


class Outcome(TypedDict):
    """The answer and how it was found."""

    answer: str
    finished: bool
    sources: list[str]
    problems: list[str]


class Uncalculated(TypedDict):
    """Like what math.evaluate gives, with the reason why there is no value."""

    exact: str
    value: None
    problem: str


class Found(TypedDict):
    """What a search gave: for the model to read, and the titles it comes from."""

    text: str
    titles: list[str]


@tool(name="react.step")
def step(text: str) -> Step:
    """Read what a model wants to do next from its answer. Never fails: an answer that cannot be read is no action.

    Args:
        text: An object with `action` and `input`, possibly cut off.
    """
    found, problem = read_object(text)
    action, given = found.get("action"), str(found.get("input", "")).strip()[:_MAX_INPUT]
    if action not in ("search", "calculate", "finish"):
        return {"action": "none", "input": "", "problem": problem or f"there is no action {str(action)[:40]!r}"}
    if not given:
        return {"action": "none", "input": "", "problem": problem or f"nothing was given to {action}"}
    return {"action": action, "input": given, "problem": problem}


@tool(name="docs.search")
def search(query: str, limit: int = 2) -> Found:
    """Search what Python's standard library and the installed packages say of themselves.

    Args:
        query: Words to look for.
        limit: How many documents at most, 1 to 5.
    """
    found = corpus.find(query, min(max(limit, 1), 5))
    if not found:
        return {"text": "Nothing was found.", "titles": []}
    return {
        "text": "\n".join(f"{each.title}: {each.text[:_SHOWN]}" for each in found),
        "titles": [e.title for e in found],
    }


@tool(name="react.excuse")
def excuse(problem: str) -> Uncalculated:
    """Say that something could not be calculated, in the place of the result of math.evaluate.

    Args:
        problem: Why.
    """
    words = in_words(problem)[:_SHOWN]
    return {"exact": f"cannot be calculated: {words}", "value": None, "problem": words}


@tool(name="react.outcome")
def outcome(steps: list[Step], searches: list[Found | None], calculations: list[dict[str, Any] | None]) -> Outcome:
    """Put together what the rounds came to.

    Args:
        steps: What the model wanted in each round.
        searches: What was found in each; null where nothing was searched.
        calculations: What was calculated in each; null where nothing was.
    """
    finished = bool(steps) and steps[-1]["action"] == "finish"
    problems = []
    for number, (step, calculation) in enumerate(zip(steps, calculations, strict=True), 1):
        flaws = (step["problem"], (calculation or {}).get("problem"))
        problems += [f"round {number}: {flaw}" for flaw in flaws if flaw]
    if not finished:
        problems.append(f"the model did not finish within {len(steps)} rounds")
    titles = [title for found in searches if found for title in found["titles"]]
    return {
        "answer": steps[-1]["input"] if finished else "",
        "finished": finished,
        "sources": list(dict.fromkeys(titles)),
        "problems": problems,
    }
