"""WorkflowRuntime: identity, rights, network, pods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import EgressRule, TenantSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.port import Vault
from axon_operator.domain import binding as bindings
from axon_operator.domain import runtime as desired
from axon_operator.domain.agent import revision_of
from axon_operator.domain.manifests import container_statuses, is_current, owner_uid
from axon_operator.domain.names import (
    KV_MOUNT,
    REVISION_ANNOTATION,
    RUNTIME_LABEL,
    TENANT_LABEL,
    RuntimeNames,
    TenantNames,
)
from axon_operator.domain.network import egress_problem, opens
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    BINDING,
    CONFIG_MAP,
    DEPLOYMENT,
    NETWORK_POLICY,
    POD,
    RUNTIME,
    SERVICE_ACCOUNT,
    TENANT,
    Manifest,
    Ref,
    VaultPath,
    ref_of,
)
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.common import (
    ASSUMED,
    Assumed,
    attempt,
    deleting,
    kube_changes,
    kube_removals,
    realm_changes,
    staged,
    tenant_of,
    vault_changes,
)
from axon_operator.reconcile.engine.plan import (
    Backends,
    Change,
    KubeAnnotate,
    KubeApply,
    KubeCreateBound,
    KubeDelete,
    KubeReplace,
    Outcome,
    Plan,
    RealmDelete,
    Stage,
    VaultDelete,
)

VaultContents = Mapping[VaultPath, Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class TenantView:
    """What a runtime must know of its tenant."""

    names: TenantNames
    spec: TenantSpec
    ready: bool
    """The namespace's guards are in place."""
    deleting: bool


@dataclass(frozen=True, slots=True)
class RuntimeSeen:
    """Everything a plan for a WorkflowRuntime depends on."""

    names: RuntimeNames
    spec: WorkflowRuntimeSpec
    deleting: bool
    tenant: TenantView | None
    candidates: tuple[bindings.Binding, ...]
    keys: Mapping[str, bindings.Keys] | ReconcileError
    callers: tuple[tuple[str, int], ...]
    children: Mapping[Ref, Manifest | None]
    deployment: Manifest | None
    pods: tuple[Manifest, ...]
    vault: VaultContents | ReconcileError | Assumed
    recorded: tuple[str, ...] | ReconcileError
    """Uids of pods that have recorded a served revision."""
    client: Mapping[str, Any] | ReconcileError | Assumed | None
    unmarked: bool
    """The Tenant of this namespace lives, and the namespace does not carry its mark."""


