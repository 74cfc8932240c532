"""Takes observations from the durable state into the histories of their applications, each once.

Where the consumer is in the stream is stored in the same step as what it made of the observations (histories, how jobs
agree with their profiles, the speed of engines), so it may be killed at any moment. What listens besides is told of a
batch when that is durable, and may miss one then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from services.common.logs import get_logger
from services.profiler.conducts import Conducts
from services.profiler.core.observation import AttemptObserved, JobObserved, StepsObserved, recorded
from services.profiler.core.trace import TraceJob, read_history, write_jobs
from services.profiler.engines import Engines
from services.profiler.instruments import Instruments
from services.profiler.observations import Observed, read_observation
from services.state.port import ProfileStore
from services.state.records import HistoryJob, Leader, Observation, ProfileRecord

_log = get_logger(__name__)


class Listener(Protocol):
    """Hears of what was observed, in its order, when it is durable. Must be quick, and must not raise.

    Made anew for each term of leadership: what it must not forget it has to keep in the durable state.
    """

    def job_finished(self, job: TraceJob) -> None:
        """A job has come into the history of its application."""
        ...

    def attempt_ended(self, attempt: AttemptObserved) -> None: ...

    def engine_measured(self, steps: StepsObserved) -> None: ...

    def profile_published(self, profile: ProfileRecord) -> None:
        """An application has a new profile; at the begin of a term, each application that has one."""
        ...


@dataclass(slots=True)
class _Digest:
    """What a batch of observations has shown."""

    jobs: list[TraceJob] = field(default_factory=list)
    seen: list[TraceJob | AttemptObserved | StepsObserved] = field(default_factory=list)

    @property
    def steps(self) -> list[StepsObserved]:
        return [one for one in self.seen if isinstance(one, StepsObserved)]


class Consumer:
    def __init__(
        self,
        store: ProfileStore,
        leader: Leader,
        *,
        poll_seconds: float,
        batch: int,
        instruments: Instruments,
        conducts: Conducts,
        engines: Engines,
        grown: Callable[[], None],
        alarmed: Callable[[], None],
        listeners: Sequence[Listener] = (),
    ) -> None:
        """`grown` is called when histories have got jobs, `alarmed` while there are alarms to do something about."""
        self._store = store
        self._leader = leader
        self._poll_seconds = poll_seconds
        self._batch = batch
        self._instruments = instruments
        self._conducts = conducts
        self._engines = engines
        self._grown = grown
        self._alarmed = alarmed
        self._listeners = listeners

    async def run(self) -> NoReturn:
        """Goes on from what was handled last. Raises LeadershipLost, CommitGap, StateUnavailable."""
        position = await self._store.handled()
        while True:
            batch = await self._store.read_observations(after=position, limit=self._batch)
            if batch:
                await self._handle(batch, after=position)
                position = batch[-1].position
            else:
                await asyncio.sleep(self._poll_seconds)

    async def _handle(self, batch: Sequence[Observation], *, after: str) -> None:
        digest = self._digest(batch)
        # What is noted in memory before it is durable does no harm: if it cannot be made so, the term ends.
        async with self._conducts.lock:
            judgement = await asyncio.to_thread(self._conducts.judge, digest.jobs)
            await self._store.absorb(
                self._leader,
                history_jobs(digest.jobs),
                after=after,
                upto=batch[-1].position,
                engines=self._engines.observe(digest.steps),
                conduct=judgement.plain(),
            )
            if self._conducts.note(judgement):
                self._alarmed()
        self._instruments.absorbed(digest.jobs)
        for seen in digest.seen:
            self._tell(seen)
        if digest.jobs:
            self._grown()

    def _digest(self, batch: Iterable[Observation]) -> _Digest:
        digest = _Digest()
        for observation in batch:
            try:
                found = read_observation(observation.data)
                job = recorded(found) if isinstance(found, JobObserved) else None
                if job is not None:
                    # What is in a history must be readable, or nothing could be learned from it any more.
                    list(read_history(write_jobs([job]), observation.position))
            except (ValueError, LookupError, RecursionError) as error:
                # One bad line must not keep all that come after it from being learned.
                self._instruments.observed("unreadable")
                _log.warning(
                    "observation left out", action="observation_unreadable", at=observation.position, error=str(error)
                )
                continue
            self._instruments.observed(_kind(found))
            if job is not None:
                digest.jobs.append(job)
                digest.seen.append(job)
            elif isinstance(found, AttemptObserved | StepsObserved):
                digest.seen.append(found)
        return digest

    def _tell(self, seen: TraceJob | AttemptObserved | StepsObserved) -> None:
        for listener in self._listeners:
            match seen:
                case TraceJob():
                    listener.job_finished(seen)
                case AttemptObserved():
                    listener.attempt_ended(seen)
                case StepsObserved():
                    listener.engine_measured(seen)


def _kind(found: Observed | None) -> str:
    match found:
        case AttemptObserved():
            return "attempt"
        case JobObserved():
            return "job"
        case StepsObserved():
            return "steps"
    return "unknown"


def history_jobs(jobs: Sequence[TraceJob]) -> list[HistoryJob]:
    """The jobs as the store keeps them."""
    return [
        HistoryJob(application=job.app, job_id=job.job_id, line=line.encode())
        for job, line in zip(jobs, write_jobs(jobs), strict=True)
    ]
