"""Tenant: one declaration, three systems."""

import datetime
from collections.abc import Callable
from typing import Any

from axon_operator.api.identity import LogoutStatus
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.tenant import TenantSpec
from axon_operator.backends.errors import ReconcileError, Waiting
from axon_operator.domain import leftover
from axon_operator.domain.finding import Finding
from axon_operator.domain.manifests import owner_uid
from axon_operator.domain.names import TENANT_LABEL, TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import BINDING, NAMESPACE, POD, RUNTIME, TENANT, Manifest, Ref, ref_of
from axon_operator.domain.tenant.claim import Claim
from axon_operator.domain.tenant.kubernetes import guard_refs
from axon_operator.reconcile.common import ASSUMED, attempt, deleting, last_found, names_of, profile_of, staged, utc_now
from axon_operator.reconcile.engine.plan import Backends, Outcome, Plan, Stage, System
from axon_operator.reconcile.tenant.abandon import abandonable, abandoned
from axon_operator.reconcile.tenant.adoption import find_home, look_for_claim
from axon_operator.reconcile.tenant.databases import database_stages, look_at_databases
from axon_operator.reconcile.tenant.governance import compliance
from axon_operator.reconcile.tenant.kubernetes import (
    closing,
    look_for_openings,
    namespace_stage,
    namespace_teardown,
    workload_teardown,
)
from axon_operator.reconcile.tenant.logout import (
    logout_stage,
    logouts_after,
    look_for_people,
    parse_logouts,
)
from axon_operator.reconcile.tenant.realm import identity_stage, identity_teardown, look_at_realm
from axon_operator.reconcile.tenant.seen import People, TenantSeen, leftovers
from axon_operator.reconcile.tenant.vault import (
    is_revocation,
    login_stage,
    login_teardown,
    look_at_vault,
    vault_stage,
    vault_teardown,
)

_BOTH = (ConditionType.VAULT_READY, ConditionType.IDENTITY_READY)
_ASSUMED = dict.fromkeys(("vault", "databases", "keycloak"), ASSUMED)
_RECORDED = ("namespace", "vaultNamespace", "adoptedUID", "realm")


