"""Runs untrusted programs: no network, one writable folder, limited memory, processors, processes and output.

How much of that a machine allows differs, so nothing is assumed: when a sandbox is opened, a program inside it
tries to break out, and what held is reported as `Isolation` with every result. Three ways are tried, the strongest
first: bubblewrap, Linux namespaces made by ourselves, and resource limits alone.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
import re
import selectors
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from services.executors.tool import processes

Backend = Literal["bubblewrap", "namespaces", "rlimits"]
BACKENDS: tuple[Backend, ...] = ("bubblewrap", "namespaces", "rlimits")

#: Where programs start, and the only place where they can write.
_FOLDER = "/tmp"
#: Users that systemd sets apart for short-lived services; no file belongs to them.
_FIRST_UID, _UIDS = 61184, 4336
_SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
_WRITABLE_BY_HABIT = ("/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/run", "/etc", "/usr")
_CAP_SETGID, _CAP_SETUID = 1 << 6, 1 << 7
_uid_turn = itertools.count()


class SandboxUnavailableError(Exception):
    """No way to run an untrusted program works on this machine; the message has the cause of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What a sandbox keeps from the rest of the machine, as measured from inside it."""

    backend: Backend
    #: Nothing can be reached, the machine's own loopback included.
    network: bool
    #: Nothing can be written outside the program's folder.
    filesystem_write: bool
    #: Nothing can be read but the system's programs and the Python installation.
    filesystem_read: bool
    #: Processes outside can neither be seen nor signalled.
    processes: bool
    #: The number of processes and threads is limited.
    forks: bool
    #: The address space of each process is limited.
    memory: bool
    #: The processor time of each process is limited.
    cpu: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of what is not isolated."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) is False)

    @property
    def complete(self) -> bool:
        return not self.missing

    def as_json(self) -> dict[str, Any]:
        """Backend, what is isolated and what is not, as a JSON value."""
        held = [f.name for f in fields(self) if getattr(self, f.name) is True]
        return {"backend": self.backend, "isolated": held, "not_isolated": list(self.missing)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """What one program may use."""

    #: Seconds of wall-clock time. Each process gets one second more of processor time.
    seconds: float = 10.0
    #: Bytes of address space of each process.
    memory_bytes: int = 512 * 2**20
    #: Processes and threads together.
    processes: int = 16
    #: Bytes of the largest file, and of all files together (the latter only where the folder is a tmpfs).
    file_bytes: int = 16 * 2**20
    folder_bytes: int = 64 * 2**20
    open_files: int = 64
    #: Bytes of standard output, and of standard error; a program that writes more is ended.
    output_bytes: int = 64 * 2**10

    def rlimits(self) -> dict[str, int]:
        return {
            "CORE": 0,
            "CPU": math.ceil(self.seconds) + 1,
            "AS": self.memory_bytes,
            "FSIZE": self.file_bytes,
            "NOFILE": self.open_files,
            "NPROC": self.processes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxResult:
    """How a program ended."""

    #: `exited` by itself (or by a limit of the kernel), or ended for its time or its output.
    ended: Literal["exited", "timeout", "output"]
    #: Its exit status; 128 + n when signal n killed it.
    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    isolation: Isolation


class Sandbox:
    """One way of running untrusted programs on this machine; see `open_sandbox`."""

    def __init__(self, isolation: Isolation, *, readable: Sequence[str] = ()) -> None:
        self.isolation = isolation
        self._readable = tuple(readable)
        executable = getattr(sys, "_base_executable", sys.executable)  # not the virtual environment's
        self._python = os.path.realpath(executable)

    def python(self, *arguments: str) -> list[str]:
        """The command for a Python program: this version, its standard library, nothing installed."""
        return [self._python, "-I", "-B", *arguments]

    def run(
        self, argv: Sequence[str], *, files: Mapping[str, str] | None = None, limits: SandboxLimits | None = None
    ) -> SandboxResult:
        """Put `files` (name to text) into an empty folder and run a program there, to its end.

        Blocks for `limits.seconds` at most. Whatever the program does is told in the result. When it is over,
        none of its processes is left and its folder is gone. Raises OSError when it cannot be started.
        """
        limits = limits or SandboxLimits()
        with self._command(argv, limits) as command, _as_file(json.dumps(dict(files or {}))) as stdin:
            began = time.perf_counter()
            with subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env={},
                start_new_session=True,
            ) as process:
                try:
                    capture = _Capture(process, limits.output_bytes)
                    ended = _watch(process, capture, began + limits.seconds)
                finally:
                    _end(process)
            code, (stdout, stderr) = process.returncode, capture.texts()
        return SandboxResult(
            ended=ended,
            exit_code=code if code >= 0 else 128 - code,
            stdout=stdout,
            stderr=stderr,
            seconds=time.perf_counter() - began,
            isolation=self.isolation,
        )

    @contextlib.contextmanager
    def _command(self, argv: Sequence[str], limits: SandboxLimits) -> Iterator[list[str]]:
        uid = _spare_user()
        if self.isolation.backend == "bubblewrap":
            yield [*self._bubblewrap(limits, uid), "--", *self._init(argv, limits, _FOLDER, uid)]
            return
        with tempfile.TemporaryDirectory(prefix="llmsched-sandbox-") as folder:
            if self.isolation.backend == "namespaces":
                init = self._init(argv, limits, _FOLDER, uid)
                yield self._namespaces(init, limits, folder, user_namespace=uid is None)
                return
            if not _open_to_all(self._python):
                uid = None  # another user could not even start Python
            if uid is not None:
                os.chown(folder, uid, uid)
            yield self._init(argv, limits, folder, uid)

    def _init(self, argv: Sequence[str], limits: SandboxLimits, folder: str, uid: int | None) -> list[str]:
        environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder}
        config = {
            "argv": list(argv),
            "folder": folder,
            "environ": environ,
            "uid": uid,
            "rlimits": limits.rlimits(),
        }
        return self._script("sandbox_init", config)

    def _script(self, name: str, config: Mapping[str, Any]) -> list[str]:
        # As text: the file itself is not visible inside.
        return self.python("-S", "-c", _source(name), json.dumps(config))

    def _bubblewrap(self, limits: SandboxLimits, uid: int | None) -> list[str]:
        command = ["bwrap", "--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid"]
        command += ["--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        if uid is not None:
            # Just enough to become another user; a user namespace would have no other one.
            command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            command += ["--unshare-user"]
        command += ["--perms", "1777", "--size", str(limits.folder_bytes), "--tmpfs", _FOLDER]
        paths, links = self._visible()
        for path in paths:
            # Made first: on the way to a private folder bubblewrap makes folders that nobody else may enter.
            for parent in reversed(Path(path).parents[:-1]):
                command += ["--perms", "0755", "--dir", str(parent)]
            command += ["--ro-bind", path, path]
        for path, target in links.items():
            command += ["--symlink", target, path]
        return [*command, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/"]

    def _namespaces(self, init: list[str], limits: SandboxLimits, root: str, *, user_namespace: bool) -> list[str]:
        paths, links = self._visible()
        config = {
            "root": root,
            "readable": paths,
            "links": links,
            "folder": _FOLDER,
            "folder_bytes": limits.folder_bytes,
            "user_namespace": user_namespace,
            "command": init,
        }
        return self._script("sandbox_namespaces", config)

    def _visible(self) -> tuple[list[str], dict[str, str]]:
        """What a program sees of the machine's files, read-only: folders, and links between them."""
        wanted = [path for path in _SYSTEM_FOLDERS if os.path.exists(path)]
        links = {path: os.readlink(path) for path in wanted if os.path.islink(path)}
        extra = [p for p in (sys.base_prefix, *self._readable) if not p.startswith("/usr/")]
        return [path for path in wanted if path not in links] + extra, links


