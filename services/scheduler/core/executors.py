"""Executors as the machine sees them: what they offer, which attempts hold their slots, and who takes the next one."""

from __future__ import annotations

from bisect import bisect_left, insort

from services.profiler.core.calibration import Calibration
from services.profiler.core.statistics import WorkModel
from services.scheduler.core.events import ExecutorAttached
from services.scheduler.core.model import AttemptRef
from services.scheduler.core.views import ExecutorView

#: Executors with a free slot and the same offers: seconds of a step with one more in the batch (0 where that is not to
#: matter), load, order of attachment, executor; the first is the best place.
Entry = tuple[float, int, int, "Executor"]
Pool = list[Entry]


class Executor:
    """One executor, or a stand-in for one that recovered jobs name and that has not attached yet."""

    __slots__ = (
        "attached",
        "draining",
        "entry",  #: where it stands in its pool; None while it can take nothing
        "executor_id",
        "healthy",
        "incarnation",
        "index",  #: order of first attachment; None for a stand-in
        "kind",
        "offers",
        "pool",
        "running",  #: attempts that hold a slot, oldest first
        "slots",
        "speed",  #: of its engine, where the executors that offer the same are all calibrated and it is to matter
    )

    def __init__(self, executor_id: str) -> None:
        self.executor_id = executor_id
        self.incarnation: str | None = None
        self.index: int | None = None
        self.kind = ""
        self.slots = 0
        self.offers: frozenset[str] = frozenset()
        self.attached = False
        self.healthy = True
        self.draining = False
        self.running: dict[AttemptRef, None] = {}
        self.pool: Pool = []
        self.entry: Entry | None = None
        self.speed: Calibration | None = None

    @property
    def usable(self) -> bool:
        """Whether it may be given new work, slots aside."""
        return self.attached and self.healthy and not self.draining

    def view(self) -> ExecutorView:
        return ExecutorView(
            executor_id=self.executor_id,
            incarnation=self.incarnation,
            kind=self.kind,
            slots=self.slots,
            offers=self.offers,
            attached=self.attached,
            healthy=self.healthy,
            draining=self.draining,
            running=tuple(self.running),
        )


class Fleet:
    """All executors and the slots that are held on them. An attempt holds a slot on one executor at most."""

    __slots__ = ("_attachments", "_by_speed", "_calibrations", "_holders", "_offering", "executors")

    def __init__(self) -> None:
        self.executors: dict[str, Executor] = {}
        self._attachments = 0
        self._holders: dict[AttemptRef, Executor] = {}
        self._offering: dict[str, list[Pool]] = {}
        self._calibrations: dict[str, Calibration] = {}
        self._by_speed = False

    def calibrate(self, executor_id: str, calibration: Calibration) -> None:
        """Notes how fast an executor's engine is; it need not have attached yet."""
        self._calibrations[executor_id] = calibration
        self._pool()

    def place_by_speed(self, by_speed: bool) -> None:
        """Whether speeds matter to `place`."""
        if by_speed is not self._by_speed:
            self._by_speed = by_speed
            self._pool()

    def speeds(self) -> tuple[WorkModel, float] | None:
        """Mean costs of tokens over the calibrated executors, by slots, and the most that a full batch slows one down.

        None: no executor is calibrated.
        """
        known = [
            (executor, self._calibrations[executor.executor_id])
            for executor in self.executors.values()
            if executor.slots and executor.executor_id in self._calibrations
        ]
        if not known:
            return None
        slots = sum(executor.slots for executor, _ in known)
        work = WorkModel(
            prefill=sum(executor.slots * one.prefill for executor, one in known) / slots,
            decode=sum(executor.slots * one.steps[0] for executor, one in known) / slots,
        )
        return work, max(one.slowdown(executor.slots) for executor, one in known)

    def attach(self, event: ExecutorAttached) -> Executor:
        """Takes over what the executor says of itself; which attempts it holds is left to the caller.

        A restarted executor is healthy and not draining until it says otherwise; one that merely came back is as
        it was.
        """
        executor = self.executors.get(event.executor_id)
        if executor is None:
            executor = self.executors[event.executor_id] = Executor(event.executor_id)
        if executor.index is None:
            self._attachments += 1
            executor.index = self._attachments
        if executor.incarnation != event.incarnation:
            executor.healthy, executor.draining = True, False
        executor.incarnation = event.incarnation
        executor.kind = event.kind
        executor.slots = event.slots
        executor.offers = event.offers
        executor.attached = True
        self._pool()
        return executor

    def remove(self, executor: Executor) -> None:
        """Forgets an executor that holds no attempts any more."""
        del self.executors[executor.executor_id]
        self._pool()

    def holder(self, ref: AttemptRef) -> Executor | None:
        """The executor on which the attempt holds a slot."""
        return self._holders.get(ref)

    def expect(self, executor_id: str | None, ref: AttemptRef) -> bool:
        """Whether a recovered attempt may still be running where it was; if so, it holds a slot there.

        An executor that is attached has said what it runs; of one that is not, the attempt is believed.
        """
        holder = self._holders.get(ref)
        if holder is not None:
            return holder.executor_id == executor_id
        if executor_id is None:
            return False
        executor = self.executors.get(executor_id)
        if executor is None:
            executor = self.executors[executor_id] = Executor(executor_id)
        if executor.attached:
            return False
        self.hold(executor, ref)
        return True

    def hold(self, executor: Executor, ref: AttemptRef) -> None:
        """Takes a slot for the attempt, even one that does not exist: an executor may run more than was asked."""
        executor.running[ref] = None
        self._holders[ref] = executor
        self.file(executor)

    def release(self, ref: AttemptRef) -> Executor | None:
        """Frees the attempt's slot; None if it holds none (any more)."""
        executor = self._holders.pop(ref, None)
        if executor is not None:
            del executor.running[ref]
            self.file(executor)
        return executor

    def place(self, requirement: str) -> Executor | None:
        """The executor with a free slot that offers `requirement` and is fastest or runs least; on a tie the first."""
        best = None
        for pool in self._offering.get(requirement, ()):
            if pool and (best is None or pool[0] < best):
                best = pool[0]
        return None if best is None else best[-1]

    def file(self, executor: Executor) -> None:
        """Puts the executor in its place in its pool, after anything about it has changed."""
        if executor.entry is not None:
            del executor.pool[bisect_left(executor.pool, executor.entry)]
            executor.entry = None
        if executor.index is not None and executor.usable and len(executor.running) < executor.slots:
            load = len(executor.running)
            seconds = 0.0 if executor.speed is None else executor.speed.step(load + 1)
            executor.entry = (seconds, load, executor.index, executor)
            insort(executor.pool, executor.entry)

    def _pool(self) -> None:
        """Sorts all executors into pools: rare, as executors come and go much more seldom than tasks."""
        pools: dict[frozenset[str], Pool] = {}
        for executor in self.executors.values():
            executor.entry = None
            executor.pool = pools.setdefault(executor.offers, [])
        for executor in self.executors.values():
            executor.speed = self._calibrations.get(executor.executor_id) if self._comparable(executor) else None
            self.file(executor)
        self._offering = {}
        # Sorted, so that nothing depends on how Python happens to hash strings.
        for offers, pool in pools.items():
            for requirement in sorted(offers):
                self._offering.setdefault(requirement, []).append(pool)

    def _comparable(self, executor: Executor) -> bool:
        """Whether all that offer anything that this one offers are calibrated: seconds cannot be held against load."""
        rivals = [one for one in self.executors.values() if not one.offers.isdisjoint(executor.offers)]
        return self._by_speed and all(one.executor_id in self._calibrations for one in rivals)
