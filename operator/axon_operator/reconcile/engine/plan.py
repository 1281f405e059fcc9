"""A plan: stages of changes in the three systems, and their execution.

gather(key) -> Input      all reads
plan(Input) -> Plan       pure; what is not yet as it should be
apply(Plan) -> Outcome    ordered, each change idempotent
summarize(Outcome)        conditions; no change sets a condition itself
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import NotSent, ReconcileError
from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.resources import Manifest, RealmPath, RealmResource, Ref, VaultPath, VaultResource, ref_of


@dataclass(frozen=True, slots=True)
class Backends:
    """The three systems."""

    kubernetes: Kubernetes
    vault: Vault
    keycloak: Keycloak


class System(StrEnum):
    """The three systems, as the audit stream and metrics name them."""

    KUBERNETES = "kubernetes"
    OPENBAO = "openbao"
    KEYCLOAK = "keycloak"


class _Write:
    """What every change tells of itself. A target is a name or a path, never a value."""

    __slots__ = ()
    system: ClassVar[System]
    verb: ClassVar[str]

    @property
    def target(self) -> str:
        """What the change is made to."""
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.verb} {_IN[self.system]}{self.target}"


# a Kubernetes target begins with its kind, which says enough
_IN = {System.KUBERNETES: "", System.OPENBAO: "OpenBao ", System.KEYCLOAK: "Keycloak "}


@dataclass(frozen=True, slots=True)
class KubeCreate(_Write):
    """Create, and fail if it exists: for what must never be adopted."""

    system = System.KUBERNETES
    verb = "create"
    manifest: Manifest

    @property
    def target(self) -> str:
        return str(ref_of(self.manifest))

    def apply(self, to: Backends) -> None:
        to.kubernetes.create(self.manifest)


@dataclass(frozen=True, slots=True)
class KubeCreateBound(_Write):
    """Create a service account and bind a role to the uid that the API server gave it.

    One after the other in one go, so that the uid is the answer to our own creation: read later, it could be
    another's.
    """

    system = System.KUBERNETES
    verb = "create"
    manifest: Manifest
    role: Callable[[str], VaultResource] = field(compare=False)

    @property
    def target(self) -> str:
        return str(ref_of(self.manifest))

    def apply(self, to: Backends) -> "VaultWrite":
        role = self.role(to.kubernetes.create(self.manifest)["metadata"]["uid"])
        return VaultWrite(role.at, role.body)


@dataclass(frozen=True, slots=True)
class KubeApply(_Write):
    """Create or set right by server-side apply."""

    system = System.KUBERNETES
    verb = "apply"
    manifest: Manifest

    @property
    def target(self) -> str:
        return str(ref_of(self.manifest))

    def apply(self, to: Backends) -> None:
        to.kubernetes.apply(self.manifest)


@dataclass(frozen=True, slots=True)
class KubeReplace(_Write):
    """Put the planned object in place of the version that was read: takes away what others added."""

    system = System.KUBERNETES
    verb = "replace"
    manifest: Manifest
    """With that version's resourceVersion."""

    @property
    def target(self) -> str:
        return str(ref_of(self.manifest))

    def apply(self, to: Backends) -> None:
        to.kubernetes.replace(self.manifest)


@dataclass(frozen=True, slots=True)
class KubeDelete(_Write):
    """Delete the object that was read."""

    system = System.KUBERNETES
    verb = "delete"
    ref: Ref
    uid: str

    @property
    def target(self) -> str:
        return str(self.ref)

    def apply(self, to: Backends) -> None:
        to.kubernetes.delete(self.ref, self.uid)


@dataclass(frozen=True, slots=True)
class KubeAnnotate(_Write):
    """Set annotations."""

    system = System.KUBERNETES
    verb = "annotate"
    ref: Ref
    annotations: Mapping[str, str]

    @property
    def target(self) -> str:
        return str(self.ref)

    def apply(self, to: Backends) -> None:
        to.kubernetes.annotate(self.ref, self.annotations)


@dataclass(frozen=True, slots=True)
class KubeFinalize(_Write):
    """Set the finalizers of the version that was read."""

    system = System.KUBERNETES
    verb = "finalize"
    live: Manifest
    finalizers: tuple[str, ...]

    @property
    def target(self) -> str:
        return str(ref_of(self.live))

    def apply(self, to: Backends) -> None:
        to.kubernetes.set_finalizers(self.live, self.finalizers)


@dataclass(frozen=True, slots=True)
class VaultWrite(_Write):
    """Create or replace in OpenBao."""

    system = System.OPENBAO
    verb = "write"
    path: VaultPath
    body: Mapping[str, Any]

    @property
    def target(self) -> str:
        return str(self.path)

    def apply(self, to: Backends) -> None:
        to.vault.write(self.path, self.body)


@dataclass(frozen=True, slots=True)
class VaultDelete(_Write):
    """Delete in OpenBao."""

    system = System.OPENBAO
    verb = "delete"
    path: VaultPath
    required: bool = True
    """Whether a failure matters; tidying up is tried again in the next pass."""

    @property
    def target(self) -> str:
        return str(self.path)

    def apply(self, to: Backends) -> None:
        to.vault.delete(self.path)


