"""`llmsched compare`: policies on the same workloads, with statistics and a report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from llmsched.cli.output import PipeConsole
from services.common.drawing import seconds
from services.scheduler.core import PolicySettings
from services.scheduler.core.policies import POLICIES
from services.scheduler.core.policies.ps_tcs import PsTcs
from simulator.cli.common import (
    ClusterOptions,
    Finite,
    InputPath,
    Traces,
    Whole,
    cluster_options,
    history_warnings,
    named_policies,
    output_problems,
    policy_problems,
    processes_option,
    progress,
    refuse,
    refusing,
    trouble_options,
    warn,
    write_json,
)
from simulator.cli.provenance import command, machine, versions
from simulator.compare.files import as_json, write_runs, write_table
from simulator.compare.palette import style
from simulator.compare.report import Report, drawings, ranking, render
from simulator.compare.source import Source
from simulator.compare.study import Study, StudyRun, carry_out
from simulator.compare.summary import ORACLE, RESAMPLES, Cell, cells
from simulator.generate import MIXES, Arrivals, Population, RecipeError, choose, reference_cluster
from simulator.generate.tool_times import tool_time_files
from simulator.history import History
from simulator.recordings import FOLDER, mixes_of
from simulator.trouble import Trouble
from simulator.variants import label, name_of

_LOADS = (0.7, 0.95, 1.5)
_FILES = ("results.csv", "table.csv", "results.json", "report.html")


@click.command()
@click.option(
    "--traces",
    multiple=True,
    type=Traces(),
    help="Recorded jobs to simulate: a file, a folder or `builtin`; repeatable.  [builtin]",
)
@click.option("--parametric", is_flag=True, help="Simulate (and learn from) the built-in applications instead.")
@click.option("--history", "histories", multiple=True, type=InputPath, help="Recorded jobs that policies learn from.")
@click.option(
    "--policy",
    "names",
    multiple=True,
    metavar="POLICY",
    help=f"One of: {', '.join(sorted(POLICIES))}, or a variant such as gittins:without=network; repeatable."
    "  [all that can run]",
)
@click.option("--mix", "mixes", multiple=True, type=click.Choice(list(MIXES)), help="Repeatable.  [all that have jobs]")
@click.option("--load", "loads", multiple=True, type=Finite(min=0, min_open=True), help="Repeatable.  [0.7 0.95 1.5]")
@click.option("--seeds", type=Whole(min=1), default=5, show_default=True, help="Workloads of each kind.")
@click.option("--seed", "first_seed", type=int, default=0, show_default=True, help="The first of the seeds.")
@click.option("--jobs", type=Whole(min=1), default=400, show_default=True, help="In each workload.")
@click.option("--arrivals", default="poisson", show_default=True, metavar="poisson|bursty[:CV]")
@click.option("--tool-times", metavar="MODEL", help="constant:S, lognormal:MEDIAN,SIGMA or recorded:FILE,…")
@click.option("--application-order", metavar="APP,APP,…", help=f"For {PsTcs.name}: first served first.")
@click.option("--reference", metavar="POLICY", help=f"What JCTs are divided by, beside the best.  [{ORACLE}]")
@cluster_options
@trouble_options
@processes_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the results.")
def compare(
    traces: tuple[Path, ...],
    parametric: bool,
    histories: tuple[Path, ...],
    names: tuple[str, ...],
    mixes: tuple[str, ...],
    loads: tuple[float, ...],
    seeds: int,
    first_seed: int,
    jobs: int,
    arrivals: str,
    tool_times: str | None,
    application_order: str | None,
    reference: str | None,
    cluster: ClusterOptions,
    ageing: float | None,
    trouble: Trouble,
    processes: int | None,
    out: Path,
) -> None:
    """Compare policies on the same workloads: report.html, table.csv, results.csv, results.json and charts in OUT.

    Each combination of mix, load and seed is a workload that every policy runs. Nothing fails and nothing ages unless
    asked for.
    """
    _check_usage(traces, parametric, tool_times, names, application_order, out)
    traces = traces or (() if parametric else (FOLDER,))
    with refusing():
        source = Source(
            traces=traces, histories=histories, tool_times=tool_times, arrivals=Arrivals.parse(arrivals), jobs=jobs
        )
        population, history = source.read(cluster.work())
    mixes = tuple(dict.fromkeys(mixes)) or tuple(mixes_of(population)) or tuple(MIXES)
    order = tuple(filter(None, (application_order or "").split(","))) or cluster.application_order
    limit = cluster.ageing if ageing is None else ageing
    chosen, left_out = _policies(names, order, limit or None, history)
    study = Study(
        policies=tuple(chosen),
        mixes=mixes,
        loads=tuple(dict.fromkeys(loads)) or _LOADS,
        seeds=tuple(range(first_seed, first_seed + seeds)),
        clusters={mix: cluster.shape(reference_cluster(mix)) for mix in mixes},
        work=cluster.work(),
        trouble=trouble,
    )
    _check(study, population, history, reference)
    applications = {name for mix in mixes for name in choose(population, mix=mix)}
    warnings = history_warnings(applications, study.policies, history)
    warn(warnings)
    _make_folder(out)
    begin = time.perf_counter()
    with refusing(), progress("Simulating", study.runs) as done:
        runs = carry_out(
            study,
            lambda condition: source.workload(condition, study, population),
            history=history,
            processes=processes,
            done=done,
        )
        found = cells(runs, reference=reference or ORACLE)
    facts = _facts(study, source, history, time.perf_counter() - begin)
    if warnings:
        facts["history"] += f"; {'; '.join(warnings)}"
    shown = (reference or ORACLE) if (reference or ORACLE) in found[0].rows else None
    report = Report(cells=found, reference=shown, command=command(), facts=facts, left_out=left_out)
    _write(out, report, runs, study, warnings)
    _print(found, out)


# ---- what to run ---------------------------------------------------------------------------------------------------


def _check_usage(
    traces: Sequence[Path],
    parametric: bool,
    tool_times: str | None,
    names: Sequence[str],
    application_order: str | None,
    out: Path,
) -> None:
    if traces and parametric:
        raise click.UsageError("say what to simulate: --traces FILE|FOLDER, or --parametric, not both")
    if wrong := output_problems(
        {f"--out, the file {name}:": out / name for name in _FILES}, tool_time_files(tool_times or "")
    ):
        raise click.UsageError("\n".join(wrong))
    if application_order and names and PsTcs.name not in map(name_of, names):
        raise click.UsageError(f"--application-order is for --policy {PsTcs.name}")


def _policies(
    names: Sequence[str], order: tuple[str, ...], ageing: float | None, history: History | None
) -> tuple[list[PolicySettings], dict[str, str]]:
    """The policies to compare, and those that nobody named and that cannot run, with the reason."""
    chosen = [
        replace(settings, application_order=order if settings.name == PsTcs.name else (), ageing_seconds=ageing)
        for settings in named_policies(names or POLICIES)
    ]
    if names:
        return chosen, {}
    problems = {settings.name: policy_problems([settings], history) for settings in chosen}
    able = [settings for settings in chosen if not problems[settings.name]]
    return able, {name: found[0] for name, found in problems.items() if found}


def _check(study: Study, population: Population, history: History | None, reference: str | None) -> None:
    problems = policy_problems(study.policies, history)
    if reference is not None and reference not in map(label, study.policies):
        problems.append(f"--reference {reference} is not among the policies that are compared")
    for mix in study.mixes:
        try:
            jobs = [job for group in choose(population, mix=mix).values() for job in group]
        except RecipeError as error:
            problems += error.problems
            continue
        shape = study.clusters[mix]
        stages = [stage for job in jobs for stage in job.stages if stage.tasks]
        if not shape.llm_executors and any(stage.is_llm for stage in stages):
            problems.append(f"mix {mix}: has LLM stages, and there is no LLM executor (--llm-executors)")
        if not shape.tool_slots and any(not stage.is_llm for stage in stages):
            problems.append(f"mix {mix}: has tool stages, and there is no tool slot (--tool-slots)")
    if problems:
        refuse(problems)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--out {out}: {error.strerror}") from error


# ---- what comes of it ----------------------------------------------------------------------------------------------


def _facts(study: Study, source: Source, history: History | None, wall: float) -> dict[str, str]:
    trouble, ageing = study.trouble, study.policies[0].ageing_seconds
    shape = next(iter(study.clusters.values()))
    slowdown = (
        f"s(1), s(2), … = {shape.slowdowns}" if shape.slowdowns else f"s(b) = 1 + {shape.batch_slowdown:g} (b - 1)"
    )
    slots = ", ".join(f"{shape.tool_slots} for {mix}" for mix, shape in study.clusters.items())
    return {
        "jobs": f"{source.jobs} in each workload, {source.arrivals} arrivals; drawn from {_named(source)}",
        "history": f"{len(history.jobs):,} jobs" if history else "none",
        "seeds": f"{study.seeds[0]} to {study.seeds[-1]}; the same workloads for all policies",
        "tool times": source.tool_times or ("as recorded" if source.traces else "as the applications have them"),
        "LLM executors": f"{shape.llm_executors} with {shape.max_batch} batch slots each, {slowdown}",
        "tool slots": slots,
        "LLM work": f"{study.work.prefill:g} s a prompt token, {study.work.decode:g} s an output token",
        "ageing guard": "off" if ageing is None else f"{ageing:g} s",
        "failures": f"{trouble.failures:.0%} of attempts; stragglers: {trouble.stragglers:.0%}",
        "intervals": f"95 %, {RESAMPLES:,} resamples of seeds and of jobs inside them, paired across policies;"
        " expanded percentiles",
        "runs": f"{study.runs}, in {wall:.0f} s",
        "versions": versions(),
        "machine": machine(),
    }


def _named(source: Source) -> str:
    names = ["the recording that ships" if path == FOLDER else str(path) for path in source.traces]
    return ", ".join(names) or "the built-in applications"


def _write(out: Path, report: Report, runs: Sequence[StudyRun], study: Study, warnings: list[str]) -> None:
    config: dict[str, Any] = {"command": report.command, "reference": report.reference, **report.facts}
    config["study"] = asdict(study)
    write_runs(out / "results.csv", runs)
    write_table(out / "table.csv", report.cells, report.reference)
    found = as_json(config, report.cells, runs, report.reference)
    write_json({**found, "warnings": warnings}, out / "results.json")
    (out / "report.html").write_text(render(report), encoding="utf-8")
    charts = out / "charts"
    charts.mkdir(exist_ok=True)
    css = style(ranking(report.cells))
    for name, drawing in drawings(report.cells).items():
        (charts / f"{name}.svg").write_text(drawing.markup(css), encoding="utf-8")


def _print(found: Sequence[Cell], out: Path) -> None:
    """Mean JCTs with their intervals, for people."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("policy")
    for cell in found:
        table.add_column(f"{cell.mix} {cell.load:g}", justify="right")
    for policy in ranking(found):
        row = [cell.rows[policy].to_best.value for cell in found]
        table.add_row(policy, *(f"{ratio:.2f}" for ratio in row))
    best = [f"{seconds(cell.rows[cell.best].mean.value)} s" for cell in found]
    table.add_section()
    table.add_row("best mean JCT", *best, style="bold")
    console = PipeConsole(highlight=False, markup=False)
    if not console.is_terminal:
        console = PipeConsole(highlight=False, markup=False, width=10_000)
    console.print(table)
    click.echo(f"Mean JCT relative to the best policy that does not know the future. Report: {out / 'report.html'}")
