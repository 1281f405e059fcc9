"""Network policies: everything is closed, and each declaration opens exactly one path."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from axon_operator.api.tenant import EgressRule
from axon_operator.domain.names import RUNTIME_LABEL
from axon_operator.domain.platform import Peer

Rule = dict[str, Any]


def policy(selector: Mapping[str, str], *, ingress: Sequence[Rule] = (), egress: Sequence[Rule] = ()) -> dict[str, Any]:
    """A policy that closes both directions for the selected pods but for the given rules.

    Empty lists are spelled out, so that a rule added by hand is seen as drift.
    """
    return {
        "podSelector": _selector(selector),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": list(ingress),
        "egress": list(egress),
    }


def dns_rule(servers: Peer) -> Rule:
    """DNS at the cluster's own servers and nowhere else."""
    return {
        "to": [_pods(servers.namespace, servers.labels)],
        "ports": [{"protocol": protocol, "port": servers.port} for protocol in ("UDP", "TCP")],
    }


def peer_rule(peer: Peer) -> Rule:
    """A backend's pods, on their port."""
    return {"to": [_pods(peer.namespace, peer.labels)], "ports": [{"protocol": "TCP", "port": peer.port}]}


def namespace_rules(namespaces: Iterable[str], ports: Iterable[int]) -> list[Rule]:
    """All pods of some namespaces, on these ports. No port means no rule: an empty list would open every port."""
    wanted = sorted(set(ports))
    if not wanted:
        return []
    return [
        {"from": [_namespace(name)], "ports": [{"protocol": "TCP", "port": port} for port in wanted]}
        for name in sorted(set(namespaces))
    ]


def runtime_peer(runtime: str) -> dict[str, Any]:
    """The pods of another runtime of the same tenant."""
    return {"podSelector": {"matchLabels": {RUNTIME_LABEL: runtime}}}


def cidr_rules(rules: Iterable[EgressRule]) -> list[Rule]:
    """Ranges outside the cluster; equal rules once, in a fixed order."""
    unique = {(r.cidr, tuple(sorted(set(r.ports)))) for r in rules}
    return [
        {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": p} for p in ports]}
        for cidr, ports in sorted(unique)
    ]


def opens(live: Mapping[str, Any], rule: EgressRule) -> bool:
    """Whether a NetworkPolicy opens what the rule asks for."""
    return all(r in (live["spec"].get("egress") or ()) for r in cidr_rules([rule]))


def egress_problem(
    wanted: Sequence[EgressRule], allowed: Sequence[EgressRule], cluster_cidrs: Sequence[str], field: str
) -> str | None:
    """What is wrong with the egress that an object asks for, as a sentence for its author; None if nothing."""
    for index, rule in enumerate(wanted):
        network = _network(rule.cidr)
        if network is None:
            return f"{field}[{index}]: {rule.cidr} is not an IPv4 range; write it as network/prefix without host bits."
        for inside in cluster_cidrs:
            if network.overlaps(IPv4Network(inside)):
                return f"{field}[{index}]: {rule.cidr} reaches into the cluster's own range {inside}; use connections for runtimes of the same tenant."
        for port in rule.ports:
            if not any(_covers(entry, network, port) for entry in allowed):
                return (
                    f"{field}[{index}]: {rule.cidr} port {port} is not within the Tenant's spec.network.egress; "
                    "ask whoever manages the Tenant to add it there first."
                )
    return None


def wider_than(rule: EgressRule, prefix: int) -> bool:
    """Whether a rule opens a range with a shorter prefix."""
    network = _network(rule.cidr)
    return network is not None and network.prefixlen < prefix


def _covers(entry: EgressRule, network: IPv4Network, port: int) -> bool:
    allowed = _network(entry.cidr)
    return allowed is not None and port in entry.ports and network.subnet_of(allowed)


def _network(cidr: str) -> IPv4Network | None:
    try:
        return IPv4Network(cidr)
    except ValueError:
        return None


def _pods(namespace: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {**_namespace(namespace), "podSelector": _selector(labels)}


def _namespace(name: str) -> dict[str, Any]:
    """By the label that the API server itself puts on every namespace, and nobody can change."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _selector(labels: Mapping[str, str]) -> dict[str, Any]:
    """As the server writes it: everything is an empty selector, not an empty list of labels."""
    return {"matchLabels": dict(labels)} if labels else {}
