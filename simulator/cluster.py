"""The engine model of docs/simulation-contract.md: LLM executors that batch by processor sharing, and tool slots.

The b tasks that run in one LLM executor all progress at speed 1/s(b). Instead of the remaining work of each, an
executor keeps a clock that runs at that speed while anything runs: a task that starts when the clock shows v ends when
it shows v + work. So a change of the batch costs O(log b). Tool slots are an executor whose speed is always 1.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum
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
    """How many executors of which kind. The defaults are the reference cluster's, but for the tool slots.

    Raises ValueError, with all that is wrong, for counts below 0 and for batches that are faster than a task alone.
    """

    llm_executors: int = 2
    max_batch: int = 8  #: slots of each LLM executor
    tool_slots: int = 8  #: in all
    batch_slowdown: float = 0.05  #: beta of s(b) = 1 + beta (b - 1)
    slowdowns: tuple[float, ...] = ()  #: s(1), s(2), ... in place of beta; the last one holds for all larger batches

    def __post_init__(self) -> None:
        least = {"llm_executors": 0, "max_batch": 1, "tool_slots": 0}
        counts = {name: (getattr(self, name), low) for name, low in least.items()}
        problems = [
            f"{name} is {value}, at least {low} is needed" for name, (value, low) in counts.items() if value < low
        ]
        if not (math.isfinite(self.batch_slowdown) and self.batch_slowdown >= 0.0):
            problems.append(f"batch_slowdown is {self.batch_slowdown}, a number from 0 up is needed")
        for batch, value in enumerate(self.slowdowns, start=1):
            if not (math.isfinite(value) and value >= 1.0):
                problems.append(f"slowdowns: s({batch}) is {value}, a number from 1 up is needed")
        if problems:
            raise ValueError("; ".join(problems))

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


class _Executor:
    """Slots that share a speed. `version` grows with every change, so that an older prediction is known as old."""

    __slots__ = ("busy", "clock", "heap", "running", "speeds", "updated", "version")

    def __init__(self, speeds: Sequence[float]) -> None:
        self.speeds = speeds  #: by the number of running tasks
        self.clock = 0.0
        self.updated = 0.0
        self.busy = 0.0  #: slot-seconds so far
        self.heap: list[_Running] = []
        self.running: set[AttemptRef] = set()
        self.version = 0

    def start(self, at: float, work: float, serial: int, dispatch: Dispatch, outcome: Measurement | Failure) -> None:
        self._advance(at)
        self.running.add(dispatch.attempt)
        # So little work is none at all. Else a chain of such tasks would take time after all.
        ends = self.clock + (work if work > INSTANT else 0.0)
        heapq.heappush(self.heap, _Running(ends, serial, dispatch, outcome, at))
        self.version += 1

    def stop(self, at: float, attempt: AttemptRef) -> None:
        self._advance(at)
        self.running.discard(attempt)
        self.version += 1

    def finish(self, at: float) -> list[_Running]:
        """Takes out what ends in the instant at `at`: no more than an instant is left of its work, or of its time."""
        self._advance(at)
        speed = self.speeds[len(self.running)]
        found = []
        while (head := self._head()) is not None:
            left = head.ends - self.clock
            # Late in a long run, adding a little to `at` may not change it: that is as good as no time.
            if left > INSTANT and at + left / speed > at + INSTANT:
                break
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

    def _advance(self, at: float) -> None:
        running, passed = len(self.running), at - self.updated
        if running:
            self.clock += passed * self.speeds[running]
            self.busy += passed * running
        self.updated = at

    def _head(self) -> _Running | None:
        while self.heap and self.heap[0].dispatch.attempt not in self.running:
            heapq.heappop(self.heap)
        return self.heap[0] if self.heap else None


class Cluster:
    """Runs attempts as the contract says. Implements `Attempts`."""

    def __init__(self, shape: ClusterShape, load: Callable[[Dispatch], Load]) -> None:
        """Args: `load` says what an attempt has to do."""
        self._shape = shape
        self._load = load
        slowdowns = [shape.slowdown(batch) for batch in range(1, shape.max_batch + 1)]
        speeds = [1.0, *(1.0 / slowdown for slowdown in slowdowns)]
        self._executors = {f"llm-{index}": _Executor(speeds) for index in range(shape.llm_executors)}
        if shape.tool_slots:
            self._executors[_TOOLS] = _Executor([1.0] * (shape.tool_slots + 1))
        #: What has an instant of work left ends within this time (seconds).
        self._window = INSTANT * max(1.0, *slowdowns)
        self._changed: dict[str, None] = dict.fromkeys(self._executors)
        self._predicted: list[tuple[float, str, int]] = []  # next end, executor, its version then
        self._serial = 0

    @property
    def llm_seconds(self) -> float:
        """Slot-seconds that LLM executors have been busy."""
        return fsum(executor.busy for name, executor in self._executors.items() if name != _TOOLS)

    @property
    def tool_seconds(self) -> float:
        """Slot-seconds that tool slots have been busy."""
        return self._executors[_TOOLS].busy if _TOOLS in self._executors else 0.0

    def executors(self) -> list[ExecutorAttached]:
        """The events by which the machine hears of the executors, in the order of their indices."""
        shape = self._shape
        return [
            _attached(name, "tool", shape.tool_slots, TOOL)
            if name == _TOOLS
            else _attached(name, "llm", shape.max_batch, LLM)
            for name in self._executors
        ]

    def start(self, dispatch: Dispatch, at: float) -> None:
        work, outcome = self._load(dispatch)
        self._serial += 1
        self._executors[dispatch.executor_id].start(at, work, self._serial, dispatch, outcome)
        self._changed[dispatch.executor_id] = None

    def stop(self, attempt: AttemptRef, at: float) -> None:
        for name, executor in self._executors.items():
            if attempt in executor.running:
                executor.stop(at, attempt)
                self._changed[name] = None

    def next_end(self) -> float:
        self._predict()
        while self._predicted and self._is_old(self._predicted[0]):
            heapq.heappop(self._predicted)
        return self._predicted[0][0] if self._predicted else math.inf

    def ended(self, at: float) -> list[Ended]:
        self._predict()
        found: list[Ended] = []
        while self._predicted and self._predicted[0][0] <= at + self._window:
            prediction = heapq.heappop(self._predicted)
            if self._is_old(prediction):
                continue
            name = prediction[1]
            for one in self._executors[name].finish(at):
                found.append(end_of(one.dispatch, _timed(one.outcome, at - one.started), at))
            self._changed[name] = None
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
