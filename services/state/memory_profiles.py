"""What the profiler keeps, in the memory of one process: a part of `MemoryState`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from services.state.memory_lead import MemoryLead
from services.state.port import NOTHING, CommitGap
from services.state.records import EngineRecord, HistoryJob, Leader, Observation, ProfileRecord
from services.state.settings import Limits
from services.state.watch import PROFILES, Watchers


class MemoryProfiles(MemoryLead):
    """A `ProfileStore`. Not a part of the port: `observe`, with which the scheduler's commits fill it."""

    def __init__(self, now: Callable[[], float], limits: Limits, watchers: Watchers) -> None:
        super().__init__(now)
        self._limits = limits
        self._watchers = watchers
        self._observations: deque[tuple[int, bytes]] = deque(maxlen=limits.max_observations)
        self._observed = 0
        self._handled = ""
        self._histories: dict[str, dict[str, HistoryJob]] = {}
        self._added: dict[str, int] = {}
        self._profiles: dict[str, dict[int, ProfileRecord]] = {}
        self._engines: dict[str, EngineRecord] = {}
        self._conduct: dict[str, bytes] = {}
        self._trained: dict[str, tuple[float, str, int]] = {}

    def observe(self, data: bytes) -> None:
        self._observed += 1
        self._observations.append((self._observed, data))

    async def read_observations(self, *, after: str = "", limit: int = 500) -> list[Observation]:
        self._now()
        behind = (item for item in self._observations if item[0] > int(after or 0))
        return [Observation(position=str(position), data=data) for position, data in islice(behind, limit)]

    async def handled(self) -> str:
        self._now()
        return self._handled

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
        self._now()
        self.check(leader)
        if self._handled == upto:
            return
        if self._handled != after:
            raise CommitGap(f"observations up to {self._handled!r} are handled, not up to {after!r}")
        self._add(jobs)
        self._engines.update({engine.executor: engine for engine in engines})
        self._conduct.update(conduct)
        self._handled = upto
        while self._observations and self._observations[0][0] < int(upto):
            self._observations.popleft()

    async def add_history(self, leader: Leader, jobs: Sequence[HistoryJob]) -> int:
        self._now()
        self.check(leader)
        return self._add(jobs)

    def _add(self, jobs: Sequence[HistoryJob]) -> int:
        added = 0
        for job in jobs:
            history = self._histories.setdefault(job.application, {})
            known = history.get(job.job_id)
            if known is None:
                added += 1
                self._added[job.application] = self._added.get(job.application, 0) + 1
            number = self._added[job.application] if known is None else known.number
            history[job.job_id] = replace(job, number=number)
            for surplus in list(islice(history, max(0, len(history) - self._limits.max_history))):
                del history[surplus]
        return added

    async def histories(self) -> dict[str, int]:
        self._now()
        return dict(self._added)

    async def read_history(self, application: str, *, after: int = 0, limit: int = 500) -> list[HistoryJob]:
        self._now()
        behind = (job for job in self._histories.get(application, {}).values() if job.number > after)
        return list(islice(behind, limit))

    async def count_history(self, application: str) -> int:
        self._now()
        return len(self._histories.get(application, {}))

    async def publish(
        self, leader: Leader, profile: ProfileRecord, *, request_id: str = "", conduct: bytes | None = None
    ) -> None:
        now = self._now()
        self.check(leader)
        versions = self._profiles.setdefault(profile.application, {})
        if versions.get(profile.version) == profile:
            return
        newest = max(versions, default=0)
        if profile.version != newest + 1:
            raise CommitGap(f"version {profile.version} does not follow {newest}")
        versions[profile.version] = profile
        versions.pop(profile.version - self._limits.max_profiles, None)
        if conduct is not None:
            self._conduct[profile.application] = conduct
        if request_id:
            until = now + self._limits.retention_seconds
            self._trained[request_id] = until, profile.application, profile.version
        self._watchers.changed([PROFILES])

    async def newest_profiles(self) -> dict[str, int]:
        self._now()
        return {application: max(versions) for application, versions in self._profiles.items()}

    async def get_profile(self, application: str, version: int) -> ProfileRecord | None:
        self._now()
        return self._profiles.get(application, {}).get(version)

    async def conduct(self) -> dict[str, bytes]:
        self._now()
        return dict(self._conduct)

    async def put_engine(self, leader: Leader, engine: EngineRecord) -> None:
        self._now()
        self.check(leader)
        self._engines[engine.executor] = engine

    async def engines(self) -> dict[str, EngineRecord]:
        self._now()
        return dict(self._engines)

    async def trained(self, request_id: str) -> tuple[str, int] | None:
        now = self._now()
        until, application, version = self._trained.get(request_id, (now, "", 0))
        return (application, version) if until > now else None

    def watch_profiles(self) -> AsyncGenerator[None, None]:
        return self._watchers.changes(PROFILES)
