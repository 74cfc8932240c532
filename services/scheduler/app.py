"""The scheduler as a process: a gRPC server, and terms of leadership one after the other.

A scheduler that does not lead stands by: it answers health probes, and refers everybody else to the leader.
"""

from __future__ import annotations

import asyncio
import socket
import uuid

import grpc

from llmsched.api.executor.v1 import executor_pb2, executor_pb2_grpc
from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from services.common.clock import Clock, SystemClock
from services.common.grpc_server import GrpcServer
from services.common.lifecycle import cancel_and_wait
from services.common.logs import configure_logging, get_logger
from services.common.telemetry import Telemetry
from services.scheduler.api import SchedulerApi
from services.scheduler.core.policies.base import Knowledge
from services.scheduler.driver import Journal
from services.scheduler.event_log import EventLog
from services.scheduler.gateway import ExecutorGateway
from services.scheduler.instruments import Instruments, MetricJournal
from services.scheduler.knowledge import needs_history
from services.scheduler.planner_client import PlannerClient
from services.scheduler.profiles_client import ProfilesClient
from services.scheduler.recovery import choose_policy
from services.scheduler.refusals import not_leader, translate
from services.scheduler.settings import SchedulerSettings
from services.scheduler.spans import SpanJournal
from services.scheduler.term import Term
from services.state.factory import open_state
from services.state.leadership import Leadership
from services.state.port import CommitGap, LeadershipLost, SchedulerStore, StateUnavailable
from services.state.records import Leader

_log = get_logger(__name__)
#: How long a new leader waits for profiles that its policy needs.
_PROFILES_SECONDS = 3.0
_SCHEDULER = scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"].full_name
_GATEWAY = executor_pb2.DESCRIPTOR.services_by_name["ExecutorGatewayService"].full_name


