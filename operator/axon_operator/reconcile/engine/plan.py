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
from axon_operator.backends.errors import NotSent, ReconcileError, Terminal, Waiting
from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.credential import Credential, version_mark
from axon_operator.domain.finding import Finding
from axon_operator.domain.names import (
    CREDENTIAL_MARK,
    DATABASE_CREDENTIAL_KEY,
    DATABASE_MOUNT,
    DATABASE_ROTATED_AT_KEY,
    DATABASE_ROTATED_KEY,
    PKI_MOUNT,
)
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


class KubeAdopt(KubeApply):
    """Take over what was made for a lost object, because an administrator said so."""

    __slots__ = ()
    verb = "adopt"


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


class VaultAdopt(VaultWrite):
    """Take over what was made for a lost object, because an administrator said so."""

    __slots__ = ()
    verb = "adopt"


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
class VaultCredential(_Write):
    """Give OpenBao an account of a database, whose password is read only now and changed at once.

    OpenBao logs in with it before it stores anything: what is refused leaves the connection as it was.
    """

    system = System.OPENBAO
    verb = "write-credential"
    resource: VaultResource
    credential: Credential
    now: str
    """RFC 3339."""

    @property
    def target(self) -> str:
        return str(self.resource.at)

    def apply(self, to: Backends) -> "VaultRotate":
        secret = usable(to.kubernetes, self.credential)
        version = version_mark(secret)
        marks = {DATABASE_CREDENTIAL_KEY: version, DATABASE_ROTATED_KEY: ""}
        to.vault.write(self.resource.at, {**self.resource.body, **marks, "password": self.credential.value(secret)})
        return VaultRotate(self.resource.at, version, self.now)


@dataclass(frozen=True, slots=True)
class VaultRotate(_Write):
    """Let OpenBao change the password of its account, and mark that this was done.

    After a crash between the two it is changed once more, from one that only OpenBao knows to another.
    """

    system = System.OPENBAO
    verb = "rotate"
    connection: VaultPath
    version: str
    """Of the Secret whose password was written."""
    now: str
    """RFC 3339."""

    @property
    def target(self) -> str:
        return str(self.connection)

    def apply(self, to: Backends) -> VaultWrite:
        name = self.connection.path.rpartition("/")[2]
        to.vault.write(VaultPath(self.connection.namespace, f"{DATABASE_MOUNT}/rotate-root/{name}"), {})
        # changes nothing about the connection, so the mark does not depend on the database
        marks = {DATABASE_ROTATED_KEY: self.version, DATABASE_ROTATED_AT_KEY: self.now}
        return VaultWrite(self.connection, {**marks, "verify_connection": False})


@dataclass(frozen=True, slots=True)
class VaultRenew(_Write):
    """Let OpenBao change the password of an account that it keeps, and only then note that this was done.

    After a crash between the two it is changed once more, from one that nobody was given to another.
    """

    system = System.OPENBAO
    verb = "rotate"
    account: VaultPath
    then: "VaultWrite | VaultDelete"

    @property
    def target(self) -> str:
        return str(self.account)

    def apply(self, to: Backends) -> "VaultWrite | VaultDelete":
        name = self.account.path.rpartition("/")[2]
        to.vault.write(VaultPath(self.account.namespace, f"{DATABASE_MOUNT}/rotate-role/{name}"), {})
        return self.then


@dataclass(frozen=True, slots=True)
class VaultGenerate(_Write):
    """Let OpenBao generate a value, and store it where there is none yet. The operator cannot read it there."""

    system = System.OPENBAO
    verb = "generate"
    at: VaultPath
    policy: VaultPath
    """What generates it."""

    @property
    def target(self) -> str:
        return str(self.at)

    def apply(self, to: Backends) -> None:
        generated = to.vault.read(self.policy) or {}
        # check-and-set 0: never in place of one that is there
        to.vault.write(self.at, {"data": {"value": generated["password"]}, "options": {"cas": 0}})


