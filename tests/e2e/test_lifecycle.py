"""The life of an organization, from its creation until nothing is left of it."""

import json

import pytest

from e2e.support import samples
from e2e.support.cluster import Cluster, Pod, binding_ref, realm_issuer, runtime_ref, tenant_ref
from e2e.support.kubectl import Json
from e2e.support.openbao import tenants_of
from e2e.support.settings import VAULT_AUDIENCE
from e2e.support.tenants import SECRET_FILE, SECRET_KEY, SECRET_PATH, Tenants
from e2e.support.waiting import Unmet, until, until_true

RESTRICTED = "pod-security.kubernetes.io/enforce"


@pytest.fixture(scope="module")
def tenant(tenants: Tenants) -> str:
    """A tenant in which everything runs."""
    return tenants.running("living")


def readable(cluster: Cluster, tenant: str, token: str, path: str) -> bool:
    """Whether a runtime's token opens a secret of its organization."""
    return cluster.openbao.call("GET", f"kv/data/org/{path}", namespace=cluster.vault_namespace(tenant), token=token).ok


def second_binding(tenant: str) -> Json:
    """One more credential for the runtime."""
    return samples.binding(
        tenant, "mail", source=samples.kv("mail/smtp", "password"), delivery=samples.file("mail.json")
    )


# -- created


def test_the_namespace_is_closed(cluster: Cluster, tenant: str) -> None:
    namespace = f"axon-{tenant}"
    labels = cluster.kubectl.need("namespace", namespace)["metadata"]["labels"]
    assert labels[RESTRICTED] == "restricted"
    assert labels["axonos.ai/owner-uid"] == cluster.kubectl.need(*tenant_ref(tenant).args)["metadata"]["uid"]
    deny = cluster.kubectl.need("-n", namespace, "networkpolicy", "axon-default-deny")["spec"]
    assert (deny["podSelector"], sorted(deny["policyTypes"])) == ({}, ["Egress", "Ingress"])
    assert cluster.kubectl.items("-n", namespace, "resourcequotas")
    assert cluster.kubectl.items("-n", namespace, "limitranges")


def test_the_openbao_namespace_and_the_realm_carry_the_owner_mark(cluster: Cluster, tenant: str) -> None:
    uid = cluster.kubectl.need(*tenant_ref(tenant).args)["metadata"]["uid"]
    assert tenants_of(cluster.openbao.namespaces(), uid) == [cluster.vault_namespace(tenant)]
    realm = cluster.keycloak.realm(f"axon-{tenant}")
    assert realm
    assert realm["attributes"]["axonos.ai/owner-uid"] == uid


def test_openbao_is_seen_to_record_every_request(cluster: Cluster, tenant: str) -> None:
    told = cluster.wait_condition(tenant_ref(tenant), "AuditReady", "True", "AuditRecorded")
    assert told["message"].endswith("with main, stdout.")


def test_the_pod_holds_the_credential_in_memory_and_cannot_change_it(cluster: Cluster, tenant: str) -> None:
    pod = cluster.pod(tenant)
    assert json.loads(cluster.delivered(pod, SECRET_FILE) or "{}").keys() == {SECRET_KEY}
    mount = cluster.workload(pod, "grep", " /var/run/axon/secrets ", "/proc/mounts").stdout.split()
    assert mount[2] == "tmpfs"
    assert "ro" in mount[3].split(",")
    assert not cluster.workload(pod, "sh", "-c", f"echo x >/var/run/axon/secrets/{SECRET_FILE}").ok


def test_the_workload_has_its_own_identity_and_no_token_for_kubernetes_or_openbao(
    cluster: Cluster, tenant: str
) -> None:
    pod = cluster.pod(tenant)
    answer = cluster.keycloak.login(f"axon-{tenant}", cluster.identity_token(tenant))
    assert answer.ok, answer.text
    found = cluster.workload(pod, "find", "/var/run", "/run", "-follow", "-type", "f", "-name", "token").stdout.split()
    links = {path.removeprefix("/var") for path in found if "/.." not in path}  # without the kubelet's own folders
    assert links == {"/run/axon/identity/token"}


# -- changed


def test_a_rotated_secret_arrives_in_the_running_pod(cluster: Cluster, tenants: Tenants, tenant: str) -> None:
    pod, value = cluster.pod(tenant), tenants.value()
    cluster.write_secret(tenant, SECRET_PATH, **{SECRET_KEY: value})
    cluster.wait_delivered(pod, SECRET_FILE, value)
    assert cluster.pod(tenant).identity == pod.identity


