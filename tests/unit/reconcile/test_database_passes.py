"""Databases: when which password is written; passes over a world in memory."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from axon_operator.domain.names import HOST_LABEL, PURPOSE_LABEL, TENANT_LABEL
from axon_operator.domain.resources import SECRET, Ref, VaultPath

from . import test_glance, test_passes
from .test_glance import Process
from .test_passes import ACME, NAMES, declare, one_pass, ready, settle
from .world import Crash, World

HOST = "db.acme.example"
FIRST = "first-password"
ORDERS = {
    "name": "orders",
    "host": HOST,
    "database": "orders",
    "username": "axon",
    "credentialSecretRef": {"name": "orders"},
}
CONNECTION = VaultPath(NAMES.vault_namespace, "database/config/orders")
MOUNT = VaultPath(NAMES.vault_namespace, "sys/mounts/database")


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    allowing = replace(test_passes.PLATFORM, allowed_hosts=(HOST,))
    for module in (test_passes, test_glance):
        monkeypatch.setattr(module, "PLATFORM", allowing)


def keep(
    world: World, password: str = FIRST, *, version: str = "1", tenant: str = "acme", name: str = "orders"
) -> None:
    """A Secret of the administrator."""
    labels = {TENANT_LABEL: tenant, HOST_LABEL: HOST, PURPOSE_LABEL: "database"}
    metadata = {"uid": f"uid-{name}", "resourceVersion": version, "labels": labels}
    data = {"credential": base64.b64encode(password.encode()).decode()}
    world.objects[Ref(SECRET, "axon-system", name)] = {"kind": "Secret", "metadata": metadata, "data": data}


def ask_for(world: World, *databases: dict[str, Any]) -> None:
    world.objects[ACME]["spec"]["vault"] = {"databases": list(databases)}
    world.objects[ACME]["metadata"]["generation"] += 1


def declared() -> World:
    world = World()
    declare(world, ACME)
    ask_for(world, ORDERS)
    world.accounts["axon"] = FIRST
    keep(world)
    return world


def adopted() -> World:
    world = declared()
    settle(world, ACME)
    assert told(world) == ("True", "Ready")
    return world


def told(world: World) -> tuple[str, str] | None:
    conditions = world.objects[ACME]["status"]["conditions"]
    return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "DatabasesReady"), None)


def verbs(world: World) -> list[str]:
    """Of what was done to the connection, that went well."""
    return [c.verb for _, c, outcome in world.audited if c.target == str(CONNECTION) and outcome == "ok"]


def is_openbaos_alone(world: World) -> bool:
    known: str = world.vault[CONNECTION]["password"]
    return known == world.accounts["axon"] and known.startswith("only-openbao-knows")


def test_an_account_is_taken_over_once_and_then_left_alone() -> None:
    world = adopted()
    assert verbs(world) == ["write-credential", "rotate", "write"]
    assert is_openbaos_alone(world)
    before = world.writes
    one_pass(world, ACME)
    assert world.writes == before


def test_no_value_is_in_what_is_told() -> None:
    world = adopted()
    seen = [(str(change), change.target, outcome) for _, change, outcome in world.audited]
    assert FIRST not in repr((seen, world.objects[ACME]))


def crashes() -> Iterator[World]:
    """Worlds in which the process died behind one write after the other."""
    for fuse in range(1, 60):
        world = declared()
        world.fuse = fuse
        try:
            settle(world, ACME)
        except Crash:
            yield world
        else:
            return
    pytest.fail("more writes than expected")


def test_a_crash_behind_any_write_locks_nobody_out() -> None:
    seen = list(crashes())
    assert len(seen) > 5
    for world in seen:
        connection = world.vault.get(CONNECTION)
        assert connection is None or connection["password"] == world.accounts["axon"]
        settle(world, ACME)
        assert told(world) == ("True", "Ready")
        assert is_openbaos_alone(world)


def test_a_secret_that_changed_is_taken_over_anew_even_if_the_process_dies_in_between() -> None:
    for fuse in range(1, 4):
        world = adopted()
        world.accounts["axon"] = "second"
        keep(world, "second", version="2")
        world.fuse = fuse
        with pytest.raises(Crash):
            settle(world, ACME)
        settle(world, ACME)
        assert told(world) == ("True", "Ready")
        assert is_openbaos_alone(world)


def test_a_secret_that_was_only_touched_costs_nothing_but_is_told() -> None:
    world = adopted()
    keep(world, version="2")
    settle(world, ACME)
    assert told(world) == ("False", "DatabaseLoginRefused")
    assert is_openbaos_alone(world)


def test_a_password_that_openbao_lost_while_it_changed_it_is_told_and_handed_over_anew() -> None:
    world = adopted()
    world.vault[CONNECTION]["axon_rotated"] = ""
    world.accounts["axon"] = "known to nobody"
    settle(world, ACME)
    assert told(world) == ("False", "DatabaseLoginRefused")
    assert verbs(world).count("write-credential") == 1
    world.accounts["axon"] = "second"
    keep(world, "second", version="2")
    settle(world, ACME)
    assert told(world) == ("True", "Ready")
    assert is_openbaos_alone(world)


def test_the_password_is_changed_again_when_its_time_is_over() -> None:
    world = adopted()
    before = world.accounts["axon"]
    for mark, changes in (("2999-01-01T00:00:00Z", 0), ("2020-01-01T00:00:00Z", 1), ("by hand", 1), ("2020-01-01", 1)):
        world.vault[CONNECTION]["axon_rotated_at"] = mark
        settle(world, ACME)
        assert (world.accounts["axon"] != before) is bool(changes), mark
        assert world.vault[CONNECTION]["axon_rotated_at"] == mark or changes
        before = world.accounts["axon"]
    assert told(world) == ("True", "Ready")
    assert is_openbaos_alone(world)


def test_a_secret_is_not_needed_any_more() -> None:
    world = adopted()
    del world.objects[Ref(SECRET, "axon-system", "orders")]
    before = world.writes
    settle(world, ACME)
    assert world.writes == before
    # nor for what is set right without a password
    world.vault[CONNECTION]["connection_url"] = "postgresql://elsewhere"
    settle(world, ACME)
    assert HOST in world.vault[CONNECTION]["connection_url"]
    assert is_openbaos_alone(world)


def test_drift_is_healed_although_the_secret_is_not_for_this_any_more() -> None:
    world = adopted()
    keep(world, tenant="globex")
    world.vault[CONNECTION]["allowed_roles"] = ["*"]
    settle(world, ACME)
    assert world.vault[CONNECTION]["allowed_roles"] == ["orders.*"]
    assert told(world) == ("False", "CredentialUnusable")
    assert verbs(world).count("write-credential") == 1


@pytest.mark.parametrize("changed", [{"port": 6432}, {"database": "other"}, {"ca": "corp"}])
def test_another_way_to_the_same_account_needs_no_password(changed: dict[str, Any]) -> None:
    world = adopted()
    ask_for(world, {**ORDERS, **changed})
    settle(world, ACME)
    assert told(world) == ("True", "Ready")
    assert is_openbaos_alone(world)
    assert verbs(world).count("write-credential") == 1


@pytest.mark.parametrize("changed", [{"host": "db2.acme.example"}, {"username": "other"}])
def test_a_password_is_shown_to_no_other_host_and_used_for_no_other_account(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    world = adopted()
    both = replace(test_passes.PLATFORM, allowed_hosts=(HOST, "db2.acme.example"))
    monkeypatch.setattr(test_passes, "PLATFORM", both)
    del world.objects[Ref(SECRET, "axon-system", "orders")]
    before = dict(world.vault[CONNECTION])
    ask_for(world, {**ORDERS, **changed})
    settle(world, ACME)
    assert told(world) == ("False", "CredentialUnusable")
    assert world.vault[CONNECTION] == before


def test_another_tenants_secret_keeps_only_the_database_from_being_made() -> None:
    world = declared()
    keep(world, tenant="globex")
    settle(world, ACME)
    assert told(world) == ("False", "CredentialUnusable")
    assert CONNECTION not in world.vault
    others = [c for c in world.objects[ACME]["status"]["conditions"] if c["type"] in {"VaultReady", "LoginReady"}]
    assert [c["status"] for c in others] == ["True", "True"]
    assert world.accounts["axon"] == FIRST


def test_one_database_does_not_hold_up_another() -> None:
    world = declared()
    ask_for(world, {**ORDERS, "name": "aaa", "username": "nobody"}, ORDERS)
    settle(world, ACME)
    assert told(world) == ("False", "DatabaseLoginRefused")
    assert is_openbaos_alone(world)


def test_a_host_taken_off_the_list_closes_the_connection_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    world = adopted()
    done = verbs(world)
    monkeypatch.setattr(test_passes, "PLATFORM", replace(test_passes.PLATFORM, allowed_hosts=()))
    settle(world, ACME)
    assert ready(world, ACME)["reason"] == "HostNotAllowed"
    assert world.vault[CONNECTION]["allowed_roles"] == []
    assert verbs(world) == [*done, "write"]


def test_what_left_the_spec_goes_behind_the_accounts_that_it_made() -> None:
    world = adopted()
    keep(world, "b", name="billing")
    world.accounts["billing"] = "b"
    ask_for(
        world, ORDERS, {**ORDERS, "name": "billing", "username": "billing", "credentialSecretRef": {"name": "billing"}}
    )
    settle(world, ACME)
    roles = {
        name: VaultPath(NAMES.vault_namespace, f"database/roles/{name}.reader-1") for name in ("orders", "billing")
    }
    for name, at in roles.items():
        world.vault[at] = {"db_name": name}
        world.made.add(f"{name}.reader-1")
    ask_for(world, {**ORDERS, "name": "billing", "username": "billing", "credentialSecretRef": {"name": "billing"}})
    settle(world, ACME)
    assert world.made == {"billing.reader-1"}
    assert CONNECTION not in world.vault
    assert (roles["orders"] in world.vault, roles["billing"] in world.vault) == (False, True)
    ask_for(world)
    settle(world, ACME)
    assert not world.made
    assert not [at for at in world.vault if "database" in at.path]
    assert told(world) is None


def test_what_an_administrator_made_is_not_touched() -> None:
    world = adopted()
    mine = VaultPath(NAMES.vault_namespace, "database/config/mine")
    world.vault[mine] = {"username": "mine", "allowed_roles": ["*"]}
    ask_for(world, ORDERS, {**ORDERS, "name": "mine", "port": 1})
    settle(world, ACME)
    assert told(world) == ("False", "NameTaken")
    ask_for(world)
    settle(world, ACME)
    assert [at for at in world.vault if at.path.startswith("database/")] == [mine]
    assert told(world) is None
    before = world.writes
    settle(world, ACME)
    assert world.writes == before


@pytest.mark.parametrize("asked", [(), (ORDERS,)])
def test_a_mount_of_others_is_not_touched(asked: tuple[dict[str, Any], ...]) -> None:
    world = declared()
    settle(world, ACME)
    world.vault[MOUNT] = {"type": "database", "description": "mine"}
    ask_for(world, *asked)
    settle(world, ACME)
    assert world.vault[MOUNT]["description"] == "mine"
    assert told(world) == (("False", "Conflict") if asked else None)


def test_a_settled_tenant_with_databases_costs_no_call() -> None:
    world = declared()
    process = Process(world)
    for _ in range(12):
        process.look(ACME)
    assert told(world) == ("True", "Ready")
    process.asked.clear()
    process.look(ACME)
    assert not process.asked


# -- accounts that there are already


KEPT = VaultPath(NAMES.vault_namespace, "database/static-roles/orders.app")
WITH_ACCOUNT: dict[str, Any] = {**ORDERS, "roles": [{"name": "app", "account": "app_rw"}]}


def keeping() -> World:
    world = declared()
    world.accounts["app_rw"] = "known to people"
    ask_for(world, WITH_ACCOUNT)
    return world


def kept() -> World:
    world = keeping()
    settle(world, ACME)
    assert told(world) == ("True", "Ready")
    assert world.accounts["app_rw"] == "changed-1"
    return world


def test_an_account_is_kept_as_soon_as_the_connection_is_openbaos_alone() -> None:
    world = kept()
    before = world.writes
    one_pass(world, ACME)
    assert world.writes == before
    assert world.accounts["app_rw"] == "changed-1"


def test_a_crash_behind_any_write_keeps_the_account() -> None:
    for fuse in range(1, 60):
        world = keeping()
        world.fuse = fuse
        try:
            settle(world, ACME)
        except Crash:
            settle(world, ACME)
            assert told(world) == ("True", "Ready")
            assert world.accounts["app_rw"].startswith("changed")
        else:
            return
    pytest.fail("more writes than expected")


@pytest.mark.parametrize(
    ("field", "value"), [("db_name", "other"), ("rotation_period", 1), ("rotation_statements", ["SELECT 1"])]
)
def test_an_account_that_was_changed_by_hand_is_set_right_without_another_password(field: str, value: object) -> None:
    world = kept()
    world.vault[KEPT][field] = value
    settle(world, ACME)
    assert world.vault[KEPT][field] != value
    assert world.accounts["app_rw"] == "changed-1"


@pytest.mark.parametrize("role", [None, {"name": "app", "account": "other_rw"}, {"name": "app", "memberOf": ["r"]}])
def test_an_account_that_is_not_asked_for_any_more_has_a_password_that_nobody_was_given(
    role: dict[str, Any] | None,
) -> None:
    for fuse in (None, 1, 2, 3):
        world = kept()
        world.accounts["other_rw"] = "first"
        ask_for(world, {**ORDERS, "roles": [role] if role else []})
        world.fuse = fuse
        try:
            settle(world, ACME)
        except Crash:
            settle(world, ACME)
        assert told(world) == ("True", "Ready")
        assert world.accounts["app_rw"] not in {"known to people", "changed-1"}
        assert (KEPT in world.vault) == (role is not None and "account" in role)
        assert KEPT not in world.vault or world.vault[KEPT]["username"] == "other_rw"


def test_one_that_nobody_asked_for_goes() -> None:
    world = kept()
    world.accounts["mine"] = "mine"
    by_hand = VaultPath(NAMES.vault_namespace, "database/static-roles/orders.mine")
    world.vault[by_hand] = {**world.vault[KEPT], "username": "mine"}
    elsewhere = VaultPath(NAMES.vault_namespace, "database/static-roles/other.mine")
    world.vault[elsewhere] = {**world.vault[KEPT], "username": "mine"}
    settle(world, ACME)
    assert by_hand not in world.vault
    assert elsewhere in world.vault


def test_two_entries_that_name_one_account_are_told() -> None:
    world = kept()
    keep(world, "b", name="billing")
    world.accounts["billing"] = "b"
    other = {**WITH_ACCOUNT, "name": "billing", "username": "billing", "credentialSecretRef": {"name": "billing"}}
    for roles in ([{"name": "x", "account": "app_rw"}], [{"name": "x", "account": "axon"}]):
        ask_for(world, WITH_ACCOUNT, {**other, "roles": roles})
        settle(world, ACME)
        assert told(world) == ("False", "InvalidSpec")
        assert VaultPath(NAMES.vault_namespace, "database/static-roles/billing.x") not in world.vault
        assert (KEPT in world.vault, world.accounts["app_rw"]) == (True, "changed-1")
    ask_for(world, WITH_ACCOUNT, {**other, "roles": [{"name": "x", "account": "other_rw"}]})
    world.accounts["other_rw"] = "first"
    settle(world, ACME)
    assert told(world) == ("True", "Ready")


def test_the_connection_goes_behind_its_accounts() -> None:
    world = kept()
    world.database_away.add("orders")
    ask_for(world)
    settle(world, ACME)
    assert CONNECTION in world.vault
    assert KEPT in world.vault
    world.database_away.clear()
    settle(world, ACME)
    assert not [at for at in world.vault if "database" in at.path]
    assert world.accounts["app_rw"] == "changed-2"


def test_a_suspended_tenants_account_has_another_password_and_is_kept_again_afterwards() -> None:
    world = kept()
    world.objects[ACME]["spec"]["suspended"] = True
    world.objects[ACME]["metadata"]["generation"] += 1
    settle(world, ACME)
    assert world.accounts["app_rw"] == "changed-2"
    assert KEPT not in world.vault
    world.objects[ACME]["spec"]["suspended"] = False
    world.objects[ACME]["metadata"]["generation"] += 1
    settle(world, ACME)
    assert (told(world), world.accounts["app_rw"]) == (("True", "Ready"), "changed-3")


def test_an_account_that_the_database_does_not_have_is_told_and_holds_up_no_other() -> None:
    world = keeping()
    roles = [{"name": "none", "account": "nobody"}, *WITH_ACCOUNT["roles"]]
    ask_for(world, {**ORDERS, "roles": roles})
    settle(world, ACME)
    assert told(world) == ("False", "DatabaseAccountRefused")
    assert world.accounts["app_rw"] == "changed-1"