@dataclass(frozen=True, slots=True)
class VaultRevoke(_Write):
    """Revoke all that was issued by one name; of certificates, let everybody know.

    What it was issued by goes only after a look has shown that nothing is left, and then it is revoked once more: a crash
    may have kept the news from the others, and an answer that was under way while it was looked is caught.
    """

    system = System.OPENBAO
    verb = "revoke"
    prefix: VaultPath
    """Of the leases."""
    role: VaultPath | None = None
    """What they were issued by, if it is to go."""

    @property
    def target(self) -> str:
        return str(self.prefix)

    def apply(self, to: Backends) -> "VaultDelete | None":
        to.vault.write(VaultPath(self.prefix.namespace, f"sys/leases/revoke-prefix/{self.prefix.path}"), {"sync": True})
        if self.prefix.path.partition("/")[0] == PKI_MOUNT:
            # the list of revoked certificates is else made anew only shortly before it expires
            to.vault.read(VaultPath(self.prefix.namespace, f"{PKI_MOUNT}/crl/rotate"))
        return VaultDelete(self.role) if self.role else None


@dataclass(frozen=True, slots=True)
class VaultDeleteKey(_Write):
    """Delete a key of the transit engine, and so all that was encrypted with it."""

    system = System.OPENBAO
    verb = "delete"
    key: VaultPath

    @property
    def target(self) -> str:
        return str(self.key)

    def apply(self, to: Backends) -> "VaultDelete":
        to.vault.write(VaultPath(self.key.namespace, f"{self.key.path}/config"), {"deletion_allowed": True})
        return VaultDelete(self.key)


@dataclass(frozen=True, slots=True)
class VaultReopen(_Write):
    """Unlock a namespace and revoke all logins of before; if that fails, it is locked again."""

    system = System.OPENBAO
    verb = "reopen"
    revoke: VaultWrite
    unlock: VaultWrite | None
    """None: it was unlocked before, and a crash or a refusal came between."""
    lock: VaultWrite

    @property
    def target(self) -> str:
        return self.revoke.path.namespace

    def apply(self, to: Backends) -> None:
        if self.unlock:
            self.unlock.apply(to)
        try:
            self.revoke.apply(to)
        except ReconcileError:
            self.lock.apply(to)
            raise


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


class RealmAdopt(RealmUpdate):
    """Take over what was made for a lost object, because an administrator said so."""

    __slots__ = ()
    verb = "adopt"


@dataclass(frozen=True, slots=True)
class RealmCredential(_Write):
    """Create or set right in Keycloak something that has a credential, which is read only now."""

    system = System.KEYCLOAK
    verb = "write-credential"
    resource: RealmResource
    exists: bool
    field: str
    """Of its `config`: where the credential stands."""
    credential: Credential
    component: bool = False

    @property
    def target(self) -> str:
        return str(self.resource.at)

    def apply(self, to: Backends) -> None:
        secret = usable(to.kubernetes, self.credential)
        value = self.credential.value(secret)
        # settings of components are lists, and those that Keycloak does not know are dropped (measured)
        added = {self.field: [value]} if self.component else {self.field: value, CREDENTIAL_MARK: version_mark(secret)}
        config = {**self.resource.body["config"], **added}
        body = {**self.resource.body, "config": config}
        if self.exists:
            to.keycloak.update(self.resource.at, body)
        else:
            to.keycloak.create(self.resource.collection, body)


def usable(kubernetes: Kubernetes, credential: Credential) -> Manifest:
    """The Secret; raises `Terminal(CredentialUnusable)` for one that must not be used for this."""
    secret = kubernetes.get(credential.ref)
    problem = credential.problem(secret)
    if problem or secret is None:
        raise Terminal(Reason.CREDENTIAL_UNUSABLE, problem or "")
    return secret


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
class RealmGrant(_Write):
    """Give roles to a group, or let a client's tokens show them."""

    system = System.KEYCLOAK
    verb = "grant"
    mappings: RealmPath
    roles: tuple[Mapping[str, Any], ...]

    @property
    def target(self) -> str:
        return str(self.mappings)

    def apply(self, to: Backends) -> None:
        to.keycloak.grant(self.mappings, self.roles)


@dataclass(frozen=True, slots=True)
class RealmWithdraw(_Write):
    """Take roles from a group or a client."""

    system = System.KEYCLOAK
    verb = "withdraw"
    mappings: RealmPath
    roles: tuple[Mapping[str, Any], ...]

    @property
    def target(self) -> str:
        return str(self.mappings)

    def apply(self, to: Backends) -> None:
        to.keycloak.withdraw(self.mappings, self.roles)


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


@dataclass(frozen=True, slots=True)
class RealmLogoutUser(_Write):
    """End every session of one user."""

    system = System.KEYCLOAK
    verb = "logout"
    realm: str
    user: str
    """The user's id."""

    @property
    def target(self) -> str:
        return f"{self.realm}/users/{self.user}"

    def apply(self, to: Backends) -> None:
        to.keycloak.logout_user(self.realm, self.user)


