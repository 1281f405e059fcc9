"""SecretBinding: reports what became of it. Its effects are made by its runtime, the single writer."""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.secretbinding import Delivery, SecretBindingSpec, Source
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.errors import ReconcileError, Terminal, Transient, Waiting
from axon_operator.domain import agent, rotation
from axon_operator.domain import binding as bindings
from axon_operator.domain.agent import CredentialFile
from axon_operator.domain.binding import Surroundings
from axon_operator.domain.issue import Engine, Told, credential_file, engines_of
from axon_operator.domain.leftover import ends_at
from axon_operator.domain.manifests import conditions_of, runtime_names
from axon_operator.domain.names import KV_MOUNT, RuntimeNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import BINDING, CONFIG_MAP, DEPLOYMENT, JOB, POD, RUNTIME, TENANT, Manifest, Ref
from axon_operator.domain.runtime import told_by
from axon_operator.domain.runtime.pods import TOKEN_SECONDS
from axon_operator.domain.runtime.vault import vault_policy_path
from axon_operator.domain.values import seconds
from axon_operator.reconcile.common import attempt, deleting, utc_now
from axon_operator.reconcile.engine.plan import Backends, Outcome, Plan, Stage
from axon_operator.reconcile.issues import IssuesSeen, look_at_issues
from axon_operator.reconcile.views import (
    Served,
    TenantView,
    as_binding,
    ask_for_grants,
    consumers,
    delivered,
    has_ended,
    kept_secrets,
    published_revision,
    runtime_bindings,
    served,
    surroundings,
    tenant_view,
)

_NEAR_END = 30
"""Seconds; or this share of its life, whichever is more."""
_NEAR_END_SHARE = 0.1


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
    reported: str | None
    """The revision in the binding's own status: what was wanted when it was last looked at."""
    binding: bindings.Binding
    """This one, whether it is being deleted or not."""
    now: datetime.datetime
    expires: datetime.datetime | None = None
    """When the first pod's credential ends, as far as the status knows."""
    around: Surroundings | None = None
    found: bindings.Found | ReconcileError = field(default_factory=dict)
    """What of the secrets is in the KV store."""
    told: Told = field(default_factory=Told)
    """What the runtime's ConfigMap tells of the bindings that are delivered."""
    published: str | None = None
    """The name under which the runtime's set of files is published to its pods."""
    policy: str | ReconcileError | None = None
    """Body of the runtime's policy in OpenBao; read when the credential is to be taken back."""
    issues: IssuesSeen | ReconcileError = field(default_factory=IssuesSeen)
    """What OpenBao still has of it; looked at then, and where it is an account that OpenBao keeps."""
    served: tuple[Served, ...] | ReconcileError = ()
    """What each pod that counts as a consumer says of itself."""
    idle: bool = False
    """The runtime has no pods, and gets none before one of its passes has reached OpenBao."""
    ends: datetime.datetime | None = None
    """When nothing of it can be good any more, if the runtime stays idle; None if it is not known since when it is."""

    @property
    def withdrawn(self) -> bool:
        """Whether the credential is to be taken back."""
        return self.deleting or self.spec.revoked or self.ended

    @property
    def leased(self) -> bool:
        """Whether OpenBao ends the credential by itself."""
        return self.around is not None and bindings.is_leased(self.spec.source, self.around.databases)

    @property
    def outage(self) -> ReconcileError | None:
        """Why it cannot be seen what OpenBao has of it."""
        asked = (self.found, self.policy, self.issues)
        return next((error for error in asked if isinstance(error, ReconcileError)), None)

    @property
    def is_away(self) -> bool:
        """Whether OpenBao is away while it is being deleted."""
        return self.deleting and self.outage is not None and self.outage.reason is Reason.VAULT_UNAVAILABLE

    @property
    def ends_alone(self) -> bool:
        """Whether it comes to an end though OpenBao is away; the password of an account that OpenBao keeps does not."""
        kept = self.around is None or bindings.kept_role(self.spec.source, self.around.databases) is not None
        return self.is_away and not kept

    @property
    def waits_for_its_end(self) -> bool:
        """Whether its deletion need not wait for OpenBao without end, because nobody holds it or can get it."""
        return self.ends_alone and self.idle

    @property
    def outlived(self) -> bool:
        """Whether it has come to its end without OpenBao; what is left there is told by the Tenant."""
        return self.waits_for_its_end and self.ends is not None and self.now >= self.ends

    @property
    def ended(self) -> bool:
        """Whether its runtime has run to its end."""
        return self.around is not None and self.around.ended


