"""What a Tenant's identity section becomes: words for Keycloak, paths that stay in the realm, credentials for one use."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from axon_operator.api.identity import (
    Group,
    IdentityProvider,
    Ldap,
    LdapTls,
    Mapper,
    PasswordPolicy,
    Role,
)
from axon_operator.api.tenant import TenantSpec
from axon_operator.backends.errors import Terminal
from axon_operator.backends.keycloak.paths import resource_url
from axon_operator.domain.credential import Credential, version_mark
from axon_operator.domain.names import HOST_LABEL, PURPOSE_LABEL, TENANT_LABEL, TenantNames
from axon_operator.domain.resources import RealmPath
from axon_operator.domain.tenant import realm

NAMES = TenantNames("acme", "uid-1")
OIDC = {
    "host": "login.corp.example",
    "authorizationPath": "/auth",
    "tokenPath": "/token",
    "keysPath": "/keys",
    "clientID": "acme",
    "credentialSecretRef": {"name": "corp"},
}
LDAP = {
    "host": "ldap.corp.example",
    "usersDN": "ou=people,dc=corp,dc=example",
    "bindDN": "cn=reader,dc=corp,dc=example",
    "credentialSecretRef": {"name": "corp"},
}


def test_the_default_password_policy_in_keycloaks_words() -> None:
    words = "length(12) and passwordHistory(5) and notUsername(undefined) and notEmail(undefined)"
    assert realm.password_policy(PasswordPolicy()) == words


def test_what_is_not_asked_for_is_left_out() -> None:
    rules = PasswordPolicy(min_length=8, digits=1, history=0, not_username=False, not_email=False)
    assert realm.password_policy(rules) == "length(8) and digits(1)"


def test_offline_sessions_last_as_long_as_others_unless_said() -> None:
    def limits(sessions: dict[str, str]) -> tuple[int, int]:
        spec = TenantSpec.model_validate({"identity": {"sessions": sessions}})
        body = realm.realm(NAMES, spec, "cluster").body
        return body["offlineSessionIdleTimeout"], body["offlineSessionMaxLifespan"]

    assert limits({"idleTimeout": "10m", "maxLifespan": "1h"}) == (600, 3600)
    assert limits({"offlineIdleTimeout": "1h", "offlineMaxLifespan": "2h"}) == (3600, 7200)


def test_ids_differ_between_tenants_and_between_things() -> None:
    other = TenantNames("globex", "uid-2")
    idents = [str(client.body["id"]) for client in map(realm.users_client, (NAMES, other))]
    idents += [mapper["id"] for names in (NAMES, other) for mapper in realm.users_client(names).body["protocolMappers"]]
    assert len(set(idents)) == 8


def test_all_addresses_of_a_provider_are_https_at_its_one_host() -> None:
    wanted = IdentityProvider.model_validate(
        {"alias": "corp", "oidc": {**OIDC, "port": 8443, "issuerPath": "/realms/corp"}}
    )
    config = realm.provider(NAMES, wanted).body["config"]
    addresses = {key: value for key, value in config.items() if "://" in value}
    assert set(addresses) == {"issuer", "authorizationUrl", "tokenUrl", "jwksUrl"}
    assert all(value.startswith("https://login.corp.example:8443/") for value in addresses.values())


@pytest.mark.parametrize("tls", LdapTls)
def test_a_directory_is_never_unencrypted_and_only_read(tls: LdapTls) -> None:
    config = realm.ldap(NAMES, Ldap.model_validate({**LDAP, "tls": tls})).body["config"]
    assert config["connectionUrl"][0].startswith("ldaps://") or config["startTls"] == ["true"]
    assert config["editMode"] == ["READ_ONLY"]


# -- no name leads out of the realm


def _strings(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, str):
        yield at
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, (*at, index))


SAML = {
    "host": "idp.example",
    "signOnPath": "/sso",
    "entityID": "https://idp.example/m",
    "signingCertificate": "A" * 64,
}
IDENTITY: dict[str, Any] = {
    "roles": [{"name": "auditor"}],
    "groups": [{"name": "staff", "roles": ["auditor"]}],
    "ldap": {**LDAP, "groupsDN": "ou=groups,dc=corp,dc=example", "usernameAttribute": "uid"},
    "identityProviders": [
        {
            "alias": "corp",
            "oidc": {**OIDC, "issuerPath": "/i"},
            "mappers": [{"group": "staff", "claim": "c", "value": "v"}],
        },
        {"alias": "corp2", "saml": SAML, "mappers": [{"role": "auditor"}]},
    ],
}
HOSTILE = st.one_of(
    st.sampled_from(
        [
            "..",
            "../master",
            "a/../../master",
            "%2e%2e",
            "a?x=",
            "a#",
            "a;b",
            "a\\b",
            "a\n",
            "é",
            "evil.example/",
            "a@b:c",
        ]
    ),
    st.text(min_size=1, max_size=20),
)


@given(st.sampled_from(list(_strings(IDENTITY))), HOSTILE)
def test_a_hostile_string_in_any_field_is_refused_or_stays_in_the_realm_and_at_its_host(
    at: tuple[Any, ...], text: str
) -> None:
    identity = _replaced(IDENTITY, at, text)
    try:
        spec = TenantSpec.model_validate({"identity": identity})
    except ValidationError:
        return
    for path in _paths(spec):
        try:
            address = resource_url(path)
        except Terminal:
            continue
        assert address.startswith(f"admin/realms/{NAMES.realm}/")
        assert ".." not in address
        assert not set(address) & set("?#%;\\\n ")
    for provider in spec.identity.identity_providers:
        host = (provider.oidc or provider.saml).host  # type: ignore[union-attr]
        config = realm.provider(NAMES, provider).body["config"]
        for key in ("issuer", "authorizationUrl", "tokenUrl", "jwksUrl", "singleSignOnServiceUrl"):
            assert config.get(key, f"https://{host}") == f"https://{host}" or config[key].startswith(f"https://{host}/")
    if spec.identity.ldap:
        assert realm.ldap(NAMES, spec.identity.ldap).body["config"]["connectionUrl"] == [
            f"ldaps://{spec.identity.ldap.host}:636"
        ]


def _replaced(value: Any, at: tuple[Any, ...], text: str) -> Any:
    if not at:
        return text
    key, *rest = at
    items = value.items() if isinstance(value, dict) else enumerate(value)
    changed = {k: _replaced(v, tuple(rest), text) if k == key else v for k, v in items}
    return changed if isinstance(value, dict) else list(changed.values())


def _paths(spec: TenantSpec) -> Iterator[RealmPath]:
    for role in spec.identity.roles:
        yield realm.role(NAMES, role).at
    for group in spec.identity.groups:
        yield realm.group(NAMES, group).at
    for provider in spec.identity.identity_providers:
        yield realm.provider(NAMES, provider).at
        yield from (mapper.at for mapper in realm.provider_mappers(NAMES, provider))


@pytest.mark.parametrize("name", ["", "a b", "../x", "-a", "a-", "a/b", "ü", "a" * 64])
def test_names_of_roles_and_groups_are_plain(name: str) -> None:
    for model in (Role, Group):
        with pytest.raises(ValidationError):
            model.model_validate({"name": name})
    with pytest.raises(ValidationError):
        Mapper.model_validate({"group": name})


# -- credentials

CREDENTIAL = Credential("axon-system", "corp", "acme", "login.corp.example", "identity-provider")
VALUE = "canary"


def secret(**labels: str) -> dict[str, Any]:
    right = {TENANT_LABEL: "acme", HOST_LABEL: "login.corp.example", PURPOSE_LABEL: "identity-provider"}
    metadata = {"uid": "u", "resourceVersion": "1", "labels": {**right, **labels}}
    return {"metadata": metadata, "data": {"credential": base64.b64encode(f"{VALUE}\n".encode()).decode()}}


def test_a_secret_for_this_use_is_used_without_its_last_line_break() -> None:
    assert CREDENTIAL.problem(secret()) is None
    assert CREDENTIAL.value(secret()) == VALUE


@pytest.mark.parametrize("label", [TENANT_LABEL, HOST_LABEL, PURPOSE_LABEL])
def test_one_for_another_use_is_refused_and_its_value_is_not_shown(label: str) -> None:
    problem = CREDENTIAL.problem(secret(**{label: "other"}))
    assert problem is not None
    assert "axonos.ai/tenant=acme" in problem
    assert VALUE not in problem


@pytest.mark.parametrize(
    "data", [None, {}, {"credential": ""}, {"credential": "%%"}, {"credential": "/w=="}, {"password": "eA=="}]
)
def test_one_without_a_value_is_refused(data: Any) -> None:
    assert CREDENTIAL.problem({**secret(), "data": data}) is not None
    assert CREDENTIAL.problem(None) is not None


def test_the_mark_follows_the_version_and_not_the_value() -> None:
    other_value = {**secret(), "data": {"credential": "b3RoZXI="}}
    assert version_mark(other_value) == version_mark(secret())
    newer = secret()
    newer["metadata"]["resourceVersion"] = "2"
    assert version_mark(newer) != version_mark(secret())
