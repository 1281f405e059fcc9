"""Attacks from inside, past the operator's own checks: with its token for Keycloak, and by a status that lies."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from axon_operator.domain.resources import RESOURCES, TENANT, Ref
from bench.bed import Bed
from bench.life import Life
from integration.tenant.conftest import NewTenant
from integration.tenant.people import Realm

FOREIGN = "another-team"
"""A realm that somebody else made."""

Ask = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def foreign(servers: Bed) -> Iterator[str]:
    servers.keycloak.admin("POST", "", {"realm": FOREIGN, "enabled": True})
    user = {"username": "victim", "enabled": True, "email": "victim@example.org"}
    servers.keycloak.admin("POST", f"{FOREIGN}/users", user)
    yield FOREIGN
    servers.keycloak.admin("DELETE", FOREIGN)


@pytest.fixture
def thief(servers: Bed) -> Ask:
    """Requests with what the operator's stolen service-account token buys in Keycloak."""
    settings = servers.settings
    url, http = str(settings.keycloak_url).rstrip("/"), requests.Session()
    http.trust_env, http.verify = False, str(settings.keycloak_ca_file)
    form = {
        "grant_type": "client_credentials",
        "client_id": "axon-operator",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": settings.keycloak_token_file.read_text(),
    }
    login = http.post(f"{url}/realms/master/protocol/openid-connect/token", data=form, timeout=60)
    assert login.status_code == 200, login.text
    bearer = {"Authorization": f"Bearer {login.json()['access_token']}"}

    def ask(method: str, path: str, body: Any = None) -> requests.Response:
        return http.request(method, f"{url}/admin/realms/{path}", headers=bearer, json=body, timeout=60)

    return ask


REALM_ATTACKS: list[tuple[str, str, Any]] = [
    ("GET", "users", None),
    ("POST", "users", {"username": "mallory", "enabled": True}),
    ("GET", "clients", None),
    ("POST", "clients", {"clientId": "mine", "publicClient": True}),
    ("GET", "roles", None),
    ("POST", "roles", {"name": "mine"}),
    ("GET", "groups", None),
    ("GET", "keys", None),
    ("GET", "components", None),
    ("POST", "components", {"name": "mine", "providerId": "rsa-generated"}),
    ("POST", "identity-provider/instances", {"alias": "mine", "providerId": "oidc"}),
    ("GET", "authentication/flows", None),
    ("GET", "events", None),
    ("POST", "logout-all", None),
    ("POST", "push-revocation", None),
    ("POST", "partial-export?exportClients=true", None),
    ("POST", "partialImport", {"users": [{"username": "mallory"}], "ifResourceExists": "OVERWRITE"}),
    ("PUT", "", {"enabled": False}),
    ("DELETE", "", None),
]


@pytest.mark.parametrize(("method", "part", "body"), REALM_ATTACKS, ids=[f"{m} {p}" for m, p, _ in REALM_ATTACKS])
def test_a_stolen_token_of_the_operator_reaches_no_foreign_realm(
    thief: Ask, foreign: str, method: str, part: str, body: Any
) -> None:
    for realm in (foreign, "master"):
        answer = thief(method, f"{realm}/{part}".rstrip("/"), body)
        assert answer.status_code == 403, f"{method} {realm}/{part}: {answer.status_code} {answer.text}"


def test_a_stolen_token_of_the_operator_sees_of_a_foreign_realm_its_name_only(
    thief: Ask, foreign: str, new_tenant: NewTenant
) -> None:
    tenant = new_tenant({})
    tenant.settle()
    # of the operator's own realms all of it, so that the refusals mean something
    assert thief("GET", f"{tenant.names.realm}/users").status_code == 200
    for realm in (foreign, "master"):
        answer = thief("GET", realm)
        assert answer.status_code in {200, 403}
        assert "victim" not in answer.text
        if answer.status_code == 200:
            assert not answer.json().keys() & {"id", "attributes", "clients", "smtpServer", "components"}


def test_a_stolen_token_of_the_operator_makes_nobody_an_administrator_of_keycloak(thief: Ask) -> None:
    """Realms it may make: but none that is there, and none with which it could rule others."""
    assert thief("POST", "", {"realm": "master", "enabled": True}).status_code in {403, 409}
    for client in ("admin-cli", "axon-operator", "master-realm"):
        assert thief("GET", f"master/clients?clientId={client}").status_code == 403


@pytest.mark.parametrize("deleted", [False, True], ids=["and goes on", "and is deleted"])
def test_a_status_that_lies_leads_to_nothing_of_another_tenant(new_tenant: NewTenant, deleted: bool) -> None:
    victim, attacker = new_tenant({}), new_tenant({})
    victim.settle()
    attacker.settle()
    before = victim.state()
    ref = Ref(TENANT, "", attacker.names.tenant)
    status = attacker.kube.get(ref)["status"]
    lie = {
        "namespace": victim.names.namespace,
        "vaultNamespace": victim.names.vault_namespace,
        "realm": victim.names.realm,
    }
    attacker.kube.set_status(ref, {**status, **lie})
    attacker.settle(again=True)
    told = attacker.kube.get(ref)["status"]
    assert {name: told[name] for name in lie} == {name: status[name] for name in lie}
    if deleted:
        attacker.kube.set_status(ref, {**told, **lie})
        attacker.delete(TENANT, attacker.names.tenant)
        attacker.settle()
        assert attacker.state() == {}
    assert victim.state() == before
    assert victim.settle(again=True).writes == ()


def test_no_accessor_and_no_lease_id_leaves_openbao(
    new_tenant: NewTenant, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """With an accessor or a lease id somebody else's login can be revoked: looked for in all that the operator writes."""
    tenant = new_tenant({})
    with caplog.at_level("DEBUG"):
        tenant.settle()
        tenant.secret("app/a")
        tenant.runtime("agent", {"image": "registry.example/agent:1"})
        tenant.binding("one", "agent", "app/a")
        writes = [*tenant.settle().writes]
        session = Realm(tenant).user("alice").log_in()
        secrets = _handles(tenant)
        assert len(secrets) >= 4, "a runtime's and a user's"
        shown = [_everything(tenant)]
        tenant.edit(TENANT, tenant.names.tenant, {"suspended": True})
        writes += tenant.settle().writes
        shown.append(_everything(tenant))
    out = capfd.readouterr()
    everywhere = "\n".join((*shown, *writes, caplog.text, out.out, out.err))
    assert tenant.names.vault_namespace in everywhere
    assert not [secret for secret in (*secrets, session.token) if secret in everywhere]


def _handles(tenant: Life) -> set[str]:
    """Accessors, and the part of a lease's id that cannot be guessed."""
    bao, home = tenant.bed.bao, f"axon/{tenant.names.vault_namespace}"
    accessors = bao.admin("LIST", home, "auth/token/accessors")["keys"]
    return {*accessors, *_below(tenant, "sys/leases/lookup/auth")}


def _below(tenant: Life, folder: str) -> Iterator[str]:
    home = f"axon/{tenant.names.vault_namespace}"
    for key in (tenant.bed.bao.look("LIST", home, folder) or {}).get("keys") or ():
        if key.endswith("/"):
            yield from _below(tenant, f"{folder}/{key[:-1]}")
        else:
            yield key


def _everything(tenant: Life) -> str:
    """All objects of all kinds that the operator knows."""
    return json.dumps([tenant.kube.list(kind, namespace="") for kind in RESOURCES.values()])
