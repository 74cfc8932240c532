"""`llmsched reproduce poster`: Table I of the LLMSched poster from the committed fit, beside the published cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from llmsched.cli.exits import CommandFailed, Exit
from simulator.cli.common import OutputFile, processes_option, progress, write_json
from simulator.poster.figures import Histogram, figures
from simulator.poster.published import EXECUTORS, JOBS, POLICIES, role
from simulator.poster.table import Cell, OrderCheck, by_name, measure, order_checks, runs_of, seeds_from
from simulator.poster.world import Fit, committed_fit, jobs

_LABELS: Mapping[str, str] = {"fcfs": "FCFS", "random": "RS", "ps-tcs": "PS-TCS"}


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=12, show_default=True, metavar="N", help="Runs of a cell.")
@processes_option
@click.option("--json", "json_file", type=OutputFile(), help="All results as JSON; `-` for standard output.")
@click.option(
    "--figures",
    "figures_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the two figures as SVG.",
)
def poster(seeds: int, processes: int | None, json_file: Path | None, figures_folder: Path | None) -> None:
    """Compute Table I of the LLMSched poster and show it beside the published one.

    Three applications, 500 jobs, 10 to 40 executors of each kind. Columns 10 and 40 were fitted, 20 and 30 are
    predicted; docs/results.md explains the model. The seeds are others than those of the fit.
    """
    if figures_folder is not None:
        _make_folder(figures_folder)
    fit = committed_fit()
    chosen = seeds_from(seeds)
    with progress("Simulating", runs_of(chosen)) as advance:
        cells = measure(fit.parameters, chosen, processes=processes, done=advance)
    checks = order_checks(cells)
    drawn = figures(chain.from_iterable(jobs(fit.parameters, seed) for seed in chosen))
    if json_file is not None:
        write_json(_report(fit, chosen, cells, checks, drawn), json_file)
    if figures_folder is not None:
        for figure in drawn:
            (figures_folder / f"{figure.name}.svg").write_text(figure.svg(), encoding="utf-8")
    console = Console(stderr=json_file == Path("-"), highlight=False, markup=False)
    _print(console, cells, checks, drawn, seeds)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(f"--figures: {error}", Exit.USAGE) from error


def _report(
    fit: Fit, seeds: Sequence[int], cells: Sequence[Cell], checks: Sequence[OrderCheck], drawn: Sequence[Histogram]
) -> dict[str, Any]:
    return {
        "config": {"jobs": JOBS, "seeds": list(seeds), "parameters": asdict(fit.parameters), "fit": fit.provenance},
        "cells": [cell.as_json() for cell in cells],
        "order": [asdict(check) for check in checks],
        "figures": {figure.name: {str(number): count for number, count in figure.counts.items()} for figure in drawn},
    }


def _print(
    console: Console, cells: Sequence[Cell], checks: Sequence[OrderCheck], drawn: Sequence[Histogram], seeds: int
) -> None:
    if not console.is_terminal:
        console.width = 10_000
    console.print("Table I: mean JCT in seconds: published, measured ± standard deviation between seeds, error")
    console.print(_table(cells))
    predicted = max((cell for cell in cells if cell.role == "predicted"), key=lambda cell: abs(cell.relative_error))
    console.print(
        f"Largest error of a predicted cell: {predicted.relative_error:+.1%}"
        f" ({_LABELS[predicted.policy]} at {predicted.executors})"
    )
    for check in checks:
        holds = "holds" if check.holds else "DOES NOT HOLD"
        console.print(f"PS-TCS < RS < FCFS at {check.executors}: {holds} on average, in {check.seeds} of {seeds} seeds")
    for figure in drawn:
        console.print(f"\n{figure.text()}")


def _table(cells: Sequence[Cell]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for executors in EXECUTORS:
        table.add_column(f"R=L={executors} {role(executors)}", justify="right", no_wrap=True)
    named = by_name(cells)
    for policy in POLICIES:
        row = [named[policy, executors] for executors in EXECUTORS]
        table.add_row(_LABELS[policy], *(_told(cell) for cell in row))
    return table


def _told(cell: Cell) -> str:
    return f"{cell.published:.0f}  {cell.measured:.0f} ± {cell.spread:.0f}  {cell.relative_error:+.1%}"
