"""Puts the profiler together: the only place that picks classes.

Every profiler answers what can be read. One of them leads, and does the rest.
"""

from __future__ import annotations

import asyncio
import socket
import uuid

import grpc

from llmsched.api.profiler.v1 import profiler_pb2, profiler_pb2_grpc
from services.common.clock import Clock, SystemClock
from services.common.grpc_server import GrpcServer
from services.common.lifecycle import cancel_and_wait
from services.common.logs import configure_logging, get_logger
from services.common.telemetry import Telemetry
from services.profiler.api import ProfilerServicer
from services.profiler.instruments import Instruments
from services.profiler.learner import Learner, ProcessLearner
from services.profiler.predict import Predictor
from services.profiler.refusals import not_leader, translate
from services.profiler.settings import ProfilerSettings
from services.profiler.term import Listeners, Term
from services.state.factory import open_state
from services.state.leadership import Leadership
from services.state.port import CommitGap, LeadershipLost, State, StateUnavailable
from services.state.records import Leader
from services.state.settings import Limits

_log = get_logger(__name__)
SERVICE = profiler_pb2.DESCRIPTOR.services_by_name["ProfilerService"].full_name
DOMAIN = "profiler.llmsched"


class Profiler:
    """A profiler on an open state. `start`, use `address`, `stop`."""

    def __init__(
        self,
        settings: ProfilerSettings,
        state: State,
        *,
        telemetry: Telemetry,
        clock: Clock | None = None,
        learner: Learner | None = None,
        listeners: Listeners = lambda learning: (),
    ) -> None:
        """`listeners` hear of all that this profiler consumes while it leads. Raises CannotListen."""
        self._settings = settings
        self._store = state.profiles
        self._clock = clock or SystemClock()
        self._learner = learner or ProcessLearner(deadline=settings.learn_deadline)
        self._listeners = listeners
        self._instruments = Instruments(telemetry.meter)
        self._term: Term | None = None
        self._task: asyncio.Task[None] | None = None
        self.leads = asyncio.Event()  #: set while this profiler leads
        self._servicer = ProfilerServicer(
            self._store,
            leading=self._leading,
            predictor=Predictor(state, work=settings.work, clock=self._clock),
            progress_seconds=settings.progress_seconds,
            max_import_bytes=settings.max_import_bytes,
        )
        self._server = GrpcServer(
            address=settings.listen,
            domain=DOMAIN,
            services=[SERVICE],
            register=self._register,
            translate=translate,
        )
        self.address = settings.advertise or _reachable(settings.listen, self._server.port)
        self._leadership = Leadership(
            self._store,
            instance=uuid.uuid4().hex,
            address=self.address,
            ttl_seconds=settings.leader_ttl_seconds,
            renew_seconds=settings.leader_renew_seconds,
            clock=self._clock,
        )

    async def start(self) -> None:
        self._task = asyncio.create_task(self._lead_forever(), name="lead")
        await self._server.start()

    async def stop(self, grace: float = 5.0) -> None:
        """Gives the lead up, and lets calls end for so many seconds."""
        self._servicer.stop_watches()
        await cancel_and_wait(self._task)
        await self._server.stop(grace)

    def _register(self, server: grpc.aio.Server) -> None:
        profiler_pb2_grpc.add_ProfilerServiceServicer_to_server(self._servicer, server)

    def _leading(self) -> Term:
        if self._term is None:
            leader = self._leadership.known_leader
            raise not_leader(leader.address if leader is not None and leader.address != self.address else "")
        return self._term

    async def _lead_forever(self) -> None:
        while True:
            leader = await self._leadership.acquire()
            _log.info("leading", action="leading", epoch=leader.epoch)
            try:
                await self._lead(leader)
            except* (LeadershipLost, CommitGap, StateUnavailable) as lost:
                _log.warning("the lead is lost", action="leadership_lost", epoch=leader.epoch, reasons=_texts(lost))
            except* Exception:
                # Memory may be wrong: start again from what is durable, after a breath.
                _log.exception("the term failed", action="term_failed", epoch=leader.epoch)
                await asyncio.sleep(self._settings.leader_renew_seconds)
            finally:
                await self._leadership.release(leader)

    async def _lead(self, leader: Leader) -> None:
        term = Term(
            self._store,
            leader,
            settings=self._settings,
            learner=self._learner,
            clock=self._clock,
            instruments=self._instruments,
            listeners=self._listeners,
        )
        self._term = term
        self._instruments.leads(True)
        self.leads.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._leadership.hold(leader), name="hold")
                tasks.create_task(term.run(), name="term")
        finally:
            self._term = None
            self._instruments.leads(False)
            self.leads.clear()


def _reachable(listen: str, port: int) -> str:
    """How others name what listens there: by the machine's name if it listens on all its addresses."""
    host = listen.rpartition(":")[0]
    if listen.startswith("unix:"):
        return listen
    return f"{socket.gethostname() if host in ('0.0.0.0', '[::]') else host}:{port}"


def _texts(group: BaseExceptionGroup[BaseException]) -> list[str]:
    """What the errors in a group say."""
    texts: list[str] = []
    for error in group.exceptions:
        texts += _texts(error) if isinstance(error, BaseExceptionGroup) else [str(error)]
    return texts


async def run(settings: ProfilerSettings, stop: asyncio.Event) -> None:
    """Runs a profiler until `stop`."""
    configure_logging("profiler", level=settings.log_level)
    telemetry = Telemetry("profiler")
    limits = Limits(max_history=settings.max_history, max_profiles=settings.max_profiles)
    state = open_state(settings.redis_url, shard=settings.shard, limits=limits)
    try:
        profiler = Profiler(settings, state, telemetry=telemetry)
        await profiler.start()
        _log.info("profiler serves", action="serving", address=profiler.address)
        await stop.wait()
        await profiler.stop()
    finally:
        await state.aclose()
        telemetry.close()
