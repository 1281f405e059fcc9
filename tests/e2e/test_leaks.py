"""No secret value has left OpenBao and the pods: looked for in everything else, at the end of the whole run."""

import json
import secrets
from collections.abc import Iterator

import pytest

from e2e.support import operator, samples
from e2e.support.cluster import Cluster, binding_ref, runtime_ref, tenant_ref
from e2e.support.kubectl import Json
from e2e.support.settings import TESTBED_NAMESPACE
from e2e.support.tenants import SECRET_FILE, SECRET_KEY, SECRET_PATH, Tenants
from e2e.support.traces import (
    OperatorLog,
    audit_lines,
    contains,
    etcd_files_with,
    etcd_keys_with,
    events,
    metrics,
    metrics_of,
)
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


def test_the_canary_is_where_it_belongs(cluster: Cluster, errors: str, canary: str) -> None:
    assert canary in (cluster.delivered(cluster.pod(errors), SECRET_FILE) or "")


def test_the_canary_is_in_no_key_of_etcd(cluster: Cluster, errors: str, canary: str, planted: str) -> None:
    found = etcd_keys_with(cluster, planted)
    for kind in ("configmaps", "secrets", "events"):
        assert any(f"/{kind}/" in key for key in found), f"the search does not see what was planted: {found}"
    assert etcd_keys_with(cluster, canary) == []


def test_the_canary_is_in_no_file_of_etcd_not_even_in_deleted_objects(
    cluster: Cluster, errors: str, canary: str, planted: str
) -> None:
    assert etcd_files_with(cluster, planted), "the search does not see what was planted"
    assert etcd_files_with(cluster, canary) == []


def test_the_canary_is_in_no_event(cluster: Cluster, errors: str, canary: str, planted: str) -> None:
    text = events(cluster).encode()
    assert contains(text, planted)
    assert json.loads(text)["items"]
    assert not contains(text, canary)


def test_the_canary_is_in_no_line_of_the_operators_log_and_audit_stream(
    cluster: Cluster, operator_log: OperatorLog, errors: str, canary: str
) -> None:
    until_true("the collected log has the tenant", lambda: errors in operator_log.text(), timeout=20)
    text = operator_log.text()
    assert '"level": "debug"' in text or '"level":"debug"' in text, "the operator does not log at DEBUG"
    backends = {line["backend"] for line in audit_lines(text) if line["object"]["namespace"] == f"axon-{errors}"}
    assert backends == {"kubernetes", "openbao", "keycloak"}, "the audit stream is not in what is searched"
    assert not contains(text.encode(), canary)


def test_the_canary_is_in_no_metric(cluster: Cluster, errors: str, canary: str) -> None:
    assert "axon_operator_reconcile_total{" in metrics(cluster)
    for pod in operator.pods(cluster):
        text = metrics_of(cluster, pod["metadata"]["name"])
        assert "axon_operator_leader" in text
        assert not contains(text.encode(), canary)


def test_the_canary_is_in_no_log_of_a_pod(cluster: Cluster, errors: str, canary: str) -> None:
    pod = cluster.pod(errors)
    text = cluster.kubectl("-n", pod.namespace, "logs", pod.name, "--all-containers", "--tail=-1")
    assert "credentials: serving revision" in text
    assert not contains(text.encode(), canary)
