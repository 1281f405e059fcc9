"""What a deletion leaves behind: nothing, what is to be retained, or what was given up; and whose that is."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Terminal
from axon_operator.domain.names import (
    ABANDON_ANNOTATION,
    REALM_CLUSTER_ATTRIBUTE,
    REALM_OWNER_ATTRIBUTE,
    REALM_RETAINED_ATTRIBUTE,
    VAULT_CLUSTER_KEY,
    VAULT_OWNER_KEY,
    VAULT_RETAINED_KEY,
)
from axon_operator.domain.resources import NAMESPACE, TENANT, RealmPath, Ref, VaultPath
from axon_operator.process.events import Note, notes

from .test_passes import ACME, AGENT, BILLING, NAMES, blocked, busy, delete, one_pass, ready, settle, settled, suspend
from .test_sweep import Place, kinds, own_kind
from .world import Crash, World

HOME = VaultPath("", f"sys/namespaces/{NAMES.vault_namespace}")
REALM = RealmPath("axon-acme")
SPACE = Ref(NAMESPACE, "", "axon-acme")
IN_ORDER = (BILLING, AGENT, ACME)


def vault_mark(world: World) -> dict[str, str]:
    mark: dict[str, str] = world.vault[HOME]["custom_metadata"]
    return mark


def realm_mark(world: World) -> dict[str, str]:
    mark: dict[str, str] = world.realms[REALM]["attributes"]
    return mark


# -- marks name the cluster


def test_the_marks_name_the_cluster() -> None:
    world = settled()
    assert vault_mark(world)[VAULT_CLUSTER_KEY] == world.cluster
    assert realm_mark(world)[REALM_CLUSTER_ATTRIBUTE] == world.cluster


def test_marks_of_former_versions_are_completed_by_their_owner() -> None:
    world = settled()
    clean = copy.deepcopy((world.vault, world.realms))
    del vault_mark(world)[VAULT_CLUSTER_KEY], realm_mark(world)[REALM_CLUSTER_ATTRIBUTE]
    settle(world, *IN_ORDER)
    assert (world.vault, world.realms) == clean


def test_what_another_clusters_mark_names_is_not_touched() -> None:
    world = settled()
    vault_mark(world)[VAULT_CLUSTER_KEY] = realm_mark(world)[REALM_CLUSTER_ATTRIBUTE] = "cluster-2"
    world.realms[REALM]["enabled"] = False
    before = copy.deepcopy((world.vault, world.realms))
    settle(world, *IN_ORDER)
    assert (world.vault, world.realms) == before
    assert ready(world, ACME)["reason"] == Reason.NAME_TAKEN


def test_a_deletion_removes_nothing_that_another_clusters_mark_names() -> None:
    world = settled()
    vault_mark(world)[VAULT_CLUSTER_KEY] = realm_mark(world)[REALM_CLUSTER_ATTRIBUTE] = "cluster-2"
    delete(world)
    go(world)
    assert HOME in world.vault
    assert REALM in world.realms
    assert "lost its mark" in (blocked(world) or "")


# -- Retain


def retain(world: World) -> None:
    world.objects[ACME]["spec"]["deletionPolicy"] = "Retain"
    world.objects[ACME]["metadata"]["generation"] += 1


def go(world: World, rounds: int = 12) -> list[Note]:
    """Rounds of passes; returns what is told when the Tenant is gone."""
    told: list[Note] = []
    for _ in range(rounds):
        for ref in IN_ORDER:
            if ref in world.objects:
                done = one_pass(world, ref)
                told += notes(done) if ref == ACME and done.next is None else []
    return told


def retained(fuse: int | None, *orders: Callable[[World], None]) -> tuple[World, list[Note]]:
    world = busy()
    for order in (retain, *orders, delete):
        order(world)
        if order is suspend:
            settle(world, *IN_ORDER)
    world.writes, world.fuse = 0, fuse
    try:
        return world, go(world)
    except Crash:
        return world, go(world)


@pytest.mark.parametrize("orders", [(), (suspend,)])
def test_retain_leaves_data_closed_and_marked_and_nothing_in_kubernetes(orders: tuple[Any, ...]) -> None:
    world, told = retained(None, *orders)
    assert ACME not in world.objects
    assert SPACE not in world.objects
    assert world.vault[HOME]["locked"]
    assert not world.logins
    assert not world.sessions
    assert world.realms[REALM]["enabled"] is False
    assert {vault_mark(world)[VAULT_RETAINED_KEY], realm_mark(world)[REALM_RETAINED_ATTRIBUTE]} == {
        "2026-01-02T00:00:00Z"
    }
    assert {vault_mark(world)[VAULT_OWNER_KEY], realm_mark(world)[REALM_OWNER_ATTRIBUTE]} == {NAMES.uid}
    assert SECRET_STAYS in world.vault
    assert [note.reason for note in told] == [Reason.RETAINED, Reason.RETAINED]
    assert NAMES.vault_namespace in told[0].message
    assert NAMES.realm in told[1].message


SECRET_STAYS = VaultPath(NAMES.vault_namespace, "kv/subkeys/org/billing/stripe")


def test_a_crash_behind_any_write_of_a_retaining_deletion_converges() -> None:
    clean, _ = retained(None)
    for crash_at in range(1, clean.writes + 1):
        world, _ = retained(crash_at)
        assert ACME not in world.objects, f"crash behind write {crash_at}"
        assert (world.vault, world.realms) == (clean.vault, clean.realms), f"crash behind write {crash_at}"
        assert not world.logins
        assert not world.sessions, f"crash behind write {crash_at}"


def test_a_new_tenant_of_that_name_gets_nothing_of_what_was_retained() -> None:
    world, _ = retained(None)
    before = copy.deepcopy((world.vault[HOME], world.realms))
    world.add(own_kind(TENANT, "acme", "uid-second"))
    settle(world, ACME)
    assert ready(world, ACME)["reason"] == Reason.NAME_TAKEN
    assert (world.vault[HOME], world.realms) == before
    delete(world)
    go(world)
    assert ACME not in world.objects
    assert (world.vault[HOME], world.realms) == before


def test_what_is_retained_outlives_the_sweep() -> None:
    world, _ = retained(None)
    place = sweeping(world)
    place.run()
    assert place.run(after=10_000).removed == ()
    assert HOME in world.vault
    assert REALM in world.realms


# -- abandoned systems


def sweeping(world: World) -> Place:
    """A sweep in a cluster where more live than could be lost."""
    for name in ("one", "two"):
        world.add(own_kind(TENANT, name, f"uid-{name}"))
    return Place(world)


def away(world: World, system: str, *, is_away: bool = True) -> None:
    if system == "openbao":
        world.vault_away = is_away
    else:
        world.keycloak_away = is_away


def abandon(world: World, text: str) -> None:
    world.objects[ACME]["metadata"].setdefault("annotations", {})[ABANDON_ANNOTATION] = text


def leaving() -> World:
    world = settled()
    delete(world)
    return world


@pytest.mark.parametrize("system", ["openbao", "keycloak"])
def test_a_deletion_that_a_system_holds_up_says_how_to_go_on_without_it(system: str) -> None:
    world = leaving()
    away(world, system)
    go(world)
    assert f"set the Tenant's annotation {ABANDON_ANNOTATION} to {system}." in (blocked(world) or "")
    assert ACME in world.objects


def test_a_second_system_is_added_to_the_annotation() -> None:
    world = leaving()
    world.vault_away = world.keycloak_away = True
    abandon(world, "openbao")
    go(world)
    assert f"{ABANDON_ANNOTATION} to keycloak,openbao." in (blocked(world) or "")


@pytest.mark.parametrize("text", ["kubernetes", "vault, keycloak", "openbao;keycloak"])
def test_an_annotation_that_names_something_else_is_told_without_being_repeated(text: str) -> None:
    world = leaving()
    world.vault_away = True
    abandon(world, text)
    go(world)
    assert "names something else" in (blocked(world) or "")
    assert text not in (blocked(world) or "")
    assert ACME in world.objects


@pytest.mark.parametrize("system", ["openbao", "keycloak"])
def test_an_abandoned_system_holds_nothing_up_and_the_sweep_removes_the_rest_when_it_is_back(system: str) -> None:
    world = leaving()
    away(world, system)
    abandon(world, system)
    told = go(world)
    assert ACME not in world.objects
    assert [(note.type, note.reason) for note in told] == [("Warning", Reason.ABANDONED)]
    assert (NAMES.vault_namespace if system == "openbao" else NAMES.realm) in told[0].message
    lines = [(change.system, change.target) for _, change, _ in world.audited if change.verb == "abandon"]
    assert lines == [(system, HOME.path if system == "openbao" else NAMES.realm)]
    left = HOME in world.vault, REALM in world.realms, SPACE in world.objects
    assert left == (system == "openbao", system == "keycloak", True)

    place = sweeping(world)
    place.run()
    assert place.run(after=10_000).removed == ()
    away(world, system, is_away=False)
    place.run()
    assert {system, "kubernetes"} == {name for name, _ in kinds(place.run(after=101).removed)}
    assert not world.vault
    assert not world.realms
    assert SPACE not in world.objects


def test_a_system_that_refuses_the_removal_itself_can_be_abandoned() -> None:
    """As OpenBao does while the namespace has children that somebody made in it."""
    world = leaving()
    world.vault_fails[HOME] = Terminal(Reason.REQUEST_REJECTED, "It rejected the request.")
    go(world)
    assert f"annotation {ABANDON_ANNOTATION} to openbao." in (blocked(world) or "")
    abandon(world, "openbao")
    go(world)
    assert ACME not in world.objects
    assert HOME in world.vault
    assert SPACE in world.objects


def test_the_annotation_changes_nothing_while_all_systems_answer() -> None:
    world = busy()
    abandon(world, "openbao,keycloak")
    delete(world)
    assert go(world) == []
    assert ACME not in world.objects
    assert SPACE not in world.objects
    assert not world.vault
    assert not world.realms
    assert not world.logins


def test_what_was_to_be_retained_in_an_abandoned_system_outlives_the_sweep() -> None:
    world = settled()
    retain(world)
    settle(world, *IN_ORDER)
    delete(world)
    abandon(world, "openbao")
    world.vault_away = True
    assert [note.reason for note in go(world)] == [Reason.RETAINED, Reason.ABANDONED]
    world.vault_away = False
    place = sweeping(world)
    place.run()
    assert place.run(after=10_000).removed == ()
    assert HOME in world.vault
    assert REALM in world.realms
