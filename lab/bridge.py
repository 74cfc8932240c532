"""Lets this machine's browser see a page of a host in a lab: two networks that share nothing but files.

Outside, 127.0.0.1 is listened on, and each connection handed through a Unix socket to inside, where it goes on to the
host.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

_Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def outside(port: int, socket: Path) -> AsyncIterator[None]:
    """127.0.0.1:port leads to the Unix socket. Raises OSError if the port is taken."""
    server = await asyncio.start_server(_joined_to(lambda: asyncio.open_unix_connection(socket)), "127.0.0.1", port)
    async with server:
        yield


@asynccontextmanager
async def inside(socket: Path, host: str, port: int) -> AsyncIterator[None]:
    """The Unix socket leads to host:port."""
    server = await asyncio.start_unix_server(_joined_to(lambda: asyncio.open_connection(host, port)), socket)
    async with server:
        yield


def _joined_to(connect: _Connect) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    #: Held here: once one side has said all it has to say, the loop knows the other only by weak references.
    running: set[asyncio.Task[None] | None] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.current_task())
        try:
            with closing(writer), suppress(OSError):  # of either side: the other one sees its connection end
                far_reader, far_writer = await connect()
                with closing(far_writer):
                    await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            running.discard(asyncio.current_task())

    return join


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
