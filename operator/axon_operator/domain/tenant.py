"""What a Tenant becomes in the three systems."""

from collections.abc import Mapping
from typing import Any

from axon_operator.api.tenant import DEFAULT_REQUESTS, TenantSpec
from axon_operator.domain import network
from axon_operator.domain.manifests import manifest
from axon_operator.domain.names import (
    KV_MOUNT,
    ORGANIZATION_MARK,
    REALM_OWNER_ATTRIBUTE,
    RUNTIME_AUTH_MOUNT,
    STATUS_MOUNT,
    VAULT_ORGANIZATION_KEY,
    VAULT_OWNER_KEY,
    VAULT_TENANT_KEY,
    TenantNames,
)
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    Manifest,
    RealmPath,
    RealmResource,
    Ref,
    Resource,
    VaultPath,
    VaultResource,
)
from axon_operator.domain.values import seconds

ADMIN_CLUSTER_ROLE = "axon-tenant-admin"
ORG_ADMIN_POLICY = "org-admin"
DEFAULT_DENY = "axon-default-deny"
KUBERNETES_IDP = "kubernetes"


def kubernetes_namespace(names: TenantNames, spec: TenantSpec) -> Manifest:
    """The namespace, closed to pods that are not `restricted`."""
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    organization = {ORGANIZATION_MARK: spec.organization_id} if spec.organization_id else {}
    return manifest(
        Ref(NAMESPACE, "", names.namespace), names.uid, names.tenant, {}, labels=levels, annotations=organization
    )


def kubernetes_guards(names: TenantNames, spec: TenantSpec) -> tuple[Manifest, ...]:
    """Everything that must stand in the namespace before a pod may start there."""

    def guard(resource: Resource, name: str, body: Mapping[str, Any]) -> Manifest:
        return manifest(Ref(resource, names.namespace, name), names.uid, names.tenant, body)

    guards = [
        guard(NETWORK_POLICY, DEFAULT_DENY, {"spec": network.policy({})}),
        guard(
            RESOURCE_QUOTA,
            "axon-quota",
            {
                "spec": {
                    "hard": {
                        "limits.cpu": spec.quota.cpu,
                        "limits.memory": spec.quota.memory,
                        "pods": str(spec.quota.pods),
                    }
                }
            },
        ),
        guard(LIMIT_RANGE, "axon-limits", {"spec": {"limits": [_container_limits(spec)]}}),
    ]
    if not spec.suspended:
        guards.append(
            guard(NETWORK_POLICY, "axon-allow-dns", {"spec": network.policy({}, egress=[network.dns_rule()])})
        )
    if spec.admins:
        guards.append(guard(ROLE_BINDING, "axon-admins", _admins(spec)))
    return tuple(guards)


def kubernetes_guard_refs(names: TenantNames) -> tuple[Ref, ...]:
    """All guards that can exist, whether planned now or not: what is not planned is removed."""
    return tuple(
        Ref(resource, names.namespace, name)
        for resource, name in (
            (NETWORK_POLICY, DEFAULT_DENY),
            (RESOURCE_QUOTA, "axon-quota"),
            (LIMIT_RANGE, "axon-limits"),
            (NETWORK_POLICY, "axon-allow-dns"),
            (ROLE_BINDING, "axon-admins"),
        )
    )


def vault_namespace(names: TenantNames, spec: TenantSpec) -> VaultResource:
    """The OpenBao namespace with our owner mark."""
    mark = {VAULT_OWNER_KEY: names.uid, VAULT_TENANT_KEY: names.tenant}
    if spec.organization_id:
        mark[VAULT_ORGANIZATION_KEY] = spec.organization_id
    return VaultResource(VaultPath("", f"sys/namespaces/{names.vault_namespace}"), {"custom_metadata": mark})


