"""What NetworkPolicies allow, as their specification says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.helm import NAMESPACE, Object, selects


@dataclass(frozen=True, slots=True)
class Peer:
    """A pod, or with an empty namespace something outside of the cluster."""

    labels: Mapping[str, str]
    namespace: str = NAMESPACE


OUTSIDE = Peer({}, namespace="")


def allowed(policies: Sequence[Object], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection may be made: who sends must be allowed to, and who receives."""
    return one_side(policies, "egress", source, target, port, protocol) and one_side(
        policies, "ingress", target, source, port, protocol
    )


def one_side(policies: Sequence[Object], way: str, own: Peer, other: Peer, port: int, protocol: str) -> bool:
    """Whether the policies of `own` let it send to `other` (egress) or receive from it (ingress)."""
    specs = [
        each["spec"]
        for each in policies
        if own.namespace == NAMESPACE
        and way.title() in each["spec"]["policyTypes"]
        and selects(each["spec"]["podSelector"].get("matchLabels", {}), own.labels)
    ]
    if not specs:
        return True  # nobody restricts it
    peers = "to" if way == "egress" else "from"
    return any(
        _is_port(rule.get("ports"), port, protocol) and _is_peer(rule.get(peers), other)
        for spec in specs
        for rule in spec.get(way) or ()
    )


def _is_port(ports: Sequence[Mapping[str, Any]] | None, port: int, protocol: str) -> bool:
    return not ports or any(each["port"] == port and each.get("protocol", "TCP") == protocol for each in ports)


def _is_peer(peers: Sequence[Mapping[str, Any]] | None, other: Peer) -> bool:
    if not peers:
        return True
    for each in peers:
        if "ipBlock" in each:
            if not other.namespace:
                return True
            continue
        if "namespaceSelector" in each:
            wanted = each["namespaceSelector"].get("matchLabels", {})
            inside = bool(other.namespace) and selects(wanted, {"kubernetes.io/metadata.name": other.namespace})
        else:
            inside = other.namespace == NAMESPACE
        if inside and selects(each.get("podSelector", {}).get("matchLabels", {}), other.labels):
            return True
    return False
