"""The tenant's realm on a real Keycloak: every planned field is kept, and what the plan forbids is refused."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from axon_operator.api.tenant import TenantSpec
from axon_operator.backends.errors import Terminal
from axon_operator.backends.keycloak.adapter import KeycloakAdmin
from axon_operator.domain.names import REALM_CLUSTER_ATTRIBUTE, REALM_OWNER_ATTRIBUTE, USERS_CLIENT
from axon_operator.domain.resources import NAMESPACE, TENANT, RealmPath, RealmResource, Ref
from axon_operator.domain.tenant import realm as desired
from axon_operator.domain.values import in_order
from bench.bed import Bed
from bench.life import Life, NotSettledError, keycloak_of
from integration.tenant.conftest import NewTenant
from servers.browser import Browser, Person, claims, code_request

SPEC: dict[str, Any] = {
    "displayName": "Acme",
    "organizationID": "org-1",
    "identity": {
        "roles": [{"name": "auditor", "description": "Reads."}, {"name": "operator", "description": "Acts."}],
        "groups": [{"name": "staff", "roles": ["operator"]}, {"name": "guests"}],
    },
}


@pytest.fixture(scope="module")
def tenant(new_tenant: NewTenant) -> Life:
    made = new_tenant(SPEC)
    made.settle()
    return made


@pytest.fixture(scope="module")
def keycloak(servers: Bed) -> KeycloakAdmin:
    return keycloak_of(servers.settings)


# -- drift, generated from the plan


@dataclass(frozen=True)
class Hand:
    """A change by hand of one planned thing, and how it is read."""

    what: str
    change: Callable[[KeycloakAdmin], None]
    read: Callable[[KeycloakAdmin], Any]


_OTHERS: Mapping[str, Any] = {
    "sslRequired": "none",
    "browserFlow": "registration",
    "directGrantFlow": "browser",
    "bruteForceStrategy": "LINEAR",
    "otpPolicyType": "hotp",
    "otpPolicyAlgorithm": "HmacSHA256",
    "otpPolicyDigits": 8,
    "passwordPolicy": "length(1)",
    "issuer": "https://other.example",
    "firstBrokerLoginFlowAlias": "browser",
    "syncMode": "IMPORT",
    "eventsListeners": ["email"],
    "authType": "none",
    "editMode": "WRITABLE",
    "mode": "IMPORT",
    "vendor": "ad",
    "useTruststoreSpi": "never",
    "searchScope": "1",
    "changedSyncPeriod": "60",
    "connectionUrl": "ldaps://evil.example:636",
    "membership.attribute.type": "UID",
    "user.roles.retrieve.strategy": "GET_GROUPS_FROM_USER_MEMBEROF_ATTRIBUTE",
    "groups.path": "/staff",
    "clientAuthMethod": "client_secret_basic",
    "pkceMethod": "plain",
    "identityProviderMapper": "hardcoded-attribute-idp-mapper",
    "pkce.code.challenge.method": "plain",
}
"""Where Keycloak takes only certain values."""
_FIXED = {
    "realm",
    "id",
    "clientId",
    "alias",
    "protocol",
    "providerId",
    "identityProviderAlias",
    "providerType",
    "parentId",
}
"""Names and ids: what has another one is another thing."""


def test_every_planned_field_of_the_realm_is_set_right(tenant: Life, keycloak: KeycloakAdmin) -> None:
    all_are_set_right(tenant, keycloak, list(planned_hands(tenant, keycloak)))


def all_are_set_right(tenant: Life, keycloak: KeycloakAdmin, hands: list[Hand]) -> None:
    """Each in turn is changed, and is as before after a pass; then nothing is left to write."""
    assert len({hand.what for hand in hands}) == len(hands) > 0
    for hand in hands:
        planned = hand.read(keycloak)
        hand.change(keycloak)
        assert hand.read(keycloak) != planned, f"{hand.what}: the change by hand took no effect"
        tenant.settle(again=True)
        assert hand.read(keycloak) == planned, hand.what
    assert tenant.settle(again=True).writes == ()


def planned_hands(tenant: Life, keycloak: KeycloakAdmin) -> Iterator[Hand]:
    names, spec = tenant.names, TenantSpec.model_validate(SPEC)
    realm, identity = names.realm, spec.identity
    cluster = tenant.kube.get(Ref(NAMESPACE, "", "kube-system"))["metadata"]["uid"]
    yield from fields(desired.realm(names, spec, cluster))
    for name in desired.marks(names, spec, cluster):
        # these two say whose the realm is: another's is not touched
        if name not in {REALM_OWNER_ATTRIBUTE, REALM_CLUSTER_ATTRIBUTE}:
            yield _realm_attribute(RealmPath(realm), name)
    for path, field, part in (
        (desired.CLIENT_PROFILES, "clientProfiles", "profiles"),
        (desired.CLIENT_POLICIES, "clientPolicies", "policies"),
    ):
        planned = (keycloak.read(RealmPath(realm)) or {})[field][part]
        yield from _leaves_of_policies(RealmPath(realm, path), field, part, planned)
    yield from fields(desired.own_provider(names, tenant.settings.platform()))
    yield from fields(desired.users_client(names))
    yield from _scopes(desired.users_client(names), keycloak)
    yield from fields(desired.otp_action(names, identity.mfa))
    for step in desired.second_factor(identity.mfa):
        yield _step(RealmPath(realm, desired.BROWSER_FLOW), step)
    for role in identity.roles:
        yield from fields(desired.role(names, role))
    shown = RealmPath(realm, (*desired.users_client(names).at.segments, "scope-mappings", "realm"))
    yield from _mappings(shown, keycloak, realm)
    groups = [RealmPath(realm, ("groups", group["id"])) for group in keycloak.list(RealmPath(realm, ("groups",)))]
    for group in groups:
        yield from _mappings(RealmPath(realm, (*group.segments, "role-mappings", "realm")), keycloak, realm)
    # last, because what comes back has another id
    for group in groups:
        yield gone(group, RealmPath(realm, ("groups",)))
    for role in identity.roles:
        yield gone(RealmPath(realm, ("roles", role.name)), RealmPath(realm, ("roles",)))
    for resource in desired.contents(names, tenant.settings.platform()):
        yield gone(resource.at, resource.collection)


def fields(resource: RealmResource) -> Iterator[Hand]:
    """Each field of the body, each setting of its maps, each property of its mappers."""
    for field, value in resource.body.items():
        if field in {*_FIXED, "defaultClientScopes", "optionalClientScopes"}:
            continue
        if resource.collection.segments in {("roles",), ("groups",), ()} and field in {"attributes", "name"}:
            continue  # owner marks, and the names of roles
        if isinstance(value, Mapping):
            for inner in value.keys() - {REALM_OWNER_ATTRIBUTE}:
                yield put_by_hand(resource.at, (field, inner), value[inner])
        elif field == "protocolMappers":
            for mapper in value:
                for inner in mapper["config"]:
                    yield _mapper(resource.at, mapper["name"], inner)
        else:
            yield put_by_hand(resource.at, (field,), value)


def _read(path: RealmPath, *keys: str) -> Callable[[KeycloakAdmin], Any]:
    def read(keycloak: KeycloakAdmin) -> Any:
        found: Any = keycloak.read(path)
        for key in keys:
            found = (found or {}).get(key)
        return in_order(found)

    return read


def put_by_hand(path: RealmPath, keys: tuple[str, ...], planned: Any) -> Hand:
    def change(keycloak: KeycloakAdmin) -> None:
        live = copy.deepcopy(dict(keycloak.read(path) or {}))
        _lift_policies(keycloak, path.realm)
        place: Any = live
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = _other(keys[-1], planned)
        if "clients" in path.segments and keys == ("bearerOnly",):
            live["publicClient"] = False
        if keys[-1] == "useJwksUrl":
            live["config"]["validateSignature"] = "false"  # else refused: there is no key
        # Keycloak takes the rules of one-time codes only together
        together = [key for key in live if key.startswith("otpPolicy")] if keys[0].startswith("otpPolicy") else keys[:1]
        partial = {key: live[key] for key in together}
        keycloak.update(path, partial if not path.segments else live)

    return Hand(f"{path} {'.'.join(keys)}", change, _read(path, *keys))


def _lift_policies(keycloak: KeycloakAdmin, realm: str) -> None:
    """They would refuse, or set right at once, what is to be changed by hand."""
    keycloak.update(RealmPath(realm, desired.CLIENT_POLICIES), {"policies": []})


def _other(field: str, value: Any) -> Any:
    if field in _OTHERS:
        return [_OTHERS[field]] if isinstance(value, list) and not isinstance(_OTHERS[field], list) else _OTHERS[field]
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str() if value in {"true", "false"}:
            return "false" if value == "true" else "true"
        case str() if value.isdecimal():
            return str(int(value) + 1)
        case str():
            return f"{value}x"
        case []:
            return {"enabledEventTypes": ["LOGIN"], "webOrigins": ["https://evil.example"]}[field]
        case [str(only)]:
            return [_other(field, only)]
    raise AssertionError(field)


def _realm_attribute(path: RealmPath, name: str) -> Hand:
    def change(keycloak: KeycloakAdmin) -> None:
        live = (keycloak.read(path) or {})["attributes"]
        keycloak.update(path, {"attributes": {**live, name: "by hand"}})

    return Hand(f"{path} {name}", change, _read(path, "attributes", name))


def _leaves_of_policies(path: RealmPath, field: str, part: str, planned: list[Any]) -> Iterator[Hand]:
    """Each of our list's leaves, however deep; and the entry as a whole."""
    read = _read(RealmPath(path.realm), field)

    def put(changed: list[Any]) -> Callable[[KeycloakAdmin], None]:
        return lambda keycloak: keycloak.update(path, {part: changed})

    for number, leaf in enumerate(_leaves(planned)):
        *above, last = leaf
        if last in {"name", "executor", "condition"}:
            continue
        changed = copy.deepcopy(planned)
        place: Any = changed
        for key in above:
            place = place[key]
        if above[-1] == "profiles":
            place.clear()  # a policy can name only profiles that there are
        else:
            place[last] = _other(str(last), place[last]) if place[last] != [] else ["by-hand.example"]
        yield Hand(f"{path} {number} {leaf}", put(changed), read)
    if part == "policies":
        yield Hand(f"{path} removed", put([]), read)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path


