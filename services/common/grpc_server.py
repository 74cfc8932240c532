"""A gRPC server as every service runs it: health, reflection, rich errors, room for bursts, graceful end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.errors import DomainError
from services.common.interceptors import ErrorInterceptor

#: More than about a thousand RPCs started at once get spurious CANCELLED with gRPC's own limits.
_OPTIONS = [
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]

#: For clients of our own services. A host that is gone says nothing: it must be noticed within a few seconds.
CHANNEL_OPTIONS: list[tuple[str, int]] = [
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name the least time that an attempt to connect is given: far networks and busy hosts need it.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Two services in one process must not share a connection that one of them closes.
    ("grpc.use_local_subchannel_pool", 1),
]


class CannotListen(Exception):
    """An address cannot be listened on."""


class GrpcServer:
    """Servicers behind one address. Use: construct with what to add, `start`, …, `stop`."""

    def __init__(
        self,
        *,
        address: str,
        domain: str,
        services: Sequence[str],
        register: Callable[[grpc.aio.Server], None],
        translate: Callable[[Exception], DomainError | None] | None = None,
        max_message_bytes: int = 64 << 20,
    ) -> None:
        """`services` are full names for health and reflection; `register` adds the servicers.

        `translate` gives the domain's word for an exception of a lower layer, or None. Raises CannotListen.
        """
        options = [
            *_OPTIONS,
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
        ]
        self._server = grpc.aio.server(
            interceptors=[ErrorInterceptor(domain=domain, translate=translate)], options=options
        )
        self._services = services
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*services, reflection.SERVICE_NAME, health.SERVICE_NAME], self._server)
        register(self._server)
        try:
            self.port = self._server.add_insecure_port(address)  #: the one really bound
        except RuntimeError as error:
            hint = "is it taken by another process, or not an address of this machine?"
            raise CannotListen(f"cannot listen on {address}: {hint}") from error

    async def start(self) -> None:
        await self._server.start()
        await self.set_serving(True)

    async def set_serving(self, serving: bool, *services: str) -> None:
        """What health probes are told of these services; of the process ("") and all services if none is named."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in services or ("", *self._services):
            await self._health.set(service, status)

    async def stop(self, grace: float = 5.0) -> None:
        """Tells probes, refuses new calls, gives running ones `grace` seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
