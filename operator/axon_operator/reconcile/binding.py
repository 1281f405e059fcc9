"""SecretBinding: reports what became of it. Its effects are made by its runtime, the single writer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.backends.errors import ReconcileError, Terminal, Transient, Waiting
from axon_operator.domain import agent
from axon_operator.domain import binding as bindings
from axon_operator.domain import runtime as desired
from axon_operator.domain.binding import credential_file
from axon_operator.domain.manifests import container_statuses
from axon_operator.domain.names import RUNTIME_LABEL, RuntimeNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import BINDING, CONFIG_MAP, POD, RUNTIME, Manifest, Ref
from axon_operator.reconcile.common import attempt, deleting
from axon_operator.reconcile.engine.plan import Backends, Outcome, Plan, Stage
from axon_operator.reconcile.runtime import (
    TenantView,
    deliverable,
    kv_keys,
    published_revision,
    runtime_bindings,
    tenant_view,
)


@dataclass(frozen=True, slots=True)
class BindingSeen:
    """Everything that the state of a SecretBinding depends on."""

    namespace: str
    name: str
    spec: SecretBindingSpec
    deleting: bool
    tenant: TenantView | None
    runtime: Manifest | None
    candidates: tuple[bindings.Binding, ...]
    keys: Mapping[str, bindings.Keys] | ReconcileError
    published: str | None
    """The name under which the runtime's set of files is published to its pods."""
    policy: str | ReconcileError | None
    """Body of the runtime's policy in OpenBao."""
    served: tuple[str | None, ...] | ReconcileError
    """For each pod that counts as a consumer, the published name that it has recorded."""
    reported: str | None
    """The revision in the binding's own status: what was wanted when it was last looked at."""


