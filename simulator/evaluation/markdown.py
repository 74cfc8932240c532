"""Tables as a part of a Markdown page that a command writes: between two marks, the rest of the page is left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simulator.evaluation.sheets import Sheet


class NoSuchPart(ValueError):
    """The page does not have the marks between which the part would go."""


def part(command: str, facts: Mapping[str, str], sheets: Sequence[Sheet]) -> str:
    """The text of a part: the command that makes it again, what it was made with, and the tables."""
    told = " · ".join(f"{name}: {fact}" for name, fact in facts.items())
    return "\n\n".join([f"```sh\n{command}\n```", told, *map(_table, sheets)])


def replaced(page: str, name: str, text: str) -> str:
    """The page with the text in place of what stood in the part with that name.

    Raises:
        NoSuchPart: the page has no such part.
    """
    begin, end = marks(name)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise NoSuchPart(f"the page has no part {name!r}: put these two lines where it should go:\n{begin}\n{end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def marks(name: str) -> tuple[str, str]:
    """The lines before and after a part."""
    return f"<!-- {name}: made by a command, changes will be lost -->", f"<!-- end of {name} -->"


def _table(sheet: Sheet) -> str:
    lines = [_row(sheet.columns), _row(["---"] + ["--:"] * (len(sheet.columns) - 1)), *map(_row, sheet.rows)]
    return f"**{sheet.title}.** {sheet.note}\n\n" + "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
