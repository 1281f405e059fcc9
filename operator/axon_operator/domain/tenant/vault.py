"""The tenant's OpenBao namespace."""

from collections.abc import Mapping
from typing import Any

from axon_operator.api.tenant import TenantSpec
from axon_operator.domain.names import (
    KV_MOUNT,
    PKI_MOUNT,
    RUNTIME_AUTH_MOUNT,
    STATUS_MOUNT,
    TRANSIT_MOUNT,
    USER_AUTH_MOUNT,
    USERS_CLIENT,
    VAULT_CLUSTER_KEY,
    VAULT_HOME_KEY,
    VAULT_ORGANIZATION_KEY,
    VAULT_OWNER_KEY,
    VAULT_POLICY_KEY,
    VAULT_RETAINED_KEY,
    VAULT_SUSPENDED_KEY,
    VAULT_TENANT_KEY,
    TenantNames,
)
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import VaultPath, VaultResource

ORG_ADMIN = "org-admin"
"""Policy and role of who keeps the organization's secrets."""
USER = "user"
"""Policy and role of every user."""
AUTHORITY = "authority"
"""Issuer of the tenant's certificates."""

USER_TTL = 600
"""Seconds that a user's login lasts; so long a change of their groups can take to count."""
KEY_ROTATION = 30 * 24 * 3600
"""Seconds after which OpenBao gives a user's key a new version."""
_AUTHORITY_TTL = 10 * 365 * 24 * 3600
_TIDY = {
    "enabled": True,
    "interval_duration": 12 * 3600,
    "tidy_cert_store": True,
    "tidy_revoked_certs": True,
    "safety_buffer": 3600,
    "revoked_safety_buffer": 3600,
}
"""Certificates are forgotten an hour after they have expired; else the store and the list of revoked ones only grow."""

_STRICT = {"clock_skew_leeway": -1, "expiration_leeway": -1, "not_before_leeway": -1}
"""Without these a token is still accepted up to 150 s outside its time."""
_NO_OTHER_POLICIES = {"groups_claim": "", "token_policies_template_claims": False, "token_no_default_policy": True}


def namespace_path(names: TenantNames) -> VaultPath:
    """Where the OpenBao namespace is made, marked and removed."""
    return VaultPath("", f"sys/namespaces/{names.vault_namespace}")


def namespace(names: TenantNames, spec: TenantSpec, cluster: str) -> VaultResource:
    """The OpenBao namespace with our owner mark; `cluster`: in which its Tenant is.

    That it was suspended is written there too: so that a resumption which was cut off is completed.
    """
    suspended = "true" if spec.suspended else "false"
    mark = {
        VAULT_OWNER_KEY: names.uid,
        VAULT_CLUSTER_KEY: cluster,
        VAULT_TENANT_KEY: names.tenant,
        VAULT_SUSPENDED_KEY: suspended,
        VAULT_POLICY_KEY: spec.deletion_policy.value,
    }
    if names.home:
        mark[VAULT_HOME_KEY] = names.home
    if spec.organization_id:
        mark[VAULT_ORGANIZATION_KEY] = spec.organization_id
    return VaultResource(namespace_path(names), {"custom_metadata": mark})


def closed(names: TenantNames, spec: TenantSpec, cluster: str) -> VaultResource:
    """The OpenBao namespace as if its Tenant were suspended: who opens it revokes every login first."""
    return namespace(names, spec.model_copy(update={"suspended": True}), cluster)


def retained(names: TenantNames, spec: TenantSpec, cluster: str, at: str) -> VaultResource:
    """The OpenBao namespace that a Tenant deleted at that time leaves behind: closed, as one that is suspended."""
    as_closed = closed(names, spec, cluster)
    mark = {**as_closed.body["custom_metadata"], VAULT_RETAINED_KEY: at}
    return VaultResource(as_closed.at, {"custom_metadata": mark})


