"""The canary in the cluster: tenants are isolated, an opened network is found, and so is its end."""

import pytest

from e2e.support.cluster import Cluster, tenant_ref
from e2e.support.tenants import Tenants
from e2e.support.traces import metrics
from e2e.support.waiting import until_true
from e2e.test_attacks import EVERYONE, network_policy
from e2e.test_orphans import events_of

ALL = (
    "The canary is refused: keycloak-client, keycloak-user, kubernetes-runtimes, kubernetes-secrets, "
    "kubernetes-tokens, network, openbao-login, openbao-read."
)
CROSSED = 'axon_operator_isolation_tenants{verdict="crossed"}'


@pytest.fixture(scope="module")
def pair(tenants: Tenants) -> list[str]:
    """Two tenants, each with a running pod."""
    return tenants.several("island", 2)


def test_every_tenant_is_isolated_and_all_that_can_be_tried_was(cluster: Cluster, pair: list[str]) -> None:
    for name in pair:
        # its pods are tried as soon as they run
        until_true(f"{name} is refused everywhere", lambda name=name: tried(cluster, name) == ALL, timeout=60)  # type: ignore[misc]
        cluster.wait_ready(tenant_ref(name))


def tried(cluster: Cluster, tenant: str) -> str:
    """Where the canary was refused."""
    return str(cluster.wait_condition(tenant_ref(tenant), "Isolated", "True", "Refused")["message"])


def test_an_opened_network_is_found_and_told_and_its_end_too(cluster: Cluster, pair: list[str]) -> None:
    opened, closed = pair
    ref = tenant_ref(opened)
    cluster.glass.apply(network_policy(f"axon-{opened}", "lifted", EVERYONE))
    told = cluster.wait_condition(ref, "Isolated", "False", "BoundaryCrossed")
    assert "NetworkPolicies" in told["message"]
    # one wall, of one tenant, and nothing that its spec asks for
    assert ";" not in told["message"]
    assert cluster.condition(tenant_ref(closed), "Isolated")["status"] == "True"
    assert cluster.condition(ref, "Ready")["status"] == "True"
    assert f"{CROSSED} 1.0" in metrics(cluster)
    cluster.kubectl("-n", f"axon-{opened}", "delete", "networkpolicy", "lifted")
    cluster.wait_condition(ref, "Isolated", "True")
    assert "NetworkPolicies" in events_of(cluster, opened, "BoundaryCrossed")
    assert f"{CROSSED} 0.0" in metrics(cluster)
