"""What runtimes and bindings both must know of their surroundings."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import TenantSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.port import Vault
from axon_operator.domain import binding as bindings
from axon_operator.domain import consent, rotation
from axon_operator.domain.binding import Surroundings
from axon_operator.domain.governance import Profile
from axon_operator.domain.issue import Issued, issued
from axon_operator.domain.manifests import conditions_of, container_statuses
from axon_operator.domain.names import KV_MOUNT, RUN_ANNOTATION, RuntimeNames, TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import BINDING, POD, RUNTIME, Manifest, Ref, VaultPath
from axon_operator.domain.runtime.pods import run_id
from axon_operator.domain.runtime.vault import served_path
from axon_operator.domain.tenant.databases import KEPT, changed_at
from axon_operator.reconcile.common import deleting, profile_of, tenant_of


@dataclass(frozen=True, slots=True)
class TenantView:
    """What an object in a namespace must know of its tenant."""

    names: TenantNames
    spec: TenantSpec
    profile: Profile | None
    ready: bool
    """The namespace's guards are in place."""
    deleting: bool
    left: bool = False
    """It says that bindings are gone of which OpenBao still has something."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a pod says of itself."""

    revision: str | None
    """The published name of the set of files that it serves; None before the first."""
    expires: int | None = None
    """Unix time at which the first of its credentials ends, if it gets no other one."""
    partly: str | None = None
    """The published name of the set of which it serves all but the files below."""
    unfit: frozenset[str] = frozenset()
    """Files whose values do not fit where they are to be delivered."""
    absent: frozenset[str] = frozenset()
    """Files that it does not get from OpenBao."""

    def serves(self, published: str, place: str | None = None) -> bool:
        """Whether it serves a file of that set, or without a file: has let go of all that is not in the set."""
        if self.partly == published:
            return place not in self.unfit | self.absent
        return self.revision == published


_DIGITS = 12
"""More than a Unix time in seconds has, for as long as anybody cares."""
_LONGEST = 8192
"""Of a list of files; the sidecar tells no longer one."""


def tenant_view(kubernetes: Kubernetes, namespace: str) -> TenantView | None:
    """The tenant of a namespace; None if it belongs to no living Tenant."""
    found = tenant_of(kubernetes, namespace)
    if found is None:
        return None
    names, live = found
    conditions = conditions_of(live)
    spec = TenantSpec.model_validate(live["spec"])
    return TenantView(
        names=names,
        spec=spec,
        profile=profile_of(kubernetes, spec),
        ready=any(c["type"] == ConditionType.NAMESPACE_READY and c["status"] == "True" for c in conditions),
        left=any(c["type"] == ConditionType.CLEARED for c in conditions),
        deleting=deleting(live),
    )


def is_short(runtime: Manifest) -> bool:
    """Whether a runtime says that the tenant's quota has no room for its pods."""
    conditions = conditions_of(runtime)
    return any(c["reason"] == Reason.QUOTA_EXCEEDED for c in conditions)


def published_revision(config: Manifest | None) -> str | None:
    """The name in the ConfigMap under which a set of files is published to the pods."""
    return ((config or {}).get("data") or {}).get("revision", "").strip() or None


def every_binding(kubernetes: Kubernetes, namespace: str, runtime: str) -> tuple[bindings.Binding, ...]:
    """The runtime's bindings, also those that are being deleted."""
    return tuple(as_binding(b) for b in kubernetes.referring(BINDING, namespace, runtime))


def runtime_bindings(kubernetes: Kubernetes, namespace: str, runtime: str) -> tuple[bindings.Binding, ...]:
    """The runtime's bindings that are not being deleted."""
    return staying(every_binding(kubernetes, namespace, runtime))


def sharing(kubernetes: Kubernetes, names: RuntimeNames, bound: Iterable[bindings.Binding]) -> tuple[Ref, ...]:
    """Other runtimes with bindings to the same roles of databases as these."""
    roles = {_role(b) for b in bound} - {None}
    every = map(as_binding, kubernetes.list(BINDING, names.namespace)) if roles else ()
    others = {b.spec.runtime_ref.name for b in every if _role(b) in roles} - {names.runtime}
    return tuple(Ref(RUNTIME, names.namespace, name) for name in sorted(others))


def _role(binding: bindings.Binding) -> tuple[str, str] | None:
    source = binding.spec.source.database
    return (source.connection, source.role) if source else None


def staying(bound: Iterable[bindings.Binding]) -> tuple[bindings.Binding, ...]:
    """Those that are not being deleted."""
    return tuple(b for b in bound if not b.deleting)


def as_binding(live: Manifest) -> bindings.Binding:
    """A SecretBinding as far as delivery is concerned."""
    metadata = live["metadata"]
    spec = SecretBindingSpec.model_validate(live["spec"])
    return bindings.Binding(metadata["name"], metadata["uid"], metadata["creationTimestamp"], spec, deleting(live))


def ask_for_grants(candidates: Iterable[bindings.Binding]) -> bool:
    """Whether any binding asks for something that is a user's."""
    return any(b.spec.source.grant for b in candidates)


