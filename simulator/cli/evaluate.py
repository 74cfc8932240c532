"""`llmsched reproduce llmsched`: the policies of this project against all others, ablations, and beliefs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from simulator.cli.common import (
    InputPath,
    OutputFile,
    Whole,
    output_problems,
    processes_option,
    progress,
    refuse,
    refusing,
    write_json,
)
from simulator.cli.provenance import command, commit, machine, versions
from simulator.compare.source import Source
from simulator.compare.study import Condition, Study, StudyRun, carry_out
from simulator.evaluation import beliefs, files, sheets
from simulator.evaluation.figures import figures
from simulator.evaluation.markdown import NoSuchPart, part, replaced
from simulator.evaluation.plan import QUICK, Scale, ablations_study, baselines, policies_study
from simulator.evaluation.targets import targets
from simulator.generate import MIXES, Arrivals, Population, choose
from simulator.generate.tool_times import tool_time_files
from simulator.history import History

PARTS = ("policies", "ablations", "beliefs")


class _JobsOfMix(click.ParamType):
    name = "MIX=N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        mix, _, number = str(value).partition("=")
        if mix not in MIXES:
            self.fail(f"no mix {mix!r}; there are: {', '.join(MIXES)}", param, ctx)
        text: Any = number  # click wants what it converts to be of the type that it converts to
        return mix, Whole(min=1).convert(text, param, ctx)


@click.command()
@click.option(
    "--traces", multiple=True, type=InputPath, help="Recorded jobs to simulate in place of the built-in ones."
)
@click.option("--history", "histories", multiple=True, type=InputPath, help="Recorded jobs that policies learn from.")
@click.option("--tool-times", metavar="MODEL", help="constant:S, lognormal:MEDIAN,SIGMA or recorded:FILE,…")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this; repeatable.  [all]")
@click.option("--seeds", type=Whole(min=1), metavar="N", help="Workloads of each mix and load.  [5]")
@click.option("--seed", "first_seed", type=int, default=0, show_default=True, help="The first of the seeds.")
@click.option("--jobs", type=Whole(min=1), metavar="N", help="In each workload.  [400]")
@click.option("--ablation-seeds", type=Whole(min=1), metavar="N", help="The same for ablations.  [5]")
@click.option("--ablation-jobs", type=Whole(min=1), metavar="N", help="The same for ablations.  [100]")
@click.option(
    "--at-most",
    multiple=True,
    type=_JobsOfMix(),
    metavar="MIX=N",
    help="Fewer jobs in the workloads of a mix, whose jobs take long to simulate; repeatable.",
)
@click.option("--quick", is_flag=True, help="A minute's worth: too little to learn from, enough to see it work.")
@click.option("--application-order", metavar="APP,APP,…", help="For ps-tcs: first served first.  [the poster's]")
@processes_option
@click.option("--json", "json_file", type=OutputFile(), help="All results as JSON; `-` for standard output.")
@click.option("--markdown", "page", type=OutputFile(allow_dash=False), help="Page whose parts of results are replaced.")
@click.option("--name", default="llmsched", show_default=True, help="What parts of the page begin with.")
def evaluate(
    traces: tuple[Path, ...],
    histories: tuple[Path, ...],
    tool_times: str | None,
    parts: tuple[str, ...],
    application_order: str | None,
    first_seed: int,
    processes: int | None,
    json_file: Path | None,
    page: Path | None,
    name: str,
    **scale: Any,
) -> None:
    """Hold llmsched and gittins against every other policy, on four mixes at three loads.

    Applications are the built-in ones or, with --traces, recorded ones; policies learn from other jobs than those that
    are simulated. Shown are targets, reductions beside the paper's, what each ingredient is worth, and how good beliefs
    are. docs/results.md has the results and explains them.
    """
    _check_usage(traces, histories, tool_times)
    chosen = tuple(dict.fromkeys(parts)) or PARTS
    _check_page(page, name, chosen)
    with refusing():
        source = Source(traces=traces, histories=histories, tool_times=tool_times, arrivals=Arrivals(), jobs=0)
        population, history = source.read(WorkModel())
    assert history is not None  # built-in applications have one, and --traces without one was refused
    order = tuple(filter(None, (application_order or "").split(",")))
    world = _World(source, population, history, order, first_seed, processes, _scale(**scale), commit())
    results: dict[str, Any] = {}
    console = Console(stderr=json_file == Path("-"), highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
    for each in chosen:
        begin = time.perf_counter()
        with refusing():
            tables, results[each] = _MAKERS[each](world)
        facts = world.facts(each, time.perf_counter() - begin)
        for table in tables:
            _print(console, table)
        if page is not None:
            _write(page, f"{name} {each}", part(command(), facts, tables))
        results[each]["made_with"] = facts
    if json_file is not None:
        write_json({"command": command(), "scale": asdict(world.scale), **results}, json_file)


def _check_usage(traces: Sequence[Path], histories: Sequence[Path], tool_times: str | None) -> None:
    if bool(traces) != bool(histories):
        raise click.UsageError("--traces and --history go together: policies must not learn from what is simulated")
    if wrong := output_problems(inputs=tool_time_files(tool_times or "")):
        raise click.UsageError("\n".join(wrong))


def _check_page(page: Path | None, name: str, parts: Sequence[str]) -> None:
    """Ends the command, before anything runs, if a part has no place in the page."""
    if page is None:
        return
    try:
        for each in parts:
            replaced(page.read_text(encoding="utf-8"), f"{name} {each}", "")
    except (OSError, NoSuchPart) as error:
        refuse([f"{page}: {error}"])


def _write(page: Path, name: str, text: str) -> None:
    """Puts the part into the page as it is now: runs take long, and somebody may have edited the rest meanwhile."""
    page.write_text(replaced(page.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def _scale(*, quick: bool, at_most: Sequence[tuple[str, int]], **given: int | None) -> Scale:
    numbers: dict[str, Any] = {name: number for name, number in given.items() if number}
    return replace(QUICK if quick else Scale(), at_most=dict(at_most), **numbers)


@dataclass(frozen=True, slots=True)
class _World:
    """What all parts are made with."""

    source: Source
    population: Population
    history: History
    order: tuple[str, ...]  #: of applications, for ps-tcs
    first_seed: int
    processes: int | None
    scale: Scale
    commit: str

    def run(self, study: Study, jobs_of: Callable[[str], int]) -> list[StudyRun]:
        """Args: `jobs_of`: how many jobs the workloads of a mix have."""

        def workload(condition: Condition) -> Sequence[TraceJob]:
            source = replace(self.source, jobs=jobs_of(condition.mix))
            return source.workload(condition, study, self.population)

        with progress("Simulating", study.runs) as done:
            return carry_out(
                study,
                workload,
                history=self.history,
                processes=self.processes,
                done=done,
            )

    def facts(self, kind: str, wall: float) -> dict[str, str]:
        """What the page says of how a part was made."""
        scale, first = self.scale, self.first_seed
        jobs, jobs_of, seeds = scale.jobs, scale.jobs_of, scale.seeds
        if kind == "ablations":
            jobs, jobs_of, seeds = scale.ablation_jobs, scale.ablation_jobs_of, scale.ablation_seeds
        fewer = [f"{jobs_of(mix)} of {mix}" for mix in scale.at_most if jobs_of(mix) < jobs]
        known = f"{len(self.history.jobs):,} jobs"
        told = ", ".join([f"{jobs} in each workload", *fewer])
        facts = {"jobs": told, "seeds": f"{first} to {first + seeds - 1}", "history": known}
        if kind == "beliefs":
            facts = {"jobs": f"up to {scale.held_out} of each application", "history": known}
        made = {"commit": self.commit, "versions": versions(), "machine": machine()}
        return {**facts, "took": f"{wall / 60:.0f} min" if wall >= 60 else f"{wall:.0f} s", **made}


_Made = tuple[Sequence[sheets.Sheet], dict[str, Any]]


def _policies(world: _World) -> _Made:
    study = policies_study(world.scale, world.first_seed, world.order, world.history.work)
    cells = figures(world.run(study, world.scale.jobs_of), world.scale.resamples)
    others, goals = baselines(), targets(cells, baselines())
    return sheets.policies_sheets(cells, others, goals), files.policies_plain(cells, others, goals)


def _ablations(world: _World) -> _Made:
    study = ablations_study(world.scale, world.first_seed, world.history.work)
    cells = figures(world.run(study, world.scale.ablation_jobs_of), world.scale.resamples)
    return sheets.ablation_sheets(cells), files.ablations_plain(cells)


def _beliefs(world: _World) -> _Made:
    there = choose(world.population)
    held_out = {name: beliefs.spaced(jobs, world.scale.held_out) for name, jobs in there.items()}
    known = world.history.beliefs
    with progress("Scoring beliefs", 2 * sum(map(len, held_out.values()))) as done:
        learnt = beliefs.score(known, held_out, done)
        independent = beliefs.score(known.independent(), held_out, done)
    return sheets.belief_sheets(learnt, independent), files.beliefs_plain(learnt, independent)


_MAKERS: Mapping[str, Callable[[_World], _Made]] = {
    "policies": _policies,
    "ablations": _ablations,
    "beliefs": _beliefs,
}


def _print(console: Console, sheet: sheets.Sheet) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(sheet.columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*row)
    console.print(f"\n{sheet.title}", style="bold")
    console.print(sheet.note, style="dim")
    console.print(table)