class BindingReconciler:
    """Gathers for SecretBindings; its plans change nothing."""

    resource = BINDING

    def __init__(self, backends: Backends, platform: Platform, now: Callable[[], datetime.datetime] = utc_now) -> None:
        self._to = backends
        self._platform = platform
        self._now = now

    def gather(self, live: Manifest, *, ask: bool) -> BindingSeen:
        """Reads the runtime and how far its pods have come."""
        metadata, kubernetes = live["metadata"], self._to.kubernetes
        namespace, binding = metadata["namespace"], as_binding(live)
        tenant = tenant_view(kubernetes, namespace)
        runtime = kubernetes.get(Ref(RUNTIME, namespace, binding.spec.runtime_ref.name))
        seen = BindingSeen(
            namespace=namespace,
            name=metadata["name"],
            spec=binding.spec,
            deleting=deleting(live),
            tenant=tenant,
            runtime=runtime,
            candidates=runtime_bindings(kubernetes, namespace, binding.spec.runtime_ref.name),
            reported=(live.get("status") or {}).get("revision"),
            binding=binding,
            now=self._now(),
            expires=_expiry(live),
        )
        if tenant is None or runtime is None or tenant.spec.suspended or tenant.deleting:
            return seen
        names = runtime_names(runtime)
        spec = WorkflowRuntimeSpec.model_validate(runtime["spec"])
        job = kubernetes.get(Ref(JOB, namespace, names.principal))
        pods = kubernetes.referring(POD, namespace, names.runtime) if ask_for_grants(seen.candidates) else ()
        around = surroundings(names, spec, tenant, seen.candidates, self._platform, job=job, pods=pods)
        seen = self._with_delivery(replace(seen, around=around), around, ask=ask)
        return self._with_end(seen, names, job, live) if seen.deleting else seen

    def _with_end(self, seen: BindingSeen, names: RuntimeNames, job: Manifest | None, live: Manifest) -> BindingSeen:
        """Whether anybody can hold it, and until when, if OpenBao stays away."""
        kubernetes = self._to.kubernetes
        deployment = kubernetes.get(Ref(DEPLOYMENT, names.namespace, names.principal))
        pods = kubernetes.referring(POD, names.namespace, names.runtime)
        since = _withdrawn_since(live)
        config = kubernetes.get(Ref(CONFIG_MAP, names.namespace, names.principal))
        login = ((config or {}).get("data") or {}).get("login-ttl")
        ends = since and ends_at(since, login, TOKEN_SECONDS)
        return replace(seen, idle=not pods and _stands_still(deployment, job), ends=ends)

    def _with_delivery(self, seen: BindingSeen, around: Surroundings, *, ask: bool) -> BindingSeen:
        """What is published to the pods, and what they have taken over."""
        names, tenant, kubernetes, vault = around.names, around.tenant, self._to.kubernetes, self._to.vault
        config = kubernetes.get(Ref(CONFIG_MAP, names.namespace, names.principal))
        seen = replace(seen, published=published_revision(config), told=told_by(config))
        pods = consumers(kubernetes, names.namespace, names.runtime)
        if not ask:
            # the number of consumers in the status says whether these are still the ones that served it
            found = bindings.assumed(seen.candidates, around, seen.told.secrets)
            return replace(seen, found=found, served=(Served(seen.published),) * len(pods))
        # of the others, what is published tells enough: whether their secrets are still there is their own question
        published = [b for b in seen.candidates if b.name in seen.told.bindings]
        others = bindings.assumed(published, around, seen.told.secrets)
        asked = bindings.in_question(seen.candidates, seen.name)
        seen = replace(
            seen,
            found=attempt(lambda: {**others, **kept_secrets(vault, around, asked)}),
            served=attempt(lambda: served(vault, names, tenant, pods)),
        )
        if seen.withdrawn:
            return self._with_remains(seen, around)
        if bindings.kept_role(seen.spec.source, around.databases):
            notes = attempt(lambda: look_at_issues(vault, names, tenant, (Engine.KEPT,), closely=False))
            return replace(seen, issues=notes)
        return seen

    def _with_remains(self, seen: BindingSeen, around: Surroundings) -> BindingSeen:
        """What may still be good of a credential that is to be taken back."""
        vault, names, tenant = self._to.vault, around.names, around.tenant
        # its source may have been another one, of which something is left
        engines = {*seen.told.engines, *engines_of(seen.spec.source)}
        policy_at = vault_policy_path(names, tenant)
        return replace(
            seen,
            policy=attempt(lambda: (vault.read(policy_at) or {}).get("policy")),
            issues=attempt(lambda: look_at_issues(vault, names, tenant, engines, closely=True)),
        )

    def plan(self, seen: BindingSeen) -> Plan:
        """One stage: delivered, or on deletion: gone."""
        problem = self._not_withdrawn(seen) if seen.deleting else self._not_delivered(seen)
        if problem is None and not seen.deleting:
            reason, message = _settled(seen)
            return Plan((Stage(ConditionType.DELIVERED, reason=reason, message=message),))
        if seen.waits_for_its_end and problem is not None:
            return Plan((Stage(ConditionType.DELIVERED, problem=problem), _last_wait(seen)))
        return Plan((Stage(ConditionType.DELIVERED, problem=problem, remedy=_REMEDY if seen.ends_alone else ""),))

    def status(self, seen: BindingSeen, outcome: Outcome) -> dict[str, Any]:  # noqa: ARG002 - the Protocol's
        """Revision and consumers, as far as they are known."""
        if seen.tenant is not None and seen.tenant.spec.suspended:
            return {"consumers": {"ready": 0, "total": 0}}
        revision = self._revision(seen)
        if revision is None or isinstance(seen.served, ReconcileError):
            return {}
        current = seen.published if agent.revision_of(seen.published) == revision else None
        ready = sum(s.serves(current, self._place(seen)) for s in seen.served) if current else 0
        consumers = {"ready": ready, "total": len(seen.served)}
        return {"revision": revision, "consumers": consumers, **_times(seen, seen.served)}

    def related(self, seen: BindingSeen, outcome: Outcome) -> tuple[Ref, ...]:
        """The runtime, once for each change of what its bindings ask for; it then has its own way of trying again.

        What was asked for is remembered in the status, which is not written while pods cannot be asked.
        """
        if seen.outlived and seen.tenant is not None:
            return (Ref(TENANT, "", seen.tenant.names.tenant), Ref(RUNTIME, seen.namespace, seen.spec.runtime_ref.name))
        wanted = self._revision(seen)
        changed = wanted not in {None, seen.reported, agent.revision_of(seen.published)} and "revision" in self.status(
            seen, outcome
        )
        return (Ref(RUNTIME, seen.namespace, seen.spec.runtime_ref.name),) if changed else ()

    def _files(self, seen: BindingSeen) -> Mapping[str, CredentialFile] | None:
        """What the runtime's pods ought to serve now, by the names of bindings; None if that is not known."""
        if seen.around is None or isinstance(seen.found, ReconcileError):
            return None
        before = seen.told.generations
        # only the runtime's pass numbers generations; until it has published another one, it is waited for
        wanted = delivered(seen.candidates, seen.found, seen.around, before=before, highest={}, now=seen.now)
        return {b.binding.name: credential_file(b) for b in wanted}

    def _revision(self, seen: BindingSeen) -> str | None:
        """The name of that set of files."""
        files = self._files(seen)
        return None if files is None else agent.revision(list(files.values()))

    def _place(self, seen: BindingSeen) -> str | None:
        """The binding's own file in that set; None if it has none, or if no pod tells of single files."""
        if isinstance(seen.served, ReconcileError) or not any(s.partly for s in seen.served):
            return None
        own = (self._files(seen) or {}).get(seen.name)
        return own.place if own else None

    def _not_delivered(self, seen: BindingSeen) -> ReconcileError | None:
        if seen.tenant is None:
            message = f"Namespace {seen.namespace} belongs to no Tenant; create the SecretBinding in the namespace of one (axon-<tenant>)."
            return Terminal(Reason.NOT_IN_TENANT, message)
        if seen.tenant.deleting:
            return Waiting(Reason.TENANT_NOT_READY, "The tenant is being deleted.", after=10)
        if seen.tenant.spec.suspended:
            return None
        if seen.runtime is None or seen.around is None:
            message = f"There is no WorkflowRuntime {seen.spec.runtime_ref.name} in this namespace (yet); references never cross namespaces."
            return Waiting(Reason.RUNTIME_NOT_FOUND, message, after=30)
        if seen.withdrawn:
            return self._not_withdrawn(seen)
        if isinstance(seen.found, ReconcileError):
            return _ending(seen, seen.found) or seen.found
        problem = bindings.problems(seen.candidates, seen.found, seen.around).get(seen.name)
        if problem:
            return (
                Terminal(problem.reason, problem.message)
                if problem.permanent
                else Waiting(problem.reason, problem.message, after=10)
            )
        if unfinished := _not_changed(seen) or self._not_served(seen):
            return unfinished
        if not seen.served and _wants_pods(seen):
            return Waiting(Reason.PODS_NOT_READY, "The runtime's pods are not running yet (see its status).", after=2)
        return None

    def _not_withdrawn(self, seen: BindingSeen) -> ReconcileError | None:
        """When it is to be taken back: the file must be gone from every pod, and OpenBao must give nothing any more."""
        gone_with_it = seen.tenant is None or seen.tenant.deleting or seen.runtime is None
        if gone_with_it or (seen.tenant is not None and seen.tenant.spec.suspended):
            # no pods and a locked namespace: the runtime's next pass rewrites the policy without this binding
            return None
        if seen.around is None or seen.runtime is None:
            return None
        if seen.outlived:
            return None
        if seen.outage is not None:
            return _blocked(seen.outage)
        if deleting(seen.runtime):
            # its pods end before it takes anything back, so there is nobody left who could serve something else
            return self._still_good(seen, seen.around)
        return self._still_good(seen, seen.around) or self._not_served(seen)

    def _still_good(self, seen: BindingSeen, around: Surroundings) -> ReconcileError | None:
        """What OpenBao would still give for it, or has given."""
        policy = seen.policy if isinstance(seen.policy, str) else ""
        if _remains(seen, around):
            return Waiting(
                Reason.PROGRESSING, "What was issued for it is being revoked (see the runtime's status).", after=0.5
            )
        needed = (b for b in seen.candidates if b.name != seen.name and not b.spec.revoked)
        if _names(policy, seen.spec.source, bindings.kept_paths(needed, around)):
            return Waiting(Reason.PROGRESSING, "OpenBao's policy for the runtime still names the secret.", after=0.5)
        return None

    def _not_served(self, seen: BindingSeen) -> ReconcileError | None:
        wanted = self._revision(seen)
        if wanted != agent.revision_of(seen.published):
            return Waiting(Reason.PROGRESSING, "The runtime takes over the change (see its status).", after=1)
        if isinstance(seen.served, ReconcileError):
            return _ending(seen, seen.served) or seen.served
        return self._lacking(seen, seen.published, seen.served) if seen.published else None

    def _lacking(self, seen: BindingSeen, published: str, pods: Sequence[Served]) -> ReconcileError | None:
        """What keeps pods from serving the binding's own file; that of another binding is no concern of this one."""
        place, total = self._place(seen), len(pods)
        told = [s for s in pods if s.partly == published]
        if unfit := sum(place in s.unfit for s in told):
            return Waiting(Reason.VALUE_UNUSABLE, f"{unfit} of {total} pods {_unfit(seen.spec.delivery)}", after=5)
        if absent := sum(place in s.absent for s in told):
            return Waiting(Reason.NOT_FETCHED, f"{absent} of {total} pods {_absent(seen.spec.source)}", after=5)
        ready = sum(s.serves(published, place) for s in pods)
        if ready < total:
            revision = agent.revision_of(published)
            return Waiting(Reason.PROGRESSING, f"{ready} of {total} pods serve revision {revision}.", after=1)
        return None