@dataclass(frozen=True, slots=True)
class VaultAbandon(_Write):
    """Leave something in OpenBao behind. Writes nothing: it is there for the audit stream."""

    system = System.OPENBAO
    verb = "abandon"
    path: VaultPath

    @property
    def target(self) -> str:
        return str(self.path)

    def apply(self, to: Backends) -> None:
        pass


@dataclass(frozen=True, slots=True)
class RealmAbandon(_Write):
    """Leave something in Keycloak behind. Writes nothing: it is there for the audit stream."""

    system = System.KEYCLOAK
    verb = "abandon"
    path: RealmPath

    @property
    def target(self) -> str:
        return str(self.path)

    def apply(self, to: Backends) -> None:
        pass


Abandon = VaultAbandon | RealmAbandon

Change = (
    KubeCreate | KubeCreateBound | KubeApply | KubeAdopt | KubeReplace | KubeDelete | KubeAnnotate | KubeFinalize
    | VaultWrite | VaultAdopt | VaultDelete | VaultCredential | VaultRotate | VaultReopen
    | VaultRenew | VaultGenerate | VaultRevoke | VaultDeleteKey
    | RealmCreate | RealmUpdate | RealmCredential | RealmAdopt | RealmDelete
    | RealmGrant | RealmWithdraw | RealmLogout | RealmLogoutUser
    | VaultAbandon | RealmAbandon
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
    look_again: float | None = None
    """Seconds after which something is to be done although the stage is complete."""
    message: str = "As planned."
    reason: Reason = Reason.READY
    """Why the stage is complete; shown when it is."""
    abandons: Abandon | None = None
    """What is left behind if the stage fails: an administrator has given its system up."""
    remedy: str = ""
    """What a person can do if the stage blocks a deletion."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one pass will do, in order."""

    stages: tuple[Stage, ...]
    findings: tuple[Finding, ...] = ()

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
    given_up: ReconcileError | None = None
    """Why this stage, or one that it needs, was given up; it is left as it is and holds nothing up."""

    @property
    def complete(self) -> bool:
        """Everything planned exists, or was given up."""
        return self.error is None and self.waits_for is None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan."""

    stages: tuple[StageOutcome, ...] = field(default=())
    findings: tuple[Finding, ...] = ()

    @property
    def complete(self) -> bool:
        """Every stage is complete."""
        return all(s.complete for s in self.stages)

    @property
    def errors(self) -> tuple[ReconcileError, ...]:
        """Why stages are not complete."""
        return tuple(s.error for s in self.stages if s.error is not None)

    @property
    def abandoned(self) -> tuple[tuple[Abandon, ReconcileError], ...]:
        """What was given up, and why it had to be."""
        return tuple((s.stage.abandons, s.given_up) for s in self.stages if s.stage.abandons and s.given_up)

    @property
    def applied(self) -> tuple[Change, ...]:
        """All changes that were made."""
        return tuple(change for s in self.stages for change in s.applied)


def apply(plan: Plan, to: Backends, attempted: Attempted) -> Outcome:
    """Carries the plan out. A stage that fails stops itself and those that need it, nothing else."""
    outcomes: dict[ConditionType, StageOutcome] = {}
    for stage in plan.stages:
        outcomes[stage.condition] = _apply_stage(stage, outcomes, to, attempted)
    return Outcome(tuple(outcomes.values()), plan.findings)


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
    for needed in stage.needs:
        if (reason := before[needed].given_up) is not None:
            return StageOutcome(stage, given_up=reason)
    applied, failure = _make(stage, to, attempted)
    problem = failure or stage.problem
    if stage.abandons and problem is not None and not isinstance(problem, Waiting):
        # what is only slow is waited for
        return StageOutcome(stage, tuple(applied), given_up=problem)
    return StageOutcome(stage, tuple(applied), problem)


def _make(stage: Stage, to: Backends, attempted: Attempted) -> tuple[list[Change], ReconcileError | None]:
    """What was made, and the first failure that counts."""
    applied: list[Change] = []
    failure: ReconcileError | None = None

    def told(change: Change, outcome: str) -> None:
        attempted(change, outcome)
        if outcome == OK:
            # also what followed from another change's answer
            applied.append(change)

    for change in stage.changes:
        try:
            perform(change, to, told)
        except ReconcileError as error:
            if isinstance(change, VaultDelete) and not change.required:
                continue
            failure = failure or error
            if not stage.independent:
                break
    return applied, failure
