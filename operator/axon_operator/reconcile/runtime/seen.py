"""What a plan for a WorkflowRuntime is made from."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.errors import ReconcileError
from axon_operator.domain import agent, issue
from axon_operator.domain import binding as bindings
from axon_operator.domain import runtime as desired
from axon_operator.domain.agent import revision_of
from axon_operator.domain.binding import Surroundings
from axon_operator.domain.issue import Told
from axon_operator.domain.names import RuntimeNames
from axon_operator.domain.resources import CONFIG_MAP, Manifest, Ref, VaultPath
from axon_operator.reconcile.common import Assumed, deleting, not_asked, refused
from axon_operator.reconcile.issues import IssuesSeen, lingering
from axon_operator.reconcile.views import Served, TenantView, ask_for_grants, delivered, published_revision

VaultContents = Mapping[VaultPath, Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class RuntimeSeen:
    """Everything a plan for a WorkflowRuntime depends on."""

    names: RuntimeNames
    around: Surroundings | None
    """What its bindings are judged by; None outside of a tenant."""
    told: Told
    """What its ConfigMap tells of the bindings that are delivered."""
    spec: WorkflowRuntimeSpec
    deleting: bool
    tenant: TenantView | None
    candidates: tuple[bindings.Binding, ...]
    found: bindings.Found | ReconcileError
    """What of their secrets is in the KV store."""
    callers: tuple[tuple[str, int], ...]
    children: Mapping[Ref, Manifest | None]
    deployment: Manifest | None
    job: Manifest | None
    """Instead of a Deployment, where the workload runs to its end."""
    pods: tuple[Manifest, ...]
    vault: VaultContents | ReconcileError | Assumed
    issues: IssuesSeen | ReconcileError | Assumed
    served: tuple[Served, ...] | ReconcileError | Assumed
    """What each pod that may hold files says of itself; asked only while one generation takes the place of another."""
    now: datetime.datetime
    recorded: tuple[str, ...] | ReconcileError
    """Uids of pods that have recorded a served revision."""
    client: Mapping[str, Any] | ReconcileError | Assumed | None
    short: bool
    """As its status said before: the tenant's quota has no room for its pods."""
    left: tuple[str, ...]
    """Bindings that its ConfigMap tells of, and that are gone: OpenBao was away when their deletion ended."""
    unmarked: bool
    """The Tenant of this namespace lives, and the namespace does not carry its mark."""
    sharing: tuple[Ref, ...] = ()
    """Other runtimes of the tenant with bindings to the same roles of databases."""


def runtime_of(seen: RuntimeSeen, tenant: TenantView) -> desired.Runtime:
    """What its desired state is made from."""
    bound = _delivered(seen)
    issues = seen.issues if isinstance(seen.issues, IssuesSeen) else IssuesSeen()
    published = published_revision(config(seen))
    grants = ask_for_grants(seen.candidates)
    return desired.Runtime(
        names=seen.names,
        tenant=tenant.names,
        spec=_held(seen) if refused(tenant.profile, seen.spec) else seen.spec,
        bindings=bound,
        callers=seen.callers,
        suspended=seen.spec.suspended or tenant.spec.suspended,
        isolated=tenant.spec.suspended,
        published=published,
        ended=seen.around is not None and seen.around.ended,
        lingering=lingering(bound, issues, seen.now, confirmed=_confirmed(seen, bound, published)),
        consent=seen.around.consent if seen.around and grants else None,
        engines=issues.engines if isinstance(seen.issues, IssuesSeen) else frozenset(seen.told.engines),
    )


def _confirmed(seen: RuntimeSeen, bound: Sequence[issue.Issued], published: str | None) -> frozenset[str]:
    """Names of the bindings that every pod serves as they are now."""
    files = {b.binding.name: issue.credential_file(b) for b in bound}
    if not isinstance(seen.served, tuple) or published is None:
        return frozenset()
    if revision_of(published) != agent.revision(list(files.values())):
        return frozenset()
    pods = seen.served
    return frozenset(name for name, file in files.items() if all(s.serves(published, file.place) for s in pods))


def _delivered(seen: RuntimeSeen) -> tuple[issue.Issued, ...]:
    if seen.around is None:
        return ()
    found = {} if isinstance(seen.found, ReconcileError) else seen.found
    issues = seen.issues if isinstance(seen.issues, IssuesSeen) else IssuesSeen()
    highest = issues.highest(seen.names, seen.candidates)
    return delivered(seen.candidates, found, seen.around, before=seen.told.generations, highest=highest, now=seen.now)


def as_told(seen: RuntimeSeen) -> bindings.Found:
    """What the KV store holds, if nothing has changed."""
    return bindings.assumed(seen.candidates, seen.around, seen.told.secrets) if seen.around else {}


def issue_names(seen: RuntimeSeen) -> frozenset[str]:
    """Names of the issues that are served, if nothing has changed."""
    return frozenset(b.name for b in _delivered(replace(seen, found=as_told(seen), issues=IssuesSeen())))


def _held(seen: RuntimeSeen) -> WorkflowRuntimeSpec:
    """The spec of a runtime that its tenant's profile refuses: pods that run stay, none is added, no other image starts."""
    running = (seen.deployment or {}).get("spec") or {}
    containers = running["template"]["spec"]["containers"] if running else ()
    image = next((c["image"] for c in containers if c["name"] == "workload"), seen.spec.image)
    return seen.spec.model_copy(
        update={"image": image, "replicas": min(seen.spec.replicas, running.get("replicas", 0))}
    )


def config(seen: RuntimeSeen) -> Manifest | None:
    """Its ConfigMap, as it was read."""
    return seen.children.get(config_of(seen.names))


def config_of(names: RuntimeNames) -> Ref:
    """Where that is."""
    return Ref(CONFIG_MAP, names.namespace, names.principal)


def callers(runtimes: Sequence[Manifest], callee: str) -> tuple[tuple[str, int], ...]:
    """(name, port) of the runtimes that declare a connection to this one."""
    return tuple(
        (r["metadata"]["name"], c["port"])
        for r in runtimes
        for c in r["spec"].get("connections") or ()
        if c["runtime"] == callee and not deleting(r)
    )


def not_known(seen: ReconcileError | Assumed) -> ReconcileError:
    """A teardown asks before it says that nothing is left."""
    return seen if isinstance(seen, ReconcileError) else not_asked()