def surroundings(
    names: RuntimeNames,
    spec: WorkflowRuntimeSpec,
    tenant: TenantView,
    candidates: Sequence[bindings.Binding],
    platform: Platform,
    *,
    job: Manifest | None = None,
    pods: Sequence[Manifest] = (),
) -> Surroundings:
    """What the bindings of a runtime are judged by, and their credentials made from.

    Args:
        names: of the runtime.
        spec: its own.
        tenant: whose.
        candidates: its bindings.
        platform: the installation.
        job: in which it runs to its end.
        pods: all that it has, on their way out too; needed where bindings ask for grants.
    """
    grants = ask_for_grants(candidates)
    program = consent.program(spec, {b.name: b.spec for b in candidates}) if grants else ""
    return Surroundings(
        names=names,
        tenant=tenant.names,
        runtime=spec,
        consent=consent.Consent(
            tenant.names.tenant,
            names.uid,
            consent.digest(program),
            program=program,
            tied=not grants or all(consent.runs(pod, spec) for pod in pods if not _is_over(pod)),
        ),
        databases=tuple(tenant.spec.vault.databases),
        allowed=tenant.spec.network.egress,
        cluster_cidrs=platform.cluster_cidrs,
        profile=tenant.profile,
        trust_domain=platform.trust_domain,
        ended=job is not None and is_finished(job, run_id(spec)),
    )


def is_finished(job: Manifest, run: str) -> bool:
    """Whether a Job has run what is to run now, to its end."""
    return is_run(job, run) and has_ended(job)


def is_run(job: Manifest, run: str) -> bool:
    """Whether a Job is for that run."""
    return bool((job["metadata"].get("annotations") or {}).get(RUN_ANNOTATION) == run)


def has_ended(job: Manifest) -> bool:
    """Whether a Job has come to an end, one way or the other."""
    return is_over(job, "Complete") or is_over(job, "Failed")


def is_over(job: Manifest, how: str) -> bool:
    """Whether a Job is `Complete` or `Failed`."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(c["type"] == how and c["status"] == "True" for c in conditions)


def kept_secrets(vault: Vault, around: Surroundings, candidates: Sequence[bindings.Binding]) -> bindings.Found:
    """Which of the secrets that the bindings name are there, and their keys; no values (KV's subkeys)."""
    namespace = around.tenant.vault_namespace
    return {
        path: _kept_account(vault, VaultPath(namespace, path))
        if path.startswith(f"{KEPT}/")
        else _kv_secret(vault, VaultPath(namespace, f"{KV_MOUNT}/subkeys/{path}"))
        for path in sorted(bindings.kept_paths(candidates, around))
    }


def _kv_secret(vault: Vault, at: VaultPath) -> bindings.Secret | None:
    data = vault.read(at) or {}
    subkeys, version = data.get("subkeys"), (data.get("metadata") or {}).get("version", 0)
    return None if subkeys is None else bindings.Secret(frozenset(subkeys), version)


def _kept_account(vault: Vault, at: VaultPath) -> bindings.Secret | None:
    found = vault.read(at)
    return None if found is None else bindings.Secret(frozenset(), changed_at(found))


def delivered(
    candidates: Sequence[bindings.Binding],
    found: bindings.Found,
    around: Surroundings,
    *,
    before: Mapping[str, rotation.Generation],
    highest: Mapping[str, int],
    now: datetime.datetime,
) -> tuple[Issued, ...]:
    """The bindings that are to be delivered, each with the generation that is to be current.

    Args:
        candidates: of the runtime.
        found: what of their secrets is in the KV store.
        around: by what they are judged.
        before: the generations that were current, as the runtime's ConfigMap tells.
        highest: of each binding, the last generation that OpenBao has anything of.
        now: the time.
    """
    ready = bindings.deliverable(candidates, found, around)
    orders = {b.name: bindings.order(b, around.databases) for b in ready}
    return issued(ready, rotation.generations(ready, before, highest, orders, now), found, around)


def consumers(kubernetes: Kubernetes, namespace: str, runtime: str) -> tuple[Manifest, ...]:
    """Pods that may hold files: their sidecar runs, or their workload has started, with whatever was there then."""
    return tuple(pod for pod in kubernetes.referring(POD, namespace, runtime) if _consumes(pod))


def served(vault: Vault, names: RuntimeNames, tenant: TenantNames, pods: Sequence[Manifest]) -> tuple[Served, ...]:
    """What each pod has recorded."""
    records = (vault.read(served_path(names, tenant, pod["metadata"]["uid"])) or {} for pod in pods)
    return tuple(_served(record) for record in records)


def _served(record: Mapping[str, Any]) -> Served:
    """A pod writes its record itself, so it can hold anything: what makes no sense tells nothing good of the pod.

    No text of it is ever shown; of the names of files only those count that the operator knows.
    """
    told = Served(record.get("revision"), _number(record.get("expires")))
    partly, unfit, absent = record.get("partly"), _files(record.get("unfit")), _files(record.get("absent"))
    if partly is None:
        return told
    if not isinstance(partly, str) or unfit is None or absent is None:
        return Served(None, told.expires)
    return replace(told, partly=partly, unfit=unfit, absent=absent)


def _files(text: Any) -> frozenset[str] | None:
    """None for what is no list of files."""
    return frozenset(text.split(",")) if isinstance(text, str) and len(text) <= _LONGEST else None


def _number(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < _DIGITS else None


def _is_over(pod: Manifest) -> bool:
    return (pod.get("status") or {}).get("phase") in {"Failed", "Succeeded"}


def _consumes(pod: Manifest) -> bool:
    if deleting(pod) or _is_over(pod):
        return False
    states = {c["name"]: c for c in container_statuses(pod)}
    sidecar, workload = states.get("credentials") or {}, states.get("workload") or {}
    begun = workload.get("restartCount", 0) > 0 or {"running", "terminated"} & set(workload.get("state") or ())
    return "running" in (sidecar.get("state") or {}) or bool(begun)
