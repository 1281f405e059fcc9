"""What the operator makes is kept from everyone else, whatever their role: tried on a real API server with the admission
policies as they are installed. Each refusal is shown to mean something: the same request passes when the glass is broken."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from axon_operator.domain.names import TENANT_LABEL
from e2e.support.cluster import GLASS_ANNOTATION as GLASS
from e2e.support.kubectl import Json, Kubectl
from e2e.support.shell import Result
from e2e.support.waiting import until_true
from integration.api.conftest import OPERATOR, As
from integration.api.test_defaults import planned
from servers.kube import KubeServer

TENANT = "walled"
HOME = f"axon-{TENANT}"
OTHER = "walls-elsewhere"
"""A namespace that is no tenant's."""

OURS = "are the operator's; change the Tenant, WorkflowRuntime or SecretBinding"
ADD_UP = "network policies add up"
ACCOUNT = "service accounts named rt-… belong to runtimes"
LABELS = "pods with labels axonos.ai/… are taken for a runtime's"
CLOSED = "nobody gets into the pods of a tenant's namespace"
TOKENS = "tokens of runtimes' service accounts (rt-…) are issued to their pods only"
MARK = "only the operator makes a namespace a tenant's"
GOES = "a tenant's namespace goes with its Tenant"
TEARDOWN = "the operator takes the finalizer axonos.ai/teardown off"
FOR_GROUPS = "the annotation axonos.ai/break-glass is for the groups"

(PRINCIPAL,) = (m["metadata"]["name"] for m in planned() if m["kind"] == "Deployment")
POD = f"{PRINCIPAL}-1-a"
RUNNING = json.dumps({"status": {"phase": "Running"}})
OPEN: Json = {"spec": {"ingress": [{}], "egress": [{}]}}
MARKS = {"app.kubernetes.io/managed-by": "axon-operator", "axonos.ai/owner-uid": "1111", TENANT_LABEL: TENANT}


@dataclass(frozen=True)
class People:
    """Who tries."""

    tenants_admin: As
    """Bound by the operator to the role of `spec.admins`."""
    editor: As
    """With Kubernetes' own roles edit and admin in the tenant's namespace."""
    cluster_admin: As
    """May do everything, by the role cluster-admin."""
    root: Kubectl
    """The same, and a member of a group that may break the glass."""


@dataclass(frozen=True)
class Attack:
    """A command of kubectl."""

    args: tuple[str, ...]
    words: tuple[str, ...]
    """Parts of refusals. Where several policies refuse, the API server tells one of them, whichever comes first."""
    stdin: Json | None = None

    def refused_in(self, output: str) -> bool:
        """Whether a policy says so."""
        return any(words in output for words in self.words)

    def by(self, who: Callable[..., Result], *flags: str) -> Result:
        return who(*self.args, *flags, stdin=json.dumps(self.stdin) if self.stdin else None)


def within(*args: str, words: str = OURS, stdin: Json | None = None) -> Attack:
    # what is the operator's may also be refused as something that uses a runtime's account, or its labels
    return Attack(("-n", HOME, *args), (OURS, ACCOUNT, LABELS) if words == OURS else (words,), stdin)


def made(manifest: Json, words: str) -> Attack:
    return within("create", "-f", "-", words=words, stdin=manifest)


def patched(kind: str, name: str, patch: Any, words: str = OURS) -> Attack:
    how = "json" if isinstance(patch, list) else "merge"
    return within("patch", kind, name, f"--type={how}", "-p", json.dumps(patch), words=words)


def thing(api: str, kind: str, name: str, labels: dict[str, str] | None = None, **body: Any) -> Json:
    metadata = {"name": name, "namespace": HOME, "labels": labels or {}}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}


def pod_spec(**fields: Any) -> Json:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    amounts = {"limits": {"cpu": "10m", "memory": "10Mi"}, "requests": {"cpu": "10m", "memory": "10Mi"}}
    return {
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {"name": "c", "image": "registry.example/c:1", "securityContext": security, "resources": amounts}
        ],
        **fields,
    }


