"""A workload as the machine's world: jobs that arrive, stages that unfold, work that has to be done.

A job enters with the stages that the trace shows at arrival. What a stage generates stands behind a placeholder (a
DYNAMIC stage, as live) that unfolds when that stage is done. A stage that is shown before its parents waits for a
placeholder too, a gate, which is done when those parents have been shown and are done. Placeholders take no time, and
they give nothing away: a stage that may generate others has one whether or not it does, and the last round of a gate
looks like the ones before it. Jobs are kept only while they are active.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, TraceStage, TraceTask, generators
from services.scheduler.core.effects import Dispatch, Unfold
from services.scheduler.core.events import JobAdmitted, StageUnfolded
from services.scheduler.core.model import JobSnapshot, Measurement, StageKind, StageSnapshot, StageSpec, TaskSpec
from simulator.cluster import LLM, TOOL, Load

#: Attempts of a task before its job fails; matters only where failures are simulated.
MAX_ATTEMPTS = 10

#: Structures in which any stage may turn out to be followed by another round.
_CHAINS = ("chain", "chain+width")


class _Placeholder(NamedTuple):
    stage_id: str  #: of the trace: the stage that it stands behind, or the one that waits for it
    gate: bool  #: stands before its stage
    settled: bool = False  #: a gate that waits for all that there is to wait for


class _Job:
    """A job of the trace and what of it has been shown."""

    __slots__ = ("_generated", "_generators", "_named", "_placeholders", "_positions", "job", "stages", "works")

    def __init__(self, job: TraceJob, work: WorkModel) -> None:
        self.job = job
        self.stages = {stage.id: stage for stage in job.stages}
        self.works = {stage.id: tuple([task_work(stage, task, work) for task in stage.tasks]) for stage in job.stages}
        self._positions = {stage.id: position for position, stage in enumerate(job.stages)}
        self._generators = generators(job)
        self._named: Counter[str] = Counter()  # stages that have been shown, by name
        self._generated: dict[str | None, list[TraceStage]] = defaultdict(list)  # what is not shown yet, by generator
        self._placeholders: dict[str, _Placeholder] = {}
        for stage in job.stages:
            self._generated[self._generators[stage.id]].append(stage)

    def show(self, generator: str | None) -> tuple[StageSpec, ...]:
        """The stages that exist once `generator` is done (None: at arrival), each once, with their placeholders."""
        specs: list[StageSpec] = []
        for stage in self._generated.pop(generator, ()):
            parents = tuple([parent for parent in stage.parents if self._is_shown(parent)])
            if len(parents) < len(stage.parents):
                specs.append(self._gate(stage.id))
                parents = (*parents, specs[-1].stage_id)
            specs.append(self._spec(stage, parents))
            if stage.id in self._generated or self._may_generate(stage):
                specs.append(self._placeholder("then", _Placeholder(stage.id, gate=False), (stage.id,)))
        return tuple(specs)

    def unfold(self, placeholder_id: str) -> tuple[StageSpec, ...]:
        """What a placeholder turns into."""
        stage_id, gate, settled = self._placeholders[placeholder_id]
        if not gate:
            return self.show(stage_id)
        return () if settled else (self._gate(stage_id),)

    def _is_shown(self, stage_id: str) -> bool:
        return self._generators[stage_id] not in self._generated

    def _may_generate(self, stage: TraceStage) -> bool:
        """Whether the kind of the stage and the structure of its job say that stages may follow from it."""
        return stage.kind == "plan" or self.job.structure in _CHAINS

    def _gate(self, stage_id: str) -> StageSpec:
        """A placeholder for the parents of a stage: waits for those that are shown, and for what leads to the others.

        Each of the others comes after its generator, so nothing waits longer than it has to.
        """
        parents = self.stages[stage_id].parents
        waits = dict.fromkeys([self._latest_shown(parent) for parent in parents])
        settled = all(self._is_shown(parent) for parent in parents)
        return self._placeholder("before", _Placeholder(stage_id, gate=True, settled=settled), tuple(waits))

    def _latest_shown(self, stage_id: str) -> str:
        """The stage, or else the nearest of its generator, that one's generator and so on that has been shown."""
        while not self._is_shown(stage_id):
            generator = self._generators[stage_id]
            assert generator is not None  # what has no generator is shown at arrival
            stage_id = generator
        return stage_id

    def _placeholder(self, what: str, placeholder: _Placeholder, parents: tuple[str, ...]) -> StageSpec:
        number = len(self._placeholders) + 1
        name = f"{what} {placeholder.stage_id}#{number}"
        while name in self.stages:  # a stage of the trace may have any name
            name += "#"
        self._placeholders[name] = placeholder
        position = self._positions[placeholder.stage_id]
        return StageSpec(stage_id=name, name=name, kind=StageKind.DYNAMIC, parents=parents, position=position)

    def _spec(self, stage: TraceStage, parents: tuple[str, ...]) -> StageSpec:
        # Numbered as they are shown: a place in the line would tell of stages that are still hidden.
        occurrence = self._named[stage.name]
        self._named[stage.name] += 1
        return StageSpec(
            stage_id=stage.id,
            name=stage.name,
            kind=StageKind.LLM if stage.is_llm else StageKind.TOOL,
            occurrence=occurrence,
            parents=parents,
            requirement=LLM if stage.is_llm else TOOL,
            position=self._positions[stage.id],
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
        """Yields the jobs as they arrive; each is remembered until `forget`.

        Raises:
            ValueError: a job without arrival, one that arrives before an earlier one, or a task of unknown length.
        """
        latest = 0.0
        for index, job in enumerate(self._jobs):
            # A workload may hold the same recorded job more than once, so its name alone will not do.
            job_id = f"{index + 1}:{job.job_id}"
            arrival = job.arrival_seconds
            if arrival is None or arrival < latest:
                raise ValueError(f"job {job_id} of the workload arrives at {arrival}, the one before it at {latest}")
            latest = arrival
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
        stage = known.stages.get(request.stage_id)
        tasks = (
            () if stage is None else tuple([TaskSpec(prompt_tokens=task.prompt_tokens or 0) for task in stage.tasks])
        )
        return StageUnfolded(
            at=at,
            cause=request.cause,
            job_id=request.job_id,
            stage_id=request.stage_id,
            unfolding=request.unfolding,
            tasks=tasks,
            stages=known.unfold(request.stage_id) if stage is None else (),
        )

    def load(self, dispatch: Dispatch) -> Load:
        """What an attempt has to do, and what it shows when it is done."""
        ref = dispatch.attempt
        known = self._active[ref.job_id]
        task = known.stages[ref.stage_id].tasks[ref.task_index]
        shows = Measurement(prompt_tokens=task.prompt_tokens or 0, output_tokens=task.output_tokens or 0)
        return Load(known.works[ref.stage_id][ref.task_index], shows)

    def oracle(self, job_id: str) -> Mapping[str, Sequence[float]]:
        """Of an active job: the work of each task of each stage, shown or not."""
        return self._active[job_id].works

    def forget(self, job_id: str) -> TraceJob:
        """The job has ended. Returns what the trace has of it."""
        return self._active.pop(job_id).job


def task_work(stage: TraceStage, task: TraceTask, work: WorkModel) -> float:
    """Seconds that the task takes alone. Raises ValueError if its tokens or its seconds are unknown."""
    if not stage.is_llm and task.seconds is not None:
        return task.seconds
    if stage.is_llm and task.prompt_tokens is not None and task.output_tokens is not None:
        return work.work(task.prompt_tokens, task.output_tokens)
    raise ValueError(f"stage {stage.id!r} has a task of unknown length: {task}")
