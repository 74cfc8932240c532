"""The executors of a recorded run: how many there were and when, and what shared an engine with each attempt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from services.scheduler.core.events import ExecutorAttached
from services.scheduler.core.model import AttemptRef


@dataclass(frozen=True, slots=True)
class Shape:
    """The executors that could take work at some time."""

    llm_slots: tuple[int, ...] = ()  #: of each LLM executor, ascending
    tool_slots: int = 0  #: of all tool executors


@dataclass(slots=True)
class Stay:
    """An attempt in its slot."""

    started_at: float | None  #: None: another leader dispatched it
    kind: str  #: of the executor: "llm" or "tool"
    ended_at: float = 0.0
    batches: dict[int, float] = field(default_factory=lambda: defaultdict(float))  #: seconds by attempts in the engine


@dataclass(slots=True)
class _Executor:
    kind: str
    slots: int
    offers: frozenset[str]
    incarnation: str
    hindered: set[str] = field(default_factory=set)  #: why it can take nothing new; empty: it can
    running: dict[AttemptRef, Stay] = field(default_factory=dict)
    updated: float = 0.0

    def advance(self, at: float) -> None:
        if at > self.updated:
            for stay in self.running.values():
                stay.batches[len(self.running)] += at - self.updated
        self.updated = at


class RecordedFleet:
    """Follows the executors through a log. Times are seconds since the epoch and never go back."""

    def __init__(self) -> None:
        self.offers: dict[str, set[frozenset[str]]] = defaultdict(set)  #: by kind: all that executors have offered
        #: Slot-seconds by job id, of attempts that have ended in whatever way.
        self.busy: defaultdict[str, float] = defaultdict(float)
        self._executors: dict[str, _Executor] = {}
        self._where: dict[AttemptRef, _Executor] = {}
        self._shapes: list[tuple[float, Shape]] = []
        self._now = 0.0

    def begin_term(self) -> None:
        """A new leader knows no executors until they attach to it."""
        self._executors.clear()
        self._where.clear()

    def attach(self, event: ExecutorAttached) -> None:
        at = self._advance(event.at)
        executor = self._executors.get(event.executor_id)
        if executor is None or executor.incarnation != event.incarnation:
            self.lost(event.executor_id, event.at)
            executor = _Executor(event.kind, event.slots, event.offers, event.incarnation, updated=at)
            self._executors[event.executor_id] = executor
        self._drop([ref for ref in executor.running if ref not in event.running], at)
        for ref in event.running:
            if ref not in self._where:
                self._hold(executor, ref, Stay(None, executor.kind), at)
        executor.slots, executor.offers = event.slots, event.offers
        executor.hindered.discard("detached")
        self.offers[event.kind].add(event.offers)
        self._note()

    def hinder(self, executor_id: str, why: str, at: float, *, over: bool = False) -> None:
        """Something keeps it from taking work ("detached", "draining" or "unhealthy"), or does so no longer."""
        self._advance(at)
        executor = self._executors.get(executor_id)
        if executor is not None:
            executor.hindered = executor.hindered - {why} if over else executor.hindered | {why}
            self._note()

    def lost(self, executor_id: str, at: float) -> None:
        executor = self._executors.pop(executor_id, None)
        if executor is not None:
            self._drop(list(executor.running), self._advance(at))
            self._note()

    def start(self, ref: AttemptRef, executor_id: str, at: float) -> None:
        executor = self._executors.get(executor_id)
        if executor is not None:
            at = self._advance(at)
            self._hold(executor, ref, Stay(at, executor.kind), at)

    def end(self, ref: AttemptRef, at: float) -> Stay | None:
        """The attempt has freed its slot. Returns its stay, or None if it held none."""
        executor = self._where.pop(ref, None)
        if executor is None:
            return None
        at = self._advance(at)
        executor.advance(at)
        stay = executor.running.pop(ref)
        stay.ended_at = at
        self.busy[ref.job_id] += 0.0 if stay.started_at is None else at - stay.started_at
        return stay

    def shape_between(self, begin: float, end: float) -> tuple[Shape, int]:
        """The shape that held longest between two times, and how many different ones there were."""
        held: dict[Shape, float] = defaultdict(float)
        for (at, shape), (until, _) in pairwise([*self._shapes, (end, Shape())]):
            seconds = min(until, end) - max(at, begin)
            if seconds > 0 and shape != Shape():
                held[shape] += seconds
        return (max(held, key=held.__getitem__), len(held)) if held else (Shape(), 0)

    def _advance(self, at: float) -> float:
        # Events of one batch were stamped where they came in, which may be in another order.
        self._now = max(self._now, at)
        return self._now

    def _hold(self, executor: _Executor, ref: AttemptRef, stay: Stay, at: float) -> None:
        executor.advance(at)
        executor.running[ref] = stay
        self._where[ref] = executor

    def _drop(self, refs: Iterable[AttemptRef], at: float) -> None:
        for ref in refs:
            self.end(ref, at)

    def _note(self) -> None:
        usable = [executor for executor in self._executors.values() if not executor.hindered]
        llm = sorted(executor.slots for executor in usable if executor.kind == "llm")
        shape = Shape(tuple(llm), sum(executor.slots for executor in usable if executor.kind == "tool"))
        if not self._shapes or self._shapes[-1][1] != shape:
            self._shapes.append((self._now, shape))
