"""What this scheduler's policies know besides the jobs: statistics of recorded jobs, read from files at the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.profiler.core.history import learn
from services.profiler.core.statistics import ApplicationStatistics, Statistics, WorkModel
from services.profiler.core.trace import TraceError, TraceJob, read_history
from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies import POLICIES, UnknownPolicy, make_policy
from services.scheduler.core.policies.base import Knowledge

#: Enough for any policy that learns to be made.
_SOMETHING = Knowledge(statistics=Statistics(applications={}, pooled=ApplicationStatistics(totals=(0.0,), stages={})))


def load_knowledge(paths: Sequence[str | Path], work: WorkModel) -> Knowledge:
    """Learns from all files together; without any, policies know nothing but their jobs.

    Raises:
        TraceError: it names every file that cannot be read, and every bad line with file, line and field.
    """
    jobs: list[TraceJob] = []
    problems: list[str] = []
    for path in paths:
        try:
            with Path(path).open("rb") as lines:
                jobs += read_history(lines, str(path))
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
        except TraceError as error:
            problems += error.problems
    if problems:
        raise TraceError(problems)
    return Knowledge(statistics=learn(jobs, work) if jobs else None)


def settable(knowledge: Knowledge) -> list[str]:
    """Names of the policies that can be made with what is known, in alphabetical order."""
    names = []
    for name in sorted(POLICIES):
        try:
            make_policy(PolicySettings(name=name), knowledge)
        except UnknownPolicy:
            continue
        names.append(name)
    return names


def check_policy(settings: PolicySettings, knowledge: Knowledge) -> None:
    """Raises UnknownPolicy with what an operator can do about it."""
    if settings.name not in POLICIES:
        raise UnknownPolicy(f"no policy {settings.name!r}; there are: {', '.join(settable(knowledge))}")
    try:
        make_policy(settings, knowledge)
    except UnknownPolicy as error:
        if knowledge.statistics is None and settings.name in set(settable(_SOMETHING)) - set(settable(knowledge)):
            raise UnknownPolicy(f"{error} (start the scheduler with --history FILE)") from error
        raise
