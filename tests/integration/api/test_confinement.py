"""What a stolen token of the operator, or a tenant's admin, can do: tried on a real API server with the roles and
admission policies as they are installed."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from axon_operator.api.tenant import TenantSpec
from axon_operator.domain.names import TenantNames
from axon_operator.domain.tenant import kubernetes as tenant_kubernetes
from e2e.support.kubectl import Json, Kubectl
from e2e.support.shell import Result
from integration.api.conftest import INSTALL, OPERATOR, As

TENANT = "confined"
HOME = f"axon-{TENANT}"
VICTIM = "axon-victim"
"""Somebody else's namespace, with a name that looks like a tenant's."""
ELSEWHERE = ["default", "kube-system", "axon-system", VICTIM]
LABELS = {"axonos.ai/tenant": TENANT, "pod-security.kubernetes.io/enforce": "restricted"}

ONLY_TENANTS = "the operator may write only in namespaces that carry the label axonos.ai/tenant"


@pytest.fixture(scope="module")
def operator(installed: Kubectl) -> Iterator[As]:
    """The operator's identity, confined as in an installation."""
    kubectl = installed
    kubectl("create", "namespace", VICTIM)
    operator = As(kubectl, OPERATOR)
    _until_enforced(operator)
    yield operator
    kubectl("delete", "namespace", VICTIM, "--wait=false")
    operator("delete", "namespace", HOME, "--wait=false")


@pytest.fixture(scope="module")
def home(operator: As) -> str:
    """A tenant's namespace, as the operator itself makes it."""
    planned = tenant_kubernetes.namespace(TenantNames(TENANT, uid="0000"), TenantSpec())
    done = operator("apply", "--server-side", "-f", "-", stdin=json.dumps(planned))
    assert done.ok, done.output
    return HOME


def _until_enforced(operator: As) -> None:
    """The API server takes a moment to load new policies."""
    for _ in range(100):
        if ONLY_TENANTS in operator("create", "configmap", "probe", "-n", VICTIM, "--dry-run=server").output:
            return
        time.sleep(0.2)
    pytest.fail("the admission policies did not take effect within 20 s")


def _namespace(name: str, labels: dict[str, str]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


CHILDREN: dict[str, list[str]] = {
    "configmap": ["create", "configmap", "x"],
    "service account": ["create", "serviceaccount", "x"],
    "service": ["create", "service", "clusterip", "x", "--tcp=8080"],
    "quota": ["create", "quota", "x", "--hard=pods=1"],
    "deployment": ["create", "deployment", "x", "--image=registry.example/x:1"],
    "role binding": ["create", "rolebinding", "x", "--clusterrole=axon-tenant-admin", "--user=x"],
}


@pytest.mark.parametrize("command", CHILDREN.values(), ids=CHILDREN.keys())
def test_children_only_in_tenants_namespaces(operator: As, home: str, command: list[str]) -> None:
    for namespace in ELSEWHERE:
        refused = operator(*command, "-n", namespace)
        assert not refused.ok
        assert ONLY_TENANTS in refused.output, namespace
    # the same command is fine at home, so that the refusals mean something
    done = operator(*command, "-n", home)
    assert done.ok, done.output


def _lease(namespace: str, name: str = "axon-operator", holder: str = "x") -> str:
    metadata = {"name": name, "namespace": namespace}
    return json.dumps(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {"holderIdentity": holder},
        }
    )


def test_in_its_own_namespace_it_writes_its_lease_and_no_other(operator: As, kubectl: Kubectl) -> None:
    done = operator("create", "-f", "-", stdin=_lease("axon-system"))
    assert done.ok, done.output
    done = operator("replace", "-f", "-", stdin=_lease("axon-system", holder="y"))
    assert done.ok, done.output
    refused = operator("create", "-f", "-", stdin=_lease("axon-system", "other"))
    assert not refused.ok
    assert ONLY_TENANTS in refused.output
    # RBAC knows of no other name, no other verb and no other namespace
    kubectl("create", "-f", "-", stdin=_lease("axon-system", "theirs"))
    for verb, lease, namespace in (
        ("update", "theirs", "axon-system"),
        ("get", "theirs", "axon-system"),
        ("delete", "axon-operator", "axon-system"),
        ("patch", "axon-operator", "axon-system"),
        ("list", "", "axon-system"),
        ("create", "", "kube-system"),
        ("create", "", VICTIM),
        ("update", "axon-operator", "kube-system"),
        ("update", "kube-scheduler", "kube-system"),
    ):
        asked = f"leases.coordination.k8s.io/{lease}".rstrip("/")
        assert not operator("auth", "can-i", verb, asked, "-n", namespace).ok, f"{verb} {asked} in {namespace}"


