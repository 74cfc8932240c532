"""`llmsched workload`: makes workload files and says what is in them."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from llmsched.cli.output import print_table
from services.profiler.core.trace import TraceError, TraceJob, write_jobs
from simulator.cli.common import (
    ClusterOptions,
    Finite,
    InputFile,
    OutputFile,
    Traces,
    Whole,
    cluster_options,
    os_problem,
    output_problems,
    refuse,
    write_json,
)
from simulator.cluster import ClusterShape
from simulator.generate.applications import PARAMETRIC
from simulator.generate.arrivals import Arrivals
from simulator.generate.describe import Description, FileDescription, Spread, describe_file
from simulator.generate.errors import RecipeError
from simulator.generate.load import Demand, load_of_rate, mean_demand
from simulator.generate.mixes import MIXES, Population, choose, reference_cluster, structure_of
from simulator.generate.population import complete, equal_parts, parametric_population, split_history
from simulator.generate.recipe import Recipe, arrival_rate, iter_workload
from simulator.generate.recording import read_recorded, trace_files
from simulator.generate.tool_times import parse_tool_times, tool_time_files
from simulator.recordings import FOLDER

_Mix = click.Choice(list(MIXES))


class _Process(click.ParamType):
    name = "poisson|bursty[:CV]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Arrivals:
        try:
            return Arrivals.parse(value)
        except RecipeError as error:
            self.fail(str(error), param, ctx)


@click.group()
def workload() -> None:
    """Make workloads of recorded or built-in applications, and see what is in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """What was asked for, as the sidecar of a file repeats it."""

    mix: str | None
    applications: tuple[str, ...]
    traces: tuple[Path, ...]
    parametric: bool
    tool_times: str | None
    jobs: int | None
    load: float | None
    rate: float | None
    arrivals: Arrivals
    seed: int
    out: Path | None
    history_out: Path | None
    history_jobs: int | None

    @property
    def chosen_mix(self) -> str | None:
        return self.mix or (None if self.applications else "mixed")


@workload.command()
@click.option("--mix", type=_Mix, help="Applications by structure.  [mixed, without --app]")
@click.option(
    "--app", "applications", multiple=True, metavar="NAME", help="An application; repeatable, in place of a mix."
)
@click.option(
    "--traces",
    type=Traces(),
    multiple=True,
    help="Recorded jobs: a file, a folder of *.jsonl, or `builtin`; repeatable.  [builtin]",
)
@click.option("--parametric", is_flag=True, help=f"Built-in applications: {', '.join(sorted(PARAMETRIC))}.")
@click.option("--tool-times", metavar="MODEL", help="constant:SECONDS, lognormal:MEDIAN,SIGMA or recorded:FILE,…")
@click.option("--jobs", type=Whole(min=1), metavar="N", help="How many jobs arrive.")
@click.option("--load", type=Finite(min=0, min_open=True), metavar="ρ", help="Arrival rate by load factor …")
@click.option("--rate", type=Finite(min=0, min_open=True), metavar="λ", help="… or in jobs a second.")
@click.option(
    "--arrivals",
    type=_Process(),
    default="poisson",
    show_default=True,
    metavar="poisson|bursty[:CV]",
    help="Arrival process.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of applications, jobs and arrivals.")
@cluster_options
@click.option("--out", type=OutputFile(allow_dash=False), help="The workload; its recipe goes to FILE.recipe.json.")
@click.option("--history-out", type=OutputFile(allow_dash=False), help="Other jobs, for policies to learn from.")
@click.option("--history-jobs", type=Whole(min=1), metavar="N", help="How many of them.")
def make(cluster: ClusterOptions, **options: Any) -> None:
    """Make a workload, a history, or both of them without an input in common.

    Each job draws its application uniformly and then one of its jobs, with replacement. A load factor is one of the
    reference cluster of the mix, where the options of the cluster say nothing else.
    """
    asked = _checked(_Options(**options))
    try:
        recipe = _recipe(asked, cluster)
        everything, inputs = _population(asked)
        history, population = _history(asked, everything)
        rate = arrival_rate(recipe, population) if recipe else None
    except (RecipeError, TraceError) as error:
        refuse(error.problems)
    except OSError as error:
        refuse([os_problem(error)])
    about = _about(asked, population, inputs, recipe, rate)
    if asked.history_out is not None:
        count = _write(asked.history_out, history, about)
        click.echo(f"{asked.history_out}: a history of {count} jobs", err=True)
    if asked.out is not None and recipe is not None:
        count = _write(asked.out, iter_workload(recipe, population, asked.seed), about)
        load = "" if about["load"] is None else f", load factor {about['load']:.4g}"
        click.echo(f"{asked.out}: a workload of {count} jobs, {rate:.4g} a second{load}", err=True)


