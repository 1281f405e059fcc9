"""What the three reconcilers share: reads that may fail one by one, and the steps towards one object."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError, Terminal
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.manifests import is_current, owner_uid
from axon_operator.domain.names import OWNER_UID_LABEL, TENANT_LABEL, TenantNames
from axon_operator.domain.resources import (
    NAMESPACE,
    TENANT,
    Manifest,
    RealmResource,
    Ref,
    VaultResource,
    ref_of,
)
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.engine.plan import (
    Change,
    KubeApply,
    KubeDelete,
    RealmCreate,
    RealmUpdate,
    Stage,
    VaultWrite,
)

T = TypeVar("T")


class Assumed:
    """What was not asked in this pass, and is taken to be as it was last observed: as planned."""


ASSUMED: Final = Assumed()


def attempt(read: Callable[[], T]) -> T | ReconcileError:
    """The result, or the error as a value: one backend's failure must not hide what another one says."""
    try:
        return read()
    except ReconcileError as error:
        return error


def staged(condition: ConditionType, make: Callable[[], Stage], *, needs: tuple[ConditionType, ...] = ()) -> Stage:
    """The stage that `make` plans; an error it raises is the stage's problem."""
    try:
        return replace(make(), needs=needs)
    except ReconcileError as error:
        return Stage(condition, problem=error, needs=needs)


def deleting(live: Manifest) -> bool:
    """Whether deletion was asked for."""
    return "deletionTimestamp" in live["metadata"]


def tenant_of(kubernetes: Kubernetes, namespace: str) -> tuple[TenantNames, Manifest] | None:
    """The tenant whose namespace this is; None if the namespace does not carry the mark of a living Tenant."""
    live = kubernetes.get(Ref(NAMESPACE, "", namespace))
    uid = owner_uid(live) if live else None
    if live is None or uid is None:
        return None
    names = TenantNames(live["metadata"]["labels"].get(TENANT_LABEL, ""), uid)
    tenant = kubernetes.get(Ref(TENANT, "", names.tenant)) if names.tenant else None
    if tenant is None or tenant["metadata"]["uid"] != uid or names.namespace != namespace:
        return None
    return names, tenant


def kube_changes(planned: Iterable[Manifest], live: Mapping[Ref, Manifest | None], uid: str) -> tuple[Change, ...]:
    """Applies what differs. Raises `Terminal(NameTaken)` for something that is not the owner's."""
    changes: list[Change] = []
    for manifest in planned:
        ref = ref_of(manifest)
        existing = live.get(ref)
        if existing is not None:
            require_owner(existing, uid)
        if existing is None or not is_current(existing, manifest):
            changes.append(KubeApply(manifest))
    return tuple(changes)


def kube_removals(refs: Iterable[Ref], live: Mapping[Ref, Manifest | None], uid: str) -> tuple[Change, ...]:
    """Deletes what is the owner's; what is not is left alone."""
    found = ((ref, live.get(ref)) for ref in refs)
    return tuple(
        KubeDelete(ref, m["metadata"]["uid"])
        for ref, m in found
        if m is not None and owner_uid(m) == uid and not deleting(m)
    )


def require_owner(existing: Manifest, uid: str) -> None:
    """Raises `Terminal(NameTaken)` unless the object carries the owner's mark."""
    if owner_uid(existing) != uid:
        ref = ref_of(existing)
        message = f"{ref} exists and was not made for this object ({OWNER_UID_LABEL} differs); it is not touched. Rename one of the two, or delete the existing one."
        raise Terminal(Reason.NAME_TAKEN, message)


def vault_changes(planned: Iterable[VaultResource], live: Mapping[Any, Mapping[str, Any] | None]) -> tuple[Change, ...]:
    """Writes what differs. Raises `Terminal(Conflict)` for a difference that cannot be changed in place."""
    changes: list[Change] = []
    for resource in planned:
        existing = live.get(resource.at)
        if existing is not None and as_planned(existing, resource.body):
            continue
        if existing is not None and resource.fixed:
            message = f"OpenBao {resource.at} exists with other properties than planned and cannot be changed in place; move its content and remove it."
            raise Terminal(Reason.CONFLICT, message)
        changes.append(VaultWrite(resource.at, resource.body))
    return tuple(changes)


def realm_changes(planned: Iterable[RealmResource], live: Mapping[Any, Mapping[str, Any] | None]) -> tuple[Change, ...]:
    """Creates what is missing and updates what differs."""
    changes: list[Change] = []
    for resource in planned:
        existing = live.get(resource.at)
        if existing is None:
            changes.append(RealmCreate(resource))
        elif not as_planned(existing, resource.body):
            changes.append(RealmUpdate(resource.at, with_live_attributes(resource.body, existing)))
    return tuple(changes)


def with_live_attributes(body: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[str, Any]:
    """Keycloak replaces maps as a whole: what others put there must be sent back."""
    kept = {
        name: {**(existing.get(name) or {}), **body[name]}
        for name in ("attributes", "config")
        if isinstance(body.get(name), Mapping)
    }
    return {**body, **kept}
