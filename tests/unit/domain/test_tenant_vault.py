"""What a tenant's users may do in OpenBao, as planned. Real servers are asked in tests/integration/tenant."""

import re

import pytest

from axon_operator.api.tenant import TenantSpec
from axon_operator.domain.names import TenantNames
from axon_operator.domain.resources import VaultResource
from axon_operator.domain.tenant import vault as desired

from .test_runtime import PLATFORM

NAMES = TenantNames("acme", "7f3f6c2e-0000-4000-8000-000000000001")
SUB = "{{identity.entity.aliases.accessor.name}}"


def logins(*admins: str) -> dict[str, VaultResource]:
    spec = TenantSpec.model_validate({"vault": {"admins": admins}})
    return {r.at.path: r for r in desired.logins(NAMES, spec, PLATFORM, "accessor")}


def rules() -> dict[str, str]:
    """Path to the rest of its rule."""
    policy: str = logins()["sys/policies/acl/user"].body["policy"]
    found = dict(re.findall(r'^path "([^"]+)"\s*\{([^}]*)\}', policy, re.MULTILINE))
    assert len(found) == policy.count("\npath ")
    return found


OF_ALL = {
    "auth/token/revoke-self": ["update"],
    "kv/metadata/grants": ["list"],
    "kv/metadata/runtimes": ["list"],
    "kv/data/runtimes/+": ["read"],
    "transit/encrypt/rt-*": ["update"],
}
"""What users have in common."""


def test_a_user_has_what_their_sub_names_and_of_runtimes_their_names_and_encryption_for_them() -> None:
    found = rules()
    of_all = {path: re.findall(r'"(\w+)"', rule) for path, rule in found.items() if SUB not in path}
    assert of_all == OF_ALL
    for path in found.keys() - OF_ALL.keys():
        segments = path.split("/")
        assert SUB in segments or segments[-1] == f"user-{SUB}", path


def test_what_is_wild_stands_behind_the_sub_or_is_the_runtime_of_a_grant() -> None:
    for path in rules().keys() - OF_ALL.keys():
        before, _, behind = path.partition(SUB)
        assert "*" not in before
        assert behind in {"", "/*"}
        assert "+" not in path or before.endswith("grants/+/")


def test_a_grant_is_written_and_withdrawn_and_not_read_by_the_user() -> None:
    rule = rules()[f"kv/data/grants/+/{SUB}/*"]
    assert re.findall(r'"(\w+)"', rule) == ["create", "update", "delete"]


def test_a_key_needs_our_parameters() -> None:
    rule = rules()[f"transit/keys/user-{SUB}"]
    assert 'required_parameters = ["type", "auto_rotate_period"]' in rule


@pytest.mark.parametrize("role", ["user", "org-admin"])
def test_a_login_needs_an_access_token_of_our_client_and_gives_one_policy(role: str) -> None:
    body = logins("/keepers")[f"auth/keycloak/role/{role}"].body
    assert body["bound_audiences"] == ["openbao"]
    assert {"typ": "Bearer", "azp": "openbao"}.items() <= body["bound_claims"].items()
    assert body["token_policies"] == [role]
    assert body["token_no_default_policy"]
    assert body["groups_claim"] == ""
    assert body["token_type"] == "service"
    assert body["token_max_ttl"] == desired.USER_TTL


def test_a_role_that_nobody_is_to_have_is_not_planned() -> None:
    """A list of groups that is empty could be read as any group."""
    assert "auth/keycloak/role/org-admin" not in logins()
    assert logins("/a", "/b")["auth/keycloak/role/org-admin"].body["bound_claims"]["groups"] == ["/a", "/b"]


def test_the_realm_is_trusted_by_its_own_keys_and_issuer_only() -> None:
    body = logins()["auth/keycloak/config"].body
    assert body["bound_issuer"] == PLATFORM.realm_issuer("axon-acme")
    assert body["jwks_url"] == f"{body['bound_issuer']}/protocol/openid-connect/certs"
    assert body["jwks_ca_pem"] == PLATFORM.keycloak_ca
