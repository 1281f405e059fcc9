"""Accounts of a runtime in a real PostgreSQL: what they may do, and that their end is the end of all of it."""

import time
from collections.abc import Iterator

import pytest

from integration.openbao.accounts import OWN, Accounts
from servers.postgres import Postgres

BYSTANDER = ("bystander", "password")
HEIR = "orders_writer"  # of the account's roles the one that may make something in the schema
CROWD = 8


@pytest.fixture
def bystander(postgres: Postgres) -> Iterator[tuple[str, str]]:
    """Another account of the server, without any role."""
    name, password = BYSTANDER
    postgres.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    yield BYSTANDER
    postgres.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{name}'")
    postgres.sql(f"DROP ROLE {name}")


@pytest.fixture
def stolen(postgres: Postgres) -> Iterator[str]:
    """Whether an attack has made a role."""
    yield "SELECT count(*) FROM pg_roles WHERE rolname = 'stolen'"
    postgres.sql("DROP ROLE IF EXISTS stolen")


@pytest.fixture
def ledger(accounts: Accounts, postgres: Postgres) -> Iterator[None]:
    """A table that the connection's account may read, and accounts may not."""
    postgres.sql(f"CREATE TABLE ledger AS SELECT 7 AS id; GRANT SELECT ON ledger TO {OWN}")
    yield
    postgres.sql("DROP TABLE ledger CASCADE")


def test_an_account_may_do_what_its_roles_may_and_nothing_else(accounts: Accounts, postgres: Postgres) -> None:
    account = accounts.make()
    assert postgres.tries(*account, "SELECT id FROM orders") == "7"
    for statement in (
        "INSERT INTO orders VALUES (8)",
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        f"ALTER ROLE {OWN} PASSWORD 'mine'",
        f"SET ROLE {OWN}",
        "SELECT * FROM pg_authid",
    ):
        assert "ERROR" in postgres.tries(*account, statement), statement


def test_a_revoked_account_is_gone_with_its_sessions_and_what_it_owned_stays(
    accounts: Accounts, postgres: Postgres
) -> None:
    account, other = accounts.make(), accounts.make()
    query = "BEGIN; LOCK TABLE mine; SELECT pg_sleep(60)"
    assert postgres.tries(*account, "CREATE TABLE mine AS SELECT 1") == ""
    session = postgres.session(*account, query)
    accounts.wait(query)
    accounts.revoke()
    assert "terminating connection" in session.communicate(timeout=10)[0]
    assert accounts.left() == ()
    for name, password in (account, other):
        assert accounts.known(name) == ""
        assert not postgres.logs_in(name, password)
    assert postgres.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'mine'") == HEIR
    # the next account goes on with it
    assert postgres.tries(*accounts.make(), "INSERT INTO mine VALUES (2); SELECT count(*) FROM mine") == "2"


