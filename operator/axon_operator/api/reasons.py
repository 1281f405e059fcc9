"""The one list of condition types and reasons. Reasons are also the reasons of Kubernetes Events.

They are API: users write alerts and `kubectl wait` on them. The comment on each member is its
documentation; `docs/reference/conditions.md` is generated from it.
"""

from enum import StrEnum


class ConditionType(StrEnum):
    """What a condition speaks of. `Ready`, `Reconciling` and `Stalled` follow kstatus."""

    READY = "Ready"
    """The object does what its spec says."""
    RECONCILING = "Reconciling"
    """Work towards the spec is still under way."""
    STALLED = "Stalled"
    """Nothing will change until a person changes something; the message says what."""
    NAMESPACE_READY = "NamespaceReady"
    """The tenant's Kubernetes namespace and its guards exist as planned."""
    VAULT_READY = "VaultReady"
    """Everything planned in OpenBao exists as planned."""
    IDENTITY_READY = "IdentityReady"
    """Everything planned in Keycloak exists as planned."""
    NETWORK_READY = "NetworkReady"
    """The network policies exist as planned."""
    WORKLOAD_READY = "WorkloadReady"
    """The wanted number of pods is ready."""
    CREDENTIALS_READY = "CredentialsReady"
    """The set of credentials that the pods are to serve is published to them."""
    DELIVERED = "Delivered"
    """Every pod of the runtime serves the current set of credentials."""
    DELETION_BLOCKED = "DeletionBlocked"
    """Deletion cannot go on; the message says what stops it."""


class Reason(StrEnum):
    """Why a condition has its status; in the same words in Events."""

    # -- going well
    READY = "Ready"
    """Everything exists as planned."""
    UPDATED = "Updated"
    """Something was not as planned, changed by hand or by another object, and was set right (Event)."""
    SUSPENDED = "Suspended"
    """The object is switched off by its `suspended` field, or its tenant is."""
    RESUMED = "Resumed"
    """The object was switched on again."""
    NO_CONSUMERS = "NoConsumers"
    """The runtime has no running pods, so there is nothing to deliver to."""

    ORPHAN_FOUND = "OrphanFound"
    """Something with the operator's mark belongs to no living object; it is removed later (Event)."""
    ORPHAN_REMOVED = "OrphanRemoved"
    """Such a thing was removed (Event)."""

    # -- under way
    PROGRESSING = "Progressing"
    """Changes were made; their effect has not been observed yet."""
    DELETING = "Deleting"
    """The object is being torn down."""
    TENANT_NOT_READY = "TenantNotReady"
    """The tenant's namespace lacks its guards or its mark, or the tenant is being deleted; see the Tenant's status."""
    RUNTIME_NOT_FOUND = "RuntimeNotFound"
    """`spec.runtimeRef.name` names no WorkflowRuntime in this namespace (yet)."""
    SOURCE_MISSING = "SourceMissing"
    """The KV path does not exist (yet), or lacks a key that the binding asks for."""
    PODS_NOT_READY = "PodsNotReady"
    """The Deployment has fewer ready pods than wanted."""
    PODS_TERMINATING = "PodsTerminating"
    """Waiting for pods to be gone before credentials are revoked."""
    DEPENDENCY_NOT_READY = "DependencyNotReady"
    """An earlier part of the same object has to be ready first."""

    # -- someone must act
    NAME_TAKEN = "NameTaken"
    """Something of that name exists and does not carry this object's owner mark; it is not touched."""
    NOT_IN_TENANT = "NotInTenant"
    """The object is in a namespace that belongs to no Tenant."""
    INVALID_SPEC = "InvalidSpec"
    """The spec cannot be carried out; the message says which field and why."""
    NAMESPACES_UNSUPPORTED = "NamespacesUnsupported"
    """The secrets server ignores namespaces (as Vault CE does), so it cannot separate tenants."""
    CONFLICT = "Conflict"
    """Something exists with properties that cannot be changed in place, or two bindings name one file."""

    # -- a backend does not do its part
    KUBERNETES_UNAVAILABLE = "KubernetesUnavailable"
    """The API server could not be reached, timed out or answered with an error of its own."""
    KUBERNETES_DENIED = "KubernetesDenied"
    """The API server refused the operator."""
    VAULT_UNAVAILABLE = "VaultUnavailable"
    """OpenBao could not be reached, timed out, is sealed or answered with an error of its own."""
    VAULT_DENIED = "VaultDenied"
    """OpenBao refused the operator's login or a call."""
    VAULT_LOCKED = "VaultLocked"
    """The tenant's OpenBao namespace is locked."""
    KEYCLOAK_UNAVAILABLE = "KeycloakUnavailable"
    """Keycloak could not be reached, timed out or answered with an error of its own."""
    KEYCLOAK_DENIED = "KeycloakDenied"
    """Keycloak refused the operator's login or a call."""
    REQUEST_REJECTED = "RequestRejected"
    """A backend rejected a request as invalid; this is a defect or an unsupported server version."""
    NOT_LEADER = "NotLeader"
    """This replica no longer leads, so it writes nothing (only in its log)."""
    INTERNAL_ERROR = "InternalError"
    """The operator met an unexpected error; its log has the details under the reconcile id."""
