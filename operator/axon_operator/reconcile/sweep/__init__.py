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
from functools import partial
from typing import Any, Final

from axon_operator.api.reasons import ConditionType
from axon_operator.backends.errors import ReconcileError, Waiting
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.paths import is_path
from axon_operator.domain.issue import account_of
from axon_operator.domain.manifests import owner_uid, runtime_names
from axon_operator.domain.names import (
    OURS,
    REALM_OWNER_ATTRIBUTE,
    RUNTIME_LABEL,
    TENANT_LABEL,
    TenantNames,
    tenant_in,
)
from axon_operator.domain.resources import (
    BINDING,
    NAMESPACE,
    RUNTIME,
    TENANT,
    Manifest,
    RealmPath,
    Ref,
    VaultPath,
    ref_of,
)
from axon_operator.domain.tenant.claim import claim_of
from axon_operator.domain.tenant.databases import KEPT
from axon_operator.domain.tenant.marks import Mark, realm_mark, vault_mark
from axon_operator.reconcile.common import attempt, deleting, names_of
from axon_operator.reconcile.engine.controller import Audit
from axon_operator.reconcile.engine.plan import (
    Backends,
    Change,
    KubeDelete,
    Plan,
    RealmDelete,
    Stage,
    VaultDelete,
    VaultDeleteKey,
    VaultRenew,
    VaultRevoke,
    apply,
)
from axon_operator.reconcile.sweep.orphans import (
    CHILDREN,
    DATA,
    DIRECTORY_FOLDER,
    ENTRY,
    FOLDERS,
    GRANT,
    GRANTS_FOLDER,
    ISSUES,
    KEY,
    KEYCLOAK,
    KUBERNETES,
    NOTE,
    OPENBAO,
    RECORD,
    WALLS,
    Fate,
    Folder,
    Graces,
    Look,
    Trace,
    clients_place,
    granted_to_nobody,
    inside_place,
    judge,
    order,
    place_of,
    realm_place,
)