def workloads(spec: Json, labels: dict[str, str]) -> dict[str, Json]:
    """Everything from which a pod comes, with this spec of a pod and these labels."""
    template = {"metadata": {"labels": {"app": "x", **labels}}, "spec": spec}
    lasting = {"metadata": template["metadata"], "spec": {**spec, "restartPolicy": "Always"}}
    selected = {"selector": {"matchLabels": {"app": "x"}}, "template": lasting}
    return {
        "pod": thing("v1", "Pod", "x", {"app": "x", **labels}, spec=spec),
        "deployment": thing("apps/v1", "Deployment", "x", spec=selected),
        "replica set": thing("apps/v1", "ReplicaSet", "x", spec=selected),
        "stateful set": thing("apps/v1", "StatefulSet", "x", spec={**selected, "serviceName": "x"}),
        "daemon set": thing("apps/v1", "DaemonSet", "x", spec=selected),
        # without labels of their own Kubernetes gives these two the labels of their pods
        "job": thing("batch/v1", "Job", "x", {"app": "x"}, spec={"template": template}),
        "cron job": thing(
            "batch/v1", "CronJob", "x", spec={"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}
        ),
        "replication controller": thing(
            "v1", "ReplicationController", "x", {"app": "x"}, spec={"selector": {"app": "x"}, "template": lasting}
        ),
    }


OBJECTS: dict[str, Attack] = {
    "open the default-deny policy": patched("networkpolicy", "axon-default-deny", OPEN),
    "delete it": within("delete", "networkpolicy", "axon-default-deny"),
    "take its mark off": within("label", "networkpolicy", "axon-default-deny", "axonos.ai/owner-uid-"),
    "give it to somebody else": within(
        "label", "networkpolicy", "axon-default-deny", "app.kubernetes.io/managed-by=me", "--overwrite"
    ),
    "hold it with a finalizer": patched(
        "networkpolicy", "axon-default-deny", {"metadata": {"finalizers": ["example.com/x"]}}
    ),
    "add a policy that opens": made(
        thing("networking.k8s.io/v1", "NetworkPolicy", "open", spec={"podSelector": {}, **OPEN["spec"]}), ADD_UP
    ),
    "widen a policy of one's own": patched("networkpolicy", "theirs", OPEN, ADD_UP),
    "copy the marks": made(thing("v1", "ConfigMap", "copy", MARKS), OURS),
    "put the mark on something": within("label", "configmap", "theirs", f"{TENANT_LABEL}={TENANT}"),
    "take a name before the operator does": made(thing("v1", "ServiceAccount", "rt-agent-0123456789"), OURS),
    "rewrite the sidecar's configuration": patched("configmap", PRINCIPAL, {"data": {"revision": "x"}}),
    "delete the sidecar's configuration": within("delete", "configmap", PRINCIPAL),
    "raise the quota": patched("resourcequota", "axon-quota", {"spec": {"hard": {"pods": "999"}}}),
    "delete the limits": within("delete", "limitrange", "axon-limits"),
    "mount the account's token": patched("serviceaccount", PRINCIPAL, {"automountServiceAccountToken": True}),
    "delete the account": within("delete", "serviceaccount", PRINCIPAL),
    "become an administrator": patched(
        "rolebinding",
        "axon-admins",
        [
            {
                "op": "add",
                "path": "/subjects/-",
                "value": {"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"},
            }
        ],
    ),
    "dismiss the administrators": within("delete", "rolebinding", "axon-admins"),
    "another image": within("set", "image", f"deployment/{PRINCIPAL}", "workload=registry.example/evil:1"),
    "more pods": within("scale", f"deployment/{PRINCIPAL}", "--replicas=5"),
    "delete the deployment": within("delete", "deployment", PRINCIPAL),
    "more pods of the replica set": within("scale", f"replicaset/{PRINCIPAL}-1", "--replicas=5"),
    "delete the replica set": within("delete", "replicaset", f"{PRINCIPAL}-1"),
    "move a pod to another policy": within("label", "pod", POD, "axonos.ai/runtime=other", "--overwrite"),
    "the same by its status": within(
        "patch",
        "pod",
        POD,
        "--subresource=status",
        "-p",
        json.dumps({"metadata": {"labels": {"axonos.ai/runtime": None}}}),
    ),
    "more memory for a pod": within(
        "patch",
        "pod",
        POD,
        "--subresource=resize",
        "-p",
        json.dumps({"spec": {"containers": [{"name": "workload", "resources": {"limits": {"memory": "2Gi"}}}]}}),
    ),
    "redirect callers": patched("service", "agent", {"spec": {"selector": {"app": "x"}}}),
}
PODS: dict[str, Attack] = {
    **{f"{kind} under a runtime's account": made(m, ACCOUNT) for kind, m in workloads(pod_spec(serviceAccountName=PRINCIPAL), {}).items()},
    "the account by its old name": made(workloads(pod_spec(serviceAccount=PRINCIPAL), {})["deployment"], ACCOUNT),
    **{f"{kind} with a runtime's labels": made(m, LABELS) for kind, m in workloads(pod_spec(), {"axonos.ai/runtime": "agent"}).items() if kind != "pod"},
    "another template for one's own deployment": patched(
        "deployment", "theirs", {"spec": {"template": {"spec": {"serviceAccountName": PRINCIPAL}}}}, ACCOUNT
    ),
}  # fmt: skip
DOORS: dict[str, Attack] = {
    "exec": within("exec", POD, "-c", "workload", "--", "id", words=CLOSED),
    "attach": within("attach", POD, "-c", "workload", words=CLOSED),
    "port-forward": within("port-forward", f"pod/{POD}", "18080:8080", words=CLOSED),
    "proxy to the pod": Attack(("get", "--raw", f"/api/v1/namespaces/{HOME}/pods/{POD}:8080/proxy/"), (CLOSED,)),
    "proxy to the service": Attack(
        ("get", "--raw", f"/api/v1/namespaces/{HOME}/services/agent:8080/proxy/"), (CLOSED,)
    ),
}
KEYS: dict[str, Attack] = {
    "ephemeral container": within(
        "debug", POD, "--image=registry.example/x:1", "--attach=false", "--profile=restricted", words=CLOSED
    ),
    "token": within("create", "token", PRINCIPAL, "--audience=openbao", words=TOKENS),
    "token that never expires": made(
        {
            **thing("v1", "Secret", "forever", type="kubernetes.io/service-account-token"),
            "metadata": {
                "name": "forever",
                "namespace": HOME,
                "annotations": {"kubernetes.io/service-account.name": PRINCIPAL},
            },
        },
        TOKENS,
    ),
}
NAMESPACED = {**OBJECTS, **PODS, **DOORS, **KEYS}
MARKED: dict[str, Attack] = {
    "lower Pod Security": Attack(("label", "namespace", HOME, "pod-security.kubernetes.io/enforce=privileged", "--overwrite"), (MARK,)),
    "drop Pod Security": Attack(("label", "namespace", HOME, "pod-security.kubernetes.io/enforce-"), (MARK,)),
    "take the tenant's mark off": Attack(("label", "namespace", HOME, f"{TENANT_LABEL}-"), (MARK,)),
    "give it to another tenant": Attack(("label", "namespace", HOME, f"{TENANT_LABEL}=other", "--overwrite"), (MARK,)),
    "take the owner off": Attack(("label", "namespace", HOME, "axonos.ai/owner-uid-"), (MARK,)),
    "delete the namespace": Attack(("delete", "namespace", HOME, "--wait=false"), (GOES,)),
}  # fmt: skip
NAMESPACES: dict[str, Attack] = {
    **MARKED,
    "make a namespace a tenant's": Attack(("label", "namespace", OTHER, f"{TENANT_LABEL}=other"), (MARK,)),
    "create one that is": Attack(
        ("create", "-f", "-"), (MARK,),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "axon-forged", "labels": {TENANT_LABEL: "forged"}}},
    ),
    "break the glass without being in the group": Attack(("annotate", "namespace", HOME, f"{GLASS}=because"), (MARK,)),
}  # fmt: skip


