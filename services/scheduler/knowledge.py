"""What this scheduler's policies know besides the jobs when it starts: statistics of recorded jobs, read from files.

Profiles bring more while it runs, statistics among them (`Knowledge.with_profile`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.profiler.core.belief import Beliefs
from services.profiler.core.history import learn
from services.profiler.core.profile import learn as learn_profiles
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
    if not jobs:
        return Knowledge(beliefs=Beliefs(work=work))
    return Knowledge(statistics=learn(jobs, work), beliefs=Beliefs(learn_profiles(jobs), work))


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


def needs_history(settings: PolicySettings, knowledge: Knowledge) -> bool:
    """Whether the policy could be made if only there were statistics of a history."""
    return knowledge.statistics is None and settings.name in set(settable(_SOMETHING)) - set(settable(knowledge))


def check_policy(settings: PolicySettings, knowledge: Knowledge) -> None:
    """Raises UnknownPolicy with what an operator can do about it."""
    if settings.name not in POLICIES:
        raise UnknownPolicy(f"no policy {settings.name!r}; there are: {', '.join(settable(knowledge))}")
    try:
        make_policy(settings, knowledge)
    except UnknownPolicy as error:
        if needs_history(settings, knowledge):
            told = "start the scheduler with --history FILE, or wait until the profiler has learned of an application"
            raise UnknownPolicy(f"{error} ({told})") from error
        raise