_NAMESPACES: Final = "sys/namespaces"
_LEASES: Final = "sys/leases/lookup"
_TEARDOWN_PATIENCE: Final = 60.0
"""Seconds that one sweep waits for one tenant's remains to go; the next sweep goes on."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a sweep found and did."""

    known: frozenset[Trace]
    """All orphans that there still are."""
    new: frozenset[Trace]
    removed: tuple[Trace, ...]
    held: frozenset[Trace]
    """Whole tenants that were kept because not fewer are dead than alive."""
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
        return Report(frozenset(self._memory), verdict.new, removed, verdict.held, {**parts.problems, **failed})

    # -- looking

    def _living(self) -> frozenset[str]:
        kubernetes = self._to.kubernetes
        runtimes = [runtime_names(live) for live in kubernetes.list(RUNTIME, "")]
        uids = (live["metadata"]["uid"] for kind in (TENANT, BINDING) for live in kubernetes.list(kind, ""))
        # what somebody is about to take over belongs to somebody
        claims = (claim_of(live, "") for live in kubernetes.list(TENANT, ""))
        return frozenset(
            [
                *uids,
                *(claim.uid for claim in claims if claim),
                *(names.uid for names in runtimes),
                *(names.principal for names in runtimes),
                *(place_of(names.namespace, names.runtime) for names in runtimes),
            ]
        )

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
            self._look_into(live, living, parts)
        dead = {
            (trace.tenant, trace.owner)
            for trace in (*parts.traces, *self._memory)
            if trace.fate in DATA and trace.owner not in living
        }
        for tenant, owner in sorted(dead):
            names = TenantNames(tenant, owner)
            parts.add(realm_place(names.realm), partial(self._realm, names))
        return parts

    def _look_into(self, tenant: Manifest, living: frozenset[str], parts: "_Parts") -> None:
        """What runtimes have in a living tenant's OpenBao namespace and realm."""
        names = names_of(tenant)
        inside, clients = inside_place(names.vault_namespace), clients_place(names.realm)
        if deleting(tenant) or tenant["spec"].get("suspended"):
            # locked, or on its way out: nothing there lets anybody in
            parts.blind |= {inside, clients}
            return
        parts.add(inside, lambda: self._inside(names, living))
        parts.add(clients, lambda: self._clients(names))

    def _vault_namespaces(self, tenants: Iterable[Manifest]) -> Iterable[Trace]:
        """The remains of tenants in OpenBao: namespaces with a mark, under the name that goes with it."""
        used = {names_of(live).vault_namespace for live in tenants}
        for key in self._to.vault.list(VaultPath("", _NAMESPACES)):
            name = key.rstrip("/")
            if name in used:
                continue
            at = VaultPath("", f"{_NAMESPACES}/{name}")
            mark = vault_mark(self._to.vault.read(at))
            if self._ours(mark, mark.owner) and mark.vault_namespace == name:
                yield Trace(OPENBAO, "Namespace", at, mark.owner, mark.tenant, _fate(mark), OPENBAO, mark.home)

    def _inside(self, names: TenantNames, living: frozenset[str]) -> Iterable[Trace]:
        vault, home = self._to.vault, names.vault_namespace
        if not self._ours(vault_mark(vault.read(VaultPath("", f"{_NAMESPACES}/{home}"))), names.uid):
            return

        def trace(folder: str, name: str, kind: str, owner: str) -> Trace:
            at = VaultPath(home, f"{folder}/{name}")
            return Trace(OPENBAO, kind, at, owner, names.tenant, Fate.ACCESS, inside_place(home))

        for folder in FOLDERS:
            for name in self._names_in(home, folder):
                if principal := folder.principal(name):
                    yield trace(folder.path, name, folder.kind, principal)
        for name in vault.list(VaultPath(home, DIRECTORY_FOLDER)):
            yield trace(DIRECTORY_FOLDER, name, ENTRY, place_of(names.namespace, name))
        # not all that is below them: users write as many grants as they like
        folders = vault.list(VaultPath(home, GRANTS_FOLDER))
        for name, uid in granted_to_nobody(folders, living).items():
            yield trace(GRANTS_FOLDER, name, GRANT, uid)

    def _names_in(self, home: str, folder: Folder) -> frozenset[str]:
        """Also of what is gone itself, but has left something that can still be revoked."""
        issues = [f"{_LEASES}/{folder.issues}"] if folder.issues else []
        return frozenset(
            name.rstrip("/") for path in (folder.path, *issues) for name in self._to.vault.list(VaultPath(home, path))
        )

    def _realm(self, names: TenantNames) -> Iterable[Trace]:
        mark = realm_mark(self._to.keycloak.read(RealmPath(names.realm)))
        if self._ours(mark, names.uid):
            at, place = RealmPath(names.realm), realm_place(names.realm)
            yield Trace(KEYCLOAK, "Realm", at, names.uid, names.tenant, _fate(mark), place)

    def _clients(self, names: TenantNames) -> Iterable[Trace]:
        keycloak, realm = self._to.keycloak, names.realm
        if not self._ours(realm_mark(keycloak.read(RealmPath(realm))), names.uid):
            return
        for client in keycloak.list(RealmPath(realm, ("clients",))):
            owner = _attributes(client).get(REALM_OWNER_ATTRIBUTE)
            if owner:
                at = RealmPath(realm, ("clients", str(client["id"])))
                yield Trace(KEYCLOAK, "Client", at, owner, names.tenant, Fate.ACCESS, clients_place(realm))

    def _ours(self, mark: Mark, owner: str) -> bool:
        """Whether it is of this owner, and not of another cluster that shares the system with this one."""
        return bool(owner) and mark.is_of(owner, self._to.kubernetes.cluster())

    # -- removing

    def _remove(self, due: frozenset[Trace]) -> tuple[tuple[Trace, ...], dict[str, ReconcileError]]:
        """What was removed, and what could not be."""
        removed: list[Trace] = []
        failed: dict[str, ReconcileError] = {}
        for trace in sorted((t for t in due if t.fate is Fate.ACCESS), key=order):
            gone = attempt(partial(self._remove_one, trace))
            if isinstance(gone, ReconcileError):
                failed[str(trace)] = gone
            elif gone:
                removed.append(trace)
        whole = [t for t in due if t.fate is Fate.TENANT]
        for tenant, owner in sorted({(t.tenant, t.owner) for t in whole}):
            home = next((t.home for t in whole if (t.tenant, t.owner) == (tenant, owner) and t.home), "")
            gone = attempt(partial(self._tear_down, TenantNames(tenant, owner, home)))
            if isinstance(gone, ReconcileError):
                failed[f"Tenant {tenant} ({owner})"] = gone
            elif gone:
                removed += sorted((t for t in whole if (t.tenant, t.owner) == (tenant, owner)), key=order)
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
    for resource in CHILDREN:
        for live in kubernetes.list(resource, "", OURS):
            ref, owner, labels = ref_of(live), owner_uid(live), live["metadata"]["labels"]
            if not owner or ref.namespace not in owners or owners[ref.namespace] == owner or deleting(live):
                continue
            fate = Fate.STAYS if resource in WALLS and RUNTIME_LABEL not in labels else Fate.ACCESS
            tenant = tenant_in(ref.namespace)
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
        case VaultPath() as at if trace.kind == RECORD:
            return tuple(VaultDelete(VaultPath(at.namespace, f"{at.path}/{pod}")) for pod in to.vault.list(at))
        case VaultPath() as at if trace.kind == GRANT:
            grants = (VaultPath(at.namespace, f"{at.path}/{grant}") for grant in to.vault.scan(at))
            return tuple(VaultDelete(grant) for grant in grants if is_path(grant.path))
        case VaultPath() as at if trace.kind == ENTRY:
            # unlike a uid, a name can have come back
            return () if trace.owner in _places(to.kubernetes) else (VaultDelete(at),)
        case VaultPath(namespace, path) as at if trace.kind == NOTE:
            kept = VaultPath(namespace, f"{KEPT}/{account_of(path.rpartition('/')[2])}")
            return (VaultRenew(kept, VaultDelete(at)),) if to.vault.read(kept) is not None else (VaultDelete(at),)
        case VaultPath(namespace, path) as at if issues := ISSUES.get(trace.kind):
            # no new ones, then none of the old; what cannot be revoked now is found by its leases again
            return VaultDelete(at), VaultRevoke(VaultPath(namespace, f"{issues}/{path.rpartition('/')[2]}"))
        case VaultPath() as at:
            delete = VaultDeleteKey if trace.kind == KEY else VaultDelete
            return (delete(at),) if to.vault.read(at) is not None else ()


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