class RuntimeReconciler:
    """Gathers and plans for WorkflowRuntimes."""

    resource = RUNTIME

    def __init__(self, backends: Backends, platform: Platform) -> None:
        self._to = backends
        self._platform = platform

    def gather(self, live: Manifest, *, ask: bool) -> RuntimeSeen:
        """Reads the tenant, the runtime's bindings and all that the runtime has in the three systems."""
        metadata = live["metadata"]
        names = RuntimeNames(metadata["namespace"], metadata["name"], metadata["uid"])
        kubernetes = self._to.kubernetes
        tenant = tenant_view(kubernetes, names.namespace)
        candidates = runtime_bindings(kubernetes, names.namespace, names.runtime)
        stays = tenant is not None and not tenant.deleting
        open_ = tenant is not None and stays and not tenant.spec.suspended
        deployment = Ref(DEPLOYMENT, names.namespace, names.principal)
        # before the pods: a record that is listed is of a pod that then exists, or is gone
        recorded = (
            attempt(lambda: self._to.vault.list(desired.served_path(names, tenant.names)))
            if tenant and open_ and ask
            else ()
        )
        return RuntimeSeen(
            names=names,
            spec=WorkflowRuntimeSpec.model_validate(live["spec"]),
            deleting=deleting(live),
            tenant=tenant,
            candidates=candidates,
            keys=self._keys(tenant, candidates, ask=ask) if open_ and not deleting(live) else {},
            callers=_callers(kubernetes.referring(RUNTIME, names.namespace, names.runtime), names.runtime),
            children={ref: kubernetes.get(ref) for ref in desired.kubernetes_child_refs(names)},
            deployment=kubernetes.get(deployment),
            pods=kubernetes.list(POD, names.namespace, {RUNTIME_LABEL: names.runtime}),
            vault=self._vault(names, tenant if open_ else None) if ask else ASSUMED,
            recorded=recorded,
            client=self._client(names, tenant if stays else None) if ask else ASSUMED,
            unmarked=tenant is None and self._has_tenant(names.namespace),
        )

    def _has_tenant(self, namespace: str) -> bool:
        """Whether a living Tenant has held this namespace; one that was refused it has not."""
        tenant = self._to.kubernetes.get(Ref(TENANT, "", namespace.removeprefix("axon-")))
        return tenant is not None and (tenant.get("status") or {}).get("namespace") == namespace

    def _keys(
        self, tenant: TenantView | None, candidates: Sequence[bindings.Binding], *, ask: bool
    ) -> Mapping[str, bindings.Keys] | ReconcileError:
        if tenant is None or not ask:
            return bindings.assumed_keys(candidates)
        return attempt(lambda: kv_keys(self._to.vault, tenant.names, candidates))

    def _vault(self, names: RuntimeNames, tenant: TenantView | None) -> VaultContents | ReconcileError:
        refs = desired.vault_refs(names, tenant.names) if tenant else ()
        return attempt(lambda: {at: self._to.vault.read(at) for at in refs})

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
        runtime = _runtime(seen, tenant, self._platform)
        if runtime.isolated:
            return _suspended(seen, runtime, self._platform)
        if tenant.deleting:
            problem = Waiting(Reason.TENANT_NOT_READY, "The tenant is being deleted.", after=5)
            return Plan((Stage(ConditionType.WORKLOAD_READY, problem=problem),))
        return Plan(
            (
                staged(ConditionType.IDENTITY_READY, lambda: _identity_stage(seen, runtime)),
                staged(ConditionType.VAULT_READY, lambda: _vault_stage(seen, runtime)),
                staged(ConditionType.NETWORK_READY, lambda: _network_stage(seen, tenant, runtime, self._platform)),
                staged(
                    ConditionType.CREDENTIALS_READY,
                    lambda: _credentials_stage(seen, runtime, self._platform),
                    needs=_before_credentials(seen, runtime),
                ),
                staged(
                    ConditionType.WORKLOAD_READY,
                    lambda: _workload_stage(seen, tenant, runtime, self._platform),
                    needs=_before_pods(seen, runtime),
                ),
            )
        )

    def status(self, seen: RuntimeSeen) -> dict[str, Any]:
        """Numbers for the scale subresource, and the names that an administrator looks for."""
        live = (seen.deployment or {}).get("status") or {}
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
        if revision := revision_of(published_revision(_config(seen))):
            status["revision"] = revision
        return status

    def related(self, seen: RuntimeSeen, outcome: Outcome) -> tuple[Ref, ...]:
        """Its bindings, and the runtimes it may call, whenever something was changed.

        Itself, if it has published another revision: the status tells what was read before.
        """
        if not outcome.applied and not (seen.deleting and outcome.complete):
            return ()
        namespace = seen.names.namespace
        before = published_revision(_config(seen))
        published = [c.manifest for c in outcome.applied if isinstance(c, KubeApply | KubeReplace)]
        again = any(m["kind"] == CONFIG_MAP.kind and published_revision(m) != before for m in published)
        return (
            *((Ref(RUNTIME, namespace, seen.names.runtime),) if again else ()),
            *(Ref(BINDING, namespace, b.name) for b in seen.candidates),
            *(Ref(RUNTIME, namespace, c.runtime) for c in seen.spec.connections),
        )


def tenant_view(kubernetes: Kubernetes, namespace: str) -> TenantView | None:
    """The tenant of a namespace; None if it belongs to no living Tenant."""
    found = tenant_of(kubernetes, namespace)
    if found is None:
        return None
    names, live = found
    conditions = (live.get("status") or {}).get("conditions") or ()
    return TenantView(
        names=names,
        spec=TenantSpec.model_validate(live["spec"]),
        ready=any(c["type"] == ConditionType.NAMESPACE_READY and c["status"] == "True" for c in conditions),
        deleting=deleting(live),
    )


