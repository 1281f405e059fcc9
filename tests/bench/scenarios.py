"""The measurements. Each takes a settled bed whose operator does not run, and leaves it so."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from axon_operator.domain.names import RECONCILE_ANNOTATION, RuntimeNames
from axon_operator.domain.resources import Ref
from bench.bed import Bed, say
from bench.edits import edits, latencies
from bench.options import Options
from bench.population import Tenant, all_refs, binding_ref, deployment_ref, runtime_ref
from bench.proxy import Backend, Fault, Mode
from bench.report import Row, percentile

Scenario = Callable[[Bed, Options], list[Row]]

FIRST_PASS_SECONDS: Final = 3600
NEVER: Final = "86400"
_ALWAYS: Final = "10"
"""Seconds between resyncs, fewer than one takes: it never ends."""
_CALM: Final = "60"
_NOOP_OBJECTS: Final = 20
_NOOP_SECONDS: Final = 10
_ASKING: Final = 8
"""Objects that are asked at the same time."""
_SETTLE_SECONDS: Final = 30
"""For a fault to be met by all workers that it can occupy."""


def restart_and_noop(bed: Bed) -> list[Row]:
    """Starts over settled objects. The first believes their statuses; then, what single objects cost. The second finds
    each of them asked to reconcile while nobody led, and asks the backends about all."""
    name = f"restart, {bed.objects} settled objects"
    believed = _restart(bed, name, "backends not read", cpu=20, then=_noop)
    with _all_asked(bed):
        return [*believed, *_restart(bed, f"{name} asked to reconcile", "every object's backends read", cpu=40)]


def _restart(
    bed: Bed, name: str, note: str, *, cpu: float, then: Callable[[Bed], list[Row]] = lambda _bed: []
) -> list[Row]:
    """`cpu`: the goal, in seconds. `then`: measures something of the operator that has started."""
    say(name)
    bed.audit.skip()
    started = time.monotonic()
    with running(bed, resync=NEVER):
        drained = bed.operator.wait_until_drained(bed.objects, FIRST_PASS_SECONDS)
        usage, work = bed.operator.usage(), bed.operator.work()
        writes = bed.audit.writes()
        seen = bed.proxy.since(started)
        backend_writes = [s for s in seen if s.is_write]
        told = ", ".join(f"{call} {n}" for call, n in writes.most_common(5))
        return [
            Row(name, "writes in Kubernetes", writes.total(), "writes", 0, told),
            Row(name, "writes in OpenBao and Keycloak", len(backend_writes), "writes", 0),
            Row(name, "CPU until the queue was empty", usage.cpu_seconds, "s", cpu, note),
            Row(name, "wall clock until then", drained - started, "s"),
            Row(name, "memory, peak", usage.peak_rss_mib, "MiB", 400),
            Row(name, "passes", work.passes, "passes"),
            Row(name, "calls of the API server", bed.audit.calls().total(), "calls"),
            Row(name, "calls of OpenBao and Keycloak", len(seen), "calls"),
            *then(bed),
        ]


def edits_during_resync(bed: Bed, count: int) -> list[Row]:
    """Fresh edits overtake a resync that never ends."""
    with running(bed, resync=_ALWAYS):
        bed.operator.wait_until_passed(bed.objects, FIRST_PASS_SECONDS)
        return _edited(bed, f"edits during resync of {bed.objects} objects", bed.tenants, count)


def edits_beside_retries(bed: Bed, count: int) -> list[Row]:
    """The same while the largest tenant's OpenBao namespace fails, so that all of its objects retry."""
    noisy, *others = bed.tenants
    retrying = len(noisy.runtimes) * 5
    fault = Fault(Mode.STATUS, noisy.names.vault_namespace, status=503)
    with bed.proxy.fault(Backend.OPENBAO, fault), running(bed, resync=_ALWAYS):
        bed.operator.wait_until_passed(bed.objects, FIRST_PASS_SECONDS)
        return _edited(bed, f"edits beside {retrying} retrying objects of one tenant", others, count)


