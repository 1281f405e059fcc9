"""Credentials that are replaced or taken back, on real servers: what is dead when, and that nothing is left."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from axon_operator.domain.resources import BINDING, RUNTIME, TENANT, Ref
from bench.bed import Bed
from integration.tenant.conftest import NewTenant
from integration.tenant.house import (
    ALICE,
    IMAGE,
    ISSUED,
    SOURCES,
    House,
    Pod,
    Request,
    furnished,
    seconds_until,
    until,
)
from integration.tenant.test_realm_providers import refuses
from servers.postgres import Postgres

NewHouse = Callable[[], House]
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Held:
    """A credential that somebody has kept."""

    house: House
    source: str
    requests: tuple[Request, ...]
    values: Mapping[str, Any]

    @property
    def dead(self) -> bool:
        """Nobody can use it, whoever has kept it."""
        return self.house.dead(self.source, self.values, self.requests)

    def refused(self, pod: Pod) -> bool:
        """No other one can be fetched in its place."""
        return pod.fetch(self.requests)[0] != 200


def held(house: House, source: str, pod: Pod) -> Held:
    requests = house.requests(source)
    return Held(house, source, requests, pod.values(requests))


@pytest.fixture(scope="module")
def new_house(servers: Bed, postgres: Postgres, new_tenant: NewTenant) -> NewHouse:
    """A tenant with a runtime that has a binding to every source, all delivered."""

    def made() -> House:
        house = furnished(servers, postgres, new_tenant({}), "agent")
        refuses(house.tenant, "ConsentMissing")
        house.grant()
        house.settle()
        return house

    return made


@pytest.fixture(scope="module")
def house(new_house: NewHouse) -> House:
    """One for tests that leave it as they found it."""
    return new_house()


# -- one generation after another


@pytest.mark.parametrize("source", ISSUED)
def test_a_trigger_makes_a_new_credential_beside_the_old_which_dies_after_the_overlap(
    house: House, source: str
) -> None:
    pod = house.pod()
    old, revision = held(house, source, pod), house.config()["revision"]
    house.edit(source, rotation={"overlap": "5m"}, rotationTrigger=f"turn-{time.monotonic_ns()}")
    house.settle()
    assert house.config()["revision"] != revision
    new = held(house, source, pod)
    assert new.requests != old.requests
    assert new.values != old.values
    # a pod that has not taken over yet goes on
    assert not old.dead
    assert not old.refused(pod)
    # a minute less, which a slow machine may take for all this
    house.later(240)
    assert not old.dead
    assert not old.refused(pod)
    took = seconds_until(lambda: old.dead, lambda: house.later(61))
    print(f"{source}: dead {took:.2f} s after the overlap")
    assert old.refused(pod)
    assert not new.dead
    assert not new.refused(pod)
    assert {place.rpartition(".")[2].rstrip("/") for place in house.issues(source)} == {
        new.requests[0].path.rpartition(".")[2]
    }
    house.edit(source, rotation=None)
    house.settle()


@pytest.mark.parametrize("source", ISSUED)
def test_an_interval_does_the_same(house: House, source: str) -> None:
    # the interval counts from this one
    house.edit(source, rotation={"interval": "1h", "overlap": "1m"}, rotationTrigger=f"turn-{time.monotonic_ns()}")
    house.settle()
    pod = house.pod()
    old, told = held(house, source, pod), _status(house, source)
    assert told["nextRotation"] > told["rotatedAt"]
    house.later(3600 * 0.8)
    assert house.requests(source) == old.requests
    house.later(3600 * 0.4)
    new = held(house, source, pod)
    assert new.requests != old.requests
    assert not old.dead
    assert _status(house, source)["rotatedAt"] > told["rotatedAt"]
    house.later(61)
    assert old.dead
    assert old.refused(pod)
    assert not new.dead
    assert not new.refused(pod)
    house.edit(source, rotation=None)
    house.settle()


def test_a_pod_that_has_not_taken_over_keeps_the_old_one_alive(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the overlap is over: the pod still works with it."""
    pod = house.pod()
    old = held(house, "database", pod)
    monkeypatch.setattr(house.tenant.cluster, "_sidecars", lambda: False)
    house.edit("database", rotationTrigger="slow")
    refuses(house.tenant, "pods serve revision")
    house.wait(3600)
    refuses(house.tenant, "pods serve revision")
    assert not old.dead
    assert not old.refused(pod)
    monkeypatch.undo()
    house.settle()
    assert old.dead


