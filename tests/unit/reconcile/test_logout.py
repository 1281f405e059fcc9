"""Forced logouts: closed first, ended behind that, opened again when no token of before is good any more."""

import datetime
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.domain.names import LOGOUT_KEY, TenantNames
from axon_operator.domain.resources import TENANT, Ref, VaultPath
from axon_operator.reconcile.engine.controller import Controller, Pass
from axon_operator.reconcile.engine.plan import RealmLogout, RealmLogoutUser
from axon_operator.reconcile.tenant import TenantReconciler

from .test_passes import PLATFORM
from .world import Crash, World

ACME = Ref(TENANT, "", "acme")
NAMES = TenantNames("acme", f"uid-{ACME}")
ALICE = "11111111-2222-3333-4444-555555555555"
MOUNT = VaultPath(NAMES.vault_namespace, "sys/auth/keycloak")
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
QUIET = datetime.timedelta(seconds=151)
"""Longer than the two minutes of an access token, and the skew of clocks."""


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime.datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    made = World()
    made.add({"apiVersion": TENANT.api_version, "kind": "Tenant", "metadata": {"name": "acme"}, "spec": {}})
    settle(made, clock)
    made.vault[MOUNT] = {"type": "jwt", "accessor": "acc"}
    made.users["alice"] = ALICE
    return made


def one_pass(world: World, clock: Clock) -> Pass:
    reconciler = TenantReconciler(world.backends, PLATFORM, clock)
    controller = Controller(reconciler, world.backends, resync=300, now=clock, report=_raise, audit=world.audit)
    controller.expire(ACME)
    return controller.run(ACME)


def settle(world: World, clock: Clock) -> list[Pass]:
    passes = []
    for _ in range(20):
        before = world.writes + world.status_writes
        passes.append(one_pass(world, clock))
        if world.writes + world.status_writes == before:
            return passes
    pytest.fail("never settles")


def _raise(error: Exception) -> None:
    raise error


def ask(world: World, *logouts: dict[str, str]) -> None:
    live = world.objects[ACME]
    live["spec"] = {"identity": {"logout": list(logouts)}}
    live["metadata"]["generation"] += 1


def recorded(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.objects[ACME]["status"].get("logouts", [])
    return found


def test_a_user_is_kept_out_until_no_token_of_before_is_good(world: World, clock: Clock) -> None:
    alias = {"name": ALICE, "accessor": "acc"}
    world.entities["e1"] = {"id": "e1", "aliases": [alias], "disabled": False, "metadata": {"team": "a"}}
    ask(world, {"user": "alice", "trigger": "1"})
    settle(world, clock)
    assert world.entities["e1"]["disabled"]
    assert world.entities["e1"]["metadata"] == {"team": "a", LOGOUT_KEY: "1"}
    assert [(r["user"], r["trigger"], r["subject"]) for r in recorded(world)] == [("alice", "1", ALICE)]
    ended = [change for _, change, _ in world.audited if isinstance(change, RealmLogoutUser)]
    settle(world, clock)
    assert ended == [change for _, change, _ in world.audited if isinstance(change, RealmLogoutUser)]

    clock.now += QUIET
    settle(world, clock)
    assert "e1" not in world.entities
    assert recorded(world)[0]["readmittedAt"]


def test_a_token_that_was_never_used_at_openbao_is_kept_out_too(world: World, clock: Clock) -> None:
    ask(world, {"user": "alice", "trigger": "1"})
    settle(world, clock)
    (entity,) = world.entities.values()
    assert entity["disabled"]
    assert [alias["name"] for alias in entity["aliases"]] == [ALICE]
    clock.now += QUIET
    settle(world, clock)
    assert not world.entities


def test_openbao_is_closed_before_the_last_session_ends(world: World, clock: Clock) -> None:
    ask(world, {"user": "alice", "trigger": "1"})
    settle(world, clock)
    told = [change for _, change, _ in world.audited]
    last_end = max(n for n, change in enumerate(told) if isinstance(change, RealmLogoutUser))
    assert max(n for n, change in enumerate(told) if "identity/" in change.target) < last_end


def test_somebody_who_was_banned_by_hand_is_not_readmitted(world: World, clock: Clock) -> None:
    alias = {"name": ALICE, "accessor": "acc"}
    world.entities["e1"] = {"id": "e1", "aliases": [alias], "disabled": True, "metadata": {}}
    ask(world, {"user": "alice", "trigger": "1"})
    settle(world, clock)
    clock.now += QUIET
    settle(world, clock)
    assert world.entities["e1"]["disabled"]
    assert recorded(world)[0]["readmittedAt"]


def test_everybody(world: World, clock: Clock) -> None:
    role = VaultPath(NAMES.vault_namespace, "auth/keycloak/role/user")
    world.vault[role] = {"user_claim": "sub"}
    ask(world, {"user": "*", "trigger": "1"})
    settle(world, clock)
    assert role not in world.vault
    assert any(isinstance(change, RealmLogout) for _, change, _ in world.audited)
    assert recorded(world)[0]["endedAt"]


def test_a_logout_that_left_the_spec_is_still_brought_to_its_end(world: World, clock: Clock) -> None:
    ask(world, {"user": "alice", "trigger": "1"})
    settle(world, clock)
    ask(world)
    settle(world, clock)
    assert world.entities
    clock.now += QUIET
    settle(world, clock)
    assert not world.entities
    assert recorded(world) == []


def test_a_new_trigger_while_still_kept_out_ends_the_sessions_again(world: World, clock: Clock) -> None:
    ask(world, {"user": "alice", "trigger": "1"})
    settle(world, clock)
    clock.now += QUIET / 2
    ask(world, {"user": "alice", "trigger": "2"})
    settle(world, clock)
    assert [r["trigger"] for r in recorded(world)] == ["2"]
    clock.now += QUIET / 2
    settle(world, clock)
    assert world.entities, "opened by the first one's time"


def test_an_unknown_user_is_told_and_holds_nobody_else_up(world: World, clock: Clock) -> None:
    ask(world, {"user": "bob", "trigger": "1"}, {"user": "alice", "trigger": "1"})
    settle(world, clock)
    told = {c["type"]: c for c in world.objects[ACME]["status"]["conditions"]}
    assert told["SessionsEnded"]["reason"] == Reason.USER_NOT_FOUND
    assert "bob" in told["SessionsEnded"]["message"]
    assert [r["user"] for r in recorded(world)] == ["alice"]


def test_a_crash_behind_any_write_ends_the_same(world: World, clock: Clock) -> None:
    ask(world, {"user": "alice", "trigger": "1"})
    for fuse in range(1, 12):
        world.fuse = fuse
        try:
            settle(world, clock)
        except Crash:
            continue
        break
    settle(world, clock)
    (entity,) = world.entities.values()
    assert entity["disabled"]
    assert entity["aliases"]
    assert len(recorded(world)) == 1


def test_it_looks_again_when_the_time_has_come(world: World, clock: Clock) -> None:
    ask(world, {"user": "alice", "trigger": "1"})
    done = settle(world, clock)[-1]
    assert done.next is not None
    assert 120 < done.next.after <= QUIET.total_seconds()
