"""What a plan for a Tenant is made from."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from axon_operator.api.identity import LogoutStatus
from axon_operator.api.reasons import Reason
from axon_operator.api.tenant import TenantSpec
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.finding import Finding
from axon_operator.domain.governance import Profile
from axon_operator.domain.leftover import left
from axon_operator.domain.manifests import runtime_names
from axon_operator.domain.names import VAULT_SUSPENDED_KEY, TenantNames
from axon_operator.domain.resources import CONFIG_MAP, Manifest, RealmPath, Ref, VaultPath
from axon_operator.domain.runtime import told_by
from axon_operator.domain.tenant.claim import Claim
from axon_operator.domain.tenant.marks import Mark, realm_mark, vault_mark
from axon_operator.reconcile.common import Assumed, T, deleting, not_asked
from axon_operator.reconcile.tenant.abandon import Abandoned

POLL = 1.0
"""Seconds between looks at something that is being deleted."""

JUST_MADE = Waiting(Reason.PROGRESSING, "Just made; it is read next.", after=0)

JUST_ADOPTED = Waiting(Reason.PROGRESSING, "Just adopted; what it holds is compared next.", after=0)


@dataclass(frozen=True, slots=True)
class VaultSeen:
    """The tenant's OpenBao namespace and, where they can be read, its contents."""

    namespaces: bool
    """Whether the server has namespaces at all."""
    namespace: Mapping[str, Any] | None
    contents: Mapping[VaultPath, Mapping[str, Any] | None]
    roles: tuple[VaultPath, ...] = ()
    """Under which somebody can log in; looked up only when nobody may any more."""
    leases: tuple[str, ...] = ()
    """Under which prefixes there still are logins or credentials; looked up with the roles."""
    accounts: tuple[VaultPath, ...] = ()
    """Of databases, whose passwords OpenBao keeps and pods know; looked up with the roles."""
    hidden: ReconcileError | None = None
    """Why roles and leases could not be looked up."""

    @property
    def mark(self) -> Mark:
        """Whose the namespace is."""
        return vault_mark(self.namespace)

    @property
    def locked(self) -> bool:
        """Whether the namespace answers nobody."""
        return bool((self.namespace or {}).get("locked"))

    @property
    def going(self) -> bool:
        """Whether OpenBao is deleting the namespace."""
        return bool((self.namespace or {}).get("tainted"))

    @property
    def resuming(self) -> bool:
        """Whether it was closed by a suspension from which it has not come back yet, or by hand."""
        mark = ((self.namespace or {}).get("custom_metadata") or {}).get(VAULT_SUSPENDED_KEY)
        return self.locked or mark == "true"


