"""What the simulator's commands share: options, reading files, refusals, JSON, progress."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import click
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from llmsched.cli.exits import CommandFailed, Exit
from services.profiler.core.calibration import Calibration
from services.profiler.core.statistics import ApplicationStatistics, Statistics, WorkModel
from services.profiler.core.trace import TraceError, TraceJob, read_history
from services.scheduler.core import PolicySettings, UnknownPolicy, make_policy
from services.scheduler.core.policies import BY_PROFILE
from services.scheduler.core.policies.base import Knowledge
from simulator.cluster import ClusterShape
from simulator.compare.study import Knows, knows
from simulator.compare.summary import NothingToCompare
from simulator.generate.errors import RecipeError
from simulator.generate.recording import open_trace, trace_files
from simulator.history import History
from simulator.recordings import BUILTIN, FOLDER
from simulator.trouble import Trouble
from simulator.variants import label, parse

_F = TypeVar("_F", bound=Callable[..., Any])

Count = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Factor = Annotated[float, Field(ge=1, strict=True, allow_inf_nan=False)]


class Finite(click.FloatRange):
    """A number from a range; neither infinity nor NaN, which click lets through."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Whole(click.IntRange):
    """A whole number from a range."""

    name = "integer"


class OutputFile(click.Path):
    """A file to write, `-` for standard output. Refused at once, not after a long run, if it cannot be made."""

    def __init__(self, *, allow_dash: bool = True) -> None:
        super().__init__(dir_okay=False, writable=True, allow_dash=allow_dash, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if str(value) == "-" and not self.allow_dash:
            self.fail("not to standard output: name a file.", param, ctx)
        path = Path(super().convert(value, param, ctx))  # type: ignore[arg-type]  # click cannot say what `path_type` was
        if not os.access(path.parent, os.W_OK | os.X_OK):
            self.fail(f"there is no folder {str(path.parent)!r} to write to.", param, ctx)
        return path


InputFile = click.Path(exists=True, dir_okay=False, path_type=Path)
InputPath = click.Path(exists=True, path_type=Path)  #: a file, or a folder of `*.jsonl`


class Traces(click.Path):
    """Recorded jobs: a file, a folder, or the word for those that ship."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        found: Path = FOLDER if str(value) == BUILTIN else super().convert(value, param, ctx)  # type: ignore[assignment]
        return found


# ---- cluster and work model ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """What the options and the --cluster file say of cluster and work model. None: neither says anything."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    llm_executors: Count | None = None
    max_batch: Annotated[int, Field(ge=1, strict=True)] | None = None
    tool_slots: Count | None = None
    batch_slowdown: Number | None = None
    slowdowns: Annotated[tuple[Factor, ...], Field(min_length=1)] | None = None
    prefill: Number | None = None
    decode: Number | None = None
    policy: str | None = None  #: this and what follows: from a file only, for commands without a say of their own
    application_order: tuple[str, ...] = ()
    ageing: Number | None = None
    about: Any = None  #: whatever the writer of the file wants to tell its readers

    def shape(self, default: ClusterShape | None = None) -> ClusterShape:
        """The cluster; where nothing was said, as in `default`."""
        return replace(default or ClusterShape(), **self._said(ClusterShape))

    @property
    def says_a_cluster(self) -> bool:
        return bool(self._said(ClusterShape))

    def work(self) -> WorkModel:
        return WorkModel(**self._said(WorkModel))

    def _said(self, kind: type) -> dict[str, Any]:
        names = [each.name for each in fields(kind)]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


_FILE = TypeAdapter(ClusterOptions)

_CLUSTER = [
    click.option(
        "--cluster",
        "cluster_file",
        type=InputFile,
        help="JSON with values for the options below, which win; a recipe or a calibration file too.",
    ),
    click.option("--llm-executors", type=Whole(min=0), metavar="L", help="LLM executors.  [2]"),
    click.option("--max-batch", type=Whole(min=1), metavar="B", help="Batch slots of each.  [8]"),
    click.option("--tool-slots", type=Whole(min=0), metavar="R", help="Tool slots in all.  [8, or those of the mix]"),
    click.option(
        "--batch-slowdown",
        type=Finite(min=0),
        metavar="β",
        help="A batch of b takes 1 + β(b - 1) times longer.  [0.05]",
    ),
    click.option(
        "--slowdown-table",
        "slowdowns",
        metavar="FILE|S1,S2,…",
        callback=lambda ctx, param, value: None if value is None else _slowdowns(value),
        help="How many times longer batches of 1, 2, … take, in place of β; the last holds for all larger ones. "
        "A calibration file too.",
    ),
    click.option("--prefill", type=Finite(min=0), metavar="SECONDS", help="Work of a prompt token.  [0.000161]"),
    click.option("--decode", type=Finite(min=0), metavar="SECONDS", help="Work of an output token.  [0.0155]"),
]


def cluster_options(command: _F) -> _F:
    """Adds the options of cluster and work model; the command gets them as one argument `cluster: ClusterOptions`."""
    names = ("llm_executors", "max_batch", "tool_slots", "batch_slowdown", "slowdowns", "prefill", "decode")

    @functools.wraps(command)
    def gathered(*args: Any, cluster_file: Path | None, **options: Any) -> Any:
        said = {name: value for name in names if (value := options.pop(name)) is not None}
        return command(*args, cluster=_merged(cluster_file, said), **options)

    return _decorated(gathered, _CLUSTER)


def read_cluster_file(path: Path) -> ClusterOptions:
    """What a cluster file says. Ends the command if it breaks the format."""
    try:
        return _parsed(path.read_bytes())
    except ValidationError as error:
        refuse([f"{path}: {_field(one['loc'])}: {one['msg']}" for one in error.errors(include_url=False)])


def recipe_warnings(workload: Path, cluster: ClusterOptions) -> list[str]:
    """In what the cluster differs from the one that the workload was made for, where nobody asked for another one."""
    recipe = workload.with_name(f"{workload.name}.recipe.json")
    if cluster.says_a_cluster or not recipe.is_file():
        return []
    try:
        made_for = _parsed(recipe.read_bytes()).shape()
    except (OSError, ValidationError):
        return []
    used = cluster.shape()
    differences = [
        f"{each.name} {getattr(made_for, each.name)}, not {getattr(used, each.name)}"
        for each in fields(ClusterShape)
        if getattr(made_for, each.name) != getattr(used, each.name)
    ]
    if not differences:
        return []
    return [f"{workload} was made for a cluster with {'; '.join(differences)}; for that one: --cluster {recipe}"]


def _parsed(data: bytes) -> ClusterOptions:
    """What a cluster file says, or the recipe of a workload, or a calibration file. Raises ValidationError."""
    try:
        found = json.loads(data)
    except ValueError:
        found = None  # said better below
    if (measured := _calibration(found)) is not None:
        said = {"slowdowns": measured.slowdowns, "prefill": measured.prefill, "decode": measured.step(1)}
        data = json.dumps(said).encode()
    elif isinstance(found, dict) and isinstance(found.get("cluster"), dict) and isinstance(found.get("work"), dict):
        said = {name: value for name, value in (found["cluster"] | found["work"]).items() if value != []}
        data = json.dumps(said).encode()
    return _FILE.validate_json(data)


def _calibration(found: Any) -> Calibration | None:
    """What a calibration file (docs/calibration.md) says of the engine; None if it is no such file."""
    try:
        return Calibration.of_plain(found["calibration"])
    except (KeyError, TypeError, ValueError):
        return None


def _merged(file: Path | None, said: dict[str, Any]) -> ClusterOptions:
    if "batch_slowdown" in said and "slowdowns" in said:
        raise click.UsageError("--batch-slowdown and --slowdown-table say the same thing: give one of them")
    options = read_cluster_file(file) if file else ClusterOptions()
    if "batch_slowdown" in said:
        options = replace(options, slowdowns=None)
    return replace(options, **said)


def _field(location: Sequence[int | str]) -> str:
    return ".".join(map(str, location)) or "the file"


def _slowdowns(text: str) -> tuple[float, ...]:
    """A table from a file or from the command line: numbers between commas or white space, a JSON list too; or a
    calibration file."""
    file = Path(text)
    is_file = file.is_file()
    try:
        numbers = file.read_text(encoding="utf-8") if is_file else text
        if numbers.lstrip().startswith("{") and (measured := _calibration(json.loads(numbers))) is not None:
            return measured.slowdowns
        table = tuple(float(number) for number in numbers.strip().strip("[]").replace(",", " ").split())
    except ValueError as error:
        wrong = "holds something other than numbers" if is_file else "neither a file nor numbers"
        raise click.BadParameter(f"{text}: {wrong}.", param_hint="--slowdown-table") from error
    if not table or not all(1 <= number < math.inf for number in table):
        wrong = "one or more numbers from 1 up are needed: no batch is faster than a task alone."
        raise click.BadParameter(wrong, param_hint="--slowdown-table")
    return table


# ---- trouble -------------------------------------------------------------------------------------------------------


class _Stragglers(click.ParamType):
    name = "P[:FACTOR]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        share, _, factor = str(value).partition(":")
        probability = Finite(min=0, max=1).convert(share, param, ctx)
        return probability, Finite(min=1).convert(factor or Trouble().straggler_factor, param, ctx)


_TROUBLE = [
    click.option(
        "--ageing", type=Finite(min=0), metavar="SECONDS", help="Stages that waited longer go first; 0: never.  [never]"
    ),
    click.option(
        "--failures", type=Finite(min=0, max=1), default=0.0, metavar="P", help="Share of attempts that fail.  [0]"
    ),
    click.option(
        "--stragglers",
        type=_Stragglers(),
        default="0",
        metavar="P[:FACTOR]",
        help="Share of attempts with FACTOR (4) times the work.  [0]",
    ),
]


def trouble_options(command: _F) -> _F:
    """Adds the ageing guard, failures and stragglers; the command gets `ageing: float | None` and `trouble: Trouble`.

    The trouble has no seed yet. `ageing` is 0 where the guard was turned off, None where nothing was said.
    """

    @functools.wraps(command)
    def gathered(*args: Any, failures: float, stragglers: tuple[float, float], **options: Any) -> Any:
        probability, factor = stragglers
        trouble = Trouble(failures=failures, stragglers=probability, straggler_factor=factor)
        return command(*args, trouble=trouble, **options)

    return _decorated(gathered, _TROUBLE)


processes_option = click.option(
    "--processes", type=Whole(min=1), metavar="N", help="Runs at once.  [one for each core]"
)


def _decorated(command: Any, options: Sequence[Callable[[Any], Any]]) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


# ---- files and refusals --------------------------------------------------------------------------------------------


def refuse(problems: Iterable[str]) -> NoReturn:
    """Ends the command: what it was given makes no sense, for these reasons."""
    raise CommandFailed("\n".join(problems), Exit.REFUSED)


def os_problem(error: OSError) -> str:
    """What went wrong with which file."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


@contextmanager
def refusing() -> Iterator[None]:
    """Ends the command with everything that is wrong with what it was given."""
    try:
        yield
    except (RecipeError, TraceError) as error:
        refuse(error.problems)
    except (NothingToCompare, UnknownPolicy) as error:
        refuse([str(error)])
    except OSError as error:
        refuse([os_problem(error)])


def warn(warnings: Iterable[str]) -> None:
    """On standard error."""
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def output_problems(outputs: Mapping[str, Path] | None = None, inputs: Iterable[Path] = ()) -> list[str]:
    """Which files the running command would write over what it reads, or over each other.

    Args: `outputs`, by what to call them, and `inputs` are those that no option of the command names as a file.
    """
    context = click.get_current_context()
    reads, writes = list(inputs), dict(outputs or {})
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if isinstance(parameter.type, OutputFile) and value is not None:
            writes[parameter.opts[0]] = value
        elif isinstance(parameter.type, click.Path) and parameter.type.exists and value is not None:
            reads += [value] if isinstance(value, Path) else value
    problems = []
    for name, path in writes.items():
        for read in reads:
            if any(_same(path, each) for each in ([read] if not read.is_dir() else read.glob("*.jsonl"))):
                problems.append(f"{name} {path} would overwrite what the command reads")
                break
    for (one, path), (other, another) in combinations(writes.items(), 2):
        if _same(path, another):
            problems.append(f"{one} and {other} are the same file")
    return problems


def _same(one: Path, other: Path) -> bool:
    """Whether both are the same file; devices and pipes may serve more than once."""
    if one.exists() and other.exists():
        return one.is_file() and one.samefile(other)
    return one.resolve() == other.resolve()


def read_history_files(paths: Sequence[Path]) -> list[TraceJob]:
    """The jobs of all files and folders. Ends the command with everything that is wrong in any of them."""
    jobs: list[TraceJob] = []
    problems: list[str] = []
    try:
        files = trace_files(paths)
    except RecipeError as error:
        refuse(error.problems)
    for path in files:
        try:
            with open_trace(path) as lines:
                jobs += read_history(lines, str(path))
        except TraceError as error:
            problems += error.problems
    if problems:
        refuse(problems)
    return jobs


def read_known(paths: Sequence[Path], work: WorkModel) -> History | None:
    """What policies may learn from the files; None without files."""
    return History(read_history_files(paths), work) if paths else None


def history_warnings(
    applications: Collection[str], policies: Iterable[PolicySettings], history: History | None
) -> list[str]:
    """What policies that go by a history will miss: all of it, or some applications of the workload."""
    by_history = [policy for policy in policies if knows(policy.name) is Knows.HISTORY]
    if history is None:
        blind = [label(policy) for policy in by_history if policy.name in BY_PROFILE]
        said = "no history (--history FILE): jobs are ranked by the service that they have received under"
        return [f"{said} {', '.join(blind)}"] if blind else []
    unknown = sorted(set(applications) - set(history.statistics.applications)) if by_history else []
    if not unknown:
        return []
    known = len(applications) - len(unknown)
    share = f"{known} of {len(applications)} applications of the workload"
    return [f"the history knows {share}; it does not know: {', '.join(unknown)}"]


def named_policies(words: Iterable[str]) -> list[PolicySettings]:
    """The settings of the policies and variants with these words, each once. Ends the command if one says nothing."""
    found, problems = [], []
    for word in dict.fromkeys(words):
        try:
            found.append(parse(word))
        except UnknownPolicy as error:
            problems.append(str(error))
    if problems:
        refuse(problems)
    return list({label(settings): settings for settings in found}.values())


def policy_problems(policies: Iterable[PolicySettings], history: History | None) -> list[str]:
    """Why these policies cannot run in the simulator, for people; nothing if they can."""
    statistics = None if history is None else history.statistics
    problems: list[str] = []
    for settings in policies:
        try:
            make_policy(settings, Knowledge(statistics=statistics, oracle=_no_job))
        except UnknownPolicy as error:
            hint = " (give one with --history FILE)" if statistics is None and _runs_with_history(settings) else ""
            problems.append(f"{error}{hint}")
    return problems


def _runs_with_history(settings: PolicySettings) -> bool:
    nothing = ApplicationStatistics(totals=(0.0,), stages={})
    try:
        make_policy(settings, Knowledge(statistics=Statistics(applications={}, pooled=nothing), oracle=_no_job))
    except UnknownPolicy:
        return False
    return True


def _no_job(job_id: str) -> NoReturn:
    raise KeyError(job_id)


def write_json(value: object, target: Path) -> None:
    """Writes one JSON document, to standard output if the target is `-`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if target == Path("-"):
        click.echo(text)
    else:
        target.write_text(text + "\n", encoding="utf-8")


# ---- progress ------------------------------------------------------------------------------------------------------


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error while `total` runs go on, on terminals only; call what it gives after each of them."""
    console = Console(stderr=True)
    done = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    left = (TextColumn("left"), TimeRemainingColumn())
    with Progress(*done, *left, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=total)
        yield lambda: shown.advance(task)
