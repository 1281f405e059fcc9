"""Eight attacks on the real servers. Each is shown to mean something: the same step works for whoever may take it."""

import json

import pytest

from axon_operator.domain.names import TenantNames
from e2e.support import operator, samples
from e2e.support.cluster import Cluster, Pod, realm_issuer, runtime_ref, tenant_ref
from e2e.support.kubectl import Json
from e2e.support.settings import VAULT_AUDIENCE, VAULT_PARENT
from e2e.support.tenants import SECRET_PATH, Tenants
from e2e.support.waiting import stays, until_true

EVE = "eve@globex.example"
EVERYONE = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}


@pytest.fixture(scope="module")
def pair(cluster: Cluster, tenants: Tenants) -> tuple[str, str]:
    """Two organizations: the victim, and the attacker, whose administrator is Eve."""
    victim, attacker = tenants.several("fort", 2)
    cluster.kubectl.apply(samples.tenant(attacker, admins=[{"kind": "User", "name": EVE}]))
    cluster.wait_ready(tenant_ref(attacker))
    return victim, attacker


# -- 1


def test_a_foreign_kv_path_cannot_be_read_from_a_pod(cluster: Cluster, pair: tuple[str, str]) -> None:
    victim, attacker = pair
    pod = cluster.pod(attacker)
    assert read_secret(cluster, pod, attacker) == (True, ""), "the attacker's pod cannot even read its own secret"
    readable, refusal = read_secret(cluster, pod, victim)
    assert not readable
    assert "permission denied" in refusal


def test_a_foreign_kv_path_cannot_be_listed_guessed_or_written_with_a_runtimes_token(
    cluster: Cluster, pair: tuple[str, str]
) -> None:
    victim, attacker = pair
    token, home, target = (
        cluster.vault_token(attacker),
        cluster.vault_namespace(attacker),
        cluster.vault_namespace(victim),
    )
    slug = target.removeprefix(f"{VAULT_PARENT}/")
    assert cluster.openbao.call("GET", f"kv/data/org/{SECRET_PATH}", namespace=home, token=token).ok
    for method, path, namespace in (
        ("GET", f"kv/data/org/{SECRET_PATH}", target),
        ("GET", f"{slug}/kv/data/org/{SECRET_PATH}", VAULT_PARENT),
        ("GET", f"{target}/kv/data/org/{SECRET_PATH}", ""),
        ("GET", f"../{slug}/kv/data/org/{SECRET_PATH}", home),
        ("LIST", "kv/metadata/org", target),
        ("LIST", "sys/namespaces", VAULT_PARENT),
        ("POST", f"kv/data/org/{SECRET_PATH}", target),
        # what its own organization has, but its runtime has no binding for
        ("LIST", "kv/metadata/org", home),
        ("GET", "kv/data/org/other", home),
        ("POST", f"kv/data/org/{SECRET_PATH}", home),
        ("GET", "sys/policies/acl/org-admin", home),
    ):
        answer = cluster.openbao.call(
            method, path, namespace=namespace, token=token, body={"data": {}} if method == "POST" else None
        )
        assert 300 <= answer.status < 500, f"{method} {path} in {namespace or 'root'}: {answer.status}"
        assert "data" not in answer.body


def test_a_runtimes_token_logs_in_to_no_other_namespace(cluster: Cluster, pair: tuple[str, str]) -> None:
    victim, attacker = pair
    jwt = cluster.vault_jwt(attacker)
    assert cluster.openbao.login(cluster.principal(attacker), jwt, namespace=cluster.vault_namespace(attacker)).ok
    for role, namespace in (
        (cluster.principal(victim), cluster.vault_namespace(victim)),
        (cluster.principal(attacker), cluster.vault_namespace(victim)),
        ("axon-operator", VAULT_PARENT),
        ("testbed-admin", ""),
    ):
        assert cluster.openbao.login(role, jwt, namespace=namespace).status in {400, 403}


