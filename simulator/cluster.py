"""The engine model of docs/simulation-contract.md: LLM executors that batch by processor sharing, and tool slots.

The b tasks that run in one LLM executor all progress at speed 1/s(b). Instead of the remaining work of each, an
executor keeps a clock that runs at that speed while anything runs: a task that starts when the clock shows v ends when
it shows v + work. So a change of the batch costs O(log b).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.scheduler.core.effects import Dispatch
from services.scheduler.core.events import ExecutorAttached
from services.scheduler.core.model import AttemptRef, Failure, Measurement
from simulator.attempts import INSTANT, Ended, end_of

LLM = "llm"  #: the requirement of LLM stages
TOOL = "tool"  #: the requirement of tool stages
_TOOLS = "tools"  #: the executor that has all tool slots

#: An executor's clock starts anew at this value, so that its precision does not suffer in long runs.
_REBASE = 64.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterShape:
    """How many executors of which kind. The defaults are the reference cluster's, but for the tool slots."""

    llm_executors: int = 2
    max_batch: int = 8  #: slots of each LLM executor
    tool_slots: int = 8  #: in all
    batch_slowdown: float = 0.05  #: beta of s(b) = 1 + beta (b - 1)
    slowdowns: tuple[float, ...] = ()  #: s(1), s(2), ... in place of beta; the last one holds for all larger batches

    def slowdown(self, batch: int) -> float:
        """s(b): how many times longer work takes in a batch of this size than alone."""
        if self.slowdowns:
            return self.slowdowns[min(batch, len(self.slowdowns)) - 1]
        return 1.0 + self.batch_slowdown * (batch - 1)


class Load(NamedTuple):
    """What an attempt has to do."""

    work: float  #: seconds alone: LLM work, or seconds of a tool
    outcome: Measurement | Failure  #: what it shows when it ends


class _Running(NamedTuple):
    ends: float  #: by the executor's clock
    serial: int
    dispatch: Dispatch
    outcome: Measurement | Failure
    started: float


class _LlmExecutor:
    """One engine. `version` grows with every change, so that an older prediction of the next end is known as old."""

    __slots__ = ("clock", "heap", "running", "speeds", "updated", "version")

    def __init__(self, speeds: Sequence[float]) -> None:
        self.speeds = speeds  #: by batch size
        self.clock = 0.0
        self.updated = 0.0
        self.heap: list[_Running] = []
        self.running: set[AttemptRef] = set()
        self.version = 0

    def advance(self, at: float) -> None:
        if self.running:
            self.clock += (at - self.updated) * self.speeds[len(self.running)]
        self.updated = at

    def start(self, one: _Running) -> None:
        self.running.add(one.dispatch.attempt)
        heapq.heappush(self.heap, one)
        self.version += 1

    def stop(self, attempt: AttemptRef) -> None:
        self.running.discard(attempt)
        self.version += 1

    def finished(self) -> list[_Running]:
        """Takes out what has at most an instant of work left."""
        found = []
        while (head := self._head()) is not None and head.ends - self.clock <= INSTANT:
            found.append(heapq.heappop(self.heap))
            self.running.discard(head.dispatch.attempt)
        self.version += bool(found)
        return found

    def next_end(self) -> float:
        head = self._head()
        if head is None:
            self.clock = 0.0
            return math.inf
        if self.clock > _REBASE:
            # All entries move by the same amount, so the heap stays a heap.
            self.heap = [one._replace(ends=one.ends - self.clock) for one in self.heap]
            self.clock, head = 0.0, self.heap[0]
        left = head.ends - self.clock
        return self.updated if left <= INSTANT else self.updated + left / self.speeds[len(self.running)]

    def _head(self) -> _Running | None:
        while self.heap and self.heap[0].dispatch.attempt not in self.running:
            heapq.heappop(self.heap)
        return self.heap[0] if self.heap else None


