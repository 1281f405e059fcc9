"""What somebody who stole the operator's OpenBao token cannot do: requests sent raw, past all checks of ours."""

import datetime
from typing import Any

import pytest
from cryptography import x509

from axon_operator.backends.vault.adapter import OpenBao
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.resources import VaultPath, VaultResource
from axon_operator.domain.tenant import databases
from integration.openbao.accounts import CONNECTION, connect
from integration.openbao.tenants import ORDERS, issues, make
from servers.bao import Bao

POLICY = {"policy": 'path "*" { capabilities = ["read"] }'}
ROLE = {"role_type": "jwt", "user_claim": "sub", "bound_subject": "x", "token_policies": ["axon-operator"]}


class Thief:
    """Requests with the stolen token; `HOME` in a path or namespace is a tenant's."""

    def __init__(self, bao: Bao, token: str, home: str) -> None:
        self._bao, self._token, self._home = bao, token, home

    def refused(self, method: str, namespace: str, path: str, body: Any = None, *, status: int = 403) -> None:
        namespace, path = (text.replace("HOME", self._home) for text in (namespace, path))
        got, answer = self._bao.call(method, namespace, path, self._token, body)
        assert got == status, f"{method} {namespace} {path}: {got} {answer}"


@pytest.fixture
def thief(bao: Bao, vault: OpenBao, operator_token: str, tenant: TenantNames) -> Thief:
    make(vault, tenant)
    home = f"axon/{tenant.vault_namespace}"
    for path in ("org/billing/stripe", "users/alice/key"):
        bao.admin("POST", home, f"kv/data/{path}", {"data": {"api_key": "c4n4ry"}})
    return Thief(bao, operator_token, tenant.vault_namespace)


@pytest.fixture
def victim(tenant: TenantNames) -> RuntimeNames:
    """A runtime of the tenant, by the name that stands in its roles and keys."""
    return RuntimeNames(tenant.namespace, "victim", "uid-victim")


@pytest.mark.parametrize("path", ["org/billing/stripe", "users/alice/key"])
def test_values_of_secrets(thief: Thief, path: str) -> None:
    thief.refused("GET", "axon/HOME", f"kv/data/{path}")
    # the same resource, named in other ways
    thief.refused("GET", "axon", f"HOME/kv/data/{path}")
    thief.refused("GET", "", f"axon/HOME/kv/data/{path}")
    for method, version in (("GET", "metadata"), ("POST", "data"), ("DELETE", "data"), ("DELETE", "metadata"),
                            ("POST", "delete"), ("POST", "undelete"), ("POST", "destroy")):  # fmt: skip
        thief.refused(method, "axon/HOME", f"kv/{version}/{path}", {"data": {}, "versions": [1]})


def test_values_that_were_generated(thief: Thief, bao: Bao, tenant: TenantNames, victim: RuntimeNames) -> None:
    home, path = f"axon/{tenant.vault_namespace}", f"generated/{victim.issues}token-0123456789.1"
    bao.admin("POST", home, f"kv/data/{path}", {"data": {"value": "c4n4ry"}})
    thief.refused("GET", "axon/HOME", f"kv/data/{path}")
    thief.refused("GET", "axon", f"HOME/kv/data/{path}")
    thief.refused("GET", "axon/HOME", f"kv/subkeys/{path}")
    # nor can one be put in its place that is known
    for body in ({"data": {"value": "mine"}}, {"data": {"value": "mine"}, "options": {"cas": 1}}):
        thief.refused("POST", "axon/HOME", f"kv/data/{path}", body)
    for version in ("metadata", "delete", "undelete", "destroy"):
        thief.refused("POST", "axon/HOME", f"kv/{version}/{path}", {"versions": [1]})
    thief.refused("DELETE", "axon/HOME", f"kv/data/{path}")
    assert bao.admin("GET", home, f"kv/data/{path}")["data"] == {"value": "c4n4ry"}


