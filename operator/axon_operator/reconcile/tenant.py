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
    MANAGED_BY,
    MANAGED_BY_LABEL,
    REALM_OWNER_ATTRIBUTE,
    RUNTIME_AUTH_MOUNT,
    TENANT_LABEL,
    VAULT_OWNER_KEY,
    TenantNames,
)
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    BINDING,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    RUNTIME,
    TENANT,
    Manifest,
    RealmPath,
    Ref,
    VaultPath,
    ref_of,
)
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.common import (
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

_POLL = 1.0
"""Seconds between looks at something that is being deleted."""


@dataclass(frozen=True, slots=True)
class VaultSeen:
    """The tenant's OpenBao namespace and, where they can be read, its contents."""

    namespaces: bool
    """Whether the server has namespaces at all."""
    namespace: Mapping[str, Any] | None
    contents: Mapping[VaultPath, Mapping[str, Any] | None]
    logins: int = 0
    """Number of runtimes' logins that are still good; looked up only when they are to be revoked."""

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
    deleting: bool
    changed: bool
    """The spec is newer than the status."""
    namespace: Manifest | None
    guards: Mapping[Ref, Manifest | None]
    openings: tuple[Manifest, ...]
    """When suspended: network policies of ours that still open something."""
    tenants_objects: tuple[Manifest, ...]
    """Runtimes and bindings in the namespace."""
    pods: int
    vault: VaultSeen | ReconcileError
    keycloak: RealmSeen | ReconcileError


class TenantReconciler:
    """Gathers and plans for Tenants."""

    resource = TENANT

    def __init__(self, backends: Backends, platform: Platform) -> None:
        self._to = backends
        self._platform = platform

    def gather(self, live: Manifest) -> TenantSeen:
        """Reads the three systems; an OpenBao or Keycloak that is away is part of what is seen."""
        metadata = live["metadata"]
        names = TenantNames(metadata["name"], metadata["uid"])
        spec = TenantSpec.model_validate(live["spec"])
        kubernetes = self._to.kubernetes
        namespace = kubernetes.get(Ref(NAMESPACE, "", names.namespace))
        ours = namespace is not None and owner_uid(namespace) == names.uid
        inside = [kubernetes.list(kind, names.namespace) for kind in (BINDING, RUNTIME)] if ours else []
        openings = self._openings(names) if ours and spec.suspended else ()
        # a kill switch must not wait for a backend that hangs: the network is closed in a pass of its own
        first = Waiting(Reason.PROGRESSING, "The network is closed first.", after=0) if openings else None
        return TenantSeen(
            names=names,
            spec=spec,
            deleting=deleting(live),
            changed=(live.get("status") or {}).get("observedGeneration") != metadata["generation"],
            namespace=namespace,
            guards={ref: kubernetes.get(ref) for ref in desired.kubernetes_guard_refs(names)} if ours else {},
            openings=openings,
            tenants_objects=tuple(item for items in inside for item in items),
            pods=len(kubernetes.list(POD, names.namespace, {TENANT_LABEL: names.tenant}))
            if ours and deleting(live)
            else 0,
            vault=first
            if first
            else attempt(lambda: self._vault(names, spec, leaving=spec.suspended or deleting(live))),
            keycloak=first if first else attempt(lambda: self._realm(names, live)),
        )

    def plan(self, seen: TenantSeen) -> Plan:
        """Create and set right, or tear down."""
        if seen.deleting:
            return _teardown(seen)
        return Plan(
            (
                staged(ConditionType.NAMESPACE_READY, lambda: _namespace_stage(seen)),
                staged(ConditionType.VAULT_READY, lambda: _vault_stage(seen, self._platform)),
                staged(ConditionType.IDENTITY_READY, lambda: _identity_stage(seen, self._platform)),
            )
        )

    def status(self, seen: TenantSeen) -> dict[str, Any]:
        """Where the tenant lives."""
        names = seen.names
        return {"namespace": names.namespace, "vaultNamespace": names.vault_namespace, "realm": names.realm}

    def related(self, seen: TenantSeen, outcome: Outcome) -> tuple[Ref, ...]:
        """The tenant's objects, whenever something about the tenant changed."""
        return tuple(ref_of(m) for m in seen.tenants_objects) if outcome.applied or seen.changed else ()

    def _openings(self, names: TenantNames) -> tuple[Manifest, ...]:
        policies = self._to.kubernetes.list(NETWORK_POLICY, names.namespace, {MANAGED_BY_LABEL: MANAGED_BY})
        return tuple(p for p in policies if p["metadata"]["name"] != desired.DEFAULT_DENY and not deleting(p))

    def _vault(self, names: TenantNames, spec: TenantSpec, *, leaving: bool) -> VaultSeen:
        vault = self._to.vault
        if not vault.supports_namespaces():
            return VaultSeen(False, None, {})
        seen = VaultSeen(True, vault.read(desired.vault_namespace(names, spec).at), {})
        if not seen.owned_by(names.uid) or seen.locked or seen.going:
            return seen
        if leaving:
            return replace(seen, logins=len(vault.list(VaultPath(names.vault_namespace, _LOGINS))))
        contents = desired.vault_contents(names, self._platform)
        return replace(seen, contents={r.at: vault.read(r.at) for r in contents})

    def _realm(self, names: TenantNames, live: Manifest) -> RealmSeen:
        seen = RealmSeen(self._to.keycloak.read(RealmPath(names.realm)), {})
        if not seen.owned_by(names.uid) or deleting(live):
            return seen
        contents = desired.realm_contents(names, self._platform)
        return RealmSeen(seen.realm, {r.at: self._to.keycloak.read(r.at) for r in contents})


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
    unplanned = (
        set(desired.kubernetes_guard_refs(names)) - {ref_of(g) for g in guards} - {ref_of(p) for p in seen.openings}
    )
    changes = (
        *(KubeDelete(ref_of(p), p["metadata"]["uid"]) for p in seen.openings),
        *kube_removals(sorted(unplanned, key=str), seen.guards, names.uid),
        *kube_changes([planned], {ref_of(planned): seen.namespace}, names.uid),
        *kube_changes(guards, seen.guards, names.uid),
    )
    return Stage(ConditionType.NAMESPACE_READY, changes)


def _vault_stage(seen: TenantSeen, platform: Platform) -> Stage:
    if isinstance(seen.vault, ReconcileError):
        raise seen.vault
    names, vault = seen.names, seen.vault
    if not vault.namespaces:
        raise Terminal(
            Reason.NAMESPACES_UNSUPPORTED,
            "The secrets server ignores namespaces (Vault CE does), so it cannot separate tenants; use OpenBao or Vault Enterprise.",
        )
    namespace = desired.vault_namespace(names, seen.spec)
    contents = desired.vault_contents(names, platform)
    if vault.namespace is None:
        writes = (VaultWrite(namespace.at, namespace.body), *(VaultWrite(r.at, r.body) for r in contents))
        # suspended from the start: lock in the next pass
        problem = Waiting(Reason.PROGRESSING, "Locking the new namespace.", after=0) if seen.spec.suspended else None
        return Stage(ConditionType.VAULT_READY, writes, problem)
    _require_vault_owner(vault, names)
    if vault.going:
        raise Waiting(Reason.DELETING, "OpenBao is still deleting the tenant's former namespace.", after=2)
    if seen.spec.suspended:
        return _vault_suspended(names, vault)
    if vault.locked:
        unlock = VaultWrite(VaultPath("", f"sys/namespaces/api-lock/unlock/{names.vault_namespace}"), {})
        return Stage(
            ConditionType.VAULT_READY,
            (unlock,),
            Waiting(Reason.RESUMED, "Unlocked; its contents are compared next.", after=0),
        )
    return Stage(
        ConditionType.VAULT_READY,
        vault_changes((namespace, *contents), {namespace.at: vault.namespace, **vault.contents}),
    )


def _revocation(names: TenantNames, vault: VaultSeen) -> Stage | None:
    """Revokes the runtimes' logins; None when a look has shown that none is left."""
    if not vault.logins:
        return None
    revoke = VaultWrite(
        VaultPath(names.vault_namespace, f"sys/leases/revoke-prefix/auth/{RUNTIME_AUTH_MOUNT}"), {"sync": True}
    )
    waiting = Waiting(Reason.PROGRESSING, f"{vault.logins} logins of runtimes are being revoked.", after=0.2)
    return Stage(ConditionType.VAULT_READY, (revoke,), waiting)


def _vault_suspended(names: TenantNames, vault: VaultSeen) -> Stage:
    changes: tuple[Change, ...] = ()
    if not vault.locked:
        # in a locked namespace revocation is refused even to root: revoke first, and see that it is done
        if revocation := _revocation(names, vault):
            return revocation
        changes = (VaultWrite(VaultPath("", f"sys/namespaces/api-lock/lock/{names.vault_namespace}"), {}),)
    return Stage(
        ConditionType.VAULT_READY, changes, reason=Reason.SUSPENDED, message="Tokens revoked, namespace locked."
    )


def _identity_stage(seen: TenantSeen, platform: Platform) -> Stage:
    if isinstance(seen.keycloak, ReconcileError):
        raise seen.keycloak
    names, keycloak = seen.names, seen.keycloak
    planned = desired.realm(names, seen.spec)
    contents = desired.realm_contents(names, platform)
    reason, message = (
        (Reason.SUSPENDED, "Sessions ended, realm disabled.") if seen.spec.suspended else (Reason.READY, "As planned.")
    )
    if keycloak.realm is None:
        creates = tuple(RealmCreate(resource) for resource in (planned, *contents))
        return Stage(ConditionType.IDENTITY_READY, creates, reason=reason, message=message)
    _require_realm_owner(keycloak, names)
    changes: list[Change] = []
    if seen.spec.suspended and keycloak.realm.get("enabled"):
        changes.append(RealmLogout(names.realm))
    if not as_planned(keycloak.realm, planned.body):
        changes.append(RealmUpdate(planned.at, with_live_attributes(planned.body, keycloak.realm)))
    changes += realm_changes(contents, keycloak.contents)
    return Stage(ConditionType.IDENTITY_READY, tuple(changes), reason=reason, message=message)


def _teardown(seen: TenantSeen) -> Plan:
    """Pods first, so that nothing runs without walls; the namespace, and with it the policies, last."""
    stopped = ConditionType.WORKLOAD_READY
    backends = (ConditionType.VAULT_READY, ConditionType.IDENTITY_READY)
    return Plan(
        (
            _workload_teardown(seen),
            staged(ConditionType.VAULT_READY, lambda: _vault_teardown(seen), needs=(stopped,)),
            staged(ConditionType.IDENTITY_READY, lambda: _identity_teardown(seen), needs=(stopped,)),
            staged(ConditionType.NAMESPACE_READY, lambda: _namespace_teardown(seen), needs=(stopped, *backends)),
        )
    )


def _workload_teardown(seen: TenantSeen) -> Stage:
    objects = seen.tenants_objects
    deletes = tuple(KubeDelete(ref_of(m), m["metadata"]["uid"]) for m in objects if not deleting(m))
    problem = None
    if objects or seen.pods:
        message = f"{len(objects)} runtimes and bindings and {seen.pods} pods of the tenant are still there."
        problem = Waiting(Reason.PODS_TERMINATING, message, after=_POLL)
    return Stage(ConditionType.WORKLOAD_READY, deletes, problem)


def _vault_teardown(seen: TenantSeen) -> Stage:
    if isinstance(seen.vault, ReconcileError):
        raise seen.vault
    names, vault = seen.names, seen.vault
    if vault.namespace is None or not vault.owned_by(names.uid):
        return Stage(ConditionType.VAULT_READY)
    going = Waiting(Reason.DELETING, "OpenBao is deleting the tenant's namespace.", after=_POLL)
    if vault.going:
        raise going
    # OpenBao deletes asynchronously: revoke first, so that no login outlives its policies
    if revocation := _revocation(names, vault):
        return revocation
    return Stage(ConditionType.VAULT_READY, (VaultDelete(desired.vault_namespace(names, seen.spec).at),), going)


def _identity_teardown(seen: TenantSeen) -> Stage:
    if isinstance(seen.keycloak, ReconcileError):
        raise seen.keycloak
    if seen.keycloak.realm is None or not seen.keycloak.owned_by(seen.names.uid):
        return Stage(ConditionType.IDENTITY_READY)
    return Stage(ConditionType.IDENTITY_READY, (RealmDelete(RealmPath(seen.names.realm)),))


def _namespace_teardown(seen: TenantSeen) -> Stage:
    namespace = seen.namespace
    if namespace is None or owner_uid(namespace) != seen.names.uid:
        return Stage(ConditionType.NAMESPACE_READY)
    waiting = Waiting(Reason.DELETING, f"Namespace {seen.names.namespace} is being deleted.", after=_POLL)
    if deleting(namespace):
        raise waiting
    return Stage(ConditionType.NAMESPACE_READY, (KubeDelete(ref_of(namespace), namespace["metadata"]["uid"]),), waiting)


def _require_vault_owner(vault: VaultSeen, names: TenantNames) -> None:
    if not vault.owned_by(names.uid):
        message = f"OpenBao namespace {names.vault_namespace} exists without this tenant's mark ({VAULT_OWNER_KEY}); it is not touched. Remove it if it is a leftover."
        raise Terminal(Reason.NAME_TAKEN, message)


def _require_realm_owner(keycloak: RealmSeen, names: TenantNames) -> None:
    if not keycloak.owned_by(names.uid):
        message = f"Realm {names.realm} exists and was not made for this tenant; it is not touched. Rename the Tenant, or remove the realm."
        raise Terminal(Reason.NAME_TAKEN, message)
