"""What the canary is to try, and what its report says about a tenant."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from axon_operator.api.conditions import ConditionStatus
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.finding import Finding
from axon_operator.domain.isolation import ANY_PORT, ANYWHERE, RUNTIMES, TENANTS, Address, Attempt, Result, Target, Told
from axon_operator.domain.manifests import runtime_names
from axon_operator.domain.names import TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import POD, RUNTIME, TENANT, Manifest
from axon_operator.reconcile.common import deleting, names_of

SILENCE: Final = 900.0
"""Seconds after which a report proves nothing any more: with hundreds of tenants a round takes minutes."""
_HOME: Final = ("namespace", "vaultNamespace", "realm")

_HOLES: Final[Mapping[Attempt, str]] = {
    Attempt.SECRETS: "it may list Secrets there (see RoleBindings and ClusterRoleBindings)",
    Attempt.RUNTIMES: "it may list WorkflowRuntimes there (see RoleBindings and ClusterRoleBindings)",
    Attempt.TOKENS: "it gets tokens of runtimes' accounts (see RoleBindings and the admission policies)",
    Attempt.NETWORK: "its packets reach a pod (see NetworkPolicies that are not ours, and the network plugin)",
    Attempt.LOGIN: "OpenBao logs it in as a runtime (see the roles of auth/k8s)",
    Attempt.READ: "OpenBao lets it list secrets without a login (see proxies before it that add a token)",
    Attempt.CLIENT: "the realm gives it an access token (see clients that accept its account)",
    Attempt.USER: "the realm takes its Kubernetes token for a user's (see proxies before Keycloak)",
}
"""What a crossing means, and where to look."""


def targets(kubernetes: Kubernetes, platform: Platform) -> dict[TenantNames, Target | Finding]:
    """By tenant what there is to try, or why nothing is. Without a call where reads come from memory."""
    aims: dict[TenantNames, Target | Finding] = {}
    there = sorted(kubernetes.list(TENANT, ""), key=lambda tenant: str(tenant["metadata"]["name"]))
    for live in there:
        if not deleting(live):
            room = sum(isinstance(aim, Target) for aim in aims.values()) < TENANTS
            aims[names_of(live)] = _tellable(kubernetes, live, platform, room=room)
    return aims


def crossings(told: Told, target: Target) -> tuple[Attempt, ...]:
    """The attempts that got through, of those that count for what there is now."""
    counts = frozenset(Attempt) if told.target == target.digest else ANYWHERE
    return tuple(a for a in Attempt if a in counts and told.results.get(a) is Result.CROSSED)


def judge(target: Target, told: Told | None, age: float) -> Finding:
    """What the newest usable report says, which came `age` seconds ago; without one, since it is waited for."""
    if age >= SILENCE:
        return _finding(
            "Unknown",
            Reason.NOT_PROVEN,
            "The canary has reported nothing usable for fifteen minutes; look at the pod of axon-canary and its log.",
        )
    if told is not None and (crossed := crossings(told, target)):
        holes = "; ".join(_HOLES[attempt] for attempt in crossed)
        return _finding("False", Reason.BOUNDARY_CROSSED, f"The canary has crossed into the tenant: {holes}.")
    if told is None or told.target != target.digest:
        return Finding(ConditionType.ISOLATED)
    proven = {a for a, result in told.results.items() if result is Result.REFUSED}
    if missing := sorted(target.attempts - proven):
        message = f"The canary got no answer that shows whether it is refused: {', '.join(missing)}."
        return _finding("Unknown", Reason.NOT_PROVEN, message)
    return _finding("True", Reason.REFUSED, f"The canary is refused: {', '.join(sorted(target.attempts))}.")


def _tellable(kubernetes: Kubernetes, live: Manifest, platform: Platform, *, room: bool) -> Target | Finding:
    """One tenant whose names are not of the agreed form must not keep the others from being tried."""
    try:
        return _aim(kubernetes, live, platform, room=room)
    except ValidationError:
        return _finding("Unknown", Reason.NOT_PROVEN, "What the Tenant's status names cannot be told to the canary.")


def not_heard() -> Finding:
    """There is something to try, and before there was not."""
    return _finding("Unknown", Reason.NOT_PROVEN, "The canary has not reported since it has something to try.")


def _aim(kubernetes: Kubernetes, live: Manifest, platform: Platform, *, room: bool) -> Target | Finding:
    spec, status = live["spec"], live.get("status") or {}
    if spec.get("suspended"):
        return _finding("Unknown", Reason.SUSPENDED, "The canary tries nothing while the Tenant is suspended.")
    if not all(status.get(field) for field in _HOME):
        message = "The canary begins when namespace, OpenBao namespace and realm are there."
        return _finding("Unknown", Reason.PROGRESSING, message)
    if not room:
        return _finding("Unknown", Reason.NOT_PROVEN, f"The canary tries no more than {TENANTS} tenants.")
    names = names_of(live)
    runtimes = _oldest(kubernetes.list(RUNTIME, names.namespace))[:RUNTIMES]
    admitted = ((spec.get("network") or {}).get("ingress") or {}).get("namespaces") or ()
    # whoever declares that the canary's namespace may come in is asked no more whether it can
    found = [] if platform.operator_namespace in admitted else [_address(kubernetes, r) for r in runtimes]
    return Target(
        uid=names.uid,
        namespace=names.namespace,
        vault_namespace=f"{platform.vault_parent}/{names.vault_namespace}",
        realm=names.realm,
        accounts=tuple(runtime_names(runtime).principal for runtime in runtimes),
        addresses=tuple(address for address in found if address),
    )


def _address(kubernetes: Kubernetes, runtime: Manifest) -> Address | None:
    """Of one running pod, at a port on which it listens if that is known."""
    metadata = runtime["metadata"]
    pods = _oldest(kubernetes.referring(POD, metadata["namespace"], metadata["name"]))
    ip = next((pod["status"]["podIP"] for pod in pods if _runs(pod)), None)
    ports = runtime["spec"].get("ports") or ({"port": ANY_PORT},)
    return Address(ip=ip, port=ports[0]["port"]) if ip else None


def _runs(pod: Manifest) -> bool:
    """Whether its address is its own: that of a pod on its way out may be another's soon."""
    status: Mapping[str, Any] = pod.get("status") or {}
    return not deleting(pod) and status.get("phase") == "Running" and bool(status.get("podIP"))


def _oldest(objects: Sequence[Manifest]) -> list[Manifest]:
    """The oldest first; none that is on its way out."""
    staying = (o for o in objects if not deleting(o))
    return sorted(staying, key=lambda o: (o["metadata"]["creationTimestamp"], o["metadata"]["name"]))


def _finding(status: ConditionStatus, reason: Reason, message: str) -> Finding:
    return Finding(ConditionType.ISOLATED, status, reason, message)