def open_sandbox(backend: Backend | None = None, readable: Sequence[str] = ()) -> Sandbox:
    """The strongest sandbox this machine allows, or the named one; found out once per process (0.2 s).

    `readable` are more paths that programs may read. Raises SandboxUnavailableError.
    """
    return _open(backend, tuple(readable))


@functools.cache
def _open(backend: Backend | None, readable: tuple[str, ...]) -> Sandbox:
    causes = []
    for candidate in (backend,) if backend else BACKENDS:
        try:
            return Sandbox(_measure(candidate, readable), readable=readable)
        except (OSError, ValueError) as error:
            causes.append(f"{candidate}: {error}")
    raise SandboxUnavailableError("; ".join(causes))


def _measure(backend: Backend, readable: tuple[str, ...]) -> Isolation:
    """Let a program in the sandbox try to break out. Raises OSError or ValueError when it cannot even run."""
    nothing = dict.fromkeys((f.name for f in fields(Isolation) if f.name != "backend"), False)
    candidate = Sandbox(Isolation(backend=backend, **nothing), readable=readable)
    limits = SandboxLimits(memory_bytes=128 * 2**20, processes=8)
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as outside:
        os.chmod(outside, 0o777)
        unreadable = Path(outside, "unreadable")
        unreadable.touch(mode=0o644)
        inside = _FOLDER if backend != "rlimits" else None
        config = {
            "port": server.getsockname()[1],
            "outside": [outside, *(folder for folder in _WRITABLE_BY_HABIT if folder != inside)],
            "unreadable": str(unreadable),
            "pid": os.getpid(),
            "processes": limits.processes,
            "memory_bytes": limits.memory_bytes,
        }
        probe = candidate.python("-c", _source("sandbox_probe"), json.dumps(config))
        result = candidate.run(probe, limits=limits)
    if result.exit_code != 0 or result.ended != "exited":
        lines = result.stderr.strip().splitlines() or [f"exit status {result.exit_code}"]
        raise OSError(lines[-1])
    return Isolation(**{**asdict(candidate.isolation), **json.loads(result.stdout)})