def _mapper(client: RealmPath, name: str, setting: str) -> Hand:
    def read(keycloak: KeycloakAdmin) -> Any:
        mappers = (keycloak.read(client) or {})["protocolMappers"]
        return next(m for m in mappers if m["name"] == name)["config"].get(setting)

    def change(keycloak: KeycloakAdmin) -> None:
        mappers = (keycloak.read(client) or {})["protocolMappers"]
        mapper = next(m for m in mappers if m["name"] == name)
        mapper["config"][setting] = _other(setting, mapper["config"][setting])
        keycloak.update(RealmPath(client.realm, (*client.segments, "protocol-mappers", "models", mapper["id"])), mapper)

    return Hand(f"{client} mapper {name} {setting}", change, read)


def _scopes(client: RealmResource, keycloak: KeycloakAdmin) -> Iterator[Hand]:
    scopes = {s["name"]: s["id"] for s in keycloak.list(RealmPath(client.at.realm, ("client-scopes",)))}
    for field, part in (("defaultClientScopes", "default"), ("optionalClientScopes", "optional")):
        path = (*client.at.segments, f"{part}-client-scopes")
        for scope in client.body[field]:
            at = RealmPath(client.at.realm, (*path, scopes[scope]))
            yield Hand(f"{at} removed", lambda k, at=at: k.delete(at), _read(client.at, field))  # type: ignore[misc]
        at = RealmPath(client.at.realm, (*path, scopes["email"]))
        yield Hand(f"{at} added", lambda k, at=at: k.update(at, {}), _read(client.at, field))  # type: ignore[misc]


