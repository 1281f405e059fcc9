"""Identity providers on a real Keycloak, with a real provider behind TLS."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from axon_operator.api.identity import IdentityProvider
from axon_operator.backends.keycloak.adapter import KeycloakAdmin
from axon_operator.domain.names import CREDENTIAL_MARK, USERS_CLIENT
from axon_operator.domain.resources import TENANT, RealmPath, Ref
from axon_operator.domain.tenant import realm as desired
from axon_testbed import pki
from axon_testbed.layout import Layout
from bench.bed import Bed
from bench.life import Life, NotSettledError, keycloak_of
from integration.tenant.conftest import ADMINISTRATORS, NewTenant, put_secret
from integration.tenant.provider import CLIENT, Provider, serving
from integration.tenant.test_realm import Hand, all_are_set_right, fields, gone, url
from servers.browser import Browser, Person, claims

HOST = "127.0.0.1"
VALUE = "canary-of-the-provider"
USER = {"sub": "u-1", "preferred_username": "carol", "email": "carol@corp.example", "given_name": "Carol",
        "family_name": "Roe", "departments": ["audit"]}  # fmt: skip

Secret = Callable[..., None]


@pytest.fixture(scope="module")
def provider(servers: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """With a certificate that Keycloak trusts."""
    folder = tmp_path_factory.mktemp("provider")
    layout = Layout(servers.keycloak.ca_file.parent)
    for name, text in zip(("tls.crt", "tls.key"), pki.ensure_server(layout, "provider", (HOST,)), strict=True):
        (folder / name).write_text(text)
    with serving(Provider(VALUE, USER), folder / "tls.crt", folder / "tls.key") as running:
        yield running


@pytest.fixture(scope="module")
def keycloak(servers: Bed) -> KeycloakAdmin:
    return keycloak_of(servers.settings)


@pytest.fixture
def secret(servers: Bed) -> Iterator[Secret]:
    """Makes a Secret in the operator's namespace, or replaces it."""
    made: set[str] = set()

    def make(
        name: str, tenant: str, *, host: str = HOST, purpose: str = "identity-provider", value: str = VALUE
    ) -> None:
        put_secret(servers, tenant, name, value, host=host, purpose=purpose)
        made.add(name)

    yield make
    for name in made:
        servers.kube.call("DELETE", f"{ADMINISTRATORS}/{name}")


def allowing(life: Life, *hosts: str) -> Life:
    """The same tenant under an operator with these allowed hosts."""
    life.settings = life.settings.model_copy(update={"allowed_hosts": hosts})
    return life


def identity(provider: Provider, secret: str = "corp") -> dict[str, Any]:
    oidc = {
        "host": HOST,
        "port": provider.port,
        "authorizationPath": "/auth",
        "tokenPath": "/token",
        "keysPath": "/keys",
        "clientID": CLIENT,
        "credentialSecretRef": {"name": secret},
    }
    mappers = [
        {"group": "staff"},
        {"role": "auditor", "claim": "departments", "value": "audit"},
        {"role": "operator", "claim": "departments", "value": "operations"},
    ]
    return {
        "mfa": "None",
        "roles": [{"name": "auditor"}, {"name": "operator"}],
        "groups": [{"name": "staff"}],
        "identityProviders": [{"alias": "corp", "oidc": oidc, "mappers": mappers}],
    }


def refuses(life: Life, reason: str) -> None:
    """It does not settle, for this reason in the end."""
    deadline = time.monotonic() + 120
    while True:
        with pytest.raises(NotSettledError) as failed:
            life.settle(again=True, patience=0.5)
        if reason in str(failed.value):
            return
        assert time.monotonic() < deadline, failed.value


def path(life: Life, *more: str) -> RealmPath:
    return RealmPath(life.names.realm, (*desired.INSTANCES, "corp", *more))


@pytest.fixture
def tenant(new_tenant: NewTenant, provider: Provider, secret: Secret) -> Life:
    provider.client_secret = VALUE
    made = allowing(new_tenant({"identity": identity(provider)}), HOST)
    secret("corp", made.names.tenant)
    made.settle()
    return made


def log_in(servers: Bed, tenant: Life) -> dict[str, Any]:
    browser = Browser(url(tenant), tenant.settings.keycloak_ca_file, elsewhere=servers.keycloak.ca_file)
    # Keycloak's own pages are never asked for a password
    tokens = browser.token(tenant.names.realm, Person("", ""), USERS_CLIENT, kc_idp_hint="corp")
    return claims(tokens["access_token"])


def test_a_brokered_user_logs_in_and_gets_what_the_mappers_say(
    servers: Bed, tenant: Life, keycloak: KeycloakAdmin, provider: Provider, secret: Secret
) -> None:
    token = log_in(servers, tenant)
    assert (token["groups"], token["roles"]) == (["/staff"], ["auditor"])
    assert tenant.settle(again=True).writes == ()

    # a new version of the Secret is written once, and is what the provider then gets
    mark = (keycloak.read(path(tenant)) or {})["config"][CREDENTIAL_MARK]
    provider.client_secret = "another"
    secret("corp", tenant.names.tenant, value="another")
    assert [w for w in tenant.settle(again=True).writes if w.startswith("keycloak")] == [
        f"keycloak update {path(tenant)}",
    ]
    assert (keycloak.read(path(tenant)) or {})["config"][CREDENTIAL_MARK] != mark
    assert tenant.settle(again=True).writes == ()
    assert log_in(servers, tenant)["roles"] == ["auditor"]
    assert provider.refused == 0
    assert VALUE not in json.dumps(tenant.state())


