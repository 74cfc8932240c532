"""docs/telemetry.md as data, so that tests can hold it against what is written and sent."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"
Row = dict[str, str]


def table(first_column: str) -> list[Row]:
    """The rows of the table whose first column is called so, by the names of its columns."""
    lines = PAGE.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    header = _cells(lines[begin])
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(header, _cells(line), strict=True)))
    return rows


def spans_of_services() -> dict[str, set[str]]:
    """By the name that a service gives itself, the spans that it writes; without services that write none."""
    spans = {f"llmsched-{row['logs'].strip('`')}": set(quoted(row["traces"])) for row in table("service")}
    return {service: written for service, written in spans.items() if written}


def edges_of_spans() -> set[tuple[str, str]]:
    """Which span is below which, in a trace that begins with the job."""
    return {(quoted(row["span"])[0], parent) for row in table("span") for parent in quoted(row["parent"])}


def quoted(cell: str) -> list[str]:
    """What a cell has between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
