"""What a tenant's users can do in OpenBao, and what they and others cannot: real tokens of a real realm."""

import time
from typing import Any

import pytest

from axon_operator.domain.resources import TENANT
from axon_operator.domain.tenant.vault import KEY_ROTATION
from bench.life import Life
from integration.tenant.conftest import NewTenant
from integration.tenant.people import Person, Realm, Session, log_in

KEY = {"type": "aes256-gcm96", "auto_rotate_period": f"{KEY_ROTATION}s"}
RUNTIME_UID = "7f3f6c2e-0000-4000-8000-000000000002"


@pytest.fixture(scope="module")
def acme(new_tenant: NewTenant) -> Life:
    tenant = new_tenant({"vault": {"admins": ["/keepers"]}})
    tenant.settle()
    return tenant


@pytest.fixture(scope="module")
def alice(acme: Life) -> Person:
    return Realm(acme).user("alice")


def own(sub: str) -> list[tuple[str, str, Any]]:
    """All that a user may do, in an order in which it can be done."""
    secret, grant, key = f"users/{sub}/github/token", f"grants/{RUNTIME_UID}/{sub}/github", f"user-{sub}"
    return [
        ("POST", f"kv/data/{secret}", {"data": {"value": "ciphertext"}}),
        ("GET", f"kv/data/{secret}", None),
        ("POST", f"kv/data/{secret}", {"data": {"value": "new"}, "options": {"cas": 1}}),
        ("LIST", f"kv/metadata/users/{sub}", None),
        ("LIST", f"kv/metadata/users/{sub}/github", None),
        ("GET", f"kv/metadata/{secret}", None),
        ("DELETE", f"kv/data/{secret}", None),
        ("DELETE", f"kv/metadata/{secret}", None),
        ("POST", f"kv/data/{grant}", {"data": {"value": "ciphertext"}}),
        ("LIST", f"kv/metadata/grants/{RUNTIME_UID}/{sub}", None),
        ("GET", f"kv/metadata/{grant}", None),
        ("DELETE", f"kv/data/{grant}", None),
        ("DELETE", f"kv/metadata/{grant}", None),
        ("POST", f"transit/keys/{key}", KEY),
        # again, as who does not know whether it is there
        ("POST", f"transit/keys/{key}", KEY),
        ("POST", f"transit/encrypt/{key}", {"plaintext": "YQ=="}),
        ("POST", f"transit/datakey/plaintext/{key}", {}),
        ("POST", f"transit/datakey/wrapped/{key}", {}),
    ]


def test_users_reach_their_own_and_nothing_of_others(new_tenant: NewTenant, acme: Life, alice: Person) -> None:
    globex = new_tenant({})
    globex.settle()
    people = [(acme, alice), (acme, Realm(acme).user("bob")), (globex, Realm(globex).user("alice"))]
    sessions = [(tenant, person, person.log_in()) for tenant, person in people]
    for tenant, person, session in sessions:
        for method, path, body in own(person.sub):
            status, answer = session.call(method, path, body)
            assert status < 300, f"{person.name} {method} {path}: {status} {answer}"
        for other_tenant, other, _ in sessions:
            if other is person:
                continue
            for method, path, body in own(other.sub):
                assert session.call(method, path, body, of=other_tenant)[0] == 403, f"{method} {path}"
        for foreign, _, _ in sessions:
            if foreign is not tenant:
                # the own paths, in somebody else's namespace
                for method, path, body in own(person.sub):
                    assert session.call(method, path, body, of=foreign)[0] == 403, f"{method} {path}"
                assert log_in(foreign, person.tokens()["access_token"])[0] == 400


def test_ciphertext_opens_with_the_own_key_only(acme: Life, alice: Person) -> None:
    mallory = Realm(acme).user("mallory")
    hers, theirs = alice.log_in(), mallory.log_in()
    for person, session in ((alice, hers), (mallory, theirs)):
        assert session.call("POST", f"transit/keys/user-{person.sub}", KEY)[0] == 200
    ciphertext = hers.call("POST", f"transit/encrypt/user-{alice.sub}", {"plaintext": "YQ=="})[1]["data"]["ciphertext"]
    opened = hers.call("POST", f"transit/decrypt/user-{alice.sub}", {"ciphertext": ciphertext})
    assert opened[1]["data"]["plaintext"] == "YQ=="
    assert hers.call("POST", f"transit/rewrap/user-{alice.sub}", {"ciphertext": ciphertext})[0] == 200
    assert theirs.call("POST", f"transit/decrypt/user-{alice.sub}", {"ciphertext": ciphertext})[0] == 403
    assert theirs.call("POST", f"transit/decrypt/user-{mallory.sub}", {"ciphertext": ciphertext})[0] == 400


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"type": "aes256-gcm96"},
        {"auto_rotate_period": f"{KEY_ROTATION}s"},
        {**KEY, "type": "rsa-2048"},
        {**KEY, "auto_rotate_period": "0"},
        {**KEY, "exportable": True},
        {**KEY, "allow_plaintext_backup": True},
        {**KEY, "derived": True},
        {**KEY, "convergent_encryption": True, "derived": True},
    ],
)
def test_a_key_has_our_parameters_or_is_not_made(acme: Life, parameters: dict[str, Any]) -> None:
    person = Realm(acme).user(f"user-{time.monotonic_ns()}")
    assert person.log_in().call("POST", f"transit/keys/user-{person.sub}", parameters)[0] == 403