def test_other_values_than_generated_ones(thief: Thief) -> None:
    """It writes below the folder of generated values and into the directory of runtimes, and nowhere else."""
    for path in ("org/mine", "users/alice/mine", "grants/uid/alice/mine", "generated/deeper/mine", "mine"):
        thief.refused("POST", "axon/HOME", f"kv/data/{path}", {"data": {"value": "mine"}})
    for method, name in (("POST", "mine"), ("GET", "mine/generate"), ("DELETE", "axon-alphanumeric-32")):
        thief.refused(method, "axon/HOME", f"sys/policies/password/{name}", {"policy": "length = 20"})


def test_what_users_have_granted(thief: Thief, bao: Bao, tenant: TenantNames) -> None:
    """Where grants are it sees, and it removes those to runtimes that are gone."""
    home, path = f"axon/{tenant.vault_namespace}", "grants/uid-1/alice/github/token"
    bao.admin("POST", home, f"kv/data/{path}", {"data": {"ciphertext": "c4n4ry"}})
    for method, version in (("GET", "data"), ("POST", "data"), ("DELETE", "data"), ("GET", "metadata"),
                            ("POST", "metadata"), ("POST", "delete"), ("POST", "undelete"), ("POST", "destroy")):  # fmt: skip
        thief.refused(method, "axon/HOME", f"kv/{version}/{path}", {"data": {}, "versions": [1]})
        thief.refused(method, "axon", f"HOME/kv/{version}/{path}", {"data": {}, "versions": [1]})
    # one that it makes up, for a runtime of its own
    thief.refused("POST", "axon/HOME", "kv/data/grants/uid-2/alice/github/token", {"data": {"ciphertext": "mine"}})
    assert bao.admin("GET", home, f"kv/data/{path}")["data"] == {"ciphertext": "c4n4ry"}


@pytest.mark.parametrize("path", ["kv/metadata", "kv/metadata/org", "kv/metadata/users", "kv/metadata/users/alice"])
def test_names_of_secrets(thief: Thief, path: str) -> None:
    thief.refused("LIST", "axon/HOME", path)
    thief.refused("SCAN", "axon/HOME", path)


def test_names_of_keys_of_a_users_secret(thief: Thief) -> None:
    thief.refused("GET", "axon/HOME", "kv/subkeys/users/alice/key")


def test_forging_what_pods_report(thief: Thief) -> None:
    thief.refused("POST", "axon/HOME", "runtime-status/x/y", {"revision": "forged"})


@pytest.mark.parametrize("namespace", ["", "root", "axon/..", "/", "other"])
def test_the_root_namespace_and_its_other_children(bao: Bao, thief: Thief, namespace: str) -> None:
    bao.admin("POST", "", "sys/namespaces/other")
    for method, path, body in (
        ("GET", "sys/mounts", None),
        ("GET", "sys/auth", None),
        ("LIST", "sys/namespaces", None),
        ("GET", "sys/namespaces/axon", None),
        ("DELETE", "sys/namespaces/other", None),
        ("POST", "sys/namespaces/mine", {}),
        ("POST", "sys/namespaces/api-lock/lock/other", {}),
        ("GET", "sys/policies/acl/testbed-admin", None),
        ("POST", "sys/policies/acl/mine", POLICY),
        ("POST", "auth/k8s/role/mine", ROLE),
        ("POST", "sys/mounts/mine", {"type": "kv"}),
        ("POST", "auth/token/create", {}),
    ):
        thief.refused(method, namespace, path, body)


