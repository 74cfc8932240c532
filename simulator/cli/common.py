"""What the simulator's commands share: options, reading files, refusals, JSON, progress."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import click
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from llmsched.cli.exits import CommandFailed, Exit
from services.profiler.core.history import learn
from services.profiler.core.statistics import ApplicationStatistics, Statistics, WorkModel
from services.profiler.core.trace import TraceError, TraceJob, read_history
from services.scheduler.core import PolicySettings, UnknownPolicy, make_policy
from services.scheduler.core.policies.base import Knowledge
from simulator.cluster import ClusterShape
from simulator.trouble import Trouble

_F = TypeVar("_F", bound=Callable[..., Any])

Count = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]


class Finite(click.FloatRange):
    """A number from a range; neither infinity nor NaN, which click lets through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class OutputFile(click.Path):
    """A file to write, `-` for standard output. Refused at once, not after a long run, if it cannot be made."""

    def __init__(self, *, allow_dash: bool = True) -> None:
        super().__init__(dir_okay=False, writable=True, allow_dash=allow_dash, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(super().convert(value, param, ctx))  # type: ignore[arg-type]  # click cannot say what `path_type` was
        if not os.access(path.parent, os.W_OK | os.X_OK):
            self.fail(f"there is no folder {str(path.parent)!r} to write to.", param, ctx)
        return path


InputFile = click.Path(exists=True, dir_okay=False, path_type=Path)


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

    def work(self) -> WorkModel:
        return WorkModel(**self._said(WorkModel))

    def _said(self, kind: type) -> dict[str, Any]:
        names = [each.name for each in fields(kind)]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


_FILE = TypeAdapter(ClusterOptions)

_CLUSTER = [
    click.option(
        "--cluster", "cluster_file", type=InputFile, help="JSON with values for the options below; these win."
    ),
    click.option("--llm-executors", type=click.IntRange(min=0), metavar="L", help="LLM executors.  [2]"),
    click.option("--max-batch", type=click.IntRange(min=1), metavar="B", help="Batch slots of each.  [8]"),
    click.option("--tool-slots", type=click.IntRange(min=0), metavar="R", help="Tool slots in all.  [8]"),
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
        help="How many times longer batches of 1, 2, … take, in place of β; the last holds for all larger ones.",
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
        return _FILE.validate_json(path.read_bytes())
    except ValidationError as error:
        refuse([f"{path}: {_field(one['loc'])}: {one['msg']}" for one in error.errors(include_url=False)])


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
    """A table from a file or from the command line: numbers between commas or white space, a JSON list too."""
    try:
        if Path(text).is_file():
            text = Path(text).read_text(encoding="utf-8")
        table = tuple(float(number) for number in text.strip().strip("[]").replace(",", " ").split())
    except ValueError as error:
        raise click.BadParameter(f"{error}: neither a file nor numbers.", param_hint="--slowdown-table") from error
    if not table or not all(0 < number < math.inf for number in table):
        raise click.BadParameter("one or more numbers above 0 are needed.", param_hint="--slowdown-table")
    return table


# ---- trouble -------------------------------------------------------------------------------------------------------


class _Stragglers(click.ParamType):
    name = "P[:FACTOR]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        share, _, factor = str(value).partition(":")
        probability = Finite(min=0, max=1).convert(share, param, ctx)
        return probability, Finite(min=0).convert(factor or Trouble().straggler_factor, param, ctx)


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
    "--processes", type=click.IntRange(min=1), metavar="N", help="Runs at once.  [one for each core]"
)


def _decorated(command: Any, options: Sequence[Callable[[Any], Any]]) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


# ---- files and refusals --------------------------------------------------------------------------------------------


def refuse(problems: Iterable[str]) -> NoReturn:
    """Ends the command: what it was given makes no sense, for these reasons."""
    raise CommandFailed("\n".join(problems), Exit.REFUSED)


def read_history_files(paths: Sequence[Path]) -> list[TraceJob]:
    """The jobs of all files. Ends the command with everything that is wrong in any of them."""
    jobs: list[TraceJob] = []
    problems: list[str] = []
    for path in paths:
        try:
            with path.open("rb") as lines:
                jobs += read_history(lines, str(path))
        except TraceError as error:
            problems += error.problems
    if problems:
        refuse(problems)
    return jobs


def learn_history(paths: Sequence[Path], work: WorkModel) -> Statistics | None:
    """What policies may learn from the files; None without files."""
    return learn(read_history_files(paths), work) if paths else None


def policy_problems(policies: Iterable[PolicySettings], statistics: Statistics | None) -> list[str]:
    """Why these policies cannot run in the simulator, for people; nothing if they can."""
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
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task(what, total=total)
        yield lambda: shown.advance(task)
