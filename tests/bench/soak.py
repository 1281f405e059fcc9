"""One trouble after the other, and what the operator makes of it: during, and after."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from axon_operator.api.reasons import Reason
from axon_operator.domain.names import RuntimeNames
from axon_operator.domain.resources import BINDING, NETWORK_POLICY, RUNTIME, TENANT, Manifest, Ref
from bench.bed import Bed, say
from bench.edits import edits, latencies, observed, wait_for
from bench.options import Options
from bench.population import runtime_ref
from bench.proxy import Backend, Fault, Mode, per_second
from bench.report import Row, percentile
from bench.scenarios import FIRST_PASS_SECONDS

_RESYNC: Final = "30"
_SAMPLE_SECONDS: Final = 5.0
_RECOVERY_GOAL: Final = 120.0
_RECOVERY_PATIENCE: Final = 600.0
_AWAY: Final = frozenset({Reason.VAULT_UNAVAILABLE, Reason.VAULT_DENIED, Reason.KEYCLOAK_UNAVAILABLE})

Trouble = Callable[[Bed], AbstractContextManager[None]]


@contextmanager
def _openbao_down(bed: Bed) -> Iterator[None]:
    bed.bao.stop()
    yield
    bed.bao.start()


@contextmanager
def _openbao_sealed(bed: Bed) -> Iterator[None]:
    bed.bao.admin("POST", "", "sys/seal")
    yield
    # its static seal opens at a start
    bed.bao.stop()
    bed.bao.start()


@contextmanager
def _keycloak_down(bed: Bed) -> Iterator[None]:
    bed.keycloak.stop()
    yield
    bed.keycloak.start()


def _faulty(backend: Backend, fault: Fault) -> Trouble:
    return lambda bed: bed.proxy.fault(backend, fault)


_FAULTS: Final = {
    "503": Fault(Mode.STATUS, status=503),
    "429": Fault(Mode.STATUS, status=429),
    "slow": Fault(Mode.DELAY, seconds=8),
    "hanging": Fault(Mode.HANG),
    "reset": Fault(Mode.RESET),
    "half-body": Fault(Mode.HALF_BODY),
}
_BACKEND_TROUBLES: Final[dict[str, tuple[Backend, Trouble]]] = {
    "openbao-down": (Backend.OPENBAO, _openbao_down),
    "openbao-sealed": (Backend.OPENBAO, _openbao_sealed),
    "keycloak-down": (Backend.KEYCLOAK, _keycloak_down),
    **{
        f"{backend}-{name}": (backend, _faulty(backend, fault))
        for backend in Backend
        for name, fault in _FAULTS.items()
    },
}
_APISERVER: Final = "apiserver-restarted"
TROUBLES: Final = (*_BACKEND_TROUBLES, _APISERVER)


@dataclass
class _Watcher:
    """What was seen of the objects' conditions while trouble lasted."""

    lowest_ready: int = 10**9
    told: int = 0
    """Most objects at one time that said that a backend is away."""
    restarts: int = 0

    def look(self, bed: Bed) -> None:
        self.restarts += bed.operator.revive()
        objects = _objects(bed)
        self.lowest_ready = min(self.lowest_ready, sum(_is_ready(m) for m in objects))
        self.told = max(self.told, sum(_says_away(m) for m in objects))


def run(bed: Bed, options: Options, names: Sequence[str]) -> Iterator[Row]:
    """All troubles of these names, with one operator process throughout."""
    bed.operator.start(RESYNC_INTERVAL=_RESYNC)
    try:
        bed.operator.wait_until_passed(bed.objects, FIRST_PASS_SECONDS)
        for name in names:
            say(f"soak: {name}")
            yield from _restarted(bed) if name == _APISERVER else _troubled(bed, name, options)
    finally:
        bed.operator.stop()


