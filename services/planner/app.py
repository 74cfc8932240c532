"""Puts the planner together: the only place that picks classes."""

from __future__ import annotations

import asyncio

import grpc

from llmsched.api.planner.v1 import planner_pb2_grpc
from llmsched.tools import ToolRegistry
from services.common.clock import Clock, SystemClock
from services.common.errors import DomainError
from services.common.grpc_server import GrpcServer
from services.common.lifecycle import cancel_and_wait
from services.common.logs import configure_logging, get_logger
from services.common.telemetry import Telemetry
from services.planner.api import PlannerServicer
from services.planner.core.model import Limits, ToolInfo
from services.planner.instruments import Instruments
from services.planner.intake import Intake
from services.planner.programs import Programs
from services.planner.refusals import Reason
from services.planner.registry import Registry
from services.planner.results import JobResults
from services.planner.scheduler_client import SchedulerClient
from services.planner.settings import PlannerSettings
from services.planner.unfolding import Unfolder
from services.state.factory import open_state
from services.state.port import State, StateUnavailable

SERVICE = "llmsched.api.planner.v1.PlannerService"
DOMAIN = "planner.llmsched"
_log = get_logger(__name__)


class Planner:
    """A planner on an open state. `start`, use `port`, `stop`."""

    def __init__(
        self,
        settings: PlannerSettings,
        state: State,
        *,
        telemetry: Telemetry,
        clock: Clock | None = None,
        tools: ToolRegistry | None = None,
    ) -> None:
        """`tools` are the ones that plans can be told about; by default all that are installed here.

        Raises CannotListen.
        """
        clock = clock or SystemClock()
        registry = Registry(state, clock)
        instruments = Instruments(telemetry, clock)
        self._scheduler = SchedulerClient(
            state, deadline=settings.scheduler_deadline, sweep_seconds=settings.sweep_seconds
        )
        catalogue = {
            spec.name: ToolInfo(
                description=spec.description, signature=spec.signature, args_schema=dict(spec.args_schema)
            )
            for spec in (tools if tools is not None else ToolRegistry.from_entry_points())
        }
        limits = Limits(max_payload_bytes=settings.max_payload_bytes)
        self._servicer = servicer = PlannerServicer(
            state=state,
            registry=registry,
            intake=Intake(state, registry, self._scheduler, clock, settings, instruments),
            unfolder=Unfolder(state, catalogue=catalogue, limits=limits, instruments=instruments),
            results=JobResults(state),
            scheduler=self._scheduler,
            programs=Programs(state, self._scheduler, max_payload_bytes=settings.max_payload_bytes),
            instruments=instruments,
            progress_seconds=settings.progress_seconds,
            tracing=telemetry.enabled,
        )
        self._server = GrpcServer(
            address=settings.listen,
            domain=DOMAIN,
            services=[SERVICE],
            translate=_translate,
            register=lambda server: planner_pb2_grpc.add_PlannerServiceServicer_to_server(servicer, server),
        )
        self.port = self._server.port
        self._announcer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._announcer = asyncio.create_task(self._scheduler.run(), name="announce-jobs")
        await self._server.start()

    async def stop(self, grace: float = 5.0) -> None:
        """Lets calls end for so many seconds."""
        self._servicer.stop_watches()
        await self._server.stop(grace)
        await cancel_and_wait(self._announcer)
        await self._scheduler.aclose()


def _translate(error: Exception) -> DomainError | None:
    if isinstance(error, StateUnavailable):
        return DomainError(grpc.StatusCode.UNAVAILABLE, Reason.STATE_UNAVAILABLE, str(error), retry_after=1.0)
    return None


async def run(settings: PlannerSettings, stop: asyncio.Event) -> None:
    """Runs a planner until `stop`."""
    configure_logging("planner", level=settings.log_level)
    telemetry = Telemetry("planner")
    state = open_state(settings.redis_url, shard=settings.shard)
    try:
        planner = Planner(settings, state, telemetry=telemetry)
        await planner.start()
        _log.info("planner serves", action="serving", port=planner.port)
        await stop.wait()
        await planner.stop()
    finally:
        await state.aclose()
        telemetry.close()
