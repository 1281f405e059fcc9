"""Databases of a tenant on a real PostgreSQL: who knows which password when, and what is left behind."""

import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from axon_operator.domain.names import TENANT_LABEL
from axon_operator.domain.resources import SECRET, TENANT, Ref
from bench.bed import Bed
from bench.life import Controllers, Life
from bench.tap import Crash, Tap
from e2e.support.settings import OPERATOR_NAMESPACE
from integration.tenant.conftest import NewTenant, put_secret
from integration.tenant.test_realm_providers import allowing, refuses
from servers.bao import Answer
from servers.postgres import Postgres

HOST = "127.0.0.1"
FIRST = "first-password-of-the-administrator"
CREATION = """CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"""


class Hand:
    """What people do to a tenant's databases, and what they see there."""

    def __init__(self, servers: Bed, postgres: Postgres, tenant: Life) -> None:
        self.servers, self.postgres, self.tenant = servers, postgres, tenant
        self.user = f"axon-{tenant.names.tenant}"
        tenant.settings = tenant.settings.model_copy(update={"database_ca_folder": str(postgres.ca.parent)})
        allowing(tenant, HOST)

    def database(self, name: str = "orders", **more: Any) -> dict[str, Any]:
        declared = {
            "name": name,
            "host": HOST,
            "port": self.postgres.port,
            "database": "postgres",
            "ca": "ca",
            "username": self.user,
            "credentialSecretRef": {"name": self.user},
        }
        return {**declared, **more}

    def declare(self, *databases: dict[str, Any]) -> None:
        self.tenant.edit(TENANT, self.tenant.names.tenant, {"vault": {"databases": list(databases)}})

    def keep(self, password: str = FIRST, *, set_in_database: bool = True) -> None:
        """As the administrator of the database, who also keeps the password for the operator."""
        if set_in_database:
            self.postgres.account(self.user, password)
        put_secret(self.servers, self.tenant.names.tenant, self.user, password, purpose="database")

    @property
    def secret(self) -> Ref:
        return Ref(SECRET, OPERATOR_NAMESPACE, self.user)

    def bao(self, method: str, path: str, body: Any = None) -> Answer:
        return self.servers.bao.as_admin(method, f"axon/{self.tenant.names.vault_namespace}", path, body)

    def account(self, connection: str = "orders") -> tuple[str, str]:
        """Made by OpenBao in the database."""
        role = f"{connection}.reader-1"
        body = {"db_name": connection, "creation_statements": [CREATION], "default_ttl": "1h"}
        assert self.bao("POST", f"database/roles/{role}", body)[0] < 300
        status, answer = self.bao("GET", f"database/creds/{role}")
        assert status == 200, answer
        return answer["data"]["username"], answer["data"]["password"]

    def conditions(self) -> dict[str, tuple[str, str]]:
        live = self.tenant.kube.get(Ref(TENANT, "", self.tenant.names.tenant))
        return {c["type"]: (c["status"], c["reason"]) for c in live["status"]["conditions"]}

    def refused(self, reason: str) -> None:
        """For this reason, and with all else as it should be."""
        refuses(self.tenant, reason)
        told = self.conditions()
        assert told["DatabasesReady"][1] == told["Ready"][1] == reason
        others = {"NamespaceReady", "VaultReady", "IdentityReady", "LoginReady"}
        assert {told[other] for other in others} == {("True", "Ready")}

    def settled(self) -> None:
        """Taken over: only OpenBao knows the password, and nothing more is done."""
        self.tenant.settle(again=True)
        assert self.conditions()["DatabasesReady"] == ("True", "Ready")
        assert not self.postgres.logs_in(self.user, FIRST)
        assert self.tenant.settle(again=True).writes == ()

    def gone(self) -> None:
        """Nothing is left."""
        assert "database/" not in self.bao("GET", "sys/mounts")[1]["data"]
        assert "database/" not in self.leases()
        assert "DatabasesReady" not in self.conditions()
        assert self.tenant.settle(again=True).writes == ()

    def leases(self) -> list[str]:
        status, answer = self.bao("LIST", "sys/leases/lookup")
        return list(answer["data"]["keys"]) if status == 200 else []


NewHand = Callable[[], Hand]


@pytest.fixture(scope="module")
def new_hand(servers: Bed, postgres: Postgres, new_tenant: NewTenant) -> NewHand:
    return lambda: Hand(servers, postgres, new_tenant({}))


@pytest.fixture
def hand(new_hand: NewHand) -> Hand:
    """Of a tenant whose database was taken over."""
    made = new_hand()
    made.keep()
    made.declare(made.database())
    made.settled()
    return made