class BindingReconciler:
    """Gathers for SecretBindings; its plans change nothing."""

    resource = BINDING

    def __init__(self, backends: Backends, platform: Platform) -> None:
        self._to = backends
        self._platform = platform

    def gather(self, live: Manifest, *, ask: bool) -> BindingSeen:
        """Reads the runtime and how far its pods have come."""
        metadata, kubernetes, vault = live["metadata"], self._to.kubernetes, self._to.vault
        namespace = metadata["namespace"]
        spec = SecretBindingSpec.model_validate(live["spec"])
        tenant = tenant_view(kubernetes, namespace)
        runtime = kubernetes.get(Ref(RUNTIME, namespace, spec.runtime_ref.name))
        candidates = runtime_bindings(kubernetes, namespace, spec.runtime_ref.name)
        reported = (live.get("status") or {}).get("revision")
        readable = tenant is not None and not tenant.spec.suspended and not tenant.deleting
        if tenant is None or runtime is None or not readable:
            return BindingSeen(
                namespace,
                metadata["name"],
                spec,
                deleting(live),
                tenant,
                runtime,
                candidates,
                {},
                None,
                None,
                (),
                reported,
            )
        names = RuntimeNames(namespace, spec.runtime_ref.name, runtime["metadata"]["uid"])
        config = kubernetes.get(Ref(CONFIG_MAP, namespace, names.principal))
        consumers = [p for p in kubernetes.list(POD, namespace, {RUNTIME_LABEL: names.runtime}) if _consumes(p)]
        policy_at = desired.vault_refs(names, tenant.names)[1]
        return BindingSeen(
            namespace=namespace,
            name=metadata["name"],
            spec=spec,
            deleting=deleting(live),
            tenant=tenant,
            runtime=runtime,
            candidates=candidates,
            keys=attempt(lambda: kv_keys(vault, tenant.names, candidates))
            if ask
            else bindings.assumed_keys(candidates),
            published=published_revision(config),
            policy=attempt(lambda: (vault.read(policy_at) or {}).get("policy")) if ask else None,
            served=attempt(lambda: tuple(self._served(names, tenant, pod) for pod in consumers))
            if ask
            # the number of consumers in the status says whether these are still the ones that served it
            else (published_revision(config),) * len(consumers),
            reported=reported,
        )

    def plan(self, seen: BindingSeen) -> Plan:
        """One stage: delivered, or on deletion: gone."""
        problem = self._not_withdrawn(seen) if seen.deleting else self._not_delivered(seen)
        if problem is None and not seen.deleting:
            reason, message = _settled(seen)
            return Plan((Stage(ConditionType.DELIVERED, reason=reason, message=message),))
        return Plan((Stage(ConditionType.DELIVERED, problem=problem),))

    def status(self, seen: BindingSeen) -> dict[str, Any]:
        """Revision and consumers, as far as they are known."""
        if seen.tenant is not None and seen.tenant.spec.suspended:
            return {"consumers": {"ready": 0, "total": 0}}
        revision = self._revision(seen)
        if revision is None or isinstance(seen.served, ReconcileError):
            return {}
        current = seen.published if agent.revision_of(seen.published) == revision else None
        ready = sum(served == current for served in seen.served) if current else 0
        return {"revision": revision, "consumers": {"ready": ready, "total": len(seen.served)}}

    def related(self, seen: BindingSeen, outcome: Outcome) -> tuple[Ref, ...]:  # noqa: ARG002 - the Protocol's
        """The runtime, once for each change of what its bindings ask for; it then has its own way of trying again.

        What was asked for is remembered in the status, which is not written while pods cannot be asked.
        """
        wanted = self._revision(seen)
        changed = wanted not in {None, seen.reported, agent.revision_of(seen.published)} and "revision" in self.status(
            seen
        )
        return (Ref(RUNTIME, seen.namespace, seen.spec.runtime_ref.name),) if changed else ()

    def _served(self, names: RuntimeNames, tenant: TenantView, pod: Manifest) -> str | None:
        record = self._to.vault.read(desired.served_path(names, tenant.names, pod["metadata"]["uid"]))
        return None if record is None else record.get("revision")

    def _revision(self, seen: BindingSeen) -> str | None:
        """The set of files that the runtime's pods ought to serve now."""
        if (
            seen.tenant is None
            or seen.runtime is None
            or seen.tenant.spec.suspended
            or isinstance(seen.keys, ReconcileError)
        ):
            return None
        specs = deliverable(seen.candidates, seen.keys, seen.tenant.spec, self._platform)
        return agent.revision([credential_file(spec) for spec in specs])

    def _not_delivered(self, seen: BindingSeen) -> ReconcileError | None:
        if seen.tenant is None:
            message = f"Namespace {seen.namespace} belongs to no Tenant; create the SecretBinding in the namespace of one (axon-<tenant>)."
            return Terminal(Reason.NOT_IN_TENANT, message)
        if seen.tenant.deleting:
            return Waiting(Reason.TENANT_NOT_READY, "The tenant is being deleted.", after=10)
        if seen.tenant.spec.suspended:
            return None
        if seen.runtime is None:
            message = f"There is no WorkflowRuntime {seen.spec.runtime_ref.name} in this namespace (yet); references never cross namespaces."
            return Waiting(Reason.RUNTIME_NOT_FOUND, message, after=30)
        if isinstance(seen.keys, ReconcileError):
            return seen.keys
        problem = bindings.problems(
            seen.candidates, seen.keys, seen.tenant.spec.network.egress, self._platform.cluster_cidrs
        ).get(seen.name)
        if problem:
            return (
                Terminal(problem.reason, problem.message)
                if problem.permanent
                else Waiting(problem.reason, problem.message, after=10)
            )
        if not_served := self._not_served(seen):
            return not_served
        if not seen.served and _wants_pods(seen):
            return Waiting(Reason.PODS_NOT_READY, "The runtime's pods are not running yet (see its status).", after=2)
        return None

    def _not_withdrawn(self, seen: BindingSeen) -> ReconcileError | None:
        """On deletion: the file must be gone from every pod, and OpenBao must refuse the path."""
        gone_with_it = seen.tenant is None or seen.tenant.deleting or seen.runtime is None or deleting(seen.runtime)
        if gone_with_it or (seen.tenant is not None and seen.tenant.spec.suspended):
            # no pods and a locked namespace: the runtime's next pass rewrites the policy without this binding
            return None
        if isinstance(seen.keys, ReconcileError):
            return _blocked(seen.keys)
        if isinstance(seen.policy, ReconcileError):
            return _blocked(seen.policy)
        paths = bindings.kv_paths(seen.candidates)
        own = seen.spec.source.kv.path if seen.spec.source.kv else ""
        if own not in paths and f'data/org/{own}"' in (seen.policy or ""):
            return Waiting(Reason.PROGRESSING, "OpenBao's policy for the runtime still names the secret.", after=0.5)
        return self._not_served(seen)

    def _not_served(self, seen: BindingSeen) -> ReconcileError | None:
        wanted = self._revision(seen)
        if wanted != agent.revision_of(seen.published):
            return Waiting(Reason.PROGRESSING, "The runtime takes over the change (see its status).", after=1)
        if isinstance(seen.served, ReconcileError):
            return seen.served
        ready, total = sum(served == seen.published for served in seen.served), len(seen.served)
        if ready < total:
            return Waiting(Reason.PROGRESSING, f"{ready} of {total} pods serve revision {wanted}.", after=1)
        return None


def _settled(seen: BindingSeen) -> tuple[Reason, str]:
    if seen.tenant is not None and seen.tenant.spec.suspended:
        return Reason.SUSPENDED, "The tenant is suspended."
    if not seen.served:
        return Reason.NO_CONSUMERS, "The runtime has no pods."
    return Reason.READY, "Every pod serves it."


def _wants_pods(seen: BindingSeen) -> bool:
    spec = (seen.runtime or {}).get("spec") or {}
    return not spec.get("suspended") and spec.get("replicas", 1) > 0


def _consumes(pod: Manifest) -> bool:
    """Whether a pod may hold files: its sidecar runs, or its workload has started, with whatever was there then."""
    status = pod.get("status") or {}
    if deleting(pod) or status.get("phase") in {"Failed", "Succeeded"}:
        return False
    states = {c["name"]: c for c in container_statuses(pod)}
    sidecar, workload = states.get("credentials") or {}, states.get("workload") or {}
    begun = workload.get("restartCount", 0) > 0 or {"running", "terminated"} & set(workload.get("state") or ())
    return "running" in (sidecar.get("state") or {}) or bool(begun)


def _blocked(error: ReconcileError) -> ReconcileError:
    """Deletion must wait for OpenBao: until it answers, the runtime's access cannot be taken back."""
    return Transient(
        error.reason, f"{error.message} Until then the runtime's access to the secret cannot be taken back."
    )
