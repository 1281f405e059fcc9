"""Tenant: one declaration, three systems."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.tenant import TenantSpec
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.domain import tenant as desired
from axon_operator.domain.manifests import owner_uid
from axon_operator.domain.names import (
    FINALIZER,
    OURS,
    OWNER_UID_LABEL,
    REALM_OWNER_ATTRIBUTE,
    RUNTIME_AUTH_MOUNT,
    TENANT_LABEL,
    VAULT_OWNER_KEY,
    VAULT_SUSPENDED_KEY,
    TenantNames,
)
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    BINDING,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    ROLE_BINDING,
    RUNTIME,
    TENANT,
    Manifest,
    RealmPath,
    Ref,
    VaultPath,
    VaultResource,
    ref_of,
)
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.common import (
    ASSUMED,
    Assumed,
    T,
    attempt,
    deleting,
    kube_changes,
    kube_removals,
    realm_changes,
    require_owner,
    staged,
    vault_changes,
    with_live_attributes,
)
from axon_operator.reconcile.engine.plan import (
    Backends,
    Change,
    KubeApply,
    KubeCreate,
    KubeDelete,
    Outcome,
    Plan,
    RealmCreate,
    RealmDelete,
    RealmLogout,
    RealmUpdate,
    Stage,
    VaultDelete,
    VaultWrite,
)

_LOGINS = f"sys/leases/lookup/auth/{RUNTIME_AUTH_MOUNT}/login"
"""Where OpenBao lists the leases of logins; the ids stay in memory for as long as it takes to count them."""
_ROLES = f"auth/{RUNTIME_AUTH_MOUNT}/role"

_SESSIONS_ENDED = "notBefore"
"""Field of a realm: since when its tokens count. Keycloak sets it when all sessions are ended."""

_POLL = 1.0
"""Seconds between looks at something that is being deleted."""

_REVOKED = 1.0
"""Seconds until a look shows that a revocation is done; it nearly always is at once."""

_RECORDED = ("namespace", "vaultNamespace", "realm")
_JUST_MADE = Waiting(Reason.PROGRESSING, "Just made; its mark is read next.", after=0)


@dataclass(frozen=True, slots=True)
class VaultSeen:
    """The tenant's OpenBao namespace and, where they can be read, its contents."""

    namespaces: bool
    """Whether the server has namespaces at all."""
    namespace: Mapping[str, Any] | None
    contents: Mapping[VaultPath, Mapping[str, Any] | None]
    roles: tuple[str, ...] = ()
    """Under which a runtime can log in; looked up only when nobody may any more."""
    logins: int = 0
    """Number of runtimes' logins that are still good; looked up with the roles."""

    def owned_by(self, uid: str) -> bool:
        """Whether the namespace carries the tenant's mark."""
        return ((self.namespace or {}).get("custom_metadata") or {}).get(VAULT_OWNER_KEY) == uid

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

    def owned_by(self, uid: str) -> bool:
        """Whether the realm carries the tenant's mark; a foreign realm comes back without attributes."""
        return ((self.realm or {}).get("attributes") or {}).get(REALM_OWNER_ATTRIBUTE) == uid


@dataclass(frozen=True, slots=True)
class TenantSeen:
    """Everything a plan for a Tenant depends on."""

    names: TenantNames
    spec: TenantSpec
    deleted_at: str | None
    """When deletion was asked for."""
    changed: bool
    """The spec is newer than the status."""
    recorded: Mapping[str, str]
    """From the status: names of what was seen to be ours (`namespace`, `vaultNamespace`, `realm`)."""
    namespace: Manifest | None
    guards: Mapping[Ref, Manifest | None]
    openings: tuple[Manifest, ...] | ReconcileError
    """When suspended: network policies of ours that still open something."""
    tenants_objects: tuple[Manifest, ...]
    """Runtimes and bindings in the namespace."""
    pods: int
    vault: VaultSeen | ReconcileError | Assumed
    keycloak: RealmSeen | ReconcileError | Assumed


