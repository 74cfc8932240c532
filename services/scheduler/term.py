"""One term of leadership: everything that must be dropped as a whole when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import NoReturn

from services.common.clock import Clock
from services.common.telemetry import Telemetry
from services.scheduler.actions import DeltaPublisher, Outward
from services.scheduler.admission import Admission
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import AttemptRef, PolicySettings
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.decisions import DecisionJournal
from services.scheduler.driver import Driver, Journal
from services.scheduler.executor_pool import ExecutorPool
from services.scheduler.instruments import Instruments
from services.scheduler.ledger import Ledger
from services.scheduler.payloads import PayloadCache
from services.scheduler.planner_client import PlannerClient
from services.scheduler.profiles_client import ProfilesClient
from services.scheduler.programs import Programs
from services.scheduler.recovery import recover
from services.scheduler.refusals import leadership_lost, not_leader
from services.scheduler.settings import SchedulerSettings
from services.scheduler.step_reports import StepReports
from services.state.port import SchedulerStore
from services.state.records import Leader

_GAUGES_SECONDS = 2.0


class Term:
    """The machine and its surroundings, from a leader's recovery to the loss of the lead."""

    def __init__(
        self,
        *,
        leader: Leader,
        policy: PolicySettings,
        decisions: int,
        knowledge: Knowledge,
        settings: SchedulerSettings,
        store: SchedulerStore,
        planner: PlannerClient,
        profiles: ProfilesClient,
        clock: Clock,
        telemetry: Telemetry,
        instruments: Instruments,
        journals: Sequence[Journal],
    ) -> None:
        """`decisions` were taken before this term; `knowledge` is what policies have to begin with.

        `journals` hear of every batch, besides the term's own.
        """
        self.leader = leader
        self.clock = clock
        self._settings = settings
        self._store = store
        self._profiles = profiles
        self._telemetry = telemetry
        self._instruments = instruments
        self._background = asyncio.TaskGroup()
        self.machine = SchedulerMachine(policy, knowledge=knowledge, decisions=decisions)
        self.decisions = DecisionJournal(per_job=settings.decisions_per_job)
        self.deltas = DeltaPublisher(store)
        self.pool = ExecutorPool(
            clock=clock,
            epoch=leader.epoch,
            lease_seconds=settings.lease_seconds,
            heartbeat_seconds=settings.heartbeat_seconds,
            put=lambda arrival: self.driver.put(arrival),
            holding=self._holding,
        )
        self.ledger = Ledger(self.machine)
        self.steps = StepReports(clock=clock, write=self.ledger.observe)
        self.driver = Driver(
            machine=self.machine,
            ledger=self.ledger,
            store=store,
            leader=leader,
            clock=clock,
            actions=self._actions(planner),
            journals=[self.decisions, *journals],
        )
        self.admission = Admission(store=store, driver=self.driver, ledger=self.ledger, clock=clock)
        self.programs = Programs(
            machine=self.machine,
            ledger=self.ledger,
            driver=self.driver,
            store=store,
            admission=self.admission,
            clock=clock,
        )

    async def run(self, opened: Callable[[Term], Awaitable[None]]) -> NoReturn:
        """Recovers, calls `opened`, and works until something ends the term. Raises what ended it, in a group."""
        # Profiles first, so that recovery already goes by what is known. Nothing waits for what is not.
        with self._profiles.told_to(self.driver.put):
            async with self._background as background:
                background.create_task(self.driver.run(), name="driver")
                await recover(
                    store=self._store, driver=self.driver, machine=self.machine, pool=self.pool, clock=self.clock
                )
                background.create_task(self._expire_forever(), name="leases")
                background.create_task(self.deltas.run(), name="deltas")
                if self._telemetry.metrics_enabled:
                    background.create_task(self._measure_forever(), name="gauges")
                await opened(self)
        raise AssertionError("the driver never returns")

    def close(self) -> None:
        """Sends everybody away who waits for this term: executors, callers, watchers."""
        self.pool.close(leadership_lost(self.leader.epoch))
        over = not_leader(
            "this scheduler has just lost the lead; whether the call had an effect is not known", leader=""
        )
        self.driver.close(over)
        self.decisions.close(over)

    def _actions(self, planner: PlannerClient) -> Outward:
        return Outward(
            pool=self.pool,
            planner=planner,
            store=self._store,
            ledger=self.ledger,
            payloads=PayloadCache(limit_bytes=self._settings.payload_cache_bytes),
            clock=self.clock,
            telemetry=self._telemetry,
            put=lambda arrival: self.driver.put(arrival),
            spawn=lambda work: self._background.create_task(work),
        )

    def _holding(self, executor_id: str) -> tuple[AttemptRef, ...]:
        for executor in self.machine.executors():
            if executor.executor_id == executor_id:
                return executor.running
        return ()

    async def _expire_forever(self) -> NoReturn:
        interval = self._settings.heartbeat_seconds / 2
        while True:
            before = monotonic()
            await asyncio.sleep(interval)
            # If this process was stopped or too busy, it is we who did not listen: hear what has come in first.
            if monotonic() - before < 2 * interval:
                self.pool.expire()
                self.programs.expire()

    async def _measure_forever(self) -> NoReturn:
        while True:
            self._instruments.measure(self.machine)
            await asyncio.sleep(_GAUGES_SECONDS)
