"""Credentials of each source on real servers: who gets which, what it is good for, and for how long."""

import datetime
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from axon_operator.backends.errors import Denied
from axon_operator.domain.agent import ROOT_DIR
from axon_operator.domain.resources import BINDING, RUNTIME, VaultPath
from axon_testbed import pins, tools
from axon_testbed.layout import Layout
from bench.bed import Bed
from bench.life import backends_of
from integration.tenant.conftest import NewTenant
from integration.tenant.house import (
    GITHUB,
    ISSUED,
    SOURCES,
    STRIPE,
    House,
    Pod,
    Request,
    binding_of,
    furnished,
)
from integration.tenant.test_realm_providers import refuses
from servers.postgres import Postgres

KEYS = {
    "kv": {"key", "other"},
    "grant": {"token"},
    "database": {"username", "password"},
    "pki": {"certificate", "private_key", "ca_chain"},
    "generated": {"value"},
}


@pytest.fixture(scope="module")
def house(servers: Bed, postgres: Postgres, new_tenant: NewTenant) -> House:
    """Two runtimes, each with a binding to every source."""
    made = furnished(servers, postgres, new_tenant({}), "agent", "other")
    refuses(made.tenant, "ConsentMissing")
    made.grant("agent")
    made.grant("other", values={"token": "for the other runtime"})
    made.settle()
    return made


@pytest.fixture(scope="module")
def neighbour(servers: Bed, postgres: Postgres, new_tenant: NewTenant) -> House:
    """Another tenant with the same."""
    made = furnished(servers, postgres, new_tenant({}), "agent")
    refuses(made.tenant, "ConsentMissing")
    made.grant("agent", values={"token": "of the neighbour"})
    made.settle()
    return made


@pytest.fixture(scope="module")
def pod(house: House) -> Pod:
    return house.pod()


@pytest.mark.parametrize("source", SOURCES)
def test_a_binding_becomes_ready_and_its_runtime_gets_the_credential(house: House, pod: Pod, source: str) -> None:
    told = house.binding(source)
    assert {kind: told[kind][:2] for kind in ("Delivered", "Ready")} == {
        "Delivered": ("True", "Ready"),
        "Ready": ("True", "Ready"),
    }
    values = pod.values(house.requests(source))
    assert values.keys() >= KEYS[source]
    if source in {"kv", "grant"}:
        assert values == {"kv": STRIPE, "grant": GITHUB}[source]