def _not_changed(seen: BindingSeen) -> ReconcileError | None:
    """Of an account that OpenBao keeps, whose password is to be changed; of others there is nothing to see."""
    current, issues = seen.told.generations.get(seen.name), seen.issues
    if isinstance(issues, ReconcileError):
        return issues
    if current is None or seen.around is None:
        return None
    noted = issues.highest(seen.around.names, [seen.binding]).get(seen.name)
    if noted is not None and noted < current.number:
        return Waiting(Reason.PROGRESSING, "Its password is being changed (see the runtime's status).", after=1)
    return None


def _unfit(delivery: Delivery) -> str:
    """What is wrong with the value that pods have, and what to change. Of the value no more than that is known."""
    if delivery.proxy:
        return (
            f"have a value of key {delivery.proxy.key} that no header can carry unchanged: it is no text, is empty, has"
            " a line break or another control character, or begins or ends with a space. Until it is another one, the"
            " proxy adds what it had before. Change the value, or deliver it as a file (spec.delivery.file)."
        )
    keys = [v.key for v in delivery.env.variables] if delivery.env else []
    which = f"a value of key {keys[0]}" if len(keys) == 1 else "a value of a key in spec.delivery.env"
    return (
        f"have {which} that no environment variable can hold: it has a single quote or a NUL character. Until it is"
        " another one, pods that have begun keep what they had, and none begins. Change the value, or deliver it as a"
        " file (spec.delivery.file)."
    )


