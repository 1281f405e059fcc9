"""Puts the parts together: settings -> adapters -> reconcilers -> engine."""

import datetime
from collections.abc import Callable
from typing import Any

from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.keycloak.adapter import KeycloakAdmin, KeycloakSettings
from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.domain.resources import BINDING, RUNTIME, TENANT
from axon_operator.process.engine import Engine, report_defect
from axon_operator.process.metrics import observe_call
from axon_operator.process.settings import Settings
from axon_operator.reconcile.binding import BindingReconciler
from axon_operator.reconcile.engine.controller import Controller, Reconciler
from axon_operator.reconcile.engine.plan import Backends
from axon_operator.reconcile.runtime import RuntimeReconciler
from axon_operator.reconcile.tenant import TenantReconciler

_CLUSTER_EVENTS = "default"
"""Where Kubernetes keeps Events about cluster-scoped objects."""


def build(settings: Settings) -> Engine:
    """The engine, not yet started. Talks to nobody. Raises OSError or ValueError for settings that cannot be used."""
    platform = settings.platform()
    backends = Backends(
        kubernetes=KubernetesApi(timeout=settings.backend_timeout, connections=settings.workers, observe=observe_call),
        vault=OpenBao(_openbao(settings), observe=observe_call),
        keycloak=KeycloakAdmin(_keycloak(settings), observe=observe_call),
    )
    reconcilers: tuple[Reconciler[Any], ...] = (
        TenantReconciler(backends, platform),
        RuntimeReconciler(backends, platform),
        BindingReconciler(backends, platform),
    )
    controllers = {
        r.resource: Controller(r, backends, resync=settings.resync_interval, now=_now, report=report_defect)
        for r in reconcilers
    }
    return Engine(controllers, backends.kubernetes, workers=settings.workers, namespace=_CLUSTER_EVENTS)


def unserved_kinds(settings: Settings) -> Callable[[], str]:
    """Asks the API server for our kinds: what is missing, as a sentence; empty if it serves all of them."""
    api = KubernetesApi(timeout=settings.backend_timeout, connections=1, observe=observe_call)

    def ask() -> str:
        try:
            missing = [r.kind for r in (TENANT, RUNTIME, BINDING) if not api.serves(r)]
        except ReconcileError as error:
            return error.message
        return f"The API server does not serve {', '.join(missing)}; install the CRDs." if missing else ""

    return ask


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


def _keycloak(settings: Settings) -> KeycloakSettings:
    return KeycloakSettings(
        url=str(settings.keycloak_url).rstrip("/"),
        ca_file=settings.keycloak_ca_file,
        token_file=settings.keycloak_token_file,
        client_id=settings.keycloak_client_id,
        timeout=settings.backend_timeout,
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
