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
PROFILE_LABEL = "axonos.ai/profile"
"""On a tenant's namespace: its GovernanceProfile, where the admission policies of runtimes and bindings look for it."""
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
RUN_ANNOTATION = "axonos.ai/run"
"""On a Job: what was to run, so that another pod template of a newer operator does not run it again."""
PROGRAM_ANNOTATION = "axonos.ai/program"
"""On pods: what runs in them, so that what users grant to one program waits until no pod of another one is left."""
VARIABLES_ANNOTATION = "axonos.ai/variables"
"""In the pod template: which credentials are in environment variables, so that changed ones replace the pods."""
ABANDON_ANNOTATION = "axonos.ai/abandon"
"""On a Tenant that is being deleted: the systems without which the deletion is to end."""
ADOPT_ANNOTATION = "axonos.ai/adopt"
"""On a new Tenant: the uid of a lost one of its name, whose OpenBao namespace, realm and namespace it is to have."""

VAULT_OWNER_KEY = "axon_owner_uid"
VAULT_HOME_KEY = "axon_home_uid"
"""Where it is not the owner's uid: the one from which the namespace's name was made."""
VAULT_CLUSTER_KEY = "axon_cluster"
VAULT_SUSPENDED_KEY = "axon_suspended"
VAULT_TENANT_KEY = "axon_tenant"
VAULT_ORGANIZATION_KEY = "axon_organization"
VAULT_POLICY_KEY = "axon_deletion_policy"
VAULT_RETAINED_KEY = "axon_retained_at"
REALM_OWNER_ATTRIBUTE = "axonos.ai/owner-uid"
REALM_CLUSTER_ATTRIBUTE = "axonos.ai/cluster"
REALM_POLICY_ATTRIBUTE = "axonos.ai/deletion-policy"
REALM_RETAINED_ATTRIBUTE = "axonos.ai/retained-at"
ORGANIZATION_MARK = "axonos.ai/organization-id"
"""Annotation of the namespace and attribute of the realm."""

HOST_LABEL = "axonos.ai/host"
PURPOSE_LABEL = "axonos.ai/purpose"
"""With the tenant's label: for whom a credential in the operator's namespace is."""
CREDENTIAL_MARK = "axonos.ai/credential"
"""In Keycloak, beside a credential that cannot be read back: which version of its Secret was written."""

LOGOUT_KEY = "axon_logout"
"""In the metadata of an entity that is disabled for the time of a logout: one that somebody else has disabled has it not."""
DATABASE_ACCOUNT_KEY = "axon_account"
"""In OpenBao, beside the password of a database: whose it is, and where."""
DATABASE_CREDENTIAL_KEY = "axon_credential"
"""Which version of its Secret was written."""
DATABASE_ROTATED_AT_KEY = "axon_rotated_at"
"""When that was done last (RFC 3339)."""
DATABASE_ROTATED_KEY = "axon_rotated"
"""Which version of its Secret has been replaced by a password that only OpenBao knows."""

KV_MOUNT = "kv"
GENERATED = "generated"
ACCOUNTS = "accounts"
GRANTS = "grants"
DIRECTORY = "runtimes"
"""Folders of the KV store beside the organization's `org` and the users' `users`."""
STATUS_MOUNT = "runtime-status"
TRANSIT_MOUNT = "transit"
PKI_MOUNT = "pki"
DATABASE_MOUNT = "database"
RUNTIME_AUTH_MOUNT = "k8s"
USER_AUTH_MOUNT = "keycloak"
USERS_CLIENT = "openbao"
"""The realm's client for people's logins to OpenBao, and the only audience of its access tokens."""

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


NAMESPACE_PREFIX = "axon-"
"""Of the Kubernetes namespaces of tenants, and of their realms."""


def tenant_in(namespace: str) -> str:
    """The tenant that a namespace of this name would be of."""
    return namespace.removeprefix(NAMESPACE_PREFIX)


@dataclass(frozen=True, slots=True)
class TenantNames:
    """Where a tenant lives in the three systems."""

    tenant: str
    uid: str
    home: str = ""
    """The uid of the lost Tenant whose OpenBao namespace this one lives in; empty if it has one of its own."""

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace."""
        return f"{NAMESPACE_PREFIX}{self.tenant}"

    @property
    def realm(self) -> str:
        """The Keycloak realm."""
        return f"{NAMESPACE_PREFIX}{self.tenant}"

    @property
    def vault_namespace(self) -> str:
        """The OpenBao namespace below the operator's parent namespace.

        Opaque, because OpenBao tells anyone whether a namespace of a given name exists.
        """
        return f"t-{_digest(self.first_uid, length=16)}"

    @property
    def first_uid(self) -> str:
        """Of the Tenant for which all this was made: what was adopted keeps its names and ids."""
        return self.home or self.uid


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
    def issues(self) -> str:
        """What the names of all issues of this runtime begin with; a principal has no dot, so no other's do."""
        return f"{self.principal}."

    def issue(self, binding: str, binding_uid: str, number: int) -> str:
        """Name in OpenBao of one generation of a binding's credential."""
        return f"{self.series(binding, binding_uid)}{number}"

    def series(self, binding: str, binding_uid: str) -> str:
        """What the names of all generations of a binding begin with."""
        return f"{self.issues}{binding}-{_digest(binding, binding_uid, length=10)}."

    @property
    def subject(self) -> str:
        """The `sub` of the pods' projected tokens."""
        return f"system:serviceaccount:{self.namespace}:{self.principal}"
