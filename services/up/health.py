"""`llmsched health SERVICE`: whether one service works, for people, scripts and the health checks of containers."""

from __future__ import annotations

import asyncio
import os
import urllib.error
import urllib.request

import click
import grpc
from grpc_health.v1 import health_pb2

from llmsched.api.planner.v1 import planner_pb2
from llmsched.api.profiler.v1 import profiler_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from llmsched.cli import output
from llmsched.cli.command import Settings, pass_settings
from llmsched.cli.exits import CommandFailed, Exit
from llmsched.client import Client
from llmsched.errors import LLMSchedError
from llmsched.options import Options
from llmsched.types import ExecutorState
from services.common.lifecycle import cancel_and_wait

#: Services that answer gRPC's health probes: the port they have by default, and their name in the contract.
_PROBED = {
    "planner": (7411, planner_pb2.DESCRIPTOR.services_by_name["PlannerService"].full_name),
    "profiler": (7413, profiler_pb2.DESCRIPTOR.services_by_name["ProfilerService"].full_name),
    "scheduler": (7412, scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"].full_name),
}
_ENGINE = "http://127.0.0.1:30000"
_EVERYWHERE = ("0.0.0.0", "[::]", "*", "")  #: where a service listens, but nobody can connect to
#: An engine is asked directly, as by its executor, whatever proxies the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Unwell(Exception):
    """The service does not work; the message says what is known."""


@click.command()
@click.argument("service", type=click.Choice([*_PROBED, "executor", "engine"]))
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Where it listens; of an executor, its schedulers (several with commas); of an engine, its URL. "
    "By default what the service's own LLMSCHED_* variables say, as in its container.",
)
@click.option("--id", "executor_id", metavar="ID", help="Of the executor.  [LLMSCHED_EXECUTOR_ID]")
@click.option("--leading", is_flag=True, help="A scheduler: only the one that leads is well, a standby is not.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=2.0, show_default=True, help="Seconds to wait."
)
@click.option("-o", "--output", "shape", type=click.Choice(["text", "json"]), help="Text or JSON.")
@pass_settings
def health(
    settings: Settings,
    service: str,
    address: str | None,
    executor_id: str | None,
    leading: bool,
    timeout: float,
    shape: str | None,
) -> None:
    """Say whether SERVICE works: exit code 0 if it does, 5 with the reason if not.

    A planner, profiler or scheduler is probed itself. An executor listens nowhere: its scheduler is asked whether it
    is attached and healthy. An engine is asked for its page /health.
    """
    as_json = (shape or settings.output) == "json"
    if leading and service != "scheduler":
        raise click.UsageError("--leading is for schedulers")
    if service in _PROBED:
        where = address or _own_address(service)
    elif service == "engine":
        where = address or os.environ.get("LLMSCHED_EXECUTOR_ENGINE_URL") or _ENGINE
    else:
        where = address or os.environ.get("LLMSCHED_SCHEDULERS") or "127.0.0.1:7412"
        executor_id = executor_id or os.environ.get("LLMSCHED_EXECUTOR_ID")
        if not executor_id:
            raise click.UsageError("which executor? Give --id, or set LLMSCHED_EXECUTOR_ID")
    try:
        if service == "engine":
            found = _ask_engine(where, timeout)
        elif service == "executor":
            found = asyncio.run(_ask_for_executor(str(executor_id), _addresses(where), timeout))
        else:
            found = _probe(where, _PROBED[service][1] if leading else "", timeout)
    except Unwell as error:
        raise CommandFailed(f"{service} at {where}: {error}", Exit.UNAVAILABLE, as_json=as_json) from error
    if as_json:
        output.print_json({"service": service, "address": where, "state": found})
    else:
        click.echo(f"{service} at {where}: {found}")


def _addresses(text: str) -> list[str]:
    found = [address for each in text.split(",") if (address := each.strip())]
    if not found:
        raise click.UsageError(f"{text!r} names no scheduler")
    return found


def _own_address(service: str) -> str:
    """Where a service listens that was started with this environment, as its own machine reaches it."""
    listen = os.environ.get(f"LLMSCHED_{service.upper()}_LISTEN") or f"127.0.0.1:{_PROBED[service][0]}"
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in _EVERYWHERE else listen


def _probe(address: str, name: str, timeout: float) -> str:
    """Asks gRPC's health service. Raises Unwell."""
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            status = check(health_pb2.HealthCheckRequest(service=name), timeout=timeout).status
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise Unwell(f"no answer within {timeout:g} s") from error
            raise Unwell(f"not reachable: {error.details()}") from error
    if status != health_pb2.HealthCheckResponse.SERVING:
        raise Unwell("not serving: it stands by, or ends" if name else "not serving: it starts, or ends")
    return "leading" if name else "serving"


def _ask_engine(url: str, timeout: float) -> str:
    """Asks for an engine's page. Raises Unwell."""
    try:
        with _DIRECT.open(f"{url.rstrip('/')}/health", timeout=timeout):
            return "serving"  # any other status than success is raised
    except urllib.error.HTTPError as error:
        error.close()
        raise Unwell(f"not serving: {error}") from error
    except (OSError, ValueError) as error:
        raise Unwell(f"not reachable: {error}") from error


async def _ask_for_executor(executor_id: str, schedulers: list[str], timeout: float) -> str:
    """Asks all schedulers at once, so that one whose host is gone costs nothing. Raises Unwell."""
    asked = [asyncio.create_task(_executor_state(executor_id, each, timeout)) for each in schedulers]
    refusal: LLMSchedError | None = None
    try:
        for answer in asyncio.as_completed(asked):
            try:
                state = await answer
            except LLMSchedError as error:
                refusal = error
                continue
            if state not in (ExecutorState.ATTACHED, ExecutorState.DRAINING):
                raise Unwell(f"{executor_id} is {state or 'not attached'}")
            return f"{executor_id} is {state}"
    finally:
        await cancel_and_wait(*asked)
    raise Unwell(f"no scheduler tells of it: {refusal}") from refusal


async def _executor_state(executor_id: str, scheduler: str, timeout: float) -> ExecutorState | None:
    """What the leader, found by way of this scheduler, says; None: it has no such executor. Raises LLMSchedError."""
    options = Options(scheduler=(scheduler,), timeout=timeout, connect_timeout=timeout)
    async with Client(options=options) as client:
        executors = (await client.cluster()).executors
    return next((each.state for each in executors if each.executor_id == executor_id), None)
