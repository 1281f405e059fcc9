"""What an orphan is, and what becomes of it: decided from what a look has shown, without a look of its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from axon_operator.domain.consent import runtime_of
from axon_operator.domain.names import (
    ACCOUNTS,
    DATABASE_MOUNT,
    DIRECTORY,
    GENERATED,
    GRANTS,
    KV_MOUNT,
    PKI_MOUNT,
    RUNTIME_AUTH_MOUNT,
    RUNTIME_PREFIX,
    STATUS_MOUNT,
    TRANSIT_MOUNT,
    TenantNames,
)
from axon_operator.domain.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    SERVICE,
    SERVICE_ACCOUNT,
    RealmPath,
    Ref,
    VaultPath,
)
from axon_operator.reconcile.engine.plan import System

KUBERNETES: Final = System.KUBERNETES
OPENBAO: Final = System.OPENBAO
KEYCLOAK: Final = System.KEYCLOAK

RECORD: Final = "Record"
KEY: Final = "Key"
ENTRY: Final = "Entry"
"""In the tenant's directory of runtimes."""
GRANT: Final = "Grant"
NOTE: Final = "KeptAccount"
"""That a runtime was given the password of an account which OpenBao keeps."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where runtimes have something in their tenant's OpenBao namespace, under names with their principal in them."""

    path: str
    kind: str
    issues: str = ""
    """Below it stands, by the same names, what OpenBao has issued there and can revoke."""
    behind: int = 0
    """Parts of the name before the principal: a database's connection, and the role of an account that OpenBao keeps."""

    def principal(self, name: str) -> str | None:
        """The principal in the name of something that stands here; None if it is not a runtime's."""
        parts = name.split(".")[self.behind :]
        return parts[0] if parts and parts[0].startswith(RUNTIME_PREFIX) else None


FOLDERS: Final = (
    # first what lets a runtime's pods in: then nobody can have something issued any more
    Folder(f"auth/{RUNTIME_AUTH_MOUNT}/role", "Role"),
    Folder("sys/policies/acl", "Policy"),
    Folder(STATUS_MOUNT, RECORD),
    Folder(f"{DATABASE_MOUNT}/roles", "DatabaseRole", issues=f"{DATABASE_MOUNT}/creds", behind=1),
    Folder(f"{PKI_MOUNT}/roles", "CertificateRole", issues=f"{PKI_MOUNT}/issue"),
    Folder(f"{KV_MOUNT}/metadata/{GENERATED}", "GeneratedValue"),
    Folder(f"{KV_MOUNT}/metadata/{ACCOUNTS}", NOTE, behind=2),
    Folder(f"{TRANSIT_MOUNT}/keys", KEY),
)
DIRECTORY_FOLDER: Final = f"{KV_MOUNT}/metadata/{DIRECTORY}"
"""Its entries have the names of runtimes."""
GRANTS_FOLDER: Final = f"{KV_MOUNT}/metadata/{GRANTS}"
"""What users have granted, by the uids of runtimes."""
ISSUES: Final = {folder.kind: folder.issues for folder in FOLDERS if folder.issues}
CHILDREN: Final = (
    DEPLOYMENT, JOB, SERVICE, CONFIG_MAP, NETWORK_POLICY, ROLE_BINDING, SERVICE_ACCOUNT, RESOURCE_QUOTA, LIMIT_RANGE,
)  # fmt: skip
WALLS: Final = frozenset({NETWORK_POLICY, RESOURCE_QUOTA, LIMIT_RANGE})
"""Of a tenant's namespace: they only restrict, so taking one away would open something."""

KINDS: Final = (
    (KUBERNETES, NAMESPACE.kind),
    *((KUBERNETES, resource.kind) for resource in CHILDREN),
    (OPENBAO, "Namespace"),
    *((OPENBAO, folder.kind) for folder in FOLDERS),
    (OPENBAO, ENTRY),
    (OPENBAO, GRANT),
    (KEYCLOAK, "Realm"),
    (KEYCLOAK, "Client"),
)
"""Every (system, kind) that an orphan can have, in the order of removal within a system."""


class Fate(Enum):
    """What becomes of an orphan."""

    ACCESS = auto()
    """It lets somebody in, or is of no use to anybody: removed after the short grace."""
    TENANT = auto()
    """It holds an organization's data, which an administrator may want back: removed after the long grace."""
    STAYS = auto()
    """A wall in a namespace that is in use: reported, never removed."""
    KEPT = auto()
    """It holds an organization's data and is retained, or its mark names no cluster: never removed, nor the rest."""


