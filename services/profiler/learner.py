"""Learns a profile in a process of its own: learning takes seconds of one core, which the service needs to answer.

The process gets the history on its standard input and writes a line about the profile and the profile itself. It ends
by itself when its parent is gone, at the latest when it wants to write.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from services.profiler.core import history
from services.profiler.core.drift import expected_scores
from services.profiler.core.packing import pack
from services.profiler.core.profile import learn
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import read_history
from services.profiler.scores import write_expected

_OTHERS_FIRST = 10  #: niceness: schedulers and engines on the same machine must not wait for it
_LAST_LINES = 3  #: of what a process that failed has said


class LearningFailed(Exception):
    """The process has ended without a profile, or it took too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    jobs: int
    variables: int
    seconds: float  #: that learning took, without the start of the process
    compiled: bytes
    expected: bytes  #: scores of jobs like these, as `services.profiler.scores` reads them


class Learner(Protocol):
    async def learn(self, lines: Sequence[bytes], *, version: int, work: WorkModel) -> Learned:
        """The profile of the application whose history these lines are. Raises LearningFailed.

        `work`: what tokens cost in the scores to be expected of its jobs.
        """
        ...


class _Header(msgspec.Struct):
    jobs: int
    variables: int
    seconds: float
    expected: int  #: bytes


class ProcessLearner:
    """A `Learner` that starts a process each time."""

    def __init__(self, *, deadline: float) -> None:
        """`deadline`: seconds after which a process is killed."""
        self._deadline = deadline

    async def learn(self, lines: Sequence[bytes], *, version: int, work: WorkModel) -> Learned:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.profiler.learner",
            *(str(version), str(work.prefill), str(work.decode)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self._deadline):
                answer, said = await process.communicate(b"".join(lines))
        except TimeoutError as error:
            raise LearningFailed(f"it took longer than {self._deadline:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            told = " / ".join(said.decode(errors="replace").strip().splitlines()[-_LAST_LINES:])
            raise LearningFailed(f"its process ended with {process.returncode}: {told or 'it said nothing'}")
        head, _, rest = answer.partition(b"\n")
        header = msgspec.json.decode(head, type=_Header)
        return Learned(
            jobs=header.jobs,
            variables=header.variables,
            seconds=header.seconds,
            expected=rest[: header.expected],
            compiled=rest[header.expected :],
        )


def learn_lines(lines: Sequence[bytes], version: int, work: WorkModel) -> Learned:
    """Here and now. Raises TraceError; ValueError if these are not the jobs of one application."""
    began = time.perf_counter()
    jobs = list(read_history(lines, "history"))
    (profile,) = learn(jobs).values()
    expected = write_expected(expected_scores(jobs, learn, work), work)
    return Learned(
        jobs=profile.jobs,
        variables=len(profile.variables),
        seconds=time.perf_counter() - began,
        compiled=pack(replace(profile, version=version, statistics=history.learn(jobs, work))),
        expected=expected,
    )


def main() -> None:
    os.nice(_OTHERS_FIRST)
    version, prefill, decode = sys.argv[1:]
    work = WorkModel(prefill=float(prefill), decode=float(decode))
    learned = learn_lines(sys.stdin.buffer.readlines(), int(version), work)
    header = _Header(
        jobs=learned.jobs, variables=learned.variables, seconds=learned.seconds, expected=len(learned.expected)
    )
    sys.stdout.buffer.write(msgspec.json.encode(header) + b"\n" + learned.expected + learned.compiled)


if __name__ == "__main__":
    main()