def test_in_its_own_namespace_it_tells_the_canary_what_to_try_and_nothing_else(operator: As) -> None:
    told = json.dumps({"data": {"targets.json": "{}"}})
    done = operator("patch", "configmap", "axon-canary-targets", "-n", "axon-system", "--type=merge", "-p", told)
    assert done.ok, done.output
    for command in (
        # what came of it is the canary's to say
        ["patch", "configmap", "axon-canary-report", "-n", "axon-system", "--type=merge", "-p", told],
        ["delete", "configmap", "axon-canary-targets", "-n", "axon-system"],
        ["create", "configmap", "axon-canary-targets", "-n", VICTIM],
        ["create", "configmap", "another", "-n", "axon-system"],
    ):
        refused = operator(*command)
        assert not refused.ok
        assert ONLY_TENANTS in refused.output, command


def test_even_with_every_right_it_writes_no_other_lease(operator: As, kubectl: Kubectl) -> None:
    """What the admission policy refuses if the roles should ever grow."""
    kubectl("create", "clusterrole", "too-much", "--verb=*", "--resource=leases.coordination.k8s.io")
    kubectl("create", "clusterrolebinding", "too-much", "--clusterrole=too-much", f"--user={OPERATOR}")
    try:
        for namespace, name in (
            ("axon-system", "another"),
            ("kube-system", "axon-operator"),
            (VICTIM, "axon-operator"),
        ):
            refused = operator("create", "-f", "-", stdin=_lease(namespace, name))
            assert not refused.ok
            assert ONLY_TENANTS in refused.output, namespace
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=_lease("axon-system"))
        refused = operator("delete", "lease", "axon-operator", "-n", "axon-system")
        assert not refused.ok
        assert ONLY_TENANTS in refused.output
    finally:
        kubectl("delete", "clusterrolebinding,clusterrole", "too-much")


def test_nothing_of_others_is_deleted(operator: As, kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "precious", "-n", VICTIM)
    refused = operator("delete", "configmap", "precious", "-n", VICTIM)
    assert not refused.ok
    assert ONLY_TENANTS in refused.output
    assert kubectl.get("configmap", "precious", "-n", VICTIM)


def test_runtimes_outside_of_tenants_get_a_status_and_are_not_deleted(operator: As, kubectl: Kubectl) -> None:
    kubectl.apply(_runtime(VICTIM))
    status = json.dumps({**_runtime(VICTIM), "status": {"replicas": 0}})
    done = operator("apply", "--server-side", "--subresource=status", "-f", "-", stdin=status)
    assert done.ok, done.output
    refused = operator("delete", "axw/agent", "-n", VICTIM)
    assert not refused.ok
    assert ONLY_TENANTS in refused.output


SPECS = "the operator may change only the metadata and the status of its kinds, never a spec"
REWRITES: dict[str, Json] = {
    "tenant": {"admins": [{"kind": "User", "name": "thief"}]},
    "axw": {"image": "registry.example/evil:1"},
    "axsb": {"egress": [{"cidr": "198.51.100.0/24", "ports": [443]}]},
}


@pytest.mark.parametrize("kind", REWRITES)
def test_specs_are_the_users(operator: As, kubectl: Kubectl, home: str, kind: str) -> None:
    """Also of Tenants, which no rule about namespaces covers; finalizers and the status are the operator's."""
    kubectl.apply(_tenant(), _runtime(home), _binding(home))
    at = [kind, TENANT if kind == "tenant" else "agent", *([] if kind == "tenant" else ["-n", home])]

    def patch(body: Json) -> Result:
        return operator("patch", *at, "--type=merge", "-p", json.dumps(body))

    refused = patch({"spec": REWRITES[kind]})
    assert not refused.ok
    assert SPECS in refused.output
    for name in ("axonos.ai/teardown", None):
        done = patch({"metadata": {"finalizers": name and [name]}})
        assert done.ok, done.output
    live = kubectl.need(*at)
    live["metadata"].pop("managedFields", None)
    status = json.dumps({**live, "status": {"observedGeneration": 1}})
    done = operator("apply", "--server-side", "--subresource=status", "-f", "-", stdin=status)
    assert done.ok, done.output
    # whoever owns the spec changes it as before
    kubectl("patch", *at, "--type=merge", "-p", json.dumps({"spec": REWRITES[kind]}))


