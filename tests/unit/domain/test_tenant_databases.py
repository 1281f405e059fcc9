"""A database as it is planned: to one host, verified, whatever the spec says; no text of a spec gets out of its place."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from axon_operator.api.vault import Database
from axon_operator.backends.vault.paths import check
from axon_operator.domain.names import TenantNames
from axon_operator.domain.tenant import databases

from .test_runtime import PLATFORM

NAMES = TenantNames("acme", "uid-1")
ORDERS = {
    "name": "orders",
    "host": "db.acme.example",
    "database": "orders",
    "username": "axon",
    "credentialSecretRef": {"name": "orders"},
}
SIGNS = st.text(alphabet=st.sampled_from("ab1-_.:/?#&=@%{}'\"\\ \n\x00é;,[]$"), min_size=1, max_size=40)
TEXTS = st.one_of(SIGNS, st.text(min_size=1, max_size=40))


def url(**changed: object) -> str:
    wanted = Database.model_validate({**ORDERS, **changed})
    return str(databases.connection(NAMES, wanted, PLATFORM).body["connection_url"])


def test_the_connection_is_verified_and_bounded() -> None:
    assert url() == (
        "postgresql://{{username}}:{{password}}@db.acme.example:5432/orders?sslmode=verify-full&connect_timeout=3"
    )
    folder = PLATFORM.database_ca_folder
    assert f"sslmode=verify-full&sslrootcert={folder}/corp.crt&" in url(ca="corp", port=6432)


@given(field=st.sampled_from(["host", "database", "ca"]), text=TEXTS)
def test_no_text_of_a_spec_changes_where_the_connection_leads_or_how(field: str, text: str) -> None:
    """What is not refused stands in its place, and in no other."""
    try:
        made = url(**{field: text})
    except ValidationError:
        return
    found = urlsplit(made.replace("{{username}}", "u").replace("{{password}}", "p"))
    assert (found.scheme, found.username, found.password, found.port) == ("postgresql", "u", "p", 5432)
    assert found.hostname == (text if field == "host" else ORDERS["host"])
    assert found.path == f"/{text if field == 'database' else ORDERS['database']}"
    ca = {"sslrootcert": [f"{PLATFORM.database_ca_folder}/{text}.crt"]} if field == "ca" else {}
    assert parse_qs(found.query, strict_parsing=True) == {
        "sslmode": ["verify-full"], "connect_timeout": ["3"], **ca
    }  # fmt: skip
    assert not found.fragment


@given(text=TEXTS)
def test_an_accounts_name_needs_no_escape_in_sql_or_an_address(text: str) -> None:
    try:
        wanted = Database.model_validate({**ORDERS, "username": text})
    except ValidationError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_-]+", wanted.username)


@given(text=TEXTS)
def test_a_name_leads_nowhere_else_and_owns_no_others_roles(text: str) -> None:
    try:
        wanted = Database.model_validate({**ORDERS, "name": text})
    except ValidationError:
        return
    check(databases.connection_at(NAMES, wanted.name))
    (pattern,) = databases.connection(NAMES, wanted, PLATFORM).body["allowed_roles"]
    assert pattern.count("*") == pattern.count(".") == 1
    assert databases.is_role_of(f"{wanted.name}.reader-1", wanted.name)
    assert not databases.is_role_of(f"{wanted.name}-2.reader-1", wanted.name)


@pytest.mark.parametrize(
    "changed",
    [
        {"host": "db.acme.example/x"},
        {"host": "DB.acme.example"},
        {"host": "a,b"},
        {"database": "orders?sslmode=disable"},
        {"database": "a/b"},
        {"username": 'a" SUPERUSER; --'},
        {"username": "{{password}}"},
        {"ca": "../../etc/passwd"},
        {"ca": "a&sslmode=disable"},
        {"name": "a.b"},
        {"port": 0},
        {"plugin": "mysql"},
    ],
)
def test_what_could_be_read_as_something_else_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Database.model_validate({**ORDERS, **changed})


def test_what_openbao_shows_is_compared_as_it_was_written() -> None:
    shown = {
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": ["orders.*"],
        "connection_details": {"username": "axon"},
        "root_credentials_rotate_statements": ["SELECT 1"],
    }
    written = databases.as_written(shown)
    assert (written["username"], written["root_rotation_statements"]) == ("axon", ["SELECT 1"])
