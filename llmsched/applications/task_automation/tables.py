"""Tools on tables and nested data."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from typing_extensions import TypedDict

from llmsched.tools import tool

_DATA = Path(__file__).parent / "data"
_TABLES = ("customers", "products", "orders")
_MAX_ROWS = 200
_NAME = re.compile(r"[A-Za-z_]\w*")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\*)\]")
_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": sum,
    "mean": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "max": max,
    "count": len,
}
_READING = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}

Cell = str | float | int | bool | None


class Rows(TypedDict):
    """The rows of a query as objects; `truncated` tells whether there were more."""

    columns: list[str]
    rows: list[dict[str, Any]]
    truncated: bool


class Group(TypedDict):
    """One group of a table and its number."""

    group: str
    value: float
    count: int


@tool(name="sql.query", timeout=10)
def query(query: str, rows: list[dict[str, Cell]] | None = None) -> Rows:
    """Query the database of a small online shop, or rows that are given, with one SELECT statement of SQLite.

    Tables: customers(id, name, city, country, since), products(id, name, category, price),
    orders(id, customer_id, product_id, quantity, ordered_on). Given rows are the table `rows`. At most 200 rows
    come back.

    Args:
        query: A SELECT statement.
        rows: Objects with the same keys, such as the rows of another query.
    """
    connection = sqlite3.connect(":memory:")
    try:
        for name in _TABLES:
            with (_DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                _load(connection, name, [dict(row) for row in csv.DictReader(file)])
        if rows:
            _load(connection, "rows", rows)
        connection.set_authorizer(_only_reading)
        cursor = connection.execute(query)
        columns = [column[0] for column in cursor.description or ()]
        found = cursor.fetchmany(_MAX_ROWS + 1)
    except sqlite3.Error as error:
        raise ValueError(f"the query was refused: {error}") from None
    finally:
        connection.close()
    objects = [dict(zip(columns, row, strict=True)) for row in found[:_MAX_ROWS]]
    return {"columns": columns, "rows": objects, "truncated": len(found) > _MAX_ROWS}


@tool(name="csv.aggregate")
def aggregate(
    table: str | list[dict[str, Cell]],
    column: str,
    operation: Literal["sum", "mean", "median", "min", "max", "count"],
    group_by: str | None = None,
) -> list[Group]:
    """Compute one number of a table's column: over all rows, or for each value of another column.

    Cells that are no number are left out, except when counting.

    Args:
        table: CSV text with a header line, or rows as objects.
        column: The column to compute.
        operation: What to compute.
        group_by: A column; without it there is one group called "all".
    """
    rows = list(csv.DictReader(io.StringIO(table.strip()))) if isinstance(table, str) else table
    for name in filter(None, (column, group_by)):
        if not rows or name not in rows[0]:
            raise ValueError(f"no column {name!r}; there are {', '.join(rows[0]) if rows else 'no rows'}")
    groups: dict[str, list[float]] = {}
    for row in rows:
        values = groups.setdefault(str(row[group_by]) if group_by else "all", [])
        number = 0.0 if operation == "count" else _number(row[column])
        if number is not None:
            values.append(number)
    compute = _AGGREGATES[operation]
    return [
        {"group": name, "value": round(float(compute(values)), 10), "count": len(values)}
        for name, values in groups.items()
        if values
    ]


@tool(name="json.extract")
def extract(value: Any, path: str) -> Any:
    """Take a part out of nested data.

    Args:
        value: Any JSON value.
        path: Keys and positions, such as rows[0].name, or rows[*].name for the names of all rows.
    """
    position = 0
    found, many = [value], False
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise ValueError(f"the path {path!r} cannot be read from {path[position:]!r} on")
        position = step.end()
        if step[2] == "*":
            many = True
            found = [item for part in found for item in _items(part, path)]
        else:
            found = [_child(part, step, path) for part in found]
    return found if many else found[0]


def _load(connection: sqlite3.Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    columns = list(rows[0])
    if not columns or any(not _NAME.fullmatch(name) for name in columns):
        raise ValueError(f"columns need plain names, not {', '.join(map(repr, columns)) or 'none'}")
    listed = ", ".join(f'"{name}" NUMERIC' for name in columns)
    connection.execute(f'CREATE TABLE "{table}" ({listed})')
    places = ", ".join("?" for _ in columns)
    values = [[row.get(name) for name in columns] for row in rows]
    connection.executemany(f'INSERT INTO "{table}" VALUES ({places})', values)


def _only_reading(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _number(cell: Cell) -> float | None:
    try:
        return None if cell is None else float(cell)
    except ValueError:
        return None


def _items(part: Any, path: str) -> list[Any]:
    if isinstance(part, dict):
        return list(part.values())
    if isinstance(part, list):
        return part
    raise ValueError(f"{path}: [*] needs a list or an object, not {type(part).__name__}")


def _child(part: Any, step: re.Match[str], path: str) -> Any:
    if step[1] is not None:
        if isinstance(part, dict) and step[1] in part:
            return part[step[1]]
        keys = ", ".join(map(str, part)) if isinstance(part, dict) else f"a {type(part).__name__}"
        raise ValueError(f"{path}: no key {step[1]!r}; there is {keys or 'nothing'}")
    index = int(step[2])
    if isinstance(part, list) and index < len(part):
        return part[index]
    size = f"{len(part)} items" if isinstance(part, list) else f"a {type(part).__name__}"
    raise ValueError(f"{path}: no position {index}; there are {size}")