class TenantReconciler:
    """Gathers and plans for Tenants."""

    resource = TENANT

    def __init__(self, backends: Backends, platform: Platform) -> None:
        self._to = backends
        self._platform = platform

    def gather(self, live: Manifest, *, ask: bool) -> TenantSeen:
        """Reads the three systems; an OpenBao or Keycloak that is away is part of what is seen."""
        metadata = live["metadata"]
        names = TenantNames(metadata["name"], metadata["uid"])
        spec = TenantSpec.model_validate(live["spec"])
        kubernetes = self._to.kubernetes
        namespace = kubernetes.get(Ref(NAMESPACE, "", names.namespace))
        ours = namespace is not None and owner_uid(namespace) == names.uid
        inside = [kubernetes.list(kind, names.namespace) for kind in (BINDING, RUNTIME)] if ours else []
        status = live.get("status") or {}
        changed = status.get("observedGeneration") != metadata["generation"]
        openings = attempt(lambda: self._openings(names)) if ours and spec.suspended else ()
        # a kill switch must not wait for a backend that hangs: the network is closed in a pass of its own. One
        # pass, whatever becomes of it: the backends do not wait for a policy that cannot be removed
        first = Waiting(Reason.PROGRESSING, "The network is closed first.", after=0) if openings and changed else None
        return TenantSeen(
            names=names,
            spec=spec,
            deleted_at=metadata.get("deletionTimestamp"),
            changed=changed,
            recorded={name: status[name] for name in _RECORDED if name in status},
            namespace=namespace,
            guards={ref: kubernetes.get(ref) for ref in desired.kubernetes_guard_refs(names)} if ours else {},
            openings=openings,
            tenants_objects=tuple(item for items in inside for item in items),
            pods=len(kubernetes.list(POD, names.namespace, {TENANT_LABEL: names.tenant}))
            if ours and deleting(live)
            else 0,
            **self._asked(names, spec, live, first) if ask else {"vault": ASSUMED, "keycloak": ASSUMED},
        )

    def plan(self, seen: TenantSeen) -> Plan:
        """Create and set right, or tear down."""
        if seen.deleted_at:
            return _teardown(seen)
        return Plan(
            (
                *_closing(seen),
                staged(ConditionType.NAMESPACE_READY, lambda: _namespace_stage(seen)),
                staged(ConditionType.VAULT_READY, lambda: _vault_stage(seen, self._platform)),
                staged(ConditionType.IDENTITY_READY, lambda: _identity_stage(seen, self._platform)),
            )
        )

    def status(self, seen: TenantSeen) -> dict[str, Any]:
        """Where the tenant lives: what was seen to carry its mark, now or before."""
        names = seen.names
        ours = {
            "namespace": (names.namespace, seen.namespace is not None and owner_uid(seen.namespace) == names.uid),
            "vaultNamespace": (names.vault_namespace, _is_ours(seen.vault, names)),
            "realm": (names.realm, _is_ours(seen.keycloak, names)),
        }
        return {**seen.recorded, **{field: name for field, (name, is_ours) in ours.items() if is_ours}}

    def related(self, seen: TenantSeen, outcome: Outcome) -> tuple[Ref, ...]:
        """The tenant's objects, whenever something about the tenant changed; a repeated revocation concerns none."""
        changed = seen.changed or any(change != _revoke(seen.names) for change in outcome.applied)
        return tuple(ref_of(m) for m in seen.tenants_objects) if changed else ()

    def _asked(self, names: TenantNames, spec: TenantSpec, live: Manifest, first: Waiting | None) -> dict[str, Any]:
        """What OpenBao and Keycloak say, unless something else has to be done first."""
        leaving = spec.suspended or deleting(live)
        return {
            "vault": first or attempt(lambda: self._vault(names, spec, leaving=leaving)),
            "keycloak": first or attempt(lambda: self._realm(names, live)),
        }

    def _openings(self, names: TenantNames) -> tuple[Manifest, ...]:
        policies = self._to.kubernetes.list(NETWORK_POLICY, names.namespace, OURS)
        return tuple(p for p in policies if p["metadata"]["name"] != desired.DEFAULT_DENY and not deleting(p))

    def _vault(self, names: TenantNames, spec: TenantSpec, *, leaving: bool) -> VaultSeen:
        vault = self._to.vault
        if not vault.supports_namespaces():
            return VaultSeen(False, None, {})
        seen = VaultSeen(True, vault.read(desired.vault_namespace(names, spec).at), {})
        if not seen.owned_by(names.uid) or seen.locked or seen.going:
            return seen
        if leaving:
            roles = vault.list(VaultPath(names.vault_namespace, _ROLES))
            return replace(seen, roles=roles, logins=len(vault.list(VaultPath(names.vault_namespace, _LOGINS))))
        contents = desired.vault_contents(names, self._platform)
        return replace(seen, contents={r.at: vault.read(r.at) for r in contents})

    def _realm(self, names: TenantNames, live: Manifest) -> RealmSeen:
        seen = RealmSeen(self._to.keycloak.read(RealmPath(names.realm)), {})
        if not seen.owned_by(names.uid) or deleting(live):
            return seen
        contents = desired.realm_contents(names, self._platform)
        return RealmSeen(seen.realm, {r.at: self._to.keycloak.read(r.at) for r in contents})


