"""How desired state is written down: Kubernetes manifests, OpenBao paths, Keycloak paths.

A resource is *where* plus *what*; a plan is made by comparing it with what a backend reads back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from axon_operator.domain.names import RUNTIME_LABEL

Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON. Dicts, not typed models: those drop unknown fields."""


@dataclass(frozen=True, slots=True)
class VaultPath:
    """A path in OpenBao. `namespace` is a child of the operator's parent namespace, or "" for the parent."""

    namespace: str
    path: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.path}" if self.namespace else self.path


@dataclass(frozen=True, slots=True)
class VaultResource:
    """Something planned in OpenBao. Only the fields of `body` are compared with what is read back."""

    at: VaultPath
    body: Mapping[str, Any] = field(hash=False)
    fixed: bool = False
    """Cannot be changed in place (mounts): a difference is a conflict, not drift."""
    maker: "VaultResource | None" = None
    """What is written to make it, where writing to its own path can only change it."""


@dataclass(frozen=True, slots=True)
class RealmPath:
    """A path in Keycloak's admin API: the realm itself, or something below it."""

    realm: str
    segments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((self.realm, *self.segments))


@dataclass(frozen=True, slots=True)
class RealmResource:
    """Something planned in Keycloak. Only the fields of `body` are compared with what is read back."""

    at: RealmPath
    collection: RealmPath
    """Where it is created (POST)."""
    body: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of Kubernetes object. The closed list below is all that the operator can touch."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True


def url_path(resource: Resource, namespace: str, name: str, segment: Callable[[str], str]) -> str:
    """Where the API server has an object, or without a name a collection. `segment` checks or quotes what is not ours."""
    inside = ("namespaces", segment(namespace)) if namespace else ()
    of_one = (segment(name),) if name else ()
    root = "/apis" if "/" in resource.api_version else "/api"
    return "/".join((root, resource.api_version, *inside, resource.plural, *of_one))


TENANT = Resource("axonos.ai/v1alpha1", "Tenant", "tenants", namespaced=False)
RUNTIME = Resource("axonos.ai/v1alpha1", "WorkflowRuntime", "workflowruntimes")
BINDING = Resource("axonos.ai/v1alpha1", "SecretBinding", "secretbindings")
PROFILE = Resource("axonos.ai/v1alpha1", "GovernanceProfile", "governanceprofiles", namespaced=False)
NAMESPACE = Resource("v1", "Namespace", "namespaces", namespaced=False)
POD = Resource("v1", "Pod", "pods")
SERVICE = Resource("v1", "Service", "services")
SERVICE_ACCOUNT = Resource("v1", "ServiceAccount", "serviceaccounts")
CONFIG_MAP = Resource("v1", "ConfigMap", "configmaps")
RESOURCE_QUOTA = Resource("v1", "ResourceQuota", "resourcequotas")
LIMIT_RANGE = Resource("v1", "LimitRange", "limitranges")
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
JOB = Resource("batch/v1", "Job", "jobs")
NETWORK_POLICY = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
ROLE_BINDING = Resource("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
EVENT = Resource("events.k8s.io/v1", "Event", "events")
LEASE = Resource("coordination.k8s.io/v1", "Lease", "leases")

SECRET = Resource("v1", "Secret", "secrets")
"""Only single ones, in the operator's own namespace, are read; so it is not in the table of what has manifests."""

RESOURCES = {
    r.kind: r
    for r in (
        TENANT, RUNTIME, BINDING, PROFILE, NAMESPACE, POD, SERVICE, SERVICE_ACCOUNT, CONFIG_MAP, RESOURCE_QUOTA,
        LIMIT_RANGE, DEPLOYMENT, JOB, NETWORK_POLICY, ROLE_BINDING, EVENT, LEASE,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ref:
    """One Kubernetes object."""

    resource: Resource
    namespace: str
    """Empty for cluster-scoped kinds."""
    name: str

    def __str__(self) -> str:
        return (
            f"{self.resource.kind} {self.namespace}/{self.name}"
            if self.namespace
            else f"{self.resource.kind} {self.name}"
        )


def ref_of(manifest: Manifest) -> Ref:
    """The object that a manifest describes."""
    metadata = manifest["metadata"]
    return Ref(RESOURCES[manifest["kind"]], metadata.get("namespace", ""), metadata["name"])


def runtimes_named(manifest: Manifest) -> tuple[str, ...]:
    """The runtimes of its namespace that an object speaks of: its own by label, a binding's, a caller's peers."""
    if manifest["kind"] == BINDING.kind:
        return (manifest["spec"]["runtimeRef"]["name"],)
    if manifest["kind"] == RUNTIME.kind:
        return tuple(sorted({c["runtime"] for c in manifest["spec"].get("connections") or ()}))
    own = (manifest["metadata"].get("labels") or {}).get(RUNTIME_LABEL)
    return (own,) if own else ()