def _troubled(bed: Bed, name: str, options: Options) -> list[Row]:
    backend, trouble = _BACKEND_TROUBLES[name]
    bed.audit.skip()
    bed.proxy.forget()
    began, watcher = time.monotonic(), _Watcher()
    with trouble(bed):
        while time.monotonic() - began < options.minutes * 60:
            time.sleep(_SAMPLE_SECONDS)
            watcher.look(bed)
    returned = time.monotonic()
    recovery = wait_for(lambda: all(_is_settled(m) for m in _objects(bed)), _RECOVERY_PATIENCE, poll=1)
    after = per_second([s for s in bed.proxy.since(returned) if s.backend is backend])
    edited = latencies(bed.kube, edits(bed.tenants, 4, seed=int(began)))
    deleted = sum(n for call, n in bed.audit.writes().items() if call.startswith("delete"))
    deleted += sum(seen.method == "DELETE" for seen in bed.proxy.since(began))
    objects = len(_objects(bed))
    return [
        Row(name, "objects that lost Ready", objects - watcher.lowest_ready, "objects", 0, f"of {objects}"),
        Row(name, "objects that told of it", watcher.told, "objects"),
        Row(name, "settled again after its return", recovery, "s", _RECOVERY_GOAL),
        Row(name, "requests through recovery, peak", max(after.values(), default=0), "per s"),
        Row(name, "slowest edit afterwards", percentile(edited, 1), "s"),
        Row(name, "deletions", deleted, "deletions", 0),
        Row(name, "ends of the operator process", watcher.restarts, "times", 0),
    ]


def _restarted(bed: Bed) -> list[Row]:
    """The operator sleeps; a child is deleted and a spec edited; history is dropped; the API server starts anew.

    So no watch can tell what happened: the operator has to list again.
    """
    tenant = bed.tenants[-1]
    runtime = runtime_ref(tenant, tenant.runtimes[0])
    names = RuntimeNames(runtime.namespace, runtime.name, bed.kube.get(runtime)["metadata"]["uid"])
    child = Ref(NETWORK_POLICY, runtime.namespace, names.principal)
    # of another tenant, so that noticing the one says nothing about the other
    (edit,) = edits(bed.tenants[:1], 1, seed=int(time.monotonic()))
    uid = bed.kube.get(child)["metadata"]["uid"]
    bed.audit.skip()
    bed.operator.freeze()
    bed.kube.as_controllers().delete(child)
    generation = bed.kube.patch(edit.ref, {"spec": edit.spec})["metadata"]["generation"]
    bed.server.kill_apiserver()
    bed.server.compact()
    bed.server.start_apiserver()
    bed.operator.thaw()
    returned = time.monotonic()
    watcher = _Watcher()

    def noticed(what: Callable[[], bool]) -> float:
        """Seconds since the thaw; whoever ends by itself is started again."""

        def look() -> bool:
            watcher.look(bed)
            return what()

        wait_for(look, _RECOVERY_PATIENCE, poll=0.5)
        return time.monotonic() - returned

    edited = noticed(lambda: observed(bed.kube, edit.ref) >= generation)
    healed = noticed(lambda: _uid(bed, child) not in {None, uid})
    settled = noticed(lambda: all(_is_settled(m) for m in _objects(bed)))
    requests = per_second(bed.proxy.since(returned))
    deleted = sum(n for call, n in bed.audit.writes().items() if call.startswith("delete"))
    return [
        Row(_APISERVER, "missed edit carried out", edited, "s", _RECOVERY_GOAL),
        Row(_APISERVER, "missed deletion of a child healed", healed, "s", _RECOVERY_GOAL),
        Row(_APISERVER, "everything settled again", settled, "s", _RECOVERY_GOAL),
        Row(_APISERVER, "requests of backends through recovery, peak", max(requests.values(), default=0), "per s"),
        Row(_APISERVER, "deletions", deleted, "deletions", 0),
        Row(
            _APISERVER,
            "ends of the operator process",
            watcher.restarts,
            "times",
            None,
            "started again, as a kubelet does",
        ),
    ]


def _objects(bed: Bed) -> list[Manifest]:
    return [m for kind in (TENANT, RUNTIME, BINDING) for m in bed.kube.list(kind, "resourceVersion=0")]


def _uid(bed: Bed, ref: Ref) -> str | None:
    found = [m for m in bed.kube.list(ref.resource) if m["metadata"]["name"] == ref.name]
    return found[0]["metadata"]["uid"] if found else None


def _conditions(manifest: Manifest) -> list[dict[str, Any]]:
    conditions: list[dict[str, Any]] = (manifest.get("status") or {}).get("conditions") or []
    return conditions


def _is_ready(manifest: Manifest) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in _conditions(manifest))


def _says_away(manifest: Manifest) -> bool:
    return any(c["reason"] in _AWAY for c in _conditions(manifest))


def _is_settled(manifest: Manifest) -> bool:
    """Everything is as planned again, and has been looked at since."""
    return _is_ready(manifest) and all(c["reason"] == Reason.READY for c in _conditions(manifest))