AUDIT = [
    ("GET", "sys/audit", None),
    ("POST", "sys/audit/mine", {"type": "file"}),
    ("DELETE", "sys/audit/main", None),
    ("POST", "sys/audit-hash/main", {"input": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), AUDIT)
def test_the_audit_log(thief: Thief, bao: Bao, method: str, path: str, body: Any) -> None:
    thief.refused(method, "", path, body)
    for namespace in ("axon", "axon/HOME"):
        # "operation only available in root namespace": that is said before rights are looked at
        thief.refused(method, namespace, path, body, status=400)
    assert "main/" in bao.admin("GET", "", "sys/audit")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "sys/seal"),
        ("POST", "sys/step-down"),
        ("GET", "sys/raw/core/keyring"),
        ("GET", "sys/storage/raft/snapshot"),
        ("POST", "sys/rotate"),
        ("POST", "sys/plugins/catalog/secret/x"),
        ("GET", "sys/config/state/sanitized"),
        ("POST", "sys/quotas/rate-limit/x"),
    ],
)
def test_the_server_itself(thief: Thief, bao: Bao, method: str, path: str) -> None:
    thief.refused(method, "", path, {})
    assert bao.call("GET", "", "sys/health")[0] == 200


def test_its_own_rights(thief: Thief) -> None:
    for method, path, body in (
        ("GET", "sys/policies/acl/axon-operator", None),
        ("POST", "sys/policies/acl/axon-operator", POLICY),
        ("POST", "sys/policies/acl/mine", POLICY),
        ("POST", "auth/k8s/role/axon-operator", ROLE),
        ("POST", "auth/k8s/role/mine", ROLE),
        ("POST", "auth/k8s/config", {"jwt_validation_pubkeys": ["mine"]}),
        ("POST", "sys/auth/mine", {"type": "userpass"}),
        ("POST", "sys/mounts/mine", {"type": "kv"}),
        ("POST", "auth/token/create", {"policies": ["axon-operator"]}),
        ("POST", "auth/token/renew-self", {"increment": "24h"}),
        ("POST", "identity/entity", {"name": "mine", "policies": ["axon-operator"]}),
    ):
        thief.refused(method, "axon", path, body)


def test_tokens_and_identities_of_a_tenant(thief: Thief) -> None:
    for method, path, body in (
        ("LIST", "auth/token/accessors", None),
        ("POST", "auth/token/create", {}),
        ("POST", "auth/token/lookup", {"token": "x"}),
        ("POST", "sys/leases/lookup", {"lease_id": "x"}),
        ("POST", "sys/leases/renew", {"lease_id": "x"}),
        ("LIST", "sys/leases/lookup/auth", None),
        ("LIST", "sys/leases/lookup/auth/k8s/login", None),
        ("POST", "sys/leases/revoke-force/auth/k8s", {}),
        ("POST", "sys/leases/revoke-prefix/auth/token", {}),
        ("LIST", "identity/entity/id", None),
        ("GET", "cubbyhole/x", None),
    ):
        thief.refused(method, "axon/HOME", path, body)


def test_names_under_which_users_log_in(thief: Thief, bao: Bao, tenant: TenantNames) -> None:
    """A forced logout needs an alias at the mount for users, and no more."""
    home = f"axon/{tenant.vault_namespace}"
    bao.admin("POST", home, "sys/auth/others", {"type": "userpass"})
    mounts = bao.admin("GET", home, "sys/auth")
    ours, others, tokens = (mounts[f"{mount}/"]["accessor"] for mount in ("k8s", "others", "token"))
    made = bao.admin("POST", home, "identity/entity", {"name": "administrator", "policies": ["org-admin"]})
    alias = {"name": "alice", "canonical_id": made["id"], "mount_accessor": others}
    there = bao.admin("POST", home, "identity/entity-alias", alias)
    for changes in (
        {},
        {"mount_accessor": tokens},
        {"mount_accessor": ours, "id": there["id"]},
        {"mount_accessor": ours, "entity_id": made["id"]},
        {"mount_accessor": ours, "custom_metadata": {"role": "org-admin"}},
        {"mount_accessor": ours, "canonical_id": None},
    ):
        body = {name: value for name, value in {**alias, **changes}.items() if value is not None}
        thief.refused("POST", "axon/HOME", "identity/entity-alias", body)
        thief.refused("POST", "axon", "HOME/identity/entity-alias", body)
    for method, path, more in (
        ("GET", f"identity/entity-alias/id/{there['id']}", None),
        ("POST", f"identity/entity-alias/id/{there['id']}", {**alias, "mount_accessor": ours}),
        ("DELETE", f"identity/entity-alias/id/{there['id']}", None),
        ("POST", "identity/entity/merge", {"from_entity_ids": [made["id"]], "to_entity_id": made["id"]}),
        ("POST", f"identity/entity/id/{made['id']}", {"policies": ["org-admin"]}),
        ("POST", "identity/group", {"name": "mine", "policies": ["org-admin"]}),
    ):
        thief.refused(method, "axon/HOME", path, more)