def test_real_time_is_enough(house: House) -> None:
    """No clock is moved: an overlap of two seconds."""
    house.edit("database", rotation={"overlap": "2s"})
    house.settle()
    pod = house.pod()
    old = held(house, "database", pod)

    def rotate() -> None:
        house.edit("database", rotationTrigger="real-time")
        until(lambda: old.dead, house.settle)

    took = seconds_until(lambda: old.dead, rotate)
    print(f"database: dead {took:.2f} s after the trigger, with an overlap of 2 s")
    assert took >= 2
    house.edit("database", rotation=None)
    house.settle()


# -- taken back


def test_revoked_and_back(house: House) -> None:
    pod = house.pod()
    olds = {source: held(house, source, pod) for source in SOURCES}
    for source, old in olds.items():
        others = [other for name, other in olds.items() if name != source]

        def gone(old: Held = old) -> bool:
            return (old.source not in ISSUED or old.dead) and old.refused(pod)

        def revoke(source: str = source) -> None:
            house.edit(source, revoked=True)
            house.settle()

        took = seconds_until(gone, revoke)
        print(f"{source}: revoked, dead after {took:.2f} s")
        told = house.binding(source)
        assert (told["Delivered"][:2], told["Ready"][1]) == (("True", "Revoked"), "Revoked")
        assert house.requests(source) == ()
        assert house.issues(source) == []
        # the others go on
        assert [other.source for other in others if other.refused(pod)] == []
        house.edit(source, revoked=False)
        house.settle()
        new = held(house, source, pod)
        if source in ISSUED:
            assert new.values != old.values
            assert source == "generated" or old.dead
        olds[source] = new


@pytest.mark.parametrize("source", SOURCES)
def test_a_binding_is_deleted(house: House, source: str) -> None:
    pod = house.pod()
    old = held(house, source, pod)

    def delete() -> None:
        house.tenant.delete(BINDING, source)
        house.settle()

    took = seconds_until(lambda: (source not in ISSUED or old.dead) and old.refused(pod), delete)
    print(f"{source}: binding deleted, dead after {took:.2f} s")
    assert house.tenant.kube.find(Ref(BINDING, house.tenant.names.namespace, source)) is None
    assert house.issues(source) == []
    assert old.requests[0].path not in house.policy()
    house.bind(source, source)
    house.settle()
    assert held(house, source, pod).requests != ()


def test_a_runtime_is_deleted(new_house: NewHouse) -> None:
    house = new_house()
    pod = house.pod()
    olds = {source: held(house, source, pod) for source in SOURCES}
    names, jwt = house.names(), house.token()
    assert house.accounts()

    def delete() -> None:
        house.tenant.delete(RUNTIME, "agent")
        # its bindings stay and wait for another one of that name
        refuses(house.tenant, "RuntimeNotFound")

    took = seconds_until(lambda: all(olds[s].dead for s in ISSUED) and not pod_may(pod, olds), delete)
    print(f"runtime deleted, all of it dead after {took:.2f} s")
    assert house.bao.log_in(house.home, names.principal, jwt)[0] in {400, 403}
    assert house.remains(names) == []
    assert house.accounts() == set()
    assert house.tenant.kube.find(Ref(RUNTIME, names.namespace, "agent")) is None


def pod_may(pod: Pod, olds: Mapping[str, Held]) -> list[str]:
    return [source for source, old in olds.items() if not old.refused(pod)]


