"""What somebody who stole the operator's OpenBao token cannot do: requests sent raw, past all checks of ours."""

from typing import Any

import pytest

from axon_operator.backends.vault.adapter import OpenBao
from axon_operator.domain.names import TenantNames
from integration.openbao.tenants import make
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


@pytest.mark.parametrize("path", ["org/billing/stripe", "users/alice/key"])
def test_values_of_secrets(thief: Thief, path: str) -> None:
    thief.refused("GET", "axon/HOME", f"kv/data/{path}")
    # the same resource, named in other ways
    thief.refused("GET", "axon", f"HOME/kv/data/{path}")
    thief.refused("GET", "", f"axon/HOME/kv/data/{path}")
    for method, version in (("GET", "metadata"), ("POST", "data"), ("DELETE", "data"), ("DELETE", "metadata"),
                            ("POST", "delete"), ("POST", "undelete"), ("POST", "destroy")):  # fmt: skip
        thief.refused(method, "axon/HOME", f"kv/{version}/{path}", {"data": {}, "versions": [1]})


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
        ("POST", "sys/leases/revoke-force/auth/k8s", {}),
        ("POST", "sys/leases/revoke-prefix/auth/token", {}),
        ("LIST", "identity/entity/id", None),
        ("GET", "cubbyhole/x", None),
    ):
        thief.refused(method, "axon/HOME", path, body)


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
