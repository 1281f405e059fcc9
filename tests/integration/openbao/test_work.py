"""Everything that the operator does in OpenBao, with the policy that is shipped and no other right."""

import time

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.api.tenant import TenantSpec
from axon_operator.backends.errors import Waiting
from axon_operator.backends.vault.adapter import OpenBao
from axon_operator.domain.names import TenantNames
from axon_operator.domain.resources import VaultPath
from axon_operator.domain.runtime.vault import served_path, vault_refs
from axon_operator.domain.tenant import vault as tenant_vault
from axon_operator.domain.values import as_planned
from integration.openbao.tenants import CLUSTER, make, planned, runtime
from servers.bao import Bao
from servers.kube import Kube

TENANT = TenantSpec()


def test_what_is_written_reads_back_as_planned(vault: OpenBao, tenant: TenantNames) -> None:
    """Else the operator would write it again with every pass."""
    for resource in planned(tenant, "0000"):
        # what a mount is configured with is there with the mount
        assert not as_planned(vault.read(resource.at), resource.body), resource.at
        written = resource.maker or resource
        vault.write(written.at, written.body)
        assert as_planned(vault.read(resource.at), resource.body), resource.at


def test_what_can_be_written_again_is_as_planned_again(vault: OpenBao, tenant: TenantNames) -> None:
    """A pass that crashed half-way repeats its writes."""
    make(vault, tenant)
    for resource in planned(tenant, "0000"):
        written = resource.maker or resource
        if resource.fixed or resource.maker:
            with pytest.raises(Waiting) as appeared:
                vault.write(written.at, written.body)
            assert appeared.value.reason is Reason.PROGRESSING
        else:
            vault.write(resource.at, resource.body)
        assert as_planned(vault.read(resource.at), resource.body), resource.at


def test_runtime_logs_in_and_is_cut_off_when_the_tenant_is_suspended(
    vault: OpenBao, bao: Bao, kube: Kube, tenant: TenantNames
) -> None:
    of_runtime = runtime(tenant)
    principal, home = of_runtime.names.principal, f"axon/{tenant.vault_namespace}"
    make(vault, tenant, kube.service_account(tenant.namespace, principal))
    bao.admin("POST", home, "kv/data/org/billing/stripe", {"data": {"api_key": "k"}})
    status, login = bao.log_in(home, principal, kube.token(tenant.namespace, principal, "openbao"))
    assert status == 200, login
    token = login["auth"]["client_token"]
    assert bao.call("GET", home, "kv/data/org/billing/stripe", token)[0] == 200

    leases = VaultPath(tenant.vault_namespace, "sys/leases/lookup")
    # the kinds of leases, and none of their ids
    assert vault.list(leases) == ("auth/",)
    vault.write(VaultPath(tenant.vault_namespace, "sys/leases/revoke-prefix/auth"), {"sync": True})
    assert bao.call("GET", home, "kv/data/org/billing/stripe", token)[0] == 403
    assert vault.list(leases) == ()


def test_lock_and_unlock_can_be_repeated(vault: OpenBao, tenant: TenantNames) -> None:
    make(vault, tenant)
    at = tenant_vault.namespace_path(tenant)
    mount = VaultPath(tenant.vault_namespace, "sys/mounts/kv")
    lock, unlock = (
        VaultPath("", f"sys/namespaces/api-lock/{verb}/{tenant.vault_namespace}") for verb in ("lock", "unlock")
    )
    for _ in range(2):
        vault.write(lock, {})
        assert (vault.read(at) or {})["locked"] is True
    for call in (vault.read, vault.list, vault.delete, lambda path: vault.write(path, {})):
        with pytest.raises(Waiting) as locked:
            call(mount)
        assert locked.value.reason is Reason.VAULT_LOCKED
    for _ in range(2):
        vault.write(unlock, {})
        assert (vault.read(at) or {})["locked"] is False
    assert vault.read(mount)


def test_a_suspension_is_marked_and_taken_back_also_while_locked(
    vault: OpenBao, bao: Bao, kube: Kube, tenant: TenantNames
) -> None:
    """The mark is what a resumption that was cut off is completed by."""
    of_runtime = runtime(tenant)
    principal, home = of_runtime.names.principal, f"axon/{tenant.vault_namespace}"
    make(vault, tenant, kube.service_account(tenant.namespace, principal))
    role = VaultPath(tenant.vault_namespace, f"auth/k8s/role/{principal}")
    revoke = VaultPath(tenant.vault_namespace, "sys/leases/revoke-prefix/auth")
    closed, opened = (tenant_vault.namespace(tenant, TenantSpec(suspended=s), CLUSTER) for s in (True, False))
    vault.delete(role)
    # nobody can log in, and revoking nothing is fine
    assert bao.log_in(home, principal, kube.token(tenant.namespace, principal, "openbao"))[0] != 200
    vault.write(revoke, {"sync": True})
    vault.write(VaultPath("", f"sys/namespaces/api-lock/lock/{tenant.vault_namespace}"), {})
    for planned_mark in (closed, opened, closed):
        vault.write(planned_mark.at, planned_mark.body)
        assert as_planned(vault.read(planned_mark.at), planned_mark.body)
    assert (vault.read(closed.at) or {})["locked"] is True
    vault.write(VaultPath("", f"sys/namespaces/api-lock/unlock/{tenant.vault_namespace}"), {})
    vault.write(revoke, {"sync": True})
    vault.write(opened.at, opened.body)
    assert as_planned(vault.read(opened.at), opened.body)


