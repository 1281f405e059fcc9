"""Tenants with what is in them, as a table for people and as JSON for programs: pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from axon_operator.api.reasons import FINDINGS, ConditionType
from axon_operator.domain.manifests import conditions_of
from axon_operator.domain.names import TenantNames
from axon_operator.domain.resources import BINDING, RUNTIME, Manifest

_HEADER = ("NAME", "READY", "REASON", "MESSAGE")


@dataclass(frozen=True, slots=True)
class Standing:
    """What an object says of itself."""

    ready: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Node:
    """One object and what belongs to it."""

    kind: str
    name: str
    standing: Standing
    children: tuple["Node", ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "kind": self.kind,
            "name": self.name,
            "ready": self.standing.ready,
            "reason": self.standing.reason,
            "message": self.standing.message,
            "children": [child.to_json() for child in self.children],
        }


def standing(live: Manifest) -> Standing:
    """What its condition `Ready` says, if that speaks of the spec that is there."""
    conditions = conditions_of(live)
    ready = next((c for c in conditions if c["type"] == ConditionType.READY), None)
    if ready is None:
        return Standing("Unknown", "", "The operator has not looked at it yet.")
    if ready.get("observedGeneration") != live["metadata"]["generation"]:
        return Standing("Unknown", ready["reason"], f"Not looked at since its last change. Before: {ready['message']}")
    return Standing(ready["status"], ready["reason"], ready["message"])


def alarms(live: Manifest) -> tuple[Standing, ...]:
    """What was found out about an object that is no part of `Ready`, and is bad."""
    conditions = conditions_of(live)
    bad = (c for c in conditions if c["type"] in FINDINGS and c["status"] == "False")
    return tuple(Standing("False", c["reason"], f"{c['type']} is False. {c['message']}") for c in bad)


def home(tenant: Manifest) -> str:
    """The namespace of a tenant."""
    return TenantNames(tenant["metadata"]["name"], tenant["metadata"]["uid"]).namespace


def trees(tenants: Sequence[Manifest], runtimes: Sequence[Manifest], bindings: Sequence[Manifest]) -> list[Node]:
    """Tenants by name; below each its runtimes, below those their bindings; a binding without one stands last."""
    return [_tenant(tenant, runtimes, bindings) for tenant in sorted(tenants, key=_name)]


def _tenant(tenant: Manifest, runtimes: Sequence[Manifest], bindings: Sequence[Manifest]) -> Node:
    inside = sorted((r for r in runtimes if _namespace(r) == home(tenant)), key=_name)
    held = sorted((b for b in bindings if _namespace(b) == home(tenant)), key=_name)
    names = {_name(runtime) for runtime in inside}
    nodes = [
        Node(RUNTIME.kind, _name(r), standing(r), tuple(map(_leaf, (b for b in held if _runtime(b) == _name(r)))))
        for r in inside
    ]
    return Node(
        tenant["kind"],
        _name(tenant),
        _with_alarms(standing(tenant), alarms(tenant)),
        (*nodes, *(_leaf(b) for b in held if _runtime(b) not in names)),
    )


def _with_alarms(said: Standing, alarms: Sequence[Standing]) -> Standing:
    return replace(said, message=" ".join((said.message, *(alarm.message for alarm in alarms))))


def _leaf(binding: Manifest) -> Node:
    return Node(BINDING.kind, _name(binding), standing(binding))


def _name(live: Manifest) -> str:
    return str(live["metadata"]["name"])


def _namespace(live: Manifest) -> str:
    return str(live["metadata"]["namespace"])


def _runtime(binding: Manifest) -> str:
    return str(binding["spec"]["runtimeRef"]["name"])


def table(nodes: Sequence[Node]) -> list[str]:
    """Lines with aligned columns; the message is last and as long as it is."""
    rows = [_HEADER, *(row for node in nodes for row in _rows(node, "", ""))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER) - 1)]
    return [
        "   ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1])) for row in rows
    ]


def _rows(node: Node, lead: str, below: str) -> Iterator[tuple[str, str, str, str]]:
    """`lead` stands before the node's own name, `below` before those of its children."""
    told = node.standing
    yield f"{lead}{node.kind} {node.name}", told.ready, told.reason or "-", told.message
    for child in node.children:
        last = child is node.children[-1]
        yield from _rows(child, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}")
