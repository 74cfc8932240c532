"""A small table of facts, looked up exactly or searched by words."""

from __future__ import annotations

import csv
import difflib
import functools
import re
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["Fact", "all_facts", "find", "search"]

_split = str.split
_LITTLE = frozenset(_split("a an and are at does has have how in is it its many mount much of or the to what which"))


@dataclass(frozen=True, slots=True)
class Fact:
    """One number that is known of something."""

    name: str
    kind: str
    field: str
    value: int
    unit: str

    @property
    def sentence(self) -> str:
        """The fact as a claim."""
        return f"The {self.field} of {self.name} is {self.value} {self.unit}."


@functools.cache
def all_facts() -> tuple[Fact, ...]:
    """All facts, in the order of the table."""
    text = files(__package__).joinpath("data/facts.csv").read_text(encoding="utf-8")
    return tuple(Fact(**{**row, "value": int(row["value"])}) for row in csv.DictReader(text.splitlines()))  # type: ignore[arg-type]


def find(name: str) -> Fact:
    """The fact of that name, in any case of letters. Raises LookupError, which says which names are like it."""
    wanted = name.strip().lower()
    known = {fact.name.lower(): fact for fact in all_facts()}
    if wanted in known:
        return known[wanted]
    near = [known[each].name for each in difflib.get_close_matches(wanted, known, n=3)]
    raise LookupError(f"nothing is known of {name!r}" + (f"; like it are {', '.join(near)}" if near else ""))


def search(query: str, limit: int = 2) -> list[Fact]:
    """The facts that share most words with a query, best first; none if no word fits."""
    wanted = _words(query)
    scored = [(len(wanted & _words(f"{fact.name} {fact.kind} {fact.field}")), fact) for fact in all_facts()]
    # Words of the name tell more than those of the field, which many facts share.
    ranked = sorted(
        ((score + len(wanted & _words(fact.name)), fact) for score, fact in scored if score),
        key=lambda found: -found[0],
    )
    return [fact for _, fact in ranked[:limit]]


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[^\W_]+", text.lower()) if word not in _LITTLE}
