"""Identity providers and directories: whose credential is written when; passes over a world in memory."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from axon_operator.domain.names import HOST_LABEL, PURPOSE_LABEL, TENANT_LABEL
from axon_operator.domain.resources import SECRET, RealmPath, Ref
from axon_operator.domain.tenant.realm import ldap_at

from . import test_passes
from .test_passes import ACME, NAMES, a_crash_behind_any_write_ends_alike, declare, one_pass, ready, settle
from .world import World

HOST = "idp.corp.example"
VALUE = "canary-value"
OIDC = {
    "host": HOST,
    "authorizationPath": "/auth",
    "tokenPath": "/token",
    "keysPath": "/keys",
    "clientID": "acme",
    "credentialSecretRef": {"name": "corp"},
}
LDAP = {
    "host": HOST,
    "usersDN": "ou=people,dc=corp",
    "groupsDN": "ou=groups,dc=corp",
    "bindDN": "cn=reader,dc=corp",
    "credentialSecretRef": {"name": "ldap"},
}
IDENTITY = {
    "groups": [{"name": "staff"}],
    "ldap": LDAP,
    "identityProviders": [{"alias": "corp", "oidc": OIDC, "mappers": [{"group": "staff"}]}],
}
PROVIDER = RealmPath(NAMES.realm, ("identity-provider", "instances", "corp"))


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_passes, "PLATFORM", replace(test_passes.PLATFORM, allowed_hosts=(HOST,)))


def put_secret(world: World, name: str, purpose: str, version: str = "1", tenant: str = "acme") -> None:
    labels = {TENANT_LABEL: tenant, HOST_LABEL: HOST, PURPOSE_LABEL: purpose}
    metadata = {"uid": f"uid-{name}", "resourceVersion": version, "labels": labels}
    data = {"credential": base64.b64encode(VALUE.encode()).decode()}
    world.objects[Ref(SECRET, "axon-system", name)] = {"kind": "Secret", "metadata": metadata, "data": data}


def declared() -> World:
    world = World()
    declare(world, ACME)
    world.objects[ACME]["spec"]["identity"] = IDENTITY
    put_secret(world, "corp", "identity-provider")
    put_secret(world, "ldap", "ldap")
    return world


def credential_writes(world: World) -> int:
    return sum(change.verb == "write-credential" for _, change, _ in world.audited)


def test_credentials_are_written_once_and_again_with_each_version_of_their_secret() -> None:
    world = declared()
    settle(world, ACME)
    assert ready(world, ACME)["status"] == "True"
    assert credential_writes(world) == 2
    assert world.realms[PROVIDER]["config"]["clientSecret"] == VALUE
    assert world.realms[ldap_at(NAMES)]["config"]["bindCredential"] == [VALUE]
    before = world.writes
    one_pass(world, ACME)
    assert world.writes == before

    put_secret(world, "ldap", "ldap", version="2")
    settle(world, ACME)
    assert credential_writes(world) == 3
    put_secret(world, "corp", "identity-provider", version="2")
    settle(world, ACME)
    assert credential_writes(world) == 4


def test_no_value_is_in_what_is_told() -> None:
    world = declared()
    settle(world, ACME)
    told = [(str(change), change.target, outcome) for _, change, outcome in world.audited]
    assert VALUE not in repr((told, world.objects[ACME]))


def test_a_crash_behind_any_write_ends_in_the_same_realm() -> None:
    a_crash_behind_any_write_ends_alike(declared, 60)


@pytest.mark.parametrize("name", ["corp", "ldap"])
def test_a_secret_of_another_tenant_keeps_only_its_own_part_from_being_made(name: str) -> None:
    world = declared()
    purpose = "ldap" if name == "ldap" else "identity-provider"
    put_secret(world, name, purpose, tenant="globex")
    settle(world, ACME)
    assert ready(world, ACME)["reason"] == "CredentialUnusable"
    assert (PROVIDER in world.realms) == (name == "ldap")
    assert (ldap_at(NAMES) in world.realms) == (name == "corp")


def test_what_left_the_spec_goes() -> None:
    world = declared()
    settle(world, ACME)
    world.objects[ACME]["spec"]["identity"] = {}
    settle(world, ACME)
    assert PROVIDER not in world.realms
    assert ldap_at(NAMES) not in world.realms


def test_hosts_taken_off_the_list_are_switched_off_in_one_write_each(monkeypatch: pytest.MonkeyPatch) -> None:
    world = declared()
    settle(world, ACME)
    monkeypatch.setattr(test_passes, "PLATFORM", replace(test_passes.PLATFORM, allowed_hosts=()))
    settle(world, ACME)
    assert ready(world, ACME)["reason"] == "HostNotAllowed"
    assert world.realms[PROVIDER]["enabled"] is False
    assert world.realms[ldap_at(NAMES)]["config"]["enabled"] == ["false"]


def test_beyond_the_cap_no_realm_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    world = declared()
    other: dict[str, Any] = {"metadata": {"name": "other"}, "status": {"realm": "axon-other"}}
    world.objects[replace(ACME, name="other")] = other
    monkeypatch.setattr(test_passes, "PLATFORM", replace(test_passes.PLATFORM, realm_cap=1))
    settle(world, ACME)
    assert ready(world, ACME)["reason"] == "RealmLimit"
    assert world.realms == {}
    monkeypatch.setattr(test_passes, "PLATFORM", replace(test_passes.PLATFORM, realm_cap=2))
    settle(world, ACME)
    assert RealmPath(NAMES.realm) in world.realms
