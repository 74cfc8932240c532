"""The problems and tools of the code generation application."""

import pytest

from llmsched.applications.code_generation.problems import read_problem, read_problems
from llmsched.applications.code_generation.tools import choose, problem


def test_all_problems_are_complete() -> None:
    problems = read_problems()
    assert len(problems) == 164
    for each in problems.values():
        assert f"def {each.entry_point}(" in each.prompt
        assert "def check(candidate)" in each.tests
        compile(each.prompt + each.canonical_solution, each.task_id, "exec")
        compile(each.prelude, each.task_id, "exec")


def test_the_prelude_is_what_stands_above_the_function() -> None:
    assert read_problem("HumanEval/0").prelude.strip() == "from typing import List"
    assert "def encode_cyclic" in read_problem("HumanEval/38").prelude


def test_an_unknown_problem_is_told_with_the_range() -> None:
    with pytest.raises(LookupError, match="from HumanEval/0 to HumanEval/163"):
        read_problem("HumanEval/164")


def test_the_tool_gives_what_a_prompt_and_the_tests_need() -> None:
    found = problem("HumanEval/2")
    assert set(found) == {"task_id", "prompt", "tests", "entry_point", "prelude"}
    assert found["entry_point"] == "truncate_number"


def test_the_first_passing_draft_is_chosen_else_the_last_of_the_mildest() -> None:
    drafts = [{"code": str(i), "report": {"exit": e}} for i, e in enumerate(["error", "failed", "failed", "timeout"])]
    assert choose(drafts) == {"code": "2", "passed": False, "round": 2}  # type: ignore[arg-type]
    passing = [{"code": c, "report": {"exit": "passed"}} for c in "xy"]
    assert choose(drafts + passing) == {"code": "x", "passed": True, "round": 4}  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no draft"):
        choose([])