def _is_ours(seen: VaultSeen | RealmSeen | ReconcileError | Assumed, names: TenantNames) -> bool:
    return isinstance(seen, VaultSeen | RealmSeen) and seen.owned_by(names.uid)


def _known(seen: T | ReconcileError | Assumed) -> T:
    """What was seen; raises why it was not."""
    if isinstance(seen, ReconcileError):
        raise seen
    if isinstance(seen, Assumed):
        raise Waiting(Reason.PROGRESSING, "Not asked yet.", after=0)
    return seen


def _closing(seen: TenantSeen) -> tuple[Stage, ...]:
    """Of a suspended tenant: a stage of its own, which no problem elsewhere can cancel."""
    foreign = seen.namespace is not None and owner_uid(seen.namespace) != seen.names.uid
    if not seen.spec.suspended or foreign:
        return ()
    kind = ConditionType.NETWORK_READY
    if isinstance(seen.openings, ReconcileError):
        return (Stage(kind, problem=seen.openings),)
    deletes = tuple(KubeDelete(ref_of(p), p["metadata"]["uid"]) for p in seen.openings)
    message = "Closed in both directions."
    return (Stage(kind, deletes, reason=Reason.SUSPENDED, message=message, independent=True),)


def _namespace_stage(seen: TenantSeen) -> Stage:
    names = seen.names
    planned = desired.kubernetes_namespace(names, seen.spec)
    guards = desired.kubernetes_guards(names, seen.spec)
    if seen.namespace is None:
        return Stage(ConditionType.NAMESPACE_READY, (KubeCreate(planned), *(KubeApply(g) for g in guards)))
    require_owner(seen.namespace, names.uid)
    if deleting(seen.namespace):
        message = f"Namespace {names.namespace} is being deleted by someone; it is made again when it is gone."
        return Stage(ConditionType.NAMESPACE_READY, problem=Waiting(Reason.DELETING, message, after=5))
    closing = () if isinstance(seen.openings, ReconcileError) else seen.openings
    unplanned = set(desired.kubernetes_guard_refs(names)) - {ref_of(m) for m in (*guards, *closing)}
    changes = [
        *kube_removals(sorted(unplanned, key=str), seen.guards, names.uid),
        *kube_changes([planned], {ref_of(planned): seen.namespace}, names.uid),
    ]
    problem = None
    for guard in guards:
        # one by one: a guard that is not ours must not keep the others from being set right
        judged = attempt(lambda guard=guard: kube_changes([guard], seen.guards, names.uid))  # type: ignore[misc]
        if isinstance(judged, ReconcileError):
            problem = problem or judged
        else:
            changes += judged
    return Stage(ConditionType.NAMESPACE_READY, tuple(changes), problem, independent=True)


