"""What the three reconcilers share: reads that may fail one by one, and the steps towards one object."""

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from axon_operator.api.conditions import Condition
from axon_operator.api.governance import GovernanceProfileSpec
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.tenant import TenantSpec
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.credential import Credential, version_mark
from axon_operator.domain.finding import Finding
from axon_operator.domain.governance import Governed, Profile, refusal
from axon_operator.domain.manifests import is_extended, must_be_made_anew, owner_uid, replacement
from axon_operator.domain.names import OWNER_UID_LABEL, TENANT_LABEL, TenantNames
from axon_operator.domain.resources import (
    NAMESPACE,
    PROFILE,
    TENANT,
    Manifest,
    RealmResource,
    Ref,
    VaultResource,
    ref_of,
)
from axon_operator.domain.values import as_planned, in_order
from axon_operator.reconcile.engine.plan import (
    Change,
    KubeApply,
    KubeDelete,
    KubeReplace,
    RealmCreate,
    RealmUpdate,
    Stage,
    VaultWrite,
    usable,
)

T = TypeVar("T")


class Assumed:
    """What was not asked in this pass, and is taken to be as it was last observed: as planned."""


ASSUMED: Final = Assumed()


def not_asked() -> Waiting:
    """Why nothing is concluded from what was assumed. A new one each time: exceptions remember where they were raised."""
    return Waiting(Reason.PROGRESSING, "Not asked yet.", after=0)


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


def names_of(tenant: Manifest) -> TenantNames:
    """Where a Tenant lives; its status says if its OpenBao namespace was made for another uid."""
    metadata, status = tenant["metadata"], tenant.get("status") or {}
    return TenantNames(metadata["name"], metadata["uid"], status.get("adoptedUID", ""))


def tenant_of(kubernetes: Kubernetes, namespace: str) -> tuple[TenantNames, Manifest] | None:
    """The tenant whose namespace this is; None if the namespace does not carry the mark of a living Tenant."""
    live = kubernetes.get(Ref(NAMESPACE, "", namespace))
    uid = owner_uid(live) if live else None
    if live is None or uid is None:
        return None
    name = live["metadata"]["labels"].get(TENANT_LABEL, "")
    tenant = kubernetes.get(Ref(TENANT, "", name)) if name else None
    if tenant is None or tenant["metadata"]["uid"] != uid or names_of(tenant).namespace != namespace:
        return None
    return names_of(tenant), tenant


def profile_of(kubernetes: Kubernetes, tenant: TenantSpec) -> Profile | None:
    """The profile that a Tenant names, whether it exists or not."""
    name = tenant.governance.profile
    if name is None:
        return None
    live = kubernetes.get(Ref(PROFILE, "", name))
    return Profile(name, GovernanceProfileSpec.model_validate(live["spec"]) if live else None)


def refused(profile: Profile | None, spec: Governed) -> Terminal | None:
    """What the tenant's profile has against a spec; None if nothing."""
    why = refusal(profile, spec)
    return Terminal(why.reason, why.message) if why else None


def last_found(kind: ConditionType, findings: Iterable[Finding], status: Mapping[str, Any]) -> Finding | None:
    """The finding of that kind; what the status says, if nobody has looked since the start; None if nobody looks."""
    finding = next((f for f in findings if f.condition is kind), None)
    if finding is None or finding.status is not None:
        return finding
    known = (Condition.model_validate(c) for c in status.get("conditions") or ())
    before = next((c for c in known if c.type == kind), None)
    return Finding(kind, before.status, message=before.message) if before else finding


def kube_changes(planned: Iterable[Manifest], live: Mapping[Ref, Manifest | None], uid: str) -> tuple[Change, ...]:
    """Sets right what differs. Raises `Terminal(NameTaken)` for something that is not the owner's."""
    changes: list[Change] = []
    for manifest in planned:
        ref = ref_of(manifest)
        existing = live.get(ref)
        if existing is None:
            changes.append(KubeApply(manifest))
            continue
        require_owner(existing, uid)
        if must_be_made_anew(existing, manifest):
            changes += (KubeDelete(ref, existing["metadata"]["uid"]), KubeApply(manifest))
        elif is_extended(existing, manifest):
            changes.append(KubeReplace(replacement(existing, manifest)))
        elif not as_planned(existing, manifest):
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
        written = resource if existing is not None else resource.maker or resource
        changes.append(VaultWrite(written.at, written.body))
    return tuple(changes)


def realm_changes(planned: Iterable[RealmResource], live: Mapping[Any, Mapping[str, Any] | None]) -> tuple[Change, ...]:
    """Creates what is missing and updates what differs."""
    changes: list[Change] = []
    for resource in planned:
        existing = live.get(resource.at)
        if existing is None:
            changes.append(RealmCreate(resource))
        elif not as_planned(in_order(existing), in_order(resource.body)):
            changes.append(RealmUpdate(resource.at, with_live_attributes(resource.body, existing)))
    return tuple(changes)


def look_at_credential(kubernetes: Kubernetes, credential: Credential) -> str:
    """Which version of the Secret would be used. Raises `Terminal(CredentialUnusable)` for one that must not be."""
    return version_mark(usable(kubernetes, credential))


def not_allowed(whose: str, host: str) -> Terminal:
    """Why a host is not used; `whose`: such as `The directory's`."""
    message = (
        f"{whose} host {host} is not allowed. Add it to allowedHosts of the operator's chart, or name another host."
    )
    return Terminal(Reason.HOST_NOT_ALLOWED, message)


def with_live_attributes(body: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[str, Any]:
    """Keycloak replaces maps as a whole: what others put there must be sent back."""
    kept = {
        name: {**(existing.get(name) or {}), **body[name]}
        for name in ("attributes", "config")
        if isinstance(body.get(name), Mapping)
    }
    return {**body, **kept}


def utc_now() -> datetime.datetime:
    """The process's clock."""
    return datetime.datetime.now(datetime.UTC)
