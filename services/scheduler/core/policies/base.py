"""What a policy is: a pure function that gives every ready stage a key; the smallest key goes first.

The machine keeps the order. A policy says which of a job's moments change the keys of that job's ready stages
(`rekey_on`), and only then are they computed again, so a decision costs O(log n).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from services.profiler.core.statistics import Statistics, WorkModel
from services.scheduler.core.model import Measurement, StageKind, StageSpec, StageState, TaskSpec, TaskState

Key = tuple[object, ...]  #: numbers and strings; comparable with every other key of the same policy


class UnknownPolicy(ValueError):
    """The settings name no policy, give one a parameter that it cannot have, or it lacks what it needs to know."""


class Moment(StrEnum):
    """Moments of a job after which its keys may differ."""

    TASK_STARTED = "TASK_STARTED"
    TASK_ENDED = "TASK_ENDED"
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
    structure: str  #: "generated", "chain+width", "chain", "width" or "static": what its application can do
    arrival: float  #: seconds
    order: int  #: breaks ties between equal arrivals
    running_tasks: int = 0
    attained_llm_seconds: float = 0.0  #: service received by tasks that ended
    attained_tool_seconds: float = 0.0
    done_prompt_tokens: int = 0  #: of LLM tasks that ended
    done_output_tokens: int = 0
    stages: Mapping[str, StageFacts] = field(default_factory=dict)  #: by id: those that the job has shown so far

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


#: The future: for a job, the work of each task of each of its stages (seconds), shown or not. Simulation only.
Oracle = Callable[[str], Mapping[str, Sequence[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What a policy is given besides the jobs."""

    statistics: Statistics | None = None  #: of a history
    oracle: Oracle | None = None

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