def test_a_tenant_is_suspended_and_resumed(new_house: NewHouse) -> None:
    house = new_house()
    pod = house.pod()
    olds = {source: held(house, source, pod) for source in SOURCES}

    def suspend() -> None:
        house.tenant.edit(TENANT, house.tenant.names.tenant, {"suspended": True})
        house.settle()

    took = seconds_until(lambda: olds["database"].dead and not pod_may(pod, olds), suspend)
    print(f"tenant suspended, all of it dead after {took:.2f} s")
    assert house.login()[0] not in {200, 204}
    assert house.accounts() == set()
    house.tenant.edit(TENANT, house.tenant.names.tenant, {"suspended": False})
    house.settle()
    assert olds["pki"].dead
    assert pod_may(pod, olds) == []
    new = house.pod()
    assert [source for source in SOURCES if new.fetch(house.requests(source))[0] != 200] == []


# -- what a Tenant loses


def test_a_tenant_that_loses_the_role_or_the_database_has_no_accounts(new_house: NewHouse) -> None:
    house = new_house()
    pod = house.pod()
    for lost in ("role", "database"):
        old = held(house, "database", pod)
        if lost == "role":
            house.with_roles()
        else:
            house.hand.declare()
        took = _seconds_until_dead(old, lambda: refuses(house.tenant, "SourceMissing"))
        print(f"{lost} of the Tenant lost: dead after {took:.2f} s")
        _, reason, message = house.binding("database")["Ready"]
        assert reason == "SourceMissing"
        assert "orders" in message
        assert "spec.vault.databases" in message
        refuses(house.tenant, "SourceMissing")
        assert house.issues("database") == []
        assert house.accounts() == set()
        assert house.requests("database") == ()
        # the others go on
        assert pod.fetch(house.requests("kv"))[0] == 200
        house.hand.keep()
        house.with_roles({"name": "reader", "memberOf": [house.readers]})
        house.settle()
        assert not held(house, "database", pod).dead


def test_other_rights_in_the_tenant_are_other_rights_of_the_next_account(house: House, postgres: Postgres) -> None:
    writers = house.readers.replace("readers", "writers")
    postgres.sql(f'CREATE ROLE "{writers}"')
    house.with_roles({"name": "reader", "memberOf": [house.readers, writers]})
    house.settle()
    account = house.pod().values(house.requests("database"))["username"]
    roles = f"SELECT roleid::regrole FROM pg_auth_members WHERE member = '\"{account}\"'::regrole ORDER BY 1"
    assert {line.strip('"') for line in postgres.sql(roles).splitlines()} == {house.readers, writers}
    house.with_roles({"name": "reader", "memberOf": [house.readers]})
    house.settle()


# -- what goes wrong


def test_a_database_that_is_away_holds_up_nothing_else_and_the_account_dies_when_it_is_back(
    house: House, postgres: Postgres
) -> None:
    pod = house.pod()
    old, certificate = held(house, "database", pod), held(house, "pki", pod)
    postgres.stop()
    try:
        house.edit("database", revoked=True)
        house.edit("pki", revoked=True)
        house.admin("POST", "kv/data/org/late", {"data": {"key": "value"}})
        house.bind("late", {"kv": {"path": "late"}})
        refuses(house.tenant, "DatabaseUnreachable")
        until(
            lambda: certificate.dead and house.binding("late")["Ready"][1] == "Ready",
            lambda: refuses(house.tenant, "DatabaseUnreachable"),
        )
        print("runtime:", house.runtime_says()["Withdrawn"], "\nbinding:", house.binding("database")["Ready"])
        assert house.runtime_says()["Withdrawn"][:2] == ("False", "DatabaseUnreachable")
        assert house.binding("database")["Ready"][0] == "False"
        # nothing new is made for it, and its role stays for as long as there is an account
        assert old.refused(pod)
        assert house.issues("database")
        # others are taken back and delivered all the same
        assert pod.fetch(house.requests("late"))[0] == 200
    finally:
        postgres.start()
    took = seconds_until(lambda: old.dead, house.settle)
    print(f"database back: dead after {took:.2f} s")
    assert house.issues("database") == []
    assert house.binding("database")["Ready"][1] == "Revoked"
    for source in ("database", "pki"):
        house.edit(source, revoked=False)
    house.tenant.delete(BINDING, "late")
    house.settle()