def test_an_account_becomes_openbaos_alone(hand: Hand, postgres: Postgres) -> None:
    assert postgres.logs_in(*hand.account())
    # nor does a statement show a password to the database
    passwords = re.findall(rf"ALTER ROLE .{hand.user}. WITH PASSWORD '([^']*)", postgres.log.read_text())
    assert len(passwords) == 1
    assert passwords[0].startswith("SCRAM-SHA-256$")
    # what is good for one adoption is not needed any more
    hand.tenant.kube.delete(hand.secret)
    hand.settled()
    assert postgres.logs_in(*hand.account())


def test_a_role_without_the_connections_name_makes_no_account(hand: Hand) -> None:
    body = {"db_name": "orders", "creation_statements": [CREATION]}
    assert hand.bao("POST", "database/roles/mine", body)[0] < 300
    assert hand.bao("GET", "database/creds/mine")[0] == 500


def test_a_changed_secret_is_taken_over_anew_and_a_wrong_one_costs_nothing(hand: Hand, postgres: Postgres) -> None:
    hand.keep("wrong", set_in_database=False)
    hand.refused("DatabaseLoginRefused")
    assert postgres.logs_in(*hand.account())
    hand.keep()
    assert postgres.logs_in(hand.user, FIRST)
    hand.settled()
    assert postgres.logs_in(*hand.account())


def test_a_connection_that_is_lost_needs_a_new_password(hand: Hand, postgres: Postgres) -> None:
    for lost in ("database/config/orders", "sys/mounts/database"):
        assert hand.bao("DELETE", lost)[0] < 300
        hand.refused("DatabaseLoginRefused")
        hand.keep()
        hand.settled()
        assert postgres.logs_in(*hand.account())
        assert hand.bao("POST", "sys/leases/revoke-prefix/database", {"sync": True})[0] < 300


def test_another_account_needs_its_own_secret(hand: Hand, postgres: Postgres) -> None:
    former, hand.user = hand.user, f"{hand.user}-2"
    hand.declare(hand.database(credentialSecretRef={"name": former}))
    hand.refused("DatabaseLoginRefused")
    hand.keep()
    hand.declare(hand.database())
    hand.settled()
    assert postgres.logs_in(*hand.account())


def test_what_is_wrong_is_said_and_ends_when_it_is_set_right(new_hand: NewHand) -> None:
    hand = new_hand()
    allowing(hand.tenant)
    hand.declare(hand.database())
    hand.refused("HostNotAllowed")
    allowing(hand.tenant, HOST)
    hand.refused("CredentialUnusable")
    hand.keep("wrong", set_in_database=False)
    hand.tenant.kube.patch(hand.secret, {"metadata": {"labels": {TENANT_LABEL: "another"}}})
    hand.refused("CredentialUnusable")
    hand.keep("wrong", set_in_database=False)
    hand.refused("DatabaseLoginRefused")
    hand.keep()
    for wrong, reason in (
        ({"database": "none"}, "DatabaseLoginRefused"),
        ({"ca": None}, "DatabaseUntrusted"),
        ({"ca": "missing"}, "DatabaseUntrusted"),
        ({"port": 1}, "DatabaseUnreachable"),
    ):
        hand.declare(hand.database(**wrong))
        hand.refused(reason)
    assert hand.postgres.logs_in(hand.user, FIRST)
    hand.declare(hand.database())
    hand.settled()


def test_one_database_that_is_away_does_not_hold_up_another(new_hand: NewHand, postgres: Postgres) -> None:
    hand = new_hand()
    hand.keep()
    away = [hand.database(f"away-{port}", port=port) for port in range(1, 9)]
    hand.declare(*away, hand.database())
    hand.refused("DatabaseUnreachable")
    assert not postgres.logs_in(hand.user, FIRST)
    assert postgres.logs_in(*hand.account())


def test_a_host_taken_off_the_list_makes_no_more_accounts(hand: Hand, postgres: Postgres) -> None:
    account = hand.account()
    allowing(hand.tenant)
    hand.refused("HostNotAllowed")
    assert hand.bao("GET", "database/creds/orders.reader-1")[0] == 500
    assert postgres.logs_in(*account)
    allowing(hand.tenant, HOST)
    hand.settled()
    assert postgres.logs_in(*hand.account())


def test_what_left_the_spec_is_gone_with_the_accounts_that_it_made(hand: Hand, postgres: Postgres) -> None:
    first = hand.database()
    hand.user = f"{hand.user}-2"
    hand.keep()
    hand.declare(first, hand.database("billing"))
    hand.settled()
    orders, billing = hand.account("orders"), hand.account("billing")
    hand.declare(hand.database("billing"))
    hand.settled()
    assert not postgres.logs_in(*orders)
    assert postgres.logs_in(*billing)
    assert hand.bao("LIST", "database/config")[1]["data"]["keys"] == ["billing"]
    assert hand.bao("LIST", "database/roles")[1]["data"]["keys"] == ["billing.reader-1"]
    hand.declare()
    hand.tenant.settle()
    assert not postgres.logs_in(*billing)
    hand.gone()


