"""Problems of HumanEval to solve."""

from __future__ import annotations

from random import Random
from typing import Any

from llmsched.applications.code_generation.problems import read_problems

#: Characters: problems with short solutions, so that a few dozen tokens can hold one.
_SHORT_SOLUTION = 120


def make_input(random: Random) -> dict[str, Any]:
    """A problem with its tests."""
    short = [each for each in read_problems().values() if len(each.canonical_solution) <= _SHORT_SOLUTION]
    problem = random.choice(short)
    return {
        "problem": problem.prompt,
        "tests": problem.tests,
        "entry_point": problem.entry_point,
        "prelude": problem.prelude,
    }
