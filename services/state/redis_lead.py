"""A lead in Redis: who holds it, and until when. One for each kind of process that has a leader."""

from __future__ import annotations

from typing import Any

from services.state.connection import Argument, RedisConnection
from services.state.records import Leader


class RedisLead:
    """The methods of `LeadStore`, on two keys."""

    def __init__(self, connection: RedisConnection, lead: str, lease: str) -> None:
        self._connection = connection
        self._keys = [lead, lease]

    async def leader(self) -> Leader | None:
        found = await self._run("read_leader")
        if found is None:
            return None
        epoch, instance, address = found
        return Leader(epoch=int(epoch), instance=instance.decode(), address=address.decode())

    async def acquire_leadership(self, *, instance: str, address: str, ttl: float) -> Leader | None:
        epoch = await self._run("acquire", instance, address, milliseconds(ttl))
        return None if epoch is None else Leader(epoch=int(epoch), instance=instance, address=address)

    async def renew_leadership(self, leader: Leader, *, ttl: float) -> bool:
        return bool(await self._run("renew", leader.epoch, leader.instance, milliseconds(ttl)))

    async def release_leadership(self, leader: Leader) -> None:
        await self._run("release", leader.epoch, leader.instance)

    async def _run(self, step: str, *arguments: Argument) -> Any:
        return await self._connection.run(step, self._keys, *arguments)


def milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
