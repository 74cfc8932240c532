"""The decisions that were carried out: the latest of each active job, and a feed for whoever watches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from llmsched.api.scheduler.v1 import scheduler_pb2
from services.scheduler.convert import duration, figures_to_proto, timestamp
from services.scheduler.core.effects import Effect
from services.scheduler.core.events import Event
from services.scheduler.core.policies.explaining import figures
from services.scheduler.facts import AttemptStarted, JobEnded
from services.scheduler.ledger import Entry
from services.scheduler.refusals import slow_reader

_FEED_LIMIT = 1000  #: decisions a watcher may be behind


class DecisionJournal:
    def __init__(self, *, per_job: int) -> None:
        """`per_job` is how many decisions about a job are remembered."""
        self._per_job = per_job
        self._jobs: dict[str, deque[scheduler_pb2.Decision]] = {}
        self._feeds: set[_Feed] = set()
        self._closed: Exception | None = None

    def handled(self, events: Sequence[Event], effects: Sequence[Effect], seconds: float) -> None:
        """Nothing is durable yet."""

    def committed(self, entry: Entry, seconds: float) -> None:
        for fact in entry.facts:
            if isinstance(fact, AttemptStarted):
                decision = _decision(fact)
                job = self._jobs.setdefault(decision.job_id, deque(maxlen=self._per_job))
                job.append(decision)
                for feed in self._feeds:
                    feed.offer(decision)
            elif isinstance(fact, JobEnded):
                self._jobs.pop(fact.record.job_id, None)

    def of(self, job_id: str) -> list[scheduler_pb2.Decision]:
        """The latest decisions about a job, newest last."""
        return list(self._jobs.get(job_id, ()))

    async def watch(self, job_id: str, *, idle_seconds: float) -> AsyncGenerator[list[scheduler_pb2.Decision], None]:
        """Yields decisions from now on (empty: all jobs), an empty list when nothing happened for a while.

        Raises:
            DomainError: RESOURCE_EXHAUSTED/SLOW_READER; or what the journal was closed with.
        """
        feed = _Feed(job_id)
        self._feeds.add(feed)
        try:
            while True:
                if self._closed is not None:
                    raise self._closed
                yield await feed.take(idle_seconds)
        finally:
            self._feeds.discard(feed)

    def close(self, error: Exception) -> None:
        """Ends all feeds."""
        self._closed = error
        for feed in self._feeds:
            feed.news.set()


class _Feed:
    """What one watcher has not taken yet."""

    def __init__(self, job_id: str) -> None:
        self.news = asyncio.Event()
        self._job_id = job_id
        self._decisions: list[scheduler_pb2.Decision] = []
        self._overflowed = False

    def offer(self, decision: scheduler_pb2.Decision) -> None:
        if self._job_id not in ("", decision.job_id):
            return
        if len(self._decisions) >= _FEED_LIMIT:
            self._overflowed = True
        else:
            self._decisions.append(decision)
        self.news.set()

    async def take(self, idle_seconds: float) -> list[scheduler_pb2.Decision]:
        try:
            async with asyncio.timeout(idle_seconds):
                await self.news.wait()
        except TimeoutError:
            return []
        if self._overflowed:
            raise slow_reader(_FEED_LIMIT)
        self.news.clear()
        taken, self._decisions = self._decisions, []
        return taken


def key_text(key: tuple[object, ...]) -> str:
    """A policy's key for people."""
    return ", ".join(f"{part:.6g}" if isinstance(part, float) and abs(part) < 1e6 else str(part) for part in key)


def _decision(fact: AttemptStarted) -> scheduler_pb2.Decision:
    dispatch = fact.dispatch
    return scheduler_pb2.Decision(
        number=dispatch.number,
        decide_time=timestamp(fact.at),
        job_id=dispatch.attempt.job_id,
        stage_id=dispatch.attempt.stage_id,
        task_index=dispatch.attempt.task_index,
        attempt=dispatch.attempt.attempt,
        executor_id=dispatch.executor_id,
        policy=dispatch.policy,
        key=key_text(dispatch.key),
        rule=dispatch.rule,
        waited=duration(dispatch.waited_seconds),
        waiting_stages=dispatch.waiting_stages,
        figures=figures_to_proto((*figures(dispatch.key, dispatch.parts), *dispatch.more)),
    )