DATA: Final = frozenset({Fate.TENANT, Fate.KEPT})
"""Fates of the parts of a whole tenant."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Something that carries our mark."""

    system: System
    kind: str
    at: Ref | VaultPath | RealmPath
    owner: str
    """The uid in the mark. What runtimes have in OpenBao has no mark but its name: then what that tells of the runtime,
    its principal, its uid or its place."""
    tenant: str
    """Name of the Tenant in whose part of the system it stands."""
    fate: Fate
    place: str
    """The part of the look that shows it; see `Look.blind`."""
    home: str = ""
    """Of an OpenBao namespace that its tenant had adopted: the uid for which it was made."""

    def __str__(self) -> str:
        return {KUBERNETES: "", OPENBAO: f"OpenBao {self.kind} ", KEYCLOAK: f"Keycloak {self.kind} "}[
            self.system
        ] + str(self.at)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look over the three systems has shown."""

    traces: frozenset[Trace]
    living: frozenset[str]
    """Uids of all our objects, those being deleted too, and the principals and places of runtimes."""
    blind: frozenset[str] = frozenset()
    """Places that could not be looked at, or were not: what is remembered there stays as it is."""
    inhabited: frozenset[str] = frozenset()
    """Namespaces of no living Tenant in which there are runtimes or bindings."""
    tenants: int = field(kw_only=True)
    """Number of living Tenants."""


@dataclass(frozen=True, slots=True)
class Graces:
    """Seconds from the first sight to the removal."""

    access: float
    tenant: float

    def of(self, trace: Trace) -> float:
        """The grace of an orphan."""
        return {Fate.ACCESS: self.access, Fate.TENANT: self.tenant}.get(trace.fate, float("inf"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a look."""

    memory: Mapping[Trace, float] = field(default_factory=dict)
    """Orphans, and when each was first seen, on the monotonic clock."""
    new: frozenset[Trace] = frozenset()
    due: frozenset[Trace] = frozenset()
    held: frozenset[Trace] = frozenset()
    """Whole tenants that would be due, were they not so many."""


def judge(memory: Mapping[Trace, float], look: Look, now: float, graces: Graces) -> Verdict:
    """What to remember, to report and to remove. Pure.

    Nothing whose owner lives is in the result, nothing is due that this look has not shown, and an orphan that had
    an owner in between is new again.
    """
    orphans = frozenset(trace for trace in look.traces if trace.owner not in look.living)
    kept = {
        trace: since
        for trace, since in memory.items()
        if trace in orphans or (trace.place in look.blind and trace.owner not in look.living)
    }
    remembered = {**dict.fromkeys(orphans, now), **kept}
    dead = {(trace.tenant, trace.owner) for trace in remembered if trace.fate is Fate.TENANT}
    # not fewer dead than alive: rather a restored cluster, or a second one on the same OpenBao, than so many accidents
    plausible = len(dead) < look.tenants
    old = frozenset(trace for trace in orphans if now - remembered[trace] >= graces.of(trace))
    access = frozenset(trace for trace in old if trace.fate is Fate.ACCESS)
    whole = frozenset(trace for trace in old if _whole_tenant_is_due(trace, remembered, old, look))
    due, held = (access | whole, frozenset[Trace]()) if plausible else (access, whole)
    return Verdict(remembered, orphans - memory.keys(), due, held)


def _whole_tenant_is_due(trace: Trace, remembered: Mapping[Trace, float], old: frozenset[Trace], look: Look) -> bool:
    """A tenant goes as a whole or not at all: never while a part of it is young, unseen, kept or lived in."""
    names = TenantNames(trace.tenant, trace.owner)
    places = {KUBERNETES, OPENBAO, realm_place(names.realm)}
    if trace.fate is not Fate.TENANT or names.namespace in look.inhabited or places & look.blind:
        return False
    parts = (t for t in remembered if t.fate in DATA and (t.owner, t.tenant) == (trace.owner, trace.tenant))
    return all(part in old for part in parts)


_GRANTED_AT_ONCE: Final = 100
"""Runtimes that are gone and have grants, in one look: users write what names they like there."""


def granted_to_nobody(grants: Iterable[str], living: frozenset[str]) -> Mapping[str, str]:
    """Folders of grants whose runtime is gone, with its uid: one for all its revisions, and one for each."""
    folders = sorted({grant.partition("/")[0] for grant in grants})
    gone = [(folder, uid) for folder in folders if (uid := runtime_of(folder)) and uid not in living]
    return dict(gone[:_GRANTED_AT_ONCE])


def place_of(namespace: str, runtime: str) -> str:
    """How the owner of an entry in the directory is told from others: by no uid, since the entry has its name only."""
    return f"{namespace}/{runtime}"


def realm_place(realm: str) -> str:
    """The look at a realm itself."""
    return f"{KEYCLOAK}/{realm}"


def clients_place(realm: str) -> str:
    """The look at a realm's clients."""
    return f"{KEYCLOAK}/{realm}/clients"


def inside_place(vault_namespace: str) -> str:
    """The look into a tenant's OpenBao namespace."""
    return f"{OPENBAO}/{vault_namespace}"


def order(trace: Trace) -> tuple[int, str]:
    """The order of removal."""
    return KINDS.index((trace.system, trace.kind)), str(trace.at)
