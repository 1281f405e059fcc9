"""A Tenant that was restored with another uid gets back what it had, on real servers."""

from dataclasses import replace

import pytest

from axon_operator.domain.names import ADOPT_ANNOTATION
from axon_operator.domain.resources import BINDING, NAMESPACE, RUNTIME, TENANT, RealmPath, Ref, ref_of
from bench.bed import Bed
from bench.cluster import Cluster
from bench.life import Life, NotSettledError, keycloak_of
from e2e.support.cluster import GLASS_ANNOTATION
from integration.tenant.conftest import NewTenant, sweep

SECONDS = 8.0
"""Until the test concludes that nothing more happens."""
USER = "kept"


def lose(tenant: Life) -> None:
    """The objects vanish without a teardown; what stands in the three systems stays."""
    for manifest in tenant.objects():
        # only a broken glass lets anybody but the operator take the finalizer off
        metadata = {"finalizers": None, "annotations": {GLASS_ANNOTATION: "the objects get lost"}}
        tenant.kube.patch(ref_of(manifest), {"metadata": metadata})
        tenant.kube.delete(ref_of(manifest))
    assert not tenant.objects()


def claim(tenant: Life, uid: str) -> None:
    ref = Ref(TENANT, "", tenant.names.tenant)
    tenant.kube.patch(ref, {"metadata": {"annotations": {ADOPT_ANNOTATION: uid}}})


def live_in(tenant: Life, home: str) -> None:
    """From here on the test looks for it in that OpenBao namespace."""
    tenant.names = replace(tenant.names, home=home)
    tenant.cluster = Cluster(tenant.kube.as_controllers(), tenant.bed.bao, tenant.names)


def test_a_restored_tenant_gets_back_secrets_realm_and_namespace_and_nobodys_login(
    servers: Bed, new_tenant: NewTenant
) -> None:
    old = new_tenant({"displayName": "Acme"})
    old.settle()
    old.secret("app/a")
    old.runtime("agent", {"image": "registry.example/agent:1"})
    old.binding("one", "agent", "app/a")
    old.settle()
    keycloak = keycloak_of(servers.settings)
    keycloak.create(RealmPath(old.names.realm, ("roles",)), {"name": USER})
    lost = old.runtimes["agent"]
    lose(old)

    unclaimed = Life(servers, old.names.tenant, {"displayName": "Acme"})
    claim(unclaimed, "11111111-1111-4111-8111-111111111111")
    with pytest.raises(NotSettledError, match="NameTaken"):
        unclaimed.settle(patience=SECONDS)
    lose(unclaimed)

    tenant = Life(servers, old.names.tenant, {"displayName": "Acme"})
    claim(tenant, old.names.uid)
    tenant.settle()
    live_in(tenant, old.names.uid)
    status = servers.kube.get(Ref(TENANT, "", tenant.names.tenant))["status"]
    assert (status["vaultNamespace"], status["adoptedUID"]) == (old.names.vault_namespace, old.names.uid)
    namespace = servers.kube.get(Ref(NAMESPACE, "", tenant.names.namespace))
    assert namespace["metadata"]["labels"]["axonos.ai/owner-uid"] == tenant.names.uid
    state = tenant.state()
    assert state["OpenBao kv/metadata/org/app/a"] == 1
    assert not state["OpenBao leases"]
    assert f"Keycloak roles {USER}" in state
    assert tenant.settle(again=True).writes == ()

    tenant.runtime("agent", {"image": "registry.example/agent:1"})
    tenant.binding("one", "agent", "app/a")
    # the old runtime's Deployment, role, policy and client
    removed = {trace.owner for trace in sweep(tenant).removed}
    assert removed >= {lost.uid, lost.principal}
    assert not removed & {tenant.runtimes["agent"].uid, tenant.runtimes["agent"].principal}
    tenant.settle()
    # the new runtime's own login, with its own role
    assert tenant.state()["OpenBao leases"]
    assert tenant.settle(again=True).writes == ()
    for kind, name in ((BINDING, "one"), (RUNTIME, "agent"), (TENANT, tenant.names.tenant)):
        tenant.delete(kind, name)
    tenant.settle()
    assert tenant.state() == {}