def test_an_openbao_that_is_away_is_told_and_everything_dies_when_it_is_back(house: House) -> None:
    pod = house.pod()
    olds = {source: held(house, source, pod) for source in ISSUED}
    with house.without_openbao():
        for source in ISSUED:
            house.edit(source, revoked=True)
        refuses(house.tenant, "VaultUnavailable")
        told = house.binding("database")
        print(told["Ready"])
        assert told["Ready"][:2] == ("False", "VaultUnavailable")
        assert not any(old.dead for old in olds.values())
    took = seconds_until(lambda: all(old.dead for old in olds.values()), house.settle)
    print(f"OpenBao back: dead after {took:.2f} s")
    for source in ISSUED:
        assert house.issues(source) == []
        house.edit(source, revoked=False)
    house.settle()


def test_a_deletion_ends_without_openbao_when_nobody_can_hold_it_and_the_tenant_remembers_it(
    new_house: NewHouse,
) -> None:
    """Not while pods could hold it; and all of it is dead when OpenBao is back, without anybody's doing."""
    house = new_house()
    pod = house.pod()
    deleted = ("database", "pki", "generated", "kv")
    olds = {source: held(house, source, pod) for source in deleted}
    with house.without_openbao():
        for source in deleted:
            house.tenant.delete(BINDING, source)
        refuses(house.tenant, "VaultUnavailable")
        house.wait(10 * DAY)
        refuses(house.tenant, "VaultUnavailable")
        status, reason, message = house.binding("database")["DeletionBlocked"]
        print("with pods:", reason, message)
        assert "suspend the runtime" in message

        house.tenant.edit(RUNTIME, "agent", {"suspended": True})
        refuses(house.tenant, "the deletion ends at")
        house.wait(DAY)
        refuses(house.tenant, "the deletion ends at")
        print("without pods:", house.binding("database")["Withdrawn"])
        house.wait(DAY)
        until(lambda: "Cleared" in house.tenant_says(), lambda: refuses(house.tenant, "VaultUnavailable"))
        until(lambda: not house.tenant.kube.find(house.ref("kv")), lambda: refuses(house.tenant, "VaultUnavailable"))
        refuses(house.tenant, "VaultUnavailable")
        left = [source for source in deleted if house.tenant.kube.find(house.ref(source))]
        assert left == []
        status, reason, message = house.tenant_says()["Cleared"]
        print("the Tenant:", status, reason, message)
        assert (status, reason) == ("False", "LeftBehind")
        assert all(f"{source} of agent" in message for source in deleted)
        # nobody has revoked anything yet
        assert not any(olds[source].dead for source in ("database", "pki", "generated"))
    took = seconds_until(lambda: all(olds[s].dead for s in ("database", "pki", "generated")), house.settle)
    print(f"OpenBao back: dead after {took:.2f} s")
    house.settle()
    assert "Cleared" not in house.tenant_says()
    assert [source for source in deleted if house.issues(source)] == []
    assert [source for source in deleted if not olds[source].refused(pod)] == []


def test_a_role_that_the_database_does_not_have_makes_no_account(house: House) -> None:
    house.with_roles({"name": "reader", "memberOf": ["nobody-made-it"]})
    house.settle()
    status, answer = house.pod().fetch(house.requests("database"))
    print("OpenBao to the pod:", status, answer)
    print("status of the binding:", house.binding("database")["Ready"])
    assert status == 500
    house.with_roles({"name": "reader", "memberOf": [house.readers]})
    house.settle()
    assert house.pod().fetch(house.requests("database"))[0] == 200


