"""Following a job: a live tree on a terminal, plain lines in a pipe, JSON lines for programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol

import click
from rich.console import Console
from rich.live import Live
from rich.tree import Tree

from llmsched import events
from llmsched.cli import output
from llmsched.cli.command import Command, Settings
from llmsched.cli.jobs import ended
from llmsched.cli.left import Forecast, told
from llmsched.cli.tree import failure_line, job_tree
from llmsched.client import Client
from llmsched.events import Event, JobChanged, OutputDelta, Snapshot, StageChanged, TaskChanged
from llmsched.types import Failure, Job, Prediction, TaskState

_TAIL = 200
"""Characters of running text that the live tree shows per stage."""


class View(Protocol):
    """Something that shows events as they come."""

    def show(self, event: Event, job: Job) -> None:
        """Show an event; `job` is the job after it."""

    def left(self, prediction: Prediction | None) -> None:
        """Show what the job still needs; None: nobody knows."""

    def end(self, job: Job) -> None:
        """Show the job as it ended, with what no event tells: its token usage."""


class JsonView:
    """One JSON object per event: `event` names its kind, the rest are the event's fields."""

    def show(self, event: Event, job: Job) -> None:
        kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
        output.print_json_line({"event": kind, **output.jsonable(event)})

    def left(self, prediction: Prediction | None) -> None:
        if prediction is not None:
            output.print_json_line({"event": "prediction", **output.jsonable(prediction)})

    def end(self, job: Job) -> None:
        pass


class PlainView:
    """One line per change, with the seconds since the job was submitted."""

    def left(self, prediction: Prediction | None) -> None:
        if prediction is not None:
            click.echo(f"{'':>9}  left: {told(prediction)}")

    def show(self, event: Event, job: Job) -> None:
        match event:
            case Snapshot():
                self._line(event, job, job.id, f"{output.application(job)} {job.state}", job.failure)
                for stage in job.stages:
                    self._line(event, job, stage.stage_id, stage.state, stage.failure)
            case JobChanged():
                self._line(event, job, job.id, event.state, event.failure)
            case StageChanged(stage=stage):
                self._line(event, job, stage.stage_id, stage.state, stage.failure)
            case TaskChanged(task=task):
                words = f"{task.state} attempt {task.attempt} {task.executor}" if task.attempt else task.state
                self._line(event, job, f"{event.stage_id}[{task.index}]", words, task.failure)
            case OutputDelta():
                shown = event.text.replace("\n", "\\n")
                self._line(event, job, f"{event.stage_id}[{event.task_index}]", f"> {shown}", None)

    def end(self, job: Job) -> None:
        pass

    def _line(self, event: Event, job: Job, subject: str, words: str, failure: Failure | None) -> None:
        passed = event.time - job.create_time if event.time and job.create_time else None
        seconds = f"{passed.total_seconds():.3f}" if passed else ""
        why = f" {failure.reason}: {failure.message}" if failure else ""
        click.echo(output.printable(f"{seconds:>9}  {subject}  {words}{why}".replace("\n", " ")))


class LiveView:
    """A tree that changes in place, with the last words of stages that write. Rich draws it several times a second,
    so that spans grow while nothing happens."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._texts: dict[tuple[str, int], tuple[int, str]] = {}
        self._left: Prediction | None = None

    def left(self, prediction: Prediction | None) -> None:
        self._left = prediction

    def show(self, event: Event, job: Job) -> None:
        self._job = job
        match event:
            case OutputDelta():
                key = (event.stage_id, event.task_index)
                attempt, written = self._texts.get(key, (0, ""))
                # A new attempt writes its text from the beginning.
                kept = written if attempt == event.attempt else ""
                self._texts[key] = (event.attempt, (kept + event.text)[-_TAIL:])
            case TaskChanged(task=task) if task.state is not TaskState.RUNNING:
                self._texts.pop((event.stage_id, task.index), None)

    def end(self, job: Job) -> None:
        self._job, self._left = job, None

    def __rich__(self) -> Tree:
        tails = {stage_id: " ".join(text.split()) for (stage_id, _), (_, text) in self._texts.items()}
        tree = job_tree(self._job, tails=tails)
        if self._left is not None and not self._job.state.ended:
            tree.add(output.text(f"left: {told(self._left)}", "dim"))
        return tree


@contextmanager
def view(job: Job, settings: Settings, console: Console) -> Iterator[View]:
    """The view that suits where the output goes."""
    if settings.as_json:
        yield JsonView()
    elif console.is_terminal:
        live = LiveView(job)
        with Live(live, console=console, refresh_per_second=8):
            yield live
    else:
        yield PlainView()


async def follow(client: Client, name: str, settings: Settings, *, deltas: bool, eta: bool = True) -> Job:
    """Show what happens to a job until it ends; returns it as it ended."""
    # The snapshot a watch begins with replaces this; asking first says at once that there is no such job.
    job = await client.job(name)
    with view(job, settings, output.console()) as shown:
        async with aclosing(client.watch(name, deltas=deltas)) as stream, Forecast(client.options, wanted=eta) as left:
            async for event in stream:
                job = events.apply(job, event)
                shown.show(event, job)
                if isinstance(event, Snapshot | StageChanged):
                    left.refresh(job, shown.left)
        job = await client.job(name)
        shown.end(job)
    return job


@click.command(cls=Command)
@click.argument("job")
@click.option("--deltas/--no-deltas", default=None, help="Show text while it is written [on a terminal: yes].")
@click.option(
    "--eta/--no-eta", default=True, help="Ask the profiler, at changes of stages, what it still needs.  [yes]"
)
@click.pass_context
def watch(ctx: click.Context, job: str, deltas: bool | None, eta: bool) -> None:
    """Follow JOB until it ends. Exit code 1 if it failed or was cancelled."""
    settings = ctx.ensure_object(Settings)
    wanted = output.console().is_terminal and not settings.as_json if deltas is None else deltas
    last = settings.run(lambda client: follow(client, job, settings, deltas=wanted, eta=eta))
    if last.failure and not settings.as_json:
        output.console().print(failure_line(last.failure))
    ctx.exit(ended(last))
