"""`llmsched calibrate`: measures an engine's speed by batch size, shows it, and writes it to a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from llmsched.cli.command import Command, Settings, pass_settings
from llmsched.cli.exits import CommandFailed, Exit
from services.executors.calibrate.document import document
from services.executors.calibrate.machine import describe_machine
from services.executors.calibrate.priority import MOST_SLOTS, Priority, priority_behaviour
from services.executors.calibrate.run import Plan, Tell, measure
from services.executors.calibrate.tables import show
from services.executors.llm.engine import Engine, EngineError, EngineInfo, EngineUnavailable
from services.executors.llm.openai import OpenAIEngine, OpenAISettings
from services.executors.llm.sglang import SGLangEngine, SGLangSettings

#: Batch sizes are powers of two up to the engine's slots, and to this.
_LARGEST_DEFAULT = 64
_UNKNOWN_SLOTS = 8


class Numbers(click.ParamType):
    """Whole numbers from 1 up, between commas; given back ascending."""

    name = "N,N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = sorted({int(part) for part in str(value).split(",")})
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers.", param, ctx)
        if numbers[0] < 1:
            self.fail("numbers must be at least 1.", param, ctx)
        return tuple(numbers)


#: What both commands take.
_OPTIONS = (
    click.argument("engine_url", metavar="ENGINE_URL"),
    click.option("--kind", type=click.Choice(["sglang", "openai"]), default="sglang", show_default=True),
    click.option("--batch", "batches", type=Numbers(), help="Batch sizes.  [1,2,4,… up to the engine's slots]"),
    click.option("--tokens", type=click.IntRange(min=8), default=64, show_default=True, help="Length of an answer."),
    click.option(
        "--prompts", type=Numbers(), default="64,256,1024", show_default=True, help="Lengths of prompts in words."
    ),
    click.option(
        "--repeats", type=click.IntRange(min=1), default=2, show_default=True, help="How often everything is done."
    ),
    click.option("--priority/--no-priority", default=True, help="Try what priorities do (needs a full engine)."),
    click.option("--model", help="For an OpenAI-compatible server with several."),
    click.option("--api-key-env", metavar="NAME", help="Environment variable with the engine's API key."),
    click.option(
        "--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds for a request."
    ),
    click.option("--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="JSON file to write."),
)


def _measuring(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("calibrate", help=__doc__)
@_measuring
def calibrate(**options: Any) -> None:
    _calibrate(**options)


@click.command("calibrate", cls=Command)
@_measuring
@click.option("--executor", required=True, metavar="ID", help="The executor whose engine it is.")
@click.option("--store", is_flag=True, help="Let the profiler know, in place of what it knows of this engine.")
@pass_settings
def calibrate_and_store(settings: Settings, executor: str, store: bool, **options: Any) -> None:
    """Measure how fast the engine of an executor is, as `llmsched calibrate` does, and let the profiler know."""
    found = _calibrate(**options)
    if not store:
        click.echo(f"not stored: with --store the profiler knows it as the speed of {executor}", err=True)
        return
    stored = settings.run(lambda client: client.import_calibration(executor, found["report"]))
    click.echo(f"stored as version {stored.version} of the calibration of {stored.executor_id}", err=True)


def _calibrate(
    engine_url: str,
    kind: str,
    batches: tuple[int, ...] | None,
    tokens: int,
    prompts: tuple[int, ...],
    repeats: int,
    priority: bool,
    model: str | None,
    api_key_env: str | None,
    timeout: float,
    out: Path | None,
) -> dict[str, Any]:
    """Measures, shows and writes; returns the calibration file."""

    def plan(slots: int | None) -> Plan:
        sizes = batches or powers_of_two(min(slots or _UNKNOWN_SLOTS, _LARGEST_DEFAULT))
        return Plan(batches=sizes, output_tokens=tokens, prompts=prompts, repeats=repeats, request_seconds=timeout)

    async def run() -> dict[str, Any]:
        engine = _engine(kind, engine_url, model, api_key_env)
        try:
            return await calibrated(engine, kind=kind, plan=plan, priority=priority)
        finally:
            await engine.aclose()

    try:
        found = asyncio.run(run())
    except EngineUnavailable as error:
        raise CommandFailed(f"no engine to calibrate: {error}", Exit.UNAVAILABLE) from error
    except (EngineError, ValueError) as error:
        raise CommandFailed(f"the engine cannot be calibrated: {error}", Exit.REFUSED) from error
    show(found)
    if out is not None:
        out.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        click.echo(f"written to {out}", err=True)
    return found


async def calibrated(
    engine: Engine,
    *,
    kind: str,
    plan: Callable[[int | None], Plan],
    priority: bool,
    machine: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The calibration file of an engine. Raises EngineError.

    `plan` gives what to measure for its number of slots; `machine` is what it runs on, else this one as it is now.
    """
    info = await engine.describe()
    todo = plan(info.max_running)
    why_not = _why_no_priority(info, asked=priority)
    machine = machine or describe_machine()  # before the run: the load of others, not ours
    with _bar(todo.parts + (why_not is None)) as tell:
        measured = await measure(engine, todo, tell)
        behaviour: Priority | str = why_not or ""
        if why_not is None:
            tell("priorities")
            assert info.max_running is not None
            behaviour = await priority_behaviour(engine, info.max_running, request_seconds=todo.request_seconds)
    return document(plan=todo, measured=measured, priority=behaviour, info=info, kind=kind, machine=machine)


def powers_of_two(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... and `most` itself."""
    return tuple(sorted({*(1 << n for n in range(most.bit_length()) if 1 << n <= most), most}))


def _why_no_priority(info: EngineInfo, *, asked: bool) -> str | None:
    if not asked:
        return "not asked for"
    if not info.can_prioritise:
        return "the engine takes no priorities, or was started without them"
    if info.max_running is None or info.max_running > MOST_SLOTS:
        return f"the engine has more than {MOST_SLOTS} slots, or does not say how many"
    return None


def _engine(kind: str, url: str, model: str | None, api_key_env: str | None) -> Engine:
    if kind == "openai":
        return OpenAIEngine(OpenAISettings(url=url, model=model, api_key_env=api_key_env))
    return SGLangEngine(SGLangSettings(url=url, api_key_env=api_key_env))


@contextmanager
def _bar(parts: int) -> Iterator[Tell]:
    """A bar on standard error, on terminals only; each call says what comes next."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=parts)
        done = -1

        def tell(what: str) -> None:
            nonlocal done
            done += 1
            shown.update(task, completed=done, description=what)

        yield tell
