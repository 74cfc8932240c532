"""Jobs as an event log tells of them: stages as they came to be, and how long their tasks took.

Nothing is decided here and no policy is run: what was answered and accepted is taken from the log's effects, so that
a log can be read whatever policy, history or version of the machine wrote it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from services.scheduler.core.events import StageAdded, StageUnfolded
from services.scheduler.core.model import (
    JobSnapshot,
    JobState,
    StageKind,
    StageSnapshot,
    StageSpec,
    StageState,
    TaskSnapshot,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What made a stage exist that was not there at arrival: an unfolding of another stage."""

    adder: str  #: the stage that unfolded
    unfolding: int  #: its how manieth, from 1
    after: tuple[str, ...]  #: stages that were done before this unfolding could be asked for


@dataclass(slots=True, kw_only=True)
class RecordedStage:
    """A stage and what became of it."""

    spec: StageSpec
    state: StageState = StageState.WAITING
    tasks: list[TaskSnapshot] = field(default_factory=list)
    unfolding: int = 0  #: the latest one that was answered
    waits_on: tuple[str, ...] = ()  #: what the latest unfolding added
    origin: Origin | None = None  #: None: known at arrival
    ended_at: float | None = None  #: before the job's arrival if a rerun has taken it over

    @classmethod
    def of(cls, snapshot: StageSnapshot) -> RecordedStage:
        # The answer to a question that is still open is not in the snapshot.
        unfolding = snapshot.unfolding - (snapshot.state is StageState.UNFOLDING)
        return cls(
            spec=snapshot.spec,
            state=snapshot.state,
            tasks=list(snapshot.tasks),
            unfolding=unfolding,
            waits_on=snapshot.waits_on,
            ended_at=snapshot.ended_at,
        )

    @property
    def is_placeholder(self) -> bool:
        return self.spec.kind is StageKind.DYNAMIC


class RecordedJob:
    """One job, from its admission on. Times are seconds since the epoch."""

    def __init__(self, snapshot: JobSnapshot, known: RecordedJob | None = None) -> None:
        """Args: `known`: the same job as an earlier leader had it. The snapshot, which is what had become durable, is
        right where the two differ; only where stages came from it does not say.
        """
        self.job_id = snapshot.job_id
        self.application = snapshot.application
        self.structure = snapshot.structure
        self.arrival = snapshot.arrival
        self.order = snapshot.order
        self.state = snapshot.state
        self.ended_at = snapshot.ended_at
        self.policies: set[str] = set() if known is None else known.policies  #: that dispatched its tasks
        #: that its stages waited for the planner
        self.unfold_seconds: float = 0.0 if known is None else known.unfold_seconds
        self.stages = {stage.spec.stage_id: RecordedStage.of(stage) for stage in snapshot.stages}
        self._names = Counter(stage.spec.name for stage in self.stages.values())
        #: Stages, the latest last.
        self._ended = sorted((key for key, one in self.stages.items() if one.ended_at is not None), key=self._end)
        for stage in self.stages.values():
            self._set_origins(stage, stage.waits_on, stage.unfolding)
        for stage_id, stage in ({} if known is None else known.stages).items():
            if stage_id in self.stages and stage.origin is not None:
                self.stages[stage_id].origin = stage.origin

    @property
    def jct(self) -> float | None:
        """Seconds from its arrival to its end; None before that."""
        return None if self.ended_at is None else self.ended_at - self.arrival

    def taken_over(self, stage: RecordedStage) -> bool:
        """Whether the stage was done in another job, of which this one is a rerun."""
        return stage.ended_at is not None and stage.ended_at < self.arrival

    @property
    def is_rerun(self) -> bool:
        return any(self.taken_over(stage) for stage in self.stages.values())

    def added(self, event: StageAdded) -> None:
        """The machine has accepted this stage of a program, and says of it what it says."""
        stage_id, parents = event.stage.stage_id, event.stage.parents
        if stage_id in self.stages:
            return
        # Events of one batch come before what they led to, so that what ends in the same batch made nothing yet: no
        # program can have seen it.
        ended = [one for one in parents if self.stages[one].ended_at is not None] or self._ended[-1:]
        latest = max(ended, key=self._end, default=None)
        spec = replace(
            event.stage,
            occurrence=self._names[event.stage.name],
            position=len(self.stages),
            generated_by=latest,
        )
        self._names[spec.name] += 1
        self.stages[stage_id] = RecordedStage(spec=spec, tasks=[TaskSnapshot(spec=event.task)])

    def _end(self, stage_id: str) -> tuple[float, int]:
        stage = self.stages[stage_id]
        return stage.ended_at or 0.0, stage.spec.position

    def unfolded(self, answer: StageUnfolded) -> None:
        """The machine has accepted this answer of the planner."""
        stage = self.stages.get(answer.stage_id)
        if stage is None or answer.unfolding <= stage.unfolding:
            return
        if answer.tasks:
            stage.tasks = [TaskSnapshot(spec=spec) for spec in answer.tasks]
        for spec in answer.stages:
            self.stages.setdefault(spec.stage_id, RecordedStage(spec=spec))
        if answer.stages:
            added = tuple(spec.stage_id for spec in answer.stages)
            self._set_origins(stage, added, answer.unfolding, before=stage.waits_on)
            stage.waits_on = added
        stage.unfolding = answer.unfolding

    def _set_origins(
        self, stage: RecordedStage, added: Iterable[str], unfolding: int, before: tuple[str, ...] = ()
    ) -> None:
        """Args: `before`: what the stage had added with its unfolding before that."""
        inherited = () if stage.origin is None else stage.origin.after
        after = (*stage.spec.parents, *inherited, *before)
        for stage_id in added:
            self.stages[stage_id].origin = Origin(adder=stage.spec.stage_id, unfolding=unfolding, after=after)

    def stage_changed(self, stage_id: str, state: StageState, at: float) -> None:
        stage = self.stages.get(stage_id)
        if stage is not None:
            stage.state = state
            stage.ended_at = at if state.is_final else None
            if state.is_final:
                self._ended.append(stage_id)

    def job_changed(self, state: JobState, at: float) -> None:
        self.state = state
        if state.is_final:
            self.ended_at = at

    def task(self, stage_id: str, index: int) -> TaskSnapshot | None:
        stage = self.stages.get(stage_id)
        return stage.tasks[index] if stage is not None and 0 <= index < len(stage.tasks) else None

    def change_task(self, stage_id: str, index: int, **fields: object) -> None:
        """Changes fields of `TaskSnapshot`; a task that is not known is left alone."""
        task = self.task(stage_id, index)
        if task is not None:
            self.stages[stage_id].tasks[index] = replace(task, **fields)  # type: ignore[arg-type]
