"""The applications that ship with LLMSched: where they are, and inputs to try them on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from random import Random
from typing import Any

from llmsched.application import ApplicationSpec, parse_yaml
from llmsched.applications.code_generation.problems import read_problems

Input = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceApplication:
    """One of the shipped applications."""

    name: str
    package: str
    make_input: Callable[[Random], Input]  #: draws an input

    def load(self) -> ApplicationSpec:
        """The application as its YAML file has it."""
        return parse_yaml(files(self.package).joinpath("application.yaml").read_text(encoding="utf-8"))

    def inputs(self, random: Random) -> Iterator[Input]:
        """Inputs without end; equal generators give equal inputs."""
        while True:
            yield self.make_input(random)


def _numbers(random: Random) -> Input:
    return {"numbers": [random.randrange(100) for _ in range(16)]}


#: Problems with short solutions, so that a few dozen tokens can hold one.
_SHORT_SOLUTION = 120


def _problem(random: Random) -> Input:
    short = [each for each in read_problems().values() if len(each.canonical_solution) <= _SHORT_SOLUTION]
    problem = random.choice(short)
    return {
        "problem": problem.prompt,
        "tests": problem.tests,
        "entry_point": problem.entry_point,
        "prelude": problem.prelude,
    }


def _request(random: Random) -> Input:
    lines = files("llmsched.applications.task_automation").joinpath("data/requests.jsonl").read_text("utf-8")
    request: Input = json.loads(random.choice(lines.splitlines()))
    return request


REFERENCE_APPLICATIONS = (
    ReferenceApplication(name="sorting", package="llmsched.applications.sorting", make_input=_numbers),
    ReferenceApplication(name="code-generation", package="llmsched.applications.code_generation", make_input=_problem),
    ReferenceApplication(name="task-automation", package="llmsched.applications.task_automation", make_input=_request),
)
