"""A reconcile that has nothing to change makes no write in any of the three systems, by their own audit logs."""

import json
import re
import time

import pytest

from e2e.support.cluster import Cluster, Ref, binding_ref, runtime_ref, tenant_ref
from e2e.support.tenants import Tenants
from e2e.support.traces import WriteCounter, metrics, settled
from e2e.support.waiting import Unmet, until

ROUNDS = 50
PASSES = re.compile(r'^axon_operator_reconcile_total\{kind="(\w+)",outcome="\w+"\} (\S+)$', re.MULTILINE)


@pytest.fixture(scope="module")
def tenant(tenants: Tenants) -> str:
    """A tenant in which everything runs."""
    return tenants.running("still")


def passes(cluster: Cluster) -> dict[str, int]:
    """How many passes the operator has made over objects of each kind."""
    found: dict[str, int] = {}
    for kind, count in PASSES.findall(metrics(cluster)):
        found[kind] = found.get(kind, 0) + int(float(count))
    return found


def reconcile_now(cluster: Cluster, number: int, refs: tuple[Ref, ...]) -> None:
    """Asks for a pass over each object, and waits until they were made."""
    before = passes(cluster)
    for ref in refs:
        cluster.request_reconcile(ref, f"quiet-{number}")

    def made() -> None:
        after = passes(cluster)
        if any(after[kind] <= before[kind] for kind in before):
            raise Unmet(f"{before} -> {after}")

    until(f"round {number}: one more pass over each kind", made, timeout=30, every=0.1)


def test_fifty_forced_reconciles_write_nothing_and_drift_in_each_system_is_seen_and_healed(
    cluster: Cluster, tenant: str
) -> None:
    realm = f"axon-{tenant}"
    refs = (tenant_ref(tenant), runtime_ref(tenant), binding_ref(tenant))
    # until the canary has been heard, that is still to be told
    cluster.wait_condition(refs[0], "Isolated", "True")
    settled(cluster, realm, "master")
    started = time.monotonic()
    counter = WriteCounter(cluster, realm, "master")
    before = passes(cluster)
    for number in range(ROUNDS):
        reconcile_now(cluster, number, refs)
    after = passes(cluster)
    made = {kind: after[kind] - before[kind] for kind in after}
    print(f"passes: {made} in {time.monotonic() - started:.0f} s; reads: {len(counter.reads())}")
    assert len(made) == 3
    assert min(made.values()) >= ROUNDS
    assert counter.writes() == []
    # Kubernetes is watched, not asked. The counter itself: it sees the operator at work in OpenBao, and each
    # system's log shows what drift makes it write
    assert {read.system for read in counter.reads()} == {"OpenBao"}
    drift(cluster, tenant, realm)
    cluster.request_reconcile(refs[0], "drift")

    def healed() -> None:
        systems = {write.system for write in counter.writes()}
        if systems != {"Kubernetes", "OpenBao", "Keycloak"}:
            raise Unmet(f"writes only in {sorted(systems)}: {counter.writes()}")

    until("a write in each system", healed, timeout=60, every=2)
    vault = cluster.vault_namespace(tenant)
    policy = cluster.openbao.admin("GET", "sys/policies/acl/org-admin", namespace=vault)
    assert policy
    assert "kv/data/org/*" in policy["data"]["policy"]
    assert (cluster.keycloak.realm(realm) or {})["registrationAllowed"] is False
    assert cluster.kubectl.get("-n", realm, "networkpolicy", "axon-default-deny")


def drift(cluster: Cluster, tenant: str, realm: str) -> None:
    """Something in each system is no longer as planned."""
    open_everything = json.dumps({"spec": {"ingress": [{}]}})
    args = ("patch", "networkpolicy", "axon-default-deny", "--type=merge", "-p", open_everything)
    cluster.glass("-n", f"axon-{tenant}", *args)
    policy = {"policy": 'path "*" { capabilities = ["read"] }'}
    cluster.openbao.admin("PUT", "sys/policies/acl/org-admin", namespace=cluster.vault_namespace(tenant), body=policy)
    cluster.keycloak.admin("PUT", realm, body={"registrationAllowed": True})
