"""Who leads: a lease in the durable state with an epoch that every write carries.

The lease keeps two schedulers from working against each other most of the time; the epoch makes sure of it always,
because the store refuses the writes of an older one. Schedulers and profilers have leads of their own: `LeadStore`.
"""

from __future__ import annotations

import asyncio

from services.common.clock import Clock
from services.common.logs import get_logger
from services.state.port import LeadershipLost, LeadStore, StateUnavailable
from services.state.records import Leader

_log = get_logger(__name__)


class Leadership:
    """Takes the lead, keeps it, gives it up."""

    def __init__(
        self,
        state: LeadStore,
        *,
        instance: str,
        address: str,
        ttl_seconds: float,
        renew_seconds: float,
        clock: Clock,
    ) -> None:
        """`address` is where others reach this process."""
        self._state = state
        self._clock = clock
        self._instance = instance
        self._address = address
        self._ttl = ttl_seconds
        self._renew = renew_seconds
        self._expires = 0.0
        self.known_leader: Leader | None = None  #: as of the last look; for callers who came to the wrong place

    async def acquire(self) -> Leader:
        """Waits until this process leads."""
        told = ""
        while True:
            sent = self._clock.now()
            leader, obstacle = await self._try()
            if leader is not None:
                self._expires = sent + self._ttl
                return leader
            if obstacle != told:
                _log.info("standing by", action="standby", why=obstacle)
                told = obstacle
            await asyncio.sleep(self._renew)

    async def _try(self) -> tuple[Leader | None, str]:
        """One try to take the lead, and what stands in the way."""
        try:
            leader = await self._state.acquire_leadership(instance=self._instance, address=self._address, ttl=self._ttl)
            self.known_leader = leader or await self._state.leader()
        except StateUnavailable as error:
            self.known_leader = None
            return None, f"the durable state does not answer: {error}"
        return leader, f"{self.known_leader.address} leads" if self.known_leader else "another process leads"

    async def hold(self, leader: Leader) -> None:
        """Renews the lead until it is lost. Counted from when a renewal was *sent*, so it ends here no later than
        in the store.

        Raises:
            LeadershipLost: somebody else leads, or no renewal could be confirmed in time.
        """
        while True:
            await asyncio.sleep(self._renew)
            sent = self._clock.now()
            try:
                async with asyncio.timeout(max(0.0, self._expires - sent)):
                    if not await self._state.renew_leadership(leader, ttl=self._ttl):
                        raise LeadershipLost("another process leads")
                self._expires = sent + self._ttl
            except (StateUnavailable, TimeoutError) as error:
                if self._clock.now() >= self._expires:
                    raise LeadershipLost("the lead could not be renewed in time") from error
                _log.warning("could not renew the lead", action="renewal_failed", error=str(error))

    async def release(self, leader: Leader) -> None:
        """Gives the lead up, so that a standby need not wait for the lease to end."""
        self.known_leader = None
        try:
            async with asyncio.timeout(self._ttl):
                await self._state.release_leadership(leader)
        except (StateUnavailable, TimeoutError) as error:
            _log.warning("could not give up the lead", action="release_failed", error=str(error))
