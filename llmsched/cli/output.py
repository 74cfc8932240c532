"""How values look on a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmsched.types import Job

STYLES = {
    "PENDING": "dim",
    "WAITING": "dim",
    "UNFOLDING": "dim",
    "READY": "yellow",
    "BACKOFF": "yellow",
    "DRAINING": "yellow",
    "SUSPICIOUS": "yellow",
    "CHANGED": "yellow",
    "UNWATCHED": "dim",
    "RUNNING": "cyan",
    "EXPANDED": "cyan",
    "CANCELLING": "magenta",
    "CANCELLED": "magenta",
    "SUCCEEDED": "green",
    "ATTACHED": "green",
    "SKIPPED": "dim",
    "FAILED": "bold red",
    "UNHEALTHY": "bold red",
    "DETACHED": "bold red",
}
"""How a state looks; colours only repeat what the word says."""


class PipeConsole(Console):
    """Leaves a reader that has enough, as in `| head -1`, to the command, which ends with exit code 141."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Standard output. In a pipe lines are as long as they need to be, and there is no colour."""
    made = PipeConsole(highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made = PipeConsole(highlight=False, markup=False, emoji=False, width=10_000)
    return made


def jsonable(value: Any) -> Any:
    """Values of the client as JSON: times are RFC 3339 in UTC, spans are seconds, states are words."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {key: jsonable(item) for key, item in value.items()}
        case str():
            return str(value)
        case Sequence():
            return [jsonable(item) for item in value]
        case BaseModel():
            return value.model_dump(mode="json", by_alias=True, exclude_none=True)
        case _ if dataclasses.is_dataclass(value):
            return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            return value


def print_json(value: Any) -> None:
    """One JSON document, for people to read and programs to parse."""
    click.echo(json.dumps(jsonable(value), indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """One line of a stream of JSON values; flushed, so that a pipe sees it at once."""
    click.echo(json.dumps(jsonable(value), ensure_ascii=False))
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table, or the line `empty` (on stderr, so that a pipe gets nothing) when there are no rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else text(cell) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        click.echo(empty, err=True)


def text(value: Any, style: str = "") -> Text:
    """Any value as text that cannot control the terminal."""
    return Text(printable("" if value is None else str(value)), style=style)


def state(value: str) -> Text:
    """A state in its colour."""
    return Text(str(value), style=STYLES.get(str(value), ""))


def printable(value: str) -> str:
    """The text without control characters: outputs of models and tools must not move the cursor."""
    return "".join("�" if unicodedata.category(char) == "Cc" and char not in "\n\t" else char for char in value)


def span(value: timedelta | None) -> str:
    """A span in the unit that suits it: `80ms`, `2.4s`, `3m05s`, `2h10m`, `5d03h`."""
    if value is None:
        return ""
    seconds = max(0.0, value.total_seconds())  # clocks of two machines may differ
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, size, lesser, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02d}{lesser}"
    return f"{whole // 60}m{whole % 60:02d}s"


def number(value: float, unit: str) -> str:
    """A number of the scheduler's: spans and times as elsewhere, others with three digits that count."""
    if unit == "s":
        return f"{'-' if value < 0 else ''}{span(timedelta(seconds=abs(value)))}"
    if unit == "time":
        return since(datetime.fromtimestamp(value, UTC))
    return f"{value:.3g} {unit}".rstrip()


def since(value: datetime | None) -> str:
    """How long ago something happened."""
    return f"{span(max(timedelta(), datetime.now(UTC) - value))} ago" if value else ""


def pairs(value: Mapping[str, str]) -> str:
    """Labels as `a=1,b=2`."""
    return ",".join(f"{key}={item}" for key, item in value.items())


def application(job: Job) -> str:
    """Name and version; the application of a program's job is a name without one."""
    return f"{job.application}@{job.version}" if job.version else job.application
