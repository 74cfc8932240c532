"""The filters of the template language, and the meter that they and loops run on.

Jinja's own filters are taken where their cost is bounded by what they are given; the others are written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, cast

import jinja2
from jinja2.filters import FILTERS as DEFAULT_FILTERS
from jinja2.runtime import Context

from llmsched.application.values import MAX_TEXT, TooCostly, TooLarge, plain, text

METER = "$meter"  #: the variable that holds the Meter; no template can spell it

__all__ = ["FILTERS", "METER", "Meter", "charge", "charge_parts", "join", "replace"]

_words = str.split
_TAKEN = _words(
    "abs capitalize count d default dictsort first float groupby int items last length list lower map max min reject "
    "rejectattr reverse select selectattr sort title trim truncate unique upper urlencode wordcount"
)
_CHARACTERS_PER_STEP = 100
_MAX_INDENT = 40


class Meter:
    """What one rendering may still spend: steps, and characters of the text it makes."""

    def __init__(self, *, steps: int, characters: int) -> None:
        self._steps = steps
        self._characters = characters

    def charge(self, steps: int) -> None:
        """Raises TooCostly when the steps are used up."""
        self._steps -= steps
        if self._steps < 0:
            raise TooCostly("the template takes too many steps; loop over less")

    def check_size(self, characters: int) -> None:
        """Raises TooLarge when a text is longer than allowed."""
        if characters > self._characters:
            raise TooLarge(f"the rendered text is longer than {self._characters} characters")


def charge(context: Context, value: Any) -> Any:
    """Charges what it costs to go through a value once, and returns it."""
    _meter(context).charge(_cost(value))
    return value


def charge_parts(context: Context, value: Any) -> Any:
    """Charges for all that a value holds, at any depth, and returns it."""
    meter = _meter(context)
    pending = [value]
    while pending:
        part = pending.pop()
        meter.charge(_cost(part))
        if isinstance(part, Mapping):
            pending.extend(part.values())
        elif isinstance(part, list | tuple):
            pending.extend(part)
    return value


def _meter(context: Context) -> Meter:
    return cast("Meter", context.resolve(METER))


def _cost(value: Any) -> int:
    if isinstance(value, str):
        _check_length(len(value))
        return 1 + len(value) // _CHARACTERS_PER_STEP
    # The length of an undefined value is an error of its own, with a worse message.
    return 1 + (len(value) if isinstance(value, Sized) and not isinstance(value, jinja2.Undefined) else 0)


def _check_length(characters: int) -> None:
    if characters > MAX_TEXT:
        raise TooLarge(f"a text is longer than {MAX_TEXT} characters")


@jinja2.pass_environment
def _join_filter(environment: jinja2.Environment, value: Any, d: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        value = [environment.getitem(part, attribute) for part in value]
    return join(value, d)


def join(value: Iterable[Any], d: str = "") -> str:
    """The texts of all elements with `d` between them."""
    parts: list[str] = []
    size = 0
    for part in value:
        parts.append(text(part))
        size += len(parts[-1]) + len(d)
        _check_length(size)
    return d.join(parts)


def replace(value: Any, old: str, new: str) -> str:
    """The text with all `old` made `new`."""
    source = text(value)
    _check_length(len(source) + source.count(old) * max(0, len(new) - len(old)))
    return source.replace(old, new)


def _indent(value: Any, width: int = 4, first: bool = False, blank: bool = False) -> str:
    if not 0 <= width <= _MAX_INDENT:
        raise ValueError(f"indent takes a width from 0 to {_MAX_INDENT}")
    padding = " " * width
    lines = text(value).split("\n")
    _check_length(sum(map(len, lines)) + len(lines) * (width + 1))
    return "\n".join(
        padding + line if (number > 0 or first) and (line or blank) else line for number, line in enumerate(lines)
    )


def _round(value: float, precision: int = 0) -> float:
    return round(value, precision)


def _sum(value: Iterable[Any], start: float = 0) -> float:
    for part in value:
        if not isinstance(part, int | float):
            raise TypeError("sum adds numbers only")
        start += part
    return start


def _tojson(value: Any, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= 8:
        raise ValueError("tojson takes an indent from 0 to 8")
    written = json.dumps(plain(value), ensure_ascii=False, indent=indent)
    _check_length(len(written))
    return written


#: All filters of the language, by name.
FILTERS: dict[str, Callable[..., Any]] = {
    **{name: DEFAULT_FILTERS[name] for name in _TAKEN},
    "indent": _indent,
    "join": _join_filter,
    "replace": replace,
    "round": _round,
    "string": text,
    "sum": _sum,
    "tojson": _tojson,
}