def test_a_second_binding_arrives_in_the_running_pod_and_its_deletion_takes_it_away(
    cluster: Cluster, tenants: Tenants, tenant: str
) -> None:
    pod, value, token = cluster.pod(tenant), tenants.value(), cluster.vault_token(tenant)
    ref = binding_ref(tenant, "mail")
    cluster.write_secret(tenant, "mail/smtp", password=value)
    assert not readable(cluster, tenant, token, "mail/smtp")

    cluster.kubectl.apply(second_binding(tenant))
    cluster.wait_delivered(pod, "mail.json", value)
    cluster.wait_ready(ref)
    assert readable(cluster, tenant, token, "mail/smtp"), "a token issued before the binding stays without it"

    cluster.kubectl("delete", *ref.args, "--timeout=60s")
    assert not readable(cluster, tenant, token, "mail/smtp"), "the binding is gone and its credential still opens"
    until_true("the file is gone", lambda: cluster.delivered(pod, "mail.json") is None)
    assert readable(cluster, tenant, token, SECRET_PATH), "the other binding suffered"
    assert cluster.delivered(pod, SECRET_FILE)
    assert cluster.pod(tenant).identity == pod.identity


def test_a_new_image_or_command_replaces_the_pod(cluster: Cluster, tenant: str) -> None:
    before = cluster.pod(tenant)
    cluster.kubectl.apply(samples.runtime(tenant, env=[{"name": "GREETING", "value": "hello"}]))

    def replaced() -> Pod:
        pod = cluster.pod(tenant)
        if pod.uid == before.uid:
            raise Unmet("still the old pod")
        return pod

    pod = until("another pod", replaced, timeout=90)
    cluster.wait_ready(runtime_ref(tenant), binding_ref(tenant))
    assert cluster.workload(pod, "sh", "-c", "echo $GREETING").stdout.strip() == "hello"
    assert cluster.delivered(pod, SECRET_FILE)


def test_a_declared_connection_opens_exactly_that_path(cluster: Cluster, tenant: str) -> None:
    cluster.kubectl.apply(samples.runtime(tenant, "caller"))
    cluster.wait_ready(runtime_ref(tenant, "caller"))
    caller, callee = cluster.pod(tenant, "caller"), cluster.pod(tenant)
    assert not cluster.reaches(caller, callee.ip)
    cluster.kubectl.apply(samples.runtime(tenant, "caller", connections=[{"runtime": "agent", "port": 8080}]))
    until_true("the caller reaches the callee", lambda: cluster.reaches(caller, callee.ip))
    assert not cluster.reaches(callee, caller.ip)
    cluster.kubectl("delete", *runtime_ref(tenant, "caller").args, "--timeout=90s")


def test_a_narrowed_allow_list_closes_what_is_open(cluster: Cluster, tenant: str) -> None:
    rule, ref = {"cidr": "203.0.113.0/24", "ports": [443]}, runtime_ref(tenant, "outward")

    def is_open() -> bool:
        policy = cluster.kubectl.need("-n", f"axon-{tenant}", "networkpolicy", cluster.principal(tenant, "outward"))
        return any("ipBlock" in peer for out in policy["spec"]["egress"] for peer in out["to"])

    cluster.kubectl.apply(samples.tenant(tenant, network={"egress": [rule]}))
    cluster.kubectl.apply(samples.runtime(tenant, "outward", replicas=0, egress=[rule]))
    cluster.wait_ready(ref)
    assert is_open()
    cluster.kubectl.apply(samples.tenant(tenant, network={"egress": []}))
    until_true("the range is closed", lambda: not is_open())
    cluster.wait_condition(ref, "Stalled", "True", "InvalidSpec")
    cluster.kubectl("delete", *ref.args, "--timeout=60s")


def test_a_binding_of_a_runtime_that_has_no_pods_can_be_deleted(cluster: Cluster, tenant: str) -> None:
    too_much = {"limits": {"memory": "64Gi"}}  # more than the Tenant lets one container have: no pod is ever made
    binding = samples.binding(tenant, "unheard", runtimeRef={"name": "podless"}, delivery=samples.file("unheard.json"))
    cluster.kubectl.apply(samples.runtime(tenant, "podless", resources=too_much), binding)
    ref = binding_ref(tenant, "unheard")
    cluster.wait_condition(ref, "Ready", "False", "PodsNotReady")
    cluster.kubectl("delete", *ref.args, "--timeout=30s")
    cluster.kubectl("delete", *runtime_ref(tenant, "podless").args, "--timeout=60s")


# -- suspended


def test_suspension_closes_everything_and_resumption_opens_it_again(cluster: Cluster, tenants: Tenants) -> None:
    tenant = tenants.running("paused")
    ref, vault, principal = tenant_ref(tenant), cluster.vault_namespace(tenant), cluster.principal(tenant)
    token = cluster.vault_token(tenant)

    def login() -> bool:
        jwt = cluster.glass.token(f"axon-{tenant}", principal, VAULT_AUDIENCE)
        return cluster.openbao.login(principal, jwt, namespace=vault).ok

    def realm_login() -> bool:
        jwt = cluster.glass.token(f"axon-{tenant}", principal, realm_issuer(tenant))
        return cluster.keycloak.login(f"axon-{tenant}", jwt).ok

    assert (login(), realm_login(), readable(cluster, tenant, token, SECRET_PATH)) == (True, True, True)
    cluster.kubectl.apply(samples.tenant(tenant, suspended=True))
    cluster.wait_condition(ref, "Ready", "True", "Suspended")
    until_true("no pods", lambda: not cluster.pods(tenant))
    assert (login(), realm_login(), readable(cluster, tenant, token, SECRET_PATH)) == (False, False, False)
    allowed = [p["metadata"]["name"] for p in cluster.kubectl.items("-n", f"axon-{tenant}", "networkpolicies")]
    assert allowed == ["axon-default-deny"]

    cluster.kubectl.apply(samples.tenant(tenant, suspended=False))
    cluster.wait_ready(ref, runtime_ref(tenant), binding_ref(tenant))
    assert (login(), realm_login()) == (True, True)
    assert not readable(cluster, tenant, token, SECRET_PATH), "a token from before the suspension came back to life"
    assert cluster.delivered(cluster.pod(tenant), SECRET_FILE)


