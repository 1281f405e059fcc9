"""No secret value has left OpenBao and the pods: looked for in everything else, at the end of the whole run."""

import json
import secrets
from collections.abc import Iterator

import pytest

from e2e.support import operator, samples
from e2e.support.cluster import Cluster, binding_ref, runtime_ref, tenant_ref
from e2e.support.database import Database
from e2e.support.house import ACCOUNT, ACCOUNT_FILE, CERTIFICATE_FILE, TO_THE_DATABASE, House, granted, variable
from e2e.support.kubectl import Json
from e2e.support.settings import TESTBED_NAMESPACE
from e2e.support.tenants import SECRET_FILE, SECRET_KEY, SECRET_PATH, Tenants
from e2e.support.traces import (
    KUBERNETES_AUDIT,
    VAULT_AUDIT,
    OperatorLog,
    audit_lines,
    contains,
    encodings,
    etcd,
    etcd_files_with,
    etcd_keys_with,
    events,
    metrics,
    metrics_of,
    vault_sh,
)
from e2e.support.user import User
from e2e.support.waiting import until_true

PLANT = "planted"


@pytest.fixture(scope="module")
def errors(cluster: Cluster, tenants: Tenants) -> str:
    """A tenant whose secrets, named like the canary too, went through errors: missing, denied, hanging, deleted."""
    tenant = tenants.running("leaky")
    pod = cluster.pod(tenant)
    value = tenants.value()
    cluster.write_secret(tenant, SECRET_PATH, **{SECRET_KEY: value})
    cluster.wait_delivered(pod, SECRET_FILE, value)
    # a key that does not exist, beside one that does
    missing = samples.binding(tenant, "missing", source=samples.kv(SECRET_PATH, SECRET_KEY, "absent"))
    missing["spec"]["delivery"] = samples.file("missing.json")
    cluster.kubectl.apply(missing)
    cluster.wait_condition(binding_ref(tenant, "missing"), "Ready", "False", "SourceMissing")
    # a secret that is not what the file's format can hold
    cluster.write_secret(tenant, "odd/one", **{"with space": tenants.value(), "new\nline": tenants.value()})
    odd = samples.binding(
        tenant, "odd", source=samples.kv("odd/one"), delivery={"file": {"path": "odd", "format": "dotenv"}}
    )
    cluster.kubectl.apply(odd)
    # the pod's rights are taken behind the operator's back, and its key disappears
    principal, vault = cluster.principal(tenant), cluster.vault_namespace(tenant)
    cluster.openbao.admin("PUT", f"sys/policies/acl/{principal}", namespace=vault, body={"policy": "# nothing\n"})
    cluster.write_secret(tenant, SECRET_PATH, other=tenants.value())
    cluster.wait_condition(binding_ref(tenant), "Ready", "False", "SourceMissing")
    # a backend that hangs in the middle of it
    with cluster.openbao_away():
        cluster.request_reconcile(runtime_ref(tenant), "hanging")
        cluster.wait_condition(runtime_ref(tenant), "VaultReady", "Unknown", "VaultUnavailable")
    cluster.write_secret(tenant, SECRET_PATH, **{SECRET_KEY: tenants.value()})
    cluster.kubectl("delete", *binding_ref(tenant, "odd").args, "--timeout=60s")
    cluster.wait_ready(tenant_ref(tenant), runtime_ref(tenant), binding_ref(tenant))
    return tenant


@pytest.fixture(scope="module")
def planted(cluster: Cluster) -> Iterator[str]:
    """A value that is where no secret may be: in a ConfigMap, a Secret and an Event."""
    value = f"planted{secrets.token_hex(12)}"
    metadata = {"name": PLANT, "namespace": TESTBED_NAMESPACE}
    event: Json = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata,
        "involvedObject": {"kind": "Namespace", "name": TESTBED_NAMESPACE, "namespace": TESTBED_NAMESPACE},
        "message": f"it is {value}",
        "reason": "Planted",
        "type": "Normal",
    }
    cluster.kubectl.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": f"it is {value} here"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"text": value}},
        event,
    )
    yield value
    for kind in ("configmap", "secret", "event"):
        cluster.kubectl("-n", TESTBED_NAMESPACE, "delete", kind, PLANT)


@pytest.fixture(scope="module")
def house(cluster: Cluster, database: Database, tenants: Tenants) -> House:
    """A tenant in which every kind of credential is made."""
    return House.open(cluster, database, tenants, "tattler")


@pytest.fixture(scope="module")
def values(house: House, tenants: Tenants, errors: str, canary: str) -> list[str]:
    """All that may be nowhere: the canary, and what OpenBao made and pods held, one generation after the other."""
    house.declare("agent", replicas=0)
    name = house.tenant
    house.cluster.write_secret(name, "odd", key=f"it's {tenants.value()}")
    odd = {"source": samples.kv("odd"), "delivery": variable("ODD", "key"), "runtimeRef": {"name": "odd"}}
    variables = {"source": {"generated": {}}, "delivery": variable("PEPPER", "value")}
    house.declare("odd")
    house.cluster.kubectl.apply(samples.binding(name, "odd", **odd), samples.binding(name, "env", **variables))
    house.edit(runtime_ref(name), replicas=1)
    house.cluster.wait_ready(runtime_ref(name), binding_ref(name, "env"))
    alice = User.new(house.cluster, name, "alice")
    rotation: Json = {"rotation": {"overlap": "1s"}}
    house.cluster.kubectl.apply(
        samples.binding(name, "grant", source=granted(alice), delivery=samples.file("grant.json"))
    )
    house.cluster.wait_condition(binding_ref(name, "grant"), "Ready", "False", "ConsentMissing")
    alice.grants("agent", "github/token", {"token": tenants.value()})
    refs = [
        house.bind("orders", ACCOUNT, ACCOUNT_FILE, egress=TO_THE_DATABASE, **rotation),
        house.bind("tls", {"pki": {}}, CERTIFICATE_FILE, **rotation),
        house.bind("key", {"generated": {}}, {"file": {"path": "key", "format": "raw"}}, **rotation),
    ]
    house.cluster.wait_ready(binding_ref(name, "grant"))
    assert canary in (house.read("grant.json") or "")
    found = [canary, house.variables("agent")["PEPPER"]]
    for _ in range(2):
        found += [house.account()[1], house.read("key") or "", private_key(house.read("tls.pem") or "")]
        house.rotate(*refs)
    assert all(len(value) >= 20 for value in found)
    assert len(set(found)) == len(found)
    return found


