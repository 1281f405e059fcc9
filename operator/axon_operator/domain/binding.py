"""Which SecretBindings of a runtime can be delivered, and what is wrong with the others."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from axon_operator.api.reasons import Reason
from axon_operator.api.secretbinding import SecretBindingSpec, Source
from axon_operator.api.tenant import EgressRule
from axon_operator.api.vault import Database, DatabaseRole
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain import proxy
from axon_operator.domain.consent import Consent
from axon_operator.domain.governance import Profile, outlasts, refusal
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.network import egress_problem
from axon_operator.domain.tenant.databases import KEPT, kept_name


@dataclass(frozen=True, slots=True)
class Secret:
    """What is known of a secret in the KV store, or of an account that OpenBao keeps: never a value."""

    keys: frozenset[str]
    version: int
    """Counts its writes; of an account, another one for each password."""


Found = Mapping[str, Secret | None]
"""By the path below the KV mount, of an account by its whole path; None if there is nothing there."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A SecretBinding of the runtime, as far as delivery is concerned."""

    name: str
    uid: str
    created: str
    """RFC 3339; the oldest of two bindings that want the same file gets it."""
    spec: SecretBindingSpec
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a binding is not delivered."""

    reason: Reason
    message: str
    permanent: bool
    """A person must change the binding (or the Tenant); otherwise it is enough that the secret appears."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What bindings of a runtime are judged by, and their credentials made from, beside themselves."""

    names: RuntimeNames
    tenant: TenantNames
    runtime: WorkflowRuntimeSpec
    consent: Consent
    databases: Sequence[Database]
    allowed: Sequence[EgressRule]
    """Egress that the Tenant allows."""
    cluster_cidrs: Sequence[str]
    profile: Profile | None
    trust_domain: str
    ended: bool = False
    """The runtime has run to its end: nobody needs its credentials any more."""


def kept_paths(bindings: Iterable[Binding], around: Surroundings) -> frozenset[str]:
    """The paths of which must be known what is there, to judge the bindings."""
    return frozenset(path for b in bindings for path in candidates(b.spec.source, around))


def candidates(source: Source, around: Surroundings) -> tuple[str, ...]:
    """Where the secret of a source can be that somebody else keeps, the most special place first."""
    if source.kv:
        return (f"org/{source.kv.path}",)
    if source.database and kept_role(source, around.databases):
        return (f"{KEPT}/{kept_name(source.database.connection, source.database.role)}",)
    return around.consent.paths(source.grant) if source.grant else ()


def located(source: Source, around: Surroundings, found: Found) -> str | None:
    """Where the secret of a source is; None if nowhere, or if nobody else keeps a source of that kind."""
    return next((path for path in candidates(source, around) if found.get(path) is not None), None)


def in_question(bindings: Sequence[Binding], name: str) -> tuple[Binding, ...]:
    """The binding of that name and those that want the same file as another: who gets it must be found out."""
    wanted = Counter(claim for b in bindings for claim in claims(b.spec))
    return tuple(b for b in bindings if b.name == name or any(wanted[claim] > 1 for claim in claims(b.spec)))


def assumed(
    bindings: Iterable[Binding], around: Surroundings, told: Mapping[str, tuple[str, int]]
) -> dict[str, Secret | None]:
    """What is kept for the bindings if all that the bindings want is there; `told`: where it was, and which version."""
    found: dict[str, Secret | None] = {}
    for binding in bindings:
        places, (known, version) = candidates(binding.spec.source, around), told.get(binding.name, ("", 0))
        path = known if known in places else next(iter(places[::-1]), None)
        if path is not None:
            before = found.get(path)
            keys = frozenset(wanted_keys(binding.spec)) | (before.keys if before else frozenset())
            found[path] = Secret(keys, version)
    return found


def deliverable(bindings: Sequence[Binding], found: Found, around: Surroundings) -> tuple[Binding, ...]:
    """Those without a problem that are not revoked; none when the run has ended."""
    if around.ended:
        return ()
    wrong = problems(bindings, found, around)
    return tuple(b for b in bindings if b.name not in wrong and not b.spec.revoked)


def problems(bindings: Sequence[Binding], found: Found, around: Surroundings) -> dict[str, Problem]:
    """Binding name to problem, for the bindings that cannot be delivered."""
    wrong: dict[str, Problem] = {}
    taken = dict.fromkeys(_claimed_by(around.runtime), "the runtime itself")
    for binding in sorted(bindings, key=lambda b: (b.created, b.name)):
        problem = _own_problem(binding.spec, found, around) or _conflict(binding.spec, taken)
        if problem:
            wrong[binding.name] = problem
        elif not binding.spec.revoked:
            taken |= dict.fromkeys(claims(binding.spec), f"SecretBinding {binding.name}")
    return wrong


def claims(spec: SecretBindingSpec) -> frozenset[str]:
    """What no two bindings of a runtime can have: a file, a variable, a port."""
    delivery = spec.delivery
    if delivery.file:
        return frozenset({f"file {delivery.file.path}"})
    if delivery.env:
        return frozenset(f"variable {v.name}" for v in delivery.env.variables)
    return frozenset({f"port {delivery.proxy.local_port}"}) if delivery.proxy else frozenset()


def fixed_keys(source: Source) -> tuple[str, ...]:
    """The values that a source always has; none for one whose owner chooses them."""
    if source.database:
        return ("username", "password", "host", "port", "database")
    if source.pki:
        return ("certificate", "private_key", "ca_chain")
    return ("value",) if source.generated else ()


def database_of(source: Source, databases: Iterable[Database]) -> tuple[Database, DatabaseRole] | None:
    """The Tenant's database and role that a source names; None if there is none, or it names no database."""
    wanted = source.database
    if wanted is None:
        return None
    found = (
        (d, role) for d in databases if d.name == wanted.connection for role in d.roles if role.name == wanted.role
    )
    return next(found, None)