@dataclass(frozen=True, slots=True)
class RealmSeen:
    """The tenant's realm and its contents."""

    realm: Mapping[str, Any] | None
    contents: Mapping[RealmPath, Mapping[str, Any] | None]
    """What stands under a name that is known beforehand."""
    lists: Mapping[tuple[str, ...], tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """Collection below the realm -> what is in it, others' things too."""

    credentials: Mapping[str, str | ReconcileError] = field(default_factory=dict)
    """Alias of a provider: which version of its Secret would be used, or why none may be."""
    ldap: ReconcileError | None = None
    """Why Keycloak cannot read the directory with what it has."""
    realms: int = 0
    """How many other tenants have one; looked up only while this one has none."""

    @property
    def mark(self) -> Mark:
        """Whose the realm is; a foreign one comes back without attributes."""
        return realm_mark(self.realm)


@dataclass(frozen=True, slots=True)
class DatabasesSeen:
    """What the database engine of the tenant's OpenBao namespace holds."""

    mount: Mapping[str, Any] | None
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name, in the form in which they are written; others' too. None of a mount that is not ours."""
    credentials: Mapping[str, str | ReconcileError | None] = field(default_factory=dict)
    """Name of a database: which version of its Secret would be used, None if there is no Secret, or why none may be."""
    roles: tuple[str, ...] = ()
    """By which accounts can be made; looked up when a connection is to go."""
    leases: tuple[str, ...] = ()
    """The roles of which there are accounts; looked up with the roles."""
    kept: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Accounts whose passwords OpenBao keeps, by the names under which it does."""


@dataclass(frozen=True, slots=True)
class Person:
    """One user, or everybody, in Keycloak and OpenBao."""

    subject: str | None
    """The user's id in the realm; None if there is no such user, and for everybody."""
    mount: str | None = None
    """Accessor of the mount through which users log in; None if there is none, so nobody can."""
    entity: Mapping[str, Any] | None = None
    """The user's entity in OpenBao."""
    open: bool = False
    """Of everybody: whether somebody can log in, or is."""

    @property
    def closed(self) -> bool:
        """Whether OpenBao accepts neither logins nor tokens."""
        if self.subject is None:
            return not self.open
        return self.mount is None or (self._is_disabled and bool((self.entity or {}).get("aliases")))

    @property
    def _is_disabled(self) -> bool:
        return bool((self.entity or {}).get("disabled"))


People = Mapping[str, Person | ReconcileError]
"""By their name in the spec."""


@dataclass(frozen=True, slots=True)
class TenantSeen:
    """Everything a plan for a Tenant depends on."""

    names: TenantNames
    cluster: str
    """In which the Tenant is."""
    spec: TenantSpec
    profile: Profile | None
    deleted_at: str | None
    """When deletion was asked for."""
    abandoned: Abandoned
    claim: Claim | Terminal | None
    """What is to be taken over, or why that cannot be."""
    changed: bool
    """The spec is newer than the status."""
    recorded: Mapping[str, str]
    """From the status: names of what was seen to be ours (`namespace`, `vaultNamespace`, `adoptedUID`, `realm`)."""
    namespace: Manifest | None
    guards: Mapping[Ref, Manifest | None]
    openings: tuple[Manifest, ...] | ReconcileError
    """When suspended: network policies of ours that still open something."""
    now: datetime.datetime
    """On the operator's own clock, for spans since what it recorded itself."""
    findings: tuple[Finding, ...]
    audit: Finding | None
    """Whether OpenBao records requests, as last found, be it by the process before; None: nobody looks."""
    logouts: tuple[LogoutStatus, ...]
    """From the status."""
    people: People
    """Whose forced logout is not over."""
    tenants_objects: tuple[Manifest, ...]
    """Runtimes and bindings in the namespace."""
    pods: int
    vault: VaultSeen | ReconcileError | Assumed
    databases: DatabasesSeen | ReconcileError | Assumed
    keycloak: RealmSeen | ReconcileError | Assumed

    @property
    def own_vault(self) -> VaultSeen | None:
        """The OpenBao namespace, if it was seen to carry the Tenant's mark."""
        found = self.vault
        return found if isinstance(found, VaultSeen) and found.mark.is_of(self.names.uid, self.cluster) else None

    @property
    def own_realm(self) -> RealmSeen | None:
        """The realm, if it was seen to carry the Tenant's mark."""
        found = self.keycloak
        return found if isinstance(found, RealmSeen) and found.mark.is_of(self.names.uid, self.cluster) else None

    @property
    def takes_over(self) -> Claim | None:
        """The claim, once the OpenBao namespace, which decides, is the tenant's."""
        ours = self.own_vault is not None
        return self.claim if ours and self.names.home and isinstance(self.claim, Claim) else None


def known(seen: T | ReconcileError | Assumed) -> T:
    """What was seen; raises why it was not."""
    if isinstance(seen, ReconcileError):
        raise seen
    if isinstance(seen, Assumed):
        raise not_asked()
    return seen


def leftovers(kubernetes: Kubernetes, bindings: Sequence[Manifest], runtimes: Sequence[Manifest]) -> tuple[str, ...]:
    """Bindings that are gone, and that OpenBao has not been told of; a runtime that is going tells of its own."""
    living = [b["metadata"]["uid"] for b in bindings]
    staying = (runtime_names(r) for r in runtimes if not deleting(r))
    configs = ((n, kubernetes.get(Ref(CONFIG_MAP, n.namespace, n.principal))) for n in staying)
    return tuple(f"{name} of {n.runtime}" for n, config in configs for name in left(told_by(config), living))


def require_unrecorded(seen: TenantSeen, field: str, what: str, mark: str) -> None:
    """Raises `Terminal(NameTaken)` for something that was ours and has lost its mark; what never was ours, stays."""
    if field in seen.recorded:
        message = (
            f"{what} was made for this tenant and has lost its mark ({mark}); it is not touched. "
            f"Put the mark back ({seen.names.uid}), or remove it by hand."
        )
        raise Terminal(Reason.NAME_TAKEN, message)