NAMESPACES: dict[str, tuple[str, dict[str, str], str]] = {
    "not called axon-": ("other", LABELS, "only namespaces named axon-<tenant>"),
    "the operator's own": ("axon-system", LABELS | {"axonos.ai/tenant": "system"}, "and not its own"),
    "without tenant": ("axon-new", {"pod-security.kubernetes.io/enforce": "restricted"}, "must carry the label"),
    "of another tenant": ("axon-new", LABELS, "with the tenant's name"),
    "that lets privileged pods in": ("axon-new", {"axonos.ai/tenant": "new"}, "enforce=restricted"),
    "that exists": (VICTIM, LABELS | {"axonos.ai/tenant": "victim"}, "may not touch an existing namespace"),
}


@pytest.mark.parametrize(("name", "labels", "words"), NAMESPACES.values(), ids=NAMESPACES.keys())
def test_no_namespace(operator: As, name: str, labels: dict[str, str], words: str) -> None:
    refused = operator("apply", "--server-side", "-f", "-", stdin=_namespace(name, labels))
    assert not refused.ok
    assert words in refused.output


LABEL_CHANGES: dict[str, tuple[dict[str, str | None], str]] = {
    "lowering Pod Security": ({"pod-security.kubernetes.io/enforce": "privileged"}, "enforce=restricted"),
    "dropping Pod Security": ({"pod-security.kubernetes.io/enforce": None}, "enforce=restricted"),
    "leaving the tenant": ({"axonos.ai/tenant": None}, "must carry the label"),
    "changing the tenant": ({"axonos.ai/tenant": "victim"}, "with the tenant's name"),
}


@pytest.mark.parametrize(("labels", "words"), LABEL_CHANGES.values(), ids=LABEL_CHANGES.keys())
def test_walls_of_a_tenant_stay(operator: As, home: str, labels: dict[str, str | None], words: str) -> None:
    patch = json.dumps({"metadata": {"labels": labels}})
    refused = operator("patch", "namespace", home, "--type=merge", "-p", patch)
    assert not refused.ok
    assert words in refused.output


@pytest.mark.parametrize("name", ["axon-system", VICTIM, "kube-node-lease"])
def test_no_foreign_namespace_is_deleted(operator: As, kubectl: Kubectl, name: str) -> None:
    refused = operator("delete", "namespace", name, "--wait=false")
    assert not refused.ok
    assert "the operator may" in refused.output
    assert "deletionTimestamp" not in kubectl.need("namespace", name)["metadata"]


@pytest.mark.parametrize("role", ["axon-operator", "axon-edit", "axon-view", "cluster-admin", "edit"])
def test_only_one_role_is_handed_on(operator: As, home: str, role: str) -> None:
    refused = operator("create", "rolebinding", "y", "-n", home, f"--clusterrole={role}", "--user=thief")
    assert not refused.ok
    assert "may bind only the ClusterRole axon-tenant-admin" in refused.output or "not currently held" in refused.output


def test_of_pods_only_annotations_change(operator: As, kubectl: Kubectl, home: str) -> None:
    kubectl("create", "serviceaccount", "p", "-n", home)
    kubectl.apply(_pod(home))
    done = operator("annotate", "pod", "p", "-n", home, "axonos.ai/credentials-revision=1")
    assert done.ok, done.output
    for change in ({"metadata": {"labels": {"app": "other"}}}, _image("registry.example/evil:1")):
        refused = operator("patch", "pod", "p", "-n", home, "-p", json.dumps(change))
        assert not refused.ok
        assert "may change only annotations of pods" in refused.output


