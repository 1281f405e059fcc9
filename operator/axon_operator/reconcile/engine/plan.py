"""A plan: stages of changes in the three systems, and their execution.

gather(key) -> Input      all reads
plan(Input) -> Plan       pure; what is not yet as it should be
apply(Plan) -> Outcome    ordered, each change idempotent
summarize(Outcome)        conditions; no change sets a condition itself
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.resources import Manifest, RealmPath, Ref, VaultPath, ref_of


@dataclass(frozen=True, slots=True)
class Backends:
    """The three systems."""

    kubernetes: Kubernetes
    vault: Vault
    keycloak: Keycloak


@dataclass(frozen=True, slots=True)
class KubeCreate:
    """Create, and fail if it exists: for what must never be adopted."""

    manifest: Manifest

    def apply(self, to: Backends) -> None:
        to.kubernetes.create(self.manifest)

    def __str__(self) -> str:
        return f"create {ref_of(self.manifest)}"


@dataclass(frozen=True, slots=True)
class KubeApply:
    """Create or set right by server-side apply."""

    manifest: Manifest

    def apply(self, to: Backends) -> None:
        to.kubernetes.apply(self.manifest)

    def __str__(self) -> str:
        return f"apply {ref_of(self.manifest)}"


@dataclass(frozen=True, slots=True)
class KubeReplace:
    """Put the planned object in place of the version that was read: takes away what others added."""

    manifest: Manifest
    """With that version's resourceVersion."""

    def apply(self, to: Backends) -> None:
        to.kubernetes.replace(self.manifest)

    def __str__(self) -> str:
        return f"replace {ref_of(self.manifest)}"


@dataclass(frozen=True, slots=True)
class KubeDelete:
    """Delete the object that was read."""

    ref: Ref
    uid: str

    def apply(self, to: Backends) -> None:
        to.kubernetes.delete(self.ref, self.uid)

    def __str__(self) -> str:
        return f"delete {self.ref}"


@dataclass(frozen=True, slots=True)
class KubeAnnotate:
    """Set annotations."""

    ref: Ref
    annotations: Mapping[str, str]

    def apply(self, to: Backends) -> None:
        to.kubernetes.annotate(self.ref, self.annotations)

    def __str__(self) -> str:
        return f"annotate {self.ref}"


@dataclass(frozen=True, slots=True)
class VaultWrite:
    """Create or replace in OpenBao."""

    path: VaultPath
    body: Mapping[str, Any]

    def apply(self, to: Backends) -> None:
        to.vault.write(self.path, self.body)

    def __str__(self) -> str:
        return f"write OpenBao {self.path}"


@dataclass(frozen=True, slots=True)
class VaultDelete:
    """Delete in OpenBao."""

    path: VaultPath

    def apply(self, to: Backends) -> None:
        to.vault.delete(self.path)

    def __str__(self) -> str:
        return f"delete OpenBao {self.path}"


@dataclass(frozen=True, slots=True)
class RealmCreate:
    """Create in Keycloak."""

    collection: RealmPath
    body: Mapping[str, Any]

    def apply(self, to: Backends) -> None:
        to.keycloak.create(self.collection, self.body)

    def __str__(self) -> str:
        return f"create in Keycloak {self.collection}"


@dataclass(frozen=True, slots=True)
class RealmUpdate:
    """Set right in Keycloak."""

    path: RealmPath
    body: Mapping[str, Any]

    def apply(self, to: Backends) -> None:
        to.keycloak.update(self.path, self.body)

    def __str__(self) -> str:
        return f"update Keycloak {self.path}"


@dataclass(frozen=True, slots=True)
class RealmDelete:
    """Delete in Keycloak."""

    path: RealmPath

    def apply(self, to: Backends) -> None:
        to.keycloak.delete(self.path)

    def __str__(self) -> str:
        return f"delete Keycloak {self.path}"


@dataclass(frozen=True, slots=True)
class RealmLogout:
    """End every session of a realm."""

    realm: str

    def apply(self, to: Backends) -> None:
        to.keycloak.logout_all(self.realm)

    def __str__(self) -> str:
        return f"log out Keycloak {self.realm}"


Change = (
    KubeCreate | KubeApply | KubeReplace | KubeDelete | KubeAnnotate
    | VaultWrite | VaultDelete
    | RealmCreate | RealmUpdate | RealmDelete | RealmLogout
)  # fmt: skip


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


def apply(plan: Plan, to: Backends) -> Outcome:
    """Carries the plan out. A stage that fails stops itself and those that need it, nothing else."""
    outcomes: dict[ConditionType, StageOutcome] = {}
    for stage in plan.stages:
        outcomes[stage.condition] = _apply_stage(stage, outcomes, to)
    return Outcome(tuple(outcomes.values()))


def _apply_stage(stage: Stage, before: Mapping[ConditionType, StageOutcome], to: Backends) -> StageOutcome:
    for needed in stage.needs:
        if not before[needed].complete:
            return StageOutcome(stage, waits_for=needed)
    applied: list[Change] = []
    failure: ReconcileError | None = None
    for change in stage.changes:
        try:
            change.apply(to)
            applied.append(change)
        except ReconcileError as error:
            failure = failure or error
            if not stage.independent:
                break
    return StageOutcome(stage, tuple(applied), failure or stage.problem)
