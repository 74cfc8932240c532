"""A workload as the machine's world: jobs that arrive, stages that unfold, work that has to be done.

A job enters with the stages that the trace shows at arrival. What a stage generates stands behind a placeholder (a
DYNAMIC stage, as live) that unfolds when that stage is done; a stage that is known at arrival, but has generated
parents, waits behind a placeholder too, until those parents exist. Placeholders take no time. Jobs are kept only
while they are active.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, TraceStage, TraceTask
from services.scheduler.core.effects import Dispatch, Unfold
from services.scheduler.core.events import JobAdmitted, StageUnfolded
from services.scheduler.core.model import JobSnapshot, Measurement, StageKind, StageSnapshot, StageSpec, TaskSpec
from simulator.cluster import LLM, TOOL, Load

#: Attempts of a task before its job fails; matters only where failures are simulated.
MAX_ATTEMPTS = 10


class _Job:
    """A job of the trace and what of it has been shown."""

    __slots__ = ("by_id", "generators", "job", "occurrences", "positions", "shown", "works")

    def __init__(self, job: TraceJob, work: WorkModel) -> None:
        self.job = job
        self.by_id = {stage.id: stage for stage in job.stages}
        self.positions = {stage.id: position for position, stage in enumerate(job.stages)}
        self.generators = _generators(job)
        self.shown: set[str] = set()
        self.works: dict[str, tuple[float, ...]] = {
            stage.id: tuple([task_work(stage, task, work) for task in stage.tasks]) for stage in job.stages
        }
        counts: Counter[str] = Counter()
        self.occurrences: dict[str, int] = {}
        for stage in job.stages:
            self.occurrences[stage.id] = counts[stage.name]
            counts[stage.name] += 1

    def show(self, generator: str | None) -> tuple[StageSpec, ...]:
        """The stages that exist once `generator` is done (None: at arrival), each once, with their placeholders."""
        shown = [stage for stage in self.job.stages if self.generators[stage.id] == generator]
        self.shown.update(stage.id for stage in shown)
        specs: list[StageSpec] = []
        for stage in shown:
            parents = [parent for parent in stage.parents if parent in self.shown]
            hidden = [parent for parent in stage.parents if parent not in self.shown]
            if hidden:
                specs.append(self._gate(f"{stage.id}/after", hidden))
                parents.append(specs[-1].stage_id)
            specs.append(self._stage(stage, tuple(parents)))
            if stage.id in self.generators.values():
                specs.append(_placeholder(f"{stage.id}/generates", (stage.id,), self.positions[stage.id]))
        return tuple(specs)

    def gate(self, stage_id: str) -> tuple[StageSpec, ...]:
        """What stands behind a gate once the outermost generators are done."""
        name, gated = stage_id, stage_id.split("/after")[0]
        parents = [parent for parent in self.by_id[gated].parents if self.generators[parent] is not None]
        hidden = [parent for parent in parents if parent not in self.shown]
        if hidden:
            return (self._gate(f"{name}/after", hidden),)
        return (_placeholder(f"{name}/all", tuple(parents), self.positions[gated]),)

    def _gate(self, name: str, hidden: list[str]) -> StageSpec:
        """A placeholder that waits until one of the hidden stages may have come to be."""
        outermost = self.generators[hidden[0]]
        while outermost not in self.shown:
            assert outermost is not None
            outermost = self.generators[outermost]
        position = self.positions[name.split("/after")[0]]
        return _placeholder(name, (outermost,), position)

    def _stage(self, stage: TraceStage, parents: tuple[str, ...]) -> StageSpec:
        return StageSpec(
            stage_id=stage.id,
            name=stage.name,
            kind=StageKind.LLM if stage.is_llm else StageKind.TOOL,
            occurrence=self.occurrences[stage.id],
            parents=parents,
            requirement=LLM if stage.is_llm else TOOL,
            position=self.positions[stage.id],
            max_attempts=MAX_ATTEMPTS,
            generated_by=stage.generated_by,
            width_by=stage.width_by,
        )


class Workload:
    """Planner and load of a simulation, and its oracle."""

    def __init__(self, jobs: Iterable[TraceJob], work: WorkModel) -> None:
        self._jobs = jobs
        self._work = work
        self._active: dict[str, _Job] = {}

    def arrivals(self) -> Iterator[JobAdmitted]:
        """Yields the jobs as they arrive; each is remembered until `forget`."""
        for index, job in enumerate(self._jobs):
            # The line makes the id unique: a workload may hold the same recorded job more than once.
            job_id = f"{job.line or index + 1}:{job.job_id}"
            arrival = job.arrival_seconds or 0.0
            known = self._active[job_id] = _Job(job, self._work)
            snapshot = JobSnapshot(
                job_id=job_id,
                application=job.app,
                version=1,
                arrival=arrival,
                order=index,
                structure=job.structure,
                stages=tuple([StageSnapshot(spec=spec) for spec in known.show(None)]),
            )
            yield JobAdmitted(at=arrival, cause="arrival", job=snapshot)

    def unfold(self, request: Unfold, at: float) -> StageUnfolded:
        known = self._active[request.job_id]
        stage_id = request.stage_id
        tasks: tuple[TaskSpec, ...] = ()
        stages: tuple[StageSpec, ...] = ()
        if stage_id in known.by_id:
            tasks = tuple([TaskSpec(prompt_tokens=task.prompt_tokens or 0) for task in known.by_id[stage_id].tasks])
        elif stage_id.endswith("/generates"):
            stages = known.show(stage_id.removesuffix("/generates"))
        elif stage_id.endswith("/after"):
            stages = known.gate(stage_id)
        return StageUnfolded(
            at=at,
            cause=request.cause,
            job_id=request.job_id,
            stage_id=stage_id,
            unfolding=request.unfolding,
            tasks=tasks,
            stages=stages,
        )

    def load(self, dispatch: Dispatch) -> Load:
        """What an attempt has to do, and what it shows when it is done."""
        ref = dispatch.attempt
        known = self._active[ref.job_id]
        task = known.by_id[ref.stage_id].tasks[ref.task_index]
        shows = Measurement(prompt_tokens=task.prompt_tokens or 0, output_tokens=task.output_tokens or 0)
        return Load(known.works[ref.stage_id][ref.task_index], shows)

    def oracle(self, job_id: str) -> Mapping[str, Sequence[float]]:
        """Of an active job: the work of each task of each stage, shown or not."""
        return self._active[job_id].works

    def forget(self, job_id: str) -> None:
        """The job has ended."""
        del self._active[job_id]


def task_work(stage: TraceStage, task: TraceTask, work: WorkModel) -> float:
    """Seconds that the task takes alone."""
    if stage.is_llm:
        return work.work(task.prompt_tokens or 0, task.output_tokens or 0)
    return task.seconds or 0.0


def _generators(job: TraceJob) -> dict[str, str | None]:
    """Which stage's completion makes each stage exist; None: known at arrival.

    A stage may start when its parents are done. So one that does not come after the stage it names as its generator
    counts as known at arrival.
    """
    ancestors: dict[str, set[str]] = {}
    generators: dict[str, str | None] = {}
    needed = any(stage.generated_by is not None for stage in job.stages)
    for stage in job.stages:
        if needed:
            ancestors[stage.id] = {*stage.parents}.union(*(ancestors[parent] for parent in stage.parents))
        generators[stage.id] = stage.generated_by if stage.generated_by in ancestors.get(stage.id, ()) else None
    return generators


def _placeholder(stage_id: str, parents: tuple[str, ...], position: int) -> StageSpec:
    return StageSpec(stage_id=stage_id, name=stage_id, kind=StageKind.DYNAMIC, parents=parents, position=position)
