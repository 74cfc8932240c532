"""Histories as lines of the trace format: in from files, out to files and to the learner."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace

from services.common.errors import Violation
from services.profiler.core.trace import TraceError, TraceJob, read_history
from services.profiler.refusals import invalid_trace
from services.state.port import ProfileStore

_PAGE = 200  #: jobs read in one step
_PROBLEM = re.compile(r"lines:(?P<line>\d+): (?:(?P<field>[a-z_]+(?:\[\d+\]|\.[a-z_]+)*): )?(?P<what>.*)", re.DOTALL)


def read_import(data: bytes) -> list[TraceJob]:
    """The jobs in a trace file. One without an id gets one from its content, the same each time.

    Raises INVALID_ARGUMENT/INVALID_TRACE.
    """
    lines = data.split(b"\n")
    try:
        jobs = list(read_history(lines, "lines"))
    except TraceError as error:
        raise invalid_trace([_violation(problem) for problem in error.problems]) from error
    return [_named(job, lines[job.line - 1]) for job in jobs]


def _violation(problem: str) -> Violation:
    match = _PROBLEM.fullmatch(problem)
    if match is None:
        return Violation("lines", problem.removeprefix("lines: "))
    field = f".{match['field']}" if match["field"] else ""
    return Violation(f"lines[{match['line']}]{field}", match["what"])


def _named(job: TraceJob, line: bytes) -> TraceJob:
    if json.loads(line).get("job_id"):
        return job
    return replace(job, job_id=f"imported-{hashlib.blake2b(line.strip(), digest_size=8).hexdigest()}")


async def pages(store: ProfileStore, application: str) -> AsyncIterator[list[bytes]]:
    """The lines of an application's history, oldest first."""
    after = 0
    while page := await store.read_history(application, after=after, limit=_PAGE):
        yield [job.line for job in page]
        after = page[-1].number


async def read_all(store: ProfileStore, application: str) -> list[bytes]:
    """All lines of an application's history, oldest first."""
    return [line async for page in pages(store, application) for line in page]
