"""What the Keycloak adapter makes of answers, failures and threads."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError, Terminal, Transient, Waiting
from axon_operator.backends.keycloak.adapter import KeycloakAdmin, KeycloakSettings
from axon_operator.domain.resources import RealmPath
from unit.backends.leaks import assert_own_words
from unit.backends.wire import CANARY, Clock, LoginServer, Reply, Seen, Wire, serving

LOGIN = "/realms/master/protocol/openid-connect/token"
AT = RealmPath("axon-acme", ("clients", "0f"))
CLIENTS = RealmPath("axon-acme", ("clients",))
CALLS: dict[str, Callable[[KeycloakAdmin], Any]] = {
    "read": lambda keycloak: keycloak.read(AT),
    "list": lambda keycloak: keycloak.list(CLIENTS),
    "create": lambda keycloak: keycloak.create(CLIENTS, {"name": CANARY}),
    "update": lambda keycloak: keycloak.update(AT, {"name": CANARY}),
    "delete": lambda keycloak: keycloak.delete(AT),
    "logout-all": lambda keycloak: keycloak.logout_all("axon-acme"),
    "logout-user": lambda keycloak: keycloak.logout_user("axon-acme", "0f"),
    "find-user": lambda keycloak: keycloak.find_user("axon-acme", CANARY),
}


def new_server() -> LoginServer:
    return LoginServer(LOGIN, lambda token: {"access_token": token, "expires_in": 60}, {"id": "0f"})


@pytest.fixture
def server() -> LoginServer:
    return new_server()


@pytest.fixture
def keycloak(wire: Wire, token_file: Path, clock: Clock) -> KeycloakAdmin:
    return KeycloakAdmin(KeycloakSettings(wire.url, None, token_file, timeout=2), clock=clock)


def always(status: int) -> Callable[[Seen], Reply]:
    return lambda _: Reply(status, {"errorMessage": CANARY, "error": CANARY})


# -- answers


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, (Terminal, Reason.REQUEST_REJECTED)),
        (401, (Denied, Reason.KEYCLOAK_DENIED)),
        (403, (Denied, Reason.KEYCLOAK_DENIED)),
        (405, (Terminal, Reason.REQUEST_REJECTED)),
        (409, (Waiting, Reason.PROGRESSING)),
        (415, (Terminal, Reason.REQUEST_REJECTED)),
        (429, (Transient, Reason.KEYCLOAK_UNAVAILABLE)),
        (500, (Transient, Reason.KEYCLOAK_UNAVAILABLE)),
        (503, (Transient, Reason.KEYCLOAK_UNAVAILABLE)),
    ],
)
def test_answers_become_our_errors_without_the_servers_text(
    keycloak: KeycloakAdmin, server: LoginServer, call: str, status: int, expected: tuple[type[ReconcileError], Reason]
) -> None:
    server.reply = always(status)
    with pytest.raises(ReconcileError) as failed:
        CALLS[call](keycloak)
    assert (type(failed.value), failed.value.reason) == expected
    assert_own_words(failed.value)


def test_what_does_not_exist(keycloak: KeycloakAdmin, server: LoginServer) -> None:
    server.reply = always(404)
    assert keycloak.read(AT) is None
    assert keycloak.list(CLIENTS) == ()
    keycloak.delete(AT)
    for call in ("create", "update", "logout-all"):
        with pytest.raises(Waiting) as failed:
            CALLS[call](keycloak)
        assert failed.value.reason is Reason.DEPENDENCY_NOT_READY
        assert_own_words(failed.value)


def test_a_foreign_realm_comes_back_as_keycloak_strips_it(keycloak: KeycloakAdmin, server: LoginServer) -> None:
    stripped = {"realm": "axon-acme", "displayName": "x", "bruteForceProtected": False, "organizationsEnabled": False}
    server.reply = lambda _: Reply(200, stripped)
    assert keycloak.read(RealmPath("axon-acme")) == stripped


def test_client_secrets_stay_outside(keycloak: KeycloakAdmin, server: LoginServer) -> None:
    server.reply = lambda _: Reply(200, {"id": "0f", "secret": CANARY, "registrationAccessToken": CANARY})
    assert keycloak.read(AT) == {"id": "0f"}
    server.reply = lambda _: Reply(200, [{"id": "0f", "secret": CANARY}, {"id": "1f", "attributes": {"a": "b"}}])
    assert keycloak.list(CLIENTS) == ({"id": "0f"}, {"id": "1f", "attributes": {"a": "b"}})


@pytest.mark.parametrize("call", ["read", "list"])
@pytest.mark.parametrize("body", [None, CANARY, [CANARY]])
def test_an_answer_of_unknown_form_is_an_error(
    keycloak: KeycloakAdmin, server: LoginServer, call: str, body: Any
) -> None:
    server.reply = lambda _: Reply(200, body)
    with pytest.raises(Transient) as failed:
        CALLS[call](keycloak)
    assert_own_words(failed.value)


# -- failures of the way


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.SSLError(CANARY),
        requests.exceptions.ConnectTimeout(CANARY),
        requests.exceptions.ConnectionError(CANARY),
        requests.exceptions.InvalidHeader(CANARY),
        UnicodeDecodeError("ascii", CANARY.encode(), 0, 1, CANARY),
        RuntimeError(CANARY),
    ],
)
def test_exceptions_of_libraries_become_transient_without_their_text(
    keycloak: KeycloakAdmin, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(requests.Session, "request", fail)
    with pytest.raises(Transient) as failed:
        CALLS[call](keycloak)
    assert failed.value.reason is Reason.KEYCLOAK_UNAVAILABLE
    assert_own_words(failed.value)


@pytest.mark.filterwarnings("ignore:`verify=<str>` is deprecated:DeprecationWarning")  # python-keycloak's affair
def test_an_unreadable_ca_file_is_transient(wire: Wire, token_file: Path, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.crt"
    keycloak = KeycloakAdmin(KeycloakSettings(wire.url, ca_file, token_file))
    with pytest.raises(Transient) as missing:
        keycloak.read(AT)
    ca_file.write_text(CANARY)
    with pytest.raises(Transient) as unusable:
        keycloak.read(AT)
    for failed in (missing, unusable):
        assert_own_words(failed.value)


def test_nobody_listening_is_transient_and_names_the_address(token_file: Path) -> None:
    with serving(new_server()) as wire:
        gone = wire.url
    with pytest.raises(Transient, match=gone) as failed:
        KeycloakAdmin(KeycloakSettings(gone, None, token_file)).read(AT)
    assert_own_words(failed.value)


@pytest.mark.parametrize("call", ["read", "create"])
def test_a_server_that_hangs_costs_one_timeout_and_one_request(
    wire: Wire, server: LoginServer, token_file: Path, call: str
) -> None:
    release = threading.Event()

    def hang(_: Seen) -> Reply:
        release.wait(5)
        return Reply(200)

    server.reply = hang
    keycloak = KeycloakAdmin(KeycloakSettings(wire.url, None, token_file, timeout=0.2))
    with pytest.raises(Transient, match=r"within 0\.2 s"):
        CALLS[call](keycloak)
    release.set()
    assert len(wire.paths(LOGIN)) == 1, "it was sent again"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_does_not_carry_the_token_to_another_host(
    keycloak: KeycloakAdmin, server: LoginServer, status: int
) -> None:
    with serving(lambda _: Reply(200, {"id": "0f"})) as thief:
        elsewhere = Reply(status, None, {"Location": f"{thief.url}/{CANARY}"})
        server.reply = lambda _: elsewhere
        for call in CALLS.values():
            with pytest.raises(Transient, match="redirect") as failed:
                call(keycloak)
            assert_own_words(failed.value)
        server.login_reply = lambda: elsewhere
        keycloak._thread.token = None
        with pytest.raises(Transient, match="redirect"):
            keycloak.read(AT)
        assert thief.seen == []


def test_environment_has_no_say(
    keycloak: KeycloakAdmin, wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(lambda _: Reply(200)) as proxy:
        (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login {CANARY} password {CANARY}\n")
        for name, value in {"http_proxy": proxy.url, "HTTP_PROXY": proxy.url, "no_proxy": "",
                            "NETRC": str(tmp_path / ".netrc")}.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        keycloak.read(AT)
        assert proxy.seen == []
    assert CANARY not in repr(wire.seen)


# -- login


def test_login_is_by_assertion_and_without_a_secret(keycloak: KeycloakAdmin, wire: Wire) -> None:
    keycloak.read(AT)
    login = wire.seen[0]
    assert login.path == LOGIN
    assert parse_qs(login.body.decode(), keep_blank_values=True) == {
        "grant_type": ["client_credentials"],
        "client_id": ["axon-operator"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
        "client_assertion": ["first.jwt.x"],
    }
    assert "Authorization" not in login.headers
    assert wire.seen[1].headers["Authorization"] == "Bearer token-1"


def test_token_is_renewed_by_a_new_login_before_it_expires(
    keycloak: KeycloakAdmin, wire: Wire, clock: Clock, token_file: Path
) -> None:
    keycloak.read(AT)
    clock.now += 39
    keycloak.read(AT)
    assert wire.count(LOGIN) == 1
    clock.now += 2  # 2/3 of 60 s have passed
    token_file.write_text("second.jwt.x")
    keycloak.read(AT)
    assert wire.count(LOGIN) == 2
    assert b"second.jwt.x" in wire.seen[-2].body
    assert wire.seen[-1].headers["Authorization"] == "Bearer token-2"


def test_refused_token_is_replaced_once(keycloak: KeycloakAdmin, server: LoginServer, wire: Wire) -> None:
    server.reply = lambda r: Reply(401 if r.headers["Authorization"] == "Bearer token-1" else 200, {"id": "0f"})
    assert keycloak.read(AT) == {"id": "0f"}
    assert wire.count(LOGIN) == 2


def test_refused_again_is_denied_without_a_third_attempt(
    keycloak: KeycloakAdmin, server: LoginServer, wire: Wire
) -> None:
    server.reply = always(401)
    with pytest.raises(Denied):
        keycloak.read(AT)
    assert wire.count(LOGIN) == 2
    assert len(wire.paths(LOGIN)) == 2


@pytest.mark.parametrize("status", [400, 403, 404])
def test_refused_login_is_denied(keycloak: KeycloakAdmin, server: LoginServer, status: int) -> None:
    server.login_reply = lambda: Reply(status, {"error_description": CANARY})
    with pytest.raises(Denied) as failed:
        keycloak.read(AT)
    assert failed.value.reason is Reason.KEYCLOAK_DENIED
    assert_own_words(failed.value)


def test_a_login_refused_while_keys_are_fetched_is_waited_for_and_then_denied(
    keycloak: KeycloakAdmin, server: LoginServer, clock: Clock
) -> None:
    server.login_reply = lambda: Reply(401, {"error": CANARY})
    for _ in range(2):
        with pytest.raises(Waiting) as waits:
            keycloak.read(AT)
        assert_own_words(waits.value)
    assert waits.value.after > 10
    clock.now += waits.value.after
    with pytest.raises(Denied):
        keycloak.read(AT)
    server.login_reply = server.welcome
    keycloak.read(AT)
    keycloak._thread.token = None
    server.login_reply = lambda: Reply(401)
    with pytest.raises(Waiting):
        keycloak.read(AT)


@pytest.mark.parametrize("body", [None, CANARY, {"access_token": 1, "expires_in": CANARY}])
def test_login_answer_of_unknown_form_is_an_error(keycloak: KeycloakAdmin, server: LoginServer, body: Any) -> None:
    server.login_reply = lambda: Reply(200, body)
    with pytest.raises(Transient) as failed:
        keycloak.read(AT)
    assert_own_words(failed.value)


@pytest.mark.parametrize("content", [None, b"", CANARY.encode() + b"\xff"])
def test_unreadable_token_file_is_denied(keycloak: KeycloakAdmin, token_file: Path, content: bytes | None) -> None:
    token_file.unlink()
    if content is not None:
        token_file.write_bytes(content)
    with pytest.raises(Denied, match=str(token_file)) as failed:
        keycloak.read(AT)
    assert_own_words(failed.value)


def test_32_threads_do_not_mix_their_requests(server: LoginServer, wire: Wire, token_file: Path) -> None:
    def echo(request: Seen) -> Reply:
        time.sleep(0.005)
        return Reply(200, {"realm": request.path.rsplit("/", 1)[1]})

    server.reply = echo
    # the timeout of one answer plays no part
    keycloak = KeycloakAdmin(KeycloakSettings(wire.url, None, token_file, timeout=30))
    with ThreadPoolExecutor(32) as pool:
        realms = [f"axon-{n}" for n in range(200)]
        found = list(pool.map(lambda realm: keycloak.read(RealmPath(realm)), realms))
    assert found == [{"realm": realm} for realm in realms]
    assert wire.count(LOGIN) <= 32


# -- users


def test_a_user_is_found_by_the_exact_name(keycloak: KeycloakAdmin, server: LoginServer, wire: Wire) -> None:
    server.reply = lambda _: Reply(200, [{"id": "1", "username": "alice2"}, {"id": "2", "username": "alice"}])
    assert keycloak.find_user("axon-acme", "Alice") == "2"
    assert parse_qs(urlsplit(wire.seen[-1].path).query)["username"] == ["Alice"]
    assert keycloak.find_user("axon-acme", "bob") is None


@pytest.mark.parametrize("name", ["a&exact=false", "a#b", "a/../../x", "ä ö", "a%26b"])
def test_a_username_cannot_become_part_of_the_request(
    keycloak: KeycloakAdmin, server: LoginServer, wire: Wire, name: str
) -> None:
    server.reply = lambda _: Reply(200, [])
    keycloak.find_user("axon-acme", name)
    sent = urlsplit(wire.seen[-1].path)
    assert sent.path == "/admin/realms/axon-acme/users"
    assert parse_qs(sent.query) == {"username": [name], "exact": ["true"], "briefRepresentation": ["true"]}


def test_a_users_offline_sessions_are_ended_too(keycloak: KeycloakAdmin, server: LoginServer, wire: Wire) -> None:
    answers: dict[str, Any] = {
        "/admin/realms/axon-acme/users/u/consents": [
            {"clientId": "https://app", "additionalGrants": [{"client": "c1", "key": "Offline Token"}]},
            {"clientId": "other", "additionalGrants": []},
        ],
        "/admin/realms/axon-acme/users/u/offline-sessions/c1": [{"id": "s1"}, {"id": "s2"}],
    }

    def at(seen: Seen) -> str:
        return urlsplit(seen.path).path

    server.reply = lambda seen: Reply(200, answers[at(seen)]) if at(seen) in answers else Reply(204)
    keycloak.logout_user("axon-acme", "u")
    writes = [(seen.method, seen.path) for seen in wire.seen if at(seen) not in {LOGIN, *answers}]
    assert writes == [
        ("POST", "/admin/realms/axon-acme/users/u/logout"),
        ("DELETE", "/admin/realms/axon-acme/sessions/s1?isOffline=true"),
        ("DELETE", "/admin/realms/axon-acme/sessions/s2?isOffline=true"),
    ]


# -- metrics


def test_calls_are_observed_with_their_outcome(wire: Wire, server: LoginServer, token_file: Path) -> None:
    seen: list[tuple[str, str, str]] = []
    keycloak = KeycloakAdmin(
        KeycloakSettings(wire.url, None, token_file),
        observe=lambda backend, verb, outcome, _: seen.append((backend, verb, outcome)),
    )
    keycloak.read(AT)
    server.reply = always(409)
    with pytest.raises(Waiting):
        keycloak.create(CLIENTS, {})
    assert seen == [("keycloak", "login", "ok"), ("keycloak", "read", "ok"), ("keycloak", "create", "waiting")]
