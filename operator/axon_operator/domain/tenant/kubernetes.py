"""The tenant's Kubernetes namespace and its guards."""

from collections.abc import Mapping
from typing import Any

from axon_operator.api.tenant import DEFAULT_REQUESTS, TenantSpec
from axon_operator.domain import network
from axon_operator.domain.manifests import manifest
from axon_operator.domain.names import ORGANIZATION_MARK, PROFILE_LABEL, TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    Manifest,
    Ref,
    Resource,
)

ADMIN_CLUSTER_ROLE = "axon-tenant-admin"
ADMINS_BINDING = "axon-admins"
DEFAULT_DENY = "axon-default-deny"


def namespace(names: TenantNames, spec: TenantSpec) -> Manifest:
    """The namespace, closed to pods that are not `restricted`."""
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    profile = {PROFILE_LABEL: spec.governance.profile} if spec.governance.profile else {}
    organization = {ORGANIZATION_MARK: spec.organization_id} if spec.organization_id else {}
    return manifest(
        Ref(NAMESPACE, "", names.namespace),
        names.uid,
        names.tenant,
        {},
        labels=levels | profile,
        annotations=organization,
    )


def guards(names: TenantNames, spec: TenantSpec, platform: Platform) -> tuple[Manifest, ...]:
    """Everything that must stand in the namespace before a pod may start there."""

    def guard(resource: Resource, name: str, body: Mapping[str, Any]) -> Manifest:
        return manifest(Ref(resource, names.namespace, name), names.uid, names.tenant, body)

    found = [
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
        dns = network.dns_rule(platform.dns_peer)
        found.append(guard(NETWORK_POLICY, "axon-allow-dns", {"spec": network.policy({}, egress=[dns])}))
    if spec.admins:
        found.append(guard(ROLE_BINDING, ADMINS_BINDING, _admins(spec)))
    return tuple(found)


def guard_refs(names: TenantNames) -> tuple[Ref, ...]:
    """All guards that can exist, whether planned now or not: what is not planned is removed."""
    return tuple(
        Ref(resource, names.namespace, name)
        for resource, name in (
            (NETWORK_POLICY, DEFAULT_DENY),
            (RESOURCE_QUOTA, "axon-quota"),
            (LIMIT_RANGE, "axon-limits"),
            (NETWORK_POLICY, "axon-allow-dns"),
            (ROLE_BINDING, ADMINS_BINDING),
        )
    )


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
