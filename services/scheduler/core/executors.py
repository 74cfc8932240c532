"""Executors as the machine sees them: what they offer, which attempts hold their slots, and who takes the next one."""

from __future__ import annotations

from bisect import bisect_left, insort

from services.scheduler.core.events import ExecutorAttached
from services.scheduler.core.model import AttemptRef
from services.scheduler.core.views import ExecutorView

#: Executors with a free slot and the same offers: load, order of attachment, executor; the first is the best place.
Pool = list[tuple[int, int, "Executor"]]


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
        self.entry: tuple[int, int, Executor] | None = None

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

    __slots__ = ("_attachments", "_holders", "_offering", "executors")

    def __init__(self) -> None:
        self.executors: dict[str, Executor] = {}
        self._attachments = 0
        self._holders: dict[AttemptRef, Executor] = {}
        self._offering: dict[str, list[Pool]] = {}

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
        """The executor with a free slot that offers `requirement` and runs least; the first attached on a tie."""
        best = None
        for pool in self._offering.get(requirement, ()):
            if pool and (best is None or pool[0] < best):
                best = pool[0]
        return None if best is None else best[2]

    def file(self, executor: Executor) -> None:
        """Puts the executor in its place in its pool, after anything about it has changed."""
        if executor.entry is not None:
            del executor.pool[bisect_left(executor.pool, executor.entry)]
            executor.entry = None
        if executor.index is not None and executor.usable and len(executor.running) < executor.slots:
            executor.entry = (len(executor.running), executor.index, executor)
            insort(executor.pool, executor.entry)

    def _pool(self) -> None:
        """Sorts all executors into pools: rare, as executors come and go much more seldom than tasks."""
        pools: dict[frozenset[str], Pool] = {}
        for executor in self.executors.values():
            executor.entry = None
            executor.pool = pools.setdefault(executor.offers, [])
            self.file(executor)
        self._offering = {}
        # Sorted, so that nothing depends on how Python happens to hash strings.
        for offers, pool in pools.items():
            for requirement in sorted(offers):
                self._offering.setdefault(requirement, []).append(pool)
