"""Whatever somebody changes by hand in a tenant's namespace and its guards is set right by the next pass: each field of
the plan in turn, generated from the plan."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from axon_operator.api.tenant import TenantSpec
from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.domain.names import MANAGED_BY_LABEL, OWNER_UID_LABEL, TENANT_LABEL, TenantNames
from axon_operator.domain.resources import NAMESPACE, TENANT, Manifest, Ref, ref_of
from axon_operator.domain.tenant import kubernetes as desired
from axon_operator.reconcile.engine.plan import Backends, apply
from axon_operator.reconcile.tenant import TenantReconciler
from e2e.support.kubectl import Kubectl
from e2e.support.waiting import Unmet, until
from integration.api.conftest import break_glass
from servers.kube import Kube, KubeServer
from unit.reconcile.test_passes import PLATFORM
from unit.reconcile.world import World

Path = tuple[str | int, ...]
Patch = list[dict[str, Any]]

NAME: Final = "drifting"
SPEC: Final[dict[str, Any]] = {
    "organizationID": "org-1",
    "admins": [{"kind": "Group", "name": "keepers"}, {"kind": "User", "name": "alice"}],
}
OTHERS: Final[Mapping[type, tuple[Any, ...]]] = {
    str: ("changed", "7", "7Mi", "Pod", "SCTP", "User", "Group", "Ingress", "Egress"),
    int: (5353,),
    list: ([{}],),
    dict: ({"matchLabels": {"nobody": "x"}},),
}
"""What may stand in place of a value; the API server decides which of these fits."""
MARKS: Final = {MANAGED_BY_LABEL, OWNER_UID_LABEL}
"""Without them an object is not the operator's any more, and not touched (NameTaken)."""
IDENTITY: Final = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))
KEPT_BY_THE_SERVER: Final = {
    "RoleBinding roleRef.apiGroup",
    "RoleBinding roleRef.kind",
    "RoleBinding roleRef.name",
    "RoleBinding subjects.0.apiGroup",
    "RoleBinding subjects.1.apiGroup",
    "LimitRange spec.limits.0.type",
}
"""Fields that it lets nobody change."""


class Operator:
    """Passes over one Tenant that look at Kubernetes alone, as those do that a watch brings about."""

    def __init__(self, api: KubernetesApi, kube: Kube) -> None:
        world = World()
        self._kube = kube
        self._to = Backends(api, world.backends.vault, world.backends.keycloak)
        self._reconciler = TenantReconciler(self._to, PLATFORM)

    def work(self) -> int:
        """Number of writes."""
        live = self._kube.get(Ref(TENANT, "", NAME))
        plan = self._reconciler.plan(self._reconciler.gather(live, ask=False))
        outcome = apply(plan, self._to, lambda *_: None)
        if outcome.errors:
            raise Unmet("; ".join(error.message for error in outcome.errors))
        return len(outcome.applied)


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl, operators: KubernetesApi, apiserver: KubeServer) -> Operator:
    """With a tenant that is as planned, in which an administrator may change things by hand."""
    kubectl.apply({"apiVersion": "axonos.ai/v1alpha1", "kind": "Tenant", "metadata": {"name": NAME}, "spec": SPEC})
    operator = Operator(operators, apiserver.kube)
    until("the operator's rights take effect", operator.work)
    break_glass(kubectl, f"axon-{NAME}")
    assert operator.work() == 0
    return operator


def planned(kube: Kube) -> list[Manifest]:
    """The namespace and its guards."""
    names = TenantNames(NAME, kube.get(Ref(TENANT, "", NAME))["metadata"]["uid"])
    spec = TenantSpec.model_validate(SPEC)
    return [desired.namespace(names, spec), *desired.guards(names, spec, PLATFORM)]


def leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each value in a manifest that contains no other."""
    inside = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    if not inside:
        yield path, node
    for key, value in inside:
        yield from leaves(value, (*path, key))


def fields(manifest: Manifest) -> Iterator[tuple[Path, Any]]:
    """Each of its planned values, but for those that say whose and which object it is."""
    # by the tenant's label the API server knows where the operator may write at all
    marks = MARKS | ({TENANT_LABEL} if manifest["kind"] == NAMESPACE.kind else set())
    for path, value in leaves(manifest):
        if path not in IDENTITY and path[-1] not in marks:
            yield path, value


def removal(path: Path) -> Patch:
    return [{"op": "remove", "path": _pointer(path)}]


def replacements(path: Path, value: Any) -> Iterator[Patch]:
    # an element that is added moves the others; a field that is added takes the place of what was there
    verb = "replace" if isinstance(path[-1], int) else "add"
    return ([{"op": verb, "path": _pointer(path), "value": v}] for v in OTHERS[type(value)] if v != value)


def _pointer(path: Path) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def comparable(live: Manifest) -> Manifest:
    """Without what changes with every write."""
    kept = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences")
    return {**live, "metadata": {k: v for k, v in live["metadata"].items() if k in kept}}


def test_every_field_that_is_changed_by_hand_is_set_right(operator: Operator, apiserver: KubeServer) -> None:
    kube, done, kept = apiserver.kube, 0, set()
    for manifest in planned(kube):
        ref = ref_of(manifest)
        wanted = comparable(kube.get(ref))

        def changes(patch: Patch, ref: Ref = ref, wanted: Manifest = wanted) -> bool:
            return kube.try_patch(ref, patch) and comparable(kube.get(ref)) != wanted

        for path, value in fields(manifest):
            # without it, and with something else in its place
            changed = 0
            for attempts in (iter([removal(path)]), replacements(path, value)):
                if any(map(changes, attempts)):
                    changed += 1
                    assert operator.work() > 0, f"{ref} {path}: not noticed"
                    assert comparable(kube.get(ref)) == wanted, f"{ref} {path}"
                    assert operator.work() == 0, f"{ref} {path}: written again"
            if not changed:
                kept.add(f"{ref.resource.kind} {'.'.join(map(str, path))}")
            done += changed
    print(f"{done} changes were set right")
    assert kept == KEPT_BY_THE_SERVER


def test_every_guard_that_is_deleted_is_made_again(operator: Operator, apiserver: KubeServer) -> None:
    kube = apiserver.kube
    for manifest in planned(kube)[1:]:
        ref = ref_of(manifest)
        wanted = comparable(kube.get(ref))
        kube.delete(ref)
        assert operator.work() == 1
        assert comparable(kube.get(ref)) == wanted