def contents(names: TenantNames, platform: Platform) -> tuple[VaultResource, ...]:
    """What stands in the OpenBao namespace, in the order in which it must be made."""

    def resource(path: str, body: Mapping[str, Any], *, fixed: bool = False) -> VaultResource:
        return VaultResource(VaultPath(names.vault_namespace, path), body, fixed)

    return (
        resource(f"sys/mounts/{KV_MOUNT}", {"type": "kv", "options": {"version": "2"}}, fixed=True),
        resource(f"sys/mounts/{STATUS_MOUNT}", {"type": "kv", "options": {"version": "1"}}, fixed=True),
        resource(f"sys/mounts/{TRANSIT_MOUNT}", {"type": "transit"}, fixed=True),
        # else whoever may encrypt with a key makes it, with parameters of their choice
        resource(f"{TRANSIT_MOUNT}/config/keys", {"disable_upsert": True}),
        *_authority(names),
        resource(f"sys/auth/{RUNTIME_AUTH_MOUNT}", {"type": "jwt"}, fixed=True),
        # the OpenBao pod's own token fetches the API server's keys: nothing to push, no anonymous access
        resource(
            f"auth/{RUNTIME_AUTH_MOUNT}/config",
            {"provider_config": {"provider": "kubernetes"}, "bound_issuer": platform.issuer},
        ),
        resource(f"sys/auth/{USER_AUTH_MOUNT}", {"type": "jwt"}, fixed=True),
        resource(f"sys/policies/acl/{ORG_ADMIN}", {"policy": _ORG_ADMIN}),
    )


def logins(names: TenantNames, spec: TenantSpec, platform: Platform, accessor: str) -> tuple[VaultResource, ...]:
    """What lets the realm's users in. `accessor`: of the auth mount, by which the policy knows a user's `sub`."""
    issuer = platform.realm_issuer(names.realm)
    config = {
        "jwks_url": f"{issuer}/protocol/openid-connect/certs",
        "jwks_ca_pem": platform.keycloak_ca,
        "bound_issuer": issuer,
    }
    keepers = [_role(names, ORG_ADMIN, {"groups": list(spec.vault.admins)})] if spec.vault.admins else []
    return (
        _login(names, "config", config),
        VaultResource(VaultPath(names.vault_namespace, f"sys/policies/acl/{USER}"), {"policy": _user(accessor)}),
        _role(names, USER, {}),
        *keepers,
    )


def login_roles(names: TenantNames) -> tuple[VaultPath, ...]:
    """All roles of users that can exist, whether planned now or not: what is not planned is removed."""
    return tuple(_role_path(names, name) for name in (USER, ORG_ADMIN))


def users_mount(names: TenantNames) -> VaultPath:
    """The auth mount at which users log in."""
    return VaultPath(names.vault_namespace, f"sys/auth/{USER_AUTH_MOUNT}")


def _authority(names: TenantNames) -> tuple[VaultResource, ...]:
    """The tenant's own certificate authority. Its key is made in OpenBao and never leaves it."""

    def resource(path: str, body: Mapping[str, Any], **more: Any) -> VaultResource:
        return VaultResource(VaultPath(names.vault_namespace, path), body, **more)

    root = resource(
        f"{PKI_MOUNT}/root/generate/internal",
        {
            "common_name": f"axon tenant {names.tenant}",
            "issuer_name": AUTHORITY,
            "key_type": "ec",
            "key_bits": 256,
            "max_path_length": 0,
            "exclude_cn_from_sans": True,
            "ttl": _AUTHORITY_TTL,
        },
    )
    return (
        resource(f"sys/mounts/{PKI_MOUNT}", {"type": "pki"}, fixed=True),
        resource(f"sys/mounts/{PKI_MOUNT}/tune", {"max_lease_ttl": _AUTHORITY_TTL}),
        resource(
            f"{PKI_MOUNT}/issuer/{AUTHORITY}",
            {
                "issuer_name": AUTHORITY,
                "leaf_not_after_behavior": "err",
                "usage": "crl-signing,issuing-certificates,ocsp-signing,read-only",
            },
            maker=root,
        ),
        resource(
            f"{PKI_MOUNT}/config/crl",
            {"disable": False, "expiry": "72h", "auto_rebuild": True, "auto_rebuild_grace_period": "12h"},
        ),
        resource(f"{PKI_MOUNT}/config/auto-tidy", _TIDY),
    )


