"""One tenant's life on real servers, with the controllers in this process.

The controllers work over the operator's own adapters and with its own rights. What the engine's queue does is done by
a loop that wakes up the same objects on the same occasions, and waits for nothing.
"""

import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.keycloak.adapter import KeycloakAdmin, KeycloakSettings
from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.resources import BINDING, RUNTIME, TENANT, Manifest, Ref, Resource, ref_of
from axon_operator.process.engine import observed
from axon_operator.process.settings import Settings
from axon_operator.reconcile.binding import BindingReconciler
from axon_operator.reconcile.common import utc_now
from axon_operator.reconcile.engine.controller import Controller, Reconciler
from axon_operator.reconcile.engine.plan import Backends
from axon_operator.reconcile.runtime import RuntimeReconciler
from axon_operator.reconcile.tenant import TenantReconciler
from bench.bed import Bed
from bench.cluster import Cluster
from bench.state import Reader, State
from bench.tap import Tap

_RESYNC: Final = 300.0
PATIENCE: Final = 120.0
"""Seconds until everything has to be as declared; the machine may be busy."""
_PAUSE: Final = 0.1
"""Seconds between rounds in which nobody did anything."""
_TIMEOUT: Final = 60.0
"""Seconds. A write that times out has an end that is not known; that is another test's subject."""


@contextmanager
def as_operator(bed: Bed) -> Iterator[None]:
    """Kubernetes' client logs in as the operator."""
    # the library has read KUBECONFIG when it was imported
    with patch("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", bed.kubeconfig):
        yield


class NotSettledError(Exception):
    """Something is not as declared and does not get so."""


class Life:
    """One tenant from its creation to its end."""

    def __init__(self, bed: Bed, name: str, spec: Mapping[str, Any]) -> None:
        self.bed = bed
        self.settings = bed.settings
        self.kube = bed.kube
        made = bed.kube.create(_manifest(TENANT, "", name, spec))
        self.names = TenantNames(name, made["metadata"]["uid"])
        self.runtimes: dict[str, RuntimeNames] = {}
        self.cluster = Cluster(bed.kube.as_controllers(), bed.bao, self.names)
        self.clock: Callable[[], datetime.datetime] = utc_now
        """The operator's. Whoever cannot wait moves it."""
        self._reader = Reader(bed.kube, bed.bao, keycloak_of(bed.settings))

    def settle(self, *, again: bool = False, patience: float = PATIENCE) -> "Controllers":
        """Lets a new process work until everything is as declared.

        Args:
            again: also compare what looks settled.
            patience: seconds that it may take.

        Raises:
            NotSettledError: that takes too long.
        """
        controllers = Controllers(self, Tap())
        if again:
            controllers.resync(TENANT, RUNTIME, BINDING)
        controllers.settle(patience)
        return controllers

    def objects(self) -> list[Manifest]:
        """The tenant's objects of our kinds, in the order in which people make them."""
        tenant = self.kube.find(Ref(TENANT, "", self.names.tenant))
        inside = [m for kind in (RUNTIME, BINDING) for m in self.kube.list(kind, namespace=self.names.namespace)]
        return [*([tenant] if tenant else []), *inside]

    def runtime(self, name: str, spec: Mapping[str, Any]) -> None:
        """Declares a runtime."""
        made = self.kube.create(_manifest(RUNTIME, self.names.namespace, name, spec))
        self.runtimes[name] = RuntimeNames(self.names.namespace, name, made["metadata"]["uid"])

    def binding(self, name: str, runtime: str, secret: str) -> None:
        """Declares a binding to a secret of the organization."""
        self.bind(name, runtime, {"kv": {"path": secret, "keys": ["key"]}})

    def bind(self, name: str, runtime: str, source: Mapping[str, Any], **more: Any) -> None:
        """Declares a binding to anything, delivered as a file unless `more` says something else."""
        delivery = {"file": {"path": f"{name}.json"}}
        spec = {"runtimeRef": {"name": runtime}, "source": dict(source), "delivery": delivery, **more}
        self.kube.create(_manifest(BINDING, self.names.namespace, name, spec))

    def secret(self, path: str) -> None:
        """One that the organization keeps."""
        home = f"axon/{self.names.vault_namespace}"
        self.bed.bao.admin("POST", home, f"kv/data/org/{path}", {"data": {"key": "value"}})

    def edit(self, resource: Resource, name: str, spec: Mapping[str, Any]) -> None:
        """Changes fields of a spec."""
        self.kube.patch(self._ref(resource, name), {"spec": spec})

    def delete(self, resource: Resource, name: str) -> None:
        """Asks for a deletion."""
        self.kube.delete(self._ref(resource, name))

    def _ref(self, resource: Resource, name: str) -> Ref:
        return Ref(resource, self.names.namespace if resource.namespaced else "", name)

    def state(self) -> State:
        """All that it has in the three systems, comparable between tenants."""
        return self._reader.read(self.names, self.runtimes)