def _absent(source: Source) -> str:
    """That pods do not get it, and where to look."""
    told = "do not get it from OpenBao; the log of their container credentials has OpenBao's answer."
    if source.database:
        why = "that the database takes connections from OpenBao, and has the roles in memberOf"
        return f"{told} Check {why} (spec.vault.databases of the Tenant)."
    if source.kv or source.grant:
        return f"{told} Check that the secret still has every key that the binding names."
    return told


def _remains(seen: BindingSeen, around: Surroundings) -> bool:
    """Whether OpenBao has anything that was issued for it."""
    return isinstance(seen.issues, IssuesSeen) and bool(seen.issues.highest(around.names, [seen.binding]))


def _settled(seen: BindingSeen) -> tuple[Reason, str]:
    if seen.tenant is not None and seen.tenant.spec.suspended:
        return Reason.SUSPENDED, "The tenant is suspended."
    if seen.spec.revoked:
        return Reason.REVOKED, "Taken back; spec.revoked says so."
    if seen.ended:
        return Reason.NO_CONSUMERS, "Taken back: the runtime has run to its end."
    if not seen.served:
        return Reason.NO_CONSUMERS, "The runtime has no pods."
    return Reason.READY, "Every pod serves it."


def _names(policy: str, source: Source, others: Collection[str]) -> bool:
    """Whether a policy lets the secret of a source be read, and not for the sake of others. Of a grant, whatever
    revision it is for."""
    if source.kv:
        path = f"org/{source.kv.path}"
        return path not in others and f'{KV_MOUNT}/data/{path}"' in policy
    if source.grant:
        end = f"/{source.grant.user}/{source.grant.path}"
        return not any(path.endswith(end) for path in others) and f'{end}"' in policy
    return False