def _unknown(seen: ReconcileError | Assumed) -> ReconcileError:
    """A teardown asks before it says that nothing is left."""
    return seen if isinstance(seen, ReconcileError) else Waiting(Reason.PROGRESSING, "Not asked yet.", after=0)


def published_revision(config: Manifest | None) -> str | None:
    """The name in the ConfigMap under which a set of files is published to the pods."""
    return ((config or {}).get("data") or {}).get("revision", "").strip() or None


def runtime_bindings(kubernetes: Kubernetes, namespace: str, runtime: str) -> tuple[bindings.Binding, ...]:
    """The runtime's bindings that are not being deleted."""
    return tuple(
        bindings.Binding(
            b["metadata"]["name"], b["metadata"]["creationTimestamp"], SecretBindingSpec.model_validate(b["spec"])
        )
        for b in kubernetes.referring(BINDING, namespace, runtime)
        if not deleting(b)
    )


def kv_keys(vault: Vault, tenant: TenantNames, candidates: Sequence[bindings.Binding]) -> dict[str, bindings.Keys]:
    """Key names (no values: KV's subkeys) of the secrets that the bindings name."""
    found: dict[str, bindings.Keys] = {}
    for path in sorted(bindings.kv_paths(candidates)):
        data = vault.read(VaultPath(tenant.vault_namespace, f"{KV_MOUNT}/subkeys/org/{path}"))
        subkeys = (data or {}).get("subkeys")
        found[path] = None if subkeys is None else frozenset(subkeys)
    return found


def deliverable(
    candidates: Sequence[bindings.Binding], keys: Mapping[str, bindings.Keys], tenant: TenantSpec, platform: Platform
) -> tuple[SecretBindingSpec, ...]:
    """The bindings without a problem."""
    problems = bindings.problems(candidates, keys, tenant.network.egress, platform.cluster_cidrs)
    return tuple(b.spec for b in candidates if b.name not in problems)


def _runtime(seen: RuntimeSeen, tenant: TenantView, platform: Platform) -> desired.Runtime:
    keys = {} if isinstance(seen.keys, ReconcileError) else seen.keys
    return desired.Runtime(
        names=seen.names,
        tenant=tenant.names,
        spec=seen.spec,
        bindings=deliverable(seen.candidates, keys, tenant.spec, platform),
        callers=seen.callers,
        suspended=seen.spec.suspended or tenant.spec.suspended,
        isolated=tenant.spec.suspended,
        published=published_revision(_config(seen)),
    )


def _config(seen: RuntimeSeen) -> Manifest | None:
    return seen.children.get(Ref(CONFIG_MAP, seen.names.namespace, seen.names.principal))


def _identity_stage(seen: RuntimeSeen, runtime: desired.Runtime) -> Stage:
    if isinstance(seen.client, ReconcileError):
        raise seen.client
    if isinstance(seen.client, Assumed):
        return Stage(ConditionType.IDENTITY_READY)
    client = desired.keycloak_client(runtime)
    return Stage(ConditionType.IDENTITY_READY, realm_changes([client], {client.at: seen.client}))


def _vault_stage(seen: RuntimeSeen, runtime: desired.Runtime) -> Stage:
    """The policy first, whatever becomes of the rest: it is what takes access back."""
    if isinstance(seen.vault, ReconcileError):
        raise seen.vault
    if isinstance(seen.vault, Assumed):
        account = desired.service_account(runtime)
        return Stage(ConditionType.VAULT_READY, kube_changes([account], seen.children, seen.names.uid))
    if isinstance(seen.keys, ReconcileError):
        # without the keys the union of the bindings is unknown: an unfinished one must not replace it
        raise seen.keys
    policy = vault_changes([desired.vault_policy(runtime)], seen.vault)
    problem = _account_problem(seen, runtime)
    login = () if problem else _login_changes(seen, runtime, seen.vault)
    # a list that fails only puts the tidying up off
    recorded = () if isinstance(seen.recorded, ReconcileError) else seen.recorded
    stale = desired.stale_records(recorded, seen.pods)
    forget = (VaultDelete(desired.served_path(seen.names, runtime.tenant, uid), required=False) for uid in stale)
    return Stage(ConditionType.VAULT_READY, (*policy, *login, *forget), problem)


