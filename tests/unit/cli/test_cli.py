"""What `kubectl axon` decides and how it shows it, without a cluster."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from axon_operator.api.crds import ROOT, stale
from axon_operator.cli import docs, doctor
from axon_operator.cli.cluster import CommandError
from axon_operator.cli.commands import COMMANDS, has_ended, what_is_missing
from axon_operator.cli.edits import LOGOUT, SUSPENDED, kept_by, logged_out, switched
from axon_operator.cli.main import main
from axon_operator.cli.tree import standing, table, trees
from axon_operator.domain.resources import BINDING, RUNTIME, TENANT, Manifest, Resource


def condition(status: str, message: str = "Said.", *, generation: int = 1, kind: str = "Ready") -> dict[str, Any]:
    reason = "Ready" if status == "True" else "VaultDenied"
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
    }


def live(resource: Resource, name: str, spec: dict[str, Any] | None = None, *told: dict[str, Any]) -> Manifest:
    namespace = {} if resource is TENANT else {"namespace": "axon-acme"}
    return {
        "kind": resource.kind,
        "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1, **namespace},
        "spec": spec or {},
        "status": {"conditions": list(told)},
    }


def binding(name: str, runtime: str, *told: dict[str, Any]) -> Manifest:
    return live(BINDING, name, {"runtimeRef": {"name": runtime}}, *told)


OBJECTS = (
    [live(TENANT, "zeta", {}, condition("True", "As declared.")), live(TENANT, "acme", {}, condition("False", "No."))],
    [live(RUNTIME, "web", {}, condition("True")), live(RUNTIME, "agent", {}, condition("True"))],
    [binding("lost", "gone"), binding("two", "agent", condition("True")), binding("one", "agent", condition("True"))],
)


def test_the_table_shows_what_belongs_to_what() -> None:
    lines = table(trees(*OBJECTS))
    assert [line.split("   ")[0].rstrip() for line in lines] == [
        "NAME",
        "Tenant acme",
        "├─ WorkflowRuntime agent",
        "│  ├─ SecretBinding one",
        "│  └─ SecretBinding two",
        "├─ WorkflowRuntime web",
        "└─ SecretBinding lost",
        "Tenant zeta",
    ]
    assert lines[1].split() == ["Tenant", "acme", "False", "VaultDenied", "No."]
    # one column for each heading
    for word, value in (("READY", "False"), ("REASON", "VaultDenied"), ("MESSAGE", "No.")):
        assert lines[0].index(word) == lines[1].index(value)


def test_json_has_the_same_shape() -> None:
    acme, zeta = (node.to_json() for node in trees(*OBJECTS))
    assert (acme["name"], acme["ready"], acme["reason"], acme["message"]) == ("acme", "False", "VaultDenied", "No.")
    assert [child["name"] for child in acme["children"]] == ["agent", "web", "lost"]
    assert [child["name"] for child in acme["children"][0]["children"]] == ["one", "two"]
    assert zeta["children"] == []


def test_an_old_word_is_not_taken_for_the_present() -> None:
    assert standing(live(TENANT, "acme")).ready == "Unknown"
    old = standing(live(TENANT, "acme", {}, condition("True", "Fine.", generation=0)))
    assert (old.ready, old.message) == ("Unknown", "Not looked at since its last change. Before: Fine.")


# -- changes


def managed(manager: str, operation: str, fields: dict[str, Any], applied: Any = None) -> Manifest:
    tenant = live(TENANT, "acme")
    tenant["metadata"]["managedFields"] = [{"manager": manager, "operation": operation, "fieldsV1": fields}]
    if applied is not None:
        text = json.dumps(applied)
        tenant["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": text}
    return tenant


SUSPENDED_FIELD: dict[str, Any] = {"f:spec": {"f:suspended": {}}}
LOGOUT_FIELD: dict[str, Any] = {"f:spec": {"f:identity": {"f:logout": {}}}}


@pytest.mark.parametrize(
    ("tenant", "field", "keeper"),
    [
        (managed("argocd", "Apply", SUSPENDED_FIELD), SUSPENDED, "argocd"),
        (managed("argocd", "Apply", SUSPENDED_FIELD), LOGOUT, None),
        (managed("flux", "Apply", LOGOUT_FIELD), LOGOUT, "flux"),
        (managed("flux", "Apply", {"f:spec": {"f:identity": {"f:mfa": {}}}}), LOGOUT, None),
        (managed("kubectl-edit", "Update", SUSPENDED_FIELD), SUSPENDED, None),
        (managed("kubectl-axon", "Apply", SUSPENDED_FIELD), SUSPENDED, None),
        (managed("x", "Update", {}, {"spec": {"suspended": False}}), SUSPENDED, "kubectl apply"),
        (managed("x", "Update", {}, {"spec": {"displayName": "Acme"}}), SUSPENDED, None),
        (managed("x", "Update", {}, {"spec": {"identity": {"logout": []}}}), LOGOUT, "kubectl apply"),
    ],
)
def test_a_field_that_a_tool_applies_is_kept_by_it(
    tenant: Manifest, field: tuple[str, ...], keeper: str | None
) -> None:
    found = kept_by(tenant, field)
    assert (found is None) == (keeper is None)
    assert (keeper or "") in (found or "")


def test_what_is_as_wanted_is_not_written() -> None:
    assert switched(suspended=True)(live(TENANT, "acme", {"suspended": True})) is None
    assert switched(suspended=False)(live(TENANT, "acme")) is None
    assert switched(suspended=True)(live(TENANT, "acme")) == {"suspended": True}


def test_a_logout_replaces_the_users_entry_and_keeps_others() -> None:
    bob, alice = {"user": "bob", "trigger": "1"}, {"user": "Alice", "trigger": "1"}
    tenant = live(TENANT, "acme", {"identity": {"mfa": "None", "logout": [bob, alice]}})
    wanted = logged_out("alice", "2")(tenant)
    assert wanted == {"identity": {"logout": [bob, {"user": "alice", "trigger": "2"}]}}
    assert logged_out("*", "1")(live(TENANT, "acme")) == {"identity": {"logout": [{"user": "*", "trigger": "1"}]}}
    with pytest.raises(CommandError, match="suspended"):
        logged_out("alice", "2")(live(TENANT, "acme", {"suspended": True}))


def test_a_logout_has_ended_when_this_very_one_is_recorded() -> None:
    tenant = live(TENANT, "acme", {}, condition("False", "Under way.", kind="SessionsEnded"))
    assert what_is_missing(tenant).message == "Under way."
    tenant["metadata"]["generation"] = 2
    assert "doctor" in what_is_missing(tenant).message
    tenant["status"]["logouts"] = [{"user": "alice", "trigger": "1", "endedAt": "2026-01-01T00:00:00Z"}]
    assert has_ended(tenant, "alice", "1")
    assert not has_ended(tenant, "alice", "2")
    assert not has_ended(tenant, "bob", "1")


# -- doctor


def installed() -> list[Manifest]:
    return [m for m in yaml.safe_load_all((ROOT / "manifests/install/operator.yaml").read_text()) if m]


def of_kind(kind: str) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in installed() if m["kind"] == kind}


def test_the_doctor_knows_every_policy_of_the_chart() -> None:
    assert set(doctor.POLICIES) == set(of_kind("ValidatingAdmissionPolicy"))
    assert {doctor.STAMP} == set(of_kind("MutatingAdmissionPolicy"))
    assert doctor.OPERATOR in of_kind("Deployment")


def test_a_policy_that_is_missing_or_does_not_deny_is_told() -> None:
    there, bindings = of_kind("ValidatingAdmissionPolicy"), of_kind("ValidatingAdmissionPolicyBinding")
    assert doctor.policies(there, [*bindings.values()]).ok
    first, second, *_ = doctor.POLICIES
    absent = {name: policy for name, policy in there.items() if name != first}
    assert f"missing: {first};" in doctor.policies(absent, [*bindings.values()]).says
    warning = {**bindings[second], "spec": {**bindings[second]["spec"], "validationActions": ["Warn"]}}
    found = doctor.policies(there, [*({**bindings, second: warning}).values()])
    assert not found.ok
    assert f"without a binding that denies: {second};" in found.says


def test_a_kind_that_is_missing_old_or_not_established_is_told() -> None:
    manifests = yaml.safe_load_all((ROOT / "manifests/install/crds.yaml").read_text())
    crds = {m["metadata"]["name"]: m for m in manifests if m}
    (unestablished, *_) = doctor.crds(crds)
    assert "not established" in unestablished.says
    for crd in crds.values():
        crd["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
    assert [finding.ok for finding in doctor.crds(crds)] == [True]
    assert "Tenant is missing" in doctor.crds({**crds, "tenants.axonos.ai": None})[0].says  # type: ignore[dict-item]
    crds["tenants.axonos.ai"]["spec"]["versions"][0]["served"] = False
    assert "Tenant is not served as v1alpha1" in doctor.crds(crds)[0].says


@pytest.mark.parametrize(
    ("wanted", "ready", "available", "ok"), [(2, 2, "True", True), (2, 1, "True", False), (0, 0, "True", False)]
)
def test_the_operator_is_there_when_all_its_pods_are(wanted: int, ready: int, available: str, ok: bool) -> None:
    status = {"readyReplicas": ready, "conditions": [{"type": "Available", "status": available}]}
    assert doctor.available("axon-system", {"spec": {"replicas": wanted}, "status": status}).ok == ok
    assert not doctor.available("axon-system", None).ok


def test_tenants_that_are_not_ready_are_told_with_their_words() -> None:
    assert doctor.tenants([live(TENANT, "acme", {}, condition("True"))])[0].line() == "ok    tenants: 1 ready"
    found = doctor.tenants([live(TENANT, "new"), live(TENANT, "acme", {}, condition("False", "Do this."))])
    assert [finding.line() for finding in found] == [
        "WRONG Tenant acme: VaultDenied: Do this.",
        "WRONG Tenant new: The operator has not looked at it yet.",
    ]


# -- command line


def test_the_reference_is_current() -> None:
    assert stale(docs.outputs(), ROOT) == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words))
def test_help_says_what_the_reference_says(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.words, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert all(" ".join(argument.help.split()) in shown for argument in command.arguments)


@pytest.mark.parametrize(
    "arguments",
    [[], ["nothing"], ["suspend"], ["suspend", "Not/AName"], ["status", ".."], ["logout", "acme", "--timeout", "x"]],
    ids=str,
)
def test_what_is_not_understood_ends_with_2_before_anything_is_sent(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("content", [None, "", "no: kubeconfig", "a: [", "secret-token"])
def test_without_a_usable_kubeconfig_it_says_so_and_shows_nothing_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_text(content)
    assert main(["--kubeconfig", str(file), "status"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"kubectl axon: no usable kubeconfig in {file};")
    assert "secret-token" not in shown.err
