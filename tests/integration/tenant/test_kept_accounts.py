"""Accounts that a database has already and whose passwords OpenBao keeps, on a real PostgreSQL: who can use which when."""

import pytest

from axon_operator.domain.resources import BINDING, RUNTIME, TENANT, Ref
from bench.bed import Bed
from integration.tenant.conftest import NewTenant
from integration.tenant.house import House, Pod, seconds_until
from integration.tenant.test_realm_providers import refuses
from servers.postgres import Postgres

FIRST = "password-that-people-know"
SOURCE = {"database": {"connection": "orders", "role": "app"}}
ROLE = "database/static-roles/orders.app"
CREDENTIAL = "database/static-creds/orders.app"


class Owner:
    """Who has an account, as the administrator of the database and of the Tenant."""

    def __init__(self, house: House) -> None:
        self.house, self.account = house, f"app-{house.tenant.names.tenant}"
        house.postgres.sql(f"""CREATE ROLE "{self.account}" LOGIN PASSWORD '{FIRST}'""")

    def declare(self, **role: str) -> None:
        """The role, beside another one that makes accounts; without more nothing but the other one."""
        reader = {"name": "reader", "memberOf": [self.house.readers]}
        self.house.with_roles(reader, *([{"name": "app", "account": self.account, **role}] if role else []))

    def good(self, password: str) -> bool:
        return self.house.postgres.logs_in(self.account, password)

    def password(self, pod: Pod, binding: str = "kept", runtime: str = "agent") -> str:
        """As it is delivered."""
        values = pod.values(self.house.requests(binding, runtime))
        assert values["username"] == self.account
        return str(values["password"])

    def delivered(self, binding: str = "kept", runtime: str = "agent") -> str:
        """To a new pod; it is good."""
        password = self.password(self.house.pod(runtime), binding, runtime)
        assert self.good(password)
        return password

    def notes(self) -> list[str]:
        """Who was given the password, as OpenBao has it."""
        listed = self.house.bao.look("LIST", self.house.home, "kv/metadata/accounts") or {}
        return [name.split(".", 2)[2] for name in listed.get("keys") or ()]


@pytest.fixture(scope="module")
def owner(servers: Bed, postgres: Postgres, new_tenant: NewTenant) -> Owner:
    """A tenant with one runtime that is given the account; tests leave it so."""
    house = House(servers, postgres, new_tenant({}))
    house.open()
    made = Owner(house)
    made.declare(account=made.account)
    house.runtime("agent")
    house.bind("kept", SOURCE)
    house.settle()
    return made


def test_the_account_is_taken_over_and_handed_on(owner: Owner) -> None:
    owner.delivered()
    assert not owner.good(FIRST)
    # nor does a statement show a password to the database
    statements = [line for line in owner.house.postgres.log.read_text().splitlines() if owner.account in line]
    changes = [line for line in statements if "statement" not in line.split("ALTER ROLE")[0] or "ALTER ROLE" in line]
    assert any("ALTER ROLE" in line and "SCRAM-SHA-256$" in line for line in changes)
    assert owner.house.tenant.settle(again=True).writes == ()


def test_what_is_revoked_is_dead_and_what_comes_afterwards_is_new(owner: Owner) -> None:
    house, pod = owner.house, owner.house.pod()
    old, requests = owner.delivered(), house.requests("kept")

    def revoke() -> None:
        house.edit("kept", revoked=True)
        house.settle()

    took = seconds_until(lambda: not owner.good(old) and pod.fetch(requests)[0] == 403, revoke)
    print(f"kept account: revoked, dead after {took:.2f} s")
    assert house.binding("kept")["Delivered"][:2] == ("True", "Revoked")
    assert owner.notes() == []
    house.edit("kept", revoked=False)
    house.settle()
    assert owner.delivered() != old


def test_a_binding_and_a_runtime_are_deleted(owner: Owner) -> None:
    house = owner.house
    old = owner.delivered()
    house.tenant.delete(BINDING, "kept")
    house.settle()
    assert not owner.good(old)
    assert house.tenant.kube.find(Ref(BINDING, house.tenant.names.namespace, "kept")) is None
    house.bind("kept", SOURCE)
    house.settle()
    old = owner.delivered()
    house.tenant.delete(RUNTIME, "agent")
    refuses(house.tenant, "RuntimeNotFound")
    assert not owner.good(old)
    assert owner.notes() == []
    house.runtime("agent")
    house.settle()
    owner.delivered()


def test_a_trigger_and_an_interval_change_the_password(owner: Owner) -> None:
    house = owner.house
    old, revision = owner.delivered(), house.config()["revision"]
    house.edit("kept", rotationTrigger="now")
    house.settle()
    new = owner.delivered()
    assert not owner.good(old)
    # another template: the pods fetch it at once
    assert house.config()["revision"] != revision
    house.edit("kept", rotation={"interval": "1h"})
    house.settle()
    assert owner.good(new)
    house.later(3600 * 1.2)
    assert not owner.good(new)
    owner.delivered()
    house.edit("kept", rotation=None)
    house.settle()


