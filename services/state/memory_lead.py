"""A lead in the memory of one process: the fake of `redis_lead`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from services.state.port import CommitGap, LeadershipLost
from services.state.records import Leader


class MemoryLead:
    """The methods of `LeadStore`. `now` gives seconds since the epoch, and raises when the state is closed."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last: Leader | None = None
        self._ends = 0.0

    async def leader(self) -> Leader | None:
        return self._last if self._ends > self._now() else None

    async def acquire_leadership(self, *, instance: str, address: str, ttl: float) -> Leader | None:
        now = self._now()
        holder = await self.leader()
        if holder is not None and holder.instance != instance:
            return None
        last = self._last.epoch if self._last else 0
        self._last = Leader(epoch=max(last + 1, int(now * 1000)), instance=instance, address=address)
        self._ends = now + ttl
        return self._last

    async def renew_leadership(self, leader: Leader, *, ttl: float) -> bool:
        now = self._now()
        if not self._leads(leader):
            return False
        self._ends = now + ttl
        return True

    async def release_leadership(self, leader: Leader) -> None:
        self._now()
        if self._leads(leader):
            self._last = replace(leader, instance="")
            self._ends = 0.0

    def check(self, leader: Leader) -> None:
        """Raises LeadershipLost or CommitGap unless this is the epoch that may write."""
        if self._last is None or self._last.epoch < leader.epoch:
            raise CommitGap(f"the store does not know epoch {leader.epoch}")
        if not self._leads(leader):
            raise LeadershipLost(f"epoch {leader.epoch} has ended")

    def _leads(self, leader: Leader) -> bool:
        last = self._last
        return last is not None and (last.epoch, last.instance) == (leader.epoch, leader.instance)