@dataclass(frozen=True, slots=True)
class RealmCreate(_Write):
    """Create in Keycloak."""

    system = System.KEYCLOAK
    verb = "create"
    resource: RealmResource

    @property
    def target(self) -> str:
        return str(self.resource.at)

    def apply(self, to: Backends) -> None:
        to.keycloak.create(self.resource.collection, self.resource.body)


@dataclass(frozen=True, slots=True)
class RealmUpdate(_Write):
    """Set right in Keycloak."""

    system = System.KEYCLOAK
    verb = "update"
    path: RealmPath
    body: Mapping[str, Any]

    @property
    def target(self) -> str:
        return str(self.path)

    def apply(self, to: Backends) -> None:
        to.keycloak.update(self.path, self.body)


@dataclass(frozen=True, slots=True)
class RealmDelete(_Write):
    """Delete in Keycloak."""

    system = System.KEYCLOAK
    verb = "delete"
    path: RealmPath

    @property
    def target(self) -> str:
        return str(self.path)

    def apply(self, to: Backends) -> None:
        to.keycloak.delete(self.path)


@dataclass(frozen=True, slots=True)
class RealmLogout(_Write):
    """End every session of a realm."""

    system = System.KEYCLOAK
    verb = "logout-all"
    realm: str

    @property
    def target(self) -> str:
        return self.realm

    def apply(self, to: Backends) -> None:
        to.keycloak.logout_all(self.realm)


Change = (
    KubeCreate | KubeCreateBound | KubeApply | KubeReplace | KubeDelete | KubeAnnotate | KubeFinalize
    | VaultWrite | VaultDelete
    | RealmCreate | RealmUpdate | RealmDelete | RealmLogout
)  # fmt: skip

OK = "ok"
Attempted = Callable[[Change, str], None]
"""Told of every change that was tried, and of its outcome: `ok`, or the reason of the error."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Changes that one condition speaks of, in their order."""

    condition: ConditionType
    changes: tuple[Change, ...] = ()
    problem: ReconcileError | None = None
    """Why the stage cannot be completed in this pass; the changes are made all the same."""
    needs: tuple[ConditionType, ...] = ()
    """Stages that must be complete before this one may change anything."""
    independent: bool = False
    """No change builds on the one before: one that fails does not cancel the rest."""
    message: str = "As planned."
    reason: Reason = Reason.READY
    """Why the stage is complete; shown when it is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one pass will do, in order."""

    stages: tuple[Stage, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes; an object that is as planned has none."""
        return tuple(change for stage in self.stages for change in stage.changes)


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """What became of a stage."""

    stage: Stage
    applied: tuple[Change, ...] = ()
    error: ReconcileError | None = None
    waits_for: ConditionType | None = None
    """The incomplete stage on whose account nothing was done; its error is told once, there."""

    @property
    def complete(self) -> bool:
        """Everything planned exists."""
        return self.error is None and self.waits_for is None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan."""

    stages: tuple[StageOutcome, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Every stage is complete."""
        return all(s.complete for s in self.stages)

    @property
    def errors(self) -> tuple[ReconcileError, ...]:
        """Why stages are not complete."""
        return tuple(s.error for s in self.stages if s.error is not None)

    @property
    def applied(self) -> tuple[Change, ...]:
        """All changes that were made."""
        return tuple(change for s in self.stages for change in s.applied)


def apply(plan: Plan, to: Backends, attempted: Attempted) -> Outcome:
    """Carries the plan out. A stage that fails stops itself and those that need it, nothing else."""
    outcomes: dict[ConditionType, StageOutcome] = {}
    for stage in plan.stages:
        outcomes[stage.condition] = _apply_stage(stage, outcomes, to, attempted)
    return Outcome(tuple(outcomes.values()))


def perform(change: Change, to: Backends, attempted: Attempted) -> None:
    """Makes one change, and what follows from its answer, and tells of both; not of one that was never sent."""
    try:
        following = change.apply(to)
    except NotSent:
        raise
    except ReconcileError as error:
        attempted(change, error.reason)
        raise
    except Exception:
        # a defect behind the request: what became of it is not known, but it must not go untold
        attempted(change, Reason.INTERNAL_ERROR)
        raise
    attempted(change, OK)
    if following is not None:
        perform(following, to, attempted)


def _apply_stage(
    stage: Stage, before: Mapping[ConditionType, StageOutcome], to: Backends, attempted: Attempted
) -> StageOutcome:
    for needed in stage.needs:
        if not before[needed].complete:
            return StageOutcome(stage, waits_for=needed)
    applied: list[Change] = []
    failure: ReconcileError | None = None
    for change in stage.changes:
        try:
            perform(change, to, attempted)
            applied.append(change)
        except ReconcileError as error:
            if isinstance(change, VaultDelete) and not change.required:
                continue
            failure = failure or error
            if not stage.independent:
                break
    return StageOutcome(stage, tuple(applied), failure or stage.problem)