def test_keys_of_users(thief: Thief, bao: Bao, tenant: TenantNames) -> None:
    home = f"axon/{tenant.vault_namespace}"
    key = {"type": "aes256-gcm96", "exportable": True}
    bao.admin("POST", home, "transit/keys/user-alice", key)
    for method, path, body in (
        ("GET", "transit/keys/user-alice", None),
        ("POST", "transit/keys/user-bob", {"exportable": True}),
        ("POST", "transit/keys/user-alice/config", {"exportable": True, "allow_plaintext_backup": True}),
        ("GET", "transit/export/encryption-key/user-alice", None),
        ("GET", "transit/backup/user-alice", None),
        ("POST", "transit/decrypt/user-alice", {"ciphertext": "vault:v1:x"}),
        ("POST", "transit/encrypt/user-alice", {"plaintext": ""}),
        ("POST", "transit/datakey/plaintext/user-alice", {}),
        ("DELETE", "transit/keys/user-alice", None),
        ("POST", "transit/restore", {"backup": "x"}),
    ):
        thief.refused(method, "axon/HOME", path, body)


def test_keys_of_runtimes(thief: Thief, bao: Bao, vault: OpenBao, tenant: TenantNames, victim: RuntimeNames) -> None:
    home, made = f"axon/{tenant.vault_namespace}", issues(victim, tenant)["key"]
    assert made.maker is not None
    vault.write(made.maker.at, made.maker.body)
    name, key = victim.principal, {"type": "aes256-gcm96"}
    granted = bao.admin("POST", home, f"transit/encrypt/{name}", {"plaintext": "YzRuNHJ5"})["ciphertext"]
    for path, body in (
        (f"decrypt/{name}", {"ciphertext": granted}),
        (f"rewrap/{name}", {"ciphertext": granted}),
        (f"encrypt/{name}", {"plaintext": ""}),
        (f"datakey/plaintext/{name}", {}),
        (f"hmac/{name}", {"input": ""}),
        ("restore", {"backup": "x"}),
        (f"restore/{name}", {"backup": "x", "force": True}),
        (f"keys/{name}/import_version", {"ciphertext": "x"}),
        (f"keys/{name}/trim", {"min_available_version": 1}),
        ("keys/rt-mine/import", {**key, "ciphertext": "x"}),
        # one that can leave OpenBao, now or later
        ("keys/rt-mine", {**key, "exportable": True}),
        ("keys/rt-mine", {**key, "allow_plaintext_backup": True}),
        ("keys/rt-mine", {**key, "derived": True}),
        ("keys/rt-mine", {"type": "rsa-2048"}),
        ("keys/mine", key),
        (f"keys/{name}/config", {"exportable": True}),
        (f"keys/{name}/config", {"allow_plaintext_backup": True, "deletion_allowed": True}),
        (f"keys/{name}/config", {"min_decryption_version": 1}),
    ):
        thief.refused("POST", "axon/HOME", f"transit/{path}", body)
    for path in (f"export/encryption-key/{name}", f"backup/{name}", f"byok-export/{name}/{name}"):
        thief.refused("GET", "axon/HOME", f"transit/{path}")
    assert not as_it_is_not(vault, made)


