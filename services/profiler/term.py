"""What a profiler does while it leads: it consumes observations, keeps histories, learns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.common.clock import Clock
from services.profiler.conducts import Conducts
from services.profiler.consumer import Consumer, Listener
from services.profiler.core.calibration import Report
from services.profiler.engines import Engines
from services.profiler.instruments import Instruments
from services.profiler.learner import Learner
from services.profiler.learning import Learning
from services.profiler.settings import ProfilerSettings
from services.state.port import ProfileStore
from services.state.records import EngineRecord, HistoryJob, Leader, ProfileRecord

#: Makes what listens in one term; it may have profiles learned (`Learning.ask`).
Listeners = Callable[[Learning], Sequence[Listener]]


class Term:
    """Dropped as a whole when the lead is lost."""

    def __init__(
        self,
        store: ProfileStore,
        leader: Leader,
        *,
        settings: ProfilerSettings,
        learner: Learner,
        clock: Clock,
        instruments: Instruments,
        listeners: Listeners,
    ) -> None:
        self._store = store
        self._leader = leader
        self._clock = clock
        self._engines = Engines()
        self._conducts = Conducts(clock=clock, instruments=instruments)
        self.learning = Learning(
            store,
            leader,
            learner=learner,
            work=settings.work,
            clock=clock,
            instruments=instruments,
            conducts=self._conducts,
            published=self._publish,
        )
        self._listeners = listeners(self.learning)
        self._consumer = Consumer(
            store,
            leader,
            poll_seconds=settings.poll_seconds,
            batch=settings.batch,
            instruments=instruments,
            conducts=self._conducts,
            engines=self._engines,
            grown=self.learning.grown,
            alarmed=self.learning.alarmed,
            listeners=self._listeners,
        )

    async def run(self) -> None:
        """Works until something ends the term. Raises what ended it, in a group."""
        try:
            self._engines.load(await self._store.engines())
            await self.learning.begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.learning.widen(), name="widen")
                tasks.create_task(self._consumer.run(), name="consume")
                tasks.create_task(self.learning.run(), name="learn")
        finally:
            await self.learning.aclose()

    def _publish(self, profile: ProfileRecord) -> None:
        for listener in self._listeners:
            listener.profile_published(profile)

    async def add_history(self, jobs: Sequence[HistoryJob]) -> None:
        """Raises LeadershipLost, CommitGap, StateUnavailable."""
        await self._store.add_history(self._leader, jobs)
        self.learning.grown()

    async def import_calibration(self, executor: str, report: Report) -> EngineRecord | None:
        """What a calibration run has measured, in place of all that was known of an engine. None: it measures nothing.

        Raises LeadershipLost, CommitGap, StateUnavailable.
        """
        async with self._conducts.lock:
            record = self._engines.imported(executor, report, self._clock.now())
            if record is not None:
                await self._store.put_engine(self._leader, record)
                self._engines.note(record)
            return record
