"""Functions on tables: CSV text with a header line."""

from __future__ import annotations

import csv
import io
from statistics import fmean

from llmsched.applications.taskmatrix.catalogue.define import listed

_FRUIT = "name,price\nfig,3\npear,2\napple,4"


@listed(table=_FRUIT, gives=3)
def count_rows(table: str) -> int:
    """Count the rows of a CSV table."""
    return len(_rows(table))


@listed(table=_FRUIT, gives=["name", "price"])
def column_names(table: str) -> list[str]:
    """List the columns of a CSV table."""
    rows = _rows(table)
    return list(rows[0]) if rows else []


@listed(table=_FRUIT, column="name", gives=["fig", "pear", "apple"])
def column(table: str, column: str) -> list[str]:
    """Take one column of a CSV table."""
    return [_cell(row, column) for row in _rows(table)]


@listed(table=_FRUIT, column="price", gives=9)
def sum_column(table: str, column: str) -> float:
    """Add up a column of a CSV table."""
    return sum(float(_cell(row, column)) for row in _rows(table))


@listed(table=_FRUIT, column="price", gives=3)
def average_column(table: str, column: str) -> float:
    """Compute the average of a column of a CSV table."""
    return fmean(float(_cell(row, column)) for row in _rows(table))


@listed(table=_FRUIT, column="name", value="fig", gives="name,price\nfig,3")
def filter_rows(table: str, column: str, value: str) -> str:
    """Keep the rows of a CSV table that have a value in a column."""
    return _written([row for row in _rows(table) if _cell(row, column) == value])


@listed(table=_FRUIT, column="price", gives="name,price\npear,2\nfig,3\napple,4")
def sort_rows(table: str, column: str) -> str:
    """Sort the rows of a CSV table by a column."""
    rows = _rows(table)
    try:
        return _written(sorted(rows, key=lambda row: float(_cell(row, column))))
    except ValueError:
        return _written(sorted(rows, key=lambda row: _cell(row, column)))


@listed(table=_FRUIT, row=2, gives={"name": "pear", "price": "2"})
def row(table: str, row: int) -> dict[str, str]:
    """Take one row of a CSV table by its number."""
    rows = _rows(table)
    if not 1 <= row <= len(rows):
        raise ValueError(f"there are rows 1 to {len(rows)}")
    return rows[row - 1]


@listed(table="k,v\na,1\nb,2\na,3", by="k", column="v", gives={"a": 4, "b": 2})
def group_sums(table: str, by: str, column: str) -> dict[str, float]:
    """Add up a column of a CSV table for each group of rows."""
    sums: dict[str, float] = {}
    for each in _rows(table):
        sums[_cell(each, by)] = sums.get(_cell(each, by), 0.0) + float(_cell(each, column))
    return sums


@listed(table="a,b\n1,2", gives="| a | b |\n|---|---|\n| 1 | 2 |")
def to_markdown(table: str) -> str:
    """Write a CSV table as a Markdown table."""
    rows = list(csv.reader(io.StringIO(table.strip())))
    head, *body = ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def _rows(table: str) -> list[dict[str, str]]:
    # Cells that a line has too many or too few of are the empty text and nothing.
    reader = csv.DictReader(io.StringIO(table.strip()), restval="")
    return [{key: value for key, value in row.items() if key is not None} for row in reader]


def _cell(row: dict[str, str], name: str) -> str:
    if name not in row:
        raise ValueError(f"there is no column {name!r}; there are {', '.join(row)}")
    return row[name]


def _written(rows: list[dict[str, str]]) -> str:
    if not rows:
        return ""
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)])
