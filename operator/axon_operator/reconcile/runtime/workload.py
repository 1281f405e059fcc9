"""Stages of the pods that are kept running and of the files that they follow; their removal."""

from collections.abc import Mapping, Sequence
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError, Waiting
from axon_operator.domain.manifests import container_statuses
from axon_operator.domain.names import REVISION_ANNOTATION
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import Manifest, ref_of
from axon_operator.domain.runtime import Runtime, config_map
from axon_operator.domain.runtime import pods as desired
from axon_operator.reconcile.common import deleting, kube_changes, kube_removals, refused
from axon_operator.reconcile.engine.plan import Change, KubeAnnotate, Stage
from axon_operator.reconcile.runtime.seen import RuntimeSeen
from axon_operator.reconcile.runtime.vault import account_problem
from axon_operator.reconcile.views import TenantView


def before_credentials(seen: RuntimeSeen, runtime: Runtime) -> tuple[ConditionType, ...]:
    """A file is announced when the policy opens it. A foreign service account must not keep withdrawn files."""
    return () if account_problem(seen, runtime) else (ConditionType.VAULT_READY,)


def credentials_stage(seen: RuntimeSeen, runtime: Runtime, platform: Platform) -> Stage:
    """What the pods' sidecars follow."""
    published = kube_changes([config_map(runtime, platform)], seen.children, seen.names.uid)
    changes = (*published, *_nudges(seen.pods, runtime.publication))
    return Stage(ConditionType.CREDENTIALS_READY, changes)


def _grows(seen: RuntimeSeen, runtime: Runtime) -> bool:
    if runtime.spec.run:
        return runtime.replicas > 0 and (seen.job is None or (seen.job["spec"].get("suspend") or False))
    return bool(runtime.replicas > ((seen.deployment or {}).get("spec") or {}).get("replicas", 0))


def before_pods(seen: RuntimeSeen, runtime: Runtime) -> tuple[ConditionType, ...]:
    """More pods need all their walls; fewer pods, or a new image for those that run, must wait for nothing.

    But what users have granted to one program must be closed before another one starts.
    """
    if _grows(seen, runtime):
        return (ConditionType.NETWORK_READY, ConditionType.VAULT_READY, ConditionType.CREDENTIALS_READY)
    return (ConditionType.VAULT_READY,) if runtime.consent and runtime.replicas else ()


def workload_stage(seen: RuntimeSeen, tenant: TenantView, runtime: Runtime, platform: Platform) -> Stage:
    """The Deployment; its pods are the problem until they are ready."""
    if _grows(seen, runtime) and not tenant.ready:
        raise unguarded(tenant)
    deployment = desired.deployment(runtime, platform)
    changes = kube_changes([deployment], {ref_of(deployment): seen.deployment}, seen.names.uid)
    reason, message = (Reason.SUSPENDED, "Scaled to zero.") if runtime.suspended else (Reason.READY, "As planned.")
    problem = refused(tenant.profile, seen.spec) or _pods_problem(seen, runtime, changes)
    return Stage(ConditionType.WORKLOAD_READY, changes, problem, reason=reason, message=message)


def unguarded(tenant: TenantView) -> Waiting:
    """Why no pods are added."""
    message = f"The guards of Tenant {tenant.names.tenant}'s namespace are not in place (see its status); no pods are added until they are."
    return Waiting(Reason.TENANT_NOT_READY, message, after=5)


def _nudges(pods: Sequence[Manifest], revision: str) -> tuple[Change, ...]:
    """An annotation that changes makes the kubelet bring the ConfigMap into the pod at once."""
    return tuple(
        KubeAnnotate(ref_of(pod), {REVISION_ANNOTATION: revision})
        for pod in pods
        if (pod["metadata"].get("annotations") or {}).get(REVISION_ANNOTATION) != revision and not deleting(pod)
    )


def _pods_problem(seen: RuntimeSeen, runtime: Runtime, changes: tuple[Change, ...]) -> ReconcileError | None:
    if seen.deployment is None or changes:
        return Waiting(Reason.PROGRESSING, "The pods follow.", after=1)
    status, wanted = seen.deployment.get("status") or {}, runtime.replicas
    current = status.get("observedGeneration") == seen.deployment["metadata"]["generation"]
    ready = min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0))
    if current and ready >= wanted and status.get("replicas", 0) == wanted:
        return None
    if refused_pods := _refused_pods(seen.names.namespace, status):
        return refused_pods
    why = "; ".join(sorted({text for pod in seen.pods for text in waiting_containers(pod)}))
    message = f"{ready} of {wanted} pods are ready, {status.get('replicas', 0)} exist{': ' + why if why else ''}."
    return Waiting(Reason.PODS_NOT_READY, message, after=2)


def _refused_pods(namespace: str, status: Mapping[str, Any]) -> Waiting | None:
    """Kubernetes takes no more pods. Its text says why: it decides here, and is not shown."""
    failures = [c for c in status.get("conditions") or () if c["type"] == "ReplicaFailure" and c["status"] == "True"]
    if not failures:
        return None
    told = " ".join(c.get("message") or "" for c in failures)
    if "exceeded quota" in told:
        message = f"The tenant's quota has no room for the pods. Lower spec.resources or spec.replicas, or have spec.quota of the Tenant raised; kubectl -n {namespace} describe resourcequota axon-quota shows what is used."
        return Waiting(Reason.QUOTA_EXCEEDED, message, after=10)
    if "usage per Container" in told:
        message = "A container asks for more than the Tenant lets one have. Lower spec.resources.limits, or have spec.limits of the Tenant raised."
        return Waiting(Reason.PODS_NOT_READY, message, after=10)
    message = f"Kubernetes cannot create the pods; kubectl -n {namespace} get events shows why."
    return Waiting(Reason.PODS_NOT_READY, message, after=10)


def waiting_containers(pod: Manifest) -> list[str]:
    """`container: Reason` for containers that cannot start; the kubelet's reasons are a fixed list, without values."""
    waiting = [(s["name"], (s.get("state") or {}).get("waiting") or {}) for s in container_statuses(pod)]
    return [
        f"{name}: {w['reason']}"
        for name, w in waiting
        if w.get("reason") not in {None, "PodInitializing", "ContainerCreating"}
    ]


def workload_teardown(seen: RuntimeSeen) -> Stage:
    """It lasts until no pod is left."""
    live = {ref_of(made): made for made in (seen.deployment, seen.job) if made}
    problem = None
    if live or seen.pods:
        problem = Waiting(Reason.PODS_TERMINATING, f"{len(seen.pods)} pods are still there.", after=1)
    return Stage(ConditionType.WORKLOAD_READY, kube_removals(live, live, seen.names.uid), problem)