def test_of_a_secret_only_the_keys_that_are_asked_for_are_written(house: House) -> None:
    assert '"key"' in house.config()["agent.json"].replace("\\", "")
    assert "other" not in house.config()["agent.json"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_login_gets_no_credential_of_another_runtime(house: House, pod: Pod, source: str) -> None:
    stolen = house.requests(binding_of(source, "other"), "other")
    assert house.pod("other").fetch(stolen)[0] == 200
    if source == "kv":
        # both are bound to the same secret
        return
    assert pod.fetch(stolen)[0] == 403


@pytest.mark.parametrize("source", SOURCES)
def test_a_login_gets_no_credential_of_another_tenant(house: House, neighbour: House, pod: Pod, source: str) -> None:
    stolen = neighbour.requests(source)
    assert neighbour.pod().fetch(stolen)[0] == 200
    for request in stolen:
        for home in (neighbour.tenant, house.tenant):
            status, _ = pod.session.call("PUT" if request.fields else "GET", request.path, request.fields, of=home)
            # the path of the organization's secret is the same in both
            assert status == (200 if source == "kv" and home is house.tenant else 403), request.path


def test_a_login_of_another_tenants_runtime_is_refused(house: House, neighbour: House) -> None:
    jwt, principal = neighbour.token(), neighbour.names().principal
    assert house.bao.log_in(house.home, house.names().principal, jwt)[0] in {400, 403}
    assert house.bao.log_in(house.home, principal, jwt)[0] in {400, 403}


def test_a_login_may_do_nothing_but_fetch(house: House, pod: Pod) -> None:
    principal = house.names().principal
    (account,), (certificate,), (generated,) = (house.requests(source) for source in ISSUED)
    grant = house.requests("grant")[0].path
    attacks: list[tuple[str, str, Any]] = [
        ("GET", "kv/data/org/billing/other", None),
        ("GET", "kv/subkeys/org/billing/stripe", None),
        ("LIST", "kv/metadata/org", None),
        ("POST", "kv/data/org/billing/stripe", {"data": {"key": "mine"}}),
        ("DELETE", "kv/metadata/org/billing/stripe", None),
        ("GET", f"kv/data/users/{grant.split('/')[3]}/github/token", None),
        ("POST", grant, {"data": {"ciphertext": "mine"}}),
        ("LIST", "kv/metadata/grants", None),
        ("POST", generated.path, {"data": {"value": "mine"}}),
        ("DELETE", generated.path.replace("/data/", "/metadata/"), None),
        ("LIST", "kv/metadata/generated", None),
        ("GET", f"transit/export/encryption-key/{principal}", None),
        ("PUT", f"transit/encrypt/{principal}", {"plaintext": "bWluZQ=="}),
        ("PUT", f"transit/rewrap/{principal}", {"ciphertext": "vault:v1:mine"}),
        ("DELETE", f"transit/keys/{principal}", None),
        ("LIST", "transit/keys", None),
        ("GET", account.path.replace("/creds/", "/roles/"), None),
        ("LIST", "database/roles", None),
        ("GET", "database/config/orders", None),
        ("POST", account.path.replace("/creds/", "/roles/"), {"db_name": "orders", "creation_statements": "mine"}),
        ("POST", "database/rotate-root/orders", None),
        ("PUT", certificate.path.replace("/issue/", "/sign/"), {"csr": "mine"}),
        ("PUT", "pki/sign-verbatim", {"csr": "mine"}),
        ("PUT", "pki/root/sign-self-issued", {"certificate": "mine"}),
        ("POST", certificate.path.replace("/issue/", "/roles/"), {"allow_any_name": True}),
        ("PUT", "pki/revoke", {"serial_number": "00"}),
        ("GET", "sys/policies/password/axon-alphanumeric-40/generate", None),
        ("PUT", f"sys/leases/revoke-prefix/{account.path}", {}),
        ("PUT", "sys/leases/lookup", {"lease_id": f"{account.path}/mine"}),
        ("GET", f"sys/policies/acl/{principal}", None),
        ("PUT", "auth/token/create", {}),
        ("GET", "sys/mounts", None),
    ]  # fmt: skip
    answers = {f"{method} {path}": pod.session.call(method, path, body)[0] for method, path, body in attacks}
    assert {what: status for what, status in answers.items() if status != 403} == {}


# -- accounts


def test_an_account_may_what_the_tenants_roles_may_and_no_more(house: House, pod: Pod, postgres: Postgres) -> None:
    account = pod.values(house.requests("database"))
    name = account["username"]
    roles = f"SELECT string_agg(roleid::regrole::text, ',') FROM pg_auth_members WHERE member = '\"{name}\"'::regrole"
    assert postgres.sql(roles).strip('"') == house.readers
    flags = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolcanlogin"
    assert postgres.sql(f"SELECT {flags} FROM pg_roles WHERE rolname = '{name}'") == "f|f|f|f|f|t"

    def may(statement: str) -> bool:
        return postgres.does(name, account["password"], statement)

    assert may(f"SELECT * FROM {house.schema}.things")
    for attack in (
        f"INSERT INTO {house.schema}.things VALUES (1)",
        f"SELECT * FROM {house.schema}.others",
        "SELECT * FROM pg_authid",
        "CREATE ROLE mine",
        f'GRANT "{house.readers}" TO "{house.hand.user}"',
        f"ALTER ROLE \"{name}\" VALID UNTIL 'infinity'",
        f'SET ROLE "{house.hand.user}"',
        "CREATE DATABASE mine",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ):
        assert not may(attack), attack


def test_each_pod_has_an_account_of_its_own(house: House, pod: Pod) -> None:
    requests = house.requests("database")
    assert len({who.values(requests)["username"] for who in (pod, house.pod())}) == 2


def test_an_account_is_dead_after_its_time_whatever_its_holder_does(house: House, postgres: Postgres) -> None:
    house.bind("brief", "database", ttl="1m")
    house.settle()
    pod = house.pod()
    status, answer = pod.fetch(house.requests("brief"))
    started = time.monotonic()
    assert (status, answer["lease_duration"]) == (200, 60)
    account, lease = answer["data"], {"lease_id": answer["lease_id"], "increment": 86400}
    while postgres.logs_in(account["username"], account["password"]):
        # a renewal gives no more than what is left
        asked = time.monotonic()
        status, renewed = pod.session.call("PUT", "sys/leases/renew", lease)
        assert status != 200 or renewed["lease_duration"] <= 60 - (asked - started) + 1
        assert time.monotonic() - started < 75
        time.sleep(1)
    took = time.monotonic() - started
    print(f"an account with a ttl of 60 s was dead after {took:.1f} s")
    assert took > 55
    assert account["username"] not in house.accounts()


# -- certificates


def test_a_certificate_names_the_runtime_by_its_spiffe_id_and_nothing_else(house: House, pod: Pod) -> None:
    values = pod.values(house.requests("pki"))
    certificate = x509.load_pem_x509_certificate(values["certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    domain = house.tenant.settings.platform().trust_domain
    assert [(type(name), name.value) for name in names] == [
        (x509.UniformResourceIdentifier, f"spiffe://{domain}/tenant/{house.tenant.names.tenant}/runtime/agent")
    ]
    assert list(certificate.subject) == []
    assert certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC) <= datetime.timedelta(minutes=15)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    authority = x509.load_pem_x509_certificate(values["ca_chain"][-1].encode())
    certificate.verify_directly_issued_by(authority)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)


@pytest.mark.parametrize(
    "wish",
    [
        {"uri_sans": "spiffe://cluster.local/tenant/another/runtime/agent"},
        {"uri_sans": "{own},spiffe://cluster.local/tenant/another/runtime/agent"},
        {"common_name": "postgres"},
        {"alt_names": "kubernetes.default.svc"},
        {"ip_sans": "127.0.0.1"},
        {"other_sans": "1.3.6.1.4.1.311.20.2.3;utf8:mine"},
        {"not_after": "9999-12-31T23:59:59Z"},
    ],
    ids=str,
)
def test_a_certificate_for_another_name_or_time_is_refused(house: House, pod: Pod, wish: dict[str, str]) -> None:
    (request,) = house.requests("pki")
    own = request.fields["uri_sans"]
    wanted = {name: value.replace("{own}", own) for name, value in wish.items()}
    assert pod.fetch((Request(request.path, {**request.fields, **wanted}),))[0] in {400, 403}


def test_a_certificate_with_a_longer_life_is_cut(house: House, pod: Pod) -> None:
    (request,) = house.requests("pki")
    certificate = pod.values((Request(request.path, {**request.fields, "ttl": "8760h"}),))["certificate"]
    ends = x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
    assert ends - datetime.datetime.now(datetime.UTC) <= datetime.timedelta(minutes=15)


# -- generated values


def test_a_generated_value_is_the_same_for_every_pod_and_the_operator_cannot_read_it(house: House, pod: Pod) -> None:
    requests = house.requests("generated")
    value = pod.values(requests)["value"]
    assert len(value) == 40
    assert value.isalnum()
    assert house.pod().values(requests)["value"] == value
    vault = backends_of(house.tenant.settings).vault
    with pytest.raises(Denied):
        vault.read(VaultPath(house.tenant.names.vault_namespace, requests[0].path))
    with pytest.raises(Denied):
        vault.write(VaultPath(house.tenant.names.vault_namespace, requests[0].path), {"data": {"value": "mine"}})
    house.settle()
    assert pod.values(requests)["value"] == value


@pytest.mark.parametrize(("charset", "length"), [("Printable", 16), ("Alphanumeric", 100), ("Printable", 100)])
def test_a_generated_value_is_as_long_and_of_such_characters_as_asked(house: House, charset: str, length: int) -> None:
    name = f"{charset}-{length}".lower()
    house.bind(name, {"generated": {"charset": charset, "length": length}})
    house.settle()
    value = house.pod().values(house.requests(name))["value"]
    assert len(value) == length
    assert set(value) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


# -- the real agent


@contextmanager
def agent(house: House, folder: Path, runtime: str = "agent") -> Iterator[Path]:
    """`bao agent` with the published configuration; the folder below which it renders."""
    layout = Layout.from_environment()
    configuration = house.config(runtime)["agent.json"].replace(ROOT_DIR, str(folder))
    (folder / "agent" / "token").mkdir(parents=True)
    (folder / "agent" / "token" / "token").write_text(house.token(runtime))
    (folder / "agent" / "work" / ".tokens").mkdir(parents=True)
    (folder / "agent.json").write_text(configuration)
    env = {
        "BAO_ADDR": house.bao.address,
        "BAO_CACERT": str(house.bao.ca_file),
        "BAO_NAMESPACE": house.home,
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
    }
    program = tools.wheel_binary(layout, pins.OPENBAO_WHEEL)
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(
            [program, "agent", f"-config={folder}/agent.json", "-log-level=warn"], env=env, stdout=log, stderr=log
        )
        try:
            yield folder / "agent" / "work" / house.config(runtime)["revision"].strip() / "secrets"
        finally:
            running.terminate()
            running.wait(10)


def test_the_real_agent_renders_all_of_them_and_asks_for_one_account_a_life(house: House, tmp_path: Path) -> None:
    before = house.accounts()
    with agent(house, tmp_path) as rendered:
        wanted = [rendered / f"{source}.json" for source in SOURCES]
        deadline = time.monotonic() + 30
        while not all(file.exists() for file in wanted):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        texts = {file.stem: file.read_text() for file in wanted}
        time.sleep(10)
        made = house.accounts() - before
    print({name: len(text) for name, text in texts.items()})
    # one for each binding to a database
    bound = [name for name in house.config()["files"].split() if "brief" in name or "database" in name]
    assert len(made) == len(bound), (tmp_path / "log").read_text()
    assert STRIPE["key"] in texts["kv"]
    assert STRIPE["other"] not in texts["kv"]
    assert GITHUB["token"] in texts["grant"]


@pytest.mark.parametrize("useless", ["without the key", "not encrypted for it"])
def test_a_grant_that_is_useless_makes_the_agent_ask_for_no_accounts_without_end(
    house: House, tmp_path: Path, useless: str
) -> None:
    """A user chooses what a grant holds; it must cost the organization's database nothing."""
    house.runtime("victim")
    house.bind("victim-database", "database", "victim")
    house.bind("victim-grant", {"grant": {**SOURCES["grant"]["grant"], "keys": ["wanted"]}}, "victim")
    refuses(house.tenant, "ConsentMissing")
    given = house.grant("victim", values={"another": "value"})
    if useless != "without the key":
        house.admin("POST", f"kv/data/{given}", {"data": {"ciphertext": "vault:v1:bm90aGluZw=="}})
    house.settle()
    before = house.accounts()
    with agent(house, tmp_path, "victim") as rendered:
        time.sleep(15)
        files = sorted(file.name for file in rendered.rglob("*"))
        made = house.accounts() - before
    print(useless, "accounts in 15 s:", len(made), files, (tmp_path / "log").read_text()[-600:])
    for kind, name in ((RUNTIME, "victim"), (BINDING, "victim-grant"), (BINDING, "victim-database")):
        house.tenant.delete(kind, name)
    house.settle()
    # it begins anew after pauses that grow to a minute, with a new account each time (measured: 7 in 15 s)
    assert len(made) <= 12
    assert "victim-database.json" in files
