"""Puts the parts together: settings -> adapters -> reconcilers -> engine."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from axon_operator.api.reasons import Reason
from axon_operator.backends.guard import (
    Breakers,
    Fence,
    Guard,
    GuardedKeycloak,
    GuardedKubernetes,
    GuardedVault,
)
from axon_operator.backends.keycloak.adapter import KeycloakAdmin, KeycloakSettings
from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.backends.kubernetes.cached import CachedKubernetes
from axon_operator.backends.kubernetes.informer import Informer, Informers
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.kubernetes.store import Store
from axon_operator.backends.observe import Observe
from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.backends.vault.audit import OpenBaoAudit
from axon_operator.domain.names import OURS, TENANT_LABEL
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    BINDING,
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    PROFILE,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    RUNTIME,
    SERVICE,
    SERVICE_ACCOUNT,
    TENANT,
    Ref,
    Resource,
)
from axon_operator.process import metrics
from axon_operator.process.audit import AuditStream
from axon_operator.process.auditwatch import AuditWatch
from axon_operator.process.engine import Engine
from axon_operator.process.grantwatch import GrantWatch
from axon_operator.process.isolation import Isolation
from axon_operator.process.lease import CALL_TIMEOUT, Elector
from axon_operator.process.logs import report_defect, report_failure
from axon_operator.process.metrics import observe_call
from axon_operator.process.progress import Progress
from axon_operator.process.rounds import Rounds
from axon_operator.process.settings import Settings
from axon_operator.process.sweeper import Sweeper
from axon_operator.reconcile.audit import AuditCheck
from axon_operator.reconcile.binding import BindingReconciler
from axon_operator.reconcile.common import utc_now
from axon_operator.reconcile.engine.controller import Controller, Reconciler
from axon_operator.reconcile.engine.plan import Backends
from axon_operator.reconcile.runtime import RuntimeReconciler
from axon_operator.reconcile.sweep import Sweep
from axon_operator.reconcile.sweep.orphans import Graces
from axon_operator.reconcile.tenant import TenantReconciler

_WATCHED: Mapping[Resource, Mapping[str, str] | None] = {
    TENANT: None,
    RUNTIME: None,
    BINDING: None,
    PROFILE: None,
    # by its presence: pods carry no mark of ours but the tenant's name
    POD: {TENANT_LABEL: ""},
    **dict.fromkeys(
        (
            NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, LIMIT_RANGE, ROLE_BINDING,
            SERVICE_ACCOUNT, CONFIG_MAP, SERVICE, DEPLOYMENT, JOB,
        ),
        OURS,
    ),
}  # fmt: skip
"""The kinds that are watched, with the labels that what concerns the operator carries."""

_KEYCLOAK_CALLS = 8
"""Calls at the same time: a realm costs Keycloak about a second of its CPU (measured)."""

_CLUSTER_EVENTS = "default"
"""Where Kubernetes keeps Events about cluster-scoped objects."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The parts that are started and stopped."""

    engine: Engine
    informers: Informers
    rounds: tuple[Rounds, ...]
    elector: Elector

    def stop(self, timeout: float) -> bool:
        """Begins no more work, and waits at most `timeout` seconds; whether all that was under way is over."""
        deadline = time.monotonic() + timeout
        worked = self.engine.stop(timeout)
        over = [rounds.stop(max(0.0, deadline - time.monotonic())) for rounds in self.rounds]
        return worked and all(over)

    @property
    def alive(self) -> bool:
        """Whether no part is stuck."""
        return self.engine.alive and self.informers.alive and self.elector.alive

    def lead(self) -> None:
        """Begins what only one process may do."""
        self.engine.start()
        for rounds in self.rounds:
            rounds.start()


