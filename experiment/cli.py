"""`llmsched experiment`: policies compared on the live system, and what comes of it."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from experiment import figures as figures_of
from experiment import report as reports
from experiment.agreement import agreement, measured
from experiment.conduct import Conductor, ExperimentFailed, Watcher
from experiment.config import Config, ConfigError, load
from experiment.phase import Board
from experiment.store import WARM_UP, NoResults, Phase, Store
from llmsched.cli.exits import CommandFailed, Exit
from services.common.drawing import CHART_STYLE, DARK, LIGHT
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceError, TraceJob, write_jobs
from services.up.stack import StackError
from simulator.compare.summary import NothingToCompare
from simulator.generate.errors import RecipeError
from simulator.generate.recording import read_recorded

_Folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def experiment() -> None:
    """Compare policies on the live system: run, report, simulate the same jobs, export, figures."""


@experiment.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.  [.run/NAME]")
@click.option("--check", is_flag=True, help="Only say what is wrong with CONFIG.")
@click.option("--otlp-endpoint", metavar="URL", help="Send traces there, as http://host:4317.")
@click.option("--simulate/--no-simulate", "simulated", default=True, show_default=True, help="Simulate the jobs too.")
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="Simulations at once.  [one for each core]")
def run(
    config: Path, out: Path | None, check: bool, otlp_endpoint: str | None, simulated: bool, processes: int | None
) -> None:
    """Run the experiment that CONFIG describes (docs/experiment.md), or the phases of it that are missing in --out.

    Ctrl-C leaves the phases that have ended. Exit code 4 if something is wrong with CONFIG, or --out holds an
    experiment of another config; 1 if too many jobs failed.
    """
    with _refusing():
        asked = load(config)
    if check:
        click.echo(f"{config}: fine; {_told(asked)}")
        return
    store = Store(out or Path(".run") / asked.name)
    with _refusing():
        store.open(asked)
        with _progress(asked, store) as watcher:
            Conductor(asked, store, watcher=watcher, otlp_endpoint=otlp_endpoint).run()
    _report(store, simulated, processes)


@experiment.command()
@click.argument("folder", type=_Folder)
@click.option("--simulate/--no-simulate", "simulated", default=True, show_default=True, help="Simulate the jobs too.")
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="Simulations at once.  [one for each core]")
def report(folder: Path, simulated: bool, processes: int | None) -> None:
    """Write report, tables and charts of FOLDER anew; of the phases that have ended."""
    _report(Store(folder), simulated, processes)


@experiment.command()
@click.argument("folder", type=_Folder)
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="At once.  [one for each core]")
def simulate(folder: Path, processes: int | None) -> None:
    """Let the simulator predict the mean JCTs of FOLDER's policies, beside those that were measured."""
    store = Store(folder)
    with _refusing():
        config = store.config()
        found = agreement(config, store, processes=processes)
        if not found:
            raise NoResults(f"{folder}: no phase has ended yet")
    store.write_json("agreement.json", {"policies": [one.plain() for one in found]})
    click.echo("\n".join(reports.markdown_agreement(found)))


@experiment.command()
@click.argument("folder", type=_Folder)
@click.option(
    "--out",
    "-o",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="JSON lines; packed, if it ends in .gz.",
)
@click.option("--warm-up/--no-warm-up", default=True, show_default=True, help="With the jobs of the warm-up.")
@click.option(
    "--policy", "policies", multiple=True, metavar="POLICY", help="Only the phases of these; repeatable.  [all]"
)
def export(folder: Path, target: Path, warm_up: bool, policies: tuple[str, ...]) -> None:
    """Write the jobs of all phases of FOLDER that succeeded as one history: docs/trace-format.md.

    No texts: lengths, widths, times. Jobs with the same input, in different phases, share their `group`.
    """
    store = Store(folder)
    with _refusing():
        jobs = _recorded(store, warm_up=warm_up, policies=policies)
        if not jobs:
            raise NoResults(f"{folder}: no phase that was asked for has ended")
        data = "".join(write_jobs(jobs)).encode()
        # Packed without a time: equal jobs give equal files.
        target.write_bytes(gzip.compress(data, mtime=0) if target.suffix == ".gz" else data)
    applications, groups = len({job.app for job in jobs}), len({job.group for job in jobs})
    click.echo(f"{target}: {len(jobs)} jobs of {applications} applications, {groups} different inputs", err=True)


@experiment.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for charts (SVG) and the table.")
def figures(source: Path, out: Path | None) -> None:
    """Show how the jobs of each application differ: rounds, generated stages, widths, tokens, durations.

    SOURCE is the folder of an experiment, or recorded jobs: a file or a folder of the trace format.
    """
    with _refusing():
        jobs, work = _source(source)
    found = figures_of.by_application(jobs, work)
    table = [*figures_of.markdown(found), "", *figures_of.counts_markdown(found)]
    click.echo("\n".join(table))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "figures.md").write_text("\n".join(table) + "\n", encoding="utf-8")
        css = (
            f":root{{color-scheme:light dark;{LIGHT}--c:#0072b2}}"
            f"@media (prefers-color-scheme:dark){{:root{{{DARK}--c:#4ba6e3}}}}{CHART_STYLE}"
        )
        for name, drawing in figures_of.drawings(found).items():
            (out / f"{name}.svg").write_text(drawing.markup(css), encoding="utf-8")


