"""A compose file as processes, each on a host of its own that has the service's name: no address is rewritten.

What a container engine would do besides is done here as far as our files need it: the programs of images, volumes,
waiting for services that others depend on. Limits of memory and processors, and restarts, are not.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from graphlib import TopologicalSorter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from lab.network import Network
from lab.processes import Processes, Service
from services.state.embedded import find_binary

FOLDER = Path(__file__).parents[1] / "deploy" / "compose"
_LLMSCHED = [sys.executable, "-m", "llmsched.cli"]
_GRACE = "10s"  #: Compose's own


def load(*names: str, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The files, merged as far as ours need it: services by service, their mappings by key; the later one wins."""
    merged: dict[str, Any] = {"services": {}}
    for name in names:
        document = yaml.safe_load(interpolate((FOLDER / name).read_text(), environ or {}))
        for service, settings in document["services"].items():
            known = merged["services"].setdefault(service, {})
            for key, value in settings.items():
                known[key] = {**known[key], **value} if isinstance(value, dict) and key in known else value
    return merged


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """`${NAME:-default}` and `${NAME:?message}`, as Compose reads them."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if given := environ.get(name):
            return given
        if kind == ":?":
            raise ValueError(f"{name}: {rest}")
        return rest

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, text)


def service(
    name: str, settings: Mapping[str, Any], folder: Path, programs: Mapping[str, Sequence[str]] | None = None
) -> Service:
    """One service of a file. Named volumes are folders in `folder`; `programs` says what services of images that are
    not ours run, before the words of their command. Raises LookupError if that is not known."""
    places = dict(_mounts(settings.get("volumes", ()), folder))
    test = settings.get("healthcheck", {}).get("test", ["NONE"])
    return Service(
        name=name,
        host=name,
        command=[_placed(word, places) for word in _program(name, settings, programs or {})],
        environment={key: _placed(str(value), places) for key, value in settings.get("environment", {}).items()},
        health=_tool(test[1:]) if test[0] == "CMD" else (),
        stop_seconds=float(settings.get("stop_grace_period", _GRACE).removesuffix("s")),
    )


class Running:
    """The services of a compose file while they run; in the `async with` block, and in a network of their own."""

    def __init__(
        self,
        services: Mapping[str, Mapping[str, Any]],
        folder: Path,
        *,
        programs: Mapping[str, Sequence[str]] | None = None,
        others: Collection[str] = (),
    ) -> None:
        """`others` are further hosts, on which nothing runs yet."""
        # Profiles are ways to leave a service out; nobody here asks for one.
        self.services = {name: settings for name, settings in services.items() if not settings.get("profiles")}
        made = [service(name, settings, folder, programs) for name, settings in self.services.items()]
        self.network = Network([*self.services, *others], folder)
        self.folder = folder  #: of logs, NAME.log, and volumes
        self._run = Processes(self.network, made, folder)
        self.hosts = self.network.addresses
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.enter_context(self.network)
            stack.push_async_exit(self._run)
            for name in TopologicalSorter({name: self._needs(name) for name in self.services}).static_order():
                if first := self._needs_healthy(name):
                    await self._run.ready(*first)
                await self._run.start(name)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def processes(self) -> Mapping[str, asyncio.subprocess.Process]:
        """By service, those that have ended too."""
        return self._run.processes

    async def healthy(self, name: str) -> bool:
        """What the service's health check says now. Raises ServiceEnded."""
        return await self._run.healthy(name)

    async def ready(self) -> None:
        """Waits until all services that can be asked are well."""
        await self._run.ready()

    async def kill(self, name: str) -> None:
        """kill -9; nothing starts it again by itself."""
        await self._run.kill(name)

    async def start(self, name: str) -> None:
        """Starts a service that has ended."""
        await self._run.start(name)

    async def run(self, host: str, *words: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Runs a command as in a service's container, or on one of the other hosts: exit status, output, errors."""
        known = self._run.services.get(host)
        told = {**(known.environment if known else {}), **(environment or {})}
        return await self._run.run(host, _tool(words), told)

    def _needs(self, name: str) -> list[str]:
        return [other for other in self.services[name].get("depends_on", ()) if other in self.services]

    def _needs_healthy(self, name: str) -> list[str]:
        needs = self.services[name].get("depends_on", {})
        conditions = needs if isinstance(needs, dict) else {}
        return [other for other in self._needs(name) if conditions.get(other, {}).get("condition") == "service_healthy"]


def _program(name: str, settings: Mapping[str, Any], programs: Mapping[str, Sequence[str]]) -> list[str]:
    words = list(settings.get("command", ()))
    if name in programs:
        return [*programs[name], *words]
    if settings["image"].startswith("llmsched:"):
        return [*_LLMSCHED, *words]  # the image's entry point
    if words[:1] == ["valkey-server"]:
        # The image has it so, too: containers are reached from others.
        return [str(find_binary()), *words[1:], "--protected-mode", "no"]
    raise LookupError(f"{name}: no program for the image {settings['image']}")


def _tool(words: Sequence[str]) -> list[str]:
    """A command in a container as this machine has it."""
    match words[0]:
        case "llmsched":
            return [*_LLMSCHED, *words[1:]]
        case "valkey-cli":
            client = shutil.which("valkey-cli") or shutil.which("redis-cli")
            # As the client's ping does, in words that need no client.
            ping = "import redis; redis.Redis().ping()"
            return [client, *words[1:]] if client else [sys.executable, "-c", ping]
        case _:
            return list(words)


def _mounts(volumes: Sequence[str], folder: Path) -> Iterator[tuple[str, str]]:
    for volume in volumes:
        source, target = volume.split(":")[:2]
        place = FOLDER / source if source.startswith(".") else folder / "volumes" / source
        place.mkdir(parents=True, exist_ok=True)
        yield target, str(place.resolve())


def _placed(text: str, places: Mapping[str, str]) -> str:
    """The text with folders of this machine in place of the container's."""
    for target, place in places.items():
        text = place.join(re.split(rf"(?<![\w/.-]){re.escape(target)}(?=/|$)", text))
    return text
