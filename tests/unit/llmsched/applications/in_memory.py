"""Runs a shipped application in memory and keeps what its models were asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.planner.core.model import LlmCall
from tests.support.applications import try_out

#: What no application expects, and every one must bear.
GARBAGE = (
    "",
    "   \n",
    "I am sorry, but",
    '{"',
    "[]",
    "{}",
    "null",
    '"x"',
    "7",
    '{"steps": 3}',
    "[" * 50_000,
    "\x00<1>{{ input }}{% if",
)
#: JSON of a good shape with a character that no wire can carry.
HALF_A_CHARACTER = (
    '{"steps": ["\\ud800 a"], "function": 1, "arguments": ["\\ud800"], "changes": [{"kind": "\\ud800", "of": "andes"}]}'
)


Write = Callable[[str, LlmCall], str]


class Job:
    """What the models of a job were asked: names of stages and calls, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, LlmCall]] = []

    def asked(self, stage: str) -> list[LlmCall]:
        """The calls of all stages of a name."""
        return [call for name, call in self.calls if name == stage]


class _Writing(dict[str, Any]):
    """A script that has an answer for every stage."""

    def __init__(self, job: Job, write: Write) -> None:
        self._job, self._write = job, write

    def __missing__(self, stage: str) -> Callable[[LlmCall], str]:
        def answer(call: LlmCall) -> str:
            self._job.calls.append((stage, call))
            return self._write(stage, call)

        return answer


def run(name: str, job_input: Mapping[str, Any], write: Write, *, finish_reason: str = "stop") -> tuple[Any, Job]:
    """The output of a job, and what was asked. `write` answers a call of a model in a stage. Fails if the job does."""
    job = Job()
    done = try_out(name, job_input, _Writing(job, write), finish_reason=finish_reason)
    assert done.failure is None, done.failure
    return done.output, job
