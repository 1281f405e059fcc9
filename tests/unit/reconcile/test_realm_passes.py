"""The realm's roles, groups, client policies and second factor: passes over a world in memory."""

from typing import Any

import pytest

from axon_operator.domain.names import REALM_OWNER_ATTRIBUTE
from axon_operator.domain.resources import RealmPath
from axon_operator.domain.tenant.realm import users_client

from .test_passes import ACME, NAMES, a_crash_behind_any_write_ends_alike, declare, one_pass, ready, settle
from .world import BROWSER_FLOW, World

REALM = RealmPath(NAMES.realm)
MARK = {REALM_OWNER_ATTRIBUTE: [NAMES.uid]}
IDENTITY = {
    "roles": [{"name": "auditor", "description": "Reads."}, {"name": "operator"}],
    "groups": [{"name": "staff", "roles": ["operator"]}, {"name": "guests"}],
}
SHOWN = (*users_client(NAMES).at.segments, "scope-mappings", "realm")


def at(*segments: str) -> RealmPath:
    return RealmPath(NAMES.realm, segments)


def declared(identity: dict[str, Any]) -> World:
    world = World()
    declare(world, ACME)
    edit(world, identity)
    return world


def edit(world: World, identity: dict[str, Any]) -> None:
    world.objects[ACME]["spec"]["identity"] = identity
    world.objects[ACME]["metadata"]["generation"] += 1


def shown(world: World) -> set[str]:
    return {path.segments[-1] for path in world.realms if path.segments[: len(SHOWN)] == SHOWN}


def roles_of(world: World, group: str) -> set[str]:
    return set(world.realms[at("groups", f"group-{group}")]["realmRoles"])


def settled(identity: dict[str, Any]) -> World:
    world = declared(identity)
    settle(world, ACME)
    assert ready(world, ACME)["status"] == "True"
    return world


def test_roles_and_groups_of_a_new_realm_need_no_further_writes() -> None:
    world = settled({**IDENTITY, "mfa": "None"})
    assert shown(world) == {"auditor", "operator"}
    assert roles_of(world, "staff") == {"operator"}
    assert [change.verb for _, change, _ in world.audited if change.system == "keycloak"] == ["create"]


def test_roles_and_groups_that_come_later_are_given_once_their_ids_are_known() -> None:
    world = settled({})
    edit(world, IDENTITY)
    settle(world, ACME)
    assert ready(world, ACME)["status"] == "True"
    assert shown(world) == {"auditor", "operator"}
    assert roles_of(world, "staff") == {"operator"}
    assert roles_of(world, "guests") == set()


def test_what_left_the_spec_is_deleted_and_what_others_made_stays() -> None:
    world = settled(IDENTITY)
    world.realms[at("roles", "theirs")] = {"id": "role-theirs", "name": "theirs", "attributes": {}}
    world.realms[at("groups", "group-theirs")] = {"id": "group-theirs", "name": "theirs", "realmRoles": ["theirs"]}
    edit(world, {"roles": [{"name": "auditor", "description": "Reads."}]})
    settle(world, ACME)
    assert {p.segments[1] for p in world.realms if p.segments[:1] == ("roles",)} == {"auditor", "theirs"}
    assert {p.segments[1] for p in world.realms if p.segments[:1] == ("groups",)} == {"group-theirs"}
    assert shown(world) == {"auditor"}


def test_a_role_that_others_made_is_neither_changed_nor_given_to_anyone() -> None:
    world = settled({})
    theirs = {"id": "role-operator", "name": "operator", "description": "Theirs.", "attributes": {}}
    world.realms[at("roles", "operator")] = theirs
    edit(world, IDENTITY)
    settle(world, ACME)
    assert ready(world, ACME)["reason"] == "NameTaken"
    assert world.realms[at("roles", "operator")] == theirs
    assert shown(world) == {"auditor"}
    assert roles_of(world, "staff") == set()


def test_a_role_of_an_adopted_realm_is_taken_over() -> None:
    world = settled({})
    ours = {"id": "role-operator", "name": "operator", "attributes": {REALM_OWNER_ATTRIBUTE: ["the lost Tenant's uid"]}}
    world.realms[at("roles", "operator")] = ours
    edit(world, IDENTITY)
    settle(world, ACME)
    assert world.realms[at("roles", "operator")]["attributes"] == {REALM_OWNER_ATTRIBUTE: [NAMES.uid]}


@pytest.mark.parametrize("name", ["a/b", "..", "a/../../master", "%2e%2e", "ä"])
def test_odd_names_with_our_mark_hold_nothing_up(name: str) -> None:
    world = settled(IDENTITY)
    world.realms[at("roles", name)] = {"id": "role-odd", "name": name, "attributes": MARK}
    instances = ("identity-provider", "instances")
    odd = {"alias": name, "config": {REALM_OWNER_ATTRIBUTE: NAMES.uid}}
    world.realms[at(*instances, name)] = odd
    edit(world, {"roles": [{"name": "auditor", "description": "Reads."}]})
    settle(world, ACME)
    # roles go by their ids; a provider has none, so a person has to remove it
    assert {p.segments[1] for p in world.realms if p.segments[:1] == ("roles",)} == {"auditor"}
    told = ready(world, ACME)
    assert (told["status"], told["reason"]) == ("False", "Conflict")
    assert name not in told["message"].removeprefix(f"Realm {NAMES.realm} ")
    del world.realms[at(*instances, name)]
    settle(world, ACME)
    assert ready(world, ACME)["status"] == "True"


def test_a_role_given_by_hand_is_taken_away_again() -> None:
    world = settled(IDENTITY)
    world.realms[at("groups", "group-guests")]["realmRoles"] = ["auditor"]
    world.realms[at(*SHOWN, "theirs")] = {"id": "role-theirs", "name": "theirs"}
    world.realms[at("roles", "theirs")] = {"id": "role-theirs", "name": "theirs"}
    settle(world, ACME)
    assert roles_of(world, "guests") == set()
    assert shown(world) == {"auditor", "operator"}


def test_client_policies_are_set_right_beside_those_of_others() -> None:
    world = settled({})
    realm = world.realms[REALM]
    theirs = {"name": "theirs", "executors": []}
    realm["clientProfiles"] = {"profiles": [theirs]}
    realm["clientPolicies"]["policies"][0]["enabled"] = False
    settle(world, ACME)
    assert [p["name"] for p in world.realms[REALM]["clientProfiles"]["profiles"]] == ["axon", "theirs"]
    assert [p["enabled"] for p in world.realms[REALM]["clientPolicies"]["policies"]] == [True]


def test_the_second_factor_follows_the_spec_both_ways() -> None:
    def asked(world: World) -> tuple[Any, ...]:
        steps = [p for p in world.realms if p.segments[: len(BROWSER_FLOW)] == BROWSER_FLOW]
        action = world.realms[at("authentication", "required-actions", "CONFIGURE_TOTP")]
        return (action["defaultAction"], *(world.realms[p]["requirement"] for p in steps))

    world = settled({})
    assert asked(world) == (True, "REQUIRED", "REQUIRED")
    edit(world, {"mfa": "None"})
    settle(world, ACME)
    assert asked(world) == (False, "CONDITIONAL", "ALTERNATIVE")


def test_a_crash_behind_any_write_ends_in_the_same_realm() -> None:
    def edited() -> World:
        world = settled({})
        edit(world, IDENTITY)
        return world

    a_crash_behind_any_write_ends_alike(edited, 40)


def test_a_pass_over_a_settled_realm_writes_nothing() -> None:
    world = settled(IDENTITY)
    before = world.writes
    one_pass(world, ACME)
    assert world.writes == before