def _checked(asked: _Options) -> _Options:
    """Ends the command if the options do not go together, with all that does not."""
    problems = []
    if asked.mix and asked.applications:
        problems.append("--mix and --app: give one of them")
    if asked.traces and asked.parametric:
        problems.append("give --traces or --parametric, not both")
    if asked.parametric and asked.tool_times:
        problems.append("--tool-times is for --traces: built-in applications know what their tools take")
    if asked.out is None and asked.history_out is None:
        problems.append("nothing to make: give --out, --history-out or both")
    problems += output_problems(inputs=tool_time_files(asked.tool_times or ""))
    if asked.out is not None and asked.jobs is None:
        problems.append("--out needs --jobs")
    if asked.out is not None and (asked.load is None) == (asked.rate is None):
        problems.append("--out needs --load or --rate, one of them")
    if asked.history_out and asked.history_jobs is None and (asked.parametric or asked.out):
        problems.append("--history-out needs --history-jobs here; only a history of all --traces does not")
    if asked.history_jobs is not None and asked.history_out is None:
        problems.append("--history-jobs is for --history-out")
    if problems:
        raise click.UsageError("\n".join(problems))
    return asked if asked.traces or asked.parametric else replace(asked, traces=(FOLDER,))


def _population(asked: _Options) -> tuple[Population, list[Path]]:
    """The chosen applications, and the files they come from."""
    if asked.parametric:
        made = {name: factory() for name, factory in PARAMETRIC.items()}
        names = choose(parametric_population(made, jobs=1), mix=asked.chosen_mix, applications=asked.applications)
        return parametric_population({name: made[name] for name in names}), []
    recording = read_recorded(asked.traces)
    model = parse_tool_times(asked.tool_times) if asked.tool_times else None
    kept = trace_files(tool_time_files(asked.tool_times)) if asked.tool_times else []
    names = choose(recording.jobs, mix=asked.chosen_mix, applications=asked.applications)
    files = {file: None for name in names for file in recording.files[name]}
    return complete(recording, model, names), [*files, *kept]


def _history(asked: _Options, population: Population) -> tuple[Sequence[TraceJob], Population]:
    """The history that was asked for, and the jobs that are left for the workload."""
    if asked.history_out is None:
        return (), population
    if asked.history_jobs is None:
        return [job for jobs in population.values() for job in jobs], population
    if not asked.parametric:
        return split_history(population, asked.history_jobs, asked.seed)
    parts = equal_parts(asked.history_jobs, population)
    others = {name: PARAMETRIC[name]() for name in population}
    drawn = parametric_population(others, jobs=max(parts.values()), purpose="history")
    return [job for name, jobs in drawn.items() for job in jobs[: parts[name]]], population


def _recipe(asked: _Options, cluster: ClusterOptions) -> Recipe | None:
    """None: a history only."""
    if asked.out is None or asked.jobs is None:
        return None
    return Recipe(
        jobs=asked.jobs,
        load=asked.load,
        rate=asked.rate,
        arrivals=asked.arrivals,
        cluster=cluster.shape(reference_cluster(asked.chosen_mix)),
        work=cluster.work(),
    )


# ---- files ---------------------------------------------------------------------------------------------------------


def _about(
    asked: _Options, population: Population, inputs: Iterable[Path], recipe: Recipe | None, rate: float | None
) -> dict[str, Any]:
    """All that it takes to make the files again, and what comes of it."""
    about: dict[str, Any] = {
        "llmsched": importlib.metadata.version("llmsched"),
        "options": {each.name: _plain(getattr(asked, each.name)) for each in fields(asked)} | {"mix": asked.chosen_mix},
        "inputs": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs},
        "population": {name: {"structure": structure_of(jobs), "jobs": len(jobs)} for name, jobs in population.items()},
    }
    if recipe is not None and rate is not None:
        mean = mean_demand(population, recipe.work)
        about |= {
            "cluster": asdict(recipe.shape),
            "work": asdict(recipe.work),
            "mean_llm_work": mean.llm_work,
            "mean_tool_seconds": mean.tool_seconds,
            "rate": rate,
            "load": _load(rate, mean, recipe) if recipe.load is None else recipe.load,
        }
    return about