def test_a_database_that_is_away_keeps_its_connection_until_its_accounts_are_gone(
    hand: Hand, postgres: Postgres
) -> None:
    account = hand.account()
    postgres.stop()
    try:
        hand.declare()
        hand.refused("DatabaseUnreachable")
        assert "database/" in hand.bao("GET", "sys/mounts")[1]["data"]
    finally:
        postgres.start()
    hand.tenant.settle(again=True)
    assert not postgres.logs_in(*account)
    hand.gone()


def test_a_suspended_tenants_accounts_are_gone(hand: Hand, postgres: Postgres) -> None:
    account = hand.account()
    hand.tenant.edit(TENANT, hand.tenant.names.tenant, {"suspended": True})
    hand.tenant.settle()
    assert not postgres.logs_in(*account)
    assert hand.conditions()["DatabasesReady"] == ("True", "Suspended")
    assert hand.tenant.settle(again=True).writes == ()
    hand.tenant.edit(TENANT, hand.tenant.names.tenant, {"suspended": False})
    hand.settled()
    assert postgres.logs_in(*hand.account())


def test_a_deleted_tenant_takes_its_accounts_along(hand: Hand, postgres: Postgres) -> None:
    account = hand.account()
    hand.tenant.delete(TENANT, hand.tenant.names.tenant)
    hand.tenant.settle()
    assert hand.tenant.state() == {}
    assert not postgres.logs_in(*account)


def test_a_deletion_waits_for_a_database_that_is_away(hand: Hand, postgres: Postgres) -> None:
    account = hand.account()
    postgres.stop()
    try:
        hand.tenant.delete(TENANT, hand.tenant.names.tenant)
        refuses(hand.tenant, "DatabaseUnreachable")
        assert hand.conditions()["DeletionBlocked"] == ("True", "DatabaseUnreachable")
    finally:
        postgres.start()
    hand.tenant.settle()
    assert hand.tenant.state() == {}
    assert not postgres.logs_in(*account)


def test_what_an_administrator_made_is_not_touched(new_hand: NewHand) -> None:
    hand = new_hand()
    hand.keep()
    hand.tenant.settle()
    assert hand.bao("POST", "sys/mounts/database", {"type": "database", "description": "mine"})[0] < 300
    hand.tenant.settle(again=True)
    assert hand.tenant.settle(again=True).writes == ()
    hand.declare(hand.database())
    hand.refused("Conflict")
    assert hand.bao("GET", "sys/mounts/database")[1]["data"]["description"] == "mine"
    assert hand.bao("DELETE", "sys/mounts/database")[0] < 300
    hand.settled()

    by_hand = {
        "plugin_name": "postgresql-database-plugin",
        "connection_url": "postgresql://x",
        "verify_connection": False,
    }
    assert hand.bao("POST", "database/config/mine", by_hand)[0] < 300
    hand.settled()
    hand.declare(hand.database(), hand.database("mine", port=1))
    hand.refused("NameTaken")
    hand.declare()
    hand.tenant.settle()
    assert hand.bao("LIST", "database/config")[1]["data"]["keys"] == ["mine"]
    assert "DatabasesReady" not in hand.conditions()
    assert hand.tenant.settle(again=True).writes == ()


def until_no_crash_happens(hand: Hand, declare: Callable[[], None], check: Callable[[], None]) -> Iterator[int]:
    """The same again and again, with an end of the process behind the first, the second … of its writes."""
    for number in count(1):
        declare()
        try:
            Controllers(hand.tenant, Tap(number)).settle()
        except Crash:
            hand.tenant.settle()
        else:
            return
        check()
        yield number


def test_a_crash_behind_any_write_ends_in_an_account_of_openbaos_alone_and_in_nothing(new_hand: NewHand) -> None:
    hand = new_hand()
    hand.tenant.settle()

    def adopt() -> None:
        hand.declare()
        hand.tenant.settle()
        hand.keep()
        hand.declare(hand.database())

    def adopted() -> None:
        hand.settled()
        assert hand.postgres.logs_in(*hand.account())

    def remove() -> None:
        adopt()
        hand.tenant.settle()
        hand.account()
        hand.declare()

    # the mount, the connection, the change of its password, the mark, and statuses between them
    assert len(list(until_no_crash_happens(hand, adopt, adopted))) >= 5
    # a role, its accounts, the connection, the mount
    assert len(list(until_no_crash_happens(hand, remove, hand.gone))) >= 4
