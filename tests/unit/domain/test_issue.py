"""What a binding becomes in OpenBao and in the sidecar: its own, and nothing that leaves its place."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.secretbinding import Charset, FileFormat, OnChange
from axon_operator.api.vault import Database
from axon_operator.domain import issue
from axon_operator.domain.agent import Folder
from axon_operator.domain.binding import is_leased
from axon_operator.domain.issue import Engine, Issued, Told, ToldBinding
from axon_operator.domain.names import RuntimeNames
from axon_operator.domain.rotation import Generation

from .around import NAMES, NOW, TENANT, around, bound, issued

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
paths = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}){0,2}", fullmatch=True)
keys = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
variables = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
hosts = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?){0,2}", fullmatch=True)
sql_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,20}", fullmatch=True)
users = st.uuids().map(str)


def kept(path: str, wanted: list[str], user: str) -> list[dict[str, Any]]:
    return [{"kv": {"path": path, "keys": wanted}}, {"grant": {"user": user, "path": path, "keys": wanted}}]


@st.composite
def all_issued(draw: st.DrawFn) -> Issued:
    """Everything that the patterns of the CRDs allow in a source, a delivery, and the database behind it."""
    connection, role, name = draw(labels), draw(labels), draw(labels)
    wanted = draw(st.lists(keys, max_size=3, unique=True))
    source = draw(
        st.sampled_from(
            [
                *kept(draw(paths), wanted, draw(users)),
                {"database": {"connection": connection, "role": role}},
                {"pki": {}},
                {"generated": {"length": draw(st.integers(16, 100)), "charset": draw(st.sampled_from(Charset))}},
            ]
        )
    )
    formats = [f for f in FileFormat if f is not FileFormat.RAW or "generated" in source or len(wanted) == 1]
    formats = [f for f in formats if (f is not FileFormat.PEM or "pki" in source)]
    if "database" in source:
        formats = [f for f in formats if f is not FileFormat.RAW]
    if "pki" in source:
        formats = [FileFormat.PEM, FileFormat.JSON]
    file = {"file": {"path": draw(keys), "format": draw(st.sampled_from(formats))}}
    named = draw(st.lists(variables, min_size=1, max_size=3, unique=True))
    env = {"env": {"variables": [{"name": n, "key": draw(keys)} for n in named], "onChange": draw(on_changes)}}
    database = Database.model_validate(
        {
            "name": connection,
            "host": draw(hosts),
            "port": draw(st.integers(1, 65535)),
            "database": draw(sql_names),
            "username": draw(sql_names),
            "credentialSecretRef": {"name": "orders"},
            "roles": [{"name": role, **draw(accounts)}],
        }
    )
    binding = bound(source, name, uid=draw(users), delivery=draw(st.sampled_from([file, env])))
    return issued(binding, draw(st.integers(1, 10**6)), around(databases=[database]))


accounts = st.one_of(
    st.fixed_dictionaries({"memberOf": st.lists(sql_names, min_size=1, max_size=3, unique=True)}),
    st.fixed_dictionaries({"account": sql_names}),
)
on_changes = st.sampled_from(OnChange)
ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
FIXED = {"\\n", "key missing", r"^[^'\\x00]*$", "ciphertext=%s"}


def actions(template: str) -> list[tuple[str, list[str]]]:
    """Of each action what stands outside of its quotes, and what stands inside of them."""
    return [(QUOTED.sub('""', action), QUOTED.findall(action)) for action in ACTION.findall(template)]


GRAMMAR = re.compile(r'(?:base64Decode|[ a-zA-Z_.$:=|()",])*')
"""What our own templates have outside of quotes: no digit, no sign, nothing that a person chose."""


@given(all_issued())
def test_nothing_that_a_person_chose_leaves_its_quotes(one: Issued) -> None:
    file = issue.credential_file(one)
    for template in filter(None, (file.template, file.lease)):
        for code, texts in actions(template):
            assert GRAMMAR.fullmatch(code), code
            assert code.count('"') % 2 == 0
            for text in texts:
                assert text in FIXED or re.fullmatch(r"[A-Za-z0-9_./:=+-]*", text), text
        assert template.count("{{") == template.count("}}") == len(actions(template))
        outside = ACTION.sub("", template)
        assert "{{" not in outside
        assert "}}" not in outside


@given(all_issued())
def test_what_stands_outside_of_actions_is_the_form_of_the_file_and_its_keys(one: Issued) -> None:
    delivery, template = one.spec.delivery, issue.credential_file(one).template
    outside = ACTION.sub("", template)
    if delivery.env:
        assert outside == "".join(f"{v.name}=''\n" for v in delivery.env.variables)
    elif delivery.file and delivery.file.format is FileFormat.JSON:
        assert re.fullmatch(r'(\{("[A-Za-z0-9_.-]+":(,(?="))?)*\})?', outside), outside
    elif delivery.file and delivery.file.format is FileFormat.DOTENV:
        assert re.fullmatch(r"([A-Za-z0-9_.-]*=\n)*", outside), outside


@given(all_issued())
def test_a_template_fetches_what_the_policy_allows_and_nothing_else(one: Issued) -> None:
    fetched = set(re.findall(r'with secret "([^"]+)"', issue.credential_file(one).template))
    allowed = {rule.split('"')[1] for rule in issue.rules(one, one.name)}
    assert fetched == allowed - {"sys/leases/renew"}


@given(all_issued())
def test_rules_name_nothing_outside_of_the_binding(one: Issued) -> None:
    source = one.spec.source
    for rule in issue.rules(one, one.name):
        match = re.fullmatch(r'path "([^"*+]+)" \{ capabilities = \["(read|update)"\] \}', rule)
        assert match, rule
        path, capability = match.groups()
        assert ".." not in path.split("/")
        if path == "sys/leases/renew":
            # OpenBao renews with it only what was issued to the very token that asks
            assert source.database
        elif path.startswith("transit/"):
            assert (path, capability) == (f"transit/decrypt/{NAMES.principal}", "update")
            assert source.grant
        elif one.account and source.database:
            assert path == f"database/static-creds/{source.database.connection}.{source.database.role}"
        elif source.kv:
            assert path == f"kv/data/org/{source.kv.path}"
        elif source.grant:
            assert path.startswith(f"kv/data/grants/{NAMES.uid}")
            assert path.endswith(f"/{source.grant.user}/{source.grant.path}")
        else:
            assert f"/{one.name}" in path
            assert NAMES.series(one.binding.name, one.binding.uid) in path
        assert capability == ("update" if path.startswith(("transit/", "pki/", "sys/")) else "read")


@given(all_issued())
def test_each_file_goes_where_its_reader_is(one: Issued) -> None:
    file = issue.credential_file(one)
    assert file.folder is (Folder.ENV if one.spec.delivery.env else Folder.SECRETS)
    assert "/" not in file.name
    leased = is_leased(one.spec.source, one.around.databases)
    assert bool(file.lease) == issue.fetch(one).leased == leased
    assert (one.engine is not None) == one.spec.is_issued
    assert one.engine is None or one.engine in issue.engines_of(one.spec.source)
    assert bool(one.engine and one.engine.leases) == leased


@given(all_issued())
def test_what_is_made_in_openbao_is_in_the_tenants_namespace_and_under_a_name_of_its_own(one: Issued) -> None:
    for resource in issue.resources([one, one]):
        assert resource.at.namespace == TENANT.vault_namespace
        assert one.name in resource.at.path or resource.at.path.startswith("sys/policies/password/axon-")
    if engine := one.engine:
        assert issue.is_of(engine, one.name, NAMES)
        assert not issue.is_of(engine, one.name, RuntimeNames(NAMES.namespace, NAMES.runtime, "another"))
        assert issue.numbers([one.name], NAMES.series(one.binding.name, one.binding.uid)) == [one.generation.number]


@given(all_issued())
def test_an_accounts_statement_names_the_roles_of_the_tenant_and_nothing_that_ends_its_quotes(one: Issued) -> None:
    for resource in issue.resources([one]):
        if not resource.at.path.startswith("database/roles/"):
            continue
        (database,) = one.around.databases
        text = resource.body["creation_statements"]
        assert not one.account
        start = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE "
        assert text == start + ", ".join(f'"{name}"' for name in database.roles[0].member_of or ())
        assert resource.body["db_name"] == database.name
        assert resource.body["default_ttl"] == resource.body["max_ttl"] == 900
        assert resource.at.path.startswith(f"database/roles/{database.name}."), "the connection allows no other"


def test_a_role_is_compared_in_the_form_in_which_it_is_written() -> None:
    (role,) = issue.resources([issued(bound({"database": {"connection": "orders", "role": "reader"}}))])
    names = ("creation_statements", "revocation_statements")
    shown = {**role.body, **{n: [role.body[n].strip()] for n in names}, "credential_type": "password"}
    read = issue.as_written(role.at, shown)
    assert read is not None
    assert {n: read[n] for n in role.body} == role.body
    two = issue.as_written(role.at, {**shown, "revocation_statements": ["a", "b"]})
    assert two is not None
    assert two["revocation_statements"] == ["a", "b"]
    assert issue.as_written(role.at, None) is None


@pytest.mark.parametrize("charset", Charset)
def test_a_password_policy_has_its_length_and_no_sign_that_needs_quoting(charset: Charset) -> None:
    one = issued(bound({"generated": {"length": 100, "charset": charset}}))
    (policy,) = issue.resources([one])
    assert issue.policy_path(one).path == f"{policy.at.path}/generate"
    length, signs = re.findall(r'length = (\d+)|charset = "([^"]*)"', policy.body["policy"])
    assert length[0] == "100"
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", signs[1])
    assert len(signs[1]) == len(set(signs[1])) == {Charset.ALPHANUMERIC: 62, Charset.PRINTABLE: 66}[charset]


def test_a_certificate_is_for_the_runtimes_own_identity_and_no_other_name() -> None:
    (role,) = issue.resources([issued(bound({"pki": {}}, ttl="5m"))])
    assert role.body["allowed_uri_sans"] == ["spiffe://cluster.local/tenant/acme/runtime/agent"]
    assert role.body["generate_lease"] is True
    assert role.body["ttl"] == role.body["max_ttl"] == 300
    assert not any(value is True for name, value in role.body.items() if name.startswith("allow_"))


generations = st.builds(
    Generation, st.uuids().map(str), st.integers(1, 10**6), st.just(NOW), st.from_regex("[0-9a-f]{12}", fullmatch=True)
)
tolds = st.builds(
    Told,
    st.dictionaries(labels, st.builds(ToldBinding, generations, paths, st.integers(0, 10**6)), max_size=4),
    st.lists(st.sampled_from(Engine), unique=True).map(tuple),
)


@given(tolds)
def test_what_is_told_survives_its_json(told: Told) -> None:
    assert issue.read_told(told.to_json()) == told


@given(st.none() | st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_garbage_tells_nothing_and_hides_nothing(text: str | None) -> None:
    told = issue.read_told(text)
    assert told.bindings == {}
    assert set(told.engines) == set(Engine)


@given(tolds, st.data())
def test_something_wrong_in_one_place_is_wrong_as_a_whole(told: Told, data: st.DataObject) -> None:
    if not told.bindings:
        return
    body = json.loads(told.to_json())
    name = data.draw(st.sampled_from(sorted(told.bindings)))
    field, wrong = data.draw(
        st.sampled_from([("made", "2026-01-01T00:00:00"), ("made", "soon"), ("number", "x"), ("uid", None)])
    )
    body["bindings"][name]["generation"][field] = wrong
    assert issue.read_told(json.dumps(body)).bindings == {}


def test_what_is_told_does_not_depend_on_the_order_in_which_bindings_are_found() -> None:
    two = [issued(bound({"pki": {}}, name)) for name in ("a", "b")]
    assert issue.told(two, ()).to_json() == issue.told(two[::-1], ()).to_json()
    assert issue.told(two, [Engine.DATABASE]).engines == (Engine.DATABASE, Engine.PKI)


def test_an_earlier_issue_is_allowed_by_its_own_name() -> None:
    one = issued(bound({"pki": {}}), 2)
    before = replace(one, generation=replace(one.generation, number=1))
    assert issue.rules(one, before.name) == issue.rules(before, before.name) != issue.rules(one, one.name)
