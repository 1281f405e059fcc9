"""The metric of credentials' ends follows the bindings, and nothing else."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.resources import BINDING, RUNTIME, Manifest
from axon_operator.process.expiry import CredentialExpiry


def binding(version: int, name: str = "db", **status: Any) -> Manifest:
    return {
        "apiVersion": BINDING.api_version,
        "kind": BINDING.kind,
        "metadata": {"name": name, "namespace": "axon-acme", "uid": f"uid-{name}", "resourceVersion": str(version)},
        "spec": {"runtimeRef": {"name": "agent"}},
        "status": status,
    }


def shown(metric: CredentialExpiry) -> dict[tuple[str, ...], float]:
    (family,) = metric.collect()
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def following(*, leads: bool = True) -> tuple[Store, CredentialExpiry]:
    store, metric = Store({BINDING: None, RUNTIME: None}), CredentialExpiry()
    metric.follow(store, lambda: leads)
    return store, metric


def test_a_binding_whose_credential_ends_has_a_series_until_it_has_none() -> None:
    store, metric = following()
    store.watched(binding(1))
    assert shown(metric) == {}
    store.watched(binding(2, expiresAt="2026-01-31T10:00:00Z"))
    assert shown(metric) == {("acme", "db"): 1769853600.0}
    store.watched(binding(3, expiresAt="2026-01-31T10:01:00Z"))
    assert shown(metric) == {("acme", "db"): 1769853660.0}
    # revoked, or suspended
    store.watched(binding(4, consumers={"ready": 0, "total": 0}))
    assert shown(metric) == {}


def test_a_series_goes_with_its_binding_and_old_news_does_not_bring_it_back() -> None:
    store, metric = following()
    store.watched(binding(2, expiresAt="2026-01-31T10:00:00Z"))
    store.gone(next(iter(metric._ends)), "uid-db", 3)
    store.watched(binding(2, expiresAt="2026-01-31T10:00:00Z"))
    assert shown(metric) == {}


def test_a_standby_shows_nothing() -> None:
    store, metric = following(leads=False)
    store.watched(binding(2, expiresAt="2026-01-31T10:00:00Z"))
    assert shown(metric) == {}


def test_what_is_exported_is_a_tenant_a_binding_and_a_time() -> None:
    store, metric = following()
    store.watched(binding(2, expiresAt="2026-01-31T10:00:00Z"))
    registry = CollectorRegistry()
    registry.register(metric)
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert lines == [f'{CredentialExpiry.name}{{binding="db",tenant="acme"}} 1.7698536e+09']