def build(settings: Settings) -> Operator:
    """Everything, not yet started. Talks to nobody. Raises OSError or ValueError for settings that cannot be used."""
    platform = settings.platform()
    store = Store(_WATCHED)
    progress = Progress()
    observe = _observing(progress)
    api = KubernetesApi(
        timeout=settings.backend_timeout,
        connections=settings.workers + len(_WATCHED),
        observe=observe,
        written=store.written,
        removed=store.removed,
    )
    informers = Informers(api, tuple(Informer(api, store, r, s, report_failure) for r, s in _WATCHED.items()))
    for resource in _WATCHED:
        metrics.INFORMER_AGE.labels(resource.kind).set_function(partial(informers.age, resource))
    candidate = _elector(settings)
    metrics.CREDENTIAL_EXPIRY.follow(store, candidate.holds)
    fence = Fence(candidate.holds)
    backends = Backends(
        kubernetes=GuardedKubernetes(CachedKubernetes(api, store), fence),
        vault=GuardedVault(
            OpenBao(_openbao(settings), observe=observe, may_write=fence.check),
            _guard("vault", Reason.VAULT_UNAVAILABLE, settings.workers, settings),
            fence,
        ),
        keycloak=GuardedKeycloak(
            KeycloakAdmin(_keycloak(settings), observe=observe),
            _guard("keycloak", Reason.KEYCLOAK_UNAVAILABLE, _KEYCLOAK_CALLS, settings),
            fence,
        ),
    )

    def may_begin() -> bool:
        return candidate.holds() and informers.synced

    # the engine is made last: it needs the reconcilers, and these the findings
    def changed(tenant: Ref) -> None:
        engine.look_again_at(tenant)

    def granted(key: Ref) -> None:
        engine.ask_again(key)

    watches = _watches(settings, observe, candidate.holds, lambda: engine.look_again(TENANT))
    canaries = _canaries(
        settings,
        platform,
        known=backends.kubernetes,
        fence=fence,
        may_begin=may_begin,
        changed=changed,
    )
    grants = GrantWatch(
        backends.kubernetes,
        backends.vault,
        platform,
        interval=settings.grant_interval,
        may_begin=may_begin,
        changed=granted,
    )
    tenants = TenantReconciler(
        backends,
        platform,
        findings=lambda names: (*(watch.finding for watch in watches), *(c.finding(names) for c in canaries)),
    )
    reconcilers: tuple[Reconciler[Any], ...] = (
        tenants,
        RuntimeReconciler(backends, platform),
        BindingReconciler(backends, platform),
    )
    audit = AuditStream(sys.stdout, now=utc_now)
    controllers = {
        r.resource: Controller(
            r, backends, resync=settings.resync_interval, now=utc_now, report=report_defect, audit=audit
        )
        for r in reconcilers
    }
    engine = Engine(
        controllers,
        backends.kubernetes,
        store,
        workers=settings.workers,
        namespace=_CLUSTER_EVENTS,
        progress=progress,
    )
    sweeper = Sweeper(
        Sweep(
            backends,
            Graces(access=settings.sweep_access_grace, tenant=settings.sweep_tenant_grace),
            lambda gone: tenants.plan(tenants.gather(gone, ask=True)),
            audit=audit,
            now=utc_now,
        ),
        backends.kubernetes,
        interval=settings.sweep_interval,
        may_begin=may_begin,
        namespace=_CLUSTER_EVENTS,
    )
    return Operator(engine, informers, (sweeper, grants, *watches, *canaries), candidate)


def _watches(
    settings: Settings, observe: Observe, leads: Callable[[], bool], changed: Callable[[], None]
) -> tuple[AuditWatch, ...]:
    """What is the same for all tenants; nothing unless the operator may look."""
    if not settings.vault_audit_role:
        return ()
    check = AuditCheck(OpenBaoAudit(_root(settings), observe=observe), device=settings.vault_audit_device)
    return (AuditWatch(check, interval=settings.vault_audit_interval, may_begin=leads, changed=changed),)


def _canaries(
    settings: Settings,
    platform: Platform,
    *,
    known: Kubernetes,
    fence: Fence,
    may_begin: Callable[[], bool],
    changed: Callable[[Ref], None],
) -> tuple[Isolation, ...]:
    """The look at what the canary reports; nothing unless there is one."""
    if not settings.canary_interval:
        return ()
    # the two ConfigMaps are in the operator's own namespace, where nothing is watched
    api = KubernetesApi(timeout=settings.backend_timeout, connections=1, observe=observe_call)
    return (
        Isolation(
            known,
            GuardedKubernetes(api, fence),
            platform,
            interval=settings.canary_interval,
            may_begin=may_begin,
            changed=changed,
        ),
    )


def _observing(progress: Progress) -> Observe:
    def observe(backend: str, verb: str, outcome: str, seconds: float) -> None:
        observe_call(backend, verb, outcome, seconds)
        progress.noted()

    return observe


def _guard(backend: str, reason: Reason, limit: int, settings: Settings) -> Guard:
    breakers = Breakers()
    metrics.BREAKER_OPEN.labels(backend).set_function(breakers.open)
    return Guard(backend, reason, limit=limit, patience=settings.backend_timeout, breakers=breakers)


def _elector(settings: Settings) -> Elector:
    # a connection of its own: a renewal waits for nobody
    kubernetes = KubernetesApi(timeout=CALL_TIMEOUT, connections=1, observe=observe_call)
    return Elector(kubernetes, namespace=settings.operator_namespace, pod=settings.pod_name)


def _openbao(settings: Settings) -> OpenBaoSettings:
    return OpenBaoSettings(
        address=str(settings.vault_address).rstrip("/"),
        ca_file=settings.vault_ca_file,
        token_file=settings.vault_token_file,
        namespace=settings.vault_namespace,
        auth_mount=settings.vault_auth_mount,
        role=settings.vault_role,
        timeout=settings.backend_timeout,
        connections=settings.workers,
    )


def _root(settings: Settings) -> OpenBaoSettings:
    """The other login, which has no right but to look at the audit devices."""
    return replace(
        _openbao(settings),
        namespace=None,
        auth_mount=settings.vault_audit_mount,
        role=settings.vault_audit_role,
        connections=1,
    )


def _keycloak(settings: Settings) -> KeycloakSettings:
    return KeycloakSettings(
        url=str(settings.keycloak_url).rstrip("/"),
        ca_file=settings.keycloak_ca_file,
        token_file=settings.keycloak_token_file,
        client_id=settings.keycloak_client_id,
        timeout=settings.backend_timeout,
    )