def read_secret(cluster: Cluster, pod: Pod, tenant: str) -> tuple[bool, str]:
    """Whether a pod, logged in as itself, can read a tenant's secret; and what OpenBao says if not."""
    script = (
        'BAO_TOKEN=$(bao write -field=token "auth/$AUTH_MOUNT/login" role="$ROLE" jwt=@"$JWT") && export BAO_TOKEN && '
        f"bao read -namespace={cluster.vault_namespace(tenant)} kv/data/org/{SECRET_PATH} >/dev/null"
    )
    result = cluster.sidecar(pod, script)
    return result.ok, result.stderr


# -- 2


def test_a_foreign_realm_takes_neither_a_pods_token_nor_an_access_token(
    cluster: Cluster, pair: tuple[str, str]
) -> None:
    victim, attacker = pair
    token = cluster.identity_token(attacker)
    own = cluster.keycloak.login(f"axon-{attacker}", token)
    assert own.ok, own.text
    access = own.body["access_token"]
    for client in ("", cluster.principal(attacker), cluster.principal(victim)):
        assert cluster.keycloak.login(f"axon-{victim}", token, client=client).status in {400, 401}
    assert cluster.keycloak.login("master", token).status in {400, 401}
    # with the audience that the victim's realm asks for, only the subject is wrong
    account = (f"axon-{attacker}", cluster.principal(attacker))
    assert cluster.keycloak.login(f"axon-{attacker}", cluster.glass.token(*account, realm_issuer(attacker))).ok
    aimed = cluster.glass.token(*account, realm_issuer(victim))
    for client in ("", cluster.principal(attacker), cluster.principal(victim)):
        assert cluster.keycloak.login(f"axon-{victim}", aimed, client=client).status in {400, 401}
    assert cluster.keycloak.userinfo(f"axon-{victim}", access).status in {401, 403}


# -- 3


def test_a_foreign_pod_cannot_be_reached_at_its_address(cluster: Cluster, pair: tuple[str, str]) -> None:
    victim, attacker = pair
    pod, target = cluster.pod(attacker), cluster.pod(victim).ip
    assert not cluster.reaches(pod, target)
    lift = [network_policy(f"axon-{name}", "lifted", EVERYONE) for name in pair]
    cluster.glass.apply(*lift)
    until_true("without the policies the pod is reached", lambda: cluster.reaches(pod, target), timeout=30)
    for name in pair:
        cluster.kubectl("-n", f"axon-{name}", "delete", "networkpolicy", "lifted")
    until_true("with them it is refused", lambda: not cluster.reaches(pod, target), timeout=30)


