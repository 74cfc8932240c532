"""Why things stand as they stand: the queue, decisions, and explanations of jobs. Part of `llmsched.types`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmsched.types import Policy, StageKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number that something goes by."""

    #: For programs, for example `index`.
    name: str
    #: For people.
    label: str
    value: float
    #: `s` (seconds), `time` (seconds since the epoch), `bit·s`; empty if it has none.
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedStage:
    """A stage whose tasks wait for a slot."""

    #: Place in the queue, from 0.
    rank: int
    job_id: str
    stage_id: str
    application: str
    kind: StageKind
    #: What an executor must offer, for example `llm` or `tool:python.run_tests`.
    requirement: str
    waiting_tasks: int
    ready_time: datetime | None
    #: The policy's key as text; the smallest goes first.
    key: str
    #: Why it has this place, in a few words.
    reason: str
    #: The numbers of the key, as far as the policy names them.
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A dispatch, with the numbers used at that moment."""

    #: Grows by one with each decision of a leader.
    number: int
    decide_time: datetime | None
    job_id: str
    stage_id: str
    #: Place in the stage, from 0.
    task_index: int
    #: From 1.
    attempt: int
    executor_id: str
    policy: str
    #: The key that won, as text.
    key: str
    #: Why: `policy`, `ageing`, or `explore` (to learn of other stages).
    rule: str
    #: How long the task had been ready.
    waited: timedelta | None
    #: Stages that were ready and waited on.
    waiting_stages: int
    #: The numbers of the key, as far as the policy names them, and what else it went by.
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBefore:
    """A stage that goes before another."""

    job_id: str
    application: str
    stage_id: str
    #: The first number of its key that is smaller, and by how much. 0: it goes by age, or is drawn.
    by: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that would change a stage's place in the queue."""

    text: str
    #: The numbers in the text.
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReasons:
    """Why a stage whose tasks wait stands where it stands."""

    stage_id: str
    #: Place in the whole queue, from 0.
    rank: int
    #: Place among the stages that could take the same slots, from 0.
    place: int
    #: Its key, and what else the policy goes by.
    figures: tuple[Figure, ...]
    #: The first of those before it that could take the same slots; at most 10.
    before: tuple[StageBefore, ...]
    #: Other jobs before it, all in all.
    jobs_before: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job's ready stages run or wait."""

    queued: tuple[QueuedStage, ...]
    #: Latest decisions about the job, newest last.
    decisions: tuple[Decision, ...]
    policy: Policy
    #: One line per finding, for people.
    reasons: tuple[str, ...]
    #: What is believed of the job; empty without a profile, and under policies that go by none.
    figures: tuple[Figure, ...] = ()
    #: More about the stages in `queued`, in the same order.
    stages: tuple[StageReasons, ...] = ()
