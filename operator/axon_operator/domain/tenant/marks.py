"""What the mark of a tenant's OpenBao namespace or realm says, and so whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from axon_operator.api.tenant import DeletionPolicy
from axon_operator.domain.names import (
    REALM_CLUSTER_ATTRIBUTE,
    REALM_OWNER_ATTRIBUTE,
    REALM_POLICY_ATTRIBUTE,
    REALM_RETAINED_ATTRIBUTE,
    VAULT_CLUSTER_KEY,
    VAULT_HOME_KEY,
    VAULT_OWNER_KEY,
    VAULT_POLICY_KEY,
    VAULT_RETAINED_KEY,
    VAULT_TENANT_KEY,
    TenantNames,
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark; what it does not say is empty, and of something foreign all is."""

    owner: str
    """The Tenant's uid."""
    cluster: str
    """The cluster in which that Tenant is, or was; empty in marks that were made before they named it."""
    tenant: str
    """The Tenant's name; a realm's mark leaves that to the realm's own."""
    home: str
    """The uid from which the OpenBao namespace's name was made, if that is another one."""
    policy: str
    """What the Tenant wanted to become of the thing, should it be deleted."""
    retained_at: str
    """When the Tenant was deleted that left this behind on purpose."""

    def is_of(self, uid: str, cluster: str) -> bool:
        """Whether it was made for this Tenant. That Tenant completes a mark without cluster."""
        return self.owner == uid and self.cluster in {"", cluster}

    @property
    def vault_namespace(self) -> str:
        """The name that an OpenBao namespace with this mark must have."""
        return TenantNames(self.tenant, self.owner, self.home).vault_namespace

    @property
    def keeps(self) -> bool:
        """Whether nobody may remove the thing but a Tenant that lives and has changed its mind."""
        return bool(self.retained_at) or self.policy == DeletionPolicy.RETAIN


def vault_mark(namespace: Mapping[str, Any] | None) -> Mark:
    """Of an OpenBao namespace."""
    found = (namespace or {}).get("custom_metadata") or {}

    def of(key: str) -> str:
        return str(found.get(key) or "")

    return Mark(
        owner=of(VAULT_OWNER_KEY),
        cluster=of(VAULT_CLUSTER_KEY),
        tenant=of(VAULT_TENANT_KEY),
        home=of(VAULT_HOME_KEY),
        policy=of(VAULT_POLICY_KEY),
        retained_at=of(VAULT_RETAINED_KEY),
    )


def realm_mark(realm: Mapping[str, Any] | None) -> Mark:
    """Of a realm; of a foreign one Keycloak shows no attributes."""
    found = (realm or {}).get("attributes") or {}

    def of(key: str) -> str:
        return str(found.get(key) or "")

    return Mark(
        owner=of(REALM_OWNER_ATTRIBUTE),
        cluster=of(REALM_CLUSTER_ATTRIBUTE),
        tenant="",
        home="",
        policy=of(REALM_POLICY_ATTRIBUTE),
        retained_at=of(REALM_RETAINED_ATTRIBUTE),
    )
