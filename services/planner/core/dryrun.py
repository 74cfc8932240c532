"""Runs a whole job in memory: shows what would be sent to models and tools, without any.

The caller answers each task. Stages follow the same rules as in the scheduler: a stage is unfolded when its parents
are done, is done when its tasks or the stages that it added are, and a stage that failed is replaced by its fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from llmsched.application import ApplicationSpec, JsonValue
from services.planner.core.compile import compile_job
from services.planner.core.model import (
    OUTPUT_STAGE,
    Failure,
    Item,
    Limits,
    LlmOutput,
    StageOutput,
    StageSpec,
    StageState,
    Task,
    ToolInfo,
    ToolOutput,
    Unfolding,
)
from services.planner.core.unfold import unfold

Answer = LlmOutput | ToolOutput | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class DryTask:
    """A task that wants an answer."""

    stage: StageSpec
    index: int  #: in the stage, from 0
    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class DryStage:
    """A stage that was run, with the stages that its unfolding added."""

    spec: StageSpec
    state: StageState
    tasks: tuple[Task, ...] = ()
    answers: tuple[Answer, ...] = ()
    failure: Failure | None = None  #: kept when a fallback stood in
    stages: tuple[DryStage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a job did."""

    stages: tuple[DryStage, ...]  #: in the order in which they ended; `$output` is left out
    output: JsonValue = None
    failure: Failure | None = None  #: of the job; None: it succeeded


def dry_run(
    app: ApplicationSpec,
    job_input: Mapping[str, JsonValue],
    answer: Callable[[DryTask], Answer],
    *,
    catalogue: Mapping[str, ToolInfo] | None = None,
    limits: Limits | None = None,
) -> DryRun:
    """Run a job; `answer` stands for all models and tools, and may return a Failure. The application must be valid."""
    specs, _ = compile_job(app)
    run = _Run(app, job_input, answer, catalogue or {}, limits or Limits())
    stages: list[DryStage] = []
    output: JsonValue = None
    failure: Failure | None = None
    try:
        run.stages(specs[:-1], stages)
        output = run.unfold(Item(stage_id=OUTPUT_STAGE)).output
    except _Failed as error:
        failure = error.failure
    return DryRun(stages=tuple(stages), output=output, failure=failure)


class _Failed(Exception):
    """A stage failed for good."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class _Run:
    app: ApplicationSpec
    job_input: Mapping[str, JsonValue]
    answer: Callable[[DryTask], Answer]
    catalogue: Mapping[str, ToolInfo]
    limits: Limits
    outputs: dict[str, StageOutput] = field(default_factory=dict)

    def unfold(self, item: Item) -> Unfolding:
        """Raises _Failed."""
        unfolding = unfold(self.app, self.job_input, self.outputs, item, catalogue=self.catalogue, limits=self.limits)
        if unfolding.failure is not None:
            raise _Failed(unfolding.failure)
        return unfolding

    def stages(self, specs: Iterable[StageSpec], into: list[DryStage]) -> None:
        """Runs stages, which come parents first. Raises _Failed; what was run until then is in `into`."""
        for spec in specs:
            progress = _Progress(spec)
            try:
                self._stage(progress)
            finally:
                into.append(progress.result())

    def _stage(self, stage: _Progress) -> None:
        try:
            self._unfold(stage)
        except _Failed as error:
            stage.state, stage.failure = StageState.FAILED, error.failure
            self._store(stage)
            if not stage.spec.recoverable:
                raise
            fallback = Item(stage_id=stage.spec.stage_id, unfolding=1, failure=error.failure)
            self.stages(self.unfold(fallback).stages, stage.inner)
            stage.state = StageState.SUCCEEDED
        self._store(stage)

    def _unfold(self, stage: _Progress) -> None:
        again = True
        number = 0
        while again:
            unfolding = self.unfold(Item(stage_id=stage.spec.stage_id, unfolding=number))
            if unfolding.skipped:
                stage.state = StageState.SKIPPED
            self._tasks(stage, unfolding.tasks)
            self.stages(unfolding.stages, stage.inner)
            again, number = unfolding.again, number + 1

    def _tasks(self, stage: _Progress, tasks: tuple[Task, ...]) -> None:
        for index, task in enumerate(tasks):
            stage.tasks.append(task)
            answer = self.answer(DryTask(stage=stage.spec, index=index, task=task))
            stage.answers.append(answer)
            if isinstance(answer, Failure):
                raise _Failed(answer)

    def _store(self, stage: _Progress) -> None:
        self.outputs[stage.spec.stage_id] = StageOutput(
            name=stage.spec.name,
            state=stage.state,
            tasks=tuple(answer for answer in stage.answers if not isinstance(answer, Failure)),
            failure=stage.failure,
        )


@dataclass(slots=True)
class _Progress:
    """What a stage has done so far."""

    spec: StageSpec
    state: StageState = StageState.SUCCEEDED
    tasks: list[Task] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failure: Failure | None = None
    inner: list[DryStage] = field(default_factory=list)

    def result(self) -> DryStage:
        return DryStage(
            spec=self.spec,
            state=self.state,
            tasks=tuple(self.tasks),
            answers=tuple(self.answers),
            failure=self.failure,
            stages=tuple(self.inner),
        )
