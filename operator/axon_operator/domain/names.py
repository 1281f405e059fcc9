"""Names and marks of everything the operator creates.

Names are a readable prefix plus a hash of (namespace, name, uid): injective, so that no two objects
share a child, and bound to the uid, so that an object re-created under an old name gets nothing of
its predecessor.
"""

import hashlib
from dataclasses import dataclass

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "axon-operator"
OURS = {MANAGED_BY_LABEL: MANAGED_BY}
"""Selects everything that the operator has made, but pods."""
TENANT_LABEL = "axonos.ai/tenant"
RUNTIME_LABEL = "axonos.ai/runtime"
OWNER_UID_LABEL = "axonos.ai/owner-uid"
FINALIZER = "axonos.ai/teardown"
RECONCILE_ANNOTATION = "axonos.ai/reconcile-requested-at"
"""Any new value asks for a reconcile now."""
REQUESTED_BY_ANNOTATION = "axonos.ai/requested-by"
"""Who gave the object its spec; stamped by the API server (the chart's MutatingAdmissionPolicy), not by us."""
REQUESTED_GENERATION_ANNOTATION = "axonos.ai/requested-generation"
"""The generation that this person asked for; later ones came about by ways that cannot be stamped."""
REVISION_ANNOTATION = "axonos.ai/credentials-revision"
"""On pods: a change makes the kubelet sync the pod's volumes at once instead of within 60-90 s."""

VAULT_OWNER_KEY = "axon_owner_uid"
VAULT_SUSPENDED_KEY = "axon_suspended"
VAULT_TENANT_KEY = "axon_tenant"
VAULT_ORGANIZATION_KEY = "axon_organization"
REALM_OWNER_ATTRIBUTE = "axonos.ai/owner-uid"
ORGANIZATION_MARK = "axonos.ai/organization-id"
"""Annotation of the namespace and attribute of the realm."""

KV_MOUNT = "kv"
STATUS_MOUNT = "runtime-status"
RUNTIME_AUTH_MOUNT = "k8s"

RUNTIME_PREFIX = "rt-"
"""Every principal of a runtime begins so; policies and roles of the operator's own or of others never do."""


def _digest(*parts: str, length: int) -> str:
    # the unit separator cannot occur in a Kubernetes name, so joining is injective
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:length]


SHARDS = 16
"""Fixed, because a tenant must never change its shard."""


def shard_of(namespace: str) -> int:
    """The shard of a tenant, by the name of its namespace: a Tenant and all that is in it share one."""
    return int(_digest(namespace, length=8), 16) % SHARDS


@dataclass(frozen=True, slots=True)
class TenantNames:
    """Where a tenant lives in the three systems."""

    tenant: str
    uid: str

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace."""
        return f"axon-{self.tenant}"

    @property
    def realm(self) -> str:
        """The Keycloak realm."""
        return f"axon-{self.tenant}"

    @property
    def vault_namespace(self) -> str:
        """The OpenBao namespace below the operator's parent namespace.

        Opaque, because OpenBao tells anyone whether a namespace of a given name exists.
        """
        return f"t-{_digest(self.uid, length=16)}"


@dataclass(frozen=True, slots=True)
class RuntimeNames:
    """Names derived from one WorkflowRuntime."""

    namespace: str
    runtime: str
    uid: str

    @property
    def principal(self) -> str:
        """Service account, Deployment, ConfigMap, OpenBao role and policy, Keycloak client: one name in all three systems."""
        return f"{RUNTIME_PREFIX}{self.runtime}-{_digest(self.namespace, self.runtime, self.uid, length=10)}"

    @property
    def subject(self) -> str:
        """The `sub` of the pods' projected tokens."""
        return f"system:serviceaccount:{self.namespace}:{self.principal}"
