"""`llmsched simulate`: a workload under one or more policies, in virtual time."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import fsum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.table import Table

from llmsched.cli.exits import CommandFailed, Exit
from llmsched.cli.output import PipeConsole
from services.profiler.core.trace import TraceError, TraceJob, read_workload
from services.scheduler.core import POLICIES, PolicySettings
from services.scheduler.core.policies.ps_tcs import PsTcs
from simulator.cli.common import (
    ClusterOptions,
    InputFile,
    InputPath,
    OutputFile,
    cluster_options,
    history_warnings,
    named_policies,
    output_problems,
    policy_problems,
    processes_option,
    progress,
    read_known,
    recipe_warnings,
    refuse,
    refusing,
    trouble_options,
    warn,
    write_json,
)
from simulator.cli.parameters import Parameters, parameter_options
from simulator.cluster import ClusterShape
from simulator.generate import Recipe, load_population, make_workload
from simulator.history import History
from simulator.parallel import Task, run_all
from simulator.recordings import BUILTIN, FOLDER, halves
from simulator.run import RunResult, RunSettings
from simulator.trouble import Trouble
from simulator.variants import label

#: Of the workload that is made where none is given.
_RECORDED_JOBS, _RECORDED_LOAD = 400, 0.95


@click.command()
@click.argument("workload", type=InputFile, required=False)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="POLICY",
    help=f"One of: {', '.join(sorted(POLICIES))}, or a variant such as gittins:without=network.",
)
@click.option("--application-order", metavar="APP,APP,…", help=f"For {PsTcs.name}: first served first.")
@parameter_options
@click.option(
    "--history",
    "histories",
    type=InputPath,
    multiple=True,
    help="Recorded jobs that policies learn from, or a folder of *.jsonl; repeatable.",
)
@cluster_options
@trouble_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of the policy `random`, failures, stragglers.")
@processes_option
@click.option("--json", "json_file", type=OutputFile(), help="All results as JSON; `-` for standard output.")
@click.option("--events", "events", type=OutputFile(allow_dash=False), help="Everything that happens, as JSON lines.")
def simulate(
    workload: Path | None,
    policies: tuple[str, ...],
    application_order: str | None,
    parameters: Parameters,
    histories: tuple[Path, ...],
    cluster: ClusterOptions,
    ageing: float | None,
    trouble: Trouble,
    seed: int,
    processes: int | None,
    json_file: Path | None,
    events: Path | None,
) -> None:
    """Run WORKLOAD (docs/trace-format.md) under each POLICY and compare job completion times.

    Several --policy give several runs, in parallel. Nothing fails and nothing ages unless asked for. Without WORKLOAD:
    400 jobs of the recording that ships at a load factor of 0.95, policies having learned from other jobs of it.
    """
    if wrong := output_problems():
        raise click.UsageError("\n".join(wrong))
    chosen = _policies(policies, application_order, parameters, cluster, ageing, seed)
    settings = RunSettings(
        policy=chosen[0], cluster=cluster.shape(), work=cluster.work(), trouble=replace(trouble, seed=seed)
    )
    history = read_known(histories, settings.work)
    if workload is None:
        found, known = _recorded_workload(settings, seed)
        history = history or known
    else:
        found = read(workload)
    if problems := [*found.slot_problems(settings.cluster), *policy_problems(chosen, history)]:
        refuse(problems)
    warnings = [
        *history_warnings(found.applications, chosen, history),
        *([] if workload is None else recipe_warnings(workload, cluster)),
    ]
    warn(warnings)
    tasks = [
        Task(
            jobs=found.jobs,
            settings=replace(settings, policy=policy),
            statistics=None if history is None else history.statistics,
            beliefs=None if history is None else history.beliefs_of(policy.name),
        )
        for policy in chosen
    ]
    try:
        results = _run(tasks, processes, events)
    except ValueError as error:  # jobs that never end, or files that are not what they were a moment ago
        raise CommandFailed(str(error), Exit.JOB_FAILED) from error
    if json_file is not None:
        config = _config(settings, chosen, found.name, histories)
        write_json({**_report(config, found, results), "warnings": warnings}, json_file)
    # As wide as the table is: a terminal that is too narrow had better break lines than cut figures.
    _print(found, results, PipeConsole(stderr=json_file == Path("-"), highlight=False, markup=False, width=10_000))


def _policies(
    names: tuple[str, ...],
    order: str | None,
    parameters: Parameters,
    cluster: ClusterOptions,
    ageing: float | None,
    seed: int,
) -> list[PolicySettings]:
    if not names and cluster.policy:
        names = (cluster.policy,)
        click.echo(f"Policy {cluster.policy}, chosen by the --cluster file; --policy chooses others.", err=True)
    if not names:
        raise click.UsageError(f"name at least one policy: --policy {'|'.join(sorted(POLICIES))}")
    if order is not None and PsTcs.name not in names:
        raise click.UsageError(f"--application-order is for --policy {PsTcs.name}")
    applications = cluster.application_order if order is None else tuple(filter(None, order.split(",")))
    limit = cluster.ageing if ageing is None else ageing
    return [
        replace(
            settings,
            application_order=applications if settings.name == PsTcs.name else (),
            ageing_seconds=limit or None,
            seed=seed,
        )
        for settings in parameters.given_to(named_policies(names))
    ]


# ---- the workload --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class WorkloadFile:
    """What there is to know of a workload before it runs."""

    name: str
    jobs: Path | tuple[TraceJob, ...]  #: the file, so that it need not fit into memory; or what came through a pipe
    count: int = 0
    #: Where tasks of each kind come first; what does not appear is not needed.
    needs: dict[str, str] = field(default_factory=dict)
    applications: set[str] = field(default_factory=set)
    #: By policy that really ran: job completion time by the job's place in the workload, from 0.
    recorded: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def note(self, job: TraceJob) -> None:
        self.applications.add(job.app)
        if job.recorded_policy is not None and job.recorded_jct_seconds is not None:
            self.recorded[job.recorded_policy][self.count] = job.recorded_jct_seconds
        if len(self.needs) < 2:
            for index, stage in enumerate(job.stages):
                if stage.tasks:
                    self.needs.setdefault("llm" if stage.is_llm else "tool", f"{self.name}:{job.line}: stages[{index}]")
        self.count += 1

    def slot_problems(self, shape: ClusterShape) -> list[str]:
        """Tasks that nothing could run: their jobs would never end."""
        problems = []
        if "llm" in self.needs and not shape.llm_executors:
            problems.append(f"{self.needs['llm']}: needs an LLM executor, and there is none: --llm-executors")
        if "tool" in self.needs and not shape.tool_slots:
            problems.append(f"{self.needs['tool']}: needs a tool slot, and there is none: --tool-slots")
        return problems


def read(path: Path) -> WorkloadFile:
    """Reads the whole workload once, so that everything wrong with it is known before anything runs."""
    kept: list[TraceJob] = []
    found = WorkloadFile(name=str(path), jobs=path)
    try:
        with path.open("rb") as lines:
            for job in read_workload(lines, found.name):
                found.note(job)
                if not path.is_file():
                    kept.append(job)
    except TraceError as error:
        refuse(error.problems)
    if not path.is_file():
        found.jobs = tuple(kept)  # a pipe can be read only once
    return found


def _recorded_workload(settings: RunSettings, seed: int) -> tuple[WorkloadFile, History]:
    """A workload of the recording that ships, for the cluster of the settings, and what there is to learn from."""
    with refusing():
        known, population = halves(load_population([FOLDER]))
        recipe = Recipe(jobs=_RECORDED_JOBS, load=_RECORDED_LOAD, cluster=settings.cluster, work=settings.work)
        jobs = tuple(make_workload(recipe, population, seed))
    found = WorkloadFile(name=BUILTIN, jobs=jobs)
    for job in jobs:
        found.note(job)
    return found, History(known, settings.work)


# ---- runs ----------------------------------------------------------------------------------------------------------


def _run(tasks: Sequence[Task], processes: int | None, events: Path | None) -> list[RunResult]:
    with progress("Simulating", len(tasks)) as advance:
        if events is None:
            return run_all(tasks, processes=processes, done=lambda *_: advance())
        with TemporaryDirectory(prefix=f".{events.name}-", dir=events.parent) as folder:
            parts = [Path(folder, str(index)) for index in range(len(tasks))]
            noted = [replace(task, events=part) for task, part in zip(tasks, parts, strict=True)]
            results = run_all(noted, processes=processes, done=lambda *_: advance())
            with events.open("wb") as whole:
                for part in parts:
                    with part.open("rb") as piece:
                        shutil.copyfileobj(piece, whole)
        return results


# ---- results -------------------------------------------------------------------------------------------------------


def _config(
    settings: RunSettings, policies: Sequence[PolicySettings], workload: str, histories: Sequence[Path]
) -> dict[str, Any]:
    trouble = asdict(settings.trouble)
    return {
        "workload": workload,
        "policies": [label(policy) for policy in policies],
        "history": [str(path) for path in histories],
        **asdict(settings.cluster),
        **asdict(settings.work),
        "application_order": next((list(one.application_order) for one in policies if one.application_order), []),
        "ageing": policies[0].ageing_seconds,
        **trouble,
    }


def _report(config: Mapping[str, Any], found: WorkloadFile, results: Sequence[RunResult]) -> dict[str, Any]:
    runs = []
    for result in results:
        applications = {name: asdict(summary) for name, summary in result.per_application.items()}
        runs.append(
            {
                "policy": result.policy,
                **asdict(result.summary),
                "failed": result.failed,
                "makespan": result.makespan,
                "llm_utilisation": result.llm_utilisation,
                "tool_utilisation": result.tool_utilisation,
                "per_application": applications,
                "decisions": result.decisions,
                "wall_seconds": result.wall_seconds,
            }
        )
        if result.policy in found.recorded:
            runs[-1]["recorded"] = _recorded(found.recorded[result.policy], result)
    report: dict[str, Any] = {"config": config, "runs": runs}
    if found.recorded:
        report["recorded"] = {policy: _recorded(jcts) for policy, jcts in found.recorded.items()}
    return report


def _recorded(jcts: Mapping[int, float], simulated: RunResult | None = None) -> dict[str, float]:
    """Means over the jobs that really ran under a policy: as recorded, and as simulated where they ended well."""
    found = {"jobs": len(jcts), "mean_jct": fsum(jcts.values()) / len(jcts)}
    if simulated is not None:
        again = [jct for order, _, jct in simulated.jcts if order in jcts]
        found["simulated_mean_jct"] = fsum(again) / len(again) if again else 0.0
    return found


def _print(found: WorkloadFile, results: Sequence[RunResult], console: PipeConsole) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ["MEAN JCT", "P50", "P95", "P99", "MAX", "LLM", "TOOLS", "DECISIONS", "WALL"]
    # Beside a mean of all jobs, only one of all jobs.
    whole = {policy: jcts for policy, jcts in found.recorded.items() if len(jcts) == found.count}
    recorded = ["RECORDED"] if any(result.policy in whole for result in results) else []
    failed = ["FAILED"] if any(result.failed for result in results) else []
    table.add_column("POLICY", no_wrap=True)
    for column in (*columns, *recorded, *failed):
        table.add_column(column, justify="right", no_wrap=True)
    for result in results:
        summary = result.summary
        times = (summary.mean_jct, summary.p50_jct, summary.p95_jct, summary.p99_jct, summary.max_jct)
        cells = [f"{seconds:.2f}" if summary.jobs else "–" for seconds in times]
        cells += [f"{result.llm_utilisation:.1%}", f"{result.tool_utilisation:.1%}"]
        cells += [str(result.decisions), f"{result.wall_seconds:.2f}"]
        if recorded:
            cells.append(f"{_recorded(whole[result.policy])['mean_jct']:.2f}" if result.policy in whole else "")
        if failed:
            cells.append(str(result.failed))
        table.add_row(result.policy, *cells)
    console.print(table)
    simulated = {result.policy: result for result in results}
    for policy, jcts in found.recorded.items():
        means = _recorded(jcts, simulated.get(policy))
        again = f"; the same jobs simulated: {means['simulated_mean_jct']:.2f} s" if policy in simulated else ""
        console.print(f"Recorded: {len(jcts)} jobs under {policy}, mean JCT {means['mean_jct']:.2f} s{again}")
