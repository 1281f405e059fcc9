"""The operator dies behind each of its writes, and another one carries on: do the three systems end up the same?

The controllers run in this process, over the operator's own adapters and with the operator's own rights: only so it
is known which write was the last one. What the engine's queue does is done by a loop that wakes up the same objects
on the same occasions, and waits for nothing.
"""

import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
from axon_operator.reconcile.engine.controller import Controller, Reconciler
from axon_operator.reconcile.engine.plan import Backends
from axon_operator.reconcile.runtime import RuntimeReconciler
from axon_operator.reconcile.tenant import TenantReconciler
from bench.bed import Bed, say
from bench.cluster import Cluster
from bench.report import Row
from bench.state import Reader, State, differences, normalised, words
from bench.tap import Crash, Tap

NAME: Final = "crashes"
_LIVES: Final = 4
"""Tenants at the same time; more only wait for Keycloak, which makes one realm a second."""
_RESYNC: Final = 300.0
_PATIENCE: Final = 120.0
"""Seconds until everything has to be as declared; the machine may be busy."""
_PAUSE: Final = 0.1
"""Seconds between rounds in which nobody did anything."""


class NotSettledError(Exception):
    """Something is not as declared and does not get so."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one act of a tenant's life."""

    writes: tuple[str, ...]
    state: State
    died: bool
    """Whether there were enough writes for the crash to happen."""
    late: bool = False
    """Equal only after the resync, not by what the new process finds by itself."""
    wrong: tuple[str, ...] = ()
    """How the state differs from the wanted one, or why there is none."""


