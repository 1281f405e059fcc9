"""How long a Tenant takes: one on an idle installation, a hundred at once, and all of them gone again."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import requests

from axon_operator.domain.names import MANAGED_BY, MANAGED_BY_LABEL, TenantNames
from axon_operator.domain.resources import NAMESPACE, TENANT, Manifest, Ref
from bench.bed import Bed, say
from bench.cluster import IN_NAMESPACES, Cluster
from bench.edits import wait_for
from bench.options import Options
from bench.report import Row, percentile

NAME: Final = "tenants"
_ONE_BY_ONE: Final = 20
_AT_ONCE: Final = 100
_POLL: Final = 0.1
_PATIENCE: Final = 1800.0
_DELETERS: Final = 8


def run(bed: Bed, options: Options) -> Iterator[Row]:
    """On an empty bed; the numbers are those of a full scale, and with a smaller one fewer tenants."""
    alone, many = (max(2, round(count * options.scale)) for count in (_ONE_BY_ONE, _AT_ONCE))
    bed.operator.start()
    try:
        yield from _one_by_one(bed, alone)
        yield from _at_once(bed, many)
        yield from _gone(bed)
    finally:
        bed.operator.stop()


def _one_by_one(bed: Bed, count: int) -> list[Row]:
    say(f"{count} tenants, one after the other")
    seconds = [_until_ready(bed, [_declare(bed, f"alone-{n:03d}")]) for n in range(count)]
    return [
        Row(NAME, "declared to Ready, one at a time: p50", percentile(seconds, 0.5), "s", 5),
        Row(NAME, "declared to Ready, one at a time: p95", percentile(seconds, 0.95), "s", 10, f"{count} tenants"),
    ]


def _at_once(bed: Bed, count: int) -> list[Row]:
    say(f"{count} tenants at once")
    before = bed.operator.usage().cpu_seconds, bed.keycloak.cpu_seconds(), bed.bao.cpu_seconds()
    spent = bed.operator.backend_seconds()
    total = _until_ready(bed, [_declare(bed, f"many-{n:03d}") for n in range(count)])
    after = bed.operator.usage().cpu_seconds, bed.keycloak.cpu_seconds(), bed.bao.cpu_seconds()
    waited = {call: s - spent.get(call, 0.0) for call, s in bed.operator.backend_seconds().items()}
    told = sorted(waited.items(), key=lambda item: -item[1])
    cpu = zip(("the operator", "Keycloak", "OpenBao"), before, after, strict=True)
    return [
        Row(
            NAME,
            "declared to Ready, all at once: per tenant",
            total / count,
            "s",
            3,
            f"{60 * count / total:.0f} a minute",
        ),
        *(Row(NAME, f"CPU of {who} meanwhile", (b - a) / count, "s per tenant") for who, a, b in cpu),
        *(Row(NAME, f"waited for {call}", s / count, "s per tenant") for call, s in told[:5]),
    ]


def _gone(bed: Bed) -> list[Row]:
    tenants = bed.kube.list(TENANT)
    say(f"teardown of {len(tenants)} tenants")
    names = [TenantNames(m["metadata"]["name"], m["metadata"]["uid"]) for m in tenants]
    started = time.monotonic()
    for tenant in names:
        bed.kube.delete(Ref(TENANT, "", tenant.tenant))
    # nobody else ends namespaces here
    with ThreadPoolExecutor(_DELETERS) as pool:
        list(pool.map(lambda tenant: _ended(bed, tenant), names))
    seconds = time.monotonic() - started
    left = tuple(_left(bed, names))
    return [
        Row(NAME, "deleted to gone: per tenant", seconds / len(names), "s"),
        Row(NAME, "left in the three systems", len(left), "objects", 0, detail=left),
    ]


def _declare(bed: Bed, name: str) -> str:
    metadata = {"name": name}
    bed.kube.create({"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": metadata, "spec": {}})
    return name


def _until_ready(bed: Bed, names: Sequence[str]) -> float:
    """Seconds until all of them are ready."""
    wanted = set(names)

    def ready() -> bool:
        found = bed.kube.list(TENANT)
        return wanted <= {m["metadata"]["name"] for m in found if _is_ready(m)}

    seconds = wait_for(ready, _PATIENCE, _POLL)
    if seconds >= _PATIENCE:
        raise TimeoutError(f"{len(names)} tenants were not ready within {_PATIENCE:g} s")
    return seconds


def _is_ready(tenant: Manifest) -> bool:
    conditions: list[dict[str, Any]] = (tenant.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _ended(bed: Bed, tenant: TenantNames) -> None:
    cluster = Cluster(bed.kube.as_controllers(), bed.bao, tenant)

    def gone() -> bool:
        cluster.step()
        return bed.kube.find(Ref(TENANT, "", tenant.tenant)) is None

    wait_for(gone, _PATIENCE, _POLL)


def _left(bed: Bed, names: Sequence[TenantNames]) -> Iterator[str]:
    """Everything of the tenants that is still there, in all three systems."""
    for resource in (TENANT, NAMESPACE, *IN_NAMESPACES):
        for manifest in bed.kube.list(resource):
            labels = manifest["metadata"].get("labels") or {}
            if resource is TENANT or labels.get(MANAGED_BY_LABEL) == MANAGED_BY:
                yield f"Kubernetes {resource.kind} {manifest['metadata']['name']}"
    for namespace in (bed.bao.look("LIST", "axon", "sys/namespaces") or {}).get("keys") or ():
        yield f"OpenBao namespace {namespace}"
    for tenant in names:
        # one that exists is announced to everybody
        address = f"http://127.0.0.1:{bed.keycloak.http_port}/realms/{tenant.realm}"
        if requests.get(address, timeout=30).status_code != requests.codes.not_found:
            yield f"Keycloak realm {tenant.realm}"
