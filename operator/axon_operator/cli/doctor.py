"""Whether an installation is whole: what is looked at, and what is said about it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from axon_operator.api import GROUP, VERSION
from axon_operator.cli.cluster import Cluster, ForbiddenError, NotServedError
from axon_operator.cli.tree import alarms, standing
from axon_operator.domain.manifests import conditions_of
from axon_operator.domain.resources import (
    BINDING,
    DEPLOYMENT,
    LEASE,
    PROFILE,
    RUNTIME,
    TENANT,
    Manifest,
    Ref,
    Resource,
)

OPERATOR: Final = "axon-operator"
"""Name of the operator's Deployment and Lease; there is one per cluster."""
KINDS: Final = (TENANT, RUNTIME, BINDING, PROFILE)
CRD: Final = Resource(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)

_ADMISSION: Final = "admissionregistration.k8s.io/v1"
VALIDATING: Final = Resource(_ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False)
VALIDATING_BINDING: Final = Resource(
    _ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", namespaced=False
)
MUTATING: Final = Resource(_ADMISSION, "MutatingAdmissionPolicy", "mutatingadmissionpolicies", namespaced=False)
MUTATING_BINDING: Final = Resource(
    _ADMISSION, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", namespaced=False
)
POLICIES: Final = (
    "axon-governance-secretbindings",
    "axon-governance-tenants",
    "axon-governance-workflowruntimes",
    "axon-operator-in-tenants-only",
    "axon-operator-managed-objects",
    "axon-operator-runtimes-closed",
    "axon-operator-runtimes-pods",
    "axon-operator-specs-are-the-users",
    "axon-operator-teardown",
    "axon-operator-tenant-mark",
    "axon-operator-tenant-namespaces",
)
STAMP: Final = "axon-operator-requested-by"

_POLL: Final = 1.0
_LEASE_SECONDS: Final = 15


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    ok: bool
    says: str

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"what": self.what, "ok": self.ok, "says": self.says}

    def line(self) -> str:
        """For people."""
        return f"{'ok   ' if self.ok else 'WRONG'} {self.what}: {self.says}"


def examine(cluster: Cluster, namespace: str) -> Iterator[Check]:
    """All checks, in the order in which one would look. What may not be looked at counts as wrong: it is not known."""
    yield from _asked("CustomResourceDefinitions", lambda: crds(_by_name(cluster.list(CRD))))
    deployment = Ref(DEPLOYMENT, namespace, OPERATOR)
    yield from _asked("operator", lambda: [available(namespace, cluster.get(deployment))])
    yield from _asked("leader", lambda: [leader(cluster, namespace)])
    yield from _asked(
        "admission policies",
        lambda: [policies(_by_name(cluster.list(VALIDATING)), cluster.list(VALIDATING_BINDING))],
    )
    yield from _asked("stamp of who asks", lambda: [_stamp(cluster)])
    yield from _asked("tenants", lambda: tenants(cluster.list(TENANT)))


def _asked(what: str, check: Callable[[], Sequence[Check]]) -> Sequence[Check]:
    try:
        return check()
    except (ForbiddenError, NotServedError) as error:
        return [Check(what, False, f"not known: {error}")]


def _by_name(found: Sequence[Manifest]) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in found}


def crds(found: Mapping[str, Manifest]) -> list[Check]:
    """Each kind is there, established, and served in the version that this plugin and the operator speak."""
    problems = [problem for kind in KINDS if (problem := _crd_problem(kind, found.get(f"{kind.plural}.{GROUP}")))]
    what = "CustomResourceDefinitions"
    if problems:
        return [Check(what, False, f"{problem}; apply the chart's again") for problem in problems]
    return [Check(what, True, f"{len(KINDS)} served as {GROUP}/{VERSION}")]