class TenantReconciler:
    """Gathers and plans for Tenants."""

    resource = TENANT

    def __init__(
        self,
        backends: Backends,
        platform: Platform,
        now: Callable[[], datetime.datetime] = utc_now,
        findings: Callable[[TenantNames], tuple[Finding, ...]] = lambda _: (),
    ) -> None:
        """`findings`: what was found out elsewhere about a tenant; must answer at once."""
        self._to = backends
        self._platform = platform
        self._now = now
        self._findings = findings

    def gather(self, live: Manifest, *, ask: bool) -> TenantSeen:
        """Reads the three systems; an OpenBao or Keycloak that is away is part of what is seen."""
        metadata = live["metadata"]
        spec = TenantSpec.model_validate(live["spec"])
        kubernetes = self._to.kubernetes
        names, cluster = names_of(live), kubernetes.cluster()
        claim = look_for_claim(kubernetes, live, cluster)
        home: TenantNames | ReconcileError = names
        if ask and isinstance(claim, Claim) and not names.home:
            home = attempt(lambda: find_home(self._to.vault, names, cluster, claim))
        namespace = kubernetes.get(Ref(NAMESPACE, "", names.namespace))
        ours = namespace is not None and owner_uid(namespace) == names.uid
        inside = [kubernetes.list(kind, names.namespace) for kind in (BINDING, RUNTIME)] if ours else []
        status = live.get("status") or {}
        logouts = parse_logouts(status)
        changed = status.get("observedGeneration") != metadata["generation"]
        findings = self._findings(names)
        if ours and not spec.suspended and not deleting(live):
            findings = (*findings, *leftover.finding(leftovers(kubernetes, *inside)))
        openings = attempt(lambda: look_for_openings(kubernetes, names)) if ours and spec.suspended else ()
        # a kill switch must not wait for a backend that hangs: the network is closed in a pass of its own. One
        # pass, whatever becomes of it: the backends do not wait for a policy that cannot be removed
        first = Waiting(Reason.PROGRESSING, "The network is closed first.", after=0) if openings and changed else None
        return TenantSeen(
            names=names if isinstance(home, ReconcileError) else home,
            cluster=cluster,
            spec=spec,
            profile=profile_of(kubernetes, spec),
            deleted_at=metadata.get("deletionTimestamp"),
            abandoned=abandoned(live),
            claim=claim,
            changed=changed,
            recorded={name: status[name] for name in _RECORDED if name in status},
            namespace=namespace,
            guards={ref: kubernetes.get(ref) for ref in guard_refs(names)} if ours else {},
            openings=openings,
            now=self._now(),
            findings=findings,
            audit=last_found(ConditionType.AUDIT_READY, findings, status),
            logouts=logouts,
            people=self._people(home, spec, live, logouts) if ask else {},
            tenants_objects=tuple(item for items in inside for item in items),
            pods=len(kubernetes.list(POD, names.namespace, {TENANT_LABEL: names.tenant}))
            if ours and deleting(live)
            else 0,
            **self._asked(home, cluster, spec, live, first) if ask else _ASSUMED,
        )

    def plan(self, seen: TenantSeen) -> Plan:
        """Create and set right, or tear down."""
        if seen.deleted_at:
            return _teardown(seen)
        return Plan(
            (
                *closing(seen),
                staged(ConditionType.NAMESPACE_READY, lambda: namespace_stage(seen, self._platform)),
                staged(ConditionType.VAULT_READY, lambda: vault_stage(seen, self._platform)),
                staged(ConditionType.IDENTITY_READY, lambda: identity_stage(seen, self._platform)),
                staged(
                    ConditionType.LOGIN_READY,
                    lambda: login_stage(seen, self._platform),
                    needs=(ConditionType.VAULT_READY,),
                ),
                *database_stages(seen, self._platform),
                *compliance(seen),
                *_logout(seen),
            ),
            seen.findings,
        )

    def status(self, seen: TenantSeen, outcome: Outcome) -> dict[str, Any]:
        """Where the tenant lives, by what was seen to carry its mark, now or before; and the logouts that are done."""
        names = seen.names
        ours = {
            "namespace": (names.namespace, seen.namespace is not None and owner_uid(seen.namespace) == names.uid),
            "vaultNamespace": (names.vault_namespace, seen.own_vault is not None),
            "adoptedUID": (names.home, seen.own_vault is not None),
            "realm": (names.realm, seen.own_realm is not None),
        }
        logouts = [done.to_json() for done in logouts_after(seen, outcome, self._now())]
        return {
            **seen.recorded,
            **{field: name for field, (name, is_ours) in ours.items() if name and is_ours},
            **({"logouts": logouts} if logouts else {}),
        }

    def related(self, seen: TenantSeen, outcome: Outcome) -> tuple[Ref, ...]:
        """The tenant's objects, whenever something about the tenant changed; a repeated revocation concerns none."""
        changed = seen.changed or not all(map(is_revocation, outcome.applied))
        return tuple(ref_of(m) for m in seen.tenants_objects) if changed else ()

    def _asked(
        self, names: TenantNames | ReconcileError, cluster: str, spec: TenantSpec, live: Manifest, first: Waiting | None
    ) -> dict[str, Any]:
        """What OpenBao and Keycloak say, unless something else has to be done first."""
        leaving = spec.suspended or deleting(live)
        if isinstance(names, ReconcileError):
            # told of all: what is to be adopted is decided in OpenBao
            return dict.fromkeys(_ASSUMED, names)
        if first:
            return dict.fromkeys(_ASSUMED, first)
        to, platform = self._to, self._platform
        vault = attempt(lambda: look_at_vault(to.vault, names, cluster, spec, platform, leaving=leaving))
        return {
            "vault": vault,
            "databases": vault
            if isinstance(vault, ReconcileError)
            else attempt(lambda: look_at_databases(to, names, spec, platform, vault)),
            "keycloak": attempt(lambda: look_at_realm(to, names, cluster, spec, platform, leaving=deleting(live))),
        }

    def _people(
        self, names: TenantNames | ReconcileError, spec: TenantSpec, live: Manifest, logouts: tuple[LogoutStatus, ...]
    ) -> People:
        """Whose logout is not over. A suspended tenant has no sessions, and its OpenBao namespace answers nobody."""
        if spec.suspended or deleting(live) or isinstance(names, ReconcileError):
            return {}
        return look_for_people(self._to, names, spec.identity.logout, logouts)


def _logout(seen: TenantSeen) -> tuple[Stage, ...]:
    stage = None if seen.spec.suspended else logout_stage(seen)
    return (stage,) if stage else ()


def _teardown(seen: TenantSeen) -> Plan:
    """Pods first, so that nothing runs without walls; the namespace, and with it the policies, last.

    It stays where a system was given up: by its mark the sweep finds what else there is, once that system is back.
    """
    stopped = ConditionType.WORKLOAD_READY
    vault = staged(ConditionType.VAULT_READY, lambda: vault_teardown(seen), needs=(stopped,))
    identity = staged(ConditionType.IDENTITY_READY, lambda: identity_teardown(seen), needs=(stopped,))
    return Plan(
        (
            *closing(seen),
            staged(stopped, lambda: workload_teardown(seen)),
            staged(ConditionType.LOGIN_READY, lambda: login_teardown(seen)),
            abandonable(vault, System.OPENBAO, seen.names, seen.abandoned),
            abandonable(identity, System.KEYCLOAK, seen.names, seen.abandoned),
            staged(ConditionType.NAMESPACE_READY, lambda: namespace_teardown(seen), needs=(stopped, *_BOTH)),
        )
    )
