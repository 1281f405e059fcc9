"""The orphan sweep: what carries our mark in any system and belongs to no living object.

Such things come about when somebody takes a finalizer off, a backup is restored, or a deletion was abandoned. They
are reported at first sight and removed after a grace period:

    look() -> Look       all reads; a part that cannot be read is named, and nothing is concluded from its silence
    judge() -> Verdict   pure; what is remembered, what is new, what is to go
    removals             one by one, each after its mark was read again, by the same changes as in any plan
"""

import datetime
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any, Final

from axon_operator.api.reasons import ConditionType
from axon_operator.backends.errors import ReconcileError, Waiting
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.manifests import owner_uid
from axon_operator.domain.names import (
    OURS,
    REALM_OWNER_ATTRIBUTE,
    RUNTIME_AUTH_MOUNT,
    RUNTIME_LABEL,
    RUNTIME_PREFIX,
    STATUS_MOUNT,
    TENANT_LABEL,
    VAULT_OWNER_KEY,
    VAULT_TENANT_KEY,
    RuntimeNames,
    TenantNames,
)
from axon_operator.domain.resources import (
    BINDING,
    CONFIG_MAP,
    DEPLOYMENT,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    RUNTIME,
    SERVICE,
    SERVICE_ACCOUNT,
    TENANT,
    Manifest,
    RealmPath,
    Ref,
    VaultPath,
    ref_of,
)
from axon_operator.reconcile.common import attempt, deleting
from axon_operator.reconcile.engine.controller import Audit
from axon_operator.reconcile.engine.plan import (
    Backends,
    Change,
    KubeDelete,
    Plan,
    RealmDelete,
    Stage,
    System,
    VaultDelete,
    apply,
)

KUBERNETES: Final = System.KUBERNETES
OPENBAO: Final = System.OPENBAO
KEYCLOAK: Final = System.KEYCLOAK

_ROLES: Final = f"auth/{RUNTIME_AUTH_MOUNT}/role"
_POLICIES: Final = "sys/policies/acl"
_NAMESPACES: Final = "sys/namespaces"
_RECORD: Final = "Record"
_FOLDERS: Final = ((_ROLES, "Role"), (_POLICIES, "Policy"), (STATUS_MOUNT, _RECORD))
"""Where runtimes have something in their tenant's OpenBao namespace, under their principal's name."""
_CHILDREN: Final = (
    DEPLOYMENT, SERVICE, CONFIG_MAP, NETWORK_POLICY, ROLE_BINDING, SERVICE_ACCOUNT, RESOURCE_QUOTA, LIMIT_RANGE,
)  # fmt: skip
_WALLS: Final = frozenset({NETWORK_POLICY, RESOURCE_QUOTA, LIMIT_RANGE})
"""Of a tenant's namespace: they only restrict, so taking one away would open something."""

KINDS: Final = (
    (KUBERNETES, NAMESPACE.kind),
    *((KUBERNETES, resource.kind) for resource in _CHILDREN),
    (OPENBAO, "Namespace"),
    *((OPENBAO, kind) for _, kind in _FOLDERS),
    (KEYCLOAK, "Realm"),
    (KEYCLOAK, "Client"),
)
"""Every (system, kind) that an orphan can have, in the order of removal within a system."""

_TEARDOWN_PATIENCE: Final = 60.0
"""Seconds that one sweep waits for one tenant's remains to go; the next sweep goes on."""


class Fate(Enum):
    """What becomes of an orphan."""

    ACCESS = auto()
    """It lets somebody in, or is of no use to anybody: removed after the short grace."""
    TENANT = auto()
    """It holds an organization's data, which an administrator may want back: removed after the long grace."""
    STAYS = auto()
    """A wall in a namespace that is in use: reported, never removed."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Something that carries our mark."""

    system: System
    kind: str
    at: Ref | VaultPath | RealmPath
    owner: str
    """The uid in the mark. What runtimes have in OpenBao has no mark but its name: then the principal."""
    tenant: str
    """Name of the Tenant in whose part of the system it stands."""
    fate: Fate
    place: str
    """The part of the look that shows it; see `Look.blind`."""

    def __str__(self) -> str:
        return {KUBERNETES: "", OPENBAO: f"OpenBao {self.kind} ", KEYCLOAK: f"Keycloak {self.kind} "}[
            self.system
        ] + str(self.at)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look over the three systems has shown."""

    traces: frozenset[Trace]
    living: frozenset[str]
    """Uids of all our objects, those being deleted too, and the principals of runtimes."""
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
        return {Fate.ACCESS: self.access, Fate.TENANT: self.tenant, Fate.STAYS: float("inf")}[trace.fate]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a look."""

    memory: Mapping[Trace, float] = field(default_factory=dict)
    """Orphans, and when each was first seen, on the monotonic clock."""
    new: frozenset[Trace] = frozenset()
    due: frozenset[Trace] = frozenset()


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
    due = frozenset(
        trace
        for trace in old
        if trace.fate is Fate.ACCESS or (plausible and _whole_tenant_is_due(trace, remembered, old, look))
    )
    return Verdict(remembered, orphans - memory.keys(), due)