def test_no_key_is_exported_configured_or_made_by_encrypting(acme: Life) -> None:
    person = Realm(acme).user("eve")
    session = person.log_in()
    key = f"user-{person.sub}"
    assert session.call("POST", f"transit/encrypt/{key}", {"plaintext": "YQ=="})[0] != 200
    assert session.call("POST", f"transit/keys/{key}", KEY)[0] == 200
    for method, path, body in (
        ("POST", f"transit/keys/{key}/config", {"exportable": True}),
        ("POST", f"transit/keys/{key}/config", {"deletion_allowed": True}),
        ("GET", f"transit/export/encryption-key/{key}", None),
        ("GET", f"transit/backup/{key}", None),
        ("DELETE", f"transit/keys/{key}", None),
        ("POST", f"transit/keys/{key}/import", {}),
    ):
        assert session.call(method, path, body)[0] == 403, path
    made = acme.bed.bao.admin("GET", f"axon/{acme.names.vault_namespace}", f"transit/keys/{key}")
    kept = {k: made[k] for k in ("type", "auto_rotate_period", "exportable", "allow_plaintext_backup", "derived")}
    assert kept == {
        "type": "aes256-gcm96",
        "auto_rotate_period": KEY_ROTATION,
        "exportable": False,
        "allow_plaintext_backup": False,
        "derived": False,
    }


def test_a_user_reaches_nothing_of_the_organization_or_the_server(acme: Life, alice: Person) -> None:
    acme.secret("billing")
    session = alice.log_in()
    for method, path, body in (
        ("GET", "kv/data/org/billing", None),
        ("LIST", "kv/metadata", None),
        ("LIST", "kv/metadata/users", None),
        ("LIST", f"kv/metadata/grants/{RUNTIME_UID}", None),
        ("GET", "kv/metadata/runtimes/agent", None),
        ("POST", "kv/data/runtimes/agent", {"data": {"principal": f"user-{alice.sub}"}}),
        ("DELETE", "kv/metadata/runtimes/agent", None),
        ("POST", "transit/decrypt/rt-agent-0123456789", {"ciphertext": "vault:v1:AAAA"}),
        ("POST", "transit/rewrap/rt-agent-0123456789", {"ciphertext": "vault:v1:AAAA"}),
        ("POST", "transit/keys/rt-agent-0123456789", KEY),
        # what was granted, only the runtime reads
        ("GET", f"kv/data/grants/{RUNTIME_UID}/{alice.sub}/github", None),
        ("LIST", "transit/keys", None),
        ("POST", "pki/issue/runtime", {"uri_sans": "spiffe://cluster.local/tenant/x/runtime/y"}),
        ("GET", "sys/policies/acl/user", None),
        ("GET", "sys/auth", None),
        ("LIST", "auth/token/accessors", None),
        ("POST", "auth/token/create", {}),
        ("LIST", "identity/entity/id", None),
        ("GET", "cubbyhole/x", None),
    ):
        assert session.call(method, path, body)[0] == 403, f"{method} {path}"


def test_only_an_access_token_of_our_own_client_logs_in(acme: Life, alice: Person) -> None:
    realm = Realm(acme)
    realm.client("portal")
    # as if somebody had given another client the audience
    realm.client("portal-with-audience", "audience", "groups")
    tokens = alice.tokens()
    refused = {
        "an ID token": tokens["id_token"],
        "a token for another audience": alice.tokens("portal")["access_token"],
        "a token of another client": alice.tokens("portal-with-audience")["access_token"],
        "a runtime's token": _runtimes_token(realm),
        "no token": "x.y.z",
    }
    for what, jwt in refused.items():
        assert log_in(acme, jwt)[0] == 400, what
    assert log_in(acme, tokens["access_token"])[0] == 200


def _runtimes_token(realm: Realm) -> str:
    """What a workload gets from the realm for its projected token."""
    tenant = realm.tenant
    tenant.runtime("agent", {"image": "registry.example/agent:1"})
    tenant.settle()
    account = tenant.runtimes["agent"].principal
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": tenant.kube.as_controllers().token(tenant.names.namespace, account, realm.url),
    }
    return realm.tokens(form)["access_token"]


