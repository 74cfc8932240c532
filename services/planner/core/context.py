"""What the templates of a stage can see.

Only what the stage waits for is looked up, so that the same template gives the same text however often and however
late it is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count, takewhile

import jinja2

from llmsched.application import DynamicStage, JsonValue, LlmStage, LoopStage, PlanStage, Stage
from llmsched.application.values import Fields, LlmText, Nothing, canonical, plain
from services.planner.core.model import LlmOutput, StageOutput, StageState, ToolOutput
from services.planner.core.place import Place, Scope, retry_of
from services.planner.core.plan import BadPlan, BadReference, Step, fill_in, parse_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The variables of a stage's templates."""

    job_input: Fields
    outputs: Mapping[str, StageOutput]
    scope: Scope  #: of the stage
    extra: Mapping[str, object] = field(default_factory=dict)  #: item, index, error, tools

    def lookup(self, name: str) -> object:
        """The value of a variable. Raises LookupError."""
        if name in self.extra:
            return self.extra[name]
        if name == "input":
            return self.job_input
        scope = self.scope
        while name not in scope.places:
            loop = scope.loop
            if loop is None:
                raise LookupError(name)
            if loop.declared.name == name:
                return self._loop_from_inside(loop, scope.round)
            scope = loop.scope
        return self._stage(scope, name)

    def _stage(self, scope: Scope, name: str) -> object:
        place = scope.places[name]
        output = self.outputs[place.stage_id]
        if output.state is StageState.SKIPPED:
            return Nothing(name=name)
        if isinstance(place.stage, LoopStage):
            rounds = self._rounds(place, self._count(place, place.stage))
            return {"rounds": rounds, "last": rounds[-1], "count": len(rounds)}
        if isinstance(place.stage, DynamicStage):
            return self._dynamic(place, place.stage)
        return self._tasks(place)

    def _loop_from_inside(self, loop: Place, number: int) -> dict[str, object]:
        done = self._rounds(loop, number - 1)
        return {"round": number, "rounds": done, "previous": done[-1] if done else Nothing(name="previous")}

    def _rounds(self, loop: Place, until: int) -> list[dict[str, object]]:
        """The outputs of the first rounds, by stage."""
        scopes = [loop.round(number) for number in range(1, until + 1)]
        return [{name: self._stage(scope, name) for name in scope.places} for scope in scopes]

    def _count(self, loop: Place, stage: LoopStage) -> int:
        """How many rounds were run."""
        ran = (f"{loop.stage_id}/{number}/{stage.body[0].name}" in self.outputs for number in count(1))
        return sum(takewhile(bool, ran))

    def _tasks(self, place: Place) -> object:
        """The output of a stage that ran tasks, or of the fallback that stood in for it."""
        stage_id, stage = place.stage_id, place.stage
        while f"{stage_id}!" in self.outputs and stage.on_error is not None:
            stage_id, stage = f"{stage_id}!", stage.on_error
        output = self.outputs[stage_id]
        if output.state is StageState.SKIPPED:
            return Nothing(name=place.declared.name)
        views = [_view(task, stage, stage_id) for task in output.tasks]
        return views[0] if stage.foreach is None else views

    def steps(self, place: Place, stage: DynamicStage) -> tuple[Step, ...]:
        """The steps of the plan that a dynamic stage runs."""
        planning = place.scope.places[stage.plan]
        while (again := retry_of(planning)).stage_id in self.outputs:
            planning = again
        try:
            # It was checked when it was expanded, and tools may have changed since.
            return parse_plan(*plan_answer(planning, self.outputs), {})
        except BadPlan:
            return ()  # only a plan that keeps going is looked at although it cannot be run

    def step_args(self, place: Place, step: Step) -> dict[str, JsonValue]:
        """The arguments of a step. Raises BadReference."""
        results = {parent: self._step_output(place, parent) for parent in step.parents}
        try:
            return {name: plain(fill_in(value, results)) for name, value in step.args.items()}
        except (jinja2.TemplateError, TypeError) as error:
            raise BadReference(str(error)) from error

    def _dynamic(self, place: Place, stage: DynamicStage) -> dict[str, object]:
        planned = self.steps(place, stage)
        if stage.keep_going:
            # None of them has run if the plan was refused for arguments, which are not checked here.
            planned = tuple(step for step in planned if f"{place.stage_id}/{step.id}" in self.outputs)
        steps = [self._step(place, stage, step) for step in planned]
        return {"steps": steps, "results": {step["id"]: step["output"] for step in steps}}

    def _step(self, place: Place, stage: DynamicStage, step: Step) -> dict[str, JsonValue]:
        """What templates see of a step."""
        failure = self.outputs[f"{place.stage_id}/{step.id}"].failure
        args: JsonValue = dict(step.args) if failure else dict(self.step_args(place, step))
        seen: dict[str, JsonValue] = {
            "id": step.id,
            "tool": step.tool,
            "args": args,
            "output": self._step_output(place, step.id),
        }
        if stage.keep_going:
            seen["error"] = f"{failure.reason}: {failure.message}" if failure else None
        return seen

    def _step_output(self, place: Place, step: str) -> JsonValue:
        output = self.outputs[f"{place.stage_id}/{step}"]
        # Only a step of a plan that keeps going can have failed and be looked at.
        return plain(_view(output.tasks[0], place.stage, step)) if output.tasks else None


def plan_answer(place: Place, outputs: Mapping[str, StageOutput]) -> tuple[PlanStage, LlmOutput]:
    """The plan stage at a place and its answer. Raises LookupError if there is none."""
    answer = outputs[place.stage_id].tasks[0]
    if not isinstance(place.stage, PlanStage) or not isinstance(answer, LlmOutput):
        raise LookupError(place.stage_id)
    return place.stage, answer


def _view(task: LlmOutput | ToolOutput, stage: Stage, stage_id: str) -> object:
    if isinstance(task, ToolOutput):
        return canonical(task.value)
    schema = stage.json_schema if isinstance(stage, LlmStage) else None
    return LlmText(task.text, stage=stage_id, finish_reason=task.finish_reason, schema=schema)