def _role(names: TenantNames, name: str, claims: Mapping[str, Any]) -> VaultResource:
    """A login with an access token of the realm that was issued to our own client, for OpenBao."""
    body = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [USERS_CLIENT],
        "bound_claims_type": "string",
        # no ID token (another typ), and none that another client, say a runtime's, has got hold of
        "bound_claims": {"typ": "Bearer", "azp": USERS_CLIENT, **claims},
        "allowed_redirect_uris": [],
        "token_policies": [name],
        **_NO_OTHER_POLICIES,
        "token_type": "service",  # batch tokens cannot be revoked
        "token_ttl": USER_TTL,
        "token_max_ttl": USER_TTL,
        "token_period": 0,
        **_STRICT,
    }
    return VaultResource(_role_path(names, name), body)


def _role_path(names: TenantNames, name: str) -> VaultPath:
    return VaultPath(names.vault_namespace, f"auth/{USER_AUTH_MOUNT}/role/{name}")


def _login(names: TenantNames, path: str, body: Mapping[str, Any]) -> VaultResource:
    return VaultResource(VaultPath(names.vault_namespace, f"auth/{USER_AUTH_MOUNT}/{path}"), body)


_ORG_ADMIN = """\
# For the organization's own secret keepers: organization secrets, and nothing of any user.
path "kv/data/org/*"     { capabilities = ["create", "read", "update", "delete"] }
path "kv/metadata/org/*" { capabilities = ["read", "list", "delete"] }
path "kv/metadata/org"   { capabilities = ["list"] }
path "kv/metadata"       { capabilities = ["list"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
"""


def _user(accessor: str) -> str:
    """One policy for all: OpenBao puts in the `sub` of whoever asks. A `sub` with `/`, `*` or `+` is refused by it."""
    return _USER.replace("<sub>", f"{{{{identity.entity.aliases.{accessor}.name}}}}")


_USER = f"""\
# For every user: their own secrets, grants and key, and nothing of anybody else.
path "kv/data/users/<sub>/*"     {{ capabilities = ["create", "read", "update", "delete"] }}
path "kv/metadata/users/<sub>/*" {{ capabilities = ["read", "list", "delete"] }}
path "kv/metadata/users/<sub>"   {{ capabilities = ["list"] }}

# Consent: what a user grants to the runtime that the first segment names. To withdraw it is to delete its metadata,
# and with it every version.
path "kv/data/grants/+/<sub>/*"     {{ capabilities = ["create", "update", "delete"] }}
path "kv/metadata/grants/+/<sub>/*" {{ capabilities = ["read", "list", "delete"] }}
path "kv/metadata/grants/+/<sub>"   {{ capabilities = ["list"] }}

# To find every revision to which something was granted. It tells to which somebody has, not who and what.
path "kv/metadata/grants" {{ capabilities = ["list"] }}

# Which runtimes there are, and encryption for them. Decrypting is the runtime's alone.
path "kv/metadata/runtimes" {{ capabilities = ["list"] }}
path "kv/data/runtimes/+"   {{ capabilities = ["read"] }}
path "transit/encrypt/rt-*" {{ capabilities = ["update"] }}

# The user's own key, made by the user: so nobody has to know beforehand who there is. It can never be exported.
path "transit/keys/user-<sub>" {{
  capabilities        = ["create", "update"]
  required_parameters = ["type", "auto_rotate_period"]
  allowed_parameters  = {{ "type" = ["aes256-gcm96"], "auto_rotate_period" = ["{KEY_ROTATION}s"] }}
}}
path "transit/encrypt/user-<sub>"           {{ capabilities = ["update"] }}
path "transit/decrypt/user-<sub>"           {{ capabilities = ["update"] }}
path "transit/rewrap/user-<sub>"            {{ capabilities = ["update"] }}
path "transit/datakey/plaintext/user-<sub>" {{ capabilities = ["update"] }}
path "transit/datakey/wrapped/user-<sub>"   {{ capabilities = ["update"] }}

path "auth/token/revoke-self" {{ capabilities = ["update"] }}
"""