def _vault_stage(seen: TenantSeen, platform: Platform) -> Stage:
    if isinstance(seen.vault, Assumed):
        return _vault_closed(()) if seen.spec.suspended else Stage(ConditionType.VAULT_READY)
    names, vault = seen.names, _known(seen.vault)
    if not vault.namespaces:
        raise Terminal(
            Reason.NAMESPACES_UNSUPPORTED,
            "The secrets server ignores namespaces (Vault CE does), so it cannot separate tenants; use OpenBao or Vault Enterprise.",
        )
    namespace = desired.vault_namespace(names, seen.spec)
    contents = desired.vault_contents(names, platform)
    if vault.namespace is None:
        writes = (VaultWrite(namespace.at, namespace.body), *(VaultWrite(r.at, r.body) for r in contents))
        return Stage(ConditionType.VAULT_READY, writes, _JUST_MADE)
    _require_vault_owner(vault, names)
    if vault.going:
        raise Waiting(Reason.DELETING, "OpenBao is still deleting the tenant's former namespace.", after=2)
    if seen.spec.suspended:
        return _vault_suspended(names, vault, namespace)
    if vault.resuming:
        return _vault_resumed(names, vault, namespace)
    return Stage(
        ConditionType.VAULT_READY,
        vault_changes((namespace, *contents), {namespace.at: vault.namespace, **vault.contents}),
    )


def _revoke(names: TenantNames) -> VaultWrite:
    """Revokes every login of the tenant's runtimes."""
    path = f"sys/leases/revoke-prefix/auth/{RUNTIME_AUTH_MOUNT}"
    return VaultWrite(VaultPath(names.vault_namespace, path), {"sync": True})


def _revocation(names: TenantNames, vault: VaultSeen) -> Stage | None:
    """No new logins, then none of the old; None when a look has shown that neither is left."""
    if not vault.roles and not vault.logins:
        return None
    roles = (VaultDelete(VaultPath(names.vault_namespace, f"{_ROLES}/{role}")) for role in vault.roles)
    waiting = Waiting(Reason.PROGRESSING, f"{vault.logins} logins of runtimes are being revoked.", after=_REVOKED)
    return Stage(ConditionType.VAULT_READY, (*roles, _revoke(names)), waiting)


def _vault_suspended(names: TenantNames, vault: VaultSeen, namespace: VaultResource) -> Stage:
    marked = vault_changes((namespace,), {namespace.at: vault.namespace})
    locked: tuple[Change, ...] = ()
    if not vault.locked:
        # in a locked namespace revocation is refused even to root: revoke first, and see that it is done
        if revocation := _revocation(names, vault):
            return replace(revocation, changes=(*marked, *revocation.changes))
        locked = (VaultWrite(VaultPath("", f"sys/namespaces/api-lock/lock/{names.vault_namespace}"), {}),)
    return _vault_closed((*marked, *locked))


def _vault_closed(changes: tuple[Change, ...]) -> Stage:
    message = "Tokens revoked, namespace locked."
    return Stage(ConditionType.VAULT_READY, changes, reason=Reason.SUSPENDED, message=message)


def _vault_resumed(names: TenantNames, vault: VaultSeen, namespace: VaultResource) -> Stage:
    """Whoever logged in between the last look and the lock does not come back; the mark goes when that is sure."""
    unlock = VaultWrite(VaultPath("", f"sys/namespaces/api-lock/unlock/{names.vault_namespace}"), {})
    return Stage(
        ConditionType.VAULT_READY,
        (*((unlock,) if vault.locked else ()), _revoke(names), VaultWrite(namespace.at, namespace.body)),
        Waiting(Reason.RESUMED, "Unlocked; its contents are compared next.", after=0),
    )