def test_what_an_account_owned_goes_to_no_role_that_could_not_have_made_it(
    accounts: Accounts, postgres: Postgres
) -> None:
    """It could make things by a right of its own, which none of its roles has."""
    name, password = accounts.make()
    postgres.sql(f'CREATE SCHEMA private; GRANT ALL ON SCHEMA private TO "{name}"')
    assert postgres.tries(name, password, "CREATE TABLE private.mine AS SELECT 1") == ""
    accounts.revoke()
    assert accounts.left() == ()
    assert accounts.known(name) == "f|0"
    assert postgres.sql("SELECT tableowner FROM pg_tables WHERE schemaname = 'private'") == name
    postgres.sql(f'DROP SCHEMA private CASCADE; DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def test_an_account_that_cannot_go_has_no_login_and_no_role(
    accounts: Accounts, postgres: Postgres, bystander: tuple[str, str]
) -> None:
    """Somebody else reads a table of its, which so can be given to nobody."""
    name, password = accounts.make()
    query = "BEGIN; SELECT * FROM held; SELECT pg_sleep(60)"
    assert postgres.tries(name, password, "CREATE TABLE held AS SELECT 1; GRANT SELECT ON held TO PUBLIC") == ""
    reader, session = postgres.session(*bystander, query), postgres.session(name, password, "SELECT pg_sleep(59)")
    accounts.wait(query)
    accounts.wait("SELECT pg_sleep(59)")
    accounts.revoke()
    assert "terminating connection" in session.communicate(timeout=10)[0]
    assert accounts.left() == ()
    assert accounts.known(name) == "f|0"
    assert not postgres.logs_in(name, password)
    reader.kill()
    postgres.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{bystander[0]}'")
    postgres.sql(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def test_tables_that_are_read_do_not_hold_up_the_end_of_many_accounts(
    accounts: Accounts, postgres: Postgres, bystander: tuple[str, str]
) -> None:
    made = [accounts.make() for _ in range(CROWD)]
    for number, account in enumerate(made):
        table = f"CREATE TABLE held{number} AS SELECT 1; GRANT SELECT ON held{number} TO PUBLIC"
        assert postgres.tries(*account, table) == ""
    query = f"BEGIN; SELECT * FROM {', '.join(f'held{number}' for number in range(CROWD))}; SELECT pg_sleep(60)"
    reader = postgres.session(*bystander, query)
    accounts.wait(query)
    started = time.monotonic()
    accounts.revoke()
    took = time.monotonic() - started
    print(f"{CROWD} accounts whose tables are read were revoked after {took:.2f} s")
    assert accounts.left() == ()
    assert [accounts.known(name) for name, _ in made] == ["f|0"] * CROWD
    assert took < CROWD * 0.3
    reader.kill()
    postgres.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{bystander[0]}'")
    for name, _ in made:
        postgres.sql(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def test_an_account_that_may_make_roles_inherits_nothing_and_its_members_end_all_the_same(
    accounts: Accounts, postgres: Postgres
) -> None:
    """The connection's own account and another one, of which the account was made a member."""
    postgres.sql(f"CREATE ROLE a_maker CREATEROLE; GRANT CREATE ON SCHEMA public TO a_maker, {OWN}")
    (name, password), other, empty = (accounts.make() for _ in range(3))
    postgres.sql(f'GRANT {OWN}, a_maker TO "{name}"; GRANT a_maker TO "{other[0]}"; GRANT {OWN} TO "{empty[0]}"')
    assert postgres.tries(name, password, "CREATE TABLE kept AS SELECT 1") == ""
    assert postgres.tries(*other, "CREATE TABLE mine AS SELECT 1") == ""
    session = postgres.session(name, password, "SELECT pg_sleep(63)")
    accounts.wait("SELECT pg_sleep(63)")
    accounts.revoke()
    assert "terminating connection" in session.communicate(timeout=10)[0]
    assert [accounts.known(account) for account in (name, other[0], empty[0])] == ["f|0", "", ""]
    owners = "SELECT tableowner FROM pg_tables WHERE tablename IN ('kept', 'mine') ORDER BY tablename"
    assert postgres.sql(owners).splitlines() == [name, HEIR]
    postgres.sql(f'DROP OWNED BY "{name}", a_maker; DROP ROLE "{name}", a_maker')


def test_a_role_that_somebody_else_granted_does_not_keep_an_account_alive(
    accounts: Accounts, postgres: Postgres
) -> None:
    name, password = accounts.make()
    postgres.sql(f'CREATE ROLE boss SUPERUSER; GRANT boss TO "{name}"')
    accounts.revoke()
    assert accounts.left() == ()
    assert accounts.known(name) == ""
    assert not postgres.logs_in(name, password)
    postgres.sql("DROP ROLE boss")


def test_a_function_that_an_account_left_behind_has_the_rights_of_its_caller(
    accounts: Accounts, postgres: Postgres, bystander: tuple[str, str], stolen: str
) -> None:
    """With those of the connection's account it would make roles, with those of a role read what its members may."""
    postgres.sql(f"GRANT CREATE ON SCHEMA public TO {OWN}")
    name, password = accounts.make()
    definer = "LANGUAGE plpgsql SECURITY DEFINER AS"
    for made in (
        f"CREATE FUNCTION become() RETURNS void {definer} $$ BEGIN CREATE ROLE stolen; END $$",
        f"CREATE PROCEDURE act(a int, b text) {definer} $$ BEGIN CREATE ROLE stolen; END $$",
        f"CREATE FUNCTION peek() RETURNS int {definer} $$ BEGIN RETURN (SELECT id FROM orders); END $$",
    ):
        assert postgres.tries(name, password, made) == ""
    assert postgres.tries(*bystander, "SELECT peek()") == "7"
    accounts.revoke()
    for caller in (bystander, accounts.make()):
        for attack in ("SELECT become()", "CALL act(1, 'x')"):
            assert "permission denied to create role" in postgres.tries(*caller, attack), attack
    assert postgres.sql(stolen) == "0"
    assert "permission denied for table orders" in postgres.tries(*bystander, "SELECT peek()")
    left = (
        "SELECT DISTINCT pg_get_userbyid(proowner), prosecdef FROM pg_proc WHERE proname IN ('become', 'peek', 'act')"
    )
    assert postgres.sql(left) == f"{HEIR}|f"
    assert accounts.known(name) == ""


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("trap", "attack"),
    [
        ("CREATE VIEW trap AS SELECT * FROM ledger; GRANT ALL ON trap TO PUBLIC", "SELECT * FROM trap"),
        ("CREATE VIEW trap AS SELECT * FROM orders; GRANT ALL ON trap TO PUBLIC", "SELECT * FROM trap"),
        (
            "CREATE TABLE trap (id int); GRANT ALL ON trap TO PUBLIC;"
            " CREATE RULE leak AS ON INSERT TO trap DO INSTEAD SELECT * FROM ledger",
            "INSERT INTO trap VALUES (1)",
        ),
        (
            "CREATE TABLE trap (id int); GRANT ALL ON trap TO PUBLIC;"
            " CREATE RULE leak AS ON INSERT TO trap DO INSTEAD SELECT * FROM orders",
            "INSERT INTO trap VALUES (1)",
        ),
    ],
)
def test_a_view_or_rule_that_an_account_left_behind_shows_nothing_that_its_caller_may_not_see(
    accounts: Accounts, postgres: Postgres, bystander: tuple[str, str], trap: str, attack: str
) -> None:
    """Neither what the connection's account may read, nor what the roles of the account may."""
    name, password = accounts.make()
    assert postgres.tries(name, password, trap) == ""
    accounts.revoke()
    assert "7" not in postgres.tries(*bystander, attack)
    assert postgres.sql("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'trap'") == HEIR
    assert accounts.known(name) == ""


def test_functions_that_bear_the_names_of_the_databases_own_are_not_called(
    accounts: Accounts, postgres: Postgres, stolen: str
) -> None:
    """They would run as the connection's account, which makes roles."""
    account = accounts.make()
    steal = "BEGIN CREATE ROLE stolen; EXCEPTION WHEN duplicate_object THEN NULL; END"
    body = f"LANGUAGE plpgsql AS $$ BEGIN {steal}; RETURN"
    for shadow in (
        f"format(a text, b regrole) RETURNS text {body} pg_catalog.format(a, VARIADIC ARRAY[b]); END $$",
        f"format(a text, b regclass) RETURNS text {body} pg_catalog.format(a, VARIADIC ARRAY[b]); END $$",
        f"format(a text, b regprocedure) RETURNS text {body} pg_catalog.format(a, VARIADIC ARRAY[b]); END $$",
        f"format(a text, b name, c regclass) RETURNS text {body} NULL; END $$",
        f"pg_terminate_backend(int) RETURNS bool {body} true; END $$",
        f"has_schema_privilege(oid, oid, varchar) RETURNS bool {body} true; END $$",
    ):
        assert postgres.tries(*account, f"CREATE FUNCTION {shadow}") == ""
    for statement in (
        "CREATE TABLE mine AS SELECT 1; CREATE VIEW seen AS SELECT * FROM mine",
        "CREATE RULE nothing AS ON INSERT TO mine DO INSTEAD NOTHING",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    ):
        assert postgres.tries(*account, statement) == ""
    accounts.revoke()
    assert postgres.sql(stolen) == "0"
    assert accounts.known(account[0]) == ""


def test_an_account_with_a_temporary_table_in_an_open_session_is_gone(accounts: Accounts, postgres: Postgres) -> None:
    name, password = accounts.make()
    query = "BEGIN; CREATE TEMPORARY TABLE brief AS SELECT generate_series(1, 1000); COMMIT; SELECT pg_sleep(62)"
    sessions = [postgres.session(name, password, query) for _ in range(3)]
    accounts.wait(query)
    time.sleep(0.5)
    accounts.revoke()
    for session in sessions:
        session.communicate(timeout=10)
    assert accounts.left() == ()
    assert accounts.known(name) == ""
