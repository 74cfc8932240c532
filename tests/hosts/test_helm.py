"""deploy/helm: each pod on a host of its own that has its name, with commands and environments as the chart gives them.

A Deployment has one pod here, which its Service's name means. What kubelets ask is asked as they do.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

import llmsched
from lab.network import Network
from lab.processes import Processes, Service
from services.state.embedded import find_binary
from tests.support.helm import NAMESPACE, Rendered, Workload, render
from tests.support.live import all_shapes, until

# One cluster for all; its leader is killed last.
pytestmark = [
    pytest.mark.network,
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]
LLMSCHED = [sys.executable, "-m", "llmsched.cli"]
SERVING = health_pb2.HealthCheckResponse.SERVING
LEADS = {"port": 7412, "service": "llmsched.api.scheduler.v1.SchedulerService"}


@dataclass(frozen=True, slots=True)
class Pods:
    """A release that runs."""

    rendered: Rendered
    addresses: Mapping[str, str]  #: by the name that others know a pod by
    processes: Processes

    @property
    def schedulers(self) -> list[str]:
        return hosts_of(self.rendered.workload("scheduler"))

    async def leading(self) -> str:
        """The scheduler whose service, not only its process, is SERVING."""
        found: list[str] = []

        async def one() -> bool:
            alive = [name for name in self.schedulers if self.processes.running(f"scheduler@{name}")]
            found[:] = [name for name in alive if answer(self.addresses[name], LEADS) == SERVING]
            return len(found) == 1

        await until(one, limit=60, what="one leader")
        return found[0]


def hosts_of(workload: Workload) -> list[str]:
    """The names that its pods are known by."""
    service = f"{workload.name}.{NAMESPACE}.svc"
    if workload.component == "scheduler":
        return [f"{pod}.{service}" for pod in workload.pods]
    return [service] if workload.component in ("planner", "profiler", "valkey") else workload.pods


def processes_of(rendered: Rendered, workload: Workload, host: str, address: str, folder: Path) -> list[Service]:
    """Its containers; sidecars before what needs them."""
    made = []
    for container in workload.containers:
        # A profiler is told the address of its pod.
        told = rendered.environment(container, host.partition(".")[0])
        environment = {key: value.replace("10.0.0.7", address) for key, value in told.items()}
        words, health = list(container["args"]), ()
        if workload.component == "valkey":
            words = [str(folder) if word == "/data" else word for word in words]
            command = [str(find_binary()), *words[1:], "--protected-mode", "no"]  # the image has it so, too
        else:
            command = [*LLMSCHED, *words]
            health = tuple(check(container, words))
        name = f"{container['name']}@{host}"
        made.append(Service(name=name, host=host, command=command, environment=environment, health=health))
    return made


def check(container: Mapping[str, Any], words: list[str]) -> list[str]:
    """The readiness probe, or for what has another kind of probe the command line's question."""
    probe = container.get("readinessProbe", {})
    if "exec" in probe:
        return [*LLMSCHED, *probe["exec"]["command"][1:]]
    if words[0] == "engine-sim":
        return [*LLMSCHED, "health", "engine", "--address", "http://127.0.0.1:30000"]
    return [*LLMSCHED, "health", words[1]]


def answer(address: str, probe: Mapping[str, Any]) -> int:
    """What the kubelet hears."""
    with grpc.insecure_channel(f"{address}:{probe['port']}") as channel:
        request = health_pb2.HealthCheckRequest(service=probe.get("service", ""))
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=20).status)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pods(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pods]:
    rendered = render()
    folder = tmp_path_factory.mktemp("pods")
    workloads = [each for each in rendered.workloads() if each.component != "test"]
    workloads.sort(key=lambda each: each.component != "valkey")
    hosts = {host: workload for workload in workloads for host in hosts_of(workload)}
    network = Network([*hosts], folder)
    services = [
        service
        for host, workload in hosts.items()
        for service in processes_of(rendered, workload, host, network.addresses[host], folder)
    ]
    async with AsyncExitStack() as stack:
        stack.enter_context(network)
        processes = await stack.enter_async_context(Processes(network, services, folder))
        await processes.ready(seconds=400)
        yield Pods(rendered, network.addresses, processes)


async def test_probes_are_answered_by_those_who_lead_and_those_who_stand_by(pods: Pods) -> None:
    for component in ("planner", "profiler", "scheduler"):
        workload = pods.rendered.workload(component)
        for host in hosts_of(workload):
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = workload.containers[0][kind]["grpc"]
                assert answer(pods.addresses[host], probe) == SERVING, f"{kind} of {host}"


async def test_the_cluster_does_jobs_and_survives_its_leader(pods: Pods) -> None:
    told = pods.rendered.environment(pods.rendered.workload("planner").containers[0], "p")
    scheduler = tuple(told["LLMSCHED_SCHEDULER"].split(","))
    options = llmsched.Options(address=told["LLMSCHED_ADDRESS"], scheduler=scheduler)
    async with llmsched.Client(options=options) as client:
        await client.register(all_shapes())
        first = await client.submit("all-shapes", {"topic": "rivers", "rounds": 1})
        assert (await first.result())["rounds"] == 1
        before = await client.cluster()
        executors = {each.executor_id for each in before.executors}
        assert executors == {"rel-llmsched-llm-default-0", "rel-llmsched-tools-0", "rel-llmsched-tools-1"}

        leader = await pods.leading()
        await pods.processes.kill(f"scheduler@{leader}")
        second = await client.submit("all-shapes", {"topic": "lakes", "rounds": 2})
        assert (await second.result())["rounds"] == 2
        assert (await client.cluster()).epoch > before.epoch
    assert await pods.leading() != leader