def private_key(pem: str) -> str:
    """A piece of it that no other key has."""
    header, line = pem.splitlines()[:2]
    assert "PRIVATE KEY" in header
    return line[24:64]


def test_the_canary_is_where_it_belongs(cluster: Cluster, errors: str, canary: str) -> None:
    assert canary in (cluster.delivered(cluster.pod(errors), SECRET_FILE) or "")


def test_no_value_is_in_a_key_of_etcd(cluster: Cluster, values: list[str], planted: str) -> None:
    found = etcd_keys_with(cluster, planted)
    for kind in ("configmaps", "secrets", "events"):
        assert any(f"/{kind}/" in key for key in found), f"the search does not see what was planted: {found}"
    stored = etcd(cluster)
    assert [key for key, content in stored.items() if any(contains(content, value) for value in values)] == []


def test_no_value_is_in_a_file_of_etcd_not_even_in_deleted_objects(
    cluster: Cluster, values: list[str], planted: str
) -> None:
    assert etcd_files_with(cluster, planted), "the search does not see what was planted"
    assert [file for value in values for file in etcd_files_with(cluster, value)] == []


def test_no_value_is_in_an_event(cluster: Cluster, values: list[str], planted: str) -> None:
    text = events(cluster).encode()
    assert contains(text, planted)
    assert json.loads(text)["items"]
    assert not any(contains(text, value) for value in values)


def test_no_value_is_in_a_line_of_the_operators_log_and_audit_stream(
    cluster: Cluster, operator_log: OperatorLog, errors: str, values: list[str]
) -> None:
    until_true("the collected log has the tenant", lambda: errors in operator_log.text(), timeout=20)
    text = operator_log.text()
    assert '"level": "debug"' in text or '"level":"debug"' in text, "the operator does not log at DEBUG"
    backends = {line["backend"] for line in audit_lines(text) if line["object"]["namespace"] == f"axon-{errors}"}
    assert backends == {"kubernetes", "openbao", "keycloak"}, "the audit stream is not in what is searched"
    assert not any(contains(text.encode(), value) for value in values)


def test_no_value_is_in_a_metric(cluster: Cluster, values: list[str]) -> None:
    assert "axon_operator_reconcile_total{" in metrics(cluster)
    for pod in operator.pods(cluster):
        text = metrics_of(cluster, pod["metadata"]["name"])
        assert "axon_operator_leader" in text
        assert not any(contains(text.encode(), value) for value in values)


def test_no_value_is_in_a_log_of_a_pod(cluster: Cluster, house: House, errors: str, values: list[str]) -> None:
    for tenant in (errors, house.tenant):
        pod = cluster.pod(tenant)
        text = cluster.kubectl("-n", pod.namespace, "logs", pod.name, "--all-containers", "--tail=-1")
        assert "credentials: serving revision" in text
        assert not any(contains(text.encode(), value) for value in values)
    pods = [p["metadata"]["name"] for p in cluster.pods(house.tenant, "odd")]

    def logs() -> list[str]:
        return [cluster.kubectl("-n", f"axon-{house.tenant}", "logs", name, "-c", "credentials") for name in pods]

    def told() -> bool:
        return any("values that do not fit" in text for text in logs())

    until_true("what could not be written into a variable is told, and so is searched", told)
    assert not any(contains(text.encode(), value) for text in logs() for value in values)


def test_no_value_is_in_what_kubectl_shows(cluster: Cluster, house: House, errors: str, values: list[str]) -> None:
    kinds = "pods,deployments,replicasets,configmaps,secrets,workflowruntimes.axonos.ai,secretbindings.axonos.ai"
    for tenant in (errors, house.tenant):
        text = cluster.kubectl("-n", f"axon-{tenant}", "get", kinds, "-o", "yaml")
        text += cluster.kubectl("-n", f"axon-{tenant}", "describe", kinds)
        assert f"axon-{tenant}" in text
        assert not any(contains(text.encode(), value) for value in values)


def test_no_value_is_in_an_audit_log_of_kubernetes_or_openbao(cluster: Cluster, values: list[str]) -> None:
    needles = " ".join(f"-e {needle.decode()}" for value in values for needle in encodings(value))
    search = f"grep -c -a -F {needles}"
    # but for what the tests themselves look for: the commands that they run in pods are in their addresses
    others = f"grep -a -v -F /exec? {KUBERNETES_AUDIT}"
    assert int(cluster.node.sh(f"{others} | wc -l")) > 0
    assert cluster.node.run(f"{others} | {search}").stdout.strip() == "0"
    assert vault_sh(cluster, f"{search} {VAULT_AUDIT} || true").strip() == "0"
    assert int(vault_sh(cluster, f"grep -c -a -F transit/decrypt {VAULT_AUDIT}")) > 0
