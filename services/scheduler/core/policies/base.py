"""What a policy is: a pure function that gives every ready stage a key; the smallest key goes first.

The machine keeps the order. A policy says which of a job's moments change the keys of that job's ready stages
(`rekey_on`), and only then are they computed again, so a decision costs O(log n).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple, Protocol, runtime_checkable

from services.profiler.core.belief import Beliefs
from services.profiler.core.profile import Profile
from services.profiler.core.statistics import Statistics, WorkModel
from services.scheduler.core.model import Measurement, StageKind, StageSpec, StageState, TaskSpec, TaskState

Key = tuple[object, ...]  #: numbers and strings; comparable with every other key of the same policy


class UnknownPolicy(ValueError):
    """The settings name no policy, give one a parameter that it cannot have, or it lacks what it needs to know."""


class Moment(StrEnum):
    """Moments of a job after which its keys may differ."""

    TASK_STARTED = "TASK_STARTED"
    TASK_ENDED = "TASK_ENDED"
    STAGE_READY = "STAGE_READY"
    STAGE_ENDED = "STAGE_ENDED"
    STAGES_ADDED = "STAGES_ADDED"
    TOKENS_COUNTED = "TOKENS_COUNTED"


class TaskFacts(Protocol):
    """What a policy may know of a task of a stage that has become ready."""

    @property
    def spec(self) -> TaskSpec: ...
    @property
    def state(self) -> TaskState: ...
    @property
    def started_at(self) -> float | None: ...
    @property
    def measurement(self) -> Measurement | None: ...


class StageFacts(Protocol):
    """What a policy may know of a stage that its job has shown, whatever its state."""

    @property
    def spec(self) -> StageSpec: ...
    @property
    def state(self) -> StageState: ...
    @property
    def tasks(self) -> Sequence[TaskFacts]:
        """Empty before the stage has become ready."""
        ...

    @property
    def waits_on(self) -> Sequence[str]:
        """The stages that its unfolding has added: it waits for them as for its parents."""
        ...


@dataclass(slots=True, kw_only=True)
class JobView:
    """What a policy may know of a job. Kept up to date by the machine; policies only read it."""

    job_id: str
    application: str
    structure: str  #: "generated", "chain+width", "chain", "width", "static" or "open": what it can do
    arrival: float  #: seconds
    order: int  #: breaks ties between equal arrivals
    open: bool = False  #: its program may add stages
    running_tasks: int = 0
    attained_llm_seconds: float = 0.0  #: service received by tasks that ended
    attained_tool_seconds: float = 0.0
    done_prompt_tokens: int = 0  #: of LLM tasks that ended
    done_output_tokens: int = 0
    #: By id: those that the job has shown so far; of a program, among those that have ended, the first and the latest.
    stages: Mapping[str, StageFacts] = field(default_factory=dict)
    shown_at: float = 0.0  #: seconds: the job's latest moment other than TASK_STARTED
    memo: dict[str, Any] = field(default_factory=dict)  #: what policies have computed; empty after such a moment

    def show(self, at: float) -> None:
        """The machine's: the job has shown something new."""
        self.shown_at = at
        self.memo.clear()

    def done_work(self, model: WorkModel) -> float:
        """Work of the tasks that have ended (seconds): LLM calls as if alone in an engine, tools as they ran."""
        return model.work(self.done_prompt_tokens, self.done_output_tokens) + self.attained_tool_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """What a policy may know of a ready stage."""

    stage_id: str
    name: str
    occurrence: int
    kind: StageKind
    position: int
    ready_at: float  #: seconds
    width: int  #: tasks
    prompt_tokens: int  #: of all its tasks, as far as known


class Policy(Protocol):
    """Ranks ready stages. `key` must be a pure function of its arguments."""

    name: str
    rekey_on: frozenset[Moment]

    def key(self, job: JobView, stage: StageView) -> Key:
        """Smallest goes first. Must end in (job.arrival, job.order, stage.position), so that no two stages tie."""
        ...


@runtime_checkable
class DrawingPolicy(Policy, Protocol):
    """A policy that does not always take the head of its order."""

    def draw(self, decision: int, waiting: int) -> int:
        """Which of `waiting` candidates, numbered from 0, goes next at this decision (from 1): a pure function.

        Candidates stand in the order of their keys. Where stages with several requirements could go, the same
        question is asked twice: once for the requirement, all candidates in one row, and once inside it.
        """
        ...


@runtime_checkable
class PlacingPolicy(Policy, Protocol):
    """A policy that has a say in where tasks go."""

    by_speed: bool  #: to the executor that is fastest with one more in its batch, where speeds are known; else by load


class Candidate(NamedTuple):
    """A stage that could go now."""

    job: JobView
    stage: StageView
    started: int  #: of its tasks


@runtime_checkable
class ExploringPolicy(Policy, Protocol):
    """A policy that decides for whole stages, and now and then takes another one than the head of its order."""

    chance: float  #: how often it looks for another one

    def explores(self, decision: int) -> bool:
        """Whether it looks for another one at this decision (from 1): a pure function."""
        ...

    def explore(self, candidates: Sequence[Candidate]) -> tuple[int, int] | None:
        """Which of the candidates goes, by its place, and how many of its tasks; None: the head after all."""
        ...


#: The future: for a job, the work of each task of each of its stages (seconds), shown or not. Simulation only.
Oracle = Callable[[str], Mapping[str, Sequence[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What a policy is given besides the jobs."""

    statistics: Statistics | None = None  #: of a history
    beliefs: Beliefs = field(default_factory=Beliefs)  #: by the profiles of applications
    slowdown: float = inf  #: how many times longer than alone an LLM call takes at most; inf: not known
    oracle: Oracle | None = None

    def with_profile(self, profile: Profile) -> Knowledge:
        """With what was learned of an application in place of what was known of it before."""
        statistics = profile.statistics
        if statistics is None:
            statistics = self.statistics
        elif self.statistics is not None:
            statistics = self.statistics.updated(statistics)
        return replace(self, beliefs=self.beliefs.with_profile(profile), statistics=statistics)

    def with_speeds(self, work: WorkModel, slowdown: float) -> Knowledge:
        """With what was measured of the engines."""
        return replace(self, beliefs=self.beliefs.with_work(work), slowdown=slowdown)

    def statistics_for(self, policy: str) -> Statistics:
        """The statistics. Raises UnknownPolicy if there are none."""
        if self.statistics is None:
            raise UnknownPolicy(f"policy {policy!r} needs a history to learn from, and none was given")
        return self.statistics

    def oracle_for(self, policy: str) -> Oracle:
        """The oracle. Raises UnknownPolicy if there is none."""
        if self.oracle is None:
            raise UnknownPolicy(f"policy {policy!r} needs to know the future, which only a simulation does")
        return self.oracle


def order(policy: Policy, ready: Sequence[tuple[JobView, StageView]]) -> list[tuple[JobView, StageView]]:
    """The order in which the machine would dispatch `ready`, had it nothing else to mind."""
    return sorted(ready, key=lambda pair: policy.key(*pair))