def as_it_is_not(vault: OpenBao, planned: VaultResource) -> dict[str, Any]:
    """What OpenBao holds in other words than planned."""
    live = vault.read(planned.at)
    assert live is not None
    return {name: live.get(name) for name, value in planned.body.items() if live.get(name) != value}


def test_a_certificate_role_of_another_form_than_ours(
    thief: Thief, vault: OpenBao, tenant: TenantNames, victim: RuntimeNames
) -> None:
    made = issues(victim, tenant)["pki"]
    vault.write(made.at, made.body)
    assert not as_it_is_not(vault, made)
    for field, value in (
        ("allow_any_name", True),
        ("allowed_domains", ["example.com"]),
        ("allowed_domains", "example.com"),
        ("allow_localhost", True),
        ("allow_ip_sans", True),
        ("allow_subdomains", True),
        ("allow_glob_domains", True),
        ("allow_wildcard_certificates", True),
        ("allowed_other_sans", ["*"]),
        ("allowed_user_ids", ["*"]),
        ("allowed_serial_numbers", ["*"]),
        ("allowed_uri_sans_template", True),
        ("cn_validations", ["disabled"]),
        ("key_type", "any"),
        ("key_usage", ["CertSign"]),
        ("ext_key_usage", ["Any"]),
        ("ext_key_usage_oids", ["2.5.29.37.0"]),
        ("code_signing_flag", True),
        ("basic_constraints_valid_for_non_ca", False),
        ("generate_lease", False),
        ("no_store", True),
        ("not_after_bound", "permit"),
        ("not_after", "9999-12-31T23:59:59Z"),
        ("issuer_ref", "default"),
    ):
        thief.refused("POST", "axon/HOME", made.at.path, {**made.body, field: value})
        thief.refused("POST", "axon/HOME", f"{made.at.path}2", {field: value})
    thief.refused("POST", "axon/HOME", "pki/roles/mine", made.body)
    assert not as_it_is_not(vault, made)


