"""The inside of a worker process: one tool call after the other, each within its limits.

It runs in a fork of the template process, which has imported the tools already. Requests and answers are frames
on a socket: four bytes of length, then JSON (`invocation.Outcome` for answers).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import struct
import threading
from collections.abc import Iterator, Mapping

from llmsched.tools import ToolSpec
from services.executors.tool import processes
from services.executors.tool.invocation import perform, printed

HEADER = struct.Struct("!I")


def serve(channel: socket.socket, specs: Mapping[str, ToolSpec]) -> None:
    """Answer calls until the other end of the channel is gone or this process cannot be used again."""
    processes.adopt_orphans()
    secrets = _take_secrets(specs)
    usable = True
    while usable and (request := _receive(channel)) is not None:
        call = json.loads(request)
        spec = specs[call["tool"]]
        answer, usable = _answer(spec, call["args"], {v: secrets[v] for v in spec.env if v in secrets})
        channel.sendall(HEADER.pack(len(answer) + 1) + bytes([usable]) + answer)
    # The pool ends a used-up worker: had this process left by itself, the answer could be lost with it.
    channel.recv(1)


def _answer(spec: ToolSpec, args: object, secrets: Mapping[str, str]) -> tuple[bytes, bool]:
    threads = threading.active_count()
    with printed() as (stdout, stderr), _granted(secrets), _memory_limit(spec.limits.memory_bytes):
        outcome = perform(spec, args)
    processes.kill_leftovers()
    usable = outcome.reason not in ("MEMORY_EXCEEDED", "WORKER_CRASHED") and threading.active_count() <= threads
    return outcome.with_output(stdout.getvalue(), stderr.getvalue()).redacted(secrets).encode(), usable


def _take_secrets(specs: Mapping[str, ToolSpec]) -> dict[str, str]:
    """Remove every variable that some tool names from the environment, to grant each tool only its own."""
    names = {name for spec in specs.values() for name in spec.env}
    return {name: os.environ.pop(name) for name in names if name in os.environ}


@contextlib.contextmanager
def _granted(secrets: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(secrets)
    try:
        yield
    finally:
        for name in secrets:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _memory_limit(extra_bytes: int) -> Iterator[None]:
    """Let the address space grow by `extra_bytes` at most; beyond that allocations fail with MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = processes.virtual_bytes() + extra_bytes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _receive(channel: socket.socket) -> bytes | None:
    header = _read(channel, HEADER.size)
    return None if header is None else _read(channel, HEADER.unpack(header)[0])


def _read(channel: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = channel.recv(size - len(data))
        if not part:
            return None
        data += part
    return bytes(data)
