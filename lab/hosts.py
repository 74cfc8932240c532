"""The cluster of deploy/systemd/hosts.yaml on hosts of a lab. Only in a network of its own (`lab.enter`)."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import llmsched
from lab import systemd
from lab.network import Network
from lab.processes import Processes, Service

SCHEDULERS = ("sched-0", "sched-1")
START_SECONDS = 400.0  #: for everything to be well; a busy machine takes long to start a dozen services
EXECUTORS = {"exec-a": "llm-a", "exec-b": "llm-b"}  #: hosts with an engine, and the LLM executors there
_METRICS = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:30000/metrics').read().decode())"
#: Variables of cluster.env that the command line and the acceptance tests go by.
_FOR_CLIENTS = ("LLMSCHED_ADDRESS", "LLMSCHED_SCHEDULER", "LLMSCHED_PROFILER")


@dataclass(frozen=True, slots=True)
class Hosts:
    """A running cluster."""

    network: Network
    processes: Processes

    async def leader(self) -> str:
        """The host of the scheduler that says it leads. Raises LookupError if none does, or more than one."""
        leading = []
        for host in SCHEDULERS:
            name = f"{host}.llmsched-scheduler"
            if self.processes.running(name) and await self._leads(name):
                leading.append(host)
        if len(leading) != 1:
            raise LookupError(f"leading: {', '.join(leading) or 'nobody'}")
        return leading[0]

    async def generated_tokens(self) -> int:
        """Tokens that the engines have made since they were started, whoever had use for them."""
        total = 0
        for host in EXECUTORS:
            code, page, errors = await self.processes.run(host, [sys.executable, "-c", _METRICS])
            found = re.search(r"^sglang:generation_tokens_total\S* (\d+)", page, re.MULTILINE)
            if code or not found:
                raise LookupError(f"the engine of {host} tells no numbers: {errors}{page}")
            total += int(found[1])
        return total

    async def _leads(self, name: str) -> bool:
        service = self.processes.services[name]
        code, _, _ = await self.processes.run(service.host, [*service.health, "--leading"], service.environment)
        return code == 0


def client_environment() -> dict[str, str]:
    """What a client needs to know, as cluster.env has it."""
    variables = systemd.read_variables(systemd.FOLDER / "etc" / "cluster.env")
    return {name: variables[name] for name in _FOR_CLIENTS}


def client_options() -> llmsched.Options:
    """The same for the SDK, with patience for what is done to the cluster."""
    return llmsched.Options.load(environ={**client_environment(), "LLMSCHED_CONNECT_TIMEOUT": "60"})


@asynccontextmanager
async def running(
    folder: Path, *, settings: Mapping[str, Mapping[str, str]] | None = None, more: Sequence[Service] = ()
) -> AsyncIterator[Hosts]:
    """Starts everything, waits until all is well, and ends everything.

    `settings` are more variables, as `systemd.services` takes them; `more` services run on hosts of their own.
    """
    services = [*more, *systemd.services(folder, settings=settings)]
    hosts = list(dict.fromkeys([*systemd.load_hosts(), *(service.host for service in more)]))
    with Network(hosts, folder) as network:
        async with Processes(network, services, folder) as processes:
            await processes.ready(seconds=START_SECONDS)
            yield Hosts(network, processes)
