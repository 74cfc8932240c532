"""deploy/helm: who may talk to whom, by the rules of NetworkPolicies: all who must, and nobody else."""

from __future__ import annotations

import itertools
import re

import pytest

from lab import compose
from tests.support.helm import Rendered, render
from tests.support.network_policies import OUTSIDE, Peer, allowed, one_side

#: All connections within a release: from, to, port. The planner's pods have the command line for operators.
EDGES = {
    ("planner", "planner", 7411),
    ("planner", "scheduler", 7412),
    ("planner", "profiler", 7413),
    ("scheduler", "planner", 7411),
    ("scheduler", "profiler", 7413),
    ("llm", "scheduler", 7412),
    ("tools", "scheduler", 7412),
    ("test", "planner", 7411),
    *((each, "valkey", 6379) for each in ("planner", "scheduler", "profiler")),
}
PORTS = (7411, 7412, 7413, 9464, 30000, 6379, 26379, 22)
PROMETHEUS = Peer({"app.kubernetes.io/name": "prometheus"}, namespace="monitoring")
DNS = Peer({"k8s-app": "kube-dns"}, namespace="kube-system")
#: Those of Compose, by the components of the chart.
COMPONENTS = {"redis": "valkey", "scheduler-0": "scheduler", "scheduler-1": "scheduler"}


def peers(rendered: Rendered) -> dict[str, Peer]:
    return {each.component: Peer(each.labels) for each in rendered.workloads()}