def test_certificates_by_a_runtimes_role_are_for_its_one_name(
    thief: Thief, bao: Bao, vault: OpenBao, tenant: TenantNames, victim: RuntimeNames
) -> None:
    """What somebody may do who may have certificates: the runtime's own pods."""
    made, home = issues(victim, tenant)["pki"], f"axon/{tenant.vault_namespace}"
    vault.write(made.at, made.body)
    at = f"pki/issue/{made.at.path.rpartition('/')[2]}"
    folder = f"spiffe://cluster.local/tenant/{tenant.tenant}"
    mine = f"{folder}/runtime/{victim.runtime}"
    issued = bao.admin("POST", home, at, {"uri_sans": mine, "ttl": "720h"})
    certificate = x509.load_pem_x509_certificate(issued["certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [(type(name), name.value) for name in names] == [(x509.UniformResourceIdentifier, mine)]
    assert not certificate.subject.rdns
    assert certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=16)
    authority = bao.admin("GET", home, "pki/issuer/authority")["certificate"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    for request in (
        {"uri_sans": f"{mine}2"},
        {"uri_sans": f"{folder}/runtime/other"},
        {"uri_sans": folder},
        {"uri_sans": mine.replace("cluster.local", "other.example")},
        {"uri_sans": mine.replace(f"/{tenant.tenant}/", f"/{tenant.tenant}x/")},
        {"uri_sans": f"{mine},{folder}/runtime/other"},
        {"uri_sans": mine, "alt_names": "openbao.openbao.svc"},
        {"uri_sans": mine, "ip_sans": "127.0.0.1"},
        {"uri_sans": mine, "other_sans": "1.3.6.1.4.1.311.20.2.3;utf8:x"},
        {"uri_sans": mine, "common_name": "openbao.openbao.svc"},
        {"uri_sans": mine, "common_name": "localhost"},
        {"uri_sans": mine, "common_name": "admin"},
        {"uri_sans": mine, "user_ids": "admin"},
        {"uri_sans": mine, "serial_number": "admin"},
        {"uri_sans": mine, "not_after": "2099-01-01T00:00:00Z"},
        {"uri_sans": mine, "not_before": "2020-01-01T00:00:00Z"},
    ):
        assert bao.as_admin("POST", home, at, request)[0] == 400, request


def test_a_certificate_of_a_runtime(thief: Thief, vault: OpenBao, tenant: TenantNames, victim: RuntimeNames) -> None:
    made = issues(victim, tenant)["pki"]
    vault.write(made.at, made.body)
    role, name = made.at.path.rpartition("/")[2], {"uri_sans": made.body["allowed_uri_sans"][0]}
    for path in ("issue", "sign", "sign-verbatim", "issuer/authority/issue", "issuer/authority/sign",
                 "issuer/authority/sign-verbatim", "sign-verbatim"):  # fmt: skip
        thief.refused("POST", "axon/HOME", f"pki/{path}/{role}", {**name, "csr": "x"})
    for method, path in (
        ("POST", "pki/config/acme"),
        ("POST", "pki/revoke"),
        ("POST", "pki/tidy"),
        ("LIST", "pki/certs"),
        ("LIST", f"sys/leases/lookup/pki/issue/{role}"),
        ("POST", f"sys/leases/revoke-force/pki/issue/{role}"),
    ):
        thief.refused(method, "axon/HOME", path, {})


def test_the_key_of_a_tenants_authority_and_certificates_of_it(thief: Thief) -> None:
    mine = {"common_name": "mine", "uri_sans": "spiffe://cluster.local/tenant/acme/runtime/agent"}
    for method, path, body in (
        ("POST", "pki/root/generate/exported", mine),
        ("POST", "pki/root/generate/kms", mine),
        ("POST", "pki/root/rotate/exported", mine),
        ("POST", "pki/intermediate/generate/exported", mine),
        ("POST", "pki/issuers/import/bundle", {"pem_bundle": "x"}),
        ("POST", "pki/config/ca", {"pem_bundle": "x"}),
        ("POST", "pki/keys/generate/exported", {}),
        ("POST", "pki/keys/import", {"pem_bundle": "x"}),
        ("LIST", "pki/keys", None),
        ("POST", "pki/config/issuers", {"default": "x"}),
        ("DELETE", "pki/issuer/authority", None),
        ("DELETE", "pki/root", None),
        ("POST", "pki/issue/runtime", mine),
        ("POST", "pki/sign/runtime", {"csr": "x"}),
        ("POST", "pki/sign-verbatim", {"csr": "x"}),
        ("POST", "pki/root/sign-intermediate", {"csr": "x"}),
        ("POST", "pki/issuer/authority/sign-intermediate", {"csr": "x"}),
        ("POST", "pki/issuer/authority/issue/runtime", mine),
        ("POST", "pki/roles/mine", {"allow_any_name": True}),
        ("DELETE", "pki/roles/mine", None),
    ):
        thief.refused(method, "axon/HOME", path, body)


def test_accounts_in_a_tenants_databases(
    thief: Thief, vault: OpenBao, tenant: TenantNames, victim: RuntimeNames
) -> None:
    at, made = connect(vault, tenant), issues(victim, tenant)["database"]
    vault.write(made.at, made.body)
    role = made.at.path.rpartition("/")[2]
    for method, path, body in (
        ("GET", f"database/creds/{role}", None),
        ("GET", f"database/static-creds/{role}", None),
        ("GET", "database/static-creds/orders.app", None),
        ("LIST", "database/static-creds", None),
        ("POST", "database/reset/orders", {}),
        ("LIST", f"sys/leases/lookup/database/creds/{role}", None),
        ("POST", f"sys/leases/revoke-force/database/creds/{role}", {}),
    ):
        thief.refused(method, "axon/HOME", path, body)
    # an account of one's own choice, by SQL of one's own, or another kind of server
    for field, value in (
        ("root_rotation_statements", ["CREATE ROLE mine"]),
        ("root_rotation_statements", "CREATE ROLE mine"),
        ("plugin_name", "mysql-database-plugin"),
        ("plugin_version", "v1.0.0"),
        ("connection_url", "host=mine"),
        ("username_template", "mine"),
        ("password_policy", "mine"),
        ("password_authentication", "password"),
        ("disable_escaping", True),
        ("max_open_connections", 1000),
    ):
        thief.refused("POST", "axon/HOME", "database/config/orders", {**CONNECTION, field: value})
    assert vault.list(databases.connections(tenant)) == ("orders",)
    assert vault.list(databases.roles(tenant)) == (role,)
    assert "c4n4ry" not in str(vault.read(at))


def test_sql_of_ones_own(thief: Thief, bao: Bao, vault: OpenBao, tenant: TenantNames, victim: RuntimeNames) -> None:
    """How an account begins and ends is fixed; what stands behind the beginning is limit 39 of the threat model."""
    connect(vault, tenant)
    made = issues(victim, tenant)["database"]
    vault.write(made.at, made.body)
    begins, ends = str(made.body["creation_statements"]), str(made.body["revocation_statements"])
    for field, value in (
        ("creation_statements", "CREATE ROLE mine SUPERUSER"),
        ("creation_statements", begins.replace("LOGIN", "LOGIN SUPERUSER")),
        ("creation_statements", f"ALTER ROLE axon SUPERUSER; {begins}"),
        ("creation_statements", [begins]),
        ("creation_statements", [begins, "CREATE ROLE mine"]),
        ("revocation_statements", "SELECT 1"),
        ("revocation_statements", f"{ends}; SELECT 1"),
        ("revocation_statements", ""),
        ("revocation_statements", []),
        ("renew_statements", "CREATE ROLE mine"),
        ("rollback_statements", "CREATE ROLE mine"),
        ("credential_type", "client_certificate"),
        ("credential_config", {"password_policy": "mine"}),
    ):
        thief.refused("POST", "axon/HOME", made.at.path, {**made.body, field: value})
    # another connection than that in the role's name: it can be written, and makes no account
    vault.write(VaultPath(tenant.vault_namespace, "database/roles/billing.mine"), made.body)
    status, answer = bao.as_admin("GET", f"axon/{tenant.vault_namespace}", "database/creds/billing.mine")
    assert status == 500
    assert "is not an allowed role" in str(answer)


def test_accounts_that_openbao_keeps(thief: Thief, vault: OpenBao, tenant: TenantNames) -> None:
    """Which ones there are is the operator's to say; what is done to them is fixed, and no password is read."""
    connect(vault, tenant)
    kept = databases.kept_account(tenant, ORDERS, ORDERS.roles[-1])
    for field, value in (
        ("rotation_statements", ["CREATE ROLE mine"]),
        ("rotation_statements", [*kept.body["rotation_statements"], "CREATE ROLE mine"]),
        ("rotation_statements", []),
        ("credential_type", "rsa_private_key"),
        ("credential_config", {"password_policy": "mine"}),
    ):
        thief.refused("POST", "axon/HOME", kept.at.path, {**kept.body, field: value})
    for method, path in (
        ("GET", "database/static-creds/orders.app"),
        ("GET", "kv/data/accounts/orders.app.rt-agent.kept.1"),
        ("POST", "database/rotate-role"),
    ):
        thief.refused(method, "axon/HOME", path, None)


def test_sealing_a_tenants_namespace(thief: Thief) -> None:
    """On a namespace that cannot be unsealed this unmounts everything until the server restarts."""
    for method in ("PUT", "POST"):
        thief.refused(method, "axon", "sys/namespaces/HOME/seal")
        thief.refused(method, "", "sys/namespaces/axon/seal")


def test_namespaces_inside_a_tenants(thief: Thief) -> None:
    for method, path in (
        ("POST", "sys/namespaces/inner"),
        ("LIST", "sys/namespaces"),
        ("POST", "sys/namespaces/api-lock/lock"),
    ):
        thief.refused(method, "axon/HOME", path)
