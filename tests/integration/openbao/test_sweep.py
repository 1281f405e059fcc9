"""The orphan sweep on a real OpenBao, with the policy that is shipped and no other right."""

import datetime
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
from cryptography import x509

from axon_operator.api.reasons import Reason
from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.adapter import OpenBao
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.resources import (
    RUNTIME,
    TENANT,
    Manifest,
    RealmPath,
    Ref,
    Resource,
    VaultPath,
)
from axon_operator.domain.tenant import databases
from axon_operator.reconcile.engine.plan import Backends
from axon_operator.reconcile.sweep import Report, Sweep
from axon_operator.reconcile.sweep.orphans import OPENBAO, Graces
from axon_operator.reconcile.tenant import TenantReconciler
from integration.openbao.accounts import Accounts, connect
from integration.openbao.tenants import CLUSTER, PLATFORM, issues, make, runtime
from servers.bao import Bao
from servers.kube import Kube
from servers.postgres import Postgres

GRACES = Graces(access=10, tenant=100)


class Declared:
    """Stands for the API server where it is not what is tested: the objects that exist, and nothing in namespaces."""

    def __init__(self) -> None:
        self.objects: list[Manifest] = []

    def cluster(self) -> str:
        return CLUSTER

    def get(self, ref: Ref) -> Manifest | None:
        return None

    def list(
        self, resource: Resource, namespace: str, selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        return tuple(o for o in self.objects if o["kind"] == resource.kind)


class NoRealms:
    """Stands for Keycloak: it has no realm."""

    def read(self, path: RealmPath) -> Mapping[str, Any] | None:
        return None


class Sweeping:
    """A sweep whose clock the test moves."""

    def __init__(self, vault: OpenBao) -> None:
        self.declared = Declared()
        self.now = 0.0
        to = Backends(cast("Kubernetes", self.declared), vault, cast("Keycloak", NoRealms()))
        tenants = TenantReconciler(to, PLATFORM)
        self._sweep = Sweep(
            to,
            GRACES,
            lambda live: tenants.plan(tenants.gather(live, ask=True)),
            audit=lambda *_: None,
            now=lambda: datetime.datetime.now(datetime.UTC),
            clock=lambda: self.now,
        )

    def run(self, after: float = 0) -> Report:
        self.now += after
        return self._sweep.run()

    def declare(self, resource: Resource, name: str, uid: str, namespace: str = "") -> None:
        metadata = {"name": name, "uid": uid, **({"namespace": namespace} if namespace else {})}
        self.declared.objects.append(
            {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": {}}
        )


@pytest.fixture
def sweeping(vault: OpenBao, bao: Bao) -> Iterator[Sweeping]:
    """Everything that other tests left counts as somebody's: only this test's things may be orphans. And more tenants
    live than this test loses, whichever tests ran before."""
    sweeping = Sweeping(vault)
    for name in ("one", "two"):
        sweeping.declare(TENANT, name, f"uid-{name}")
    for key in vault.list(VaultPath("", "sys/namespaces")):
        mark = (vault.read(VaultPath("", f"sys/namespaces/{key.rstrip('/')}")) or {}).get("custom_metadata") or {}
        if uid := mark.get("axon_owner_uid"):
            sweeping.declare(TENANT, f"other-{len(sweeping.declared.objects)}", uid)
            sweeping.declared.objects[-1]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    yield sweeping
    vault.delete(VaultPath("", f"sys/namespaces/{TenantNames('', 'lost').vault_namespace}"))


def roles_and_policies(vault: OpenBao, tenant: TenantNames) -> set[str]:
    return {
        f"{folder}/{name}"
        for folder in ("auth/k8s/role", "sys/policies/acl", "runtime-status")
        for name in vault.list(VaultPath(tenant.vault_namespace, folder))
    }


def test_what_a_lost_runtime_left_is_found_and_removed_and_the_living_ones_stays(
    vault: OpenBao, bao: Bao, sweeping: Sweeping, tenant: TenantNames
) -> None:
    make(vault, tenant)
    living = runtime(tenant).names
    lost = RuntimeNames(tenant.namespace, "lost", "uid-lost").principal
    home = f"axon/{tenant.vault_namespace}"
    bao.admin("POST", home, f"runtime-status/{living.principal}/pod", {"revision": "r"})
    bao.admin("POST", home, "sys/policies/acl/hand-made", {"policy": 'path "x" { capabilities = ["read"] }'})
    before = roles_and_policies(vault, tenant)
    role = bao.admin("GET", home, f"auth/k8s/role/{living.principal}")
    bao.admin("POST", home, f"auth/k8s/role/{lost}", {**role, "allowed_redirect_uris": []})
    bao.admin("POST", home, f"sys/policies/acl/{lost}", {"policy": 'path "x" { capabilities = ["read"] }'})
    for pod in ("pod-1", "pod-2"):
        bao.admin("POST", home, f"runtime-status/{lost}/{pod}", {"revision": "r"})
    sweeping.declare(TENANT, tenant.tenant, tenant.uid)
    sweeping.declare(RUNTIME, living.runtime, living.uid, living.namespace)

    found = sweeping.run()
    assert found.problems == {}
    assert {(t.system, t.kind, t.owner) for t in found.new} == {
        (OPENBAO, kind, lost) for kind in ("Role", "Policy", "Record")
    }
    assert sweeping.run(after=9).removed == ()
    report = sweeping.run(after=2)
    assert report.problems == {}
    assert set(report.removed) == found.new
    assert roles_and_policies(vault, tenant) == before


class Issues:
    """What a runtime has in OpenBao for its bindings, made as the operator and its pods and users make it."""

    def __init__(self, vault: OpenBao, bao: Bao, tenant: TenantNames, runtime: RuntimeNames) -> None:
        self.planned = issues(runtime, tenant)
        home = f"axon/{tenant.vault_namespace}"
        for resource in self.planned.values():
            written = resource.maker or resource
            vault.write(written.at, written.body)
        self.certificates = self.planned["pki"].at.path.rpartition("/")[2]
        uri = {"uri_sans": self.planned["pki"].body["allowed_uri_sans"][0]}
        pem = bao.admin("POST", home, f"pki/issue/{self.certificates}", uri)["certificate"]
        self.serial = x509.load_pem_x509_certificate(pem.encode()).serial_number
        bao.admin("POST", home, f"kv/data/generated/{runtime.issues}g-0123456789.1", {"data": {"value": "x"}})
        for folder in (runtime.uid, f"{runtime.uid}.0123456789ab"):
            for path in ("alice/github/token", "bob/key"):
                bao.admin("POST", home, f"kv/data/grants/{folder}/{path}", {"data": {"ciphertext": "vault:v1:x"}})


def everything(vault: OpenBao, tenant: TenantNames) -> set[str]:
    """By its places, but for the leases, and what is not made for runtimes."""
    folders = ("database/roles", "pki/roles", "kv/metadata/generated", "kv/metadata/runtimes", "transit/keys")
    lists = {f: vault.list(VaultPath(tenant.vault_namespace, f)) for f in folders}
    grants = vault.scan(VaultPath(tenant.vault_namespace, "kv/metadata/grants"))
    return {f"{folder}/{name}" for folder, names in {**lists, "grants": grants}.items() for name in names}


def test_what_was_issued_and_granted_to_a_lost_runtime_is_taken_back(
    vault: OpenBao, bao: Bao, sweeping: Sweeping, tenant: TenantNames
) -> None:
    make(vault, tenant)
    connect(vault, tenant)
    home = f"axon/{tenant.vault_namespace}"
    living, lost = (
        RuntimeNames(tenant.namespace, name, f"7f3f6c2e-0000-4000-8000-00000000000{n}")
        for n, name in enumerate(("agent", "lost"))
    )
    sweeping.declare(TENANT, tenant.tenant, tenant.uid)
    for names in (living, runtime(tenant).names):
        sweeping.declare(RUNTIME, names.runtime, names.uid, names.namespace)
    kept = Issues(vault, bao, tenant, living)
    # of somebody else, in the same places
    bao.admin("POST", home, "transit/keys/user-alice", {"type": "aes256-gcm96"})
    bao.admin("POST", home, "pki/roles/hand-made", {"allow_any_name": True})
    bao.admin("POST", home, "kv/data/grants/notes/alice/mine", {"data": {"ciphertext": "x"}})
    before = everything(vault, tenant)
    gone = Issues(vault, bao, tenant, lost)

    found = sweeping.run()
    assert found.problems == {}
    kinds = sorted(t.kind for t in found.new)
    assert kinds == ["CertificateRole", "DatabaseRole", "Entry", "GeneratedValue", "Grant", "Grant", "Key"]
    assert sweeping.run(after=9).removed == ()
    report = sweeping.run(after=2)
    assert report.problems == {}
    assert set(report.removed) == found.new
    assert everything(vault, tenant) == before
    assert vault.list(VaultPath(tenant.vault_namespace, "sys/leases/lookup/pki/issue")) == (f"{kept.certificates}/",)
    crl = x509.load_pem_x509_crl(bao.admin("GET", home, "pki/cert/crl")["certificate"].encode())
    assert {certificate.serial_number for certificate in crl} == {gone.serial}
    assert sweeping.run(after=1000).known == frozenset()


def test_certificates_whose_role_is_gone_already_are_found_by_their_leases(
    vault: OpenBao, bao: Bao, sweeping: Sweeping, tenant: TenantNames
) -> None:
    """As after a crash between the end of a role and that of what it had issued."""
    make(vault, tenant)
    sweeping.declare(TENANT, tenant.tenant, tenant.uid)
    sweeping.declare(RUNTIME, "agent", tenant.uid, tenant.namespace)
    lost = RuntimeNames(tenant.namespace, "lost", "uid-lost")
    role = issues(lost, tenant)["pki"]
    vault.write(role.at, role.body)
    name, uri = role.at.path.rpartition("/")[2], {"uri_sans": role.body["allowed_uri_sans"][0]}
    bao.admin("POST", f"axon/{tenant.vault_namespace}", f"pki/issue/{name}", uri)
    vault.delete(role.at)
    (found,) = sweeping.run().new
    assert found.kind == "CertificateRole"
    assert sweeping.run(after=11).removed == (found,)
    assert vault.list(VaultPath(tenant.vault_namespace, "sys/leases/lookup/pki/issue")) == ()


def test_accounts_of_a_lost_runtime_end_with_the_grace_also_when_their_database_was_away(
    accounts: Accounts, vault: OpenBao, postgres: Postgres, sweeping: Sweeping, tenant: TenantNames
) -> None:
    account = accounts.make()
    sweeping.declare(TENANT, tenant.tenant, tenant.uid)
    sweeping.declare(RUNTIME, "agent", tenant.uid, tenant.namespace)
    (found,) = sweeping.run().new
    assert str(found.at).endswith(f"/database/roles/{accounts.role}")
    assert sweeping.run(after=9).removed == ()
    postgres.stop()
    try:
        (problem,) = sweeping.run(after=2).problems.values()
        assert problem.reason == Reason.DATABASE_UNREACHABLE
        # nobody has an account made any more, all the same
        assert vault.list(databases.roles(tenant)) == ()
    finally:
        postgres.start()
    assert postgres.logs_in(*account)
    assert sweeping.run().removed == (found,)
    assert accounts.left() == ()
    assert not postgres.logs_in(*account)


def test_a_lost_tenant_is_found_by_its_mark_and_removed_with_its_logins(
    vault: OpenBao, bao: Bao, kube: Kube, sweeping: Sweeping
) -> None:
    tenant = TenantNames("lost", "lost")
    principal = runtime(tenant).names.principal
    make(vault, tenant, kube.service_account(tenant.namespace, principal))
    home = f"axon/{tenant.vault_namespace}"
    jwt = kube.token(tenant.namespace, principal, "openbao")
    status, login = bao.log_in(home, principal, jwt)
    assert status == 200, login
    token = login["auth"]["client_token"]
    foreign = VaultPath("", "sys/namespaces/team-payments")
    bao.admin("POST", "axon", foreign.path, {"custom_metadata": {"team": "payments"}})

    found = sweeping.run()
    assert {(t.kind, t.owner, t.tenant) for t in found.known} == {("Namespace", "lost", "lost")}
    assert sweeping.run(after=99).removed == ()
    report = sweeping.run(after=2)
    assert report.problems == {}
    assert set(report.removed) == found.known
    assert vault.read(VaultPath("", f"sys/namespaces/{tenant.vault_namespace}")) is None
    assert bao.call("GET", home, "auth/token/lookup-self", token)[0] in {403, 404}
    assert vault.read(foreign) is not None
    bao.admin("DELETE", "axon", foreign.path)


def test_a_locked_namespace_of_a_lost_tenant_is_removed(vault: OpenBao, sweeping: Sweeping) -> None:
    tenant = TenantNames("lost", "lost")
    wait_gone(vault, tenant)
    make(vault, tenant)
    vault.write(VaultPath("", f"sys/namespaces/api-lock/lock/{tenant.vault_namespace}"), {})
    sweeping.run()
    assert len(sweeping.run(after=101).removed) == 1


def test_a_locked_namespace_of_a_living_tenant_hides_what_is_in_it_and_nothing_is_concluded(
    vault: OpenBao, sweeping: Sweeping, tenant: TenantNames
) -> None:
    make(vault, tenant)
    sweeping.declare(TENANT, tenant.tenant, tenant.uid)
    found = sweeping.run()
    assert {t.kind for t in found.known} == {"Role", "Policy"}
    lock = f"sys/namespaces/api-lock/{{}}/{tenant.vault_namespace}"
    vault.write(VaultPath("", lock.format("lock")), {})
    report = sweeping.run(after=1000)
    assert (report.known, report.removed) == (found.known, ())
    assert len(report.problems) == 1
    vault.write(VaultPath("", lock.format("unlock")), {})
    assert set(sweeping.run().removed) == found.known


def wait_gone(vault: OpenBao, tenant: TenantNames) -> None:
    deadline = time.monotonic() + 30
    while vault.read(VaultPath("", f"sys/namespaces/{tenant.vault_namespace}")) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
