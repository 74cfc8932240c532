"""Hosts that are network namespaces, joined by a switch; any of them can be cut off.

Only in a network of its own (`lab.enter`): the switch is a bridge there, and the caller is on it too, so it talks to
all hosts.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.enter import INSIDE

_NETWORK = "198.18.0"  #: the first /24 of what RFC 2544 sets aside for testing networks
_SWITCH = "switch"
_CALLER = 1
CALLER = f"{_NETWORK}.{_CALLER}"  #: the address of whoever makes the network: the switch is on it


class Network:
    """Some hosts; exists inside the `with` block."""

    def __init__(self, hosts: Sequence[str], folder: Path) -> None:
        """`folder` gets the table of names. Raises RuntimeError outside of a network of its own."""
        if not os.environ.get(INSIDE):
            raise RuntimeError("hosts are made only in a network of their own: begin with python -m lab.enter")
        self.addresses = {name: f"{_NETWORK}.{number}" for number, name in enumerate(hosts, start=_CALLER + 1)}
        self._links = {name: f"port{number}" for number, name in enumerate(hosts)}
        self._table = folder / "hosts"

    def __enter__(self) -> Self:
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self.addresses.items())]
        self._table.write_text("".join(f"{line}\n" for line in lines))
        _run("mount", "--bind", str(self._table), "/etc/hosts")
        _run("ip", "link", "add", _SWITCH, "type", "bridge")
        _run("ip", "address", "add", f"{_NETWORK}.{_CALLER}/24", "dev", _SWITCH)
        _run("ip", "link", "set", _SWITCH, "up")
        for name in self.addresses:
            self._add(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.addresses:
            _run("ip", "netns", "delete", name)
        _run("ip", "link", "delete", _SWITCH)
        _run("umount", "/etc/hosts")

    def inside(self, host: str, words: Sequence[str]) -> list[str]:
        """The command that runs these words on that host, as the same process."""
        return ["nsenter", f"--net=/run/netns/{self._known(host)}", "--", *words]

    def cut(self, host: str) -> None:
        """From now on nothing gets to the host or from it. Nobody is told: connections stay and messages vanish."""
        _run("ip", "link", "set", self._links[host], "nomaster")

    def heal(self, host: str) -> None:
        """The host is back on the switch."""
        _run("ip", "link", "set", self._links[host], "master", _SWITCH)

    def _add(self, host: str) -> None:
        link = self._links[host]
        _run("ip", "netns", "add", host)
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", host)
        _run("ip", "link", "set", link, "master", _SWITCH, "up")
        for words in (("address", "add", f"{self.addresses[host]}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            _run(*self.inside(host, ["ip", *words]))
        _run(*self.inside(host, ["ip", "link", "set", "lo", "up"]))

    def _known(self, host: str) -> str:
        if host not in self.addresses:
            raise KeyError(f"no host {host}; there are {', '.join(self.addresses)}")
        return host


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)