def _whole_tenant_is_due(trace: Trace, remembered: Mapping[Trace, float], old: frozenset[Trace], look: Look) -> bool:
    """A tenant goes as a whole or not at all: never while a part of it is young, unseen or lived in."""
    names = TenantNames(trace.tenant, trace.owner)
    places = {KUBERNETES, OPENBAO, realm_place(names.realm)}
    if trace.fate is not Fate.TENANT or names.namespace in look.inhabited or places & look.blind:
        return False
    whole = (t for t in remembered if (t.fate, t.owner, t.tenant) == (Fate.TENANT, trace.owner, trace.tenant))
    return all(t in old for t in whole)


def realm_place(realm: str) -> str:
    """The look at a realm itself."""
    return f"{KEYCLOAK}/{realm}"


def clients_place(realm: str) -> str:
    """The look at a realm's clients."""
    return f"{KEYCLOAK}/{realm}/clients"


def inside_place(vault_namespace: str) -> str:
    """The look into a tenant's OpenBao namespace."""
    return f"{OPENBAO}/{vault_namespace}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a sweep found and did."""

    known: frozenset[Trace]
    """All orphans that there still are."""
    new: frozenset[Trace]
    removed: tuple[Trace, ...]
    problems: Mapping[str, ReconcileError]
    """By place or orphan: what could not be looked at or removed. The next sweep tries again."""