class _Capture:
    """The two output streams of a program, up to a limit."""

    def __init__(self, process: subprocess.Popen[bytes], limit: int) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._limit = limit
        self._data = {stream.fileno(): bytearray() for stream in (process.stdout, process.stderr)}
        for descriptor in self._data:
            os.set_blocking(descriptor, False)

    @property
    def descriptors(self) -> list[int]:
        return list(self._data)

    @property
    def overflowed(self) -> bool:
        return any(len(data) > self._limit for data in self._data.values())

    def drain(self, descriptor: int) -> bool:
        """Take what is there now; False once the stream has ended."""
        data = self._data[descriptor]
        with contextlib.suppress(BlockingIOError):
            while len(data) <= self._limit:
                part = os.read(descriptor, 2**16)
                if not part:
                    return False
                data += part
        return True

    def texts(self) -> list[str]:
        return [bytes(data[: self._limit]).decode(errors="replace") for data in self._data.values()]


def _watch(
    process: subprocess.Popen[bytes], capture: _Capture, deadline: float
) -> Literal["exited", "timeout", "output"]:
    """Collect what a program writes until it ends or has to be ended."""
    pidfd = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as selector, os.fdopen(pidfd):
        for descriptor in (pidfd, *capture.descriptors):
            selector.register(descriptor, selectors.EVENT_READ)
        while ready := selector.select(max(0.0, deadline - time.perf_counter())):
            exited = any(key.fd == pidfd for key, _ in ready)
            # Once it has ended, take all that is left: a process it leaves behind may hold the streams open.
            for descriptor in capture.descriptors if exited else [key.fd for key, _ in ready]:
                if not capture.drain(descriptor) and not exited:
                    selector.unregister(descriptor)
            if capture.overflowed:
                return "output"
            if exited:
                return "exited"
    return "timeout"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of a program running. Its leader is not buried before: its number stays ours till then."""
    processes.kill_tree(process.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _spare_user() -> int | None:
    """A user of its own for one program; None where this process may not become another user."""
    if os.geteuid() != 0:
        return None
    uid = _FIRST_UID + (os.getpid() + next(_uid_turn)) % _UIDS
    status = Path("/proc/self/status").read_text()
    effective = int(re.findall(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[0], 16)
    ranges = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    mapped = any(first <= uid < first + count for first, _, count in ranges)
    return uid if mapped and effective & _CAP_SETGID and effective & _CAP_SETUID else None


def _open_to_all(path: str) -> bool:
    return all(os.stat(part).st_mode & stat.S_IXOTH for part in (Path(path), *Path(path).parents))


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[int]:
    """A descriptor from which a child can read the text, however long it is."""
    with os.fdopen(os.memfd_create("sandbox-files"), "w+b") as file:
        file.write(text.encode())
        file.seek(0)
        yield file.fileno()


@functools.cache
def _source(module: str) -> str:
    return Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
