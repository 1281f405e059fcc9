"""What lost its owner is reported and removed, in all three systems; what has one, or is foreign, is not touched."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from e2e.support import operator, samples
from e2e.support.cluster import GLASS_ANNOTATION, Cluster, Ref, runtime_ref, tenant_ref
from e2e.support.kubectl import Json
from e2e.support.settings import OPERATOR, OPERATOR_NAMESPACE, VAULT_AUDIENCE
from e2e.support.tenants import SECRET_FILE, Tenants
from e2e.support.traces import OperatorLog, metrics
from e2e.support.waiting import Unmet, until, until_true

QUICK = {"AXON_SWEEP_INTERVAL": "3", "AXON_SWEEP_ACCESS_GRACE": "20", "AXON_SWEEP_TENANT_GRACE": "30"}
CHILDREN = "deployments,serviceaccounts,configmaps,networkpolicies,services,pods"
HAND_MADE = "made-by-hand"


@dataclass(frozen=True)
class Lost:
    """What the operator did not see going."""

    living: str
    """The tenant that stays, with its runtime `agent`."""
    principal: str
    """Of a runtime of that tenant whose object is gone."""
    tenant: str
    """A Tenant whose object is gone."""
    vault: str
    """Its OpenBao namespace."""


@pytest.fixture(scope="module")
def lost(cluster: Cluster, tenants: Tenants) -> Iterator[Lost]:
    """While the operator is off, finalizers are taken off and objects deleted; then it runs with short graces."""
    living, tenant = tenants.running("keeps"), tenants.empty("lost")
    tenants.empty("bystander")  # a whole tenant is removed only where more live than are dead
    cluster.kubectl.apply(samples.runtime(living, "lost"))
    cluster.wait_ready(runtime_ref(living, "lost"))
    made = Lost(living, cluster.principal(living, "lost"), tenant, cluster.vault_namespace(tenant))
    before = sweep_settings(cluster)
    operator.switch_off(cluster)
    try:
        make_foreign(cluster, living)
        for ref in (runtime_ref(living, "lost"), tenant_ref(tenant)):
            vanish(cluster, ref)
        set_sweep(cluster, QUICK)
        operator.switch_on(cluster)
        yield made
    finally:
        operator.switch_off(cluster)
        set_sweep(cluster, before)
        operator.switch_on(cluster)


def vanish(cluster: Cluster, ref: Ref) -> None:
    """Deletes an object without what its finalizer stands for."""
    without = {"finalizers": None, "annotations": {GLASS_ANNOTATION: "end-to-end tests"}}
    cluster.glass("patch", *ref.args, "--type=merge", "-p", json.dumps({"metadata": without}))
    cluster.kubectl("delete", *ref.args, "--timeout=30s")


def make_foreign(cluster: Cluster, tenant: str) -> None:
    """Things beside the operator's that an administrator made, without its mark."""
    body = {"policy": 'path "kv/data/none" { capabilities = ["read"] }'}
    cluster.openbao.admin("PUT", f"sys/policies/acl/{HAND_MADE}", namespace=cluster.vault_namespace(tenant), body=body)
    cluster.keycloak.admin(
        "POST", f"axon-{tenant}/clients", body={"clientId": HAND_MADE, "enabled": False, "standardFlowEnabled": False}
    )


def sweep_settings(cluster: Cluster) -> dict[str, str]:
    """The sweep's settings as the chart made them."""
    deployment = cluster.kubectl.need("-n", OPERATOR_NAMESPACE, "deployment", OPERATOR)
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return {variable["name"]: variable["value"] for variable in env if variable["name"] in QUICK}


def set_sweep(cluster: Cluster, settings: dict[str, str]) -> None:
    """Changes the environment of the operator's pods to come."""
    assert settings.keys() == QUICK.keys()
    cluster.kubectl(
        "-n", OPERATOR_NAMESPACE, "set", "env", f"deployment/{OPERATOR}", *(f"{k}={v}" for k, v in settings.items())
    )


def left_of_runtime(cluster: Cluster, lost: Lost) -> list[str]:
    """What there still is under the lost runtime's name."""
    realm, vault = f"axon-{lost.living}", cluster.vault_namespace(lost.living)
    objects = cluster.kubectl("-n", realm, "get", CHILDREN, "-o", "name").split()
    found = [name for name in objects if lost.principal in name or name == "service/lost"]
    for folder in ("auth/k8s/role", "sys/policies/acl", "runtime-status"):
        names = cluster.openbao.names(vault, folder)
        found += [f"{folder}/{name}" for name in names if name.rstrip("/") == lost.principal]
    return found + [
        f"client {c['clientId']}" for c in cluster.keycloak.clients(realm) if c["clientId"] == lost.principal
    ]


