"""What the profiler keeps, in Redis or Valkey: a part of `RedisState`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from services.state.codec import decode, encode
from services.state.connection import Argument, RedisConnection
from services.state.keys import Keys
from services.state.port import NOTHING, CommitGap, LeadershipLost
from services.state.records import EngineRecord, HistoryJob, Leader, Observation, ProfileRecord
from services.state.redis_lead import RedisLead, milliseconds
from services.state.settings import Limits
from services.state.subscriber import Subscriber
from services.state.watch import PROFILES

_BATCH = 200  #: jobs added in one step: bounds the time for which the server does nothing else


class RedisProfiles(RedisLead):
    """A `ProfileStore` in one shard of a Redis."""

    def __init__(self, connection: RedisConnection, keys: Keys, subscriber: Subscriber, limits: Limits) -> None:
        super().__init__(connection, keys.profiler_lead, keys.profiler_lease)
        self._names = keys
        self._subscriber = subscriber
        self._limits = limits

    async def read_observations(self, *, after: str = "", limit: int = 500) -> list[Observation]:
        found = await self._connection.command(
            "XRANGE", self._names.observations, f"({after}" if after else "-", "+", "COUNT", limit
        )
        return [Observation(position=position.decode(), data=fields[b"o"]) for position, fields in found]

    async def handled(self) -> str:
        found = await self._connection.command("HGET", self._names.profiler, "handled")
        return "" if found is None else found.decode()

    async def absorb(
        self,
        leader: Leader,
        jobs: Sequence[HistoryJob],
        *,
        after: str,
        upto: str,
        engines: Sequence[EngineRecord] = (),
        conduct: Mapping[str, bytes] = NOTHING,
    ) -> None:
        await self._add(leader, jobs, 1, after, upto, engines=engines, conduct=conduct)

    async def add_history(self, leader: Leader, jobs: Sequence[HistoryJob]) -> int:
        added = 0
        for start in range(0, len(jobs), _BATCH):
            added += await self._add(leader, jobs[start : start + _BATCH], 0, "", "")
        return added

    async def _add(
        self,
        leader: Leader,
        jobs: Sequence[HistoryJob],
        *handled: Argument,
        engines: Sequence[EngineRecord] = (),
        conduct: Mapping[str, bytes] = NOTHING,
    ) -> int:
        names = self._names
        keys = [names.profiler_lead, names.profiler, names.observations, names.histories, names.engines, names.conduct]
        arguments: list[Argument] = [leader.epoch, leader.instance, self._limits.max_history, *handled]
        arguments += [len(engines), len(conduct)]
        for engine in engines:
            arguments += [engine.executor, encode(engine)]
        for application, one in conduct.items():
            arguments += [application, one]
        for job in jobs:
            keys += [names.history(job.application), names.history_order(job.application)]
            arguments += [job.application, job.job_id, job.line]
        return int((await self._checked(leader, "absorb", keys, *arguments))[0])

    async def histories(self) -> dict[str, int]:
        return await self._numbers(self._names.histories)

    async def read_history(self, application: str, *, after: int = 0, limit: int = 500) -> list[HistoryJob]:
        keys = [self._names.history(application), self._names.history_order(application)]
        found = await self._connection.run("read_history", keys, after, limit)
        return [
            HistoryJob(application=application, job_id=job_id.decode(), line=line, number=int(number))
            for number, job_id, line in found
        ]

    async def count_history(self, application: str) -> int:
        return int(await self._connection.command("ZCARD", self._names.history_order(application)))

    async def publish(
        self, leader: Leader, profile: ProfileRecord, *, request_id: str = "", conduct: bytes | None = None
    ) -> None:
        names = self._names
        outcome = msgspec.msgpack.encode((profile.application, profile.version)) if request_id else b""
        await self._checked(
            leader,
            "publish_profile",
            [
                names.profiler_lead,
                names.profiles,
                names.profile(profile.application),
                names.trained(request_id),
                names.conduct,
            ],
            leader.epoch,
            leader.instance,
            profile.application,
            profile.version,
            encode(profile),
            self._limits.max_profiles,
            outcome,
            milliseconds(self._limits.retention_seconds),
            names.changes_channel,
            PROFILES,
            conduct or b"",
        )

    async def newest_profiles(self) -> dict[str, int]:
        return await self._numbers(self._names.profiles)

    async def get_profile(self, application: str, version: int) -> ProfileRecord | None:
        found = await self._connection.command("HGET", self._names.profile(application), version)
        return None if found is None else decode(ProfileRecord, found)

    async def conduct(self) -> dict[str, bytes]:
        return await self._fields(self._names.conduct)

    async def put_engine(self, leader: Leader, engine: EngineRecord) -> None:
        await self._add(leader, [], 0, "", "", engines=[engine])

    async def engines(self) -> dict[str, EngineRecord]:
        found = await self._fields(self._names.engines)
        return {executor: decode(EngineRecord, one) for executor, one in found.items()}

    async def trained(self, request_id: str) -> tuple[str, int] | None:
        found = await self._connection.command("GET", self._names.trained(request_id))
        return None if found is None else msgspec.msgpack.decode(found, type=tuple[str, int])

    def watch_profiles(self) -> AsyncGenerator[None, None]:
        self._subscriber.start()
        return self._subscriber.watchers.changes(PROFILES)

    async def _numbers(self, key: str) -> dict[str, int]:
        return {name: int(number) for name, number in (await self._fields(key)).items()}

    async def _fields(self, key: str) -> dict[str, bytes]:
        found = await self._connection.command("HGETALL", key)
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        return {name.decode(): value for name, value in pairs}

    async def _checked(self, leader: Leader, script: str, keys: Sequence[str], *arguments: Argument) -> list[Any]:
        kind, *detail = await self._connection.run(script, keys, *arguments)
        if kind == b"LOST":
            raise LeadershipLost(f"epoch {leader.epoch} has ended: the epoch is {detail[0].decode()}")
        if kind == b"GAP":
            raise CommitGap(f"the store does not have {detail[0].decode()}")
        return detail
