"""What the operator does in OpenBao for SecretBindings, with the policy that is shipped and no other right.

What it cannot do stands in test_attacks.py.
"""

from typing import cast

import pytest
from cryptography import x509

from axon_operator.backends.errors import Denied
from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.adapter import OpenBao
from axon_operator.domain.issue import as_written
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.resources import VaultPath
from axon_operator.domain.tenant import databases
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.engine.plan import (
    Backends,
    VaultDelete,
    VaultDeleteKey,
    VaultRenew,
    VaultRevoke,
    VaultWrite,
)
from integration.openbao.accounts import Accounts, connect
from integration.openbao.tenants import ORDERS, issues, make
from servers.bao import Bao


class Hand:
    """The operator's hand in one tenant's namespace."""

    def __init__(self, vault: OpenBao, bao: Bao, tenant: TenantNames) -> None:
        self.vault, self.tenant, self._bao = vault, tenant, bao
        self.runtime = RuntimeNames(tenant.namespace, "agent-1", "uid-1")
        self.backends = Backends(cast("Kubernetes", None), vault, cast("Keycloak", None))

    def at(self, path: str) -> VaultPath:
        return VaultPath(self.tenant.vault_namespace, path)

    def admin(self, method: str, path: str, body: object = None) -> dict[str, object]:
        found: dict[str, object] = self._bao.admin(method, f"axon/{self.tenant.vault_namespace}", path, body)
        return found


@pytest.fixture
def hand(vault: OpenBao, bao: Bao, tenant: TenantNames) -> Hand:
    make(vault, tenant)
    return Hand(vault, bao, tenant)


def test_what_is_planned_for_bindings_is_written_and_reads_back_as_planned(hand: Hand) -> None:
    connect(hand.vault, hand.tenant)
    planned = issues(hand.runtime, hand.tenant)
    assert planned.keys() == {"database", "pki", "generated", "key", "directory"}
    for _ in range(2):
        for resource in planned.values():
            written = resource.maker or resource
            hand.vault.write(written.at, written.body)
            assert as_planned(as_written(resource.at, hand.vault.read(resource.at)), resource.body)
    for kind in ("database", "pki"):
        hand.vault.delete(planned[kind].at)
        hand.vault.delete(planned[kind].at)
        assert hand.vault.read(planned[kind].at) is None
    assert hand.vault.list(databases.roles(hand.tenant)) == ()


def test_accounts_are_kept_and_their_passwords_changed_and_never_read(accounts: Accounts) -> None:
    vault, postgres, tenant = accounts.vault, accounts.postgres, accounts.tenant
    postgres.sql("CREATE ROLE orders_app LOGIN PASSWORD 'first'")
    kept = databases.kept_account(tenant, ORDERS, ORDERS.roles[-1])
    known = ["first"]
    try:
        for _ in range(2):
            vault.write(kept.at, kept.body)
            assert as_planned(vault.read(kept.at), kept.body)
        for then in (VaultWrite(kept.at, kept.body), VaultDelete(kept.at)):
            known.append(accounts.password("orders.app"))
            before = databases.changed_at(vault.read(kept.at) or {})
            assert postgres.logs_in("orders_app", known[-1])
            VaultRenew(kept.at, then).apply(Backends(cast("Kubernetes", None), vault, cast("Keycloak", None)))
            assert databases.changed_at(vault.read(kept.at) or {}) > before
            assert not any(postgres.logs_in("orders_app", password) for password in known)
        with pytest.raises(Denied):
            vault.read(VaultPath(tenant.vault_namespace, "database/static-creds/orders.app"))
        assert vault.list(databases.kept(tenant)) == ("orders.app",)
        vault.delete(kept.at)
        assert vault.read(kept.at) is None
    finally:
        postgres.sql("DROP ROLE orders_app")


def test_who_was_given_a_password_is_noted_once(hand: Hand) -> None:
    name = f"orders.app.{hand.runtime.issues}kept-0123456789.1"
    note = {"data": {"account": "orders.app"}, "options": {"cas": 0}}
    assert hand.vault.list(hand.at("kv/metadata/accounts")) == ()
    hand.vault.write(hand.at(f"kv/data/accounts/{name}"), note)
    assert hand.vault.list(hand.at("kv/metadata/accounts")) == (name,)
    hand.vault.delete(hand.at(f"kv/metadata/accounts/{name}"))
    assert hand.vault.list(hand.at("kv/metadata/accounts")) == ()


