"""WorkflowRuntime: identity, rights, network, pods."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.domain import issue
from axon_operator.domain import runtime as desired
from axon_operator.domain.agent import revision_of
from axon_operator.domain.binding import Binding
from axon_operator.domain.leftover import left
from axon_operator.domain.manifests import runtime_names
from axon_operator.domain.names import RUNTIME_LABEL, TENANT_LABEL, RuntimeNames, tenant_in
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    BINDING,
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    POD,
    RUNTIME,
    SERVICE_ACCOUNT,
    TENANT,
    Manifest,
    Ref,
    ref_of,
)
from axon_operator.domain.runtime import pods as desired_pods
from axon_operator.domain.runtime import told_by
from axon_operator.domain.runtime.vault import served_path, vault_leftovers, vault_refs_of
from axon_operator.reconcile.common import ASSUMED, attempt, deleting, kube_changes, kube_removals, staged, utc_now
from axon_operator.reconcile.engine.plan import Backends, KubeApply, KubeReplace, Outcome, Plan, Stage, VaultRenew
from axon_operator.reconcile.issues import IssuesSeen, look_at_issues
from axon_operator.reconcile.runtime.identity import identity_stage, identity_teardown
from axon_operator.reconcile.runtime.network import network_stage
from axon_operator.reconcile.runtime.run import run_changes, run_stage
from axon_operator.reconcile.runtime.seen import (
    RuntimeSeen,
    as_told,
    callers,
    config,
    config_of,
    issue_names,
    runtime_of,
)
from axon_operator.reconcile.runtime.vault import (
    issues_teardown,
    remembered,
    vault_stage,
    vault_teardown,
    withdrawals,
)
from axon_operator.reconcile.runtime.workload import (
    before_credentials,
    before_pods,
    credentials_stage,
    workload_stage,
    workload_teardown,
)
from axon_operator.reconcile.views import (
    TenantView,
    ask_for_grants,
    consumers,
    every_binding,
    is_short,
    kept_secrets,
    published_revision,
    served,
    sharing,
    staying,
    surroundings,
    tenant_view,
)


class RuntimeReconciler:
    """Gathers and plans for WorkflowRuntimes."""

    resource = RUNTIME

    def __init__(self, backends: Backends, platform: Platform, now: Callable[[], datetime.datetime] = utc_now) -> None:
        self._to = backends
        self._platform = platform
        self._now = now

    def gather(self, live: Manifest, *, ask: bool) -> RuntimeSeen:
        """Reads the tenant, the runtime's bindings and all that the runtime has in the three systems."""
        names = runtime_names(live)
        kubernetes = self._to.kubernetes
        tenant = tenant_view(kubernetes, names.namespace)
        stays = tenant is not None and not tenant.deleting
        deployment = Ref(DEPLOYMENT, names.namespace, names.principal)
        spec = WorkflowRuntimeSpec.model_validate(live["spec"])
        bound = every_binding(kubernetes, names.namespace, names.runtime)
        candidates = staying(bound)
        children = {ref: kubernetes.get(ref) for ref in desired.kubernetes_child_refs(names)}
        job = kubernetes.get(Ref(JOB, names.namespace, names.principal))
        pods = kubernetes.referring(POD, names.namespace, names.runtime) if ask_for_grants(candidates) else ()
        told = told_by(children[config_of(names)])
        seen = RuntimeSeen(
            names=names,
            around=surroundings(names, spec, tenant, candidates, self._platform, job=job, pods=pods)
            if tenant
            else None,
            told=told,
            spec=spec,
            deleting=deleting(live),
            tenant=tenant,
            candidates=candidates,
            found={},
            callers=callers(kubernetes.referring(RUNTIME, names.namespace, names.runtime), names.runtime),
            children=children,
            deployment=kubernetes.get(deployment),
            job=job,
            pods=(),
            vault={} if ask else ASSUMED,
            issues=IssuesSeen() if ask else ASSUMED,
            served=ASSUMED,
            now=self._now(),
            recorded=(),
            client=self._client(names, tenant if stays else None) if ask else ASSUMED,
            short=is_short(live),
            left=()
            if not stays or deleting(live) or (tenant and tenant.spec.suspended)
            else left(told, [b.uid for b in bound]),
            unmarked=tenant is None and self._has_tenant(names.namespace),
            sharing=sharing(kubernetes, names, bound),
        )
        if tenant is not None and stays and not tenant.spec.suspended:
            seen = self._asked(seen, tenant, bound) if ask else replace(seen, found=as_told(seen))
        # after the records: one that is listed is of a pod that then exists, or is gone
        return replace(seen, pods=kubernetes.referring(POD, names.namespace, names.runtime))

    def _asked(self, seen: RuntimeSeen, tenant: TenantView, bound: Sequence[Binding]) -> RuntimeSeen:
        """What OpenBao has of an open tenant's runtime. `bound`: its bindings, also those that are being deleted."""
        vault, names, around = self._to.vault, seen.names, seen.around
        recorded = attempt(lambda: vault.list(served_path(names, tenant.names)))
        if seen.deleting or around is None:
            issues = attempt(lambda: look_at_issues(vault, names, tenant.names, issue.Engine, closely=True))
            refs = vault_leftovers(names, tenant.names)
            # after its login, by which it would be made again
            contents = attempt(
                lambda: {**{at: vault.read(at) for at in refs}, **remembered(vault, names, tenant.names)}
            )
            return replace(seen, recorded=recorded, issues=issues, vault=contents)
        used = {e for b in bound for e in issue.engines_of(b.spec.source)} | set(seen.told.engines)
        # what a person takes back is looked for also where its name is gone
        closely = len(bound) > len(seen.candidates) or any(b.spec.revoked for b in bound) or bool(seen.left)
        found = attempt(lambda: kept_secrets(vault, around, seen.candidates))
        before = issue_names(seen)
        issues = attempt(lambda: look_at_issues(vault, names, tenant.names, used, before, closely=closely))
        seen = replace(seen, recorded=recorded, found=found, issues=issues)
        runtime = runtime_of(seen, tenant)
        contents = attempt(lambda: {at: issue.as_written(at, vault.read(at)) for at in vault_refs_of(runtime)})
        pods = consumers(self._to.kubernetes, names.namespace, names.runtime)
        said = attempt(lambda: served(vault, names, tenant.names, pods)) if runtime.lingering else ASSUMED
        return replace(seen, vault=contents, served=said)

    def _has_tenant(self, namespace: str) -> bool:
        """Whether a living Tenant has held this namespace; one that was refused it has not."""
        tenant = self._to.kubernetes.get(Ref(TENANT, "", tenant_in(namespace)))
        return tenant is not None and (tenant.get("status") or {}).get("namespace") == namespace

    def _client(self, names: RuntimeNames, tenant: TenantView | None) -> Mapping[str, Any] | ReconcileError | None:
        if tenant is None:
            return None
        return attempt(lambda: self._to.keycloak.read(desired.keycloak_client_path(names, tenant.names)))

    def plan(self, seen: RuntimeSeen) -> Plan:
        """Create and set right, or tear down."""
        if seen.deleting:
            return _teardown(seen)
        tenant = seen.tenant
        if tenant is None:
            message = f"Namespace {seen.names.namespace} belongs to no Tenant; create the WorkflowRuntime in the namespace of one (axon-<tenant>)."
            return Plan((Stage(ConditionType.WORKLOAD_READY, problem=Terminal(Reason.NOT_IN_TENANT, message)),))
        runtime = runtime_of(seen, tenant)
        if runtime.isolated:
            return _suspended(seen, runtime, self._platform)
        if tenant.deleting:
            problem = Waiting(Reason.TENANT_NOT_READY, "The tenant is being deleted.", after=5)
            return Plan((Stage(ConditionType.WORKLOAD_READY, problem=problem),))
        workload = run_stage if seen.spec.run else workload_stage
        return Plan(
            (
                staged(ConditionType.IDENTITY_READY, lambda: identity_stage(seen, runtime)),
                staged(ConditionType.VAULT_READY, lambda: vault_stage(seen, runtime)),
                staged(ConditionType.NETWORK_READY, lambda: network_stage(seen, tenant, runtime, self._platform)),
                staged(
                    ConditionType.CREDENTIALS_READY,
                    lambda: credentials_stage(seen, runtime, self._platform),
                    needs=before_credentials(seen, runtime),
                ),
                staged(
                    ConditionType.WORKLOAD_READY,
                    lambda: workload(seen, tenant, runtime, self._platform),
                    needs=before_pods(seen, runtime),
                ),
                *withdrawals(seen, runtime),
            )
        )

    def status(self, seen: RuntimeSeen, outcome: Outcome) -> dict[str, Any]:  # noqa: ARG002 - the Protocol's
        """Numbers for the scale subresource, and the names that an administrator looks for."""
        live = (seen.deployment or {}).get("status") or {}
        if seen.job:
            counted = seen.job.get("status") or {}
            live = {"replicas": counted.get("active", 0), "readyReplicas": counted.get("ready", 0)}
        labels = {TENANT_LABEL: seen.tenant.names.tenant if seen.tenant else "", RUNTIME_LABEL: seen.names.runtime}
        status = {
            "replicas": live.get("replicas", 0),
            "readyReplicas": live.get("readyReplicas", 0),
            "selector": ",".join(f"{name}={value}" for name, value in labels.items()),
            "serviceAccount": seen.names.principal,
        }
        account = seen.children.get(Ref(SERVICE_ACCOUNT, seen.names.namespace, seen.names.principal))
        if account is not None:
            # another one than a pass has judged ends the trust in this status
            status["serviceAccountUID"] = account["metadata"]["uid"]
        if revision := revision_of(published_revision(config(seen))):
            status["revision"] = revision
        return status

    def related(self, seen: RuntimeSeen, outcome: Outcome) -> tuple[Ref, ...]:
        """Its bindings, and the runtimes it may call, whenever something was changed.

        Others that go on with an account whose password was changed: their pods hold the one of before.
        Itself, if it has published another revision: the status tells what was read before. Its tenant, whose status
        repeats it, when the quota begins or ceases to be too small, and when another thing is left of bindings that are
        gone.
        """
        short = any(error.reason is Reason.QUOTA_EXCEEDED for error in outcome.errors)
        news = seen.tenant is not None and (short != seen.short or _left_is_news(seen, seen.tenant, outcome))
        told = (Ref(TENANT, "", seen.tenant.names.tenant),) if seen.tenant and news else ()
        if not outcome.applied and not (seen.deleting and outcome.complete):
            return told
        namespace = seen.names.namespace
        before = published_revision(config(seen))
        published = [c.manifest for c in outcome.applied if isinstance(c, KubeApply | KubeReplace)]
        again = any(m["kind"] == CONFIG_MAP.kind and published_revision(m) != before for m in published)
        return (
            *told,
            *((Ref(RUNTIME, namespace, seen.names.runtime),) if again else ()),
            *(seen.sharing if any(isinstance(c, VaultRenew) for c in outcome.applied) else ()),
            *(Ref(BINDING, namespace, b.name) for b in seen.candidates),
            *(Ref(RUNTIME, namespace, c.runtime) for c in seen.spec.connections),
        )