class Controllers:
    """The controllers as after a start of the operator: with new logins, and without any memory."""

    def __init__(self, life: "Life", tap: Tap) -> None:
        self._life = life
        self._tap = tap
        self._woken = False
        settings = life.settings
        platform, to = settings.platform(), tap.over(backends_of(settings))
        reconcilers: tuple[Reconciler[Any], ...] = (
            TenantReconciler(to, platform, life.clock),
            RuntimeReconciler(to, platform, life.clock),
            BindingReconciler(to, platform, life.clock),
        )
        self._controllers = {
            r.resource: Controller(
                r,
                to,
                resync=_RESYNC,
                now=life.clock,
                report=_raise,
                audit=lambda *_: None,
                # nothing that looks settled is looked at again soon: the worst case
                spread=lambda _low, high: high,
            )
            for r in reconcilers
        }
        for manifest in life.objects():
            if not observed(manifest):
                self._edited(manifest)

    def settle(self, patience: float = PATIENCE) -> None:
        """Passes over all objects until a round finds everything as declared and changes nothing.

        Raises:
            NotSettledError: that takes too long.
        """
        deadline = time.monotonic() + patience
        while True:
            written, self._woken = len(self._tap.writes), False
            unfinished = [problem for manifest in self._life.objects() for problem in self._pass(manifest)]
            moved = self._life.cluster.step()
            if moved:
                self.resync(RUNTIME, BINDING)
            active = moved or self._woken or len(self._tap.writes) > written
            if not (unfinished or active):
                return
            if time.monotonic() > deadline:
                raise NotSettledError("; ".join(unfinished) or "something is written in every round")
            if not active:
                time.sleep(_PAUSE)

    @property
    def writes(self) -> tuple[str, ...]:
        """All that were made so far."""
        return tuple(self._tap.writes)

    def resync(self, *resources: Resource) -> None:
        """All objects of these kinds are compared with the three systems in the next round."""
        for manifest in self._life.objects():
            if ref_of(manifest).resource in resources:
                self._expire(ref_of(manifest))

    def _pass(self, manifest: Manifest) -> list[str]:
        """What is not as declared."""
        key = ref_of(manifest)
        try:
            done = self._controllers[key.resource].run(key)
        except ReconcileError as error:
            return [f"{key}: {error.reason}"]
        for related in done.related:
            self._expire(related)
        if done.next is None and key.resource is BINDING:
            self._edited(manifest)
        return [f"{key}: {error.reason}: {error.message}" for error in done.outcome.errors]

    def _edited(self, manifest: Manifest) -> None:
        """As the engine: a binding's runtime is the one that acts on it."""
        key = ref_of(manifest)
        self._expire(key)
        if key.resource is BINDING:
            self._expire(Ref(RUNTIME, key.namespace, manifest["spec"]["runtimeRef"]["name"]))

    def _expire(self, key: Ref) -> None:
        self._woken = True
        self._controllers[key.resource].expire(key)


def backends_of(settings: Settings) -> Backends:
    """The operator's own adapters, without a cache."""
    return Backends(
        KubernetesApi(timeout=settings.backend_timeout, connections=1),
        OpenBao(
            OpenBaoSettings(
                str(settings.vault_address).rstrip("/"),
                settings.vault_ca_file,
                settings.vault_token_file,
                settings.vault_namespace,
                settings.vault_auth_mount,
                timeout=_TIMEOUT,
            )
        ),
        keycloak_of(settings),
    )


def keycloak_of(settings: Settings) -> KeycloakAdmin:
    """The operator's own."""
    url = str(settings.keycloak_url).rstrip("/")
    return KeycloakAdmin(
        KeycloakSettings(url, settings.keycloak_ca_file, settings.keycloak_token_file, timeout=_TIMEOUT)
    )


def _manifest(resource: Resource, namespace: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": dict(spec)}


def _raise(error: Exception) -> None:
    """A defect ends the run."""
    raise error
