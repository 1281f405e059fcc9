"""Of the operator's two pods one leads. When it dies, freezes or is told to go, the other one works on; it never works
beside it."""

import time

import pytest

from e2e.support import operator, samples
from e2e.support.cluster import Cluster, tenant_ref
from e2e.support.duplicates import duplicates
from e2e.support.kubectl import Json
from e2e.support.settings import OPERATOR_NAMESPACE
from e2e.support.tenants import Tenants
from e2e.support.traces import WriteCounter
from e2e.support.waiting import Unmet, until

FOLLOWED_SECONDS = 20
"""From the end of a leader that could not say so (the lease runs 15) until the standby leads; and for it to work."""
HANDED_OVER_SECONDS = 5
"""The same for a leader that was told to go, and gives its lease back."""
FROZEN_SECONDS = 30


@pytest.fixture
def pair(cluster: Cluster) -> tuple[Json, Json]:
    """The pods of the leader and of a standby that is ready."""
    operator.wait_running(cluster)
    leader = operator.pod(cluster)
    (standby,) = (p for p in operator.pods(cluster) if p["metadata"]["uid"] != leader["metadata"]["uid"])
    return leader, standby


def name_of(pod: Json) -> str:
    """The pod's name."""
    return str(pod["metadata"]["name"])


def signal(cluster: Cluster, pod: Json, name: str) -> None:
    """Sends a signal to the operator's process in a pod."""
    process = cluster.node.main_process(operator.container(pod)["containerID"])
    cluster.node.signal(process, name)


def wait_followed(cluster: Cluster, leader: str, standby: Json, began: float, limit: float) -> None:
    """Waits until the standby holds the lease, which must not take longer than the limit."""
    followed = operator.wait_led(cluster, after=leader)
    seconds = time.monotonic() - began
    print(f"{name_of(standby)} leads {seconds:.1f} s later")
    assert name_of(followed) == name_of(standby)
    assert seconds <= limit


def wait_works(cluster: Cluster, tenant: str) -> None:
    """Waits until the operator has made a tenant that was applied while nobody worked."""
    began = time.monotonic()
    cluster.wait_ready(tenant_ref(tenant), timeout=FOLLOWED_SECONDS)
    print(f"{tenant} is Ready {time.monotonic() - began:.1f} s after that")


def restarted(cluster: Cluster, pod: Json) -> None:
    """Waits until the pod's container runs again and is ready."""
    before = int(operator.container(pod)["restartCount"])

    def probe() -> None:
        now = operator.container(cluster.kubectl.need("-n", OPERATOR_NAMESPACE, "pod", name_of(pod)))
        if int(now["restartCount"]) != before + 1 or not now["ready"]:
            raise Unmet(f"{now['restartCount']} restarts, {now['state']}")

    until(f"{name_of(pod)} runs again", probe)


def test_after_kill_9_the_standby_works_and_then_the_restarted_one_again(cluster: Cluster, tenants: Tenants) -> None:
    tenant = tenants.running("heir")
    for _ in range(2):
        operator.wait_running(cluster)
        identity, leader = operator.holder(cluster), operator.pod(cluster)
        (standby,) = (p for p in operator.pods(cluster) if name_of(p) != name_of(leader))
        signal(cluster, leader, "KILL")
        killed, added = time.monotonic(), tenants.name("heir")
        cluster.kubectl.apply(samples.tenant(added))
        wait_followed(cluster, identity, standby, killed, FOLLOWED_SECONDS)
        wait_works(cluster, added)
        restarted(cluster, leader)
    assert duplicates(cluster, tenant) == []


def test_a_frozen_leader_is_followed_and_writes_nothing_when_it_thaws(
    cluster: Cluster, tenants: Tenants, pair: tuple[Json, Json]
) -> None:
    leader, standby = pair
    identity, begun, added = operator.holder(cluster), tenants.name("ice"), tenants.name("ice")
    realms = (f"axon-{begun}", f"axon-{added}", "master")
    work = WriteCounter(cluster, *realms[1:])
    cluster.kubectl.apply(samples.tenant(begun))

    def at_work() -> None:
        if not work.writes():
            raise Unmet("no write yet")

    # in the middle of its work
    until("the leader works", at_work, every=0)
    signal(cluster, leader, "STOP")
    frozen = time.monotonic()
    try:
        cluster.kubectl.apply(samples.tenant(added))
        wait_followed(cluster, identity, standby, frozen, FOLLOWED_SECONDS)
        wait_works(cluster, added)
        cluster.wait_ready(tenant_ref(begun))
        time.sleep(max(0.0, frozen + FROZEN_SECONDS - time.monotonic()))
        after = WriteCounter(cluster, *realms)
    finally:
        signal(cluster, leader, "CONT")
    restarted(cluster, leader)
    assert after.writes_of(leader) == []
    assert name_of(operator.pod(cluster)) == name_of(standby)
    # the search itself tells apart who wrote, in each system
    cluster.keycloak.admin("PUT", f"axon-{added}", body={"registrationAllowed": True})
    cluster.request_reconcile(tenant_ref(added), "drift")

    def told_apart() -> None:
        systems = {write.system for write in work.writes_of(standby)}
        if systems != {"Kubernetes", "OpenBao", "Keycloak"}:
            raise Unmet(f"writes of the standby only in {sorted(systems)}: {work.writes()}")

    until("writes of the standby in each system", told_apart, every=2)


def test_a_leader_that_is_deleted_hands_over(cluster: Cluster, tenants: Tenants, pair: tuple[Json, Json]) -> None:
    leader, _ = pair
    identity = operator.holder(cluster)
    cluster.kubectl("-n", OPERATOR_NAMESPACE, "delete", "pod", name_of(leader), "--wait=false")
    deleted, added = time.monotonic(), tenants.name("bequest")
    # a lease that was given back goes to whoever looks first: the standby, or the pod that replaces the leader's
    followed = operator.wait_led(cluster, after=identity)
    seconds = time.monotonic() - deleted
    print(f"{name_of(followed)} leads {seconds:.1f} s later")
    assert name_of(followed) != name_of(leader)
    assert seconds <= HANDED_OVER_SECONDS
    cluster.kubectl.apply(samples.tenant(added))
    wait_works(cluster, added)
    operator.wait_running(cluster)
