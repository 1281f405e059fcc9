"""Many bindings that change at once, and new ones beside them."""

import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from axon_operator.domain.resources import BINDING, CONFIG_MAP, POD, Manifest
from axon_operator.domain.runtime import BINDINGS_KEY
from bench.bed import Bed, say
from bench.edits import wait_for
from bench.population import BINDINGS_PER_RUNTIME, PATHS, Tenant, binding_ref
from bench.report import Row, percentile
from bench.scenarios import FIRST_PASS_SECONDS, NEVER, running
from servers.bao import patiently

_EDITORS: Final = 8
_PATIENCE: Final = 120.0
_LOOK: Final = 0.5
_NEW: Final = 60
"""Bindings that are made while the others change."""
_GOAL: Final = 120
"""Changed bindings a second."""


def changed_bindings(bed: Bed) -> list[Row]:
    """All bindings get another secret at once. One counts as carried out when the policy allows it and the pods are
    told; pods record what they serve, as their sidecars would."""
    count = sum(len(tenant.runtimes) for tenant in bed.tenants) * BINDINGS_PER_RUNTIME
    with running(bed, resync=NEVER), _sidecars(bed):
        bed.operator.wait_until_passed(bed.objects, FIRST_PASS_SECONDS)
        say(f"changing {count} bindings")
        started = time.monotonic()
        with ThreadPoolExecutor(_EDITORS + 1) as pool:
            fresh = pool.submit(_fresh, bed)
            list(pool.map(lambda job: _change(bed, *job), _jobs(bed)))
            asked = time.monotonic() - started
            carried_out = wait_for(lambda: _is_carried_out(bed), _PATIENCE, _LOOK) + asked
            seconds = fresh.result()
        writes = [s for s in bed.proxy.since(started) if s.is_write]
        usage = bed.operator.usage()
    name = f"{count} bindings changed at once"
    return [
        Row(name, "seconds per changed binding", carried_out / count, "s", 1 / _GOAL, f"{count / carried_out:.0f}/s"),
        Row(name, "declared within", asked, "s"),
        Row(name, "carried out within", carried_out, "s"),
        Row(name, "writes in OpenBao", len(writes), "writes"),
        Row(name, "new binding meanwhile: p50", percentile(seconds, 0.5), "s"),
        Row(name, "new binding meanwhile: p99", percentile(seconds, 0.99), "s", 2.0, f"{len(seconds)} bindings"),
        Row(name, "memory, peak", usage.peak_rss_mib, "MiB", 256),
        Row(name, "CPU", usage.cpu_seconds, "s"),
    ]


def _jobs(bed: Bed) -> Iterator[tuple[Tenant, str, int]]:
    for tenant in bed.tenants:
        yield from itertools.product([tenant], tenant.runtimes, range(BINDINGS_PER_RUNTIME))


def _path(number: int) -> str:
    """Another one of the secrets that are there."""
    return PATHS[(number + 1) % len(PATHS)]


def _change(bed: Bed, tenant: Tenant, runtime: str, number: int) -> None:
    bed.kube.patch(binding_ref(tenant, runtime, number), {"spec": {"source": {"kv": {"path": _path(number)}}}})


def _is_carried_out(bed: Bed) -> bool:
    """Whether every runtime's pods are told of all changes; the policy is written before."""
    told = {name: kv for tenant in bed.tenants for name, kv in _told(bed, tenant).items()}
    return all(
        told.get((tenant.names.namespace, f"{runtime}-{number}")) == f"org/{_path(number)}"
        for tenant, runtime, number in _jobs(bed)
    )


def _told(bed: Bed, tenant: Tenant) -> Mapping[tuple[str, str], str]:
    """By namespace and name of a binding: which secret the pods are told to fetch for it."""
    found = bed.kube.list(CONFIG_MAP, namespace=tenant.names.namespace)
    bindings = [json.loads(m["data"][BINDINGS_KEY])["bindings"] for m in found if BINDINGS_KEY in (m.get("data") or {})]
    return {(tenant.names.namespace, name): told["kv"] for by in bindings for name, told in by.items()}


def _fresh(bed: Bed) -> list[float]:
    """Seconds from the making of a new binding until its runtime's pods are told of it."""
    places = [(tenant, runtime) for tenant in bed.tenants for runtime in tenant.runtimes]
    return [_make(bed, tenant, runtime, n) for n, (tenant, runtime) in enumerate(places[:: len(places) // _NEW or 1])]


def _make(bed: Bed, tenant: Tenant, runtime: str, number: int) -> float:
    name = f"fresh-{number}"
    spec: dict[str, Any] = {
        "runtimeRef": {"name": runtime},
        "source": {"kv": {"path": PATHS[0], "keys": ["key"]}},
        "delivery": {"file": {"path": f"{name}.json"}},
    }
    metadata = {"name": name, "namespace": tenant.names.namespace}
    bed.kube.create({"apiVersion": BINDING.api_version, "kind": BINDING.kind, "metadata": metadata, "spec": spec})
    return wait_for(lambda: (tenant.names.namespace, name) in _told(bed, tenant), _PATIENCE, 0.05)


@contextmanager
def _sidecars(bed: Bed) -> Iterator[None]:
    """Every pod records the set of files that is published to it, at most a second later."""
    stopped = threading.Event()
    thread = threading.Thread(target=_serve, args=(bed, stopped), name="sidecars")
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _serve(bed: Bed, stopped: threading.Event) -> None:
    served: dict[str, str] = {}
    with ThreadPoolExecutor(2) as pool:
        while not stopped.wait(_LOOK):
            for tenant in bed.tenants:
                configs = bed.kube.list(CONFIG_MAP, namespace=tenant.names.namespace)
                published = {m["metadata"]["name"]: (m.get("data") or {}).get("revision", "").strip() for m in configs}
                pods = bed.kube.list(POD, namespace=tenant.names.namespace)
                new = [
                    (pod, at)
                    for pod in pods
                    if (at := published.get(pod["spec"]["serviceAccountName"]))
                    and served.get(pod["metadata"]["uid"]) != at
                ]
                list(pool.map(lambda job: _record(bed, *job), ((tenant, pod, at) for pod, at in new)))
                served |= {pod["metadata"]["uid"]: at for pod, at in new}


def _record(bed: Bed, tenant: Tenant, pod: Manifest, published: str) -> None:
    place = f"runtime-status/{pod['spec']['serviceAccountName']}/{pod['metadata']['uid']}"
    home = f"axon/{tenant.names.vault_namespace}"
    patiently(lambda: (200, bed.bao.admin("POST", home, place, {"revision": published})))