def network_policy(namespace: str, name: str, spec: Json) -> Json:
    """A NetworkPolicy."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


# -- 4


def test_a_service_account_recreated_under_the_same_name_gets_nothing(cluster: Cluster, tenants: Tenants) -> None:
    victim = tenants.running("phoenix")
    namespace, account = f"axon-{victim}", cluster.principal(victim)
    vault = cluster.vault_namespace(victim)

    def login() -> int:
        jwt = cluster.glass.token(namespace, account, VAULT_AUDIENCE)
        return cluster.openbao.login(account, jwt, namespace=vault).status

    assert login() == 200
    operator.switch_off(cluster)  # else it could win the race for the name
    try:
        cluster.glass("-n", namespace, "delete", "serviceaccount", account)
        cluster.glass("-n", namespace, "create", "serviceaccount", account)
        assert login() in {400, 403}, "the name alone lets someone in"
    finally:
        operator.switch_on(cluster)
    cluster.wait_condition(runtime_ref(victim), "Stalled", "True", "NameTaken")
    assert login() in {400, 403}, "the operator let the impostor in"
    cluster.glass("-n", namespace, "delete", "serviceaccount", account)
    cluster.request_reconcile(runtime_ref(victim), "impostor-gone")
    cluster.wait_ready(runtime_ref(victim))
    assert login() == 200


def test_a_service_account_recreated_with_copied_marks_is_replaced_and_gets_nothing(
    cluster: Cluster, tenants: Tenants
) -> None:
    victim = tenants.running("mimic")
    namespace, account = f"axon-{victim}", cluster.principal(victim)
    vault = cluster.vault_namespace(victim)

    def live() -> Json:
        metadata: Json = cluster.kubectl.need("-n", namespace, "serviceaccount", account)["metadata"]
        return metadata

    marks = {name: live()[name] for name in ("labels", "annotations")}
    operator.switch_off(cluster)  # else it could win the race for the name
    try:
        cluster.glass("-n", namespace, "delete", "serviceaccount", account)
        metadata = {"name": account, "namespace": namespace, **marks}
        cluster.glass.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        impostor, jwt = live()["uid"], cluster.glass.token(namespace, account, VAULT_AUDIENCE)
        assert live()["labels"] == marks["labels"]
        assert cluster.openbao.login(account, jwt, namespace=vault).status in {400, 403}
    finally:
        operator.switch_on(cluster)
    cluster.request_reconcile(runtime_ref(victim), "mimic")

    def replaced() -> bool:
        found = cluster.kubectl.get("-n", namespace, "serviceaccount", account)
        return found is not None and found["metadata"]["uid"] != impostor

    until_true("the operator makes its own account", replaced)
    cluster.wait_ready(runtime_ref(victim))
    assert cluster.openbao.login(account, jwt, namespace=vault).status in {400, 403}, "the impostor's token works"
    jwt = cluster.glass.token(namespace, account, VAULT_AUDIENCE)
    until_true("the new account logs in", lambda: cluster.openbao.login(account, jwt, namespace=vault).ok, timeout=15)


# -- 5, 6, 7


def test_a_foreign_namespace_is_not_adopted(cluster: Cluster, tenants: Tenants) -> None:
    name = tenants.name("mine")
    namespace = f"axon-{name}"
    cluster.kubectl("create", "namespace", namespace)
    config = {"name": "theirs", "namespace": namespace}
    cluster.kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": config, "data": {"is": "theirs"}})
    try:
        before = contents(cluster, namespace)
        refused(cluster, name)
        assert contents(cluster, namespace) == before
        removed(cluster, name)
        assert contents(cluster, namespace) == before
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def contents(cluster: Cluster, namespace: str) -> Json:
    """The namespace itself and what is in it."""
    kinds = "configmaps,secrets,serviceaccounts,networkpolicies,resourcequotas,limitranges,rolebindings,deployments"
    found = cluster.kubectl.items("-n", namespace, kinds)
    versions = {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in found}
    metadata = cluster.kubectl.need("namespace", namespace)["metadata"]
    return {"versions": versions, "labels": metadata["labels"], "deleted": metadata.get("deletionTimestamp")}


def test_a_foreign_realm_is_not_adopted(cluster: Cluster, tenants: Tenants) -> None:
    name = tenants.name("mine")
    realm = f"axon-{name}"
    cluster.keycloak.admin("POST", "", body={"realm": realm, "enabled": True, "attributes": {"theirs": "yes"}})
    try:
        before = (cluster.keycloak.realm(realm), cluster.keycloak.clients(realm))
        refused(cluster, name)
        assert (cluster.keycloak.realm(realm), cluster.keycloak.clients(realm)) == before
        removed(cluster, name)
        assert (cluster.keycloak.realm(realm), cluster.keycloak.clients(realm)) == before
    finally:
        cluster.keycloak.admin("DELETE", realm)


def test_a_foreign_openbao_namespace_is_not_adopted(cluster: Cluster, tenants: Tenants) -> None:
    name = tenants.name("mine")
    operator.switch_off(cluster)
    try:
        cluster.kubectl.apply(samples.tenant(name))
        slug = vault_slug(cluster.kubectl.need(*tenant_ref(name).args)["metadata"]["uid"])
        cluster.openbao.admin("POST", f"sys/namespaces/{slug}", namespace=VAULT_PARENT, body={})
    finally:
        operator.switch_on(cluster)
    try:
        before = vault_contents(cluster, slug)
        refused(cluster, name)
        assert vault_contents(cluster, slug) == before
        removed(cluster, name)
        assert vault_contents(cluster, slug) == before
    finally:
        cluster.openbao.admin("DELETE", f"sys/namespaces/{slug}", namespace=VAULT_PARENT)


def vault_slug(uid: str) -> str:
    """The name that a Tenant's OpenBao namespace will have."""
    return TenantNames("", uid).vault_namespace


