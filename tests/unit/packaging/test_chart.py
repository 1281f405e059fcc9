"""The chart grants the least rights, its pod passes Pod Security `restricted`, and its values are checked."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from axon_operator.api.crds import KINDS
from axon_operator.api.governance import GovernanceProfileSpec
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import TenantSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.kubernetes.adapter import OLDEST
from axon_operator.canary.settings import CanarySettings
from axon_operator.domain.governance import violations
from axon_operator.domain.isolation import REPORT, TARGETS
from axon_operator.domain.names import REQUESTED_BY_ANNOTATION, REQUESTED_GENERATION_ANNOTATION
from axon_operator.domain.tenant.kubernetes import ADMIN_CLUSTER_ROLE
from axon_operator.domain.values import seconds
from axon_operator.process.lease import LEASE_NAME
from axon_operator.process.settings import Settings
from axon_testbed.layout import REPOSITORY
from unit.packaging.conftest import CHART, Helm, Manifest, documents, one, read

PEM = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"

Right = tuple[str, str, str]
"""API group, resource, verb."""


def _rights(role: Manifest) -> set[Right]:
    return {
        right
        for rule in role["rules"]
        for right in product(rule.get("apiGroups", ()), rule.get("resources", ()), rule["verbs"])
    }


def _expand(*lines: str) -> Iterator[Right]:
    """`group resource,resource verb,verb` as rights; the core group is written `-`."""
    for line in lines:
        group, resources, verbs = line.split()
        yield from product(["" if group == "-" else group], resources.split(","), verbs.split(","))


OPERATOR = set(
    _expand(
        "axonos.ai tenants,workflowruntimes,secretbindings get,list,watch,patch",
        "axonos.ai governanceprofiles get,list,watch",
        "axonos.ai workflowruntimes,secretbindings delete",
        "axonos.ai tenants/status,workflowruntimes/status,secretbindings/status patch",
        "- namespaces get,list,watch,create,patch,delete",
        "- configmaps,limitranges,resourcequotas,services get,list,watch,create,update,patch,delete",
        "- serviceaccounts get,list,watch,create,patch,delete",
        "apps deployments get,list,watch,create,update,patch,delete",
        "batch jobs get,list,watch,create,update,patch,delete",
        "networking.k8s.io networkpolicies get,list,watch,create,update,patch,delete",
        "rbac.authorization.k8s.io rolebindings get,list,watch,create,update,patch,delete",
        "rbac.authorization.k8s.io clusterroles bind",
        "- pods get,list,watch,patch",
        "events.k8s.io events create",
    )
)
"""All that the operator may do. A change here is a change of the threat model."""

TENANT_ADMIN = set(
    _expand(
        "axonos.ai workflowruntimes,secretbindings get,list,watch,create,update,patch,delete",
        "axonos.ai workflowruntimes/scale get,update,patch",
        "- events,limitranges,pods,pods/log,resourcequotas,services get,list,watch",
        "events.k8s.io events get,list,watch",
        "apps deployments get,list,watch",
        "batch jobs get,list,watch",
        "networking.k8s.io networkpolicies get,list,watch",
    )
)

CANARY = set(_expand("- configmaps get,patch", "- serviceaccounts/token create"))
"""What a stranger may do: read what to try, say what came of it, and have itself certified as itself."""

GOLDEN = {
    "axon-canary": CANARY,
    "axon-operator": OPERATOR,
    "axon-operator-credentials": set(_expand("- secrets get")),
    "axon-operator-lease": set(_expand("coordination.k8s.io leases get,update,create")),
    "axon-tenant-admin": TENANT_ADMIN,
    "axon-view": set(_expand("axonos.ai workflowruntimes,secretbindings get,list,watch")),
    "axon-edit": set(
        _expand(
            "axonos.ai workflowruntimes,secretbindings create,update,patch,delete",
            "axonos.ai workflowruntimes/scale get,update,patch",
        )
    ),
}


def test_roles_hold_exactly_these_rights(chart: list[Manifest]) -> None:
    roles = {m["metadata"]["name"]: _rights(m) for m in chart if m["kind"] in {"ClusterRole", "Role"}}
    assert roles == GOLDEN
    assert ADMIN_CLUSTER_ROLE in roles


def test_no_role_holds_what_leads_to_more(chart: list[Manifest]) -> None:
    everything = {right for m in chart if m["kind"] in {"ClusterRole", "Role"} for right in _rights(m)}
    assert not [right for right in everything if any("*" in part for part in right)]
    assert not {verb for _, _, verb in everything} & {"escalate", "impersonate", "deletecollection"}
    forbidden = {"pods/exec", "pods/attach", "pods/portforward", "nodes"}
    assert not {resource for _, resource, _ in everything} & forbidden
    tokens = [
        (m["metadata"]["name"], r)
        for m in chart
        if m["kind"] in {"ClusterRole", "Role"}
        for r in m["rules"]
        if "serviceaccounts/token" in r["resources"]
    ]
    assert [(name, rule["resourceNames"]) for name, rule in tokens] == [("axon-canary", ["axon-canary"])], (
        "only its own"
    )
    # who may change the policies is bound by none of them
    assert "admissionregistration.k8s.io" not in {group for group, _, _ in everything}


def test_secrets_are_read_one_by_one_and_only_in_the_operators_own_namespace(chart: list[Manifest]) -> None:
    roles = [m for m in chart if m["kind"] in {"ClusterRole", "Role"}]
    reading = [(m, r) for m in roles for r in _rights(m) if r[1] == "secrets"]
    ((role, right),) = reading
    assert (role["kind"], role["metadata"]["namespace"], right[2]) == ("Role", "axon-system", "get")


def test_bind_is_for_one_role_only(chart: list[Manifest]) -> None:
    rules = [rule for rule in one(chart, "ClusterRole", "axon-operator")["rules"] if "bind" in rule["verbs"]]
    assert [rule["resourceNames"] for rule in rules] == [[ADMIN_CLUSTER_ROLE]]


def test_in_its_own_namespace_it_may_read_and_change_one_lease(chart: list[Manifest]) -> None:
    role = one(chart, "Role", "axon-operator-lease")
    assert role["metadata"]["namespace"] == "axon-system"
    unnamed = {
        right
        for rule in role["rules"]
        if rule.get("resourceNames") != [LEASE_NAME]
        for right in _rights({"rules": [rule]})
    }
    assert unnamed == {("coordination.k8s.io", "leases", "create")}


def test_only_the_operator_and_the_canary_are_bound(chart: list[Manifest]) -> None:
    bindings = [m for m in chart if m["kind"] in {"ClusterRoleBinding", "RoleBinding"}]
    bound = {(b["roleRef"]["kind"], b["roleRef"]["name"]): b["subjects"] for b in bindings}
    operator, canary = (
        [{"kind": "ServiceAccount", "name": name, "namespace": "axon-system"}]
        for name in ("axon-operator", "axon-canary")
    )
    # the canary's one Role is in that namespace too: it has no right in any tenant's
    assert bound.pop(("Role", "axon-canary")) == canary
    assert {(b["kind"], b["roleRef"]["kind"], b["roleRef"]["name"]) for b in bindings} == {
        ("ClusterRoleBinding", "ClusterRole", "axon-operator"),
        ("RoleBinding", "Role", "axon-canary"),
        ("RoleBinding", "Role", "axon-operator-credentials"),
        ("RoleBinding", "Role", "axon-operator-lease"),
    }
    assert all(subjects == operator for subjects in bound.values())


@pytest.mark.parametrize("name", ["axon-operator", "axon-canary"])
def test_the_pods_pass_restricted(chart: list[Manifest], name: str) -> None:
    """The rules of the Pod Security Standard; the API server itself judges in the integration tests."""
    pod = _pod(chart, name)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for volume in pod["volumes"]:
        assert volume.keys() - {"name"} <= {"projected", "configMap"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not [port for port in container.get("ports", ()) if "hostPort" in port]
        assert all(mount["readOnly"] for mount in container["volumeMounts"])


def test_the_pod_gets_one_short_token_per_system(chart: list[Manifest]) -> None:
    pod = _pod(chart)
    assert pod["automountServiceAccountToken"] is False
    assert one(chart, "ServiceAccount", "axon-operator")["automountServiceAccountToken"] is False
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    tokens = {
        mounts[volume["name"]]: source["serviceAccountToken"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        if "serviceAccountToken" in source
    }
    assert {path: token.get("audience") for path, token in tokens.items()} == {
        "/var/run/secrets/kubernetes.io/serviceaccount": None,
        "/var/run/secrets/axon/vault": "openbao",
        "/var/run/secrets/axon/keycloak": "https://keycloak.keycloak.svc.cluster.local:8443/realms/master",
    }
    assert {token["expirationSeconds"] for token in tokens.values()} == {600}


def test_a_standby_is_there_and_stays_there(chart: list[Manifest]) -> None:
    spec = one(chart, "Deployment", "axon-operator")["spec"]
    labels = spec["selector"]["matchLabels"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"]["matchLabels"] == labels
    budget = one(chart, "PodDisruptionBudget", "axon-operator")["spec"]
    assert budget == {"minAvailable": 1, "selector": {"matchLabels": labels}}


def test_a_single_replica_has_no_budget_which_would_forbid_every_drain(helm: Helm) -> None:
    manifests = documents(helm("--set", "replicas=1").stdout)
    assert one(manifests, "Deployment", "axon-operator")["spec"]["replicas"] == 1
    assert "PodDisruptionBudget" not in {m["kind"] for m in manifests}


def test_the_environment_is_what_the_settings_read(
    chart: list[Manifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(PEM)
    variables = _pod(chart)["containers"][0]["env"]
    fields = {v["name"]: v["valueFrom"]["fieldRef"]["fieldPath"] for v in variables if "valueFrom" in v}
    assert fields == {"AXON_OPERATOR_NAMESPACE": "metadata.namespace", "AXON_POD_NAME": "metadata.name"}
    environment = {v["name"]: v.get("value", "of-the-pod") for v in variables}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(ca) if name.endswith("_CA_FILE") else value)

    settings = Settings()

    known = {f"AXON_{field.upper()}" for field in Settings.model_fields}
    assert environment.keys() <= known
    platform = settings.platform()
    assert platform.vault_peer.port == 8200
    assert platform.keycloak_peer.labels == {"app.kubernetes.io/name": "keycloak"}
    assert "10.0.0.0/8" in platform.cluster_cidrs


def test_the_canary_is_a_stranger_that_is_told_where_to_knock(
    chart: list[Manifest], helm: Helm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network policy holds it back, it has one token, and both sides speak of the same two ConfigMaps."""
    template = one(chart, "Deployment", "axon-canary")["spec"]["template"]
    selected = [m["spec"]["podSelector"]["matchLabels"] for m in chart if m["kind"] == "NetworkPolicy"]
    assert not [labels for labels in selected if labels.items() <= template["metadata"]["labels"].items()]
    pod = template["spec"]
    assert pod["automountServiceAccountToken"] is False
    tokens = [
        s for v in pod["volumes"] for s in v.get("projected", {}).get("sources", ()) if "serviceAccountToken" in s
    ]
    assert len(tokens) == 1
    for variable in pod["containers"][0]["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "of-the-pod"))
    settings = CanarySettings()
    assert settings.interval == 60
    assert pod["volumes"][0]["name"] == "kubernetes-token"
    assert str(settings.kubernetes_token_file) == f"{pod['containers'][0]['volumeMounts'][0]['mountPath']}/token"
    names = {
        rule["resourceNames"][0]
        for rule in one(chart, "Role", "axon-canary")["rules"]
        if rule["resources"] == ["configmaps"]
    }
    assert names == {TARGETS, REPORT}
    assert all("data" not in one(chart, "ConfigMap", name) for name in names), "an upgrade must leave the data alone"
    without = documents(helm("--set", "canary.enabled=false").stdout)
    assert not [m for m in without if "canary" in m["metadata"]["name"]]
    (interval,) = (v["value"] for v in _pod(without)["containers"][0]["env"] if v["name"] == "AXON_CANARY_INTERVAL")
    assert interval == "0"


def test_the_network_policy_opens_only_what_is_needed(chart: list[Manifest]) -> None:
    spec = one(chart, "NetworkPolicy", "axon-operator")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == []
    assert all(rule["to"] and rule["ports"] for rule in spec["egress"]), "an empty list would mean any"
    opened = [(_peer(rule["to"][0]), [p["port"] for p in rule["ports"]]) for rule in spec["egress"]]
    assert opened == [
        ("kube-system", [53, 53]),
        ("0.0.0.0/0", [443, 6443]),
        ("openbao", [8200]),
        ("keycloak", [8443]),
    ]


def test_metrics_can_be_opened_to_a_namespace(helm: Helm) -> None:
    done = helm("--set", "networkPolicy.metricsNamespaces={monitoring}")
    spec = one(documents(done.stdout), "NetworkPolicy", "axon-operator")["spec"]
    (rule,) = spec["ingress"]
    assert [_peer(peer) for peer in rule["from"]] == ["monitoring"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_the_packaged_crds_are_the_generated_ones(chart: list[Manifest]) -> None:
    for kind in KINDS:
        (generated,) = read(REPOSITORY / "crds" / kind.file_name)
        packaged = one(chart, "CustomResourceDefinition", generated["metadata"]["name"])
        assert packaged["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert packaged == generated


@pytest.mark.parametrize("part", ["crds", "admissionPolicies", "networkPolicy"])
def test_parts_can_be_left_out(helm: Helm, chart: list[Manifest], part: str) -> None:
    done = helm("--set", f"{part}.enabled=false")
    assert done.returncode == 0, done.stderr
    gone = {m["kind"] for m in chart} - {m["kind"] for m in documents(done.stdout)}
    assert (
        gone
        == {
            "crds": {"CustomResourceDefinition"},
            "admissionPolicies": {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
            "networkPolicy": {"NetworkPolicy"},
        }[part]
    )


def test_admission_policies_speak_of_the_release_and_deny(helm: Helm) -> None:
    manifests = documents(helm("--namespace", "elsewhere").stdout)
    policies = [
        m
        for m in manifests
        if m["kind"] == "ValidatingAdmissionPolicy" and m["metadata"]["name"].startswith("axon-operator-")
    ]
    username = "system:serviceaccount:elsewhere:axon-operator"
    for policy in policies:
        spec = policy["spec"]
        assert spec["failurePolicy"] == "Fail"
        binding = one(manifests, "ValidatingAdmissionPolicyBinding", policy["metadata"]["name"])
        assert binding["spec"] == {
            "policyName": policy["metadata"]["name"],
            "validationActions": ["Deny"],
        }
    confining = _speaking(policies, f"request.userInfo.username == '{username}'")
    exempting = _speaking(policies, f"request.userInfo.username != '{username}'")
    assert confining == {
        "axon-operator-in-tenants-only",
        "axon-operator-specs-are-the-users",
        "axon-operator-tenant-namespaces",
    }
    assert exempting == {
        "axon-operator-managed-objects",
        "axon-operator-runtimes-pods",
        "axon-operator-tenant-mark",
        "axon-operator-teardown",
    }
    # a stolen token of the operator opens no door either
    assert {p["metadata"]["name"] for p in policies} - confining - exempting == {"axon-operator-runtimes-closed"}


def _speaking(policies: list[Manifest], words: str) -> set[str]:
    """The policies with this condition."""
    return {
        p["metadata"]["name"]
        for p in policies
        if any(condition["expression"] == words for condition in p["spec"]["matchConditions"])
    }


def test_the_glass_can_be_broken_by_exactly_the_groups_of_the_values(helm: Helm) -> None:
    def groups(*flags: str) -> set[str]:
        policies = [m for m in documents(helm(*flags).stdout) if m["kind"] == "ValidatingAdmissionPolicy"]
        variables = [v for p in policies for v in p["spec"].get("variables", ()) if v["name"] == "mayBreakGlass"]
        assert len(variables) == 5
        return {v["expression"].partition("group in ")[2] for v in variables}

    assert groups() == {'["system:masters"])'}
    assert groups("--set", "admissionPolicies.breakGlassGroups={oidc:ops,sre}") == {'["oidc:ops","sre"])'}
    assert groups("--set-json", "admissionPolicies.breakGlassGroups=[]") == {"[])"}


def test_who_asks_is_stamped_on_exactly_our_kinds(chart: list[Manifest]) -> None:
    spec = one(chart, "MutatingAdmissionPolicy", "axon-operator-requested-by")["spec"]
    # not on status and scale: the first cannot change the stamp, the second cannot carry one
    assert spec["matchConstraints"] == {
        "resourceRules": [
            {
                "apiGroups": ["axonos.ai"],
                "apiVersions": ["*"],
                # nobody but people acts on the others
                "resources": [kind.plural for kind in KINDS if kind.status],
                "operations": ["CREATE", "UPDATE"],
            }
        ]
    }
    assert "matchConditions" not in spec, "nobody is exempt"
    assert spec["failurePolicy"] == "Fail"
    mutations = [mutation["jsonPatch"]["expression"] for mutation in spec["mutations"]]
    assert len(mutations) == 2
    for annotation, expression in zip(
        (REQUESTED_BY_ANNOTATION, REQUESTED_GENERATION_ANNOTATION), mutations, strict=True
    ):
        assert annotation in expression
    binding = one(chart, "MutatingAdmissionPolicyBinding", "axon-operator-requested-by")
    assert binding["spec"] == {"policyName": "axon-operator-requested-by"}


def test_the_chart_refuses_what_the_operator_would(helm: Helm) -> None:
    major, minor = OLDEST
    for version, allowed in ((f"{major}.{minor - 1}.9", False), (f"{major}.{minor}.0", True)):
        done = helm("--kube-version", version, "--set", "admissionPolicies.requestedBy=false")
        assert (done.returncode == 0) is allowed, done.stderr


def test_every_profile_is_a_parameter_of_the_policies_of_the_kinds_that_keep_to_it(chart: list[Manifest]) -> None:
    governed = [kind.plural for kind in KINDS if kind.status]
    assert {m["metadata"]["name"] for m in chart if m["metadata"]["name"].startswith("axon-governance-")} == {
        f"axon-governance-{plural}" for plural in governed
    }
    for plural in governed:
        spec = one(chart, "ValidatingAdmissionPolicy", f"axon-governance-{plural}")["spec"]
        assert spec["failurePolicy"] == "Fail"
        assert spec["paramKind"] == {"apiVersion": "axonos.ai/v1alpha1", "kind": "GovernanceProfile"}
        # not their status, and never a deletion
        (rule,) = spec["matchConstraints"]["resourceRules"]
        assert (rule["resources"], rule["operations"]) == ([plural], ["CREATE", "UPDATE"])
        assert all("variables.governed" in v["expression"] for v in spec["validations"])
        binding = one(chart, "ValidatingAdmissionPolicyBinding", f"axon-governance-{plural}")["spec"]
        assert binding["paramRef"] == {"selector": {}, "parameterNotFoundAction": "Allow"}
        assert binding["validationActions"] == ["Deny"]


def _profiles(manifests: list[Manifest]) -> dict[str, GovernanceProfileSpec]:
    found = [m for m in manifests if m["kind"] == "GovernanceProfile"]
    return {m["metadata"]["name"]: GovernanceProfileSpec.model_validate(m["spec"]) for m in found}


def test_profiles_can_be_left_out_and_stay_where_they_are(helm: Helm, chart: list[Manifest]) -> None:
    assert _profiles(chart).keys() == {"baseline", "soc2"}
    for profile in (m for m in chart if m["kind"] == "GovernanceProfile"):
        assert profile["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not _profiles(documents(helm("--set", "governance.profiles=false").stdout))


def test_a_first_installation_brings_the_profiles_after_their_kind(first_helm: Helm, chart: list[Manifest]) -> None:
    first = documents(first_helm().stdout)
    assert _profiles(first) == _profiles(chart)
    for profile in (m for m in first if m["kind"] == "GovernanceProfile"):
        # the upgrade that finds the kind takes over what carries the release's marks, and refuses what does not
        assert profile["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert profile["metadata"]["annotations"] == {
            "helm.sh/resource-policy": "keep",
            "helm.sh/hook": "post-install,post-upgrade",
            "meta.helm.sh/release-name": "axon-operator",
            "meta.helm.sh/release-namespace": "axon-system",
        }


def test_the_baseline_asks_nothing_of_a_tenant_with_defaults(chart: list[Manifest]) -> None:
    profiles = _profiles(chart)
    image, ttl = "registry.example/agent:1", SecretBindingSpec.model_fields["ttl"].default
    assert not violations("baseline", profiles["baseline"], TenantSpec())
    assert not violations("baseline", profiles["baseline"], WorkflowRuntimeSpec(image=image))
    assert violations("soc2", profiles["soc2"], WorkflowRuntimeSpec(image=image))
    assert {name: seconds(ttl) <= seconds(p.max_credential_ttl or "") for name, p in profiles.items()} == {
        "baseline": True,
        "soc2": True,
    }


def test_the_operator_looks_at_audit_devices_where_it_is_asked_to(helm: Helm, chart: list[Manifest]) -> None:
    assert {name: p.require_audit for name, p in _profiles(chart).items()} == {"baseline": False, "soc2": True}

    def looks(manifests: list[Manifest]) -> dict[str, str]:
        (container,) = _pod(manifests)["containers"]
        return {e["name"]: e["value"] for e in container["env"] if e["name"].startswith("AXON_VAULT_AUDIT_")}

    assert looks(chart) == {}
    done = helm("--set", "vault.audit.enabled=true,vault.audit.device=main")
    assert looks(documents(done.stdout)) == {
        "AXON_VAULT_AUDIT_ROLE": "axon-audit",
        "AXON_VAULT_AUDIT_MOUNT": "axon-audit",
        "AXON_VAULT_AUDIT_DEVICE": "main",
        "AXON_VAULT_AUDIT_INTERVAL": "60",
    }


def test_a_cluster_without_mutating_policies_is_told_what_to_set(helm: Helm) -> None:
    old = ("--kube-version", "1.35.4")
    refused = helm(*old)
    assert refused.returncode != 0
    assert "admissionPolicies.requestedBy=false" in refused.stderr
    done = helm(*old, "--set", "admissionPolicies.requestedBy=false")
    assert done.returncode == 0, done.stderr
    assert not [m for m in documents(done.stdout) if m["kind"].startswith("MutatingAdmissionPolicy")]


def test_a_given_ca_is_packed_and_a_changed_one_restarts_the_pod(
    helm: Helm, chart: list[Manifest], tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(PEM)
    manifests = documents(helm("--set-file", f"backends.caBundle={ca}").stdout)
    config = one(manifests, "ConfigMap", "axon-operator-backends-ca")
    assert config["data"] == {"ca.crt": PEM}
    volume = next(v for v in _pod(manifests)["volumes"] if v["name"] == "backends-ca")
    assert volume["configMap"]["name"] == config["metadata"]["name"]

    def checksum(of: list[Manifest]) -> object:
        template = one(of, "Deployment", "axon-operator")["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/backends-ca"]

    assert checksum(manifests) != checksum(chart)


def test_a_private_key_is_refused_and_not_repeated(helm: Helm, tmp_path: Path) -> None:
    key = tmp_path / "ca.key"
    key.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    done = helm("--set-file", f"backends.caBundle={key}")
    assert done.returncode != 0
    assert "no private key" in done.stderr
    assert "c2VjcmV0" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("unknown=1", "unknown"),
        ("vault.tokn=x", "/vault"),
        ("vault.address=http://openbao:8200", "/vault/address"),
        ("keycloak.url=https://user:pw@keycloak", "/keycloak/url"),
        ("vault.peer.podLabels=null", "/vault/peer"),
        ("image.digest=sha256:12", "/image/digest"),
        ("logLevel=TRACE", "/logLevel"),
        ("replicas=-1", "/replicas"),
        ("workers=0", "/workers"),
        ("resyncInterval=-1", "/resyncInterval"),
        ("sweep.tenantGrace=0", "/sweep/tenantGrace"),
        ("sweep.accessGrace=never", "/sweep/accessGrace"),
        ("agent.renderInterval=0", "/agent/renderInterval"),
        ("canary.interval=0", "/canary/interval"),
        ("governance.profiles=soc2", "/governance/profiles"),
        ("vault.audit.role=", "/vault/audit/role"),
        ("vault.audit.device=a/b", "/vault/audit/device"),
        ("vault.audit.interval=0", "/vault/audit/interval"),
        ("clusterCIDRs={}", "/clusterCIDRs"),
        ("clusterCIDRs={10.0.0.0}", "/clusterCIDRs/0"),
        ("clusterCIDRs={999.0.0.0/8}", "/clusterCIDRs/0"),
        ("clusterCIDRs={10.0.0.0/33}", "/clusterCIDRs/0"),
        ("networkPolicy.apiServer.cidrs={}", "/networkPolicy/apiServer/cidrs"),
        ("networkPolicy.apiServer.ports={}", "/networkPolicy/apiServer/ports"),
        ("admissionPolicies.enabled=perhaps", "/admissionPolicies/enabled"),
        ("admissionPolicies.requestedBy=null", "/admissionPolicies"),
        ("admissionPolicies.breakGlassGroups={it's}", "/admissionPolicies/breakGlassGroups/0"),
        ("dns.peer.podLabels=null", "/dns/peer"),
        ("dns.port=0", "/dns/port"),
    ],
)
def test_bad_values_are_refused(helm: Helm, setting: str, place: str) -> None:
    done = helm("--set", setting)
    assert done.returncode != 0
    assert place in done.stderr


def test_every_value_is_in_the_schema_and_explained() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert values.keys() == schema["properties"].keys() - {"global"}
    readme = (CHART / "README.md").read_text()
    assert [name for name in values if f"`{name}" not in readme] == []


def _pod(manifests: list[Manifest], name: str = "axon-operator") -> dict[str, Any]:
    pod: dict[str, Any] = one(manifests, "Deployment", name)["spec"]["template"]["spec"]
    return pod


def _peer(peer: dict[str, Any]) -> str:
    if "ipBlock" in peer:
        return str(peer["ipBlock"]["cidr"])
    return str(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
