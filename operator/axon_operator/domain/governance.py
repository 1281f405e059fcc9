"""Whether a spec keeps to the tenant's GovernanceProfile.

The chart's admission policies (templates/governance.yaml) judge by the same rules and in the same words, of what is
new in a spec. What is here counts for what was there before, and where the policies are off.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from axon_operator.api.governance import EgressBounds, GovernanceProfileSpec, MfaDemand, SessionCeilings
from axon_operator.api.identity import Identity, Mfa
from axon_operator.api.reasons import Reason
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import EgressRule, TenantSpec
from axon_operator.api.vault import Database, DatabaseRole
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain.network import wider_than
from axon_operator.domain.values import seconds

Governed = TenantSpec | WorkflowRuntimeSpec | SecretBindingSpec


@dataclass(frozen=True, slots=True)
class Profile:
    """The profile that a Tenant names."""

    name: str
    spec: GovernanceProfileSpec | None
    """None: there is none of that name."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a spec is not carried out."""

    reason: Reason
    message: str


def refusal(profile: Profile | None, spec: Governed) -> Refusal | None:
    """What the tenant's profile has against a spec. A profile that does not exist lets nothing pass."""
    if profile is None:
        return None
    if profile.spec is None:
        message = f"There is no GovernanceProfile {profile.name}; create it, or correct spec.governance.profile of the Tenant."
        return Refusal(Reason.PROFILE_NOT_FOUND, message)
    found = violations(profile.name, profile.spec, spec)
    return Refusal(Reason.GOVERNANCE_VIOLATION, " ".join(found)) if found else None


def violations(name: str, profile: GovernanceProfileSpec, spec: Governed) -> list[str]:
    """What a spec must change to keep to the profile of that name."""
    match spec:
        case TenantSpec():
            found = [
                *_sessions(profile.sessions, spec.identity),
                *_mfa(profile, spec.identity),
                *_passwords(profile, spec.vault.databases),
                *_egress(profile.egress, spec.network.egress, "spec.network.egress"),
            ]
        case WorkflowRuntimeSpec():
            found = [*_image(profile, spec), *_egress(profile.egress, spec.egress, "spec.egress")]
        case SecretBindingSpec():
            ttl = _ceiling("spec.ttl", spec.ttl, profile.max_credential_ttl)
            found = [*ttl, *_egress(profile.egress, spec.egress, "spec.egress")]
    return [f"GovernanceProfile {name} {demand}" for demand in found]


def outlasts(profile: Profile | None, role: DatabaseRole) -> str | None:
    """What the tenant's profile has against the life of the passwords of an account that OpenBao keeps."""
    if profile is None or profile.spec is None:
        return None
    found = _password(profile.spec, role)
    return f"GovernanceProfile {profile.name} {found}" if found else None


def requires_audit(profile: Profile | None) -> bool:
    """Whether the profile demands that OpenBao records every request: of the platform, so no spec can keep to it."""
    return profile is not None and profile.spec is not None and profile.spec.require_audit


def opens_too_much(profile: Profile | None, rule: EgressRule) -> bool:
    """Whether the profile forbids what an egress rule opens."""
    return profile is not None and profile.spec is not None and any(_egress(profile.spec.egress, [rule], ""))


def _sessions(ceilings: SessionCeilings, identity: Identity) -> Iterator[str]:
    where, sessions = "spec.identity.sessions", identity.sessions
    yield from _ceiling(
        f"{where}.accessTokenLifespan", sessions.access_token_lifespan, ceilings.max_access_token_lifespan
    )
    for field, idle in (("idleTimeout", sessions.idle_timeout), ("offlineIdleTimeout", sessions.offline_idle_timeout)):
        yield from _ceiling(f"{where}.{field}", idle or "0s", ceilings.max_idle_timeout)
    for field, lifespan in (
        ("maxLifespan", sessions.max_lifespan),
        ("offlineMaxLifespan", sessions.offline_max_lifespan),
    ):
        yield from _ceiling(f"{where}.{field}", lifespan or "0s", ceilings.max_lifespan)


def _mfa(profile: GovernanceProfileSpec, identity: Identity) -> Iterator[str]:
    if profile.mfa is MfaDemand.REQUIRED and identity.mfa is not Mfa.REQUIRED:
        yield "demands spec.identity.mfa: Required; set it."


def _passwords(profile: GovernanceProfileSpec, databases: Sequence[Database]) -> Iterator[str]:
    found = (_password(profile, role) for database in databases for role in database.roles if role.account)
    yield from dict.fromkeys(filter(None, found))


def _password(profile: GovernanceProfileSpec, role: DatabaseRole) -> str | None:
    where = "rotationInterval (24h where it is left out) of each account in spec.vault.databases of the Tenant"
    return next(_ceiling(where, role.lifetime, profile.max_credential_ttl), None)


def _image(profile: GovernanceProfileSpec, spec: WorkflowRuntimeSpec) -> Iterator[str]:
    if profile.require_image_digest and "@sha256:" not in spec.image:
        yield "demands an image by digest; write spec.image as name@sha256:…."


def _ceiling(field: str, value: str, ceiling: str | None) -> Iterator[str]:
    if ceiling is not None and seconds(value) > seconds(ceiling):
        yield f"demands {field} of at most {ceiling}; lower it."


def _egress(bounds: EgressBounds, rules: Sequence[EgressRule], field: str) -> Iterator[str]:
    wide = [rule.cidr for rule in rules if wider_than(rule, bounds.shortest_prefix)]
    if wide:
        yield f"allows no range wider than /{bounds.shortest_prefix} in {field}; narrow {', '.join(wide)}."
    denied = [str(port) for port in bounds.denied_ports if any(port in rule.ports for rule in rules)]
    if denied:
        yield f"denies ports in {field}; remove {', '.join(denied)}."