def _step(flow: RealmPath, name: str) -> Hand:
    def live(keycloak: KeycloakAdmin) -> Mapping[str, Any]:
        return next(step for step in keycloak.list(flow) if step["displayName"] == name)

    return Hand(
        f"{flow} {name}",
        lambda keycloak: keycloak.update(flow, {**live(keycloak), "requirement": "DISABLED"}),
        lambda keycloak: live(keycloak)["requirement"],
    )


def _mappings(path: RealmPath, keycloak: KeycloakAdmin, realm: str) -> Iterator[Hand]:
    """Taken away, and one more."""

    def read(keycloak: KeycloakAdmin) -> list[str]:
        return sorted(role["name"] for role in keycloak.list(path))

    there = [{"id": r["id"], "name": r["name"]} for r in keycloak.list(path)]
    extra = next(r for r in keycloak.list(RealmPath(realm, ("roles",))) if r["name"] == "offline_access")
    if there:
        yield Hand(f"{path} taken", lambda k: k.withdraw(path, there), read)
    yield Hand(f"{path} given", lambda k: k.grant(path, [{"id": extra["id"], "name": extra["name"]}]), read)


def gone(path: RealmPath, collection: RealmPath) -> Hand:
    def read(keycloak: KeycloakAdmin) -> Any:
        items = keycloak.list(collection)
        return sorted(str(i.get("clientId") or i.get("alias") or i.get("name")) for i in items)

    return Hand(f"{path} removed", lambda keycloak: keycloak.delete(path), read)