class Sweep:
    """Looks, judges, removes. Not thread-safe: one thread runs it."""

    def __init__(
        self,
        to: Backends,
        graces: Graces,
        teardown: Callable[[Manifest], Plan],
        *,
        audit: Audit,
        now: Callable[[], datetime.datetime],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """`teardown`: the next plan of a Tenant that is being deleted; it reads every mark again.

        `clock` must be monotonic: the graces are measured on it. `pause`: waits so many seconds.
        """
        self._to = to
        self._graces = graces
        self._teardown = teardown
        self._audit = audit
        self._now = now
        self._clock = clock
        self._pause = pause
        self._memory: Mapping[Trace, float] = {}

    def run(self) -> Report:
        """One sweep. Raises only what is none of the four errors."""
        before = self._living()
        parts = self._look(before)
        # an object that went or came while we looked counts as living: its things were on their way
        living = before | self._living()
        tenants = len(self._to.kubernetes.list(TENANT, ""))
        look = Look(frozenset(parts.traces), living, frozenset(parts.blind), self._inhabited(living), tenants=tenants)
        verdict = judge(self._memory, look, self._clock(), self._graces)
        removed, failed = self._remove(verdict.due)
        self._memory = {trace: since for trace, since in verdict.memory.items() if trace not in removed}
        return Report(frozenset(self._memory), verdict.new, removed, {**parts.problems, **failed})

    # -- looking

    def _living(self) -> frozenset[str]:
        kubernetes = self._to.kubernetes
        runtimes = [_runtime_names(live) for live in kubernetes.list(RUNTIME, "")]
        uids = (live["metadata"]["uid"] for kind in (TENANT, BINDING) for live in kubernetes.list(kind, ""))
        return frozenset([*uids, *(names.uid for names in runtimes), *(names.principal for names in runtimes)])

    def _inhabited(self, living: frozenset[str]) -> frozenset[str]:
        kubernetes = self._to.kubernetes
        used = {live["metadata"]["namespace"] for kind in (RUNTIME, BINDING) for live in kubernetes.list(kind, "")}
        return frozenset(used - {n["metadata"]["name"] for n in self._namespaces() if owner_uid(n) in living})

    def _namespaces(self) -> tuple[Manifest, ...]:
        return self._to.kubernetes.list(NAMESPACE, "", OURS)

    def _look(self, living: frozenset[str]) -> "_Parts":
        parts = _Parts()
        tenants = self._to.kubernetes.list(TENANT, "")
        parts.add(KUBERNETES, lambda: in_kubernetes(self._to.kubernetes, self._namespaces()))
        parts.add(OPENBAO, lambda: self._vault_namespaces(tenants))
        for live in tenants:
            self._look_into(live, parts)
        dead = {
            (trace.tenant, trace.owner)
            for trace in (*parts.traces, *self._memory)
            if trace.fate is Fate.TENANT and trace.owner not in living
        }
        for tenant, owner in sorted(dead):
            names = TenantNames(tenant, owner)
            parts.add(realm_place(names.realm), partial(self._realm, names))
        return parts

    def _look_into(self, tenant: Manifest, parts: "_Parts") -> None:
        """What runtimes have in a living tenant's OpenBao namespace and realm."""
        names = TenantNames(tenant["metadata"]["name"], tenant["metadata"]["uid"])
        inside, clients = inside_place(names.vault_namespace), clients_place(names.realm)
        if deleting(tenant) or tenant["spec"].get("suspended"):
            # locked, or on its way out: nothing there lets anybody in
            parts.blind |= {inside, clients}
            return
        parts.add(inside, lambda: self._inside(names))
        parts.add(clients, lambda: self._clients(names))

    def _vault_namespaces(self, tenants: Iterable[Manifest]) -> Iterable[Trace]:
        """The remains of tenants in OpenBao: namespaces with a mark, under the name that goes with it."""
        used = {TenantNames("", live["metadata"]["uid"]).vault_namespace for live in tenants}
        for key in self._to.vault.list(VaultPath("", _NAMESPACES)):
            name = key.rstrip("/")
            if name in used:
                continue
            at = VaultPath("", f"{_NAMESPACES}/{name}")
            mark = _vault_mark(self._to.vault.read(at))
            owner = str(mark.get(VAULT_OWNER_KEY) or "")
            if owner and TenantNames("", owner).vault_namespace == name:
                yield Trace(OPENBAO, "Namespace", at, owner, str(mark.get(VAULT_TENANT_KEY)), Fate.TENANT, OPENBAO)

    def _inside(self, names: TenantNames) -> Iterable[Trace]:
        vault, home = self._to.vault, names.vault_namespace
        seen = vault.read(VaultPath("", f"{_NAMESPACES}/{home}"))
        if _vault_mark(seen).get(VAULT_OWNER_KEY) != names.uid:
            return
        for folder, kind in _FOLDERS:
            for key in vault.list(VaultPath(home, folder)):
                name = key.rstrip("/")
                if name.startswith(RUNTIME_PREFIX):
                    at = VaultPath(home, f"{folder}/{name}")
                    yield Trace(OPENBAO, kind, at, name, names.tenant, Fate.ACCESS, inside_place(home))

    def _realm(self, names: TenantNames) -> Iterable[Trace]:
        if _attributes(self._to.keycloak.read(RealmPath(names.realm))).get(REALM_OWNER_ATTRIBUTE) == names.uid:
            at, place = RealmPath(names.realm), realm_place(names.realm)
            yield Trace(KEYCLOAK, "Realm", at, names.uid, names.tenant, Fate.TENANT, place)

    def _clients(self, names: TenantNames) -> Iterable[Trace]:
        keycloak, realm = self._to.keycloak, names.realm
        if _attributes(keycloak.read(RealmPath(realm))).get(REALM_OWNER_ATTRIBUTE) != names.uid:
            return
        for client in keycloak.list(RealmPath(realm, ("clients",))):
            owner = _attributes(client).get(REALM_OWNER_ATTRIBUTE)
            if owner:
                at = RealmPath(realm, ("clients", str(client["id"])))
                yield Trace(KEYCLOAK, "Client", at, owner, names.tenant, Fate.ACCESS, clients_place(realm))

    # -- removing

    def _remove(self, due: frozenset[Trace]) -> tuple[tuple[Trace, ...], dict[str, ReconcileError]]:
        """What was removed, and what could not be."""
        removed: list[Trace] = []
        failed: dict[str, ReconcileError] = {}
        for trace in sorted((t for t in due if t.fate is Fate.ACCESS), key=_order):
            gone = attempt(partial(self._remove_one, trace))
            if isinstance(gone, ReconcileError):
                failed[str(trace)] = gone
            elif gone:
                removed.append(trace)
        whole = [t for t in due if t.fate is Fate.TENANT]
        for tenant, owner in sorted({(t.tenant, t.owner) for t in whole}):
            names = TenantNames(tenant, owner)
            gone = attempt(partial(self._tear_down, names))
            if isinstance(gone, ReconcileError):
                failed[f"Tenant {tenant} ({owner})"] = gone
            elif gone:
                removed += sorted((t for t in whole if (t.tenant, t.owner) == (tenant, owner)), key=_order)
        return tuple(removed), failed

    def _remove_one(self, trace: Trace) -> bool:
        """Removes an orphan if its mark is still there; its owner cannot be back, since a uid has one life."""
        outcome = apply(removal(trace, self._to), self._to, partial(self._audit, _gone_owner(trace)))
        for error in outcome.errors:
            raise error
        return bool(outcome.applied)

    def _tear_down(self, names: TenantNames) -> bool:
        """Carries out what deleting the Tenant would have: logins, OpenBao namespace, realm, Kubernetes namespace.

        False if that takes longer than a sweep waits, or if somebody has begun to use the namespace.
        """
        deadline = self._clock() + _TEARDOWN_PATIENCE
        while True:
            if names.namespace in self._inhabited(self._living()):
                return False
            gone = _gone_tenant(names, self._now())
            outcome = apply(self._teardown(gone), self._to, partial(self._audit, gone))
            if outcome.complete:
                return True
            wait = 0.0
            for error in outcome.errors:
                if not isinstance(error, Waiting):
                    raise error
                wait = max(wait, error.after)
            if self._clock() + wait > deadline:
                return False
            self._pause(wait)


def in_kubernetes(kubernetes: Kubernetes, namespaces: Iterable[Manifest]) -> Iterable[Trace]:
    """What carries our mark in the cluster: tenants' namespaces, and what stands in them.

    Only there: elsewhere the operator may write nothing, and a copy that somebody made of one of our objects is
    not ours. A tenant's own guards go with its namespace.
    """
    owners: dict[str, str] = {}
    for live in namespaces:
        ref, owner, tenant = ref_of(live), owner_uid(live), live["metadata"]["labels"].get(TENANT_LABEL, "")
        if owner and ref.name == TenantNames(tenant, owner).namespace:
            owners[ref.name] = owner
            yield Trace(KUBERNETES, ref.resource.kind, ref, owner, tenant, Fate.TENANT, KUBERNETES)
    for resource in _CHILDREN:
        for live in kubernetes.list(resource, "", OURS):
            ref, owner, labels = ref_of(live), owner_uid(live), live["metadata"]["labels"]
            if not owner or ref.namespace not in owners or owners[ref.namespace] == owner or deleting(live):
                continue
            fate = Fate.STAYS if resource in _WALLS and RUNTIME_LABEL not in labels else Fate.ACCESS
            tenant = ref.namespace.removeprefix(TenantNames("", "").namespace)
            yield Trace(KUBERNETES, resource.kind, ref, owner, tenant, fate, KUBERNETES)


def removal(trace: Trace, to: Backends) -> Plan:
    """The plan that removes an orphan, made from what is there now; empty if its mark is gone or another's."""
    stage = {
        KUBERNETES: ConditionType.WORKLOAD_READY,
        OPENBAO: ConditionType.VAULT_READY,
        KEYCLOAK: ConditionType.IDENTITY_READY,
    }[trace.system]
    return Plan((Stage(stage, _removals(trace, to)),))


def _removals(trace: Trace, to: Backends) -> tuple[Change, ...]:
    match trace.at:
        case Ref() as ref:
            live = to.kubernetes.get(ref)
            return (KubeDelete(ref, live["metadata"]["uid"]),) if live and owner_uid(live) == trace.owner else ()
        case RealmPath() as client:
            owner = _attributes(to.keycloak.read(client)).get(REALM_OWNER_ATTRIBUTE)
            return (RealmDelete(client),) if owner == trace.owner else ()
        case VaultPath() as at if trace.kind == _RECORD:
            return tuple(VaultDelete(VaultPath(at.namespace, f"{at.path}/{pod}")) for pod in to.vault.list(at))
        case VaultPath() as at:
            return (VaultDelete(at),) if to.vault.read(at) is not None else ()


@dataclass(slots=True)
class _Parts:
    """Collects a look part by part: one that fails stops no other."""

    traces: set[Trace] = field(default_factory=set)
    blind: set[str] = field(default_factory=set)
    problems: dict[str, ReconcileError] = field(default_factory=dict)

    def add(self, place: str, read: Callable[[], Iterable[Trace]]) -> None:
        found = attempt(lambda: frozenset(read()))
        if isinstance(found, ReconcileError):
            self.blind.add(place)
            self.problems[place] = found
        else:
            self.traces |= found


def _order(trace: Trace) -> tuple[int, str]:
    return KINDS.index((trace.system, trace.kind)), str(trace.at)


def _gone_tenant(names: TenantNames, now: datetime.datetime) -> Manifest:
    """The Tenant that the remains are of, as it would be now: its deletion under way."""
    metadata = {
        "name": names.tenant,
        "uid": names.uid,
        "generation": 1,
        "deletionTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return {"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": metadata, "spec": {}}


def _gone_owner(trace: Trace) -> Manifest:
    """For the audit stream: the runtime that an orphan was of. Its name is not known any more."""
    metadata = {"name": "", "namespace": TenantNames(trace.tenant, "").namespace, "uid": trace.owner, "generation": 0}
    return {"apiVersion": RUNTIME.api_version, "kind": RUNTIME.kind, "metadata": metadata}


def _runtime_names(live: Manifest) -> RuntimeNames:
    metadata = live["metadata"]
    return RuntimeNames(metadata["namespace"], metadata["name"], metadata["uid"])


def _vault_mark(namespace: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return (namespace or {}).get("custom_metadata") or {}


def _attributes(representation: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return (representation or {}).get("attributes") or {}
