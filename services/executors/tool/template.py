"""The process that worker processes are forked from: it imports all tools once, then forks on demand.

    python -m services.executors.tool.template CONTROL_FD SYS_PATH LOCATION...

A location is `module:function`. On the control socket (SOCK_SEQPACKET, one JSON message a packet) it takes
`{"start": id}` with the worker's end of a channel attached and `{"kill": id}`, and tells `{"ready": true}` or
`{"failed": why}` once, then `{"worker": id, ...}` with `"started": pid`, `"refused": why` or `"ended": wait
status`. It stays single-threaded: only then is a fork safe.

Nothing outlives the executor: when the control socket closes the template kills all workers and ends; when the
template is killed the kernel kills its workers.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NoReturn

from llmsched.tools import ToolSpec, spec_of
from services.executors.tool import processes, worker

_PACKET = 65536


@dataclass(frozen=True, slots=True)
class _Child:
    id: int
    pid: int
    pidfd: int


class Template:
    """Forks, kills and buries workers as the control socket says."""

    def __init__(self, control: socket.socket, specs: Mapping[str, ToolSpec]) -> None:
        self._control = control
        self._specs = specs
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def serve(self) -> None:
        """Work until the executor closes the control socket."""
        self._tell({"ready": True})
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.data is not None:
                        self._bury(key.data)
                    elif not self._obey():
                        return
        except BrokenPipeError:  # the executor died while it was being told something
            return
        finally:
            for child in self._children.values():
                processes.kill_tree(child.pid)

    def _obey(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, _PACKET, 1)
        if not data:
            return False
        order = json.loads(data)
        if "start" in order:
            self._start(order["start"], socket.socket(fileno=fds[0]))
        elif order["kill"] in self._children:
            processes.kill_tree(self._children[order["kill"]].pid)
        return True

    def _start(self, worker_id: int, channel: socket.socket) -> None:
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell({"worker": worker_id, "refused": str(error)})
            channel.close()
            return
        if pid == 0:
            self._become_worker(template, channel)
        channel.close()
        child = _Child(worker_id, pid, os.pidfd_open(pid))
        self._children[worker_id] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)
        self._tell({"worker": worker_id, "started": pid})

    def _become_worker(self, template: int, channel: socket.socket) -> NoReturn:
        status = 1
        try:
            processes.die_with(template)
            self._selector.close()
            self._control.close()
            for sibling in self._children.values():
                os.close(sibling.pidfd)
            worker.serve(channel, self._specs)
            status = 0
        except (BrokenPipeError, ConnectionResetError):
            pass  # the pool has given this worker up
        except BaseException:
            traceback.print_exc()
        finally:
            # Never back into the template's own loop, and none of its exit handlers.
            os._exit(status)

    def _bury(self, child: _Child) -> None:
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        del self._children[child.id]
        _, status = os.waitpid(child.pid, 0)
        self._tell({"worker": child.id, "ended": status})

    def _tell(self, news: dict[str, Any]) -> None:
        self._control.send(json.dumps(news).encode())


def load(locations: list[str]) -> dict[str, ToolSpec]:
    """Import the tools at these places. Raises ImportError when one is not there."""
    specs = {}
    for location in locations:
        module, _, name = location.partition(":")
        spec = spec_of(attrgetter(name)(importlib.import_module(module)))
        if spec is None:
            raise ImportError(f"{location} is no tool")
        specs[spec.name] = spec
    return specs


def main(control_fd: int, path: str, locations: list[str]) -> None:
    # Out of the terminal's foreground group: Ctrl-C is for the executor, which then ends its workers in order.
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    # As the executor has it: a tool must be found here if it was found there.
    sys.path[:] = path.split(os.pathsep)
    try:
        specs = load(locations)
    except Exception as error:
        # Turned into news: the executor says it in its own words and ends.
        control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        raise SystemExit(1) from None
    # What is there now stays shared between all workers instead of being copied by the collector.
    gc.collect()
    gc.freeze()
    Template(control, specs).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
