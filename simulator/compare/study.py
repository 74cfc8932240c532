"""All runs of a comparison: every policy on the same workloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.scheduler.core import PolicySettings
from services.scheduler.core.policies import BY_PROFILE, POLICIES, UnknownPolicy, make_policy
from services.scheduler.core.policies.base import Knowledge
from simulator.cluster import ClusterShape
from simulator.history import History
from simulator.parallel import Task, run_all
from simulator.run import RunResult, RunSettings
from simulator.trouble import Trouble
from simulator.variants import name_of


class Condition(NamedTuple):
    """What one workload stands for. Every policy meets the same one."""

    mix: str
    load: float
    seed: int


#: The jobs of a condition, the same ones at every call.
WorkloadOf = Callable[[Condition], Sequence[TraceJob]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is compared, and under which conditions."""

    policies: tuple[PolicySettings, ...]  #: their seeds are replaced by those of the runs
    mixes: tuple[str, ...]
    loads: tuple[float, ...]
    seeds: tuple[int, ...]
    clusters: dict[str, ClusterShape]  #: by mix
    work: WorkModel = field(default_factory=WorkModel)
    trouble: Trouble = field(default_factory=Trouble)  #: its seed is replaced by those of the runs

    @property
    def conditions(self) -> list[Condition]:
        return [Condition(mix, load, seed) for mix in self.mixes for load in self.loads for seed in self.seeds]

    @property
    def runs(self) -> int:
        """How many there are."""
        return len(self.conditions) * len(self.policies)


class StudyRun(NamedTuple):
    """A run and what it was made under."""

    condition: Condition
    result: RunResult


def carry_out(
    study: Study,
    workload: WorkloadOf,
    *,
    history: History | None = None,
    processes: int | None = None,
    done: Callable[[], None] = lambda: None,
) -> list[StudyRun]:
    """Runs it all, by condition and then by policy, in the order of the study.

    Args: `history` is what policies learn from; `processes`: runs at once (default: one for each core); `done` is
    called after each run.

    Raises what `simulator.run.run` raises.
    """
    conditions = [condition for condition in study.conditions for _ in study.policies]
    tasks = [
        Task(
            jobs=jobs,
            settings=_settings(study, condition, policy),
            statistics=None if history is None else history.statistics,
            beliefs=None if history is None else history.beliefs_of(policy.name),
        )
        for condition in study.conditions
        for jobs in [tuple(workload(condition))]
        for policy in study.policies
    ]
    results = run_all(tasks, processes=processes, done=lambda index, result: done())
    return [StudyRun(*pair) for pair in zip(conditions, results, strict=True)]


def _settings(study: Study, condition: Condition, policy: PolicySettings) -> RunSettings:
    return RunSettings(
        policy=replace(policy, seed=condition.seed),
        cluster=study.clusters[condition.mix],
        work=study.work,
        trouble=replace(study.trouble, seed=condition.seed),
    )


class Knows(StrEnum):
    """What a policy goes by."""

    JOBS = "jobs"  #: what jobs have shown so far
    HISTORY = "history"  #: that, and recorded jobs
    FUTURE = "future"  #: that, and what jobs will turn out to be; possible in simulation only


def knows(policy: str) -> Knows:
    """What the policy with that name or label goes by. Raises UnknownPolicy if there is none of that name."""
    name = name_of(policy)
    if name not in POLICIES:
        raise UnknownPolicy(f"no policy {name!r}; there are: {', '.join(sorted(POLICIES))}")
    if name in BY_PROFILE:
        return Knows.HISTORY
    try:
        make_policy(PolicySettings(name=name), Knowledge(oracle=_no_job))
    except UnknownPolicy:
        return Knows.HISTORY
    try:
        make_policy(PolicySettings(name=name))
    except UnknownPolicy:
        return Knows.FUTURE
    return Knows.JOBS


def _no_job(job_id: str) -> dict[str, Sequence[float]]:
    raise KeyError(job_id)