# ---- shared --------------------------------------------------------------------------------------------------------


def _report(store: Store, simulated: bool, processes: int | None) -> None:
    with _refusing():
        config = store.config()
        agreements = agreement(config, store, processes=processes) if simulated else ()
        found = reports.find(store, agreements)
        reports.write(store, found)
    click.echo("\n".join(reports.markdown(found)))
    click.echo(f"\nReport: {store.folder / 'report.html'}")


def _recorded(store: Store, *, warm_up: bool, policies: Sequence[str]) -> list[TraceJob]:
    """Jobs of an experiment as a history, each named by its phase and its own place."""
    config = store.config()
    names = [phase.name for phase in store.phases(config) if not policies or phase.policy in policies]
    if warm_up and store.read(WARM_UP) is not None:
        names.insert(0, WARM_UP)
    return [
        replace(job, arrival_seconds=None, job_id=f"{name}/{place}")
        for name in names
        for place, job in enumerate(store.workload(name))
    ]


def _source(source: Path) -> tuple[list[TraceJob], WorkModel]:
    store = Store(source)
    if (source / "config.yaml").is_file():
        jobs = _recorded(store, warm_up=True, policies=())
        phases = [store.read(WARM_UP), *store.phases(store.config())]
        ended = [phase for phase in phases if phase is not None]
        if not ended:
            raise NoResults(f"{source}: no phase has ended yet")
        return jobs, measured(ended[0])[1]
    recording = read_recorded([source])
    return [job for jobs in recording.jobs.values() for job in jobs], WorkModel()


def _told(config: Config) -> str:
    phases = len(config.policies) * config.repeats
    return (
        f"{config.jobs} jobs of {len(config.applications)} applications in each of {phases} phases"
        f" ({', '.join(config.policies)}), after a warm-up of {config.warm_up.jobs}"
    )


@contextmanager
def _refusing() -> Iterator[None]:
    """Ends the command with a message for everything that is expected to go wrong."""
    try:
        yield
    except (ConfigError, TraceError, RecipeError) as error:
        raise CommandFailed("\n".join(error.problems), Exit.REFUSED) from error
    except NoResults as error:
        raise CommandFailed(str(error), Exit.NOT_FOUND) from error
    except StackError as error:
        raise CommandFailed(str(error), Exit.UNAVAILABLE) from error
    except (ExperimentFailed, NothingToCompare) as error:
        raise CommandFailed(str(error), Exit.JOB_FAILED) from error
    except OSError as error:
        raise CommandFailed(
            f"{error.filename}: {error.strerror}" if error.filename else str(error), Exit.REFUSED
        ) from error


@contextmanager
def _progress(config: Config, store: Store) -> Iterator[Watcher]:
    """A bar on terminals; elsewhere a line for each phase that has ended. All of it on standard error."""
    console = Console(stderr=True, highlight=False)
    total = len(config.policies) * config.repeats + bool(config.warm_up.jobs)
    ended = len(store.phases(config)) + (store.read(WARM_UP) is not None)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[now]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as shown:
        task: list[TaskID] = []
        numbers = {"phase": ended}

        def began(name: str, board: Board) -> None:
            numbers["phase"] += 1
            text = f"{name} ({numbers['phase']} of {total})"
            task[:] = [shown.add_task(text, total=board.jobs, now="starting")]

        def changed(board: Board) -> None:
            if task:
                shown.update(task[0], completed=board.done, now=_now(board))

        def done(phase: Phase) -> None:
            shown.remove_task(task.pop())
            mean = sum(job.jct or 0.0 for job in phase.succeeded) / max(1, len(phase.succeeded))
            console.print(
                f"{phase.name}: {len(phase.succeeded)} of {len(phase.jobs)} jobs succeeded in {phase.seconds:.0f} s,"
                f" mean JCT {mean:.2f} s",
                markup=False,
            )

        yield Watcher(
            began=began,
            changed=changed,
            say=lambda line: console.print(line, style="yellow", markup=False),
            ended=done,
        )


def _now(board: Board) -> str:
    """What the bar says beside the number of jobs that have ended; the time left by how fast they ended so far."""
    text = f"{board.arrived - board.done} in the system, {board.queued} stages wait, {board.running} tasks run"
    text += f", {board.failed} failed" if board.failed else ""
    if board.done and board.samples:
        left = board.samples[-1]["seconds"] / board.done * (board.jobs - board.done)
        text += f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"
    return text