def _gone_tenant(names: TenantNames, now: datetime.datetime) -> Manifest:
    """The Tenant that the remains are of, as it would be now: its deletion under way."""
    metadata = {
        "name": names.tenant,
        "uid": names.uid,
        "generation": 1,
        "deletionTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    status = {"adoptedUID": names.home} if names.home else {}
    return {"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": metadata, "spec": {}, "status": status}


def _gone_owner(trace: Trace) -> Manifest:
    """For the audit stream: the runtime that an orphan was of. Its name is not known any more."""
    metadata = {"name": "", "namespace": TenantNames(trace.tenant, "").namespace, "uid": trace.owner, "generation": 0}
    return {"apiVersion": RUNTIME.api_version, "kind": RUNTIME.kind, "metadata": metadata}


def _places(kubernetes: Kubernetes) -> frozenset[str]:
    names = map(runtime_names, kubernetes.list(RUNTIME, ""))
    return frozenset(place_of(runtime.namespace, runtime.runtime) for runtime in names)


def _fate(mark: Mark) -> Fate:
    """Of what holds an organization's data. Without a cluster it may be another's, which has yet to complete it."""
    return Fate.KEPT if mark.keeps or not mark.cluster else Fate.TENANT


def _attributes(representation: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return (representation or {}).get("attributes") or {}
