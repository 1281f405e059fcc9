"""Stage of the network: what the declarations open, as far as it is allowed."""

from collections.abc import Sequence

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.tenant import EgressRule
from axon_operator.backends.errors import ReconcileError, Terminal
from axon_operator.domain import runtime as desired
from axon_operator.domain.governance import opens_too_much
from axon_operator.domain.network import egress_problem, opens
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import NETWORK_POLICY, Ref, ref_of
from axon_operator.reconcile.common import kube_changes, kube_removals
from axon_operator.reconcile.engine.plan import Stage
from axon_operator.reconcile.runtime.seen import RuntimeSeen
from axon_operator.reconcile.views import TenantView


def network_stage(seen: RuntimeSeen, tenant: TenantView, runtime: desired.Runtime, platform: Platform) -> Stage:
    """The policy with the rules that are allowed now; what is wrong with the others is the stage's problem."""

    def wrong(rules: Sequence[EgressRule]) -> str | None:
        return egress_problem(rules, tenant.spec.network.egress, platform.cluster_cidrs, "spec.egress")

    asked = (*seen.spec.egress, *_bindings_egress(seen, runtime))
    allowed = [rule for rule in asked if not wrong([rule]) and not opens_too_much(tenant.profile, rule)]
    policy = desired.network_policy(runtime, tenant.spec.network, allowed, platform)
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
    if not isinstance(seen.found, ReconcileError):
        return tuple(rule for b in runtime.bindings for rule in b.spec.egress)
    live = seen.children.get(Ref(NETWORK_POLICY, seen.names.namespace, seen.names.principal))
    return tuple(rule for b in seen.candidates for rule in b.spec.egress if live and opens(live, rule))