def test_an_expired_token_is_refused_at_once(new_tenant: NewTenant) -> None:
    tenant = new_tenant({"identity": {"sessions": {"accessTokenLifespan": "10s"}}})
    tenant.settle()
    jwt = Realm(tenant).user("alice").tokens()["access_token"]
    assert log_in(tenant, jwt)[0] == 200
    time.sleep(11)
    assert log_in(tenant, jwt)[0] == 400


def test_members_of_a_named_group_keep_the_organizations_secrets(acme: Life, alice: Person) -> None:
    realm = Realm(acme)
    keeper, other = realm.user("keeper", "/keepers"), realm.user("other", "/others")
    session = keeper.log_in("org-admin")
    assert session.call("POST", "kv/data/org/crm", {"data": {"key": "v"}})[0] == 200
    assert session.call("GET", f"kv/data/users/{alice.sub}/github/token")[0] == 403
    assert session.call("LIST", f"kv/metadata/users/{alice.sub}")[0] == 403
    for person in (alice, other):
        assert log_in(acme, person.tokens()["access_token"], "org-admin")[0] == 400


def test_a_group_that_is_no_longer_named_lets_nobody_in(new_tenant: NewTenant) -> None:
    tenant = new_tenant({"vault": {"admins": ["/keepers", "/others"]}})
    tenant.settle()
    keeper = Realm(tenant).user("keeper", "/keepers")
    for admins, status in ((["/keepers"], 200), (["/others"], 400), (["/keepers"], 200), ([], 400)):
        tenant.edit(TENANT, tenant.names.tenant, {"vault": {"admins": admins}})
        tenant.settle()
        assert log_in(tenant, keeper.tokens()["access_token"], "org-admin")[0] == status, admins
        assert log_in(tenant, keeper.tokens()["access_token"])[0] == 200


def test_a_suspended_tenants_users_are_out_and_come_back_with_new_logins_only(new_tenant: NewTenant) -> None:
    tenant = new_tenant({})
    tenant.settle()
    alice = Realm(tenant).user("alice")
    session, jwt = alice.log_in(), alice.tokens()["access_token"]
    home = f"axon/{tenant.names.vault_namespace}"
    others = _by_another_mount(tenant)
    _an_administrators_certificate(tenant)
    assert session.call("LIST", f"kv/metadata/users/{alice.sub}")[0] == 404
    tenant.edit(TENANT, tenant.names.tenant, {"suspended": True})
    tenant.settle()
    assert session.call("LIST", f"kv/metadata/users/{alice.sub}")[0] == 503
    assert log_in(tenant, jwt)[0] == 503
    # behind the lock: nobody is left
    tenant.bed.bao.admin("POST", "axon", f"sys/namespaces/api-lock/unlock/{tenant.names.vault_namespace}")
    assert tenant.bed.bao.look("LIST", home, "sys/leases/lookup") is None
    assert session.call("LIST", f"kv/metadata/users/{alice.sub}")[0] == 403
    assert others.call("GET", "auth/token/lookup-self")[0] == 403
    assert log_in(tenant, jwt)[0] == 400
    tenant.edit(TENANT, tenant.names.tenant, {"suspended": False})
    tenant.settle()
    assert session.call("LIST", f"kv/metadata/users/{alice.sub}")[0] == 403
    assert alice.log_in().call("LIST", f"kv/metadata/users/{alice.sub}")[0] == 404


def _by_another_mount(tenant: Life) -> Session:
    """A login that the operator does not know of."""
    bao, home = tenant.bed.bao, f"axon/{tenant.names.vault_namespace}"
    bao.admin("POST", home, "sys/auth/others", {"type": "userpass"})
    bao.admin("POST", home, "auth/others/users/eve", {"password": "password"})
    status, answer = bao.call("POST", home, "auth/others/login/eve", body={"password": "password"})
    assert status == 200, answer
    session = Session(tenant, answer["auth"]["client_token"])
    assert session.call("GET", "auth/token/lookup-self")[0] == 200
    return session


def _an_administrators_certificate(tenant: Life) -> None:
    """A lease that hangs on a login outside of the tenant's namespace."""
    bao, home = tenant.bed.bao, f"axon/{tenant.names.vault_namespace}"
    bao.admin("POST", home, "pki/roles/leased", {"allow_any_name": True, "key_type": "ec", "generate_lease": True})
    bao.admin("POST", home, "pki/issue/leased", {"common_name": "host.example"})
    assert "pki/" in bao.admin("LIST", home, "sys/leases/lookup")["keys"]