class _Process:
    """The controllers as after a start of the operator: with new logins, and without any memory."""

    def __init__(self, settings: Settings, life: "_Life", tap: Tap) -> None:
        self._life = life
        self._tap = tap
        self._woken = False
        platform, to = settings.platform(), tap.over(_backends(settings))
        reconcilers: tuple[Reconciler[Any], ...] = (
            TenantReconciler(to, platform),
            RuntimeReconciler(to, platform),
            BindingReconciler(to, platform),
        )
        self._controllers = {
            r.resource: Controller(
                r,
                to,
                resync=_RESYNC,
                now=lambda: datetime.datetime.now(datetime.UTC),
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

    def settle(self) -> None:
        """Passes over all objects until a round finds everything as declared and changes nothing.

        Raises:
            NotSettledError: that takes too long.
        """
        deadline = time.monotonic() + _PATIENCE
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


class _Life:
    """One tenant from its creation to its end."""

    def __init__(self, bed: Bed, settings: Settings, name: str) -> None:
        self._bed = bed
        self._settings = settings
        self.kube = bed.kube
        made = bed.kube.create(_manifest(TENANT, "", name, _TENANT))
        self.names = TenantNames(name, made["metadata"]["uid"])
        self.runtimes: dict[str, RuntimeNames] = {}
        self.cluster = Cluster(bed.kube, bed.bao, self.names)
        self._reader = Reader(bed.kube, bed.bao, _keycloak(settings))

    def play(self, act: "Act", crash_behind: int | None = None, wanted: State | None = None) -> Played:
        """One act, with a crash behind the write of that number; `wanted`: the state to which it has to lead."""
        act.declare(self)
        tap = Tap(crash_behind)
        try:
            died, process = self._settle(tap)
            state = self._state()
            late = wanted is not None and died and state != wanted
            if late:
                process.resync(TENANT, RUNTIME, BINDING)
                process.settle()
                state = self._state()
        except NotSettledError as error:
            return Played(self._told(tap), {}, died=True, wrong=(f"not settled: {error}",))
        wrong = tuple(differences(wanted, state)) if wanted is not None else ()
        return Played(self._told(tap), state, died, late and not wrong, wrong)

    def _settle(self, tap: Tap) -> tuple[bool, _Process]:
        """Whether the process died, and the one that was alive last."""
        try:
            process = _Process(self._settings, self, tap)
            process.settle()
        except Crash:
            process = _Process(self._settings, self, Tap())
            process.settle()
            return True, process
        return False, process

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
        """Declares a binding."""
        spec = {
            "runtimeRef": {"name": runtime},
            "source": {"kv": {"path": secret, "keys": ["key"]}},
            "delivery": {"file": {"path": f"{name}.json"}},
        }
        self.kube.create(_manifest(BINDING, self.names.namespace, name, spec))

    def secret(self, path: str) -> None:
        """One that the organization keeps."""
        home = f"axon/{self.names.vault_namespace}"
        self._bed.bao.admin("POST", home, f"kv/data/org/{path}", {"data": {"key": "value"}})

    def edit(self, resource: Resource, name: str, spec: Mapping[str, Any]) -> None:
        """Changes fields of a spec."""
        self.kube.patch(self._ref(resource, name), {"spec": spec})

    def delete(self, resource: Resource, name: str) -> None:
        """Asks for a deletion."""
        self.kube.delete(self._ref(resource, name))

    def _ref(self, resource: Resource, name: str) -> Ref:
        return Ref(resource, self.names.namespace if resource.namespaced else "", name)

    def _state(self) -> State:
        return self._reader.read(self.names, self.runtimes)

    def _told(self, tap: Tap) -> tuple[str, ...]:
        return tuple(normalised(tap.writes, words(self.names, self.runtimes)))


@dataclass(frozen=True, slots=True)
class Act:
    """What people do at one point of a tenant's life."""

    name: str
    declare: Callable[[_Life], None]


def _create_inside(life: _Life) -> None:
    for secret in ("app/a", "app/b", "app/c"):
        life.secret(secret)
    life.runtime("api", {"image": _IMAGE, "ports": [{"name": "http", "port": 8080}]})
    life.runtime("worker", {"image": _IMAGE, "connections": [{"runtime": "api", "port": 8080}]})
    for name, runtime, secret in (("one", "api", "app/a"), ("two", "api", "app/b"), ("three", "worker", "app/a")):
        life.binding(name, runtime, secret)


def _update(life: _Life) -> None:
    sessions = {"idleTimeout": "10m"}
    changed = {"displayName": "Acme", "admins": [], "quota": {"cpu": "16"}, "identity": {"sessions": sessions}}
    life.edit(TENANT, life.names.tenant, changed)
    ports = [{"name": "http", "port": 8081}]
    life.edit(RUNTIME, "api", {"ports": ports, "egress": [{"cidr": "203.0.113.0/25", "ports": [443]}]})
    life.edit(RUNTIME, "worker", {"replicas": 2, "connections": [{"runtime": "api", "port": 8081}]})
    life.edit(BINDING, "one", {"ttl": "5m", "egress": [{"cidr": "203.0.113.128/25", "ports": [8443]}]})
    life.edit(BINDING, "two", {"source": {"kv": {"path": "app/c"}}})
    life.binding("four", "worker", "app/b")


def _delete_runtime(life: _Life) -> None:
    for binding in ("three", "four"):
        life.delete(BINDING, binding)
    life.delete(RUNTIME, "worker")


ACTS: Final = (
    Act("create a tenant", lambda _life: None),
    Act("create runtimes and bindings", _create_inside),
    Act("update all", _update),
    Act("suspend a runtime", lambda life: life.edit(RUNTIME, "api", {"suspended": True})),
    Act("resume a runtime", lambda life: life.edit(RUNTIME, "api", {"suspended": False})),
    Act("suspend the tenant", lambda life: life.edit(TENANT, life.names.tenant, {"suspended": True})),
    Act("resume the tenant", lambda life: life.edit(TENANT, life.names.tenant, {"suspended": False})),
    Act("delete a binding", lambda life: life.delete(BINDING, "two")),
    Act("delete a runtime with bindings", _delete_runtime),
    Act("delete the tenant with all in it", lambda life: life.delete(TENANT, life.names.tenant)),
)
_IMAGE: Final = "registry.example/agent:1"
_TENANT: Final[dict[str, Any]] = {
    "displayName": "Before",
    "organizationID": "org-1",
    "admins": [{"kind": "Group", "name": "keepers"}],
    "network": {"egress": [{"cidr": "203.0.113.0/24", "ports": [443, 8443]}]},
}


@dataclass
class _Tally:
    """What was seen of one act in all lives."""

    points: int = 0
    late: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def run(bed: Bed, every: int) -> Iterator[Row]:
    """A clean life, and one for each number of a write, with a crash behind the write of that number in each act.

    `every`: only every so many numbers.
    """
    # the library has read KUBECONFIG when it was imported
    with patch("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", bed.kubeconfig):
        say("crashes: a clean life")
        life = _Life(bed, bed.settings, "crash-000")
        clean = {act.name: life.play(act) for act in ACTS}
        numbers = range(1, max(len(played.writes) for played in clean.values()) + 1, every)
        tallies = {act.name: _Tally() for act in ACTS}
        say(f"crashes: {len(numbers)} more lives, {_LIVES} at the same time")
        with ThreadPoolExecutor(_LIVES) as pool:
            for lived in pool.map(lambda number: _live(bed, number, clean), numbers):
                for name, number, played in lived:
                    _count(tallies[name], number, clean[name], played)
    for name, played in clean.items():
        yield from _rows(name, played, tallies[name])


def _live(bed: Bed, number: int, clean: Mapping[str, Played]) -> list[tuple[str, int, Played]]:
    """A life up to its first difference from the clean one."""
    started = time.monotonic()
    life = _Life(bed, bed.settings, f"crash-{number:03d}")
    lived: list[tuple[str, int, Played]] = []
    for act in ACTS:
        wanted = clean[act.name]
        played = life.play(act, number if number <= len(wanted.writes) else None, wanted.state)
        lived.append((act.name, number, played))
        if played.wrong:
            break
    say(f"crashes behind write {number}: {time.monotonic() - started:.0f} s{' DIFFERS' if played.wrong else ''}")
    return lived


def _count(tally: _Tally, number: int, clean: Played, played: Played) -> None:
    behind = clean.writes[number - 1] if number <= len(clean.writes) else "none"
    tally.points += played.died
    if played.late:
        tally.late.append(f"{number}: {behind}")
    if played.wrong:
        tally.wrong += [f"{number}: {behind}: {difference}" for difference in played.wrong]


def _rows(name: str, clean: Played, tally: _Tally) -> list[Row]:
    scenario = f"{NAME}: {name}"
    wrong = len({line.split(":")[0] for line in tally.wrong})
    return [
        Row(scenario, "writes of a clean run", len(clean.writes), "writes", detail=clean.writes),
        Row(scenario, "crash points tried", tally.points, "points"),
        Row(scenario, "ended otherwise than a clean run", wrong, "points", 0, detail=tuple(tally.wrong)),
        Row(scenario, "equal only with the next resync", len(tally.late), "points", detail=tuple(tally.late)),
    ]


def _backends(settings: Settings) -> Backends:
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
        _keycloak(settings),
    )


def _keycloak(settings: Settings) -> KeycloakAdmin:
    url = str(settings.keycloak_url).rstrip("/")
    return KeycloakAdmin(KeycloakSettings(url, None, settings.keycloak_token_file, timeout=_TIMEOUT))


_TIMEOUT: Final = 60.0
"""Seconds. A write that times out has an end that is not known; that is another test's subject."""


def _manifest(resource: Resource, namespace: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": dict(spec)}


def _raise(error: Exception) -> None:
    """A defect ends the run."""
    raise error
