"""What waits, smallest key first: a change costs O(log n), a decision O(number of requirements + log n).

Policies that draw are no exception: their lines can be indexed.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter
from typing import Any, Generic, TypeVar

from sortedcontainers import SortedKeyList  # type: ignore[import-untyped]

from services.scheduler.core.executors import Executor
from services.scheduler.core.jobs import Job, Stage
from services.scheduler.core.policies.base import Candidate, DrawingPolicy, ExploringPolicy, Key, Moment, Policy

K = TypeVar("K", bound=tuple[Any, ...])
T = TypeVar("T")

Draw = Callable[[int, int], int]  #: as DrawingPolicy.draw
Place = Callable[[str], Executor | None]  #: an executor with a free slot for a requirement, if there is one
Rank = tuple[Key, str, str]  #: the policy's key, then names in case it left a tie: job id, stage id
Age = tuple[float, float, int, int, str, str]  #: ready at, arrival, order, position, job id, stage id


class Ordered(Generic[K, T]):
    """Items in the order of their keys.

    A heap with lazy deletion: an item that is taken out or gets another key leaves its old entry in the heap, and
    entries that are no longer current are dropped when they come to the top.
    """

    __slots__ = ("_current", "_heap", "_serial")

    def __init__(self) -> None:
        self._current: dict[T, tuple[K, int, T]] = {}
        self._heap: list[tuple[K, int, T]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, item: T) -> bool:
        return item in self._current

    def put(self, item: T, key: K) -> None:
        """Adds the item, or moves it to its new key. Equal keys keep the order in which they were put."""
        # The serial number decides between equal keys, so that items are never compared.
        self._serial += 1
        entry = (key, self._serial, item)
        self._current[item] = entry
        if len(self._heap) > 2 * len(self._current) + 64:
            self._heap = list(self._current.values())
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, entry)

    def discard(self, item: T) -> None:
        """Takes the item out, if it is there."""
        self._current.pop(item, None)

    def head(self) -> tuple[K, T] | None:
        """The smallest key and its item; None when empty."""
        heap = self._heap
        while heap:
            entry = heap[0]
            if self._current.get(entry[2]) is entry:
                return entry[0], entry[2]
            heapq.heappop(heap)
        return None

    def items(self) -> list[tuple[K, T]]:
        """All items, in no particular order, with their keys."""
        return [(key, item) for key, _, item in self._current.values()]


class Indexed(Generic[K, T]):
    """Items in the order of their keys, which must differ; any place in it is found in O(log n)."""

    __slots__ = ("_current", "_entries")

    def __init__(self) -> None:
        self._current: dict[T, K] = {}
        self._entries = SortedKeyList(key=itemgetter(0))

    def __len__(self) -> int:
        return len(self._current)

    def put(self, item: T, key: K) -> None:
        """Adds the item, or moves it to its new key."""
        self.discard(item)
        self._current[item] = key
        self._entries.add((key, item))

    def discard(self, item: T) -> None:
        """Takes the item out, if it is there."""
        if item in self._current:
            self._entries.remove((self._current.pop(item), item))

    def head(self) -> tuple[K, T] | None:
        """The smallest key and its item; None when empty."""
        return self.at(0) if self._current else None

    def at(self, index: int) -> tuple[K, T]:
        """The key and the item in this place, from 0."""
        entry: tuple[K, T] = self._entries[index]
        return entry

    def items(self) -> list[tuple[K, T]]:
        """All items, in order, with their keys."""
        return list(self._entries)

    def drawn(self, draw: Draw, decision: int) -> list[tuple[K, T]]:
        """All items in the order in which draws would take them out, one at each decision from this one on."""
        left = self._entries.copy()
        return [left.pop(draw(decision + place, len(left))) for place in range(len(left))]


@dataclass(frozen=True, slots=True)
class Choice:
    """The stage that goes first, and where."""

    stage: Stage
    executor: Executor
    key: Key  #: the policy's
    rule: str  #: "policy", "explore" or "ageing"
    tasks: int = 1  #: how many of its tasks go, if there are slots for them


class Line:
    """The stages that wait for executors with the same offer."""

    __slots__ = ("by_age", "by_key")

    def __init__(self, by_key: Ordered[Rank, Stage] | Indexed[Rank, Stage]) -> None:
        self.by_key = by_key  #: indexed under policies that draw only, as that costs more
        self.by_age: Ordered[Age, Stage] = Ordered()  #: used under the ageing guard only


class ReadyQueue:
    """Stages with READY tasks, in the order of a policy, a line for each requirement.

    A stage's key is computed after it was put in, and again after those moments of its job that the policy names: not
    at once, but when a decision needs it, so that a batch of events pays once.
    """

    __slots__ = ("_ageing_seconds", "_draw", "_explorer", "_lines", "_new", "_policy", "_stale")

    def __init__(self, policy: Policy, ageing_seconds: float | None) -> None:
        self._policy = policy
        self._draw: Draw | None = policy.draw if isinstance(policy, DrawingPolicy) else None
        self._explorer = policy if isinstance(policy, ExploringPolicy) else None
        self._ageing_seconds = ageing_seconds
        self._new: dict[Stage, None] = {}  #: stages without a key yet; a dict keeps their order
        self._stale: dict[Job, None] = {}  #: jobs whose keys must be computed again
        self._lines: dict[str, Line] = {}

    @property
    def lines(self) -> Mapping[str, Line]:
        """By requirement; none is empty."""
        self.settle()
        return self._lines

    def __len__(self) -> int:
        return sum(len(line.by_key) for line in self.lines.values())

    def tasks(self) -> int:
        """How many tasks wait in all."""
        return sum(len(stage.ready) for line in self.lines.values() for _, stage in line.by_key.items())

    def put(self, stage: Stage) -> None:
        """Adds a stage that has READY tasks."""
        stage.job.queued[stage] = None
        self._new[stage] = None

    def discard(self, stage: Stage) -> None:
        """Takes the stage out, if it is there."""
        if stage not in stage.job.queued:
            return
        del stage.job.queued[stage]
        self._new.pop(stage, None)
        line = self._lines.get(stage.spec.requirement)
        if line is None:
            return
        line.by_key.discard(stage)
        line.by_age.discard(stage)
        if not len(line.by_key):
            del self._lines[stage.spec.requirement]

    def key(self, stage: Stage) -> Rank:
        """The policy's key, with names behind it in case the policy left a tie."""
        assert stage.view is not None
        return self._policy.key(stage.job.view, stage.view), stage.job.view.job_id, stage.spec.stage_id

    def touch(self, job: Job, moment: Moment) -> None:
        """Notes that a moment of the job has passed, after which its keys may differ."""
        if moment in self._policy.rekey_on:
            self._stale[job] = None

    def settle(self) -> None:
        """Computes the keys that are missing or out of date."""
        for stage in self._new:
            if stage.job not in self._stale:
                self._file(stage)
        for job in self._stale:
            for stage in job.queued:
                self._file(stage)
        self._new.clear()
        self._stale.clear()

    def _file(self, stage: Stage) -> None:
        """Gives the stage its place."""
        line = self._lines.get(stage.spec.requirement)
        if line is None:
            line = self._lines[stage.spec.requirement] = Line(Ordered() if self._draw is None else Indexed())
        line.by_key.put(stage, self.key(stage))
        if self._ageing_seconds is not None and stage in self._new:
            line.by_age.put(stage, age(stage))

    def choose(self, at: float, place: Place, decision: int) -> Choice | None:
        """The stage that goes at this decision (from 1), of those for whose requirement `place` has an executor.

        It is the first, unless the policy draws. A stage that has waited for longer than the policy's ageing limit
        goes before all younger ones, the oldest first: whatever the policy, a stage is overtaken only by stages that
        became ready at most that much later.
        """
        self.settle()
        if self._ageing_seconds is not None and (oldest := self._oldest(at, place)) is not None:
            return oldest
        if self._explorer is not None:
            return self._explored(place, self._explorer, decision)
        return self._first(place) if self._draw is None else self._drawn(place, self._draw, decision)

    def _oldest(self, at: float, place: Place) -> Choice | None:
        """The stage that has waited longest, of those that the ageing guard puts first."""
        best: tuple[Age, Stage, Executor] | None = None
        for requirement, line in self.lines.items():
            head = line.by_age.head()
            assert head is not None
            if self.is_aged(head[1], at) and (best is None or head[0] < best[0]):
                executor = place(requirement)
                best = best if executor is None else (*head, executor)
        return None if best is None else Choice(best[1], best[2], self.key(best[1])[0], "ageing")

    def _first(self, place: Place) -> Choice | None:
        """The stage with the smallest key."""
        best: tuple[Rank, Stage, Executor] | None = None
        for requirement, line in self.lines.items():
            executor = place(requirement)
            if executor is None:
                continue
            head = line.by_key.head()
            assert head is not None
            if best is None or head[0] < best[0]:
                best = (*head, executor)
        return None if best is None else Choice(best[1], best[2], best[0][0], "policy")

    def _explored(self, place: Place, explorer: ExploringPolicy, decision: int) -> Choice | None:
        """All tasks of the head; or, if the policy explores, as many as it wants of the stage that it wants."""
        head = self._first(place)
        if head is None or not explorer.explores(decision):
            return None if head is None else replace(head, tasks=len(head.stage.ready))
        free = {requirement: executor for requirement in self._lines if (executor := place(requirement)) is not None}
        able = [(rank, one) for requirement in sorted(free) for rank, one in self._lines[requirement].by_key.items()]
        able.sort(key=itemgetter(0))
        found = explorer.explore(
            [Candidate(one.job.view, one.view, len(one.tasks) - len(one.ready)) for _, one in able if one.view]
        )
        if found is None:
            return replace(head, tasks=len(head.stage.ready))
        (key, _, _), stage = able[found[0]]
        return Choice(stage, free[stage.spec.requirement], key, "explore", found[1])

    def _drawn(self, place: Place, draw: Draw, decision: int) -> Choice | None:
        """The stage that is drawn: first the line, by a place in all of them in one row, then the place in the line.

        If the draw is a hash modulo the number of candidates, each has the same chance all the same: the places of a
        line are as many consecutive numbers as it is long, and so have different remainders.
        """
        free = [
            (_indexed(line), executor)
            for requirement, line in sorted(self.lines.items(), key=itemgetter(0))
            if (executor := place(requirement)) is not None
        ]
        if not free:
            return None
        ends = list(accumulate(len(line) for line, _ in free))
        line, executor = free[bisect_right(ends, draw(decision, ends[-1]))]
        rank, stage = line.at(draw(decision, len(line)))
        return Choice(stage, executor, rank[0], "policy")

    def is_aged(self, stage: Stage, at: float) -> bool:
        """Whether the ageing guard puts the stage first."""
        limit = self._ageing_seconds
        return limit is not None and stage.ready_at is not None and at - stage.ready_at > limit

    def ordered(self, at: float | None, decision: int) -> list[tuple[Key, Stage, str]]:
        """All stages as `choose` would take them, had every requirement a free slot: key, stage, rule.

        With a policy that draws, each requirement is drawn for on its own, from this decision on: what comes first of
        a requirement is what goes if the next free slot is for that.
        """
        self.settle()
        waiting = [(0, *entry) for line in self.lines.values() for entry in line.by_key.items()]
        if self._draw is not None:
            lines = [_indexed(line).drawn(self._draw, decision) for line in self.lines.values()]
            waiting = [(place, *entry) for line in lines for place, entry in enumerate(line)]
        waiting.sort(key=itemgetter(0, 1))
        aged = [] if at is None else [entry for entry in waiting if self.is_aged(entry[2], at)]
        aged.sort(key=lambda entry: age(entry[2]))
        rows = [(key[0], stage, "ageing") for _, key, stage in aged]
        old = {stage for _, _, stage in aged}
        return rows + [(key[0], stage, "policy") for _, key, stage in waiting if stage not in old]


def _indexed(line: Line) -> Indexed[Rank, Stage]:
    assert isinstance(line.by_key, Indexed)
    return line.by_key


def age(stage: Stage) -> Age:
    """Oldest first; the rest decides between stages that became ready together."""
    assert stage.ready_at is not None
    job = stage.job.view
    return stage.ready_at, job.arrival, job.order, stage.spec.position, job.job_id, stage.spec.stage_id