def test_certificates_are_revoked_by_the_name_of_their_issue_and_told(hand: Hand) -> None:
    role = issues(hand.runtime, hand.tenant)["pki"]
    hand.vault.write(role.at, role.body)
    name = role.at.path.rpartition("/")[2]
    uri = {"uri_sans": role.body["allowed_uri_sans"][0]}
    made = [str(hand.admin("POST", f"pki/issue/{name}", uri)["certificate"]) for _ in range(2)]
    serials = {x509.load_pem_x509_certificate(pem.encode()).serial_number for pem in made}
    issued = hand.at("sys/leases/lookup/pki/issue")
    assert hand.vault.list(issued) == (f"{name}/",)
    # also when the role went first
    hand.vault.delete(role.at)
    VaultRevoke(hand.at(f"pki/issue/{name}")).apply(hand.backends)
    assert hand.vault.list(issued) == ()
    told = x509.load_pem_x509_crl(str(hand.admin("GET", "pki/cert/crl")["certificate"]).encode())
    assert {certificate.serial_number for certificate in told} == serials


def test_a_generated_value_is_written_once_and_goes_when_it_is_removed(hand: Hand) -> None:
    policy, name = issues(hand.runtime, hand.tenant)["generated"], f"{hand.runtime.issues}token-0123456789.1"
    hand.vault.write(policy.at, policy.body)
    value = (hand.vault.read(VaultPath(policy.at.namespace, f"{policy.at.path}/generate")) or {})["password"]
    assert len(value) == 100
    data, metadata = (hand.at(f"kv/{what}/generated/{name}") for what in ("data", "metadata"))
    assert hand.vault.read(metadata) is None
    for _ in range(2):
        hand.vault.write(data, {"data": {"value": value}, "options": {"cas": 0}})
        assert (hand.vault.read(metadata) or {})["current_version"] == 1
        assert hand.vault.list(hand.at("kv/metadata/generated")) == (name,)
        hand.vault.delete(metadata)
        assert hand.vault.list(hand.at("kv/metadata/generated")) == ()


def test_a_runtimes_key_is_deleted_also_when_it_is_gone_already(hand: Hand) -> None:
    key = issues(hand.runtime, hand.tenant)["key"]
    assert key.maker is not None
    hand.vault.write(key.maker.at, key.maker.body)
    assert hand.runtime.principal in hand.vault.list(hand.at("transit/keys"))
    VaultDeleteKey(key.at).apply(hand.backends).apply(hand.backends)
    assert hand.vault.read(key.at) is None
    hand.vault.delete(key.at)


def test_runtimes_are_told_to_users_and_forgotten(hand: Hand) -> None:
    entry = issues(hand.runtime, hand.tenant)["directory"]
    hand.vault.write(entry.at, entry.body)
    names = hand.at("kv/metadata/runtimes")
    assert hand.vault.list(names) == (hand.runtime.runtime,)
    hand.vault.delete(hand.at(f"kv/metadata/runtimes/{hand.runtime.runtime}"))
    assert hand.vault.list(names) == ()
    assert hand.vault.read(entry.at) is None


def test_where_grants_are_is_seen_and_they_can_be_removed(hand: Hand) -> None:
    grants = hand.at("kv/metadata/grants")
    assert hand.vault.scan(grants) == ()
    for path in ("uid-1/alice/github/token", "uid-1.0123456789ab/bob/key"):
        hand.admin("POST", f"kv/data/grants/{path}", {"data": {"ciphertext": "vault:v1:x"}})
    assert set(hand.vault.scan(grants)) == {"uid-1/alice/github/token", "uid-1.0123456789ab/bob/key"}
    assert hand.vault.scan(hand.at("kv/metadata/grants/uid-1")) == ("alice/github/token",)
    there = hand.vault.read(hand.at("kv/subkeys/grants/uid-1/alice/github/token")) or {}
    assert there["subkeys"] == {"ciphertext": None}
    hand.vault.delete(hand.at("kv/metadata/grants/uid-1/alice/github/token"))
    assert hand.vault.scan(grants) == ("uid-1.0123456789ab/bob/key",)
