"""Whether a Tenant keeps to the profile that it names: told, and in the way of nothing."""

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError, Terminal, Transient, Waiting
from axon_operator.domain.finding import Finding
from axon_operator.domain.governance import requires_audit
from axon_operator.reconcile.common import refused
from axon_operator.reconcile.engine.plan import Stage
from axon_operator.reconcile.tenant.seen import POLL, TenantSeen


def compliance(seen: TenantSeen) -> tuple[Stage, ...]:
    """A stage of its own: whatever a tenant violates, its guards are set right."""
    if seen.profile is None:
        return ()
    problem: ReconcileError | None = refused(seen.profile, seen.spec)
    if problem is None and requires_audit(seen.profile):
        problem = _unaudited(seen.profile.name, seen.audit)
    message = f"Keeps to GovernanceProfile {seen.profile.name}."
    return (Stage(ConditionType.COMPLIANT, problem=problem, message=message),)


def _unaudited(profile: str, audit: Finding | None) -> ReconcileError | None:
    """Why it is not said that OpenBao records every request. An OpenBao that is away takes Ready from nobody."""
    demand = f"GovernanceProfile {profile} demands that OpenBao records every request"
    if audit is None:
        message = f"{demand}, and the operator does not look; let it (vault.audit of the chart)."
        return Terminal(Reason.GOVERNANCE_VIOLATION, message)
    if audit.status is None:
        return Waiting(Reason.PROGRESSING, f"{demand}, which is not known yet.", after=POLL)
    if audit.status == "False":
        return Terminal(Reason.GOVERNANCE_VIOLATION, f"{demand}. {audit.message}")
    return Transient(Reason.VAULT_UNAVAILABLE, audit.message) if audit.status == "Unknown" else None