class Cluster:
    """Runs attempts as the contract says. Implements `Attempts`."""

    def __init__(self, shape: ClusterShape, load: Callable[[Dispatch], Load]) -> None:
        """Args: `load` says what an attempt has to do."""
        self.llm_seconds = 0.0  #: slot-seconds that LLM executors were busy with attempts that have ended
        self.tool_seconds = 0.0
        self._shape = shape
        self._load = load
        speeds = [1.0, *(1.0 / shape.slowdown(batch) for batch in range(1, shape.max_batch + 1))]
        self._executors = {f"llm-{index}": _LlmExecutor(speeds) for index in range(shape.llm_executors)}
        self._changed: dict[str, None] = {}
        self._predicted: list[tuple[float, str, int]] = []  # next end, executor, its version then
        self._tools: list[tuple[float, int, Dispatch, Load, float]] = []
        self._tools_running: set[AttemptRef] = set()
        self._serial = 0

    def executors(self) -> list[ExecutorAttached]:
        """The events by which the machine hears of the executors, in the order of their indices."""
        shape = self._shape
        found = [_attached(name, "llm", shape.max_batch, LLM) for name in self._executors]
        if shape.tool_slots:
            found.append(_attached(_TOOLS, "tool", shape.tool_slots, TOOL))
        return found

    def start(self, dispatch: Dispatch, at: float) -> None:
        load = self._load(dispatch)
        self._serial += 1
        if dispatch.executor_id == _TOOLS:
            self._tools_running.add(dispatch.attempt)
            heapq.heappush(self._tools, (at + load.work, self._serial, dispatch, load, at))
            return
        executor = self._executors[dispatch.executor_id]
        executor.advance(at)
        executor.start(_Running(executor.clock + load.work, self._serial, dispatch, load.outcome, at))
        self._changed[dispatch.executor_id] = None

    def stop(self, attempt: AttemptRef, at: float) -> None:
        self._tools_running.discard(attempt)
        for name, executor in self._executors.items():
            if attempt in executor.running:
                executor.advance(at)
                executor.stop(attempt)
                self._changed[name] = None

    def next_end(self) -> float:
        self._predict()
        while self._predicted and self._is_old(self._predicted[0]):
            heapq.heappop(self._predicted)
        while self._tools and self._tools[0][2].attempt not in self._tools_running:
            heapq.heappop(self._tools)
        llm = self._predicted[0][0] if self._predicted else math.inf
        return min(llm, self._tools[0][0] if self._tools else math.inf)

    def ended(self, at: float) -> list[Ended]:
        found: list[Ended] = []
        while self.next_end() <= at + INSTANT:
            if self._tools and self._tools[0][0] <= at + INSTANT:
                found.append(self._end_tool(at))
            else:
                found += self._end_llm(at)
        return found

    def _predict(self) -> None:
        for name in self._changed:
            executor = self._executors[name]
            end = executor.next_end()
            if end < math.inf:
                heapq.heappush(self._predicted, (end, name, executor.version))
        self._changed.clear()

    def _is_old(self, prediction: tuple[float, str, int]) -> bool:
        return self._executors[prediction[1]].version != prediction[2]

    def _end_tool(self, at: float) -> Ended:
        _, _, dispatch, load, started = heapq.heappop(self._tools)
        self._tools_running.discard(dispatch.attempt)
        self.tool_seconds += at - started
        return end_of(dispatch, _timed(load.outcome, at - started), at)

    def _end_llm(self, at: float) -> list[Ended]:
        name = heapq.heappop(self._predicted)[1]
        executor = self._executors[name]
        executor.advance(at)
        found: list[Ended] = []
        for one in executor.finished():
            self.llm_seconds += at - one.started
            found.append(end_of(one.dispatch, _timed(one.outcome, at - one.started), at))
        self._changed[name] = None
        return found


def _timed(outcome: Measurement | Failure, seconds: float) -> Measurement | Failure:
    if isinstance(outcome, Failure):
        return outcome
    return Measurement(prompt_tokens=outcome.prompt_tokens, output_tokens=outcome.output_tokens, total_seconds=seconds)


def _attached(executor_id: str, kind: str, slots: int, offer: str) -> ExecutorAttached:
    return ExecutorAttached(
        at=0.0,
        cause="start",
        executor_id=executor_id,
        incarnation="1",
        kind=kind,
        slots=slots,
        offers=frozenset({offer}),
    )