def _identity_stage(seen: TenantSeen, platform: Platform) -> Stage:
    reason, message = (
        (Reason.SUSPENDED, "Sessions ended, realm disabled.") if seen.spec.suspended else (Reason.READY, "As planned.")
    )
    if isinstance(seen.keycloak, Assumed):
        return Stage(ConditionType.IDENTITY_READY, reason=reason, message=message)
    names, keycloak = seen.names, _known(seen.keycloak)
    planned = desired.realm(names, seen.spec)
    contents = desired.realm_contents(names, platform)
    if keycloak.realm is None:
        creates = tuple(RealmCreate(resource) for resource in (planned, *contents))
        return Stage(ConditionType.IDENTITY_READY, creates, _JUST_MADE)
    _require_realm_owner(keycloak, names)
    changes: list[Change] = []
    closes = seen.spec.suspended and bool(keycloak.realm.get("enabled"))
    opens = not seen.spec.suspended and not keycloak.realm.get("enabled")
    if not as_planned(keycloak.realm, planned.body):
        # the time that ending the sessions sets: as long as it is missing, that is still to be done
        body = {**planned.body, _SESSIONS_ENDED: 0} if closes else planned.body
        changes.append(RealmUpdate(planned.at, with_live_attributes(body, keycloak.realm)))
    if closes or opens or (seen.spec.suspended and not keycloak.realm.get(_SESSIONS_ENDED)):
        # while the realm is disabled, so that no session begins after it: behind closing, and before opening again
        changes.insert(1 if closes else 0, RealmLogout(names.realm))
    changes += realm_changes(contents, keycloak.contents)
    return Stage(ConditionType.IDENTITY_READY, tuple(changes), reason=reason, message=message)


def _teardown(seen: TenantSeen) -> Plan:
    """Pods first, so that nothing runs without walls; the namespace, and with it the policies, last."""
    stopped = ConditionType.WORKLOAD_READY
    backends = (ConditionType.VAULT_READY, ConditionType.IDENTITY_READY)
    return Plan(
        (
            *_closing(seen),
            staged(stopped, lambda: _workload_teardown(seen)),
            staged(ConditionType.VAULT_READY, lambda: _vault_teardown(seen), needs=(stopped,)),
            staged(ConditionType.IDENTITY_READY, lambda: _identity_teardown(seen), needs=(stopped,)),
            staged(ConditionType.NAMESPACE_READY, lambda: _namespace_teardown(seen), needs=(stopped, *backends)),
        )
    )


def _workload_teardown(seen: TenantSeen) -> Stage:
    """Complete when no pod is there and none can come: the tenant's people could hold their objects for ever."""
    names, objects = seen.names, seen.tenants_objects
    if seen.namespace is not None and owner_uid(seen.namespace) != names.uid:
        _require_unrecorded(seen, "namespace", f"Namespace {names.namespace}", f"label {OWNER_UID_LABEL}")
    changes = (
        # from here on the tenant's people make nothing new
        *kube_removals([Ref(ROLE_BINDING, names.namespace, desired.ADMINS_BINDING)], seen.guards, names.uid),
        *(KubeDelete(ref_of(m), m["metadata"]["uid"]) for m in objects if not deleting(m)),
    )
    runtimes = [m["metadata"]["name"] for m in objects if _may_have_pods(m, seen.deleted_at or "")]
    problem = None
    if runtimes or seen.pods:
        message = f"{seen.pods} pods of the tenant are still there; runtimes not torn down yet: {_some(runtimes)}."
        problem = Waiting(Reason.PODS_TERMINATING, message, after=_POLL)
    return Stage(ConditionType.WORKLOAD_READY, changes, problem, independent=True)


def _may_have_pods(live: Manifest, deleted_at: str) -> bool:
    """A runtime whose own teardown is not over. One that is made later, in a tenant that is going, gets no pods."""
    metadata = live["metadata"]
    ours = FINALIZER in (metadata.get("finalizers") or ())
    return live["kind"] == RUNTIME.kind and ours and metadata["creationTimestamp"] <= deleted_at


