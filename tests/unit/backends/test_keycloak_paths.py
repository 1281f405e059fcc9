"""No name climbs out of its realm: attacks on what is put into Keycloak's URLs."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Terminal, Transient
from axon_operator.backends.keycloak.adapter import KeycloakAdmin, KeycloakSettings
from axon_operator.domain.resources import RealmPath
from unit.backends.leaks import assert_own_words
from unit.backends.wire import CANARY, Reply, Seen, Wire, serving

LOGIN = "/base/realms/master/protocol/openid-connect/token"


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with serving(_answer) as running:
        yield running


@pytest.fixture(scope="module")
def keycloak(wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> KeycloakAdmin:
    token_file = tmp_path_factory.mktemp("keycloak") / "token"
    token_file.write_text("a.b.c")
    return KeycloakAdmin(KeycloakSettings(f"{wire.url}/base", None, token_file))


def _answer(request: Seen) -> Reply:
    if request.path == LOGIN:
        return Reply(200, {"access_token": "token", "expires_in": 60})
    return Reply(200, {})


hostile = st.sampled_from(
    ["..", ".", "%2e%2e", "%2f", "/", "//", "\\", "?", "#", "*", ";", "@", ":", "\n", "\r\nAuthorization: x", "\x00",
     " ", "", "é", "\u2024\u2024", "\uff0e\uff0e", "\u2215", "master", "http://127.0.0.1:1/", "-x", ".x", "x.", "X"]
)  # fmt: skip
plain = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
segment = st.one_of(plain, hostile, st.text(max_size=8), st.builds(str.__add__, plain, hostile))
realms = st.one_of(st.just("axon-acme"), st.just(""), segment, st.builds("{}/{}".format, segment, segment))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    realm=realms,
    segments=st.lists(segment, max_size=4).map(tuple),
    verb=st.sampled_from(["read", "create", "update", "delete", "logout_all"]),
)
def test_fuzzed_path_is_refused_or_sent_exactly_as_it_is(
    keycloak: KeycloakAdmin, wire: Wire, realm: str, segments: tuple[str, ...], verb: str
) -> None:
    wire.seen.clear()
    at = RealmPath(realm, segments)
    refused = None
    try:
        match verb:
            case "create" | "update":
                getattr(keycloak, verb)(at, {"name": "x"})
            case "logout_all":
                at = RealmPath(realm, ("logout-all",))
                keycloak.logout_all(realm)
            case _:
                getattr(keycloak, verb)(at)
    except Terminal as error:
        refused = error.reason
    if refused:
        assert refused is Reason.INVALID_SPEC
        assert wire.seen == [], "something was sent before the path was refused"
        return
    (request,) = [seen for seen in wire.seen if seen.path != LOGIN]
    # received byte for byte: neither urljoin nor requests nor urllib3 had anything to fold, quote or cut off
    assert request.path == "/base/admin/realms/" + "/".join((at.realm, *at.segments))
    assert re.fullmatch(r"/base/admin/realms/[a-z0-9-]+(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", request.path)
    assert ".." not in request.path
    assert at.realm != "master"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(realm=realms, user=segment)
def test_no_users_id_leads_elsewhere(keycloak: KeycloakAdmin, wire: Wire, realm: str, user: str) -> None:
    wire.seen.clear()
    # the server here knows no lists
    with contextlib.suppress(Terminal, Transient):
        keycloak.logout_user(realm, user)
    # a list asks for whole representations
    sent = [seen.path.removesuffix("?briefRepresentation=false") for seen in wire.seen if seen.path != LOGIN]
    assert all(path.startswith(f"/base/admin/realms/{realm}/users/{user}/") for path in sent)
    assert all(re.fullmatch(r"/base/admin/realms/[a-z0-9-]+(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", path) for path in sent)


@pytest.mark.parametrize(
    "path",
    [
        RealmPath("t1/../master"),
        RealmPath("t1/../victim"),
        RealmPath("t1?x="),
        RealmPath("t1#"),
        RealmPath(".."),
        RealmPath("master"),
        RealmPath("master", ("clients",)),
        RealmPath("axon-acme", ("..", "axon-globex")),
        RealmPath("axon-acme", ("clients/../../axon-globex",)),
        RealmPath("axon-acme", ("%2e%2e", "axon-globex")),
        RealmPath("axon-acme", ("",)),
        RealmPath("axon-acme", ("clients", "x\n")),
        # would list the realms
        RealmPath(""),
        RealmPath("", ("axon-acme",)),
    ],
)
def test_climbing_out_is_refused_before_anything_is_sent(keycloak: KeycloakAdmin, wire: Wire, path: RealmPath) -> None:
    wire.seen.clear()
    for call in (keycloak.read, keycloak.delete, lambda at: keycloak.update(at, {"enabled": False})):
        with pytest.raises(Terminal) as refused:
            call(path)
        assert_own_words(refused.value)
    assert wire.seen == []


@pytest.mark.parametrize("name", ["..", ".", "master", "a b", "a/b", "A", "", None, 1, ["x"], CANARY + "/.."])
def test_a_realm_whose_name_has_no_path_is_not_created(keycloak: KeycloakAdmin, wire: Wire, name: Any) -> None:
    wire.seen.clear()
    with pytest.raises(Terminal) as refused:
        keycloak.create(RealmPath(""), {"realm": name})
    assert_own_words(refused.value)
    assert wire.seen == []


def test_a_realm_is_not_renamed(keycloak: KeycloakAdmin, wire: Wire) -> None:
    wire.seen.clear()
    with pytest.raises(Terminal):
        keycloak.update(RealmPath("axon-acme"), {"realm": "axon-globex"})
    assert wire.seen == []
    keycloak.update(RealmPath("axon-acme"), {"realm": "axon-acme", "enabled": True})


def test_a_realm_is_created_in_the_collection(keycloak: KeycloakAdmin, wire: Wire) -> None:
    wire.seen.clear()
    keycloak.create(RealmPath(""), {"realm": "axon-acme", "enabled": True})
    request = wire.seen[-1]
    assert (request.method, request.path) == ("POST", "/base/admin/realms")
    assert json.loads(request.body) == {"realm": "axon-acme", "enabled": True}
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "url",
    [
        "http://keycloak.keycloak.svc:8080",
        "http://127.0.0.1.example.org",
        "https://user:password@keycloak",
        "https://keycloak/auth?x=y",
        "https://keycloak/auth/../x",
        "https://",
        "",
    ],
)
def test_a_url_over_which_a_token_could_be_overheard_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="Keycloak's URL"):
        KeycloakSettings(url, None, Path("token"))