def vault_contents(cluster: Cluster, slug: str) -> list[object]:
    """The OpenBao namespace itself and what is in it."""
    inside = ("sys/mounts", "sys/auth", "sys/policies/acl?list=true")
    found = [cluster.openbao.admin("GET", path, namespace=f"{VAULT_PARENT}/{slug}") for path in inside]
    return [cluster.openbao.namespace(slug), *(answer and answer["data"] for answer in found)]


def refused(cluster: Cluster, name: str) -> None:
    """Creates the Tenant if need be, and sees it refused."""
    cluster.kubectl.apply(samples.tenant(name))
    condition = cluster.wait_condition(tenant_ref(name), "Stalled", "True", "NameTaken")
    assert "not touched" in condition["message"]
    assert cluster.condition(tenant_ref(name), "Ready")["status"] == "False"


def removed(cluster: Cluster, name: str) -> None:
    """Deletes the Tenant."""
    cluster.kubectl("delete", *tenant_ref(name).args, "--timeout=90s")


# -- 8


def test_a_tenants_admin_cannot_edit_the_default_deny_policy(cluster: Cluster, pair: tuple[str, str]) -> None:
    victim, attacker = pair
    namespace, policy = f"axon-{attacker}", "networkpolicy/axon-default-deny"
    opened = json.dumps({"spec": EVERYONE})
    eve = ("--as", EVE, "-n", namespace)
    # what Eve may do
    assert cluster.kubectl.run(*eve, "get", "workflowruntimes,secretbindings").ok
    assert cluster.kubectl.run(*eve, "annotate", "axw/agent", "note=hello").ok
    # what she may not
    for attempt in (
        ("patch", policy, "--type=merge", "-p", opened),
        ("delete", policy),
        ("create", "rolebinding", "more", "--clusterrole=cluster-admin", f"--user={EVE}"),
        ("create", "serviceaccount", "mine"),
        ("create", "token", cluster.principal(attacker), "--audience", VAULT_AUDIENCE),
        ("delete", "resourcequota", "axon-quota"),
        ("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=privileged", "--overwrite"),
        ("get", "secrets"),
        ("-n", f"axon-{victim}", "get", "workflowruntimes"),
    ):
        refusal = cluster.kubectl.run(*eve, *attempt)
        assert not refusal.ok, attempt
        assert "forbidden" in refusal.stderr.lower(), refusal.stderr
    added = network_policy(namespace, "open", EVERYONE)
    refusal = cluster.kubectl.run(*eve, "create", "-f", "-", stdin=json.dumps(added))
    assert "forbidden" in refusal.stderr.lower()
    # the same edit by an administrator who breaks the glass goes through, and the operator undoes it
    cluster.glass("-n", namespace, "patch", policy, "--type=merge", "-p", opened)
    until_true("the operator closes it again", lambda: is_closed(cluster, namespace), timeout=60)
    stays("closed", lambda: is_closed(cluster, namespace), seconds=2)


def is_closed(cluster: Cluster, namespace: str) -> bool:
    """Whether the default-deny policy denies everything."""
    spec = cluster.kubectl.need("-n", namespace, "networkpolicy", "axon-default-deny")["spec"]
    return not spec.get("ingress") and not spec.get("egress")