def _expiry(live: Manifest) -> datetime.datetime | None:
    told = (live.get("status") or {}).get("expiresAt")
    return datetime.datetime.fromisoformat(told) if told else None


def _ending(seen: BindingSeen, outage: ReconcileError) -> Waiting | None:
    """An outage is none of the workload's business until the credential that it holds is about to end."""
    if not isinstance(outage, Transient) or seen.expires is None or not seen.leased:
        return None
    left = int((seen.expires - seen.now).total_seconds())
    if left > max(_NEAR_END, seconds(seen.spec.ttl) * _NEAR_END_SHARE):
        return None
    when = f"ends in {left} s" if left > 0 else "has ended"
    return Waiting(Reason.CREDENTIAL_EXPIRING, f"{outage.message} The credential that a pod holds {when}.", after=5)


def _times(seen: BindingSeen, served: Sequence[Served]) -> dict[str, str]:
    """When the credential was made, when the next one is due, and when the first of those that pods hold ends."""
    current = seen.told.generations.get(seen.name)
    if current is None or current.made is None:
        return {}
    due = rotation.next_rotation(seen.binding, current)
    ends = [s.expires for s in served if s.expires] if seen.leased else []
    ended = datetime.datetime.fromtimestamp(min(ends), datetime.UTC) if ends else None
    times = {"rotatedAt": current.made, "nextRotation": due, "expiresAt": ended}
    return {name: rotation.stamp(at) for name, at in times.items() if at}