def test_every_planned_field_of_a_provider_is_set_right(
    tenant: Life, keycloak: KeycloakAdmin, provider: Provider
) -> None:
    wanted = IdentityProvider.model_validate(identity(provider)["identityProviders"][0])
    hands: list[Hand] = [*fields(desired.provider(tenant.names, wanted))]
    for mapper in desired.provider_mappers(tenant.names, wanted):
        hands += fields(mapper)
        hands.append(gone(mapper.at, mapper.collection))
    hands.append(gone(path(tenant), RealmPath(tenant.names.realm, desired.INSTANCES)))
    all_are_set_right(tenant, keycloak, hands)


def test_a_mapper_that_somebody_adds_to_our_provider_goes(tenant: Life, keycloak: KeycloakAdmin) -> None:
    evil = {
        "name": "evil",
        "identityProviderAlias": "corp",
        "identityProviderMapper": "oidc-hardcoded-role-idp-mapper",
        "config": {"syncMode": "FORCE", "role": "operator"},
    }
    before = keycloak.list(path(tenant, "mappers"))
    keycloak.create(path(tenant, "mappers"), evil)
    tenant.settle(again=True)
    assert len(keycloak.list(path(tenant, "mappers"))) == len(before) == 3


@pytest.mark.parametrize(
    "wrong", [{"tenant": "another"}, {"host": "other.example"}, {"purpose": "ldap"}, {"value": " "}, None]
)
def test_a_secret_for_something_else_is_not_used(
    new_tenant: NewTenant, keycloak: KeycloakAdmin, provider: Provider, secret: Secret,
    wrong: dict[str, str] | None,
) -> None:  # fmt: skip
    tenant = allowing(new_tenant({"identity": identity(provider, "wrong")}), HOST)
    if wrong is not None:
        secret("wrong", **{"tenant": tenant.names.tenant, **wrong})
    refuses(tenant, "CredentialUnusable")
    assert keycloak.read(path(tenant)) is None
    assert reason(tenant) == "CredentialUnusable"


def test_a_host_that_is_not_on_the_list_is_refused_and_one_taken_off_it_is_switched_off(
    new_tenant: NewTenant, tenant: Life, keycloak: KeycloakAdmin, provider: Provider, secret: Secret,
) -> None:  # fmt: skip
    refused = new_tenant({"identity": identity(provider, "refused")})
    secret("refused", refused.names.tenant)
    refuses(refused, "HostNotAllowed")
    assert keycloak.read(path(refused)) is None
    assert reason(refused) == "HostNotAllowed"

    assert (keycloak.read(path(tenant)) or {})["enabled"] is True
    refuses(allowing(tenant), "HostNotAllowed")
    assert (keycloak.read(path(tenant)) or {})["enabled"] is False


def reason(life: Life) -> str:
    live = life.kube.find(Ref(TENANT, "", life.names.tenant)) or {}
    return next(str(c["reason"]) for c in live["status"]["conditions"] if c["type"] == "IdentityReady")


def test_a_provider_that_left_the_spec_goes_and_others_stay(
    tenant: Life, keycloak: KeycloakAdmin, provider: Provider
) -> None:
    instances = RealmPath(tenant.names.realm, desired.INSTANCES)
    config = {
        "clientId": "x",
        "clientSecret": "y",
        "tokenUrl": "https://a.example/t",
        "authorizationUrl": "https://a.example/a",
    }
    keycloak.create(instances, {"alias": "theirs", "providerId": "oidc", "enabled": True, "config": config})
    tenant.edit(TENANT, tenant.names.tenant, {"identity": {**identity(provider), "identityProviders": []}})
    tenant.settle()
    assert {p["alias"] for p in keycloak.list(instances)} == {"kubernetes", "theirs"}

    taken = {**identity(provider)["identityProviders"][0], "alias": "theirs"}
    tenant.edit(TENANT, tenant.names.tenant, {"identity": {**identity(provider), "identityProviders": [taken]}})
    refuses(tenant, "NameTaken")
    assert (keycloak.read(RealmPath(instances.realm, (*instances.segments, "theirs"))) or {})["config"][
        "clientId"
    ] == "x"


def test_a_saml_provider_stands_as_planned(new_tenant: NewTenant, keycloak: KeycloakAdmin, servers: Bed) -> None:
    pem = Path(servers.keycloak.ca_file).read_text().splitlines()
    saml = {
        "host": "idp.example",
        "signOnPath": "/sso",
        "entityID": "https://idp.example/metadata",
        "signingCertificate": "".join(line for line in pem if "CERTIFICATE" not in line),
    }
    mappers = [{"group": "staff"}, {"group": "staff", "claim": "department", "value": "audit"}]
    declared = {"alias": "corp", "saml": saml, "mappers": mappers}
    spec = {"identity": {"groups": [{"name": "staff"}], "identityProviders": [declared]}}
    tenant = allowing(new_tenant(spec), "idp.example")
    tenant.settle()
    wanted = IdentityProvider.model_validate(declared)
    hands: list[Hand] = [*fields(desired.provider(tenant.names, wanted))]
    for mapper in desired.provider_mappers(tenant.names, wanted):
        hands += fields(mapper)
    all_are_set_right(tenant, keycloak, hands)
