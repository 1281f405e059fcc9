"""Stages of the Kubernetes namespace: its guards, the closed network, the teardown of what runs in it."""

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError, Waiting
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.manifests import owner_uid
from axon_operator.domain.names import FINALIZER, OURS, OWNER_UID_LABEL, TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import NETWORK_POLICY, ROLE_BINDING, RUNTIME, Manifest, Ref, ref_of
from axon_operator.domain.tenant import kubernetes as desired
from axon_operator.reconcile.common import attempt, deleting, kube_changes, kube_removals, require_owner
from axon_operator.reconcile.engine.plan import KubeAdopt, KubeApply, KubeCreate, KubeDelete, Stage
from axon_operator.reconcile.tenant.seen import JUST_ADOPTED, POLL, TenantSeen, require_unrecorded
from axon_operator.reconcile.views import is_short


def look_for_openings(kubernetes: Kubernetes, names: TenantNames) -> tuple[Manifest, ...]:
    """Network policies of ours that open something: all but the one that closes everything."""
    policies = kubernetes.list(NETWORK_POLICY, names.namespace, OURS)
    return tuple(p for p in policies if p["metadata"]["name"] != desired.DEFAULT_DENY and not deleting(p))


def closing(seen: TenantSeen) -> tuple[Stage, ...]:
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


def namespace_stage(seen: TenantSeen, platform: Platform) -> Stage:
    """The namespace and its guards."""
    names = seen.names
    planned = desired.namespace(names, seen.spec)
    guards = desired.guards(names, seen.spec, platform)
    if seen.namespace is None:
        return Stage(ConditionType.NAMESPACE_READY, (KubeCreate(planned), *(KubeApply(g) for g in guards)))
    adoptable = seen.takes_over.uid if seen.takes_over else names.uid
    if owner_uid(seen.namespace) == adoptable != names.uid and not deleting(seen.namespace):
        return Stage(ConditionType.NAMESPACE_READY, (KubeAdopt(planned),), JUST_ADOPTED)
    require_owner(seen.namespace, names.uid)
    if deleting(seen.namespace):
        message = f"Namespace {names.namespace} is being deleted by someone; it is made again when it is gone."
        return Stage(ConditionType.NAMESPACE_READY, problem=Waiting(Reason.DELETING, message, after=5))
    closing = () if isinstance(seen.openings, ReconcileError) else seen.openings
    unplanned = set(desired.guard_refs(names)) - {ref_of(m) for m in (*guards, *closing)}
    changes = [
        *(
            c
            for uid in dict.fromkeys((names.uid, adoptable))
            for c in kube_removals(sorted(unplanned, key=str), seen.guards, uid)
        ),
        *kube_changes([planned], {ref_of(planned): seen.namespace}, names.uid),
    ]
    problem = None
    for guard in guards:
        existing = seen.guards.get(ref_of(guard))
        if existing is not None and owner_uid(existing) == adoptable != names.uid:
            changes.append(KubeAdopt(guard))
            continue
        # one by one: a guard that is not ours must not keep the others from being set right
        judged = attempt(lambda guard=guard: kube_changes([guard], seen.guards, names.uid))  # type: ignore[misc]
        if isinstance(judged, ReconcileError):
            problem = problem or judged
        else:
            changes += judged
    reason, message = _room(seen.tenants_objects)
    return Stage(
        ConditionType.NAMESPACE_READY, tuple(changes), problem, independent=True, reason=reason, message=message
    )


def _room(objects: tuple[Manifest, ...]) -> tuple[Reason, str]:
    """Whether the quota has room for the pods. If not, the tenant is as declared all the same: its own people must not take Ready from it."""
    short = [str(ref_of(m)) for m in objects if m["kind"] == RUNTIME.kind and is_short(m) and not deleting(m)]
    if not short:
        return Reason.READY, "As planned."
    message = f"The quota has no room for the pods of {_some(short)}; raise spec.quota, or have spec.resources or spec.replicas lowered there."
    return Reason.QUOTA_EXCEEDED, message


def workload_teardown(seen: TenantSeen) -> Stage:
    """Complete when no pod is there and none can come: the tenant's people could hold their objects for ever."""
    names, objects = seen.names, seen.tenants_objects
    if seen.namespace is not None and owner_uid(seen.namespace) != names.uid:
        require_unrecorded(seen, "namespace", f"Namespace {names.namespace}", f"label {OWNER_UID_LABEL}")
    changes = (
        # from here on the tenant's people make nothing new
        *kube_removals([Ref(ROLE_BINDING, names.namespace, desired.ADMINS_BINDING)], seen.guards, names.uid),
        *(KubeDelete(ref_of(m), m["metadata"]["uid"]) for m in objects if not deleting(m)),
    )
    runtimes = [m["metadata"]["name"] for m in objects if _may_have_pods(m, seen.deleted_at or "")]
    problem = None
    if runtimes or seen.pods:
        message = f"{seen.pods} pods of the tenant are still there; runtimes not torn down yet: {_some(runtimes)}."
        problem = Waiting(Reason.PODS_TERMINATING, message, after=POLL)
    return Stage(ConditionType.WORKLOAD_READY, changes, problem, independent=True)


def _may_have_pods(live: Manifest, deleted_at: str) -> bool:
    """A runtime whose own teardown is not over. One that is made later, in a tenant that is going, gets no pods."""
    metadata = live["metadata"]
    ours = FINALIZER in (metadata.get("finalizers") or ())
    return live["kind"] == RUNTIME.kind and ours and metadata["creationTimestamp"] <= deleted_at


def namespace_teardown(seen: TenantSeen) -> Stage:
    """Deleted when nothing runs in it any more."""
    namespace = seen.namespace
    if namespace is None or owner_uid(namespace) != seen.names.uid:
        return Stage(ConditionType.NAMESPACE_READY)
    waiting = Waiting(
        Reason.DELETING, f"Namespace {seen.names.namespace} is being deleted.{_held(seen.tenants_objects)}", after=POLL
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


def _some(names: list[str]) -> str:
    return ", ".join(names[:3] or ["none"]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
