"""Tools of the code generation application, beside `python.run_tests` of the tool executor."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from llmsched.applications.code_generation.problems import read_problem
from llmsched.tools import tool


class Draft(TypedDict):
    """One round: a draft and what came of its tests."""

    code: str
    report: dict[str, Any]


class Choice(TypedDict):
    """The draft to hand out."""

    code: str
    passed: bool
    round: int


@tool(name="code.problem")
def problem(task_id: str) -> dict[str, str]:
    """Look up a programming problem of the HumanEval benchmark: its text, tests and entry point.

    Args:
        task_id: For example HumanEval/0.
    """
    found = read_problem(task_id)
    return {
        "task_id": found.task_id,
        "prompt": found.prompt,
        "tests": found.tests,
        "entry_point": found.entry_point,
        "prelude": found.prelude,
    }


@tool(name="code.choose")
def choose(drafts: list[Draft]) -> Choice:
    """Choose the first draft that passed its tests, else the one whose failure was the mildest, the last of equals.

    Args:
        drafts: Drafts with the reports of python.run_tests, in the order in which they were made.
    """
    if not drafts:
        raise ValueError("there is no draft to choose from")
    # Wrong answers are nearer to the goal than code that hangs, and that than code that cannot be run.
    mildness = {"passed": 3, "failed": 2, "timeout": 1, "memory": 1, "output": 1}
    ranks = [mildness.get(str(draft["report"].get("exit")), 0) for draft in drafts]
    best = max(ranks)
    index = ranks.index(best) if best == 3 else len(ranks) - 1 - ranks[::-1].index(best)
    return {"code": drafts[index]["code"], "passed": best == 3, "round": index}