@pytest.fixture(scope="module")
def people(installed: Kubectl) -> Iterator[People]:
    """A tenant with a runtime, as the operator and Kubernetes' controllers make them, and those who attack it."""
    root, operator = installed, As(installed, OPERATOR)
    account = thing("v1", "ServiceAccount", PRINCIPAL, MARKS, automountServiceAccountToken=False)
    for manifest in (*planned(tenant=TENANT), account):
        _done(operator("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest)))
    _run_pods(root)
    root("create", "namespace", OTHER)
    root("create", "clusterrolebinding", "walls-admin", "--clusterrole=cluster-admin", "--user=carol")
    # without the controller that aggregates them, edit and admin are empty
    for role in (
        "system:aggregate-to-edit",
        "system:aggregate-to-admin",
        "system:aggregate-to-view",
        "axon-edit",
        "axon-view",
    ):
        root(
            "-n",
            HOME,
            "create",
            "rolebinding",
            f"eddys-{role.replace(':', '-')}",
            f"--clusterrole={role}",
            "--user=eddy",
        )
    people = People(
        As(root, "alice", f"{TENANT}-admins"),
        As(root, "eddy", "system:authenticated"),
        As(root, "carol", "system:authenticated"),
        root,
    )
    _until(root, lambda done: CLOSED in done.output, DOORS["exec"])
    root.apply(
        thing("v1", "ConfigMap", "theirs"),
        workloads(pod_spec(), {})["deployment"] | {"metadata": {"name": "theirs", "namespace": HOME}},
        {
            **thing(
                "networking.k8s.io/v1", "NetworkPolicy", "theirs", spec={"podSelector": {}, "policyTypes": ["Ingress"]}
            ),
            "metadata": {"name": "theirs", "namespace": HOME, "annotations": {GLASS: "there before the operator"}},
        },
    )
    root("-n", HOME, "annotate", "networkpolicy", "theirs", f"{GLASS}-")
    for kind, name, where in (
        ("tenant", TENANT, ()),
        ("axw", "agent", ("-n", HOME)),
        ("axsb", "billing", ("-n", HOME)),
    ):
        root.apply(_declared(kind, name))
        _done(
            operator(
                "patch",
                *where,
                kind,
                name,
                "--type=merge",
                "-p",
                json.dumps({"metadata": {"finalizers": ["axonos.ai/teardown"]}}),
            )
        )
    yield people
    root("delete", "clusterrolebinding", "walls-admin")


def _declared(kind: str, name: str) -> Json:
    metadata = {"name": name} if kind == "tenant" else {"name": name, "namespace": HOME}
    known: dict[str, tuple[str, Json]] = {
        "tenant": ("Tenant", {}),
        "axw": ("WorkflowRuntime", {"image": "registry.example/agent:1"}),
        "axsb": (
            "SecretBinding",
            {
                "runtimeRef": {"name": "agent"},
                "source": {"kv": {"path": "a"}},
                "delivery": {"file": {"path": "a"}},
            },
        ),
    }
    title, spec = known[kind]
    return {"apiVersion": "axonos.ai/v1alpha1", "kind": title, "metadata": metadata, "spec": spec}


def _run_pods(root: Kubectl) -> None:
    """What Kubernetes' own controllers do for the runtime's Deployment, each under its own name."""
    quota = _controller(root, "resourcequota-controller")
    hard = root.need("-n", HOME, "resourcequota", "axon-quota")["spec"]["hard"]
    status = json.dumps({"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}})
    _done(
        quota("-n", HOME, "patch", "resourcequota", "axon-quota", "--subresource=status", "--type=merge", "-p", status)
    )
    template = root.need("-n", HOME, "deployment", PRINCIPAL)["spec"]["template"]
    labels = template["metadata"]["labels"]
    replicas = thing(
        "apps/v1",
        "ReplicaSet",
        f"{PRINCIPAL}-1",
        labels,
        spec={"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    )
    _done(_controller(root, "deployment-controller")("create", "-f", "-", stdin=json.dumps(replicas)))
    pod = thing("v1", "Pod", POD, labels, spec=template["spec"])
    _done(_controller(root, "replicaset-controller")("create", "-f", "-", stdin=json.dumps(pod)))
    _done(_kubelet(root)("-n", HOME, "patch", "pod", POD, "--subresource=status", "-p", RUNNING))
    _done(_controller(root, "service-account-controller")("-n", HOME, "create", "serviceaccount", "default"))


def _controller(root: Kubectl, name: str) -> As:
    """One of Kubernetes' own; with all rights, because kubectl asks for more than a controller does."""
    return As(root, f"system:serviceaccount:kube-system:{name}", "system:serviceaccounts:kube-system", "system:masters")


def _kubelet(root: Kubectl) -> As:
    return As(root, "system:node:n1", "system:nodes", "system:masters")


def _done(result: Result) -> None:
    assert result.ok, result.output


def _until(root: Kubectl, there: Callable[[Result], bool], attack: Attack) -> None:
    """The API server takes a moment to load a policy, and to see a namespace's annotation."""
    until_true("the policies take effect", lambda: there(attack.by(root.run)), timeout=60)


@pytest.mark.parametrize("attack", NAMESPACED.values(), ids=NAMESPACED.keys())
def test_neither_edit_nor_admin_nor_cluster_admin_touch_what_the_operator_made(people: People, attack: Attack) -> None:
    # who may break the glass is refused like everyone else as long as no reason is stated
    for who in (people.cluster_admin, people.root.run):
        assert attack.refused_in(attack.by(who).output)
    refused = attack.by(people.editor)
    assert not refused.ok
    # Kubernetes' own roles do not give every right
    assert attack.refused_in(refused.output) or "cannot" in refused.output


@pytest.mark.parametrize("attack", [*NAMESPACED.values(), *NAMESPACES.values()], ids=[*NAMESPACED, *NAMESPACES])
def test_a_tenants_admin_cannot_either(people: People, attack: Attack) -> None:
    refused = attack.by(people.tenants_admin)
    assert not refused.ok
    assert "forbidden" in refused.output.lower() or attack.refused_in(refused.output)


@pytest.mark.parametrize("attack", NAMESPACES.values(), ids=NAMESPACES.keys())
def test_nobody_else_makes_or_ends_or_changes_a_tenants_namespace(people: People, attack: Attack) -> None:
    refused = attack.by(people.cluster_admin)
    assert not refused.ok
    assert attack.refused_in(refused.output)


# -- finalizers of our kinds

STRIPPED: Json = {"metadata": {"finalizers": None}}
DECLARED = {"tenant": (TENANT,), "axw": ("agent", "-n", HOME), "axsb": ("billing", "-n", HOME)}


def _change(kind: str, patch: Json) -> tuple[str, ...]:
    return ("patch", kind, *DECLARED[kind], "--type=merge", "-p", json.dumps(patch))


@pytest.mark.parametrize("kind", DECLARED)
def test_nobody_strips_the_finalizer(people: People, kind: str) -> None:
    attempts: list[Callable[..., Result]] = [
        people.cluster_admin,
        people.root.run,
        *([] if kind == "tenant" else [people.tenants_admin, people.editor]),
    ]
    for who in attempts:
        refused = who(*_change(kind, STRIPPED))
        assert not refused.ok
        assert TEARDOWN in refused.output
        # a reason alone lets nobody through
        refused = people.cluster_admin(
            *_change(kind, {"metadata": {"finalizers": None, "annotations": {GLASS: "because"}}})
        )
        assert TEARDOWN in refused.output
    # other finalizers, and all other fields, are as before
    for finalizers in (["axonos.ai/teardown", "example.com/mine"], ["axonos.ai/teardown"]):
        _done(people.cluster_admin(*_change(kind, {"metadata": {"finalizers": finalizers, "labels": {"a": "b"}}})))


@pytest.mark.parametrize("kind", DECLARED)
def test_an_administrator_who_says_why_strips_it(people: People, kind: str) -> None:
    reason = {"metadata": {"finalizers": None, "annotations": {GLASS: "the backends are gone for good"}}}
    _done(people.root.run(*_change(kind, reason), "--dry-run=server"))


def test_nobody_else_says_why(people: People) -> None:
    refused = people.tenants_admin(*_change("axw", {"metadata": {"annotations": {GLASS: "mine"}}}))
    assert not refused.ok
    assert FOR_GROUPS in refused.output
    people.root("annotate", "axw", *DECLARED["axw"], f"{GLASS}=drill")
    try:
        # nor does it help them that somebody has
        assert TEARDOWN in people.tenants_admin(*_change("axw", STRIPPED)).output
        assert (
            FOR_GROUPS in people.tenants_admin(*_change("axw", {"metadata": {"annotations": {GLASS: "other"}}})).output
        )
        _done(people.tenants_admin(*_change("axw", {"metadata": {"annotations": {GLASS: None}}})))
    finally:
        people.root("annotate", "axw", *DECLARED["axw"], f"{GLASS}-")


# -- what goes on


def test_what_is_not_the_operators_is_left_to_everyone(people: People) -> None:
    manifests = [
        *workloads(pod_spec(), {}).values(),
        thing("v1", "ConfigMap", "mine"),
        thing("v1", "Secret", "mine", type="Opaque"),
        thing("v1", "ServiceAccount", "mine"),
        thing("v1", "Service", "mine", spec={"ports": [{"port": 80}], "selector": {"app": "mine"}}),
    ]
    for manifest in manifests:
        text = json.dumps(manifest)
        _done(people.editor("-n", HOME, "create", "-f", "-", "--dry-run=server", stdin=text))
    _done(people.editor("-n", HOME, "delete", "networkpolicy", "theirs", "--dry-run=server"))
    _done(people.editor("-n", HOME, "label", "configmap", "theirs", "a=b"))
    _done(people.editor("-n", HOME, "scale", "deployment/theirs", "--replicas=0", "--dry-run=server"))
    _done(people.cluster_admin("label", "namespace", HOME, "example.com/team=a"))
    _done(people.cluster_admin("annotate", "namespace", HOME, "example.com/cost-centre=7"))
    _done(people.cluster_admin("label", "namespace", OTHER, "pod-security.kubernetes.io/enforce=privileged"))


def test_a_runtimes_pod_can_be_deleted_and_evicted(people: People) -> None:
    """A node must be drained by whoever may do that; the pod comes again behind the same walls."""
    _done(people.cluster_admin("-n", HOME, "delete", "pod", POD, "--dry-run=server"))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": POD, "namespace": HOME}}
    path = f"/api/v1/namespaces/{HOME}/pods/{POD}/eviction"
    done = people.cluster_admin("create", "--raw", f"{path}?dryRun=All", "-f", "-", stdin=json.dumps(eviction))
    _done(done)


def test_kubernetes_itself_is_not_held_up(people: People) -> None:
    root = people.root
    _done(_kubelet(root)("-n", HOME, "create", "token", PRINCIPAL, "--audience=openbao"))
    for name, *args in (
        ("generic-garbage-collector", "delete", "configmap", PRINCIPAL),
        ("namespace-controller", "delete", "networkpolicy", "axon-default-deny"),
        ("namespace-controller", "delete", "deployment", PRINCIPAL),
        ("horizontal-pod-autoscaler", "scale", f"deployment/{PRINCIPAL}", "--replicas=2"),
    ):
        _done(_controller(root, name)("-n", HOME, *args, "--dry-run=server"))
    noted = json.dumps({"metadata": {"annotations": {"example.com/ip": "10.0.0.1"}}})
    # whoever writes a pod's status may note something there, as network plugins do
    _done(people.cluster_admin("-n", HOME, "patch", "pod", POD, "--subresource=status", "-p", noted))


def test_the_operator_tears_down(people: People) -> None:
    operator = As(people.root, OPERATOR)
    for args in (
        ("-n", HOME, "delete", "networkpolicy", "axon-default-deny"),
        ("-n", HOME, "delete", "deployment", PRINCIPAL),
        ("-n", HOME, "delete", "serviceaccount", PRINCIPAL),
        ("delete", "namespace", HOME),
    ):
        _done(operator(*args, "--dry-run=server"))
    _done(operator(*_change("axw", STRIPPED), "--dry-run=server"))


def test_a_stolen_token_of_the_operator_opens_no_door(people: People) -> None:
    """Even if its roles should ever grow."""
    operator = As(people.root, OPERATOR)
    people.root("create", "clusterrolebinding", "walls-too-much", "--clusterrole=cluster-admin", f"--user={OPERATOR}")
    try:
        for attack in (*DOORS.values(), *KEYS.values()):
            refused = attack.by(operator)
            assert not refused.ok
            # by this policy, or by the one that confines the operator, whichever the API server names
            assert attack.refused_in(refused.output) or "the operator may" in refused.output
    finally:
        people.root("delete", "clusterrolebinding", "walls-too-much")


# -- breaking the glass


@pytest.fixture(scope="module")
def broken(people: People) -> Iterator[People]:
    """The tenant's namespace says why."""
    people.root("annotate", "namespace", HOME, f"{GLASS}=incident 4711")
    _until(people.root, lambda done: CLOSED not in done.output, DOORS["exec"])
    yield people
    people.root("annotate", "namespace", HOME, f"{GLASS}-")
    _until(people.root, lambda done: CLOSED in done.output, DOORS["exec"])


@pytest.mark.parametrize("attack", {**OBJECTS, **PODS}.values(), ids={**OBJECTS, **PODS}.keys())
def test_a_broken_glass_lets_an_administrator_through_and_nobody_else(broken: People, attack: Attack) -> None:
    _done(attack.by(broken.root.run, "--dry-run=server"))
    assert not attack.by(broken.editor).ok
    assert attack.refused_in(attack.by(broken.cluster_admin).output)


@pytest.mark.parametrize("attack", {**DOORS, **KEYS}.values(), ids={**DOORS, **KEYS}.keys())
def test_a_broken_glass_opens_the_doors_to_an_administrator_and_nobody_else(broken: People, attack: Attack) -> None:
    # there is no kubelet behind: what counts is that no policy refuses
    assert "denied request" not in attack.by(broken.root.run).output
    assert attack.refused_in(attack.by(broken.cluster_admin).output)


@pytest.mark.parametrize("attack", MARKED.values(), ids=MARKED.keys())
def test_a_broken_glass_opens_the_namespace_to_an_administrator_and_nobody_else(broken: People, attack: Attack) -> None:
    _done(attack.by(broken.root.run, "--dry-run=server"))
    assert attack.refused_in(attack.by(broken.cluster_admin).output)


def test_an_administrator_who_says_why_makes_a_namespace_a_tenants(people: People) -> None:
    """A restored backup needs that; the reason stands in the namespace itself."""
    patch = json.dumps(
        {"metadata": {"labels": {TENANT_LABEL: "other"}, "annotations": {GLASS: "restore of 24 November"}}}
    )
    asked = ("patch", "namespace", OTHER, "--type=merge", "-p", patch, "--dry-run=server")
    _done(people.root.run(*asked))
    assert MARK in people.cluster_admin(*asked).output


def test_every_broken_glass_is_in_the_audit_log_with_its_reason(broken: People, apiserver: KubeServer) -> None:
    broken.root("-n", HOME, "annotate", "configmap", PRINCIPAL, "seen=yes")
    lines = [json.loads(line) for line in apiserver.audit_log.read_text().splitlines() if line.endswith("}")]
    told = [
        (line["user"]["username"], line["annotations"].get("axon-operator-managed-objects/break-glass"))
        for line in lines
        if line.get("objectRef", {}).get("name") == PRINCIPAL
        and line["objectRef"]["resource"] == "configmaps"
        and line["verb"] == "patch"
        and line["responseStatus"]["code"] == 200
    ]
    assert told[-1] == ("admin", "incident 4711")
    # the operator's own writes carry none
    assert not [
        line
        for line in lines
        if line.get("impersonatedUser", {}).get("username") == OPERATOR
        and "break-glass" in str(line.get("annotations"))
    ]