def _left_is_news(seen: RuntimeSeen, tenant: TenantView, outcome: Outcome) -> bool:
    """Whether the Tenant may say something else of bindings that are gone than is so; in an outage, once."""
    if seen.left:
        return not tenant.left or bool(outcome.applied)
    return tenant.left and isinstance(seen.vault, Mapping)


def _suspended(seen: RuntimeSeen, runtime: desired.Runtime, platform: Platform) -> Plan:
    """The tenant is suspended: its OpenBao namespace and realm answer nobody, so only Kubernetes is touched."""
    policies = [ref for ref in seen.children if ref.resource.kind == "NetworkPolicy"]
    closed = Stage(
        ConditionType.NETWORK_READY,
        kube_removals(policies, seen.children, seen.names.uid),
        reason=Reason.SUSPENDED,
        message="Closed in both directions.",
    )
    deployment, run = desired_pods.deployment(runtime, platform), runtime.spec.run

    def scaled() -> Stage:
        live = {ref_of(deployment): seen.deployment}
        changes = kube_changes([deployment], live, seen.names.uid) if seen.deployment else ()
        if seen.job and run:
            changes = run_changes(seen.job, desired_pods.job(runtime, run, platform))
        problem = (
            Waiting(Reason.PODS_TERMINATING, f"{len(seen.pods)} pods are still there.", after=1) if seen.pods else None
        )
        return Stage(ConditionType.WORKLOAD_READY, changes, problem, reason=Reason.SUSPENDED, message="Scaled to zero.")

    return Plan((closed, staged(ConditionType.WORKLOAD_READY, scaled)))


def _teardown(seen: RuntimeSeen) -> Plan:
    """Pods first; then no new logins, no rights, no client; what closes the network last."""
    withdrawn = issues_teardown(seen)
    stopped, revoked, forgotten = ConditionType.WORKLOAD_READY, ConditionType.VAULT_READY, ConditionType.IDENTITY_READY
    return Plan(
        (
            workload_teardown(seen),
            staged(revoked, lambda: vault_teardown(seen), needs=(stopped,)),
            *withdrawn,
            staged(forgotten, lambda: identity_teardown(seen), needs=(stopped,)),
            Stage(
                ConditionType.NETWORK_READY,
                kube_removals(seen.children, seen.children, seen.names.uid),
                needs=(stopped, revoked, *(stage.condition for stage in withdrawn), forgotten),
            ),
        )
    )
