"""Runs inside a sandbox and tries to break out; prints as JSON what held. Standard library only.

Its one argument is JSON: `port` (somebody listens there on the host's loopback), `outside` (folders that must not
be writable), `unreadable` (a file that must not be readable), `pid` (a process that must not be reachable),
`processes` and `memory_bytes` (the limits).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
from typing import Any


def main(config: dict[str, Any]) -> dict[str, bool]:
    return {
        "network": not _can_connect(config["port"]),
        "filesystem_write": not any(_can_write(folder) for folder in config["outside"]),
        "filesystem_read": not _can_read(config["unreadable"]),
        "processes": not _can_signal(config["pid"]),
        "forks": not _can_fork(config["processes"] + 1),
        "memory": not _can_allocate(2 * config["memory_bytes"]),
        "cpu": resource.getrlimit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY,
    }


def _can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def _can_write(folder: str) -> bool:
    path = os.path.join(folder, f"llmsched-probe-{os.getpid()}")
    try:
        with open(path, "x", encoding="ascii"):
            os.unlink(path)
    except OSError:
        return False
    return True


def _can_read(path: str) -> bool:
    try:
        with open(path, encoding="ascii"):
            return True
    except OSError:
        return False


def _can_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _can_fork(count: int) -> bool:
    children = []
    try:
        for _ in range(count):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except OSError:
        return False
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return True


def _can_allocate(size: int) -> bool:
    try:
        bytearray(size)
    except MemoryError:
        return False
    return True


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