def _crd_problem(kind: Resource, found: Manifest | None) -> str | None:
    if found is None:
        return f"{kind.kind} is missing"
    if not any(v["name"] == VERSION and v["served"] for v in found["spec"]["versions"]):
        return f"{kind.kind} is not served as {VERSION}"
    if not _holds(found, "Established"):
        return f"{kind.kind} is not established"
    return None


def _holds(live: Manifest, condition: str) -> bool:
    conditions = conditions_of(live)
    return any(c["type"] == condition and c["status"] == "True" for c in conditions)


def available(namespace: str, deployment: Manifest | None) -> Check:
    """The operator's pods are ready, as many as wanted."""
    if deployment is None:
        says = f"there is no Deployment {namespace}/{OPERATOR}; name the operator's namespace with --operator-namespace"
        return Check("operator", False, says)
    wanted = deployment["spec"].get("replicas", 1)
    ready = (deployment.get("status") or {}).get("readyReplicas", 0)
    if wanted == 0:
        says = f"switched off; kubectl -n {namespace} scale deployment/{OPERATOR} --replicas=2 brings it back"
        return Check("operator", False, says)
    ok = ready >= wanted and _holds(deployment, "Available")
    says = f"{ready} of {wanted} pods are ready"
    return Check("operator", ok, says if ok else f"{says}; see kubectl -n {namespace} describe pods")


def leader(cluster: Cluster, namespace: str) -> Check:
    """Somebody leads who renews the Lease while we look. No clock of another machine is compared with ours."""
    at = Ref(LEASE, namespace, OPERATOR)
    first = cluster.get(at)
    spec = (first or {}).get("spec") or {}
    holder = spec.get("holderIdentity")
    if first is None or not holder:
        return Check(
            "leader", False, f"nobody holds Lease {namespace}/{OPERATOR}, so nothing is done; see the operator's log"
        )
    until = time.monotonic() + spec.get("leaseDurationSeconds", _LEASE_SECONDS)
    while time.monotonic() < until:
        time.sleep(_POLL)
        now = cluster.get(at)
        if now and now["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]:
            return Check("leader", True, str((now.get("spec") or {}).get("holderIdentity") or "just changing"))
    return Check("leader", False, f"{holder} does not renew its Lease; see the log of that pod")


def policies(found: Mapping[str, Manifest], bindings: Sequence[Manifest]) -> Check:
    """Every wall and every rule is there and denies."""
    what = "admission policies"
    denying = {b["spec"]["policyName"] for b in bindings if "Deny" in (b["spec"].get("validationActions") or ())}
    absent = [name for name in POLICIES if name not in found]
    toothless = [name for name in POLICIES if name in found and name not in denying]
    problems = [
        *([f"missing: {', '.join(absent)}"] if absent else []),
        *([f"without a binding that denies: {', '.join(toothless)}"] if toothless else []),
    ]
    if problems:
        return Check(what, False, f"{'; '.join(problems)}; apply the chart's again (admissionPolicies.enabled)")
    return Check(what, True, f"{len(POLICIES)} in force")


def _stamp(cluster: Cluster) -> Check:
    what = "stamp of who asks"
    try:
        there = {m["metadata"]["name"] for m in cluster.list(MUTATING)}
        bound = {m["spec"]["policyName"] for m in cluster.list(MUTATING_BINDING)}
    except NotServedError:
        return Check(what, True, "not on this version of Kubernetes (1.36 is needed): audit lines say unknown")
    if STAMP not in there & bound:
        return Check(what, False, f"{STAMP} or its binding is missing; apply the chart's again")
    return Check(what, True, "in force")


def tenants(found: Sequence[Manifest]) -> list[Check]:
    """Those that are not as declared, each with what it says."""
    told = sorted((str(m["metadata"]["name"]), (standing(m), *alarms(m))) for m in found)
    wrong = [
        Check(f"Tenant {name}", False, f"{said.reason}: {said.message}" if said.reason else said.message)
        for name, all_said in told
        for said in all_said
        if said.ready != "True"
    ]
    return wrong or [Check("tenants", True, f"{len(told)} ready")]