def edits_beside_a_hang(bed: Bed, count: int) -> list[Row]:
    """One tenant's OpenBao namespace and realm answer nothing any more; what the others notice of it."""
    hanging, *others = bed.tenants
    half = edits(others, 2 * count, seed=3)
    with running(bed, resync=_CALM):
        bed.operator.wait_until_passed(bed.objects, FIRST_PASS_SECONDS)
        say("edits before the hang")
        before = latencies(bed.kube, half[:count])
        with (
            bed.proxy.fault(Backend.OPENBAO, Fault(Mode.HANG, hanging.names.vault_namespace)),
            bed.proxy.fault(Backend.KEYCLOAK, Fault(Mode.HANG, hanging.names.realm)),
        ):
            # all of its objects want attention, and all of their calls hang
            _ask(bed, [runtime_ref(hanging, name) for name in hanging.runtimes])
            time.sleep(_SETTLE_SECONDS)
            say("edits during the hang")
            after = latencies(bed.kube, half[count:])
    name = f"edits of other tenants while one of {len(bed.tenants)} hangs"
    was, now = percentile(before, 0.95), percentile(after, 0.95)
    return [
        Row(name, "p95 before", was, "s"),
        Row(name, "p95 during", now, "s", round(was * 1.2, 4)),
        Row(name, "p50 before", percentile(before, 0.5), "s"),
        Row(name, "p50 during", percentile(after, 0.5), "s"),
    ]


def _noop(bed: Bed) -> list[Row]:
    """Asks for reconciles, which ask the backends only, and touches children of settled objects, which asks nobody."""
    say("no-op reconciles")
    tenant, *_ = bed.tenants
    runtimes = [runtime_ref(tenant, name) for name in tenant.runtimes[:_NOOP_OBJECTS]]
    bindings = [binding_ref(tenant, name, 0) for name in tenant.runtimes[:_NOOP_OBJECTS]]
    children = [_deployment_of(bed, tenant, ref) for ref in runtimes]
    rows = []
    for what, act, asked in (
        ("runtime asked", _ask, runtimes),
        ("binding asked", _ask, bindings),
        ("child touched", _touch, children),
    ):
        passes = bed.operator.work().passes
        bed.audit.skip()
        started = time.monotonic()
        act(bed, asked)
        time.sleep(_NOOP_SECONDS)
        kube, backends = bed.audit.calls(), bed.proxy.since(started)
        made = bed.operator.work().passes - passes
        note = f"{made} passes for {len(asked)} objects"
        rows.append(Row("no-op reconcile", f"API server, per {what}", kube.total() / len(asked), "calls", 0, note))
        goal = 0 if what == "child touched" else None
        rows.append(Row("no-op reconcile", f"backends, per {what}", len(backends) / len(asked), "calls", goal, note))
    return rows


def _edited(bed: Bed, name: str, tenants: Sequence[Tenant], count: int) -> list[Row]:
    say(name)
    passes, started = bed.operator.work().passes, time.monotonic()
    seconds = latencies(bed.kube, edits(tenants, count))
    rate = (bed.operator.work().passes - passes) / (time.monotonic() - started)
    return [
        Row(name, "p50", percentile(seconds, 0.5), "s"),
        Row(name, "p99", percentile(seconds, 0.99), "s", 2.0, f"{count} edits"),
        Row(name, "passes meanwhile", rate, "per s"),
        Row(name, "memory, peak", bed.operator.usage().peak_rss_mib, "MiB"),
    ]


@contextmanager
def running(bed: Bed, resync: str) -> Iterator[None]:
    bed.operator.start(RESYNC_INTERVAL=resync)
    try:
        yield
    finally:
        bed.operator.stop()


def _ask(bed: Bed, refs: Sequence[Ref]) -> None:
    for ref in refs:
        _request(bed, ref, str(time.time()))


@contextmanager
def _all_asked(bed: Bed) -> Iterator[None]:
    """Every object carries a request for a reconcile. The operator does not run at the beginning nor at the end."""
    say(f"asking {bed.objects} objects to reconcile")
    refs = [ref for tenant in bed.tenants for ref in all_refs(tenant)]
    with ThreadPoolExecutor(_ASKING) as pool:
        list(pool.map(lambda ref: _request(bed, ref, str(time.time())), refs))
        yield
        list(pool.map(lambda ref: _request(bed, ref, None), refs))


def _request(bed: Bed, ref: Ref, at: str | None) -> None:
    bed.kube.patch(ref, {"metadata": {"annotations": {RECONCILE_ANNOTATION: at}}})


def _touch(bed: Bed, deployments: Sequence[Ref]) -> None:
    """Somebody puts a note on a Deployment, which raises its generation; Kubernetes' controller observes that."""
    # which only the operator and controllers may touch
    kube = bed.kube.as_controllers()
    for ref in deployments:
        noted = kube.patch(ref, {"metadata": {"annotations": {"example.com/note": str(time.time())}}})
        kube.set_status(ref, {**noted["status"], "observedGeneration": noted["metadata"]["generation"]})


def _deployment_of(bed: Bed, tenant: Tenant, runtime: Ref) -> Ref:
    uid = bed.kube.get(runtime)["metadata"]["uid"]
    return deployment_ref(tenant.names, RuntimeNames(runtime.namespace, runtime.name, uid).principal)