def _some(names: list[str]) -> str:
    return ", ".join(names[:3] or ["none"]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _vault_teardown(seen: TenantSeen) -> Stage:
    names, vault = seen.names, _known(seen.vault)
    where = f"OpenBao namespace {names.vault_namespace}"
    if not vault.namespaces and "vaultNamespace" in seen.recorded:
        message = f"The secrets server ignores namespaces, so whether {where} is gone cannot be seen; give the operator the server on which it was made."
        raise Terminal(Reason.NAMESPACES_UNSUPPORTED, message)
    if vault.namespace is None:
        return Stage(ConditionType.VAULT_READY)
    if not vault.owned_by(names.uid):
        _require_unrecorded(seen, "vaultNamespace", where, f"custom metadata {VAULT_OWNER_KEY}")
        return Stage(ConditionType.VAULT_READY)
    going = Waiting(Reason.DELETING, "OpenBao is deleting the tenant's namespace.", after=_POLL)
    if vault.going:
        raise going
    # OpenBao deletes asynchronously: revoke first, so that no login outlives its policies
    if revocation := _revocation(names, vault):
        return revocation
    return Stage(ConditionType.VAULT_READY, (VaultDelete(desired.vault_namespace(names, seen.spec).at),), going)


def _identity_teardown(seen: TenantSeen) -> Stage:
    keycloak = _known(seen.keycloak)
    if keycloak.realm is None:
        return Stage(ConditionType.IDENTITY_READY)
    if not keycloak.owned_by(seen.names.uid):
        where, mark = f"Realm {seen.names.realm}", f"attribute {REALM_OWNER_ATTRIBUTE}"
        _require_unrecorded(seen, "realm", where, mark)
        return Stage(ConditionType.IDENTITY_READY)
    return Stage(ConditionType.IDENTITY_READY, (RealmDelete(RealmPath(seen.names.realm)),))


def _namespace_teardown(seen: TenantSeen) -> Stage:
    namespace = seen.namespace
    if namespace is None or owner_uid(namespace) != seen.names.uid:
        return Stage(ConditionType.NAMESPACE_READY)
    waiting = Waiting(
        Reason.DELETING, f"Namespace {seen.names.namespace} is being deleted.{_held(seen.tenants_objects)}", after=_POLL
    )
    if deleting(namespace):
        raise waiting
    return Stage(ConditionType.NAMESPACE_READY, (KubeDelete(ref_of(namespace), namespace["metadata"]["uid"]),), waiting)


def _held(objects: tuple[Manifest, ...]) -> str:
    """Which objects somebody else's finalizers keep, for the person who has to remove those."""
    held = [
        f"{ref_of(m)} by finalizer {finalizer}"
        for m in objects
        for finalizer in m["metadata"].get("finalizers") or ()
        if deleting(m) and finalizer != FINALIZER
    ]
    return f" Held up: {_some(held)}; whoever set a finalizer has to remove it." if held else ""


def _require_unrecorded(seen: TenantSeen, field: str, what: str, mark: str) -> None:
    """Raises `Terminal(NameTaken)` for something that was ours and has lost its mark; what never was ours, stays."""
    if field in seen.recorded:
        message = (
            f"{what} was made for this tenant and has lost its mark ({mark}); it is not touched. "
            f"Put the mark back ({seen.names.uid}), or remove it by hand."
        )
        raise Terminal(Reason.NAME_TAKEN, message)


def _require_vault_owner(vault: VaultSeen, names: TenantNames) -> None:
    if not vault.owned_by(names.uid):
        message = f"OpenBao namespace {names.vault_namespace} exists without this tenant's mark ({VAULT_OWNER_KEY}); it is not touched. Remove it if it is a leftover."
        raise Terminal(Reason.NAME_TAKEN, message)


def _require_realm_owner(keycloak: RealmSeen, names: TenantNames) -> None:
    if not keycloak.owned_by(names.uid):
        message = f"Realm {names.realm} exists and was not made for this tenant; it is not touched. Rename the Tenant, or remove the realm."
        raise Terminal(Reason.NAME_TAKEN, message)
