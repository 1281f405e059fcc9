"""A Tenant in the three systems, by the operator's own controllers."""

from axon_operator.domain.names import PROFILE_LABEL
from axon_operator.domain.resources import NAMESPACE, TENANT, Ref
from e2e.support.cluster import GLASS_ANNOTATION
from integration.tenant.conftest import NewTenant


def test_a_settled_tenant_is_left_alone_and_a_deleted_one_leaves_nothing(new_tenant: NewTenant) -> None:
    tenant = new_tenant({"displayName": "Acme"})
    tenant.settle()
    made = tenant.state()
    assert "Keycloak realm" in made
    assert "OpenBao namespace" in made
    assert tenant.settle(again=True).writes == ()
    tenant.delete(TENANT, tenant.names.tenant)
    tenant.settle()
    assert tenant.state() == {}


def test_a_namespace_says_to_which_profile_its_tenant_keeps(new_tenant: NewTenant) -> None:
    """There the admission policies of runtimes and bindings look for it."""
    tenant = new_tenant({"governance": {"profile": "baseline"}})
    tenant.settle()
    kube, home = tenant.kube, Ref(NAMESPACE, "", tenant.names.namespace)
    (told,) = (c for c in tenant.objects()[0]["status"]["conditions"] if c["type"] == "Compliant")
    assert (told["status"], told["message"]) == ("True", "Keeps to GovernanceProfile baseline.")
    for drift in ("another", None):
        # only behind a broken glass
        kube.patch(home, {"metadata": {"labels": {PROFILE_LABEL: drift}, "annotations": {GLASS_ANNOTATION: "drift"}}})
        assert tenant.settle(again=True).writes
        assert kube.get(home)["metadata"]["labels"][PROFILE_LABEL] == "baseline"
    tenant.edit(TENANT, tenant.names.tenant, {"governance": {"profile": None}})
    tenant.settle()
    assert PROFILE_LABEL not in kube.get(home)["metadata"]["labels"]
    assert tenant.settle(again=True).writes == ()
