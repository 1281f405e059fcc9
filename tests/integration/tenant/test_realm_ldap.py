"""A real directory behind TLS as source of a realm's users."""

from typing import Any

import pytest

from axon_operator.api.identity import Ldap
from axon_operator.backends.keycloak.adapter import KeycloakAdmin
from axon_operator.domain.names import USERS_CLIENT
from axon_operator.domain.resources import TENANT, RealmPath
from axon_operator.domain.tenant import realm as desired
from bench.bed import Bed
from bench.life import keycloak_of
from integration.tenant.conftest import PEOPLE, NewTenant, put_secret
from integration.tenant.test_realm import all_are_set_right, browser_at, fields
from integration.tenant.test_realm_providers import allowing, refuses
from servers.browser import Person, claims, code_request
from servers.slapd import READER, SUFFIX, Slapd

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def keycloak(servers: Bed) -> KeycloakAdmin:
    return keycloak_of(servers.settings)


def identity(slapd: Slapd, secret: str, **more: Any) -> dict[str, Any]:
    directory = {
        "host": HOST,
        "port": slapd.port,
        "usersDN": f"ou=people,{SUFFIX}",
        "groupsDN": f"ou=groups,{SUFFIX}",
        "bindDN": READER,
        "credentialSecretRef": {"name": secret},
    }
    roles, groups = [{"name": "operator"}], [{"name": "staff", "roles": ["operator"]}]
    return {"mfa": "None", "roles": roles, "groups": groups, "ldap": {**directory, **more}}


@pytest.mark.parametrize("tls", ["LDAPS", "StartTLS"])
def test_a_user_of_the_directory_logs_in_with_groups_and_roles(
    servers: Bed, new_tenant: NewTenant, keycloak: KeycloakAdmin, slapd: Slapd, tls: str
) -> None:
    secret = f"ldap-{tls.lower()}"
    port = slapd.port if tls == "LDAPS" else slapd.start_tls_port
    tenant = allowing(new_tenant({"identity": identity(slapd, secret, tls=tls, port=port)}), HOST)
    put_secret(servers, tenant.names.tenant, secret, slapd.reader_password)
    tenant.settle()
    assert tenant.settle(again=True).writes == ()

    def token(name: str) -> dict[str, Any]:
        person = Person(name, PEOPLE[name])
        return claims(browser_at(tenant).token(tenant.names.realm, person, USERS_CLIENT)["access_token"])

    dora, emil = token("dora"), token("emil")
    assert (dora["groups"], dora["roles"]) == (["/staff"], ["operator"])
    assert (emil.get("groups", []), emil.get("roles", [])) == ([], [])
    request = code_request(USERS_CLIENT, "v" * 64)
    wrong = browser_at(tenant).authorize(tenant.names.realm, Person("dora", "wrong"), **request)
    assert (wrong.seen, wrong.parameters) == (("password", "password"), {})


def test_every_planned_field_of_the_directory_is_set_right_and_it_goes_when_it_left_the_spec(
    servers: Bed, new_tenant: NewTenant, keycloak: KeycloakAdmin, slapd: Slapd
) -> None:
    declared = identity(slapd, "ldap-drift")
    tenant = allowing(new_tenant({"identity": declared}), HOST)
    put_secret(servers, tenant.names.tenant, "ldap-drift", slapd.reader_password)
    tenant.settle()
    wanted = Ldap.model_validate(declared["ldap"])
    groups = desired.ldap_groups(tenant.names, wanted)
    assert groups is not None
    all_are_set_right(tenant, keycloak, [*fields(desired.ldap(tenant.names, wanted)), *fields(groups)])
    components = keycloak.list(RealmPath(tenant.names.realm, ("components",)))
    assert len([c for c in components if c["providerId"] == "ldap"]) == 1

    tenant.edit(TENANT, tenant.names.tenant, {"identity": {"ldap": None}})
    tenant.settle()
    assert keycloak.read(desired.ldap_at(tenant.names)) is None


def test_a_directory_whose_host_is_allowed_no_more_is_switched_off(
    servers: Bed, new_tenant: NewTenant, keycloak: KeycloakAdmin, slapd: Slapd
) -> None:
    tenant = allowing(new_tenant({"identity": identity(slapd, "ldap-off")}), HOST)
    put_secret(servers, tenant.names.tenant, "ldap-off", slapd.reader_password)
    tenant.settle()
    refuses(allowing(tenant), "HostNotAllowed")
    assert (keycloak.read(desired.ldap_at(tenant.names)) or {})["config"]["enabled"] == ["false"]