def may(rendered: Rendered, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    return allowed(rendered.of("NetworkPolicy"), source, target, port, protocol)


@pytest.mark.parametrize("values", [(), ("gpu",), ("sentinel",), ("everything",)])
def test_within_the_release_exactly_what_must_be_is_allowed(values: tuple[str, ...]) -> None:
    rendered = render(*values)
    found = peers(rendered)
    kind = {name: name.partition("-")[0] for name in found}
    policies = rendered.of("NetworkPolicy")
    wanted = {edge for edge in EDGES if {edge[0], edge[1]} <= set(kind.values())}
    pairs = [(*pair, port) for pair in itertools.product(found, repeat=2) for port in PORTS]
    # Each side by itself: where a network enforces only one of them, no more is open.
    sent = {
        (kind[source], kind[target], port)
        for source, target, port in pairs
        if one_side(policies, "egress", found[source], found[target], port, "TCP")
    }
    received = {
        (kind[source], kind[target], port)
        for source, target, port in pairs
        if one_side(policies, "ingress", found[target], found[source], port, "TCP")
    }
    assert sent == received == wanted


def test_every_connection_that_compose_shows_is_allowed() -> None:
    """Each address in a service's environment there is one that it connects to."""
    rendered = render()
    found = peers(rendered)
    services = compose.load("compose.yaml")["services"]
    checked = set()
    for name, settings in services.items():
        if name not in ("planner", "profiler", "scheduler-0", "scheduler-1", "llm-0", "tool-0"):
            continue
        source = {"llm-0": "llm-default", "tool-0": "tools"}.get(name, COMPONENTS.get(name, name))
        for variable, value in settings["environment"].items():
            # Where it listens itself; what only the command line in a container reads; an engine shares its pod.
            if variable.endswith(("_LISTEN", "_ADVERTISE", "_ENGINE_URL")) or (
                variable in ("LLMSCHED_ADDRESS", "LLMSCHED_SCHEDULER", "LLMSCHED_PROFILER") and source != "planner"
            ):
                continue
            if variable in ("LLMSCHED_REDIS_URL", "LLMSCHED_SCHEDULERS"):
                store = variable == "LLMSCHED_REDIS_URL"
                if store != (source in ("planner", "profiler", "scheduler")):
                    continue  # executors do not read the one, the others not the other
            for host, port in re.findall(r"\b([a-z][a-z0-9-]*):(\d+)\b", str(value)):
                target = COMPONENTS.get(host, host)
                assert may(rendered, found[source], found[target], int(port)), f"{source} to {host}:{port}"
                checked.add((source, target))
    assert len(checked) >= 9


def test_planners_know_the_leader_from_the_state_and_reach_it() -> None:
    rendered = render("everything")
    found = peers(rendered)
    scheduler = rendered.workload("scheduler")
    for pod in scheduler.pods:
        address = rendered.environment(scheduler.containers[0], pod)["LLMSCHED_SCHEDULER_ADVERTISE"]
        target, port = rendered.backend(address)
        assert may(rendered, found["planner"], Peer(target.labels), port)


@pytest.mark.parametrize("values", [(), ("gpu",), ("everything",)])
def test_everybody_may_ask_for_names_and_prometheus_for_metrics(values: tuple[str, ...]) -> None:
    rendered = render(*values)
    for component, peer in peers(rendered).items():
        assert may(rendered, peer, DNS, 53, "UDP")
        assert may(rendered, peer, DNS, 53)
        assert not may(rendered, peer, DNS, 22)
        kind = component.partition("-")[0]
        assert may(rendered, PROMETHEUS, peer, 9464) is (kind not in ("valkey", "test"))
        has_engine = kind == "llm" and bool(rendered.workload(component).pod.get("initContainers"))
        assert may(rendered, PROMETHEUS, peer, 30000) is has_engine


def test_clients_reach_planners_and_operators_all_services() -> None:
    rendered = render("everything")
    found = peers(rendered)
    client, stranger = Peer({"llmsched-client": "true"}), Peer({"app": "other"})
    elsewhere = Peer({"llmsched-client": "true"}, namespace="other")
    operator = Peer({}, namespace="operations")
    reach = {"planner": 7411, "scheduler": 7412, "profiler": 7413}
    for component, port in reach.items():
        assert may(rendered, client, found[component], port) is (component == "planner")
        assert may(rendered, operator, found[component], port)
        for other in (stranger, elsewhere, OUTSIDE):
            assert not may(rendered, other, found[component], port)
    assert not may(rendered, client, found["planner"], 9464)


def test_the_store_outside_is_reached_by_those_who_keep_state() -> None:
    sentinel = render("sentinel")
    store = Peer({}, namespace="redis")
    found = peers(sentinel)
    for component in found:
        keeps = component in ("planner", "scheduler", "profiler")
        for port in (6379, 26379):
            assert may(sentinel, found[component], store, port) is keeps
            assert not may(sentinel, found[component], OUTSIDE, port)


def test_weights_and_engines_elsewhere_are_reached_and_tools_reach_what_values_say() -> None:
    everything, default = render("everything"), render()
    found = peers(everything)
    assert may(everything, found["llm-small"], OUTSIDE, 443), "the hub of models"
    assert not may(everything, found["llm-large"], OUTSIDE, 443), "its weights lie in a volume"
    assert may(everything, found["llm-hosted"], OUTSIDE, 443), "the engine"
    assert may(everything, found["tools"], OUTSIDE, 443)
    assert not may(default, peers(default)["tools"], OUTSIDE, 443)
    odd = render(sets=("llm.engine.kind=external", "llm.engine.url=http://engine.example.org:8080/v1"))
    assert may(odd, peers(odd)["llm-default"], OUTSIDE, 8080)
    assert not may(odd, peers(odd)["llm-default"], OUTSIDE, 80)


def test_traces_are_sent_to_the_collector() -> None:
    rendered = render("everything")
    collector = Peer({}, namespace="observability")
    for component, peer in peers(rendered).items():
        sends = component not in ("test", "valkey")
        assert may(rendered, peer, collector, 4317) is sends
        assert not may(rendered, peer, OUTSIDE, 4317)


def test_they_can_be_left_out() -> None:
    assert not render(sets=("networkPolicy.enabled=false",)).of("NetworkPolicy")