def test_roles_of_a_mount_that_is_not_there_yet_are_none(vault: OpenBao, tenant: TenantNames) -> None:
    namespace = tenant_vault.namespace(tenant, TENANT, CLUSTER)
    vault.write(namespace.at, namespace.body)
    for path in ("auth/k8s/role", "auth/keycloak/role", "sys/leases/lookup"):
        assert vault.list(VaultPath(tenant.vault_namespace, path)) == ()


def test_which_keys_a_secret_has_is_read_without_their_values(vault: OpenBao, bao: Bao, tenant: TenantNames) -> None:
    make(vault, tenant)
    home = f"axon/{tenant.vault_namespace}"
    at = VaultPath(tenant.vault_namespace, "kv/subkeys/org/billing/stripe")
    assert vault.read(at) is None
    bao.admin("POST", home, "kv/data/org/billing/stripe", {"data": {"api_key": "c4n4ry", "nested": {"a": "c4n4ry"}}})
    found = vault.read(at)
    assert found is not None
    assert found["subkeys"] == {"api_key": None, "nested": {"a": None}}
    assert "c4n4ry" not in repr(found)
    bao.admin("DELETE", home, "kv/data/org/billing/stripe")
    assert vault.read(at) is None


def test_what_pods_report_is_read_listed_and_removed(vault: OpenBao, bao: Bao, tenant: TenantNames) -> None:
    make(vault, tenant)
    names = runtime(tenant).names
    folder, entry = (served_path(names, tenant, pod) for pod in ("", "pod-1"))
    assert vault.list(folder) == ()
    assert vault.read(entry) is None
    bao.admin("POST", f"axon/{tenant.vault_namespace}", entry.path, {"revision": "r1"})
    assert vault.list(folder) == ("pod-1",)
    assert vault.read(entry) == {"revision": "r1"}
    for _ in range(2):
        vault.delete(entry)
    assert vault.list(folder) == ()


def test_a_runtimes_role_and_policy_are_listed_and_removed(vault: OpenBao, tenant: TenantNames) -> None:
    make(vault, tenant)
    principal = runtime(tenant).names.principal
    roles, policies = (VaultPath(tenant.vault_namespace, path) for path in ("auth/k8s/role", "sys/policies/acl"))
    assert vault.list(roles) == (principal,)
    assert set(vault.list(policies)) == {"default", tenant_vault.ORG_ADMIN, principal}
    for at in vault_refs(runtime(tenant).names, tenant):
        for _ in range(2):
            vault.delete(at)
        assert vault.read(at) is None
    assert vault.list(roles) == ()
    assert principal not in vault.list(policies)


def test_a_namespace_is_deleted_locked_or_not(vault: OpenBao, tenant: TenantNames) -> None:
    at = tenant_vault.namespace_path(tenant)
    for locked in (False, True):
        make(vault, tenant)
        if locked:
            vault.write(VaultPath("", f"sys/namespaces/api-lock/lock/{tenant.vault_namespace}"), {})
        for _ in range(2):
            vault.delete(at)
        deadline = time.monotonic() + 30
        while vault.read(at) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # of what was in it, nothing is left to be found by the next owner of the name
        assert vault.list(VaultPath(tenant.vault_namespace, "sys/policies/acl")) == ()


def test_what_needs_an_absent_namespace_waits_for_it(vault: OpenBao, tenant: TenantNames) -> None:
    inside = VaultPath(tenant.vault_namespace, "sys/policies/acl/x")
    assert vault.read(inside) is None
    vault.delete(inside)
    with pytest.raises(Waiting) as absent:
        vault.write(inside, {"policy": 'path "x" { capabilities = ["read"] }'})
    assert absent.value.reason is Reason.DEPENDENCY_NOT_READY


def test_a_foreign_namespace_shows_that_it_has_no_mark(vault: OpenBao, bao: Bao, tenant: TenantNames) -> None:
    """So that the reconciler can refuse to touch it; OpenBao itself does not know whose it is."""
    at = tenant_vault.namespace_path(tenant)
    bao.admin("POST", "axon", at.path, {"custom_metadata": {"team": "payments"}})
    found = vault.read(at)
    assert found is not None
    assert found["custom_metadata"] == {"team": "payments"}


def test_all_tenants_are_listed(vault: OpenBao, tenant: TenantNames) -> None:
    make(vault, tenant)
    assert f"{tenant.vault_namespace}/" in vault.list(VaultPath("", "sys/namespaces"))
