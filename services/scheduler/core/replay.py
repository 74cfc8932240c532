"""Feeds a recorded run to today's machine: does it still decide as it did?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.scheduler.core.effects import Effect
from services.scheduler.core.events import Event
from services.scheduler.core.machine import SchedulerMachine


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One call of `SchedulerMachine.handle_batch` and what it returned."""

    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    dispatch: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Where the run and the record part."""

    record: int  #: index of the record
    effect: int  #: index of the effect inside the record
    expected: Effect | None  #: as recorded; None: the machine had more effects than the record
    actual: Effect | None  #: as returned today; None: the machine had fewer
    cause: Event | None  #: the last event of the record


def first_divergence(machine: SchedulerMachine, records: Iterable[Record]) -> Divergence | None:
    """Feeds the records to a fresh machine, and returns where it first does something else; None if it never does.

    The records must begin where the machine was fresh: with its start, or with the recovery of a new leader.
    """
    for number, record in enumerate(records):
        actual = tuple(machine.handle_batch(record.events, dispatch=record.dispatch))
        if actual == record.effects:
            continue
        equal = 0
        while equal < min(len(actual), len(record.effects)) and actual[equal] == record.effects[equal]:
            equal += 1
        return Divergence(
            record=number,
            effect=equal,
            expected=record.effects[equal] if equal < len(record.effects) else None,
            actual=actual[equal] if equal < len(actual) else None,
            cause=record.events[-1] if record.events else None,
        )
    return None
