"""How errors of Redis become errors of the state, shown on a server that answers as it is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from services.state.connection import RedisConnection
from services.state.port import StateError, StateUnavailable
from services.state.settings import RedisSettings


@asynccontextmanager
async def scripted(answer: bytes) -> AsyncIterator[str]:
    """Accepts the handshake, and gives `answer` to EXISTS; with b"" it is silent. Gives the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await _read_command(reader):
            writer.write(b"+OK\r\n" if words[0] != b"EXISTS" else answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _read_command(reader: asyncio.StreamReader) -> list[bytes]:
    header = await reader.readline()
    words = []
    for _ in range(int(header[1:] or 0)):
        size = int((await reader.readline())[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


async def ask(url: str) -> int:
    settings = RedisSettings(url=url, connect_timeout=0.5, answer_timeout=0.05, retries=0)
    connection = RedisConnection(settings)
    try:
        answer: int = await connection.command("EXISTS", "key")
        return answer
    finally:
        await connection.aclose()


async def test_an_answer_comes_through() -> None:
    async with scripted(b":1\r\n") as url:
        assert await ask(url) == 1


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (b"-LOADING Redis is loading the dataset in memory", "still loading"),
        (b"-BUSY Redis is busy running a script", "busy with a script"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.", "out of memory: raise its maxmemory"),
        (b"-MISCONF Redis is configured to save RDB snapshots", "cannot write to its disk"),
        (b"-READONLY You can't write against a read only replica.", "let the URL name the primary"),
        (b"-MASTERDOWN Link with MASTER is down", "wait for the failover"),
        (b"-CLUSTERDOWN Hash slot not served", "CLUSTER INFO"),
        (b"-NOREPLICAS Not enough good replicas to write.", "INFO replication"),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot", "the slot is moving"),
        (b"-NOAUTH Authentication required.", "check the user and password in the URL"),
        (b"-WRONGPASS invalid username-password pair", "check the user and password in the URL"),
    ],
)
async def test_an_error_that_passes_is_unavailability_with_what_to_do(answer: bytes, advice: str) -> None:
    async with scripted(answer + b"\r\n") as url:
        with pytest.raises(StateUnavailable, match=advice) as caught:
            await ask(url)
    assert url.rpartition("@")[2] in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("answer", [b"-WRONGTYPE Operation against a key", b"-NOPERM this user has no permissions"])
async def test_an_error_that_stays_is_not_unavailability(answer: bytes) -> None:
    async with scripted(answer + b"\r\n") as url:
        with pytest.raises(StateError, match="refused a command") as caught:
            await ask(url)
    assert not isinstance(caught.value, StateUnavailable)


async def test_a_silent_server_is_unavailable_in_time() -> None:
    async with scripted(b"") as url, asyncio.timeout(5.0):
        with pytest.raises(StateUnavailable, match="did not answer in time"):
            await ask(url)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with scripted(b"") as url:
        pass
    with pytest.raises(StateUnavailable, match=r"cannot reach Redis at 127\.0\.0\.1:\d+ .*check that it runs"):
        await ask(url)


@pytest.mark.parametrize(
    ("said", "raised"),
    [("unable to perform operation on <TCPTransport closed=True>; the handler is closed", StateUnavailable),
     ("a bug of ours", RuntimeError)],
)  # fmt: skip
async def test_uvloops_word_for_a_lost_connection_is_unavailability(
    said: str, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(Redis, "execute_command", broken)
    with pytest.raises(raised, match=re.escape(said)):
        await ask("redis://127.0.0.1:1")


async def test_a_call_after_closing_is_refused() -> None:
    async with scripted(b":1\r\n") as url:
        connection = RedisConnection(RedisSettings(url=url))
        await connection.aclose()
        with pytest.raises(StateUnavailable, match="closed"):
            await connection.command("EXISTS", "key")


async def test_a_cancelled_call_ends_at_once() -> None:
    async with scripted(b"") as url:
        connection = RedisConnection(RedisSettings(url=url))
        call = asyncio.ensure_future(connection.command("EXISTS", "key"))
        await asyncio.sleep(0)
        call.cancel()
        async with asyncio.timeout(1.0):
            with pytest.raises(asyncio.CancelledError):
                await call
        await connection.aclose()
