"""`llmsched apps dry-run`: what an application would send to models and tools, without any of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from llmsched.application import ApplicationError, ApplicationSpec, load_yaml
from llmsched.tools import InvalidArgumentsError, ToolRegistry, UnknownToolError
from services.executors.engine_sim.schema_values import UnsupportedSchema, value_for
from services.planner.core import dry_run as run_in_memory
from services.planner.core import validate_input
from services.planner.core.dryrun import Answer, DryRun, DryStage, DryTask
from services.planner.core.model import Failure, LlmCall, LlmOutput, Task, ToolCall, ToolInfo, ToolOutput

_REFUSED = 4


@click.command("dry-run")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--input", "job_input", default="{}", help="The job's input as JSON, or @FILE.")
@click.option("--answer", "answers", multiple=True, metavar="STAGE=TEXT", help="What the model answers in a stage.")
@click.option("--run-tools", is_flag=True, help="Call installed tools for real instead of making results up.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def dry_run(file: Path, job_input: str, answers: tuple[str, ...], run_tools: bool, output: str) -> None:
    """Run an application in memory and show every prompt and every call.

    Answers are made up (of the right shape where there is a schema), unless given with --answer. Needs no server.
    """
    try:
        app = load_yaml(file)
    except ApplicationError as error:
        _refuse([str(violation) for violation in error.violations])
    value = _read_input(job_input)
    violations = validate_input(app, value)
    if violations:
        _refuse(
            [f"input.{each.path}: {each.message}" if each.path else f"input: {each.message}" for each in violations]
        )
    tools = ToolRegistry.from_entry_points()
    answerer = _Answerer(dict(_pair(each) for each in answers), tools, run_tools=run_tools)
    catalogue = {
        spec.name: ToolInfo(description=spec.description, signature=spec.signature, args_schema=dict(spec.args_schema))
        for spec in tools
    }
    run = run_in_memory(app, value, answerer.answer, catalogue=catalogue)
    if output == "json":
        click.echo(json.dumps(_plain(run), indent=2, ensure_ascii=False, default=str))
    else:
        _show(app, run)
    sys.exit(1 if run.failure else 0)


class _Answerer:
    """Stands for all models and tools."""

    def __init__(self, texts: Mapping[str, str], tools: ToolRegistry, *, run_tools: bool) -> None:
        self._texts = texts
        self._tools = tools
        self._run_tools = run_tools
        self._random = Random(0)

    def answer(self, asked: DryTask) -> Answer:
        call = asked.task.payload
        if isinstance(call, ToolCall):
            return self._tool(call)
        for name in (asked.stage.stage_id, asked.stage.name):
            if name in self._texts:
                return LlmOutput(text=self._texts[name])
        if call.json_schema is not None:
            try:
                return LlmOutput(text=json.dumps(value_for(call.json_schema, self._random)))
            except UnsupportedSchema as error:
                return Failure(
                    reason="NO_ANSWER", message=f"no answer can be made up ({error}): give one with --answer"
                )
        return LlmOutput(text=f"(answer of {asked.stage.stage_id})")

    def _tool(self, call: ToolCall) -> Answer:
        try:
            spec = self._tools.get(call.tool)
            if self._run_tools:
                return ToolOutput(value=spec.call(dict(call.args)))
            violations = spec.validate_args(dict(call.args))
            if violations:
                raise InvalidArgumentsError(violations)
            return ToolOutput(value=value_for(spec.returns_schema or True, self._random))
        except UnknownToolError as error:
            return Failure(reason="UNKNOWN_TOOL", message=str(error))
        except InvalidArgumentsError as error:
            return Failure(reason="INVALID_ARGUMENTS", message=str(error))
        except Exception as error:  # whatever a tool raises is its answer
            return Failure(reason="TOOL_RAISED", message=f"{type(error).__name__}: {error}")


def _read_input(text: str) -> dict[str, Any]:
    try:
        value = json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--input is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise click.UsageError("--input must be a JSON object")
    return value


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--answer must be STAGE=TEXT, not {text!r}")
    return name, value


def _refuse(problems: list[str]) -> None:
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(_REFUSED)


def _plain(run: DryRun) -> dict[str, Any]:
    return asdict(run)


def _show(app: ApplicationSpec, run: DryRun) -> None:
    tree = Tree(f"{app.application}@{app.version}")
    for stage in run.stages:
        _add(tree, stage)
    console = Console(highlight=False, markup=False)
    console.print(tree)
    if run.failure:
        console.print(Text(f"FAILED {run.failure.reason}: {run.failure.message}", style="red"))
    else:
        console.print(Text("output: " + json.dumps(run.output, ensure_ascii=False, default=str)))


def _add(tree: Tree, stage: DryStage) -> None:
    branch = tree.add(Text(f"{stage.spec.stage_id} {stage.state}", style="red" if stage.failure else "bold"))
    for task, answer in zip(stage.tasks, stage.answers, strict=False):
        branch.add(Text(_describe(task)))
        branch.add(Text(f"→ {_told(answer)}", style="dim"))
    for inner in stage.stages:
        _add(branch, inner)


def _describe(task: Task) -> str:
    call = task.payload
    if isinstance(call, LlmCall):
        return "\n".join(f"[{each.role}] {each.content}" for each in call.messages) or str(call.prompt)
    return f"{call.tool}({json.dumps(dict(call.args), ensure_ascii=False, default=str)})"


def _told(answer: Answer) -> str:
    if isinstance(answer, LlmOutput):
        return answer.text
    if isinstance(answer, ToolOutput):
        return json.dumps(answer.value, ensure_ascii=False, default=str)
    return f"{answer.reason}: {answer.message}"
