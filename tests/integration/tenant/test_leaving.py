"""What a deleted Tenant leaves in the three systems, and whose that is."""

from contextlib import ExitStack
from typing import Any

import pytest

from axon_operator.domain.names import ABANDON_ANNOTATION, VAULT_CLUSTER_KEY
from axon_operator.domain.resources import NAMESPACE, TENANT, RealmPath, Ref
from bench.bed import Bed
from bench.life import Life, NotSettledError, keycloak_of
from bench.proxy import Backend, Fault, Mode
from integration.tenant.conftest import NewTenant, sweep

SECONDS = 8.0
"""Until a test concludes that nothing more happens."""


def metadata_of(tenant: Life) -> dict[str, str]:
    """The mark in OpenBao."""
    found: dict[str, str] = tenant.bed.bao.look("GET", "axon", home(tenant))["custom_metadata"]
    return found


def home(tenant: Life) -> str:
    return f"sys/namespaces/{tenant.names.vault_namespace}"


def realm_of(tenant: Life) -> dict[str, Any]:
    return dict(keycloak_of(tenant.settings).read(RealmPath(tenant.names.realm)) or {})


def mark_by_hand(tenant: Life, **changes: str | None) -> None:
    """Somebody with rights in OpenBao's parent namespace edits the mark."""
    mark = {k: v for k, v in {**metadata_of(tenant), **changes}.items() if v is not None}
    tenant.bed.bao.admin("POST", "axon", home(tenant), {"custom_metadata": mark})


def conditions(tenant: Life) -> dict[str, dict[str, Any]]:
    live = tenant.kube.get(Ref(TENANT, "", tenant.names.tenant))
    return {c["type"]: c for c in live["status"]["conditions"]}


def with_runtime(tenant: Life) -> None:
    """With somebody logged in."""
    tenant.settle()
    tenant.secret("app/a")
    tenant.runtime("agent", {"image": "registry.example/agent:1"})
    tenant.binding("one", "agent", "app/a")
    tenant.settle()
    assert tenant.state()["OpenBao leases"]


def test_a_mark_of_a_former_version_is_completed_and_then_nothing_is_written(new_tenant: NewTenant) -> None:
    tenant = new_tenant({})
    tenant.settle()
    (cluster,) = {metadata_of(tenant)[VAULT_CLUSTER_KEY], realm_of(tenant)["attributes"]["axonos.ai/cluster"]}
    assert cluster == tenant.kube.get(Ref(NAMESPACE, "", "kube-system"))["metadata"]["uid"]
    made = tenant.state()
    mark_by_hand(tenant, **{VAULT_CLUSTER_KEY: None})
    assert tenant.settle(again=True).writes == (f"openbao write {home(tenant)}",)
    assert tenant.state() == made
    assert tenant.settle(again=True).writes == ()


def test_what_another_clusters_mark_names_is_neither_set_right_nor_deleted(new_tenant: NewTenant) -> None:
    tenant = new_tenant({})
    tenant.settle()
    mark_by_hand(tenant, **{VAULT_CLUSTER_KEY: "another"})
    before = metadata_of(tenant)
    with pytest.raises(NotSettledError, match="NameTaken"):
        tenant.settle(again=True, patience=SECONDS)
    tenant.delete(TENANT, tenant.names.tenant)
    with pytest.raises(NotSettledError, match="NameTaken"):
        tenant.settle(patience=SECONDS)
    assert metadata_of(tenant) == before
    mark_by_hand(tenant, **{VAULT_CLUSTER_KEY: realm_cluster(tenant)})
    tenant.settle()
    assert tenant.state() == {}


def realm_cluster(tenant: Life) -> str:
    return tenant.kube.get(Ref(NAMESPACE, "", "kube-system"))["metadata"]["uid"]  # type: ignore[no-any-return]


def test_retained_data_is_closed_stays_and_is_given_to_nobody(servers: Bed, new_tenant: NewTenant) -> None:
    tenant = new_tenant({"deletionPolicy": "Retain"})
    with_runtime(tenant)
    assert tenant.settle(again=True).writes == ()
    tenant.delete(TENANT, tenant.names.tenant)
    tenant.settle()
    state = tenant.state()
    assert not [place for place in state if not place.startswith(("OpenBao", "Keycloak"))]
    assert state["OpenBao namespace"]["locked"]
    assert not state["OpenBao leases"]
    assert not [place for place in state if place.startswith("OpenBao auth/k8s/role")]
    assert state["OpenBao kv/metadata/org/app/a"] == 1
    assert (state["Keycloak realm"]["enabled"], state["Keycloak realm"]["notBefore"]) == (False, True)
    assert metadata_of(tenant)["axon_retained_at"] == realm_of(tenant)["attributes"]["axonos.ai/retained-at"]
    assert metadata_of(tenant)["axon_owner_uid"] == tenant.names.uid

    second = Life(servers, tenant.names.tenant, {})
    with pytest.raises(NotSettledError, match="NameTaken"):
        second.settle(patience=SECONDS)
    second.delete(TENANT, second.names.tenant)
    second.settle()
    assert tenant.state() == state


@pytest.mark.parametrize("backend", Backend)
def test_a_system_given_up_holds_no_deletion_up_and_is_swept_when_it_is_back(
    backend: Backend, servers: Bed, new_tenant: NewTenant
) -> None:
    tenant, *others = (new_tenant({}) for _ in range(3))
    with_runtime(tenant)
    with ExitStack() as outage:
        outage.enter_context(servers.proxy.fault(backend, Fault(Mode.STATUS, status=503)))
        tenant.delete(TENANT, tenant.names.tenant)
        with pytest.raises(NotSettledError):
            tenant.settle(patience=SECONDS)
        blocked = conditions(tenant)["DeletionBlocked"]
        assert f"annotation {ABANDON_ANNOTATION} to {backend}" in blocked["message"]
        tenant.kube.patch(
            Ref(TENANT, "", tenant.names.tenant), {"metadata": {"annotations": {ABANDON_ANNOTATION: backend.value}}}
        )
        tenant.settle()
        assert tenant.kube.find(Ref(TENANT, "", tenant.names.tenant)) is None
    left = tenant.state()
    assert ("OpenBao namespace" in left, "Keycloak realm" in left) == (
        backend is Backend.OPENBAO,
        backend is Backend.KEYCLOAK,
    )
    report = sweep(tenant)
    # beside what earlier tests have left of runtimes of theirs
    assert tenant.names.tenant in {trace.tenant for trace in report.removed}
    tenant.cluster.step()
    assert tenant.state() == {}
    for other in others:
        other.delete(TENANT, other.names.tenant)
        other.settle()
