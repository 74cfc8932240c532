"""A log of everything the machine was told and what it answered: JSON lines that can be replayed.

Each term of leadership begins with a fresh machine and a line that says how to make it: {"term": epoch, "policy": …,
"decisions": taken before it, "statistics": of the history, or null, "profiles": learned from it, "work": what tokens
cost}. Then every batch is a line {"events": […],
"effects": […]}, the recovery of the stored jobs first; with "dispatch": false where nothing was to be dispatched yet.
Values are objects with their class in "@". Lossless: numbers are written so that they read back as the same number,
infinities included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from services.profiler.core.belief import Beliefs
from services.profiler.core.profile import Profile
from services.profiler.core.statistics import Statistics, WorkModel
from services.scheduler.core import effects as effect_types
from services.scheduler.core import events as event_types
from services.scheduler.core.effects import Effect
from services.scheduler.core.events import Event
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies import NOTHING
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.core.replay import Divergence, Record, first_divergence
from services.scheduler.ledger import Entry

T = TypeVar("T")


class EventLog:
    """Appends to a file; one for the life of the process."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("a+", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        if self._file.tell() > 0:
            # A predecessor that was killed may have left half a line; what follows must not be glued to it.
            self._file.write("\n")

    def begin(self, epoch: int, policy: PolicySettings, *, decisions: int = 0, knowledge: Knowledge = NOTHING) -> None:
        """A fresh machine leads from here: after so many decisions of its predecessors, with what policies know."""
        self._write(
            {
                "term": epoch,
                "policy": msgspec.to_builtins(policy),
                "decisions": decisions,
                "statistics": msgspec.to_builtins(knowledge.statistics),
                "profiles": [profile.plain() for profile in knowledge.beliefs.profiles.values()],
                "work": msgspec.to_builtins(knowledge.beliefs.work),
            }
        )

    def handled(
        self, events: Sequence[Event], effects: Sequence[Effect], seconds: float, *, dispatch: bool = True
    ) -> None:
        line: dict[str, object] = {
            "events": [_plain(event) for event in events],
            "effects": [_plain(effect) for effect in effects],
        }
        self._write(line if dispatch else line | {"dispatch": False})

    def committed(self, entry: Entry, seconds: float) -> None:
        """What was decided is in the log already."""

    def close(self) -> None:
        self._file.close()

    def _write(self, line: dict[str, object]) -> None:
        # Flushed at once: a log that ends before the crash it should explain is of no use.
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedTerm:
    """All that one leader did."""

    epoch: int
    policy: PolicySettings  #: at the start of the term
    records: tuple[Record, ...]
    decisions: int = 0  #: taken before the term
    knowledge: Knowledge = NOTHING  #: what its policies knew to begin with

    def machine(self) -> SchedulerMachine:
        """A machine as it was when the term began."""
        return SchedulerMachine(self.policy, knowledge=self.knowledge, decisions=self.decisions)


def read_log(path: str | Path) -> Iterator[LoggedTerm]:
    """Yields the terms in the log. A line that was cut off by a crash, always a term's last one, is left out."""
    header: dict[str, Any] | None = None
    records: list[Record] = []
    with Path(path).open(encoding="utf-8") as lines:
        for text in lines:
            if not text.endswith("\n") or not text.strip():
                continue
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue  # cut off by a crash
            if "term" in line:
                if header is not None:
                    yield _term(header, records)
                header, records = line, []
            else:
                records.append(_record(line))
    if header is not None:
        yield _term(header, records)


def replay(path: str | Path) -> Divergence | None:
    """Feeds the log to today's machine: the first place where it decides otherwise, or None."""
    for term in read_log(path):
        divergence = first_divergence(term.machine(), term.records)
        if divergence is not None:
            return divergence
    return None


def _term(header: dict[str, Any], records: list[Record]) -> LoggedTerm:
    return LoggedTerm(
        epoch=header["term"],
        policy=msgspec.convert(header["policy"], PolicySettings),
        records=tuple(records),
        decisions=header.get("decisions", 0),
        knowledge=Knowledge(
            statistics=msgspec.convert(header.get("statistics"), Statistics | None),
            beliefs=Beliefs(
                {plain["application"]: Profile.of_plain(plain) for plain in header.get("profiles", ())},
                msgspec.convert(header.get("work", {}), WorkModel),
            ),
        ),
    )


def _record(line: dict[str, Any]) -> Record:
    return Record(
        events=tuple(_value(event_types, Event, plain) for plain in line["events"]),
        effects=tuple(_value(effect_types, Effect, plain) for plain in line["effects"]),
        dispatch=line.get("dispatch", True),
    )


def _plain(value: Event | Effect) -> dict[str, Any]:
    if isinstance(value, event_types.ProfileChanged):
        plain = {"at": value.at, "cause": value.cause, "profile": value.profile.plain()}
    else:
        plain = msgspec.to_builtins(value)
        for derived in ("parts", "more"):  # of a dispatch: a replay finds them again
            plain.pop(derived, None)
    return {"@": type(value).__name__, **plain}


def _value(module: object, base: type[T], plain: dict[str, Any]) -> T:
    kind = getattr(module, plain.pop("@"))
    assert issubclass(kind, base)
    if "key" in plain:
        plain["key"] = _tuples(plain["key"])
    if "profile" in plain:
        return kind(**plain | {"profile": Profile.of_plain(plain["profile"])})
    value: T = msgspec.convert(plain, kind)
    return value


def _tuples(value: Any) -> Any:
    """A policy's key has no types to read it by; its lists were tuples."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
