"""Tools of the TaskMatrix application: an outline's steps, retrieval from the catalogue, and calls of its functions."""

from __future__ import annotations

import functools
import re
import sqlite3
from typing import Any

from typing_extensions import TypedDict

from llmsched.applications.answers import read_object, sendable
from llmsched.applications.taskmatrix.calls import run_call
from llmsched.applications.taskmatrix.catalogue import CATALOGUE
from llmsched.tools import tool

_MOST_STEPS = 3


class Outline(TypedDict):
    """The steps to a goal; `open` are the numbers, from 0, of those to do, `results` what was done."""

    steps: list[str]
    open: list[int]
    results: list[dict[str, Any]]
    problems: list[str]


class Offer(TypedDict):
    """A function that may do what is wanted."""

    name: str
    signature: str
    description: str


class Done(TypedDict):
    """What came of the calls so far: one result for each step; `open` are the steps whose call failed."""

    results: list[dict[str, Any]]
    open: list[int]
    problems: list[str]


@tool(name="taskmatrix.outline")
def outline(answer: str, goal: str) -> Outline:
    """Read the steps of a model's outline as far as it goes; without any, the goal itself is the only step.

    Args:
        answer: JSON: {"steps": ["…"]}; anything else is a problem, not an error.
        goal: What the outline is for.
    """
    value, problem = read_object(answer)
    named = value.get("steps")
    texts = [sendable(each).strip() for each in named if isinstance(each, str)] if isinstance(named, list) else []
    steps = list(dict.fromkeys(each for each in texts if re.search(r"\w", each)))[:_MOST_STEPS]
    problems = [problem] if problem else []
    if not steps:
        problems = [f"{problem or 'the outline names no step'}: the goal was taken as one step"]
    steps = steps or [goal]
    return {"steps": steps, "open": list(range(len(steps))), "results": [], "problems": problems}


@tool(name="taskmatrix.retrieve")
def retrieve(step: str, goal: str = "", count: int = 3) -> list[Offer]:
    """Find the functions of the catalogue whose descriptions fit a step best (BM25).

    Args:
        step: What is to be done.
        goal: What it is done for; searched as well if the step alone finds too few.
        count: How many functions at most.
    """
    names = list(dict.fromkeys([*_search(step, count), *_search(goal, count)]))[:count]
    return [
        {
            "name": name,
            "signature": CATALOGUE.get(name).signature.partition(" -> ")[0],
            "description": CATALOGUE.get(name).description,
        }
        for name in names
    ]


@tool(name="taskmatrix.run", timeout=20)
def run(
    steps: list[str], offers: list[list[Offer]], todo: list[int], answers: list[str], before: list[dict[str, Any]]
) -> Done:
    """Make the calls that models chose, in order; what is wrong with one is part of its result.

    Args:
        steps: What each step is for.
        offers: For each step, the functions to choose from.
        todo: Numbers, from 0, of the steps to make calls for.
        answers: For each of these, JSON: {"function": number of the offer, from 1, "arguments": ["…"]}.
        before: Results of the round before; nothing in the first.
    """
    chosen = dict(zip(todo, answers, strict=True))
    results = [
        before[i] if i < len(before) else {"function": None, "arguments": [], "result": None, "error": "not done"}
        for i in range(len(steps))
    ]
    for number in sorted(chosen):
        known = {i: each["result"] for i, each in enumerate(results, start=1) if each["error"] is None}
        call = run_call(chosen[number], [offer["name"] for offer in offers[number]], known)
        results[number] = {"step": steps[number], **call}
    failed = [number for number, each in enumerate(results) if each["error"] is not None]
    return {
        "results": results,
        "open": failed,
        "problems": [f"step {number + 1}: {results[number]['error']}" for number in failed],
    }


def _search(text: str, count: int) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    # Quoted: otherwise words such as AND or NEAR would be commands.
    wanted = " OR ".join(f'"{word}"' for word in words)
    if not wanted:
        return []
    rows = _index().execute(
        "SELECT name FROM functions WHERE functions MATCH ? ORDER BY bm25(functions, 0, 2.0, 1.0), name LIMIT ?",
        (wanted, count),
    )
    return [name for (name,) in rows]


@functools.cache
def _index() -> sqlite3.Connection:
    # Shared between threads of the in-process runner; it is only read after this.
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute(
        "CREATE VIRTUAL TABLE functions USING fts5(name UNINDEXED, words, description, tokenize='porter unicode61')"
    )
    connection.executemany(
        "INSERT INTO functions VALUES (?, ?, ?)",
        [(spec.name, spec.name.replace(".", " ").replace("_", " "), spec.description) for spec in CATALOGUE],
    )
    return connection
