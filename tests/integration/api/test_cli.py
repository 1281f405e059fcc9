"""`kubectl axon` on a real API server, by the real kubectl and in all the ways in which it can go wrong."""

import datetime
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from axon_operator.cli import doctor
from axon_operator.cli.cluster import Cluster, ConflictError, NotServedError
from axon_operator.cli.edits import LOGOUT, SUSPENDED, edit, logged_out, switched
from axon_operator.cli.main import main
from axon_operator.domain.issue import Told, ToldBinding
from axon_operator.domain.names import RuntimeNames
from axon_operator.domain.resources import BINDING, TENANT, Manifest, Ref, Resource
from axon_operator.domain.rotation import Generation
from axon_operator.domain.runtime import BINDINGS_KEY
from e2e.support.kubectl import Json, Kubectl
from e2e.support.settings import program
from servers.kube import KubeServer
from servers.processes import free_port

NUMBERS = count(1)
GITOPS = "argocd-controller"


class Ran:
    """What a command did."""

    def __init__(self, code: int, shown: Any) -> None:
        self.code, self.out, self.err = code, str(shown.out), str(shown.err)


class Axon:
    """The plugin, with a kubeconfig."""

    def __init__(self, kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._kubeconfig = kubeconfig
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ran:
        self._capsys.readouterr()
        return Ran(main(["--kubeconfig", str(self._kubeconfig), *arguments]), self._capsys.readouterr())


@pytest.fixture
def axon(installed: Kubectl, capsys: pytest.CaptureFixture[str]) -> Axon:
    """As administrator."""
    return Axon(installed.kubeconfig, capsys)


@pytest.fixture
def name(installed: Kubectl) -> Iterator[str]:
    """A Tenant that nobody works on."""
    made = f"cli-{next(NUMBERS)}"
    installed.create(tenant(made))
    yield made
    installed("delete", "tenant", made)


def tenant(name: str, **spec: Any) -> Json:
    return {"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": {"name": name}, "spec": spec}


def live(kubectl: Kubectl, name: str) -> Json:
    return kubectl.need("tenant", name, "--show-managed-fields")


def tells(kubectl: Kubectl, what: tuple[str, ...], status: str, reason: str, message: str) -> None:
    """The operator's status of an object."""
    at = kubectl.need(*what)["metadata"]["generation"]
    told = {"type": "Ready", "status": status, "reason": reason, "message": message, "observedGeneration": at}
    body = {"status": {"conditions": [{**told, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}
    kubectl("patch", *what, "--subresource=status", "--type=merge", "-p", json.dumps(body))


def apply_as(kubectl: Kubectl, manager: str, manifest: Json) -> None:
    """As a GitOps tool does."""
    flags = ("--server-side", f"--field-manager={manager}", "--force-conflicts")
    kubectl("apply", *flags, "-f", "-", stdin=json.dumps(manifest))


# -- status


def test_kubectl_itself_finds_the_plugin_and_shows_the_tree(installed: Kubectl, name: str) -> None:
    tells(installed, ("tenant", name), "False", "VaultDenied", "Run the bootstrap.")
    # where its console script is, as after an installation of the package
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [program("kubectl"), "axon", "status", name]
    env = {**os.environ, "PATH": path, "KUBECONFIG": str(installed.kubeconfig)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    header, row = done.stdout.splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "MESSAGE"]
    assert row.split(maxsplit=4) == ["Tenant", name, "False", "VaultDenied", "Run the bootstrap."]


def test_status_shows_runtimes_and_bindings_below_their_tenant(installed: Kubectl, axon: Axon, name: str) -> None:
    namespace = f"axon-{name}"
    installed("create", "namespace", namespace)
    runtime = {"apiVersion": TENANT.api_version, "kind": "WorkflowRuntime", "spec": {"image": "registry.example/a:1"}}
    binding = {
        "apiVersion": TENANT.api_version,
        "kind": "SecretBinding",
        "spec": {
            "runtimeRef": {"name": "agent"},
            "source": {"kv": {"path": "billing", "keys": ["key"]}},
            "delivery": {"file": {"path": "billing.json"}},
        },
    }
    for manifest, named in ((runtime, "agent"), (binding, "billing")):
        installed.create({**manifest, "metadata": {"name": named, "namespace": namespace}})
    tells(installed, ("-n", namespace, "axw", "agent"), "True", "Ready", "Everything exists as planned.")
    shown = axon("status", name).out.splitlines()
    assert [line.split()[:3] for line in shown[1:]] == [
        ["Tenant", name, "Unknown"],
        ["└─", "WorkflowRuntime", "agent"],
        ["└─", "SecretBinding", "billing"],
    ]
    (found,) = json.loads(axon("status", name, "-o", "json").out)
    assert found["children"][0]["ready"] == "True"
    assert found["children"][0]["children"][0]["name"] == "billing"
    # all of them: in one list with others'
    assert name in [node["name"] for node in json.loads(axon("status", "-o", "json").out)]


# -- suspend and resume


def test_suspend_and_resume_change_that_field_and_once(installed: Kubectl, axon: Axon, name: str) -> None:
    before = live(installed, name)
    for command, wanted in (("suspend", True), ("resume", False)):
        assert axon(command, name).code == 0
        after = live(installed, name)
        assert after["spec"] == {**before["spec"], "suspended": wanted}
        assert "kubectl-axon" in {entry["manager"] for entry in after["metadata"]["managedFields"]}
        again = axon(command, name)
        assert (again.code, live(installed, name)) == (0, after)
        assert "already" in again.out or "is not suspended" in again.out


def test_a_field_that_a_tool_applies_is_changed_only_by_force(installed: Kubectl, axon: Axon, name: str) -> None:
    apply_as(installed, GITOPS, tenant(name, displayName="Acme", suspended=False))
    before = live(installed, name)
    refused = axon("suspend", name)
    assert refused.code == 1
    assert f"spec.suspended of Tenant {name} is kept by {GITOPS}" in refused.err
    assert "--force" in refused.err
    assert live(installed, name) == before
    assert axon("suspend", name, "--force").code == 0
    after = live(installed, name)
    assert after["spec"] == {**before["spec"], "suspended": True}
    # what the tool also keeps is still its own
    (entry,) = (e for e in after["metadata"]["managedFields"] if e["manager"] == GITOPS)
    assert "f:displayName" in entry["fieldsV1"]["f:spec"]


def test_so_is_one_in_the_annotation_of_kubectl_apply(installed: Kubectl, axon: Axon, name: str) -> None:
    installed.apply(tenant(name, displayName="Acme"))
    assert axon("suspend", name).code == 0
    # and a further run of the tool, which does not speak of it, leaves it
    installed.apply(tenant(name, displayName="Acme 2"))
    assert live(installed, name)["spec"]["suspended"] is True
    installed.apply(tenant(name, suspended=True))
    assert "is kept by kubectl apply" in axon("resume", name).err
    assert live(installed, name)["spec"]["suspended"] is True


class Disturbed(Cluster):
    """Somebody else writes each time between reading and writing."""

    def __init__(self, kubectl: Kubectl, times: int) -> None:
        super().__init__(str(kubectl.kubeconfig))
        self._kubectl = kubectl
        self._left = times

    def change(self, live: Manifest, spec: Mapping[str, Any]) -> Manifest:
        if self._left:
            self._left -= 1
            theirs = {"displayName": f"theirs-{self._left}", "identity": {"logout": [{"user": "bob", "trigger": "1"}]}}
            patch = json.dumps({"spec": theirs})
            self._kubectl("patch", "tenant", live["metadata"]["name"], "--type=merge", "-p", patch)
        return super().change(live, spec)


def test_what_somebody_else_writes_meanwhile_is_not_lost(installed: Kubectl, name: str) -> None:
    edit(Disturbed(installed, 2), Ref(TENANT, "", name), logged_out("alice", "1"), LOGOUT, force=False)
    spec = live(installed, name)["spec"]
    assert spec["displayName"] == "theirs-0"
    assert [entry["user"] for entry in spec["identity"]["logout"]] == ["bob", "alice"]


def test_who_is_always_too_late_is_told_and_changes_nothing(installed: Kubectl, name: str) -> None:
    with pytest.raises(ConflictError, match="nothing was changed"):
        edit(Disturbed(installed, 1000), Ref(TENANT, "", name), switched(suspended=True), SUSPENDED, force=False)
    assert live(installed, name)["spec"]["suspended"] is False


# -- logout


def test_logout_writes_one_entry_per_user(installed: Kubectl, axon: Axon, name: str) -> None:
    def entries() -> dict[str, str]:
        return {e["user"]: e["trigger"] for e in live(installed, name)["spec"]["identity"]["logout"]}

    for who in (["alice"], ["bob"], ["--all"]):
        assert axon("logout", name, *who).code == 0
    first = entries()
    assert list(first) == ["alice", "bob", "*"]
    # Keycloak knows no case, and the API server would refuse two of them
    assert axon("logout", name, "ALICE").code == 0
    second = entries()
    assert list(second) == ["bob", "*", "ALICE"]
    assert second["ALICE"] != first["alice"]
    assert second["bob"] == first["bob"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name one user, or --all"),
        (["alice", "--all"], "name one user, or --all"),
        (["x" * 256], "the API server refuses this change of Tenant"),
        (["alice", "--wait", "--timeout", "1"], "the sessions have not ended yet; it goes on."),
    ],
)
def test_a_logout_that_cannot_be_says_why(axon: Axon, name: str, arguments: list[str], says: str) -> None:
    done = axon("logout", name, *arguments)
    assert (done.code, done.out) == (1, "")
    assert says in done.err


def test_a_suspended_tenant_has_nobody_to_log_out(installed: Kubectl, axon: Axon, name: str) -> None:
    assert axon("suspend", name).code == 0
    before = live(installed, name)
    assert "is suspended" in axon("logout", name, "alice").err
    assert live(installed, name) == before


# -- rotate, revoke and trace


USER = "11111111-2222-3333-4444-555555555555"
DATABASE = {"database": {"connection": "orders", "role": "reader"}}
REFUSED = {
    "whoever keeps its secrets writes the new value": {"kv": {"path": "billing/stripe"}},
    f"github/token is the secret of user {USER}": {"grant": {"user": USER, "path": "github/token"}},
}


@pytest.fixture
def home(installed: Kubectl, name: str) -> str:
    """The namespace of that Tenant."""
    installed("create", "namespace", f"axon-{name}")
    return f"axon-{name}"


def secret_binding(namespace: str, **spec: Any) -> Json:
    whole = {"runtimeRef": {"name": "agent"}, "source": DATABASE, "delivery": {"file": {"path": "db.json"}}}
    metadata = {"name": "db", "namespace": namespace}
    return {"apiVersion": BINDING.api_version, "kind": BINDING.kind, "metadata": metadata, "spec": {**whole, **spec}}


def bound(kubectl: Kubectl, namespace: str) -> Json:
    return kubectl.need("-n", namespace, "axsb", "db", "--show-managed-fields")


def reports(kubectl: Kubectl, namespace: str, reason: str, **status: Any) -> None:
    """The operator's status of the binding, as it is now."""
    body = {"status": {"observedGeneration": bound(kubectl, namespace)["metadata"]["generation"], **status}}
    what = ("-n", namespace, "axsb", "db")
    tells(kubectl, what, "True", reason, f"It is {reason}.")
    kubectl("patch", *what, "--subresource=status", "--type=merge", "-p", json.dumps(body))


def test_rotate_and_revoke_change_their_field_only(installed: Kubectl, axon: Axon, name: str, home: str) -> None:
    installed.create(secret_binding(home))
    before = bound(installed, home)["spec"]
    # by the Tenant's name, and by the namespace's
    assert axon("rotate", f"{name}/db").code == axon("rotate", f"{home}/db").code == 0
    rotated = bound(installed, home)
    assert rotated["spec"] == {**before, "rotationTrigger": rotated["spec"]["rotationTrigger"]}
    assert rotated["spec"]["rotationTrigger"] != before["rotationTrigger"]
    assert "kubectl-axon" in {entry["manager"] for entry in rotated["metadata"]["managedFields"]}
    for flags, wanted in (([], True), (["--undo"], False)):
        assert axon("revoke", f"{name}/db", *flags).code == 0
        after = bound(installed, home)
        assert after["spec"] == {**rotated["spec"], "revoked": wanted}
        again = axon("revoke", f"{name}/db", *flags)
        assert (again.code, bound(installed, home)) == (0, after)
        assert "already" in again.out or "is not revoked" in again.out


@pytest.mark.parametrize("says", REFUSED)
def test_what_is_not_made_here_is_not_rotated_here(
    installed: Kubectl, axon: Axon, name: str, home: str, says: str
) -> None:
    installed.create(secret_binding(home, source=REFUSED[says]))
    before = bound(installed, home)
    done = axon("rotate", f"{name}/db", "--force")
    assert (done.code, done.out) == (1, "")
    assert says in done.err
    assert bound(installed, home) == before


def test_a_revocation_that_a_tool_would_undo_needs_force(installed: Kubectl, axon: Axon, name: str, home: str) -> None:
    apply_as(installed, GITOPS, secret_binding(home, revoked=False))
    refused = axon("revoke", f"{name}/db")
    assert refused.code == 1
    assert f"spec.revoked of SecretBinding {home}/db is kept by {GITOPS}" in refused.err
    assert bound(installed, home)["spec"]["revoked"] is False
    assert axon("revoke", f"{name}/db", "--force").code == 0
    assert bound(installed, home)["spec"]["revoked"] is True
    # what the tool does not speak of is nobody's
    assert "is revoked" in axon("rotate", f"{name}/db").err


def test_waiting_ends_when_the_operator_says_so_and_not_before(
    installed: Kubectl, axon: Axon, name: str, home: str
) -> None:
    installed.create(secret_binding(home))
    reports(installed, home, "Ready", rotatedAt="2026-01-31T10:00:00Z", consumers={"ready": 2, "total": 2})
    late = axon("rotate", f"{name}/db", "--wait", "--timeout", "1")
    assert (late.code, late.out) == (1, "")
    assert "is not there yet; it goes on." in late.err

    def work() -> None:
        # a new credential, which one pod has, then all of them
        for ready in (1, 2):
            time.sleep(1)
            reports(installed, home, "Ready", rotatedAt="2026-01-31T10:05:00Z", consumers={"ready": ready, "total": 2})

    operator = threading.Timer(1, work)
    operator.start()
    done = axon("rotate", f"{name}/db", "--wait", "--timeout", "30")
    operator.join()
    assert (done.code, "all its pods serve the new credential" in done.out) == (0, True), done.err
    assert bound(installed, home)["status"]["consumers"]["ready"] == 2

    revoking = threading.Timer(2, lambda: reports(installed, home, "Revoked"))
    revoking.start()
    done = axon("revoke", f"{name}/db", "--wait", "--timeout", "30")
    revoking.join()
    assert (done.code, "revoked, and gone from all pods" in done.out) == (0, True), done.err


def test_waiting_for_what_a_suspension_holds_up_says_so(installed: Kubectl, axon: Axon, name: str, home: str) -> None:
    installed.create(secret_binding(home))
    suspended = threading.Timer(1, lambda: reports(installed, home, "Suspended"))
    suspended.start()
    done = axon("rotate", f"{name}/db", "--wait", "--timeout", "30")
    suspended.join()
    assert (done.code, "It is Suspended." in done.err) == (1, True)


@pytest.mark.parametrize("command", ["rotate", "revoke", "trace"])
def test_a_binding_that_is_not_there_and_one_that_may_not_be_read(axon: Axon, powerless: Axon, command: str) -> None:
    absent = axon(command, "nobody/db")
    assert (absent.code, absent.err) == (1, "kubectl axon: there is no SecretBinding axon-nobody/db\n")
    assert "you may not read SecretBinding axon-nobody/db" in powerless(command, "nobody/db").err


def running(kubectl: Kubectl, namespace: str, runtime: Json) -> RuntimeNames:
    """What the operator and the kubelet make of a runtime, as far as a trace reads it."""
    names = RuntimeNames(namespace, "agent", runtime["metadata"]["uid"])
    generation = Generation(bound(kubectl, namespace)["metadata"]["uid"], 3, datetime.datetime.now(datetime.UTC), "")
    told = Told({"db": ToldBinding(generation)}).to_json()
    metadata = {"name": names.principal, "namespace": namespace}
    kubectl.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {BINDINGS_KEY: told}})
    kubectl.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "pods", "namespace": namespace}})
    labels = {"axonos.ai/runtime": "agent"}
    spec = {"serviceAccountName": "pods", "containers": [{"name": "workload", "image": "registry.example/agent:1"}]}
    pod = {"name": "one", "namespace": namespace, "labels": labels}
    kubectl.create({"apiVersion": "v1", "kind": "Pod", "metadata": pod, "spec": spec})
    container = {
        "name": "workload",
        "image": "registry.example/agent:1",
        "imageID": "registry.example/agent@sha256:abc",
    }
    state = {"ready": True, "restartCount": 0, "started": True, "state": {"running": {}}}
    status = {"status": {"phase": "Running", "containerStatuses": [{**container, **state}]}}
    patch = ("patch", "pod", "one", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    kubectl("-n", namespace, *patch)
    return names


@pytest.fixture
def administrator(installed: Kubectl, home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Axon:
    """One of the organization's own."""
    installed("-n", home, "create", "serviceaccount", "admin")
    flags = ("--clusterrole=axon-tenant-admin", f"--serviceaccount={home}:admin")
    installed("-n", home, "create", "rolebinding", "admins", *flags)
    config: Json = yaml.safe_load(installed.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": installed("-n", home, "create", "token", "admin").strip()}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return Axon(path, capsys)


def test_a_credential_is_traced_as_far_as_the_one_who_asks_may_see(
    installed: Kubectl, axon: Axon, administrator: Axon, name: str, home: str
) -> None:
    spec = {"image": "registry.example/agent:1"}
    metadata = {"name": "agent", "namespace": home}
    installed.create({"apiVersion": BINDING.api_version, "kind": "WorkflowRuntime", "metadata": metadata, "spec": spec})
    installed.create(secret_binding(home))
    names = running(installed, home, installed.need("-n", home, "axw", "agent"))
    series = names.series("db", bound(installed, home)["metadata"]["uid"])

    found = json.loads(axon("trace", f"{name}/db", "-o", "json").out)
    assert found["paths"] == [f"database/creds/orders.{series}3"]
    assert found["role"] == f"auth/k8s/role/{names.principal}"
    assert found["pods"][0]["images"][0]["digest"] == "registry.example/agent@sha256:abc"
    assert found["unread"] == []

    # an organization's administrator sees neither Tenants nor ConfigMaps
    done = administrator("trace", f"{name}/db")
    assert done.code == 0
    assert f"database/creds/orders.{series}<generation>" in done.out
    assert "workload: registry.example/agent@sha256:abc" in done.out
    unread = [line for line in done.out.splitlines() if line.startswith("Not read: ")]
    assert [line.split(",")[0] for line in unread] == [
        f"Not read: Tenant {name}",
        f"Not read: ConfigMap {home}/{names.principal}",
    ]


# -- who may not, and what is not there

COMMANDS = (["status", "nobody"], ["suspend", "nobody"], ["resume", "nobody"], ["logout", "nobody", "alice"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_tenant_that_is_not_there(axon: Axon, command: list[str]) -> None:
    done = axon(*command)
    assert (done.code, done.out, done.err) == (1, "", "kubectl axon: there is no Tenant nobody\n")


@pytest.fixture
def powerless(installed: Kubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Axon:
    """A login that has no right at all."""
    config: Json = yaml.safe_load(installed.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": installed("-n", "default", "create", "token", "default").strip()}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return Axon(path, capsys)


@pytest.fixture(autouse=True)
def account(installed: Kubectl) -> None:
    """No controller makes it here."""
    installed.run("-n", "default", "create", "serviceaccount", "default")


@pytest.mark.parametrize("command", [["status"], *COMMANDS], ids=" ".join)
def test_who_lacks_the_right_is_told_which(powerless: Axon, command: list[str]) -> None:
    done = powerless(*command)
    assert (done.code, done.out) == (1, "")
    assert "you may not read" in done.err
    assert "ask for the right to get, list on tenants" in done.err


def test_a_doctor_who_may_see_nothing_says_that_it_knows_nothing(powerless: Axon) -> None:
    done = powerless("doctor")
    assert done.code == 1
    assert {line.split(": ")[1] for line in done.out.splitlines()} == {"not known"}
    assert all(line.startswith("WRONG") for line in done.out.splitlines())


def test_a_login_that_is_not_accepted(installed: Kubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config: Json = yaml.safe_load(installed.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "canary-token"}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    done = Axon(path, capsys)("status")
    assert (done.code, "log in to the cluster again" in done.err, "canary" in done.err) == (1, True, False)


@pytest.mark.parametrize("wrong", ["port", "authority"])
def test_an_api_server_that_is_not_there_or_is_another(
    installed: Kubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    config: Json = yaml.safe_load(installed.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    if wrong == "port":
        cluster["server"] = f"https://127.0.0.1:{free_port()}"
    else:
        del cluster["certificate-authority"]
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    done = Axon(path, capsys)("status")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"kubectl axon: the API server {cluster['server']} does not answer")
    assert len(done.err.splitlines()) == 1


def test_an_unknown_context(axon: Axon) -> None:
    done = axon("--context", "nowhere", "status")
    assert (done.code, "no usable kubeconfig with a context nowhere" in done.err) == (1, True)


def test_a_kind_that_is_not_served(installed: Kubectl) -> None:
    cluster = Cluster(str(installed.kubeconfig))
    with pytest.raises(NotServedError, match=r"does not serve nothings \(nowhere\.example/v1\)"):
        cluster.list(Resource("nowhere.example/v1", "Nothing", "nothings", namespaced=False))
    assert cluster.get(Ref(TENANT, "", "nobody")) is None


# -- doctor


@contextmanager
def leading(kubectl: Kubectl, *, renewing: bool = True) -> Iterator[None]:
    """A Lease as the operator's, renewed or not."""
    spec = {"holderIdentity": "pod-1_x", "leaseDurationSeconds": 3}
    metadata = {"name": doctor.OPERATOR, "namespace": "axon-system"}
    kubectl.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
    over = threading.Event()

    def renew() -> None:
        for number in count():
            if over.wait(0.3):
                return
            kubectl("-n", "axon-system", "annotate", "lease", doctor.OPERATOR, f"renewed=n{number}", "--overwrite")

    thread = threading.Thread(target=renew)
    if renewing:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if renewing:
            thread.join()
        kubectl("-n", "axon-system", "delete", "lease", doctor.OPERATOR)


def run_pods(kubectl: Kubectl, ready: int) -> None:
    """The status of the operator's Deployment, as its controller would write it."""
    condition = {"type": "Available", "status": "True" if ready else "False"}
    status = {"replicas": ready, "readyReplicas": ready, "availableReplicas": ready, "conditions": [condition]}
    what = ("-n", "axon-system", "patch", "deployment", doctor.OPERATOR, "--subresource=status", "--type=merge")
    kubectl(*what, "-p", json.dumps({"status": status}))


def all_ready(kubectl: Kubectl) -> None:
    """Other tests' tenants too."""
    for found in kubectl.items("tenants"):
        tells(kubectl, ("tenant", found["metadata"]["name"]), "True", "Ready", "Everything exists as planned.")


def wrong(ran: Ran) -> dict[str, str]:
    found = (line.removeprefix("WRONG ").partition(": ") for line in ran.out.splitlines() if line.startswith("WRONG"))
    return {what: says for what, _, says in found}


def test_a_whole_installation_is_found_whole(installed: Kubectl, axon: Axon, name: str) -> None:
    run_pods(installed, 2)
    all_ready(installed)
    with leading(installed):
        done = axon("doctor")
        assert (done.code, wrong(done)) == (0, {}), done.out
        assert "ok    leader: pod-1_x" in done.out
        found = json.loads(axon("doctor", "-o", "json").out)
    assert [finding["ok"] for finding in found] == [True] * len(done.out.splitlines())
    assert name


def test_what_is_wrong_is_found_and_named(installed: Kubectl, axon: Axon, name: str) -> None:
    run_pods(installed, 0)
    all_ready(installed)
    tells(installed, ("tenant", name), "False", "RealmLimit", "Raise realmCap.")
    with leading(installed, renewing=False):
        done = axon("doctor")
    assert done.code == 1
    assert wrong(done).keys() == {"operator", "leader", f"Tenant {name}"}
    assert wrong(done)["leader"].startswith("pod-1_x does not renew its Lease")
    assert wrong(done)[f"Tenant {name}"] == "RealmLimit: Raise realmCap."
    assert "nobody holds Lease axon-system/axon-operator" in wrong(axon("doctor"))["leader"]
    elsewhere = wrong(axon("doctor", "--operator-namespace", "default"))
    assert "there is no Deployment default/axon-operator" in elsewhere["operator"]


@pytest.mark.parametrize(
    ("removed", "what", "says"),
    [
        (
            "validatingadmissionpolicybinding/axon-operator-teardown",
            "admission policies",
            "without a binding that denies: axon-operator-teardown",
        ),
        (
            "validatingadmissionpolicy/axon-governance-tenants",
            "admission policies",
            "missing: axon-governance-tenants",
        ),
        (
            f"mutatingadmissionpolicybinding/{doctor.STAMP}",
            "stamp of who asks",
            f"{doctor.STAMP} or its binding is missing",
        ),
    ],
)
def test_a_wall_that_is_missing_is_found(installed: Kubectl, axon: Axon, removed: str, what: str, says: str) -> None:
    kept = installed.need(removed)
    installed("delete", removed)
    try:
        done = axon("doctor")
        assert done.code == 1
        assert says in wrong(done)[what]
    finally:
        installed.create({**kept, "metadata": {k: kept["metadata"][k] for k in ("name", "labels")}})
    assert what not in wrong(axon("doctor"))


def test_an_api_server_without_the_kinds_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = KubeServer(tmp_path)
    empty.start()
    try:
        axon = Axon(empty.kubeconfig("admin", empty.kube.admin_token), capsys)
        done = axon("doctor")
        assert done.code == 1
        assert {"CustomResourceDefinitions", "operator", "leader", "admission policies", "tenants"} <= wrong(
            done
        ).keys()
        assert "does not serve tenants" in wrong(done)["tenants"]
        assert "does not serve tenants" in axon("status").err
    finally:
        empty.stop()