def _withdrawn_since(live: Manifest) -> datetime.datetime | None:
    """Since when it was seen that nobody holds it; a pass that sees anything else takes the condition away."""
    told = (c for c in conditions_of(live) if c["type"] == ConditionType.WITHDRAWN and c["status"] == "False")
    return next((datetime.datetime.fromisoformat(c["lastTransitionTime"]) for c in told), None)


def _stands_still(deployment: Manifest | None, job: Manifest | None) -> bool:
    """Whether nothing in Kubernetes makes pods; more are asked for only after OpenBao has been set right."""
    if deployment is not None:
        told, current = deployment.get("status") or {}, deployment["metadata"].get("generation")
        if (
            deployment["spec"].get("replicas", 1)
            or told.get("replicas", 0)
            or told.get("observedGeneration") != current
        ):
            return False
    return job is None or has_ended(job) or bool(job["spec"].get("suspend"))


def _last_wait(seen: BindingSeen) -> Stage:
    """Tells, and remembers by its condition, since when nobody holds it."""
    when = f" at {rotation.stamp(seen.ends)}" if seen.ends else " a day and a login later"
    message = f"The runtime has no pods, so nobody holds it. If OpenBao stays away, the deletion ends{when}."
    return Stage(ConditionType.WITHDRAWN, problem=Waiting(Reason.VAULT_UNAVAILABLE, message, after=60))


_REMEDY = "To let the deletion end without OpenBao, suspend the runtime (spec.suspended): it ends a day and a login after the last pod, when nothing of it can be good any more."


def _wants_pods(seen: BindingSeen) -> bool:
    spec = (seen.runtime or {}).get("spec") or {}
    return not spec.get("suspended") and spec.get("replicas", 1) > 0


def _blocked(error: ReconcileError) -> ReconcileError:
    """Deletion must wait for OpenBao: until it answers, the runtime's access cannot be taken back."""
    return Transient(
        error.reason, f"{error.message} Until then the runtime's access to the secret cannot be taken back."
    )