def _account_problem(seen: RuntimeSeen, runtime: desired.Runtime) -> ReconcileError | None:
    """Why no role can be bound to the service account that is there."""
    account = seen.children.get(ref_of(desired.service_account(runtime)))
    if account is None or not isinstance(seen.vault, Mapping) or is_bound(account, runtime, seen.vault):
        return None
    if owner_uid(account) != seen.names.uid:
        message = f"{ref_of(account)} is not the one that the operator made: the pods cannot log in to OpenBao. It is not touched; delete it, and the operator makes its own."
        return Terminal(Reason.NAME_TAKEN, message)
    if deleting(account):
        return Waiting(Reason.PROGRESSING, "The service account is being deleted; it is made again then.", after=1)
    return None


def _login_changes(seen: RuntimeSeen, runtime: desired.Runtime, vault: VaultContents) -> tuple[Change, ...]:
    """Service account and role. The role is the record of which account the operator made, by its uid.

    An account with our marks and another uid was made by someone who copied them, or by a pass that was cut
    off before the role was written: it is replaced, never bound.
    """
    planned = desired.service_account(runtime)
    account = seen.children.get(ref_of(planned))
    if account is not None and is_bound(account, runtime, vault):
        changes = () if is_current(account, planned) else (KubeApply(planned),)
        return (*changes, *vault_changes([desired.vault_role(runtime, account["metadata"]["uid"])], vault))
    replaced = (KubeDelete(ref_of(account), account["metadata"]["uid"]),) if account else ()
    return (*replaced, KubeCreateBound(planned, partial(desired.vault_role, runtime)))


def is_bound(account: Manifest, runtime: desired.Runtime, vault: VaultContents) -> bool:
    """Whether the role is bound to this very account; marks can be copied, a uid cannot."""
    planned = desired.vault_role(runtime, account["metadata"]["uid"])
    role = vault.get(planned.at)
    return role is not None and as_planned(role.get("bound_claims"), planned.body["bound_claims"])


def _network_stage(seen: RuntimeSeen, tenant: TenantView, runtime: desired.Runtime, platform: Platform) -> Stage:
    """The policy with the rules that are allowed now; what is wrong with the others is the stage's problem."""

    def wrong(rules: Sequence[EgressRule]) -> str | None:
        return egress_problem(rules, tenant.spec.network.egress, platform.cluster_cidrs, "spec.egress")

    asked = (*seen.spec.egress, *_bindings_egress(seen, runtime))
    policy = desired.network_policy(runtime, [rule for rule in asked if not wrong([rule])], platform)
    service = desired.service(runtime)
    planned = [m for m in (policy, service) if m is not None]
    owned = [ref for ref in seen.children if ref.resource.kind in {"NetworkPolicy", "Service"}]
    unplanned = [ref for ref in owned if ref not in {ref_of(m) for m in planned}]
    changes = (
        *kube_removals(unplanned, seen.children, seen.names.uid),
        *kube_changes(planned, seen.children, seen.names.uid),
    )
    message = wrong(seen.spec.egress)
    return Stage(ConditionType.NETWORK_READY, changes, Terminal(Reason.INVALID_SPEC, message) if message else None)


def _bindings_egress(seen: RuntimeSeen, runtime: desired.Runtime) -> tuple[EgressRule, ...]:
    """What the bindings open. While it is unknown which of them count, each keeps what it has open."""
    if not isinstance(seen.keys, ReconcileError):
        return tuple(rule for b in runtime.bindings for rule in b.egress)
    live = seen.children.get(Ref(NETWORK_POLICY, seen.names.namespace, seen.names.principal))
    return tuple(rule for b in seen.candidates for rule in b.spec.egress if live and opens(live, rule))


def _before_credentials(seen: RuntimeSeen, runtime: desired.Runtime) -> tuple[ConditionType, ...]:
    """A file is announced when the policy opens it. A foreign service account must not keep withdrawn files."""
    return () if _account_problem(seen, runtime) else (ConditionType.VAULT_READY,)


