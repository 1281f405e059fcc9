"""Killed at any moment, the operator finishes what it began, and makes nothing twice: the standby goes on with it."""

import os
import random
import secrets
from collections.abc import Iterator
from functools import partial

import pytest

from e2e.support import operator, samples
from e2e.support.cluster import Cluster, binding_ref, runtime_ref, tenant_ref
from e2e.support.duplicates import duplicates
from e2e.support.kubectl import Json
from e2e.support.settings import VAULT_PARENT
from e2e.support.tenants import SECRET_KEY, SECRET_PATH, Tenants
from e2e.support.waiting import Unmet, until

KILLS = 10
LONGEST = 2.5
"""Seconds after an apply within which the kill comes; about as long as the work takes that it starts."""


@pytest.fixture
def seed() -> int:
    """Of the moments; AXON_E2E_SEED repeats those of an earlier run."""
    return int(os.environ.get("AXON_E2E_SEED") or secrets.randbelow(10**6))


def uids(cluster: Cluster) -> set[str]:
    """Of the operator's pods."""
    return {p["metadata"]["uid"] for p in operator.pods(cluster)}


def applies(tenants: Tenants, names: list[str]) -> Iterator[list[Json]]:
    """What the demo applies, piece by piece."""
    cluster = tenants.cluster
    for name in names:
        yield [samples.tenant(name)]
    yield []  # the tenants are still being made
    for name in names:
        until(f"OpenBao's store for {name}", partial(write_secret, tenants, name), timeout=120)
        yield [samples.runtime(name), samples.binding(name)]
    yield []
    for name in names:
        yield [samples.runtime(name, env=[{"name": "ROUND", "value": "2"}])]
    yield [samples.binding(names[0], "second", delivery=samples.file("second.json"))]
    cluster.kubectl("delete", *binding_ref(names[0]).args, "--wait=false")
    yield []


def write_secret(tenants: Tenants, name: str) -> None:
    """Stores the credential, as soon as there is a store."""
    status = tenants.cluster.kubectl.need(*tenant_ref(name).args).get("status", {})
    vault = status.get("vaultNamespace")
    if not vault or not tenants.cluster.openbao.admin("GET", "sys/mounts/kv", namespace=f"{VAULT_PARENT}/{vault}"):
        raise Unmet(f"no store yet: {status}")
    tenants.cluster.write_secret(name, SECRET_PATH, **{SECRET_KEY: tenants.value()})


def test_killed_ten_times_during_the_applies_everything_becomes_ready_and_nothing_is_there_twice(
    cluster: Cluster, tenants: Tenants, seed: int
) -> None:
    names = [tenants.name("crash") for _ in range(2)]
    moments = [round(random.Random(seed).uniform(0, LONGEST), 2) for _ in range(KILLS)]
    pods, before = uids(cluster), operator.restarts(cluster)
    print(f"seed {seed}, kills after {moments} s")
    steps = applies(tenants, names)
    for moment in moments:
        manifests = next(steps)
        if manifests:
            cluster.kubectl.apply(*manifests)
        operator.kill(cluster, moment)
    assert next(steps, None) is None, "an apply without a kill"
    assert uids(cluster) == pods
    assert operator.restarts(cluster) - before == KILLS

    bindings = [binding_ref(names[0], "second"), binding_ref(names[1])]
    cluster.wait_ready(*map(tenant_ref, names), *map(runtime_ref, names), *bindings)
    cluster.wait_gone(binding_ref(names[0]))
    for name in names:
        assert duplicates(cluster, name) == []