def left_of_tenant(cluster: Cluster, lost: Lost) -> list[str]:
    """What there still is of the lost tenant."""
    found: dict[str, Json | None] = {
        "namespace": cluster.kubectl.get("namespace", f"axon-{lost.tenant}"),
        "OpenBao namespace": cluster.openbao.namespace(lost.vault),
        "realm": cluster.keycloak.realm(f"axon-{lost.tenant}"),
    }
    return [what for what, there in found.items() if there]


def series(cluster: Cluster, name: str, system: str, kind: str) -> float:
    """The value of one of the sweep's series; 0 if it does not exist yet."""
    labels = {f'system="{system}"', f'kind="{kind}"'}
    for line in metrics(cluster).splitlines():
        if line.startswith(f"{name}{{") and set(line[len(name) + 1 : line.index("}")].split(",")) == labels:
            return float(line.rsplit(" ", 1)[1])
    return 0


def events_of(cluster: Cluster, tenant: str, reason: str) -> str:
    """The texts of a reason's Events about a Tenant."""
    uid = cluster.kubectl.need(*tenant_ref(tenant).args)["metadata"]["uid"]
    found = cluster.kubectl.items("-n", "default", "events.events.k8s.io")
    return "\n".join(e["note"] for e in found if e["reason"] == reason and e["regarding"].get("uid") == uid)


def test_orphans_are_reported_in_log_metrics_and_events(
    cluster: Cluster, operator_log: OperatorLog, lost: Lost
) -> None:
    def reported() -> None:
        text = events_of(cluster, lost.living, "OrphanFound")
        if lost.principal not in text:
            raise Unmet(text or "no Event")

    until("an Event about the lost runtime", reported, timeout=60)
    assert "agent" not in events_of(cluster, lost.living, "OrphanFound").replace(lost.principal, "")
    for system, kind in (("openbao", "Role"), ("keycloak", "Client"), ("keycloak", "Realm"), ("openbao", "Namespace")):
        removed = series(cluster, "axon_operator_orphans_removed_total", system, kind)
        assert series(cluster, "axon_operator_orphans", system, kind) + removed >= 1, (system, kind)
    log = operator_log.text()
    found = [line for line in log.splitlines() if "orphan found" in line]
    assert any(lost.principal in line for line in found)
    assert any(f"axon-{lost.tenant}" in line for line in found)
    assert not any(HAND_MADE in line for line in found)


def test_what_a_lost_runtime_left_is_removed_after_the_grace(cluster: Cluster, lost: Lost) -> None:
    def gone() -> None:
        left = left_of_runtime(cluster, lost)
        if left:
            raise Unmet(str(left))

    until("nothing under the lost runtime's name", gone, timeout=120, every=2)
    assert lost.principal in events_of(cluster, lost.living, "OrphanRemoved")
    assert series(cluster, "axon_operator_orphans_removed_total", "openbao", "Role") >= 1


def test_what_a_lost_tenant_left_is_removed_as_a_whole(cluster: Cluster, lost: Lost) -> None:
    def gone() -> None:
        left = left_of_tenant(cluster, lost)
        if left:
            raise Unmet(str(left))

    until("nothing left of the lost tenant", gone, timeout=180, every=2)
    until_true(
        "no orphan is left", lambda: series(cluster, "axon_operator_orphans", "openbao", "Namespace") == 0, timeout=30
    )


def test_what_lives_and_what_is_foreign_is_not_touched(cluster: Cluster, lost: Lost) -> None:
    cluster.wait_ready(tenant_ref(lost.living), runtime_ref(lost.living))
    assert cluster.delivered(cluster.pod(lost.living), SECRET_FILE)
    principal, vault = cluster.principal(lost.living), cluster.vault_namespace(lost.living)
    jwt = cluster.glass.token(f"axon-{lost.living}", principal, VAULT_AUDIENCE)
    assert cluster.openbao.login(principal, jwt, namespace=vault).ok
    assert HAND_MADE in cluster.openbao.names(vault, "sys/policies/acl")
    assert HAND_MADE in [c["clientId"] for c in cluster.keycloak.clients(f"axon-{lost.living}")]