def test_a_secret_without_the_key_is_not_opened(house: House) -> None:
    house.admin("POST", "kv/data/org/half", {"data": {"there": "value"}})
    house.bind("half", {"kv": {"path": "half", "keys": ["there", "missing"]}})
    refuses(house.tenant, "SourceMissing")
    assert "missing" in house.binding("half")["Ready"][2]
    assert "org/half" not in house.policy()
    assert house.requests("half") == ()
    house.admin("POST", "kv/data/org/half", {"data": {"there": "value", "missing": "value"}})
    house.settle()
    assert house.pod().fetch(house.requests("half"))[0] == 200
    house.tenant.delete(BINDING, "half")
    house.settle()


# -- consent


def test_a_grant_is_good_from_when_it_is_given_until_it_is_withdrawn(house: House) -> None:
    house.runtime("asking")
    house.bind("asked", "grant", "asking")
    refuses(house.tenant, "ConsentMissing")
    _, reason, message = house.binding("asked")["Ready"]
    assert reason == "ConsentMissing"
    assert "kubectl axon secret allow github/token asking" in message
    assert ALICE in message
    assert "grants/" not in house.policy("asking")
    given = house.grant("asking")
    house.settle()
    pod = house.pod("asking")
    requests = house.requests("asked", "asking")
    assert pod.fetch(requests)[0] == 200
    house.withdraw(given)
    # OpenBao has nothing to give, before the operator knows of it
    assert pod.fetch(requests)[0] == 404
    refuses(house.tenant, "ConsentMissing")
    assert "grants/" not in house.policy("asking")
    assert pod.fetch(requests)[0] == 403
    assert house.requests("asked", "asking") == ()
    house.grant("asking")
    house.settle()
    assert pod.fetch(house.requests("asked", "asking"))[0] == 200
    house.tenant.delete(RUNTIME, "asking")
    house.tenant.delete(BINDING, "asked")
    house.settle()


def test_a_grant_for_another_revision_is_none(house: House) -> None:
    house.runtime("tied")
    house.bind("tied-grant", "grant", "tied")
    refuses(house.tenant, "ConsentMissing")
    house.grant("tied", revision="0123456789ab")
    refuses(house.tenant, "ConsentMissing")
    assert "grants/" not in house.policy("tied")
    house.grant("tied", revision=house.revision("tied"))
    house.settle()
    assert house.pod("tied").fetch(house.requests("tied-grant", "tied"))[0] == 200


def test_another_image_gets_no_grant_that_was_given_to_the_one_before(house: House) -> None:
    """The policy is narrowed before the Deployment is changed, and not changed while OpenBao is away."""
    pod = house.pod("tied")
    requests = house.requests("tied-grant", "tied")
    assert pod.fetch(requests)[0] == 200
    with house.without_openbao():
        house.tenant.edit(RUNTIME, "tied", {"image": "registry.example/agent:2"})
        refuses(house.tenant, "VaultUnavailable")
        assert house.image("tied") == IMAGE
    opened: list[int] = []
    step = house.tenant.cluster.step

    def first_look() -> bool:
        if house.image("tied") != IMAGE:
            opened.append(pod.fetch(requests)[0])
        return step()

    house.tenant.cluster.step = first_look  # type: ignore[method-assign]
    try:
        refuses(house.tenant, "ConsentMissing")
    finally:
        house.tenant.cluster.step = step  # type: ignore[method-assign]
    assert house.image("tied") == "registry.example/agent:2"
    assert opened[0] == 403
    assert "grants/" not in house.policy("tied")
    house.grant("tied", revision=house.revision("tied"))
    house.settle()
    assert pod.fetch(house.requests("tied-grant", "tied"))[0] == 200
    house.tenant.delete(RUNTIME, "tied")
    house.tenant.delete(BINDING, "tied-grant")
    house.settle()


def _seconds_until_dead(old: Held, work: Callable[[], None]) -> float:
    return seconds_until(lambda: old.dead, work)


def _status(house: House, binding: str) -> dict[str, Any]:
    status: dict[str, Any] = house.tenant.kube.get(Ref(BINDING, house.tenant.names.namespace, binding))["status"]
    return status