# -- what the realm refuses


@pytest.fixture(scope="module")
def person(tenant: Life, keycloak: KeycloakAdmin) -> Person:
    return new_person(keycloak, tenant, "alice", "staff")


def new_person(keycloak: KeycloakAdmin, tenant: Life, name: str, group: str = "") -> Person:
    """A user of the realm, which from now on can be used over http from this machine."""
    realm = tenant.names.realm
    password = "correct-horse-Battery-9"
    keycloak.create(
        RealmPath(realm, ("users",)),
        {
            "username": name,
            "enabled": True,
            "email": f"{name}@acme.example",
            "firstName": name,
            "lastName": "Doe",
            "groups": [f"/{group}"] if group else [],
            "credentials": [{"type": "password", "value": password, "temporary": False}],
        },
    )
    return Person(name, password)


def url(tenant: Life) -> str:
    return str(tenant.settings.keycloak_url).rstrip("/")


def browser_at(tenant: Life) -> Browser:
    """A new one, without cookies."""
    return Browser(url(tenant), tenant.settings.keycloak_ca_file)


def test_a_person_logs_in_to_openbaos_client_with_a_code_that_is_set_up_first(tenant: Life, person: Person) -> None:
    realm = tenant.names.realm
    first = browser_at(tenant).authorize(realm, person, **code_request(USERS_CLIENT, "v" * 64))
    assert first.seen == ("password", "totpSecret"), first
    assert "code" in first.parameters

    tokens = browser_at(tenant).token(realm, person, USERS_CLIENT)
    access, ident = claims(tokens["access_token"]), claims(tokens["id_token"])
    assert access["aud"] == USERS_CLIENT
    assert access["azp"] == USERS_CLIENT
    assert access["sub"]
    assert access["typ"] == "Bearer"
    assert access["groups"] == ["/staff"]
    assert access["roles"] == ["operator"]
    assert 0 < access["exp"] - access["iat"] <= 120
    assert ident["typ"] == "ID"
    assert {"groups", "roles", "email"}.isdisjoint(ident)