def test_another_runtime_goes_on_with_the_next_password_and_one_without_a_binding_reads_none(owner: Owner) -> None:
    house = owner.house
    for runtime in ("second", "stranger"):
        house.runtime(runtime)
    house.bind("shared", SOURCE, "second")
    house.bind("other", {"database": {"connection": "orders", "role": "reader"}}, "stranger")
    house.settle()
    old, revision = owner.delivered("shared", "second"), house.config("second")["revision"]
    assert house.pod("stranger").session.call("GET", CREDENTIAL)[0] == 403
    house.edit("kept", revoked=True)
    house.settle()
    assert not owner.good(old)
    assert owner.delivered("shared", "second") != old
    assert house.config("second")["revision"] != revision
    house.edit("kept", revoked=False)
    for runtime in ("second", "stranger"):
        house.tenant.delete(RUNTIME, runtime)
    for binding in ("shared", "other"):
        house.tenant.delete(BINDING, binding)
    house.settle()


@pytest.mark.parametrize("lost", ["role", "database"])
def test_what_the_tenant_no_longer_names_is_dead(owner: Owner, lost: str) -> None:
    house = owner.house
    old = owner.delivered()
    if lost == "role":
        owner.declare()
    else:
        house.hand.declare()
    refuses(house.tenant, "SourceMissing")
    assert not owner.good(old)
    assert house.bao.look("GET", house.home, ROLE) is None
    assert owner.notes() == []
    assert "static-creds" not in house.policy()
    house.hand.keep()
    owner.declare(account=owner.account)
    house.settle()
    assert owner.delivered() != old


def test_what_is_changed_or_removed_by_hand_is_set_right(owner: Owner) -> None:
    house = owner.house
    planned = house.admin("GET", ROLE)
    for field, value in (
        ("db_name", "other"),
        ("rotation_period", 7200),
        ("rotation_statements", ["SELECT 1"]),
    ):
        house.admin("POST", ROLE, {**planned, field: value})
        house.settle()
        assert house.admin("GET", ROLE)[field] == planned[field]
    house.admin("DELETE", ROLE)
    house.settle()
    owner.delivered()
    # another account under its name
    house.postgres.sql(f'CREATE ROLE "{owner.account}-2" LOGIN')
    house.admin("DELETE", ROLE)
    house.admin("POST", ROLE, {**planned, "username": f"{owner.account}-2"})
    house.settle()
    assert house.admin("GET", ROLE)["username"] == owner.account
    # one that nobody asked for
    house.admin("POST", f"{ROLE}-2", {**planned, "username": f"{owner.account}-2"})
    house.settle()
    assert house.bao.look("GET", house.home, f"{ROLE}-2") is None
    owner.declare(account=owner.account, rotationInterval="2h")
    house.settle()
    assert house.admin("GET", ROLE)["rotation_period"] == 7200
    owner.delivered()


def test_an_account_that_is_not_there_or_may_not_be_changed_is_told(owner: Owner, postgres: Postgres) -> None:
    house = owner.house
    postgres.sql(f"CREATE ROLE \"boss-{owner.account}\" SUPERUSER LOGIN PASSWORD '{FIRST}'")
    owner.declare(account=owner.account)
    house.settle()
    for name in ("nobody-made-it", f"boss-{owner.account}"):
        old = owner.account
        owner.account = name
        owner.declare(account=name)
        refuses(house.tenant, "DatabaseAccountRefused")
        assert house.hand.conditions()["DatabasesReady"][1] == "DatabaseAccountRefused"
        owner.account = old
        owner.declare(account=old)
        house.settle()
    assert postgres.logs_in(f"boss-{owner.account}", FIRST)
    owner.delivered()


def test_a_database_that_is_away_is_waited_for(owner: Owner, postgres: Postgres) -> None:
    house, pod = owner.house, owner.house.pod()
    old, requests = owner.delivered(), house.requests("kept")
    postgres.stop()
    try:
        house.tenant.delete(BINDING, "kept")
        refuses(house.tenant, "DatabaseUnreachable")
        print("runtime:", house.runtime_says()["Withdrawn"], "\nbinding:", house.binding("kept")["Ready"])
        assert house.runtime_says()["Withdrawn"][:2] == ("Unknown", "DatabaseUnreachable")
        assert house.binding("kept")["Ready"][0] == "False"
        assert pod.fetch(requests)[0] == 403
    finally:
        postgres.start()
    took = seconds_until(lambda: not owner.good(old), house.settle)
    print(f"database back: dead after {took:.2f} s")
    assert house.tenant.kube.find(Ref(BINDING, house.tenant.names.namespace, "kept")) is None
    house.bind("kept", SOURCE)
    house.settle()
    owner.delivered()


def test_a_suspended_tenant_and_a_deleted_one_leave_a_password_that_nobody_has(owner: Owner) -> None:
    house, tenant = owner.house, owner.house.tenant
    old = owner.delivered()
    tenant.edit(TENANT, tenant.names.tenant, {"suspended": True})
    house.settle()
    assert not owner.good(old)
    tenant.edit(TENANT, tenant.names.tenant, {"suspended": False})
    house.settle()
    new = owner.delivered()
    assert new != old
    tenant.delete(TENANT, tenant.names.tenant)
    tenant.settle()
    assert not owner.good(new)