def vault_contents(names: TenantNames, platform: Platform) -> tuple[VaultResource, ...]:
    """What stands in the OpenBao namespace, in the order in which it must be made."""

    def resource(path: str, body: Mapping[str, Any], *, fixed: bool = False) -> VaultResource:
        return VaultResource(VaultPath(names.vault_namespace, path), body, fixed)

    return (
        resource(f"sys/mounts/{KV_MOUNT}", {"type": "kv", "options": {"version": "2"}}, fixed=True),
        resource(f"sys/mounts/{STATUS_MOUNT}", {"type": "kv", "options": {"version": "1"}}, fixed=True),
        resource(f"sys/auth/{RUNTIME_AUTH_MOUNT}", {"type": "jwt"}, fixed=True),
        # the OpenBao pod's own token fetches the API server's keys: nothing to push, no anonymous access
        resource(
            f"auth/{RUNTIME_AUTH_MOUNT}/config",
            {"provider_config": {"provider": "kubernetes"}, "bound_issuer": platform.issuer},
        ),
        resource(f"sys/policies/acl/{ORG_ADMIN_POLICY}", {"policy": _ORG_ADMIN}),
    )


def realm(names: TenantNames, spec: TenantSpec) -> RealmResource:
    """The realm. Every field is spelled out, so that drift in any of them is seen."""
    sessions = spec.identity.sessions
    marks = {REALM_OWNER_ATTRIBUTE: names.uid}
    if spec.organization_id:
        marks[ORGANIZATION_MARK] = spec.organization_id
    body = {
        "realm": names.realm,
        "enabled": not spec.suspended,
        "displayName": spec.display_name or names.tenant,
        "sslRequired": "all",
        "accessTokenLifespan": seconds(sessions.access_token_lifespan),
        "ssoSessionIdleTimeout": seconds(sessions.idle_timeout),
        "ssoSessionMaxLifespan": seconds(sessions.max_lifespan),
        "offlineSessionMaxLifespanEnabled": True,
        "offlineSessionMaxLifespan": seconds(sessions.max_lifespan),
        "registrationAllowed": False,
        "bruteForceProtected": True,
        "permanentLockout": False,
        "failureFactor": 5,
        "eventsEnabled": True,
        "eventsExpiration": 30 * 24 * 3600,
        "adminEventsEnabled": True,
        "adminEventsDetailsEnabled": True,
        "attributes": marks,
    }
    return RealmResource(RealmPath(names.realm), RealmPath(""), body)


def realm_contents(names: TenantNames, platform: Platform) -> tuple[RealmResource, ...]:
    """What stands in the realm: trust in the cluster's service-account tokens."""
    instances = RealmPath(names.realm, ("identity-provider", "instances"))
    body = {
        "alias": KUBERNETES_IDP,
        "providerId": "kubernetes",
        "enabled": True,
        "hideOnLogin": True,
        "config": {"issuer": platform.issuer},
    }
    return (RealmResource(RealmPath(names.realm, (*instances.segments, KUBERNETES_IDP)), instances, body),)


def _container_limits(spec: TenantSpec) -> dict[str, Any]:
    limits = spec.limits
    return {
        "type": "Container",
        "default": {"cpu": limits.default_cpu, "memory": limits.default_memory},
        "defaultRequest": dict(DEFAULT_REQUESTS),
        "max": {"cpu": limits.max_cpu, "memory": limits.max_memory},
    }


def _admins(spec: TenantSpec) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": ADMIN_CLUSTER_ROLE},
        "subjects": [{"apiGroup": group, "kind": a.kind.value, "name": a.name} for a in spec.admins],
    }


_ORG_ADMIN = """\
# For the organization's own secret keepers: organization secrets, and nothing of any user.
path "kv/data/org/*"     { capabilities = ["create", "read", "update", "delete"] }
path "kv/metadata/org/*" { capabilities = ["read", "list", "delete"] }
path "kv/metadata/org"   { capabilities = ["list"] }
path "kv/metadata"       { capabilities = ["list"] }
"""
