"""From a recorded job to the stages of a trace: placeholders go, what waited for them waits for what they stood for.

A placeholder (a loop, the steps of a plan, the output) runs nothing. It is done when its parents are, and the stages
that its latest unfolding added; what it adds can start only when all is done that it waited for until then. A stage
that failed and has a fallback is such a placeholder too, besides what it ran itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable

from services.profiler.core.trace import TraceStage, TraceTask
from services.scheduler.core.model import StageKind, TaskSnapshot
from services.scheduler.export.jobs import RecordedJob, RecordedStage


def trace_stages(job: RecordedJob, plans: Collection[str]) -> tuple[TraceStage, ...]:
    """The stages that ran or could have run, parents first; else by their place in the application.

    `plans` names the LLM stages whose output creates stages. A stage that was skipped, and one that a rerun has taken
    over, has no tasks. Of a stage that failed, only the tasks that succeeded before are there.
    """
    graph = _Graph(job)
    return tuple([_trace_stage(job, stage_id, graph, plans) for stage_id in graph.order])


def _trace_stage(job: RecordedJob, stage_id: str, graph: _Graph, plans: Collection[str]) -> TraceStage:
    stage = job.stages[stage_id]
    spec, parents = stage.spec, graph.parents[stage_id]
    is_llm = spec.kind is StageKind.LLM
    tasks = [] if job.taken_over(stage) else [_task(task, is_llm) for task in stage.tasks if task.measurement]
    width_by = graph.before(spec.width_by, stage_id)
    if not tasks and width_by is None and parents:
        width_by = parents[-1]  # what its condition, or its failure, was known from
    return TraceStage(
        id=spec.stage_id,
        name=spec.name,
        kind=("plan" if spec.name in plans else "llm") if is_llm else "tool",
        parents=parents,
        tasks=tuple(tasks),
        generated_by=graph.before(spec.generated_by, stage_id),
        width_by=width_by,
    )


def _task(task: TaskSnapshot, is_llm: bool) -> TraceTask:
    """With the seconds that it held a slot, from the dispatch of the attempt that succeeded to its end."""
    assert task.measurement is not None
    seconds = task.measurement.total_seconds
    if task.started_at is not None and task.ended_at is not None:
        seconds = task.ended_at - task.started_at
    seconds = round(max(0.0, seconds), 6)
    if not is_llm:
        return TraceTask(seconds=seconds)
    prompt_tokens = task.measurement.prompt_tokens or task.spec.prompt_tokens
    return TraceTask(prompt_tokens=prompt_tokens, output_tokens=task.measurement.output_tokens, seconds=seconds)


class _Graph:
    """The job's graph without its placeholders."""

    def __init__(self, job: RecordedJob) -> None:
        self._stages = job.stages
        self._needs: dict[str, frozenset[str]] = {}
        self._done: dict[str, frozenset[str]] = {}
        places = {stage_id: (stage.spec.position, place) for place, (stage_id, stage) in enumerate(job.stages.items())}
        for stage_id in sorted(places, key=places.__getitem__):  # parents first, so that recursion stays shallow
            self.done(stage_id)
        real = [stage_id for stage_id, stage in job.stages.items() if not stage.is_placeholder]
        needs = {stage_id: self.needs(stage_id) for stage_id in real}
        self.order = _topological(needs, places)
        self._bits = {stage_id: 1 << index for index, stage_id in enumerate(self.order)}
        self._ancestors: dict[str, int] = {}  #: as bits, since a chain of thousands has millions of ancestors
        self.parents: dict[str, tuple[str, ...]] = {}
        for stage_id in self.order:
            self.parents[stage_id] = self._add(stage_id, needs[stage_id])

    def needs(self, stage_id: str) -> frozenset[str]:
        """The stages, no placeholders, that must be done before this one can start."""
        if stage_id not in self._needs:
            stage = self._stages[stage_id]
            found: set[str] = set()
            for parent in (*stage.spec.parents, *self._after(stage)):
                found |= self.done(parent)
            if stage.origin is not None and not self._stages[stage.origin.adder].is_placeholder:
                found.add(stage.origin.adder)  # a fallback comes after what failed
            self._needs[stage_id] = frozenset(found)
        return self._needs[stage_id]

    def done(self, stage_id: str) -> frozenset[str]:
        """The stages, no placeholders, that must be done for this one to be done."""
        if stage_id not in self._done:
            stage = self._stages[stage_id]
            found = set(self.needs(stage_id)) if stage.is_placeholder else {stage_id}
            for added in stage.waits_on:
                found |= self.done(added)
            self._done[stage_id] = frozenset(found)
        return self._done[stage_id]

    def before(self, named: str | None, stage_id: str) -> str | None:
        """The stage that stands for `named` among those before a stage: the last of what a placeholder stood for."""
        if named is None or named not in self._stages:
            return None
        candidates = {named} if named in self._bits else self.done(named)
        earlier = [one for one in candidates if self._bits[one] & self._ancestors[stage_id]]
        return max(earlier, key=self._bits.__getitem__, default=None)

    def _after(self, stage: RecordedStage) -> Iterable[str]:
        return () if stage.origin is None else stage.origin.after

    def _add(self, stage_id: str, needs: Collection[str]) -> tuple[str, ...]:
        """Takes in a stage after all before it. Returns those of its needs that no other need implies."""
        implied = 0
        for need in needs:
            implied |= self._ancestors[need]
        parents = sorted((need for need in needs if not self._bits[need] & implied), key=self._bits.__getitem__)
        for need in needs:
            implied |= self._bits[need]
        self._ancestors[stage_id] = implied
        return tuple(parents)


def _topological(needs: dict[str, frozenset[str]], places: dict[str, tuple[int, int]]) -> list[str]:
    """All stages, each after its needs; of those that could come next, the one with the smallest place."""
    children: dict[str, list[str]] = {stage_id: [] for stage_id in needs}
    for stage_id, before in needs.items():
        for need in before:
            children[need].append(stage_id)
    missing = {stage_id: len(before) for stage_id, before in needs.items()}
    ready = [(places[stage_id], stage_id) for stage_id, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        stage_id = heapq.heappop(ready)[1]
        order.append(stage_id)
        for child in children[stage_id]:
            missing[child] -= 1
            if missing[child] == 0:
                heapq.heappush(ready, (places[child], child))
    return order


def plan_names(job: RecordedJob) -> set[str]:
    """Names of the LLM stages whose output created stages of this job."""
    if job.structure != "generated":
        return set()
    added: dict[tuple[str, int], set[str]] = {}
    for stage in job.stages.values():
        if stage.origin is not None:
            added.setdefault((stage.origin.adder, stage.origin.unfolding), set()).add(stage.spec.name)
    found: set[str] = set()
    for stage in job.stages.values():
        generator = job.stages.get(stage.spec.generated_by or "")
        if generator is None or stage.origin is None or generator.spec.kind is not StageKind.LLM:
            continue
        adder = job.stages[stage.origin.adder]
        # The last stage of a loop's round generates the next round, itself among it; and what is nested in that round
        # has the same generator.
        repeats = generator.spec.name in added[stage.origin.adder, stage.origin.unfolding]
        inherited = adder.spec.generated_by == generator.spec.stage_id
        if adder.is_placeholder and not repeats and not inherited:
            found.add(generator.spec.name)
    return found
