"""The way from a port outside through a Unix socket to a port inside."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lab import bridge
from services.up.stack import free_port


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says what it was told once all of that is there."""
    writer.write((await reader.read()).upper())
    writer.close()


async def ask(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    writer.write_eof()
    got = await reader.read()
    writer.close()
    return got


async def test_both_directions_to_their_ends(tmp_path: Path) -> None:
    page = await asyncio.start_server(answer, "127.0.0.1", 0)
    port, inner = free_port(), page.sockets[0].getsockname()[1]
    async with page, bridge.inside(tmp_path / "page", "127.0.0.1", inner), bridge.outside(port, tmp_path / "page"):
        text = b"x" * 1_000_000
        assert await asyncio.gather(ask(port, text), ask(port, b"short")) == [text.upper(), b"SHORT"]


async def test_a_page_that_is_not_there_ends_the_connection(tmp_path: Path) -> None:
    port = free_port()
    async with bridge.inside(tmp_path / "page", "127.0.0.1", free_port()), bridge.outside(port, tmp_path / "page"):
        assert await ask(port, b"anybody?") == b""
