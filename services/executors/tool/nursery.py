"""The executor's side of the template process: starts workers, kills them, hears of their end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.executors.tool import template
from services.executors.tool.runner import ToolUnavailableError
from services.executors.tool.worker import HEADER

#: Variables a worker gets from the executor's environment. Everything else, passwords above all, stays out,
#: except what a tool names in `env=`.
PASSED_ON = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER"}
    | {"PYTHONHASHSEED", "PYTHONPATH", "VIRTUAL_ENV"}
    | {"NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
    | {"REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"}
)
_PACKET = 65536
#: Seconds to import all tools.
_START_TIMEOUT = 60.0
#: Seconds until the template is killed after its control socket was closed.
_STOP_TIMEOUT = 5.0


class Worker:
    """One worker process, as seen from the executor."""

    def __init__(self, worker_id: int, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.id = worker_id
        #: Known once the worker has been forked.
        self.born: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.calls = 0
        #: The wait status (see os.waitstatus_to_exitcode); None when the template died as well.
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._reader, self._writer = streams

    async def ask(self, request: bytes, answer_limit: int) -> bytes:
        """Send a request and wait for its answer. Raises EOFError or OSError when the worker is gone."""
        self.calls += 1
        self._writer.write(HEADER.pack(len(request)) + request)
        await self._writer.drain()
        size = HEADER.unpack(await self._reader.readexactly(HEADER.size))[0]
        if size > answer_limit:
            raise EOFError(f"an answer of {size} bytes")
        return await self._reader.readexactly(size)

    def hang_up(self) -> None:
        """Close the channel at once, dropping what was not sent."""
        self._writer.transport.abort()

    def epitaph(self) -> str:
        """How the process ended, in words."""
        status = self.ended.result() if self.ended.done() else None
        if status is None:
            return "its process is gone"
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return f"its process ended with exit status {code}"
        hint = " (the kernel does this when the machine is out of memory)" if -code == signal.SIGKILL else ""
        return f"its process was killed by {signal.Signals(-code).name}{hint}"


class Nursery:
    """One template process and the workers that were forked from it."""

    def __init__(self, on_end: Callable[[Worker], None], on_lost: Callable[[], None]) -> None:
        self._on_end = on_end
        self._on_lost = on_lost
        self._ids = itertools.count()
        self._workers: dict[int, Worker] = {}
        self._ready: asyncio.Future[None] | None = None
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def open(self, locations: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start the template and wait until it has imported all tools.

        Raises ToolUnavailableError with the import error of a tool's module.
        """
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = [str(theirs.fileno()), os.pathsep.join(sys.path), *locations]
            self._process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", template.__name__, *arguments],
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env=dict(environ),
            )
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        loop.add_reader(self._control, self._on_news)
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await self._ready
        except TimeoutError:
            raise ToolUnavailableError(f"importing the tools took more than {_START_TIMEOUT:g} s") from None

    async def start_worker(self) -> Worker:
        """Fork a worker. Raises ToolUnavailableError when the machine refuses or the template is gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            worker = Worker(next(self._ids), await asyncio.open_unix_connection(sock=ours))
            # Known before it exists: its end may be told in the same breath as its birth.
            self._workers[worker.id] = worker
            try:
                self._order({"start": worker.id}, [theirs.fileno()])
                await worker.born
            except BaseException:
                self.kill(worker)
                raise
        return worker

    def kill(self, worker: Worker) -> None:
        """End a worker and everything it started. The template does it: only a parent cannot hit a stranger."""
        worker.hang_up()
        if not worker.ended.done():
            # No template, no workers: they die with it.
            with contextlib.suppress(ToolUnavailableError):
                self._order({"kill": worker.id}, [])

    async def aclose(self) -> None:
        """End the template and all workers, and wait until they are gone."""
        self._disconnect()
        for worker in list(self._workers.values()):
            self._bury(worker, None)
        if self._process is None:
            return
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await asyncio.sleep(0)  # lets the aborted transports close their sockets

    def _order(self, order: dict[str, Any], fds: list[int]) -> None:
        if self._control is None:
            raise ToolUnavailableError("the process that starts workers is gone")
        try:
            socket.send_fds(self._control, [json.dumps(order).encode()], fds)
        except (BrokenPipeError, ConnectionResetError):
            raise ToolUnavailableError("the process that starts workers is gone") from None

    def _on_news(self) -> None:
        assert self._ready is not None
        data = self._read_control()
        if not data:
            self._on_eof()
            return
        news = json.loads(data)
        worker = self._workers.get(news.get("worker", -1))
        if worker is not None and "started" in news:
            _settle(worker.born, news["started"])
        elif worker is not None and "ended" in news:
            self._bury(worker, news["ended"])
        elif worker is not None:
            _fail(worker.born, f"a worker process cannot be started: {news['refused']}")
            self._bury(worker, None)
        elif "failed" in news:
            _fail(self._ready, f"the tools cannot be imported: {news['failed']}")
        elif "ready" in news:
            _settle(self._ready, None)

    def _read_control(self) -> bytes:
        assert self._control is not None
        try:
            return self._control.recv(_PACKET)
        except ConnectionResetError:
            return b""

    def _on_eof(self) -> None:
        self._disconnect()
        _fail(self._ready, "the process that starts workers ended while it imported the tools")
        for worker in list(self._workers.values()):
            self._bury(worker, None)
        self._on_lost()

    def _disconnect(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None

    def _bury(self, worker: Worker, status: int | None) -> None:
        self._workers.pop(worker.id, None)
        _fail(worker.born, "the process that starts workers is gone")
        _settle(worker.ended, status)
        worker.hang_up()
        self._on_end(worker)


def _settle(future: asyncio.Future[Any] | None, value: Any) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any] | None, why: str) -> None:
    if future is not None and not future.done():
        future.set_exception(ToolUnavailableError(why))
