"""What `llmsched top` shows at one moment, and how it is asked for."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from llmsched.client import Client
from llmsched.errors import LLMSchedError
from llmsched.types import Calibration, Cluster, Decision, Job, JobState, QueuedStage

_Item = TypeVar("_Item")
#: Rates count what happened in this time.
WINDOW = timedelta(minutes=1)
#: Of so many of the newest jobs it is told how many are in which state.
_JOBS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A cluster at one moment; what could not be asked is empty, and named in `problems`."""

    time: datetime
    cluster: Cluster | None = None
    #: The first stages that wait, in order.
    queue: tuple[QueuedStage, ...] = ()
    #: How many of the newest jobs are in each state.
    states: Mapping[JobState, int] = field(default_factory=dict)
    #: Output tokens a second of each LLM executor's engine with as many requests as it has now, as was measured.
    speeds: Mapping[str, float] = field(default_factory=dict)
    #: Whether there are older jobs than these, so that more may have ended.
    more_jobs: bool = False
    #: Jobs that ended in the last minute, and tasks that were dispatched; None: not known (yet).
    jobs_per_minute: float | None = None
    tasks_per_minute: float | None = None
    problems: tuple[str, ...] = ()


class DispatchRate:
    """Dispatches a minute, by the numbers of decisions: those that a slow reader missed count too."""

    def __init__(self) -> None:
        self._begin: datetime | None = None
        self._seen: deque[tuple[datetime, int]] = deque()

    def begin(self, now: datetime) -> None:
        """From now on decisions are heard of; nothing dispatched is a rate too."""
        self._begin = self._begin or now

    def add(self, decision: Decision, now: datetime) -> None:
        """A decision, heard of now."""
        if self._seen and decision.number <= self._seen[-1][1]:
            self._seen.clear()  # another cluster, or the history of this one is gone
        self._seen.append((now, decision.number))

    def per_minute(self, now: datetime) -> float | None:
        """None before there was anything to count from."""
        if self._begin is None or now <= self._begin:
            return None
        while self._seen and self._seen[0][0] < now - WINDOW:
            self._seen.popleft()
        span = min(WINDOW, now - self._begin)
        count = self._seen[-1][1] - self._seen[0][1] + 1 if self._seen else 0
        return count * (WINDOW / span) if span >= timedelta(seconds=1) else None


async def look(client: Client, rate: DispatchRate, *, stages: int, jobs: int = _JOBS) -> Overview:
    """Asks everybody at once. What one server does not answer the others do."""
    problems: list[str] = []

    async def told(work: Awaitable[_Item]) -> _Item | None:
        try:
            return await work
        except LLMSchedError as error:
            problems.append(str(error))
            return None

    cluster, queue, found, calibrations = await asyncio.gather(
        told(client.cluster()),
        told(_take(client.queue(limit=stages))),
        told(_take(client.jobs(limit=jobs))),
        _calibrations(client),
    )
    now = datetime.now(UTC)
    return Overview(
        time=now,
        cluster=cluster,
        queue=tuple(queue or ()),
        states=Counter(job.state for job in found or ()),
        more_jobs=len(found or ()) >= jobs,
        speeds=speeds(cluster, calibrations),
        jobs_per_minute=None if found is None else ended_per_minute(found, now),
        tasks_per_minute=rate.per_minute(now),
        problems=tuple(dict.fromkeys(problems)),
    )


def ended_per_minute(jobs: Sequence[Job], now: datetime) -> float:
    """Of the jobs given, those that ended in the last minute."""
    return float(sum(job.end_time is not None and now - WINDOW < job.end_time for job in jobs))


def speeds(cluster: Cluster | None, calibrations: Sequence[Calibration]) -> dict[str, float]:
    """Output tokens a second at the load each executor has now; one request where it has none."""
    measured = {each.executor_id: each.step_seconds for each in calibrations if each.step_seconds}
    found = {}
    for executor in cluster.executors if cluster else ():
        if steps := measured.get(executor.executor_id):
            batch = max(1, min(executor.used_slots, len(steps)))
            found[executor.executor_id] = batch / steps[batch - 1] if steps[batch - 1] > 0 else 0.0
    return found


async def follow_decisions(client: Client, rate: DispatchRate) -> None:
    """Counts decisions until it is cancelled, over breaks of any length."""
    rate.begin(datetime.now(UTC))
    while True:
        with suppress(LLMSchedError):  # the overview names who cannot be reached
            async with aclosing(client.decisions()) as decisions:
                async for decision in decisions:
                    rate.add(decision, datetime.now(UTC))
        await asyncio.sleep(1)


async def _calibrations(client: Client) -> list[Calibration]:
    try:
        return await _take(client.calibrations())
    except LLMSchedError:
        return []  # a cluster may have no profiler


async def _take(items: AsyncGenerator[_Item, None]) -> list[_Item]:
    async with aclosing(items):
        return [item async for item in items]