def test_a_suspended_tenant_can_be_deleted(cluster: Cluster, tenants: Tenants) -> None:
    tenant = tenants.empty("frozen")
    cluster.kubectl.apply(samples.tenant(tenant, suspended=True))
    cluster.wait_condition(tenant_ref(tenant), "Ready", "True", "Suspended")
    cluster.kubectl("delete", *tenant_ref(tenant).args, "--timeout=120s", timeout=150)


# -- deleted


def test_a_deleted_runtime_leaves_nothing_in_three_systems(cluster: Cluster, tenants: Tenants, tenant: str) -> None:
    name = "shortlived"
    cluster.kubectl.apply(samples.runtime(tenant, name))
    cluster.wait_ready(runtime_ref(tenant, name))
    principal, vault = cluster.principal(tenant, name), cluster.vault_namespace(tenant)
    assert traces_of(cluster, tenant, principal, vault)
    cluster.kubectl("delete", *runtime_ref(tenant, name).args, "--timeout=90s")
    assert traces_of(cluster, tenant, principal, vault) == []


def traces_of(cluster: Cluster, tenant: str, principal: str, vault: str) -> list[str]:
    """What exists under a runtime's name."""
    kinds = "deployments,serviceaccounts,configmaps,networkpolicies,services,pods"
    objects = cluster.kubectl("-n", f"axon-{tenant}", "get", kinds, "-o", "name").split()
    found = [name for name in objects if principal in name]
    found += [f"role {n}" for n in cluster.openbao.names(vault, "auth/k8s/role") if n == principal]
    found += [f"policy {n}" for n in cluster.openbao.names(vault, "sys/policies/acl") if n == principal]
    return found + [c["clientId"] for c in cluster.keycloak.clients(f"axon-{tenant}") if c["clientId"] == principal]


def test_a_deleted_tenant_leaves_nothing_in_three_systems(cluster: Cluster, tenants: Tenants) -> None:
    tenant = tenants.running("mortal")
    uid = cluster.kubectl.need(*tenant_ref(tenant).args)["metadata"]["uid"]
    vault, token = cluster.vault_namespace(tenant), cluster.vault_token(tenant)
    assert readable(cluster, tenant, token, SECRET_PATH)
    cluster.kubectl("delete", *tenant_ref(tenant).args, "--timeout=180s", timeout=200)
    assert cluster.kubectl.get("namespace", f"axon-{tenant}") is None
    assert cluster.openbao.namespace(vault) is None
    assert tenants_of(cluster.openbao.namespaces(), uid) == []
    assert cluster.keycloak.realm(f"axon-{tenant}") is None
    assert not cluster.openbao.call("GET", f"kv/data/org/{SECRET_PATH}", namespace=vault, token=token).ok


def test_a_tenant_recreated_under_the_same_name_inherits_nothing(cluster: Cluster, tenants: Tenants) -> None:
    tenant = tenants.empty("again")
    first = cluster.vault_namespace(tenant)
    cluster.write_secret(tenant, SECRET_PATH, **{SECRET_KEY: tenants.value()})
    cluster.kubectl("delete", *tenant_ref(tenant).args, "--timeout=120s", timeout=150)
    cluster.kubectl.apply(samples.tenant(tenant))
    cluster.wait_ready(tenant_ref(tenant))
    second = cluster.vault_namespace(tenant)
    assert second != first
    assert cluster.openbao.names(second, "kv/metadata/org") == []


def test_deletion_waits_for_an_openbao_that_is_away_and_says_so(cluster: Cluster, tenants: Tenants) -> None:
    tenant = tenants.running("patient")
    ref, vault = tenant_ref(tenant), cluster.vault_namespace(tenant)
    with cluster.openbao_away():
        cluster.kubectl("delete", *ref.args, "--wait=false")
        condition = cluster.wait_condition(ref, "DeletionBlocked", "True", "VaultUnavailable", timeout=180)
        assert "OpenBao" in condition["message"]
        assert cluster.kubectl.need(*ref.args)["metadata"]["finalizers"] == ["axonos.ai/teardown"]
    cluster.wait_gone(ref)
    assert cluster.openbao.namespace(vault) is None
    assert cluster.keycloak.realm(f"axon-{tenant}") is None