def _credentials_stage(seen: RuntimeSeen, runtime: desired.Runtime, platform: Platform) -> Stage:
    published = kube_changes([desired.config_map(runtime, platform)], seen.children, seen.names.uid)
    changes = (*published, *_nudges(seen.pods, runtime.publication))
    return Stage(ConditionType.CREDENTIALS_READY, changes)


def _grows(seen: RuntimeSeen, runtime: desired.Runtime) -> bool:
    return bool(runtime.replicas > ((seen.deployment or {}).get("spec") or {}).get("replicas", 0))


def _before_pods(seen: RuntimeSeen, runtime: desired.Runtime) -> tuple[ConditionType, ...]:
    """More pods need all their walls; fewer pods, or a new image for those that run, must wait for nothing."""
    if _grows(seen, runtime):
        return (ConditionType.NETWORK_READY, ConditionType.VAULT_READY, ConditionType.CREDENTIALS_READY)
    return ()


def _workload_stage(seen: RuntimeSeen, tenant: TenantView, runtime: desired.Runtime, platform: Platform) -> Stage:
    if _grows(seen, runtime) and not tenant.ready:
        message = f"The guards of Tenant {tenant.names.tenant}'s namespace are not in place (see its status); no pods are added until they are."
        raise Waiting(Reason.TENANT_NOT_READY, message, after=5)
    deployment = desired.deployment(runtime, platform)
    changes = kube_changes([deployment], {ref_of(deployment): seen.deployment}, seen.names.uid)
    reason, message = (Reason.SUSPENDED, "Scaled to zero.") if runtime.suspended else (Reason.READY, "As planned.")
    return Stage(
        ConditionType.WORKLOAD_READY, changes, _pods_problem(seen, runtime, changes), reason=reason, message=message
    )


def _nudges(pods: Sequence[Manifest], revision: str) -> tuple[Change, ...]:
    """An annotation that changes makes the kubelet bring the ConfigMap into the pod at once."""
    return tuple(
        KubeAnnotate(ref_of(pod), {REVISION_ANNOTATION: revision})
        for pod in pods
        if (pod["metadata"].get("annotations") or {}).get(REVISION_ANNOTATION) != revision and not deleting(pod)
    )


def _pods_problem(seen: RuntimeSeen, runtime: desired.Runtime, changes: tuple[Change, ...]) -> ReconcileError | None:
    if seen.deployment is None or changes:
        return Waiting(Reason.PROGRESSING, "The pods follow.", after=1)
    status, wanted = seen.deployment.get("status") or {}, runtime.replicas
    current = status.get("observedGeneration") == seen.deployment["metadata"]["generation"]
    ready = min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0))
    if current and ready >= wanted and status.get("replicas", 0) == wanted:
        return None
    if any(c["type"] == "ReplicaFailure" and c["status"] == "True" for c in status.get("conditions") or ()):
        message = "Kubernetes cannot create the pods; most often the Tenant's quota is used up: kubectl describe resourcequota axon-quota."
        return Waiting(Reason.PODS_NOT_READY, message, after=10)
    why = "; ".join(sorted({text for pod in seen.pods for text in _waiting_containers(pod)}))
    message = f"{ready} of {wanted} pods are ready, {status.get('replicas', 0)} exist{': ' + why if why else ''}."
    return Waiting(Reason.PODS_NOT_READY, message, after=2)


def _waiting_containers(pod: Manifest) -> list[str]:
    """`container: Reason` for containers that cannot start; the kubelet's reasons are a fixed list, without values."""
    waiting = [(s["name"], (s.get("state") or {}).get("waiting") or {}) for s in container_statuses(pod)]
    return [
        f"{name}: {w['reason']}"
        for name, w in waiting
        if w.get("reason") not in {None, "PodInitializing", "ContainerCreating"}
    ]