def kept_role(source: Source, databases: Iterable[Database]) -> DatabaseRole | None:
    """The role that a source names, if it stands for an account that there is already."""
    found = database_of(source, databases)
    return found[1] if found and found[1].account else None


def is_leased(source: Source, databases: Iterable[Database]) -> bool:
    """Whether OpenBao ends the credential by itself."""
    return bool(source.pki or (source.database and kept_role(source, databases) is None))


def order(binding: Binding, databases: Sequence[Database]) -> str:
    """What a credential is made for: another trigger, other rights or another life need another credential."""
    spec, found = binding.spec, database_of(binding.spec.source, databases)
    if not spec.is_issued:
        return ""
    rights = sorted(found[1].member_of or ()) or [f"account {found[1].account}"] if found else []
    life = spec.ttl if is_leased(spec.source, databases) else ""
    described = [spec.rotation_trigger, spec.source.to_json(), rights, life]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:12]


def _claimed_by(runtime: WorkflowRuntimeSpec) -> Iterator[str]:
    yield from (f"variable {v.name}" for v in runtime.env)
    yield from (f"port {p.port}" for p in runtime.ports)


def _own_problem(spec: SecretBindingSpec, found: Found, around: Surroundings) -> Problem | None:
    why = refusal(around.profile, spec)
    if why:
        return Problem(why.reason, why.message, permanent=True)
    egress = egress_problem(spec.egress, around.allowed, around.cluster_cidrs, "spec.egress")
    if egress:
        return Problem(Reason.INVALID_SPEC, egress, permanent=True)
    return _proxy_problem(spec) or _source_problem(spec, found, around)


def _proxy_problem(spec: SecretBindingSpec) -> Problem | None:
    to = spec.delivery.proxy
    if to is None:
        return None
    wrong = proxy.problem(to.host, to.header)
    return Problem(Reason.INVALID_SPEC, wrong, permanent=True) if wrong else None


def wanted_keys(spec: SecretBindingSpec) -> tuple[str, ...]:
    """The values that a delivery picks out by name, and those that the source names."""
    source, delivery = spec.source, spec.delivery
    kept = source.kv or source.grant
    named = kept.keys if kept else []
    picked = [v.key for v in delivery.env.variables] if delivery.env else []
    return tuple(sorted({*named, *picked, *((delivery.proxy.key,) if delivery.proxy else ())}))


def _source_problem(spec: SecretBindingSpec, found: Found, around: Surroundings) -> Problem | None:
    source, fixed = spec.source, fixed_keys(spec.source)
    if fixed and (unknown := sorted(set(wanted_keys(spec)) - set(fixed))):
        message = f"spec.delivery: this source has no {', '.join(unknown)}, but {', '.join(fixed)}."
        return Problem(Reason.INVALID_SPEC, message, permanent=True)
    if source.kv:
        return _secret_problem(f"org/{source.kv.path}", wanted_keys(spec), found)
    if source.grant and located(source, around, found) is None:
        user, path, runtime = source.grant.user, source.grant.path, spec.runtime_ref.name
        wait = "" if around.consent.tied else " A grant for this revision counts when no pod of another one is left."
        message = f"User {user} has not granted {path} to the runtime as it is now. They do so with: kubectl axon secret allow {path} {runtime}{wait and '.'}{wait}"
        return Problem(Reason.CONSENT_MISSING, message, permanent=False)
    if source.database and database_of(source, around.databases) is None:
        message = f"The Tenant has no database {source.database.connection} with a role {source.database.role}; have it added to spec.vault.databases of the Tenant, or correct spec.source.database."
        return Problem(Reason.SOURCE_MISSING, message, permanent=False)
    return _kept_problem(spec, found, around)


def _kept_problem(spec: SecretBindingSpec, found: Found, around: Surroundings) -> Problem | None:
    """What speaks against handing on an account that OpenBao keeps."""
    source = spec.source.database
    role = kept_role(spec.source, around.databases)
    if source is None or role is None:
        return None
    if spec.delivery.env:
        message = f"spec.delivery: the password of account {role.account} is changed while pods run, and a variable keeps the one of before; deliver a file."
        return Problem(Reason.INVALID_SPEC, message, permanent=True)
    if why := outlasts(around.profile, role):
        return Problem(Reason.GOVERNANCE_VIOLATION, why, permanent=True)
    if located(spec.source, around, found) is None:
        message = f"OpenBao does not keep account {role.account} of database {source.connection} yet; the Tenant's condition DatabasesReady says why."
        return Problem(Reason.SOURCE_MISSING, message, permanent=False)
    return None


def _secret_problem(path: str, wanted: Iterable[str], found: Found) -> Problem | None:
    secret = found.get(path)
    if secret is None:
        message = f"The secret kv/{path} does not exist in the tenant's OpenBao namespace; write it there and delivery follows by itself."
        return Problem(Reason.SOURCE_MISSING, message, permanent=False)
    missing = sorted(set(wanted) - secret.keys)
    if missing:
        message = (
            f"The secret kv/{path} has no key {', '.join(missing)}; add it in OpenBao or correct spec.source.kv.keys."
        )
        return Problem(Reason.SOURCE_MISSING, message, permanent=False)
    return None


def _conflict(spec: SecretBindingSpec, taken: Mapping[str, str]) -> Problem | None:
    for claim in sorted(claims(spec)):
        if claim in taken:
            message = f"The {claim} is already used by {taken[claim]}; choose another one in spec.delivery."
            return Problem(Reason.CONFLICT, message, permanent=True)
    return None
