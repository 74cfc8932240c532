"""`llmsched top`: a cluster at work, in the terminal."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from llmsched.cli import output
from llmsched.cli.cluster import describe
from llmsched.cli.command import Command, Settings, pass_settings
from llmsched.cli.overview import DispatchRate, Overview, follow_decisions, look
from llmsched.client import Client
from llmsched.errors import UnavailableError
from llmsched.types import Executor, ExecutorState, JobState

_MOST_STAGES = 100
_WIDE = 100  #: columns that the whole tables need; narrower terminals get fewer columns
_NARROW = 60


class Frame:
    """An overview, drawn to fit the terminal."""

    def __init__(self, overview: Overview, *, fit_height: bool = False) -> None:
        self._overview = overview
        self._fit_height = fit_height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        head = list(_head(self._overview, width))
        executors = self._overview.cluster.executors if self._overview.cluster else ()
        rows = stages = _MOST_STAGES
        if self._fit_height:
            # Two titles, two headers, two lines that say how many are left out, an empty line each.
            room = max(2, options.size.height - len(head) - 8)
            rows = max(1, min(len(executors), max(room // 2, room - len(self._overview.queue))))
            stages = max(1, room - rows)
        yield from head
        yield Text()
        yield _executors(self._overview, width, rows)
        if len(executors) > rows:
            yield output.text(f"… and {len(executors) - rows} more", "dim")
        yield Text()
        yield _queue(self._overview, width, stages)
        waiting = self._overview.cluster.ready_stages if self._overview.cluster else 0
        shown = min(stages, len(self._overview.queue))
        if waiting > shown:
            yield output.text(f"… and {waiting - shown} more", "dim")


def _head(overview: Overview, width: int) -> Iterator[Text]:
    cluster = overview.cluster
    parts = [f"{overview.time:%H:%M:%S} UTC"]
    if cluster:
        used, slots = _load(cluster.executors)
        parts += [f"slots {used}/{slots}", f"jobs {cluster.active_jobs}", f"waiting {cluster.ready_stages}"]
        parts += [f"running {cluster.running_attempts}", f"policy {describe(cluster.policy)}", f"epoch {cluster.epoch}"]
    yield _line(parts, width, "bold")
    least = "≥" if overview.more_jobs else ""
    parts = [
        f"ended {least}{_rate(overview.jobs_per_minute)} jobs/min",
        f"dispatched {_rate(overview.tasks_per_minute)}/min",
    ]
    parts += [f"{state.lower()} {overview.states[state]}" for state in JobState if overview.states.get(state)]
    yield _line(parts, width)
    for problem in overview.problems:
        yield _line([f"! {problem}"], width, "bold red")


def _load(executors: tuple[Executor, ...]) -> tuple[int, int]:
    there = [each for each in executors if each.state is not ExecutorState.DETACHED]
    return sum(each.used_slots for each in there), sum(each.slots for each in there)


def _executors(overview: Overview, width: int, rows: int) -> Table:
    table = _table(width, ["EXECUTOR", "STATE", "SLOTS"], ["KIND", "WAITING", "TOK/S"], ["LOAD", "LAST SEEN"])
    for each in (overview.cluster.executors if overview.cluster else ())[:rows]:
        speed = overview.speeds.get(each.executor_id)
        cells: list[Text | str] = [output.text(each.executor_id), output.state(each.state)]
        cells.append(f"{each.used_slots}/{each.slots}")
        cells += [each.kind, str(each.engine_waiting or ""), f"{speed:.0f}" if speed else ""]
        cells += [_bar(each.used_slots, each.slots), output.since(each.heartbeat_time)]
        table.add_row(*cells[: len(table.columns)])
    return table


def _queue(overview: Overview, width: int, rows: int) -> Table:
    table = _table(width, ["RANK", "JOB", "STAGE"], ["TASKS", "READY"], ["APPLICATION", "BY"])
    for each in overview.queue[:rows]:
        cells = [str(each.rank), each.job_id, each.stage_id, str(each.waiting_tasks), output.since(each.ready_time)]
        cells += [each.application, each.reason]
        table.add_row(*map(output.text, cells[: len(table.columns)]))
    return table


def _table(width: int, always: list[str], medium: list[str], wide: list[str]) -> Table:
    """A table whose columns depend on the width; a row is one line, whatever is in it."""
    table = Table(box=None, pad_edge=False, header_style="bold", width=width)
    columns = always + (medium if width >= _NARROW else []) + (wide if width >= _WIDE else [])
    # Names give way, so that states and numbers stay whole.
    longest = dict.fromkeys(
        ("EXECUTOR", "JOB", "STAGE", "APPLICATION"), width // 6 if width >= _WIDE else width * 3 // 10
    )
    if width >= _WIDE:
        longest |= {"EXECUTOR": width // 3, "JOB": 36}
    for name in columns:
        ratio = 1 if name in ("BY", "LAST SEEN") else None
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=longest.get(name), ratio=ratio)
    return table


def _bar(used: int, slots: int, width: int = 16) -> str:
    filled = round(width * used / slots) if slots else 0
    return "█" * filled + "·" * (width - filled)


def _line(parts: list[str], width: int, style: str = "") -> Text:
    line = output.text(" · ".join(parts), style)
    line.truncate(width, overflow="ellipsis")
    return line


def _rate(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


@click.command(cls=Command)
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds between two looks."
)
@click.option("--once", is_flag=True, help="One look; in a pipe and with -o json always.")
@pass_settings
def top(settings: Settings, interval: float, once: bool) -> None:
    """Show executors, what waits and why, jobs and rates, again and again, until q or Ctrl-C."""
    console = output.console()

    async def work(client: Client) -> None:
        if once or settings.as_json or not console.is_terminal:
            await _show_once(client, settings, console)
        else:
            await _show_live(client, console, interval)

    settings.run(work)


async def _show_once(client: Client, settings: Settings, console: Console) -> None:
    found = await look(client, DispatchRate(), stages=_MOST_STAGES)
    if found.cluster is None:
        raise UnavailableError("; ".join(found.problems))
    if settings.as_json:
        output.print_json(found)
    else:
        console.print(Frame(found))


async def _show_live(client: Client, console: Console, interval: float) -> None:
    rate = DispatchRate()
    counting = asyncio.create_task(follow_decisions(client, rate))
    with Live(console=console, screen=True, auto_refresh=False) as live, _keys() as quit_asked:
        drawing = asyncio.create_task(_draw(client, rate, live, interval))
        leaving = asyncio.create_task(quit_asked.wait())
        try:
            await asyncio.wait({drawing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if drawing.done():
                drawing.result()  # it ends only with an error
        finally:
            for task in (drawing, leaving, counting):
                task.cancel()
            await asyncio.gather(drawing, leaving, counting, return_exceptions=True)


async def _draw(client: Client, rate: DispatchRate, live: Live, interval: float) -> None:
    while True:
        found = await look(client, rate, stages=_MOST_STAGES)
        live.update(Frame(found, fit_height=True), refresh=True)
        await asyncio.sleep(interval)


@contextmanager
def _keys() -> Iterator[asyncio.Event]:
    """The event is set when q is pressed. Ctrl-C stays what it is."""
    asked = asyncio.Event()
    if not sys.stdin.isatty():
        yield asked
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        typed = os.read(keyboard, 64)
        if not typed:
            loop.remove_reader(keyboard)  # the terminal is gone
        if b"q" in typed.lower():
            asked.set()

    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, pressed)
    try:
        yield asked
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