def test_rbac_of_the_operator_ends_early(operator: As, home: str) -> None:
    for verb, resource in (
        ("get", "secrets"),
        ("create", "secrets"),
        ("create", "pods"),
        ("delete", "pods"),
        ("create", "pods/exec"),
        ("get", "pods/log"),
        ("create", "serviceaccounts/token"),
        ("create", "tenants.axonos.ai"),
        ("update", "tenants.axonos.ai"),
        ("update", "tenants.axonos.ai/status"),
        ("patch", "events.events.k8s.io"),
        ("list", "secrets"),
        ("list", "nodes"),
        ("create", "roles"),
        ("create", "clusterrolebindings"),
        ("patch", "validatingadmissionpolicies"),
        ("patch", "customresourcedefinitions"),
        ("impersonate", "users"),
        ("get", "nodes"),
    ):
        assert not operator.may(verb, resource, home), f"{verb} {resource}"


def test_a_tenants_admin_manages_workloads_and_nothing_that_guards_them(
    operator: As, kubectl: Kubectl, home: str
) -> None:
    bound = operator(
        "create", "rolebinding", "admins", "-n", home, "--clusterrole=axon-tenant-admin", "--group=acme-admins"
    )
    assert bound.ok, bound.output
    admin = As(kubectl, "alice", "acme-admins")
    for verb in ("create", "get", "update", "patch", "delete", "list", "watch"):
        assert admin.may(verb, "workflowruntimes.axonos.ai", home)
        assert admin.may(verb, "secretbindings.axonos.ai", home)
    assert admin.may("patch", "workflowruntimes.axonos.ai/scale", home)
    assert admin.may("get", "pods/log", home)
    for resource in ("networkpolicies", "resourcequotas", "limitranges", "deployments", "jobs", "pods", "configmaps"):
        for verb in ("create", "update", "patch", "delete"):
            assert not admin.may(verb, resource, home), f"{verb} {resource}"
    for verb, resource in (
        ("get", "secrets"),
        ("create", "pods/exec"),
        ("create", "serviceaccounts/token"),
        ("create", "serviceaccounts"),
        ("create", "rolebindings"),
        ("patch", "workflowruntimes.axonos.ai/status"),
        ("get", "tenants.axonos.ai"),
    ):
        assert not admin.may(verb, resource, home), f"{verb} {resource}"
    assert not admin.may("get", "workflowruntimes.axonos.ai", VICTIM)


@pytest.mark.parametrize("name", ["axon-operator", "axon-canary"])
def test_our_own_pods_pass_pod_security_restricted(kubectl: Kubectl, operator: As, name: str) -> None:
    """The namespace enforces `restricted`: a pod of the Deployment's template is admitted, a laxer one is not."""
    documents = yaml.safe_load_all((INSTALL / "operator.yaml").read_text(encoding="utf-8"))
    (template,) = (
        d["spec"]["template"] for d in documents if d and (d["kind"], d["metadata"]["name"]) == ("Deployment", name)
    )
    pod: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "axon-system"}}

    admitted = kubectl.try_apply({**pod, "spec": template["spec"]}, dry_run=True)
    assert admitted.ok, admitted.output
    assert "Warning" not in admitted.output

    lax: dict[str, Any] = json.loads(json.dumps(template["spec"]))
    lax["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    refused = kubectl.try_apply({**pod, "spec": lax}, dry_run=True)
    assert not refused.ok
    assert "violates PodSecurity" in refused.output


def _runtime(namespace: str) -> Json:
    metadata = {"name": "agent", "namespace": namespace}
    spec = {"image": "docker.io/library/busybox:1.35.0"}
    return {"apiVersion": "axonos.ai/v1alpha1", "kind": "WorkflowRuntime", "metadata": metadata, "spec": spec}


def _tenant() -> Json:
    return {"apiVersion": "axonos.ai/v1alpha1", "kind": "Tenant", "metadata": {"name": TENANT}, "spec": {}}


def _binding(namespace: str) -> Json:
    metadata = {"name": "agent", "namespace": namespace}
    source, delivery = {"kv": {"path": "a"}}, {"file": {"path": "a"}}
    spec = {"runtimeRef": {"name": "agent"}, "source": source, "delivery": delivery}
    return {"apiVersion": "axonos.ai/v1alpha1", "kind": "SecretBinding", "metadata": metadata, "spec": spec}


def _pod(namespace: str) -> Json:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace, "labels": {"app": "p"}},
        "spec": {
            "serviceAccountName": "p",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "image": "registry.example/good:1", "securityContext": security}],
        },
    }


def _image(image: str) -> Json:
    return {"spec": {"containers": [{"name": "c", "image": image}]}}
