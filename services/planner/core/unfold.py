"""Turns a ready stage into tasks, or into further stages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from llmsched.application import (
    ApplicationSpec,
    DynamicStage,
    JsonValue,
    LlmStage,
    LoopStage,
    Message,
    PlanStage,
    Retry,
    ToolStage,
)
from llmsched.application.graph import sinks
from llmsched.application.values import Fields, canonical, plain
from services.planner.core.compile import scope_specs, stage_spec
from services.planner.core.context import Context, plan_answer
from services.planner.core.model import (
    OUTPUT_STAGE,
    Item,
    Limits,
    LlmCall,
    LlmOutput,
    StageKind,
    StageOutput,
    StageSpec,
    StageState,
    Task,
    ToolCall,
    ToolInfo,
    Unfolding,
)
from services.planner.core.place import Place, fallback_of, locate, occurrence, retry_of, top
from services.planner.core.plan import BadPlan, BadReference, Step, correction, parse_plan, plan_schema, tools_text
from services.planner.core.render import Renderer, UnfoldError

_CHARACTERS_PER_TOKEN = 4  # of English text, roughly
_TOKENS_PER_MESSAGE = 4  # for the marks around a message of a chat


def estimated_tokens(prompt: str, contents: Sequence[str]) -> int:
    """Tokens of a raw prompt, or of the messages of a chat."""
    tokens = math.ceil(len(prompt) / _CHARACTERS_PER_TOKEN)
    return tokens + sum(math.ceil(len(content) / _CHARACTERS_PER_TOKEN) + _TOKENS_PER_MESSAGE for content in contents)


def unfold(
    app: ApplicationSpec,
    job_input: Mapping[str, JsonValue],
    outputs: Mapping[str, StageOutput],
    item: Item,
    *,
    catalogue: Mapping[str, ToolInfo] | None = None,
    limits: Limits | None = None,
) -> Unfolding:
    """What becomes of a ready stage. The application must be valid.

    `outputs` holds, by stage id, the job's stages that have ended, and those that failed and wait for their fallback.
    `catalogue` describes the tools that plans may name; of a tool that is not in it nothing is known but its name.
    Raises LookupError for a stage that no job of the application can have.
    """
    job = _Job(
        app=app,
        job_input=_input_fields(app, job_input),
        outputs=outputs,
        catalogue=catalogue or {},
        limits=limits or Limits(),
    )
    try:
        if item.stage_id == OUTPUT_STAGE:
            return job.output()
        place = locate(app, item.stage_id)
        return job.recover(place, item) if item.failure is not None else job.unfold(place, item)
    except UnfoldError as error:
        return Unfolding(failure=error.failure)


def _input_fields(app: ApplicationSpec, job_input: Mapping[str, JsonValue]) -> Fields:
    """The input, with fields that the schema names and the job may leave out."""
    properties = app.input.get("properties", {})
    fields = {key: canonical(job_input[key]) for key in sorted(job_input)}
    return Fields(fields, optional=properties if isinstance(properties, dict) else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    app: ApplicationSpec
    job_input: Fields
    outputs: Mapping[str, StageOutput]
    catalogue: Mapping[str, ToolInfo]
    limits: Limits

    def output(self) -> Unfolding:
        """The job's result."""
        template = self.app.output
        if template is None:
            template = {stage.name: f"{{{{ {stage.name} }}}}" for stage in sinks(self.app.stages)}
        context = Context(job_input=self.job_input, outputs=self.outputs, scope=top(self.app))
        value = self._renderer(OUTPUT_STAGE, context).value(template, "output")
        self._size(OUTPUT_STAGE, value)
        return Unfolding(output=value)

    def recover(self, place: Place, item: Item) -> Unfolding:
        """The fallback of a stage that failed. A step of a plan that keeps going has none: it is done as it is."""
        if place.step is not None and isinstance(place.stage, DynamicStage) and place.stage.keep_going:
            return Unfolding()
        if place.stage.on_error is None:
            return Unfolding(failure=item.failure)
        return Unfolding(stages=(stage_spec(fallback_of(place), self.outputs, generated_by=place.stage_id),))

    def unfold(self, place: Place, item: Item) -> Unfolding:
        stage = place.stage
        first = item.unfolding == 0 and place.attempt == 1 and place.step is None
        if stage.when is not None and first:
            context = self._context(place)
            if not self._renderer(place.stage_id, context).condition(stage.when, "when"):
                return Unfolding(skipped=True)
        if isinstance(stage, LoopStage):
            return self._loop(place, stage, item.unfolding)
        if isinstance(stage, DynamicStage):
            step = place.step
            return self._dynamic(place, stage, item.unfolding) if step is None else self._step(place, stage, step)
        return Unfolding(tasks=self._tasks(place, stage))

    # Loops

    def _loop(self, place: Place, stage: LoopStage, done: int) -> Unfolding:
        """The next round, after `done` of them."""
        if done > 0:
            context = Context(job_input=self.job_input, outputs=self.outputs, scope=place.round(done))
            if self._renderer(place.stage_id, context).condition(stage.until, "until"):
                return Unfolding()
        stages = scope_specs(place.round(done + 1), self.outputs)
        return Unfolding(stages=stages, again=done + 1 < stage.max_rounds)

    # Plans

    def _dynamic(self, place: Place, stage: DynamicStage, bad_plans: int) -> Unfolding:
        """The steps of the plan, after `bad_plans` that could not be run."""
        planning = place.scope.places[stage.plan]
        if self.outputs[planning.stage_id].state is StageState.SKIPPED:
            return Unfolding(skipped=True)
        newest = replace(planning, attempt=bad_plans + 1)
        plan, answer = plan_answer(newest, self.outputs)
        try:
            steps = parse_plan(plan, answer, self.catalogue)
        except BadPlan as error:
            if bad_plans >= plan.max_retries and stage.keep_going:
                return Unfolding()
            if bad_plans >= plan.max_retries:
                raise UnfoldError(
                    "INVALID_PLAN",
                    f"stage {place.stage_id}: the plan of {newest.stage_id} cannot be run: {error}",
                    stage=place.stage_id,
                    problems="\n".join(error.problems),
                ) from error
            retry = stage_spec(retry_of(newest), self.outputs, generated_by=newest.stage_id)
            return Unfolding(stages=(replace(retry, parents=(newest.stage_id,)),), again=True)
        return Unfolding(stages=self._step_specs(place, stage, newest.stage_id, steps))

    def _step_specs(
        self, place: Place, stage: DynamicStage, plan_id: str, steps: tuple[Step, ...]
    ) -> tuple[StageSpec, ...]:
        retry = stage.retry or Retry()
        specs: list[StageSpec] = []
        for number, step in enumerate(steps, start=1):
            name = f"{place.name}.{step.tool}"
            spec = StageSpec(
                stage_id=f"{place.stage_id}/{step.id}",
                name=name,
                occurrence=occurrence(name, place.stage_id, self.outputs) + sum(spec.name == name for spec in specs),
                kind=StageKind.TOOL,
                parents=tuple(f"{place.stage_id}/{parent}" for parent in step.parents) or (plan_id,),
                requirement=f"tool:{step.tool}",
                position=place.position + number,
                max_attempts=retry.max_attempts,
                timeout_seconds=None if stage.timeout is None else stage.timeout.total_seconds(),
                backoff_seconds=retry.backoff.total_seconds(),
                recoverable=stage.keep_going,
                generated_by=plan_id,
            )
            specs.append(spec)
        return tuple(specs)

    def _step(self, place: Place, stage: DynamicStage, step_id: str) -> Unfolding:
        """The call of a step that a model planned."""
        context = self._context(place)
        steps = {step.id: step for step in context.steps(place, stage)}
        step = steps[step_id]
        dynamic = replace(place, step=None)
        try:
            call = ToolCall(tool=step.tool, args=context.step_args(dynamic, step))
        except BadReference as error:
            raise UnfoldError(
                "INVALID_PLAN", f"stage {place.stage_id}: {error}", stage=place.stage_id, problems=str(error)
            ) from error
        return Unfolding(tasks=(self._task(place.stage_id, call)[0],))

    # Tasks

    def _tasks(self, place: Place, stage: LlmStage | ToolStage | PlanStage) -> tuple[Task, ...]:
        elements: list[dict[str, JsonValue]] = [{}]
        if stage.foreach is not None:
            renderer = self._renderer(place.stage_id, self._context(place))
            values = renderer.elements(stage.foreach.items, "foreach.items")
            if len(values) > self.limits.max_width:
                raise UnfoldError(
                    "TOO_WIDE",
                    f"stage {place.stage_id}: the list has {len(values)} elements; {self.limits.max_width} are allowed",
                    stage=place.stage_id,
                    width=str(len(values)),
                )
            elements = [{stage.foreach.as_: value, "index": index} for index, value in enumerate(values)]
        tasks: list[Task] = []
        total = 0
        for element in elements:
            renderer = self._renderer(place.stage_id, self._context(place, element))
            task, size = self._task(place.stage_id, self._call(place, stage, renderer))
            total += size
            if total > self.limits.max_stage_bytes:
                self._too_large(place.stage_id, "all its tasks together", total, self.limits.max_stage_bytes)
            tasks.append(task)
        return tuple(tasks)

    def _call(self, place: Place, stage: LlmStage | ToolStage | PlanStage, renderer: Renderer) -> LlmCall | ToolCall:
        if isinstance(stage, ToolStage):
            args = {name: renderer.value(value, f"args.{name}") for name, value in stage.args.items()}
            return ToolCall(tool=stage.call, args=args)
        contents = [
            renderer.text(message.content, f"messages[{number}].content")
            for number, message in enumerate(stage.messages)
        ]
        call = LlmCall(
            prompt=None if stage.prompt is None else renderer.text(stage.prompt, "prompt"),
            messages=tuple(
                Message(role=message.role, content=content)
                for message, content in zip(stage.messages, contents, strict=True)
                if content
            ),
            model=stage.model,
            sampling=stage.sampling,
        )
        if not call.prompt and not call.messages:
            raise UnfoldError("TEMPLATE_ERROR", f"stage {place.stage_id}: its prompt is empty", stage=place.stage_id)
        if isinstance(stage, LlmStage):
            return replace(call, json_schema=stage.json_schema)
        return self._planning_call(place, stage, replace(call, json_schema=plan_schema(stage, self.catalogue)))

    def _planning_call(self, place: Place, stage: PlanStage, call: LlmCall) -> LlmCall:
        """The call; on a further try with the bad plan and what is wrong with it."""
        if place.attempt == 1:
            return call
        _, answer = plan_answer(replace(place, attempt=place.attempt - 1), self.outputs)
        told = correction(self._problems(stage, answer))
        if call.prompt is not None:
            return replace(call, prompt=f"{call.prompt}\n{answer.text}\n\n{told}\n")
        said = [Message(role="assistant", content=answer.text)] if answer.text else []
        return replace(call, messages=(*call.messages, *said, Message(role="user", content=told)))

    def _problems(self, stage: PlanStage, answer: LlmOutput) -> tuple[str, ...]:
        try:
            parse_plan(stage, answer, self.catalogue)
        except BadPlan as error:
            return error.problems
        return ()

    def _task(self, stage_id: str, call: LlmCall | ToolCall) -> tuple[Task, int]:
        """The task, and its size in bytes."""
        if isinstance(call, ToolCall):
            return Task(payload=call), self._size(stage_id, dict(call.args))
        contents = [message.content for message in call.messages]
        size = self._size(stage_id, [call.prompt, *contents, plain(call.json_schema)])
        return Task(payload=call, prompt_tokens=estimated_tokens(call.prompt or "", contents)), size

    # Shared

    def _context(self, place: Place, extra: Mapping[str, object] | None = None) -> Context:
        names = dict(extra or {})
        if isinstance(place.stage, PlanStage):
            names["tools"] = tools_text(place.stage.tools, self.catalogue)
        if place.fallback:
            failed = self.outputs.get(place.stage_id.removesuffix("!"))
            failure = None if failed is None else failed.failure
            names["error"] = {
                "reason": "UNKNOWN" if failure is None else failure.reason,
                "message": "" if failure is None else failure.message,
            }
        return Context(job_input=self.job_input, outputs=self.outputs, scope=place.scope, extra=names)

    def _renderer(self, stage_id: str, context: Context) -> Renderer:
        return Renderer(stage_id, context.lookup, self.limits)

    def _size(self, stage_id: str, value: JsonValue) -> int:
        """Bytes of the value as JSON. Raises UnfoldError if these are too many, or if it cannot be sent."""
        try:
            size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
        except UnicodeEncodeError as error:
            message = f"stage {stage_id}: a text contains a lone surrogate, which UTF-8 cannot encode"
            raise UnfoldError("TEMPLATE_ERROR", message, stage=stage_id) from error
        if size > self.limits.max_payload_bytes:
            self._too_large(stage_id, "what it sends", size, self.limits.max_payload_bytes)
        return size

    def _too_large(self, stage_id: str, what: str, size: int, limit: int) -> NoReturn:
        raise UnfoldError(
            "PAYLOAD_TOO_LARGE",
            f"stage {stage_id}: {what} takes {size} bytes; {limit} are allowed",
            stage=stage_id,
            bytes=str(size),
        )