class SchedulerApp:
    """One scheduler. Use: construct, `start`, `run` until it is to stop; `run` closes everything but the store."""

    def __init__(
        self,
        settings: SchedulerSettings,
        store: SchedulerStore,
        *,
        telemetry: Telemetry,
        clock: Clock | None = None,
    ) -> None:
        """Binds the port. Raises CannotListen."""
        self._settings = settings
        self._store = store
        self._telemetry = telemetry
        self._clock = clock or SystemClock()
        self._instruments = Instruments(telemetry.meter)
        self._event_log = EventLog(settings.event_log) if settings.event_log else None
        self._planner = PlannerClient(settings.planners, clock=self._clock, deadline=settings.planner_deadline)
        self._profiles = ProfilesClient(settings.profilers, clock=self._clock)
        self._following: asyncio.Task[None] | None = None
        self._term: Term | None = None
        self._decided = 0  #: number of this process's last decision, even if it never became durable
        self.leads = asyncio.Event()  #: set while this scheduler leads and has recovered
        self._server = GrpcServer(
            address=settings.listen,
            domain="scheduler.llmsched",
            services=[_SCHEDULER, _GATEWAY],
            register=self._register,
            translate=translate,
        )
        self.address = settings.advertise or _reachable(settings.listen, self._server.port)  #: where others reach it
        self._leadership = Leadership(
            store,
            instance=uuid.uuid4().hex,
            address=self.address,
            ttl_seconds=settings.leader_ttl_seconds,
            renew_seconds=settings.leader_renew_seconds,
            clock=self._clock,
        )

    async def start(self) -> None:
        """Serves from here on, as a standby."""
        if self._settings.profilers:
            self._following = asyncio.create_task(self._profiles.run(), name="profiles")
        await self._server.start()
        await self._server.set_serving(False, _SCHEDULER, _GATEWAY)
        _log.info("listening", action="started", address=self.address)

    async def run(self, stop: asyncio.Event) -> None:
        """Leads whenever it can, until `stop` is set; then gives the lead up at once."""
        leading = asyncio.create_task(self._lead_forever(), name="lead")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([leading, stopping], return_when=asyncio.FIRST_COMPLETED)
            if leading.done():
                leading.result()
        finally:
            await cancel_and_wait(leading, stopping, self._following)
            await self._server.stop()
            await self._planner.aclose()
            if self._event_log is not None:
                self._event_log.close()
            _log.info("stopped", action="stopped", address=self.address)

    def _register(self, server: grpc.aio.Server) -> None:
        settings = self._settings
        api = SchedulerApi(self._leading, default_policy=settings.default_policy)
        scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(api, server)
        executor_pb2_grpc.add_ExecutorGatewayServiceServicer_to_server(ExecutorGateway(self._leading), server)

    def _leading(self) -> Term:
        if self._term is None:
            leader = self._leadership.known_leader
            address = leader.address if leader is not None and leader.address != self.address else ""
            hint = f"another scheduler leads: {address}" if address else "this scheduler does not lead (yet)"
            raise not_leader(hint, leader=address)
        return self._term

    async def _lead_forever(self) -> None:
        while True:
            leader = await self._leadership.acquire()
            _log.info("leading", action="leading", epoch=leader.epoch)
            self._instruments.leader.set(1)
            try:
                await self._lead(leader)
            except* (LeadershipLost, CommitGap, StateUnavailable) as lost:
                reasons = [str(error) for error in _leaves(lost)]
                _log.warning("the lead is lost", action="leadership_lost", epoch=leader.epoch, reasons=reasons)
            except* Exception:
                # Memory may be wrong: start again from what is durable, after a breath.
                _log.exception("the term failed", action="term_failed", epoch=leader.epoch)
                await asyncio.sleep(self._settings.leader_renew_seconds)
            finally:
                self._instruments.leader.set(0)
                await self._leadership.release(leader)

    async def _lead(self, leader: Leader) -> None:
        term: Term | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._leadership.hold(leader), name="hold")
                term = await self._new_term(leader)
                tasks.create_task(term.run(self._open), name="term")
        finally:
            self._term = None
            self.leads.clear()
            if term is not None:
                self._decided = term.machine.decisions
                term.close()
            await self._server.set_serving(False, _SCHEDULER, _GATEWAY)

    async def _new_term(self, leader: Leader) -> Term:
        knowledge = await self._known()
        policy = await choose_policy(self._store, self._settings.default_policy, knowledge)
        # No older leader can add to it any more: the store refuses its commits.
        decisions = max(self._decided, await self._store.get_decisions())
        journals: list[Journal] = []
        if self._event_log is not None:
            self._event_log.begin(leader.epoch, policy, decisions=decisions, knowledge=knowledge)
            journals.append(self._event_log)
        if self._telemetry.enabled:
            journals.append(SpanJournal(self._telemetry))
        if self._telemetry.metrics_enabled:
            journals.append(MetricJournal(self._instruments))
        return Term(
            leader=leader,
            policy=policy,
            decisions=decisions,
            knowledge=knowledge,
            settings=self._settings,
            store=self._store,
            planner=self._planner,
            profiles=self._profiles,
            clock=self._clock,
            telemetry=self._telemetry,
            instruments=self._instruments,
            journals=journals,
        )

    async def _known(self) -> Knowledge:
        """What policies know to begin with. Waits for profiles only if the policy that was set needs them."""
        knowledge = self._profiles.added_to(self._settings.knowledge)
        stored = await self._store.get_policy()
        if stored is not None and needs_history(stored, knowledge):
            await self._profiles.heard(_PROFILES_SECONDS)
            knowledge = self._profiles.added_to(self._settings.knowledge)
        return knowledge

    async def _open(self, term: Term) -> None:
        self._term = term
        await self._server.set_serving(True, _SCHEDULER, _GATEWAY)
        self.leads.set()


def _reachable(listen: str, port: int) -> str:
    """How others name what listens there: by the machine's name if it listens on all its addresses."""
    host = listen.rpartition(":")[0]
    if listen.startswith("unix:"):
        return listen
    return f"{socket.gethostname() if host in ('0.0.0.0', '[::]') else host}:{port}"


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors in a tree of groups."""
    errors: list[BaseException] = []
    for error in group.exceptions:
        errors += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return errors


async def run(settings: SchedulerSettings, stop: asyncio.Event) -> None:
    """Runs a scheduler until `stop` is set. Raises CannotListen."""
    configure_logging("scheduler", level=settings.log_level)
    _log.info("settings", action="settings", **settings.without_secrets())
    if (learned := settings.knowledge.statistics) is not None:
        counts = {name: application.jobs for name, application in learned.applications.items()}
        _log.info("history read", action="history_read", jobs=learned.pooled.jobs, applications=counts)
    telemetry = Telemetry("scheduler")
    state = open_state(settings.redis_url, shard=settings.shard)
    try:
        app = SchedulerApp(settings, state, telemetry=telemetry)
        await app.start()
        await app.run(stop)
    finally:
        await state.aclose()
        telemetry.close()