def _load(rate: float, mean: Demand, recipe: Recipe) -> float | None:
    try:
        return load_of_rate(rate, mean, recipe.shape)
    except RecipeError:
        return None  # a rate was given, and the cluster of the options cannot serve such jobs


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path | Arrivals) else value


def _write(target: Path, jobs: Iterable[TraceJob], about: Mapping[str, Any]) -> int:
    """Writes the jobs, and beside them how they were made. Returns how many there were."""
    count = 0
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for line in write_jobs(jobs):
            data = line.encode()
            file.write(data)
            digest.update(data)
            count += 1
    write_json({**about, "sha256": digest.hexdigest()}, target.with_name(target.name + ".recipe.json"))
    return count


# ---- describe ------------------------------------------------------------------------------------------------------


@workload.command()
@click.argument("files", type=InputFile, nargs=-1, required=True)
@click.option("--mix", type=_Mix, help="The reference cluster of a mix, where the options below say nothing.")
@cluster_options
@click.option("--json", "json_file", type=OutputFile(), help="All of it as JSON; `-` for standard output.")
def describe(files: tuple[Path, ...], mix: str | None, cluster: ClusterOptions, json_file: Path | None) -> None:
    """Show what is in workloads and histories: sizes, uncertainty, arrivals, load."""
    shape = cluster.shape(reference_cluster(mix))
    found: list[FileDescription] = []
    problems: list[str] = []
    for path in files:
        try:
            found.append(describe_file(path, shape, cluster.work()))
        except TraceError as error:
            problems += error.problems
        except OSError as error:
            problems.append(os_problem(error))
    if problems:
        refuse(problems)
    if json_file is not None:
        report = {"cluster": asdict(shape), "work": asdict(cluster.work()), "files": [asdict(one) for one in found]}
        write_json(report, json_file)
    if json_file != Path("-"):
        for one in found:
            _show(one, shape)


# Two tables, so that each fits a terminal of 80 columns.
_COUNTS = ("APPLICATION", "STRUCTURE", "JOBS", "STAGES", "GEN.", "TASKS", "WIDTH")
_SECONDS = ("APPLICATION", "LLM WORK (s)", "TOOLS (s)")


def _show(one: FileDescription, shape: ClusterShape) -> None:
    click.echo(f"{one.file}: {one.kind} of {one.all.jobs} jobs")
    if (arrivals := one.arrivals) is not None:
        load = "no load factor" if arrivals.load is None else f"load factor {arrivals.load:.2f}"
        click.echo(
            f"{arrivals.rate:.4g} jobs/s until {arrivals.last:.0f} s, CV of the gaps {arrivals.cv:.2f}; {load} on"
            f" {_counted(shape.llm_executors, 'LLM executor')} × {_counted(shape.max_batch, 'slot')}"
            f" and {_counted(shape.tool_slots, 'tool slot')}"
        )
        if load != "no load factor":
            click.echo("The load is that of these jobs; that of a recipe is of the population they were drawn from.")
    if one.all.unknown_tool_tasks:
        click.echo(f"{one.all.unknown_tool_tasks} tool tasks have no seconds, and count as 0 here")
    click.echo("A job: mean · p95, of seconds mean · CV · p95. GEN.: stages unknown at arrival")
    several = {**one.applications, "(all)": one.all} if len(one.applications) > 1 else one.applications
    structures = {name: "–" if about is one.all else about.structure for name, about in several.items()}
    print_table(_COUNTS, [_counts(name, structures[name], about) for name, about in several.items()], empty="")
    seconds = [[name, _cell(about.llm_work), _cell(about.tool_seconds)] for name, about in several.items()]
    print_table(_SECONDS, seconds, empty="")
    click.echo()


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _counts(name: str, structure: str, about: Description) -> list[str]:
    stages, tasks, width = (f"{each.mean:.3g} · {each.p95:.3g}" for each in (about.stages, about.tasks, about.width))
    return [name, structure, str(about.jobs), stages, f"{about.generated_stages:.0%}", tasks, width]


def _cell(each: Spread) -> str:
    return f"{each.mean:.3g} · {each.cv:.2f} · {each.p95:.3g}"
