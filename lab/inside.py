"""What `python -m lab up` runs in a network of its own: the cluster, and a socket by which people have it hurt.

    python -m lab.inside FOLDER

Ends in order when its standard input ends, so also when whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from lab import bridge
from lab.hosts import Hosts, running
from lab.processes import Service
from services.up.phoenix import find_phoenix

CONTROL = "control"  #: the socket in the folder
PAGE = "page"  #: the socket in the folder behind which Phoenix's page is, if it is installed
READY = "ready"  #: the line after the description of what runs
PHOENIX, PAGE_PORT, OTLP_PORT = "phoenix", 6006, 4317


class Refused(Exception):
    """What was asked for cannot be done."""


class Control:
    """What can be asked of a running lab."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._orders: dict[str, Callable[[str], Awaitable[None]]] = {
            "cut": self._cut,
            "heal": self._heal,
            "lose": self._lose,
            "restore": self._restore,
            "restart": self._restart,
            "describe": self._nothing,
        }

    async def obey(self, order: str, name: str) -> str:
        """Does it, and says what is so now. Raises Refused."""
        await self._orders[order](name)
        return self.describe()

    def describe(self) -> str:
        """Hosts, addresses and services, one host a line."""
        processes = self._hosts.processes
        lines = []
        for host, address in self._hosts.network.addresses.items():
            names = [(name.removeprefix(f"{host}."), processes.running(name)) for name in processes.on(host)]
            told = ", ".join(name if runs else f"{name} (ended)" for name, runs in names)
            lines.append(f"  {host:<10} {address:<12} {told}")
        return "\n".join(lines)

    async def _cut(self, host: str) -> None:
        self._hosts.network.cut(self._known(host))

    async def _heal(self, host: str) -> None:
        self._hosts.network.heal(self._known(host))

    async def _lose(self, host: str) -> None:
        await self._hosts.processes.lose(self._known(host))

    async def _restore(self, host: str) -> None:
        processes = self._hosts.processes
        still = [name for name in processes.on(self._known(host)) if processes.running(name)]
        if still:
            raise Refused(f"{host} is not lost: {', '.join(still)} runs; `heal` ends a cut")
        await processes.restore(host)

    async def _restart(self, name: str) -> None:
        processes = self._hosts.processes
        if name not in processes.services:
            raise Refused(f"no service {name}; there are {', '.join(processes.services)}")
        if processes.running(name):
            await processes.stop(name)
        await processes.start(name)

    async def _nothing(self, host: str) -> None:
        self._known(host)

    def _known(self, host: str) -> str:
        known = self._hosts.network.addresses
        if host not in known:
            raise Refused(f"no host {host}; there are {', '.join(known)}")
        return host


@asynccontextmanager
async def listening(control: Control, socket: Path) -> AsyncIterator[None]:
    """Answers orders, one a connection: [order, name] as JSON; the answer is [whether done, text]."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            order, name = json.loads(await reader.readline())
            done, text = True, await control.obey(order, name)
        except (Refused, TimeoutError, OSError) as error:
            done, text = False, str(error)
        writer.write(json.dumps([done, text]).encode() + b"\n")
        writer.close()

    server = await asyncio.start_unix_server(answer, socket)
    async with server:
        yield


def phoenix_service(folder: Path) -> Service | None:
    """Phoenix on a host of its own, if it is installed."""
    program = find_phoenix()
    if program is None:
        return None
    work = folder / PHOENIX
    work.mkdir(exist_ok=True)
    ask = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PAGE_PORT}/healthz', timeout=2)"
    return Service(
        name=f"{PHOENIX}.phoenix",
        host=PHOENIX,
        command=[str(program), "serve"],
        environment={
            "PHOENIX_WORKING_DIR": str(work),
            "PHOENIX_HOST": "0.0.0.0",
            "PHOENIX_PORT": str(PAGE_PORT),
            "PHOENIX_GRPC_PORT": str(OTLP_PORT),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        },
        health=[sys.executable, "-c", ask],
        stop_seconds=15.0,
    )


async def serve(folder: Path) -> None:
    phoenix = phoenix_service(folder)
    endpoint = f"http://{PHOENIX}:{OTLP_PORT}"
    traces = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if phoenix else {}
    async with AsyncExitStack() as stack:
        hosts = await stack.enter_async_context(
            running(folder, settings={"": traces}, more=[phoenix] if phoenix else [])
        )
        control = Control(hosts)
        await stack.enter_async_context(listening(control, folder / CONTROL))
        if phoenix:
            await stack.enter_async_context(bridge.inside(folder / PAGE, PHOENIX, PAGE_PORT))
        print(control.describe(), READY, sep="\n", flush=True)
        await asyncio.Event().wait()


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass


async def main(folder: Path) -> None:
    """Serves until the input ends, also while it is still starting. Raises what it failed with."""
    serving, over = asyncio.create_task(serve(folder)), asyncio.create_task(_end_of_input())
    await asyncio.wait([serving, over], return_when=asyncio.FIRST_COMPLETED)
    over.cancel()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