def test_a_user_who_was_there_before_the_second_factor_is_led_to_it(
    new_tenant: NewTenant, keycloak: KeycloakAdmin
) -> None:
    tenant = new_tenant({"identity": {"mfa": "None"}})
    tenant.settle()
    person = new_person(keycloak, tenant, "bob")
    without = browser_at(tenant).authorize(tenant.names.realm, person, **code_request(USERS_CLIENT, "v" * 64))
    assert without.seen == ("password",), without

    tenant.edit(TENANT, tenant.names.tenant, {"identity": {"mfa": "Required"}})
    tenant.settle()
    led = browser_at(tenant).authorize(tenant.names.realm, person, **code_request(USERS_CLIENT, "v" * 64))
    assert led.seen == ("password", "totpSecret"), led
    asked = browser_at(tenant).token(tenant.names.realm, person, USERS_CLIENT)
    assert claims(asked["access_token"])["sub"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unauthorized_client"),
        ({"response_type": "id_token token"}, "unauthorized_client"),
        ({"code_challenge": "", "code_challenge_method": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_a_login_without_code_flow_and_pkce_is_refused(
    tenant: Life, keycloak: KeycloakAdmin, person: Person, changed: dict[str, str], error: str
) -> None:
    request = {k: v for k, v in {**code_request(USERS_CLIENT, "v" * 64), **changed}.items() if v}
    arrival = browser_at(tenant).authorize(tenant.names.realm, person, **request)
    assert arrival.parameters.get("error") == error, arrival
    assert "password" not in arrival.seen


@pytest.mark.parametrize("elsewhere", ["https://evil.example/callback", "http://127.0.0.1:49152/other"])
def test_a_login_that_would_return_elsewhere_is_refused(tenant: Life, person: Person, elsewhere: str) -> None:
    request = {**code_request(USERS_CLIENT, "v" * 64), "redirect_uri": elsewhere}
    arrival = browser_at(tenant).authorize(tenant.names.realm, person, **request)
    assert arrival.parameters == {}
    assert arrival.seen == ()


@pytest.mark.parametrize(
    ("uri", "accepted"),
    [
        ("*", False),
        ("https://*", False),
        ("https://app.example/*", False),
        ("http://app.example/callback", False),
        ("http://127.0.0.1/*", False),
        ("app:/callback", False),
        ("https://app.example/callback", True),
        ("http://127.0.0.1/callback", True),
    ],
)
def test_whoever_makes_a_client_its_redirects_are_exact(
    tenant: Life, keycloak: KeycloakAdmin, uri: str, *, accepted: bool
) -> None:
    clients = RealmPath(tenant.names.realm, ("clients",))
    ident = "0b0e6a3a-0000-4000-8000-000000000001"
    body = {"id": ident, "clientId": "app", "publicClient": True, "implicitFlowEnabled": True, "redirectUris": [uri]}
    try:
        if accepted:
            keycloak.create(clients, body)
            made = keycloak.read(RealmPath(clients.realm, ("clients", ident))) or {}
            assert made["implicitFlowEnabled"] is False
            assert made["attributes"]["pkce.code.challenge.method"] == "S256"
        else:
            with pytest.raises(Terminal):
                keycloak.create(clients, body)
    finally:
        keycloak.delete(RealmPath(clients.realm, ("clients", ident)))


def test_a_password_sent_to_a_client_gives_no_token(tenant: Life, keycloak: KeycloakAdmin, person: Person) -> None:
    """Also to Keycloak's own command-line client, which every realm has: it would pass by the second factor."""
    form = {
        "grant_type": "password",
        "client_id": "admin-cli",
        "username": person.name,
        "password": person.password,
    }
    where = f"{url(tenant)}/realms/{tenant.names.realm}/protocol/openid-connect/token"
    answer = browser_at(tenant).request("POST", where, data=form)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error_description"] == "resource owner password credentials grant is prohibited."


def test_another_tenants_token_is_refused(
    new_tenant: NewTenant, tenant: Life, keycloak: KeycloakAdmin, person: Person
) -> None:
    other = new_tenant({})
    other.settle()
    token = browser_at(tenant).token(tenant.names.realm, person, USERS_CLIENT)["access_token"]
    answers = {
        realm: browser_at(tenant)
        .request(
            "GET",
            f"{url(tenant)}/realms/{realm}/protocol/openid-connect/userinfo",
            headers={"Authorization": f"Bearer {token}"},
        )
        .status_code
        for realm in (tenant.names.realm, other.names.realm)
    }
    assert answers == {tenant.names.realm: 200, other.names.realm: 401}


def test_a_realm_without_the_tenants_mark_is_not_touched(new_tenant: NewTenant, keycloak: KeycloakAdmin) -> None:
    tenant = new_tenant({})
    keycloak.create(RealmPath(""), {"realm": tenant.names.realm, "enabled": True, "displayName": "theirs"})
    before = keycloak.read(RealmPath(tenant.names.realm))
    with pytest.raises(NotSettledError, match="NameTaken"):
        tenant.settle(patience=5.0)
    assert keycloak.read(RealmPath(tenant.names.realm)) == before


@pytest.mark.parametrize("name", ["a/b", "..", "a/../../master"])
def test_a_role_with_an_odd_name_and_our_mark_goes_and_holds_nothing_up(
    new_tenant: NewTenant, keycloak: KeycloakAdmin, name: str
) -> None:
    tenant = new_tenant({"identity": {"roles": [{"name": "auditor"}]}})
    tenant.settle()
    roles = RealmPath(tenant.names.realm, ("roles",))
    keycloak.create(roles, {"name": name, "attributes": {REALM_OWNER_ATTRIBUTE: [tenant.names.uid]}})
    assert name in {role["name"] for role in keycloak.list(roles)}
    tenant.edit(TENANT, tenant.names.tenant, {"identity": {"roles": [{"name": "operator"}]}})
    tenant.settle()
    assert {"auditor", "operator", name} & {role["name"] for role in keycloak.list(roles)} == {"operator"}


def test_a_provider_with_an_odd_alias_and_our_mark_is_told_and_holds_nothing_else_up(
    new_tenant: NewTenant, keycloak: KeycloakAdmin
) -> None:
    tenant = new_tenant({})
    tenant.settle()
    instances = RealmPath(tenant.names.realm, desired.INSTANCES)
    config = {"issuer": "https://issuer.example", REALM_OWNER_ATTRIBUTE: tenant.names.uid}
    keycloak.create(instances, {"alias": "..", "providerId": "kubernetes", "config": config})
    tenant.edit(TENANT, tenant.names.tenant, {"identity": {"roles": [{"name": "auditor"}]}})
    with pytest.raises(NotSettledError, match="Conflict"):
        tenant.settle(patience=5.0)
    roles = keycloak.list(RealmPath(tenant.names.realm, ("roles",)))
    assert "auditor" in {role["name"] for role in roles}