def _suspended(seen: RuntimeSeen, runtime: desired.Runtime, platform: Platform) -> Plan:
    """The tenant is suspended: its OpenBao namespace and realm answer nobody, so only Kubernetes is touched."""
    policies = [ref for ref in seen.children if ref.resource.kind == "NetworkPolicy"]
    closed = Stage(
        ConditionType.NETWORK_READY,
        kube_removals(policies, seen.children, seen.names.uid),
        reason=Reason.SUSPENDED,
        message="Closed in both directions.",
    )
    deployment = desired.deployment(runtime, platform)

    def scaled() -> Stage:
        live = {ref_of(deployment): seen.deployment}
        changes = kube_changes([deployment], live, seen.names.uid) if seen.deployment else ()
        problem = (
            Waiting(Reason.PODS_TERMINATING, f"{len(seen.pods)} pods are still there.", after=1) if seen.pods else None
        )
        return Stage(ConditionType.WORKLOAD_READY, changes, problem, reason=Reason.SUSPENDED, message="Scaled to zero.")

    return Plan((closed, staged(ConditionType.WORKLOAD_READY, scaled)))


def _teardown(seen: RuntimeSeen) -> Plan:
    """Pods first; then no new logins, no rights, no client; what closes the network last."""
    stopped, revoked, forgotten = ConditionType.WORKLOAD_READY, ConditionType.VAULT_READY, ConditionType.IDENTITY_READY
    return Plan(
        (
            _workload_teardown(seen),
            staged(revoked, lambda: _vault_teardown(seen), needs=(stopped,)),
            staged(forgotten, lambda: _identity_teardown(seen), needs=(stopped,)),
            Stage(
                ConditionType.NETWORK_READY,
                kube_removals(seen.children, seen.children, seen.names.uid),
                needs=(stopped, revoked, forgotten),
            ),
        )
    )


def _workload_teardown(seen: RuntimeSeen) -> Stage:
    deployment = seen.deployment
    live = {ref_of(deployment): deployment} if deployment else {}
    problem = None
    if deployment or seen.pods:
        problem = Waiting(Reason.PODS_TERMINATING, f"{len(seen.pods)} pods are still there.", after=1)
    return Stage(ConditionType.WORKLOAD_READY, kube_removals(live, live, seen.names.uid), problem)


def _vault_teardown(seen: RuntimeSeen) -> Stage:
    """Where the tenant is going too, its whole namespace is: nothing to remove one by one."""
    if seen.unmarked:
        message = f"Namespace {seen.names.namespace} has lost the mark of its Tenant, so what the runtime has in OpenBao and Keycloak cannot be removed; see the Tenant's status."
        raise Waiting(Reason.TENANT_NOT_READY, message, after=30)
    if seen.tenant and seen.tenant.spec.suspended and not seen.tenant.deleting:
        message = "The tenant is suspended and its OpenBao namespace locked; the runtime's role is removed when it is resumed or deleted."
        raise Waiting(Reason.SUSPENDED, message, after=60)
    if not isinstance(seen.vault, Mapping):
        raise _unknown(seen.vault)
    if isinstance(seen.recorded, ReconcileError):
        raise seen.recorded
    existing = [at for at, found in seen.vault.items() if found is not None]
    tenant, uids = seen.tenant, desired.stale_records(seen.recorded, ())
    records = [desired.served_path(seen.names, tenant.names, uid) for uid in uids] if tenant else []
    more = Waiting(Reason.DELETING, "More records of pods are left.", after=0)
    return Stage(
        ConditionType.VAULT_READY,
        tuple(VaultDelete(at) for at in (*existing, *records)),
        more if len(records) == desired.RECORDS_AT_ONCE else None,
    )


def _identity_teardown(seen: RuntimeSeen) -> Stage:
    if isinstance(seen.client, ReconcileError | Assumed):
        raise _unknown(seen.client)
    if seen.client is None or seen.tenant is None:
        return Stage(ConditionType.IDENTITY_READY)
    return Stage(
        ConditionType.IDENTITY_READY, (RealmDelete(desired.keycloak_client_path(seen.names, seen.tenant.names)),)
    )


def _callers(runtimes: Sequence[Manifest], callee: str) -> tuple[tuple[str, int], ...]:
    """(name, port) of the runtimes that declare a connection to this one."""
    return tuple(
        (r["metadata"]["name"], c["port"])
        for r in runtimes
        for c in r["spec"].get("connections") or ()
        if c["runtime"] == callee and not deleting(r)
    )
