"""`llmsched up` and `llmsched down`: a whole cluster on this machine, in the foreground, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console
from rich.status import Status
from rich.table import Table

from llmsched.cli.exits import CommandFailed, Exit
from services.common.settings import mistakes
from services.scheduler.core.policies import POLICIES
from services.scheduler.core.policies.clairvoyant_srpt import ClairvoyantSrpt
from services.scheduler.settings import SchedulerSettings
from services.up.cluster import LocalCluster
from services.up.phoenix import Phoenix, prepare
from services.up.ready import Findings, look
from services.up.stack import KNOWN_ENGINES, Stack, StackError, StackOptions, build

DEFAULT_DIRECTORY = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "llmsched"
#: All but the one that must know the future.
_POLICIES = sorted(POLICIES.keys() - {ClairvoyantSrpt.name})
_console = Console(stderr=True)


def _key_values(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise click.BadParameter(f"must be name=value: {', '.join(wrong)}")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Data and logs; a second start goes on with what is there.",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    default=("sim",),
    show_default=True,
    help=f"One LLM executor each: {', '.join(KNOWN_ENGINES)}, the URL of an SGLang server, or openai+URL.",
)
@click.option("--engine-arg", "engine_arguments", multiple=True, help="Passed to engines that are started.")
@click.option("--slots", type=click.IntRange(min=1), help="Batch slots of each LLM executor.")
@click.option("--tool-executors", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--tool-slots", type=click.IntRange(min=1), help="Slots of each tool executor.")
@click.option("--policy", default="fcfs", show_default=True, help=f"One of: {', '.join(_POLICIES)}.")
@click.option("--application-order", default="", help="For ps-tcs: applications, first served first, with commas.")
@click.option("--seed", type=int, default=0, show_default=True, help="For random: another seed, another order.")
@click.option(
    "--history",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Recorded jobs, as JSON lines: what sjf, srtf, hermes and carbyne learn from. Several are one history.",
)
@click.option(
    "--ageing",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Seconds after which a waiting stage goes first; 0: never.",
)
@click.option("--standbys", type=click.IntRange(min=0), default=0, show_default=True, help="Further schedulers.")
@click.option("--planner", default="127.0.0.1:7411", show_default=True, help="Address; port 0 takes a free one.")
@click.option("--scheduler", default="127.0.0.1:7412", show_default=True, help="Address; port 0 takes a free one.")
@click.option("--profiler", default="127.0.0.1:7413", show_default=True, help="Address; port 0 takes a free one.")
@click.option("--redis-url", envvar="LLMSCHED_REDIS_URL", help="A Redis of yours instead of the embedded Valkey.")
@click.option(
    "--appendfsync",
    type=click.Choice(["everysec", "always"]),
    default="everysec",
    show_default=True,
    help="When the embedded Valkey writes: `always` loses nothing, `everysec` the last second (two on slow disks).",
)
@click.option("--event-log", type=click.Path(path_type=Path), help="Every event and decision, as JSON lines.")
@click.option("--set", "settings", multiple=True, callback=_key_values, help="Scheduler setting, as lease_seconds=3.")
@click.option("--tracing", is_flag=True, help="Start Phoenix and send it one trace per job.")
@click.option("--otlp-endpoint", help="Send traces there, as http://host:4317.")
@click.option("--prometheus", is_flag=True, help="Serve metrics on a port per service.")
@click.option("--wait", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds to become ready.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def up(
    directory: Path,
    engines: tuple[str, ...],
    engine_arguments: tuple[str, ...],
    slots: int | None,
    tool_executors: int,
    tool_slots: int | None,
    policy: str,
    application_order: str,
    seed: int,
    history: tuple[Path, ...],
    ageing: float,
    standbys: int,
    planner: str,
    scheduler: str,
    profiler: str,
    redis_url: str | None,
    appendfsync: str,
    event_log: Path | None,
    settings: dict[str, str],
    tracing: bool,
    otlp_endpoint: str | None,
    prometheus: bool,
    wait: float,
    log_level: str,
) -> None:
    """Start everything on this machine and watch over it until Ctrl-C."""
    scheduler_settings = {
        "policy": policy,
        "application_order": application_order,
        "seed": str(seed),
        "history": ",".join(map(str, history)),
        "ageing_seconds": str(ageing),
        "event_log": str(event_log or ""),
        **settings,
    }
    asked = _check(scheduler_settings)
    try:
        phoenix = prepare(directory) if tracing else None
        options = StackOptions(
            directory=directory,
            planner=planner,
            scheduler=scheduler,
            profiler=profiler,
            standbys=standbys,
            redis_url=redis_url,
            appendfsync=appendfsync,
            engines=engines,
            engine_arguments=engine_arguments,
            slots=slots,
            tool_executors=tool_executors,
            tool_slots=tool_slots,
            scheduler_settings=scheduler_settings,
            otlp_endpoint=phoenix.endpoint if phoenix else otlp_endpoint,
            prometheus=prometheus,
            log_level=log_level,
        )
        with _pid_file(directory):
            asyncio.run(_run(options, asked, phoenix, wait))
    except StackError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--directory", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
def down(directory: Path) -> None:
    """End the `llmsched up` that runs in a directory, and wait for it."""
    pid = _running_pid(directory)
    if pid is None:
        click.echo(f"nothing runs in {directory}", err=True)
        return
    os.kill(pid, signal.SIGTERM)
    while _running_pid(directory) == pid:
        time.sleep(0.1)
    click.echo("ended")


def _check(settings: Mapping[str, str]) -> SchedulerSettings:
    """What the schedulers will go by. Refuses at once what each of them would refuse at its start, and settings that it
    would not even look at."""
    unknown = sorted(settings.keys() - SchedulerSettings.model_fields.keys())
    problems = [f"{name}: the scheduler has no such setting" for name in unknown]
    try:
        checked = SchedulerSettings.model_validate(settings)
    except ValidationError as error:
        problems += mistakes(error, str)
    if problems:
        raise CommandFailed("\n".join(problems), Exit.REFUSED)
    return checked


async def _run(options: StackOptions, asked: SchedulerSettings, phoenix: Phoenix | None, wait: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stack = build(options)
    cluster = LocalCluster(stack, options.directory, on_event=lambda line: _console.print(f"[yellow]{line}"))
    if phoenix:
        await cluster.supervisor.start(phoenix.process)
    async with cluster:
        with _console.status("starting …") as status:
            ready = asyncio.create_task(_ready(cluster, phoenix, wait, status))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait([ready, stopped], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not ready.done():
                ready.cancel()
                return
            ready.result()
        async with cluster.client() as client:
            findings = await look(client, asked, stack.redis_url)
        _show(stack, findings, options.directory, phoenix.page if phoenix else "")
        await stop.wait()
        _console.print("ending …")


async def _ready(cluster: LocalCluster, phoenix: Phoenix | None, wait: float, status: Status) -> None:
    await cluster.wait_ready(wait, progress=lambda missing: status.update(f"waiting for {missing} …"))
    if phoenix:
        status.update("waiting for Phoenix …")
        await phoenix.wait_ready(wait)


def _show(stack: Stack, findings: Findings, directory: Path, phoenix: str) -> None:
    table = Table(title="LLMSched is ready", show_header=False)
    table.add_row("planner (clients)", stack.planner)
    table.add_row("scheduler (operators)", ", ".join(stack.schedulers))
    table.add_row("profiler (operators)", stack.profiler)
    table.add_row("state", stack.redis_url)
    table.add_row("executors", ", ".join(stack.executors))
    table.add_row("policy", findings.policy)
    if findings.history:
        table.add_row("history", findings.history)
    for service, address in stack.metrics.items():
        table.add_row(f"metrics of {service}", f"http://{address}/metrics")
    if phoenix:
        table.add_row("traces", f"{phoenix} (one: {phoenix}/redirects/traces/TRACE)")
    table.add_row("logs", str(directory / "logs"))
    table.add_row("end", "Ctrl-C, or `llmsched down`")
    _console.print(table)
    for note in findings.notes:
        _console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    # For scripts: one line on standard output once everything is attached.
    schedulers = ",".join(stack.schedulers)
    traces = f" traces={phoenix}" if phoenix else ""
    print(f"ready planner={stack.planner} scheduler={schedulers} profiler={stack.profiler}{traces}", flush=True)


@contextlib.contextmanager
def _pid_file(directory: Path) -> Iterator[None]:
    """Marks the directory as in use. Raises StackError if another one runs there."""
    directory.mkdir(parents=True, exist_ok=True)
    other = _running_pid(directory)
    if other is not None:
        raise StackError(f"`llmsched up` runs in {directory} already (process {other}); end it with `llmsched down`")
    path = directory / "up.pid"
    path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _running_pid(directory: Path) -> int | None:
    try:
        pid = int((directory / "up.pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


if __name__ == "__main__":
    sys.exit(up())
