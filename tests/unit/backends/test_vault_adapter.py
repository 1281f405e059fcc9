"""What the OpenBao adapter makes of answers, failures and threads."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3.exceptions
from hvac.adapters import RawAdapter

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Behind, Denied, ReconcileError, Terminal, Transient, Waiting
from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.domain.resources import VaultPath
from unit.backends.leaks import assert_own_words
from unit.backends.wire import CANARY, Clock, LoginServer, Reply, Seen, Wire, serving

LOGIN = "/v1/auth/k8s/login"
DRIVER = "error verifying connection: failed to connect to `user=axon database=orders`: 192.0.2.1:5432:"
ACCOUNT = "error setting credentials: failed to execute query: ERROR:"
"""How a failure to reach a database begins."""
AT = VaultPath("t-1", "kv/subkeys/org/x")
CALLS: dict[str, Callable[[OpenBao], Any]] = {
    "read": lambda vault: vault.read(AT),
    "list": lambda vault: vault.list(AT),
    "write": lambda vault: vault.write(AT, {"value": CANARY}),
    "look-up": lambda vault: vault.look_up(AT, {"alias_name": CANARY}),
    "delete": lambda vault: vault.delete(AT),
    "metrics": lambda vault: vault.numbers(("wanted",)),
    "probe": lambda vault: vault.supports_namespaces(),
}


def new_server() -> LoginServer:
    granted = lambda token: {"auth": {"client_token": token, "lease_duration": 600}}  # noqa: E731
    return LoginServer(LOGIN, granted, {"data": {"keys": []}})


@pytest.fixture
def server() -> LoginServer:
    return new_server()


@pytest.fixture
def vault(wire: Wire, token_file: Path, clock: Clock) -> OpenBao:
    return OpenBao(OpenBaoSettings(wire.url, None, token_file, timeout=2), clock=clock, pause=clock.pause)


def always(status: int, text: str = CANARY) -> Callable[[Seen], Reply]:
    return lambda _: Reply(status, {"errors": [text], "data": {"value": CANARY}})


# -- answers


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ((400, ""), (Terminal, Reason.REQUEST_REJECTED)),
        ((400, "namespace with that name exists and is currently tainted"), (Waiting, Reason.DELETING)),
        ((400, "path is already in use at kv/"), (Waiting, Reason.PROGRESSING)),
        ((400, "issuer name already in use"), (Waiting, Reason.PROGRESSING)),
        ((400, "error checking jwks URL"), (Transient, Reason.VAULT_UNAVAILABLE)),
        ((400, f"{DRIVER} FATAL: password (SQLSTATE 28P01)"), (Terminal, Reason.DATABASE_LOGIN_REFUSED)),
        ((400, f"{DRIVER} FATAL: no pg_hba.conf entry (SQLSTATE 28000)"), (Terminal, Reason.DATABASE_LOGIN_REFUSED)),
        ((400, f"{DRIVER} FATAL: no database (SQLSTATE 3D000)"), (Terminal, Reason.DATABASE_LOGIN_REFUSED)),
        ((500, f"{DRIVER} FATAL: password (SQLSTATE 28P01)"), (Terminal, Reason.DATABASE_LOGIN_REFUSED)),
        ((400, f"{DRIVER} tls: failed: x509: unknown authority"), (Terminal, Reason.DATABASE_UNTRUSTED)),
        (
            (400, "cannot parse connection url: unable to read CA file: open /x: no such file"),
            (Terminal, Reason.DATABASE_UNTRUSTED),
        ),
        ((400, "cannot parse connection url: unable to add CA to cert pool"), (Terminal, Reason.DATABASE_UNTRUSTED)),
        ((400, f"{DRIVER} dial error: connection refused"), (Behind, Reason.DATABASE_UNREACHABLE)),
        ((500, f"failed to update user: {DRIVER} dial error"), (Behind, Reason.DATABASE_UNREACHABLE)),
        # names of databases are people's: what they look like decides nothing
        ((400, DRIVER.replace("orders", "tainted-x509")), (Behind, Reason.DATABASE_UNREACHABLE)),
        ((500, f"{ACCOUNT} role does not exist (SQLSTATE 42704)"), (Terminal, Reason.DATABASE_ACCOUNT_REFUSED)),
        ((500, f"{ACCOUNT} must be superuser (SQLSTATE 42501)"), (Terminal, Reason.DATABASE_ACCOUNT_REFUSED)),
        ((500, f"{ACCOUNT} lock timeout (SQLSTATE 55P03)"), (Transient, Reason.VAULT_UNAVAILABLE)),
        ((500, f"error setting credentials: {DRIVER} dial error"), (Behind, Reason.DATABASE_UNREACHABLE)),
        ((403, "permission denied"), (Denied, Reason.VAULT_DENIED)),
        ((405, ""), (Terminal, Reason.REQUEST_REJECTED)),
        ((412, ""), (Transient, Reason.VAULT_UNAVAILABLE)),
        ((413, ""), (Terminal, Reason.REQUEST_REJECTED)),
        ((473, ""), (Transient, Reason.VAULT_UNAVAILABLE)),
        ((500, ""), (Transient, Reason.VAULT_UNAVAILABLE)),
        ((502, ""), (Transient, Reason.VAULT_UNAVAILABLE)),
        ((503, "OpenBao is sealed"), (Transient, Reason.VAULT_UNAVAILABLE)),
        ((503, ""), (Transient, Reason.VAULT_UNAVAILABLE)),
        ((503, "API access to this namespace has been locked by an administrator"), (Waiting, Reason.VAULT_LOCKED)),
        ((599, ""), (Transient, Reason.VAULT_UNAVAILABLE)),
    ],
)
def test_answers_become_our_errors_without_the_servers_text(
    vault: OpenBao, server: LoginServer, call: str, says: tuple[int, str], expected: tuple[type[ReconcileError], Reason]
) -> None:
    status, text = says
    server.reply = always(status, f"{text} {CANARY}")
    with pytest.raises(ReconcileError) as failed:
        CALLS[call](vault)
    assert (type(failed.value), failed.value.reason) == expected
    assert_own_words(failed.value)


@pytest.mark.parametrize("path", [LOGIN, "/v1/kv/subkeys/org/x"])
def test_what_a_rate_quota_refuses_is_sent_again_until_there_is_room(
    vault: OpenBao, server: LoginServer, wire: Wire, clock: Clock, path: str
) -> None:
    began, refusals = clock.now, iter(range(20))
    wire.answer = lambda seen: Reply(429) if seen.path == path and next(refusals, None) is not None else server(seen)
    vault.write(AT, {"value": CANARY})
    assert wire.count(path) == 21
    assert clock.now - began < 1


def test_a_rate_quota_without_room_is_not_asked_for_ever(vault: OpenBao, server: LoginServer, clock: Clock) -> None:
    began = clock.now
    server.reply = always(429)
    with pytest.raises(Transient):
        vault.read(AT)
    assert clock.now - began < 5


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, ""),
        (404, "namespace not found"),
        (400, "No secret engine mount at kv/"),
        (400, "No auth engine at k8s/"),
        (500, "unable to find PKI issuer for reference: authority"),
    ],
)
def test_what_does_not_exist_is_none_or_empty(vault: OpenBao, server: LoginServer, status: int, text: str) -> None:
    server.reply = always(status, text)
    assert vault.read(AT) is None
    assert vault.list(AT) == ()
    vault.delete(AT)
    with pytest.raises(Waiting) as failed:
        vault.write(AT, {})
    assert failed.value.reason is Reason.DEPENDENCY_NOT_READY


def test_an_unsupported_path_is_not_taken_for_an_absent_resource(vault: OpenBao, server: LoginServer) -> None:
    server.reply = always(404, "1 error occurred:\n\t* unsupported path\n\n")
    for call in ("read", "list", "write", "delete"):
        with pytest.raises(Terminal):
            CALLS[call](vault)


@pytest.mark.parametrize("text", ['cannot lock namespace "t-1": is already locked', 'namespace "t-1" is not locked'])
def test_locking_the_locked_is_no_error(vault: OpenBao, server: LoginServer, text: str) -> None:
    server.reply = always(400, text)
    vault.write(VaultPath("", "sys/namespaces/api-lock/lock/t-1"), {})


def test_read_gives_the_data_and_only_that(vault: OpenBao, server: LoginServer) -> None:
    server.reply = lambda _: Reply(200, {"data": {"a": 1}, "lease_id": CANARY, "auth": {"accessor": CANARY}})
    assert vault.read(AT) == {"a": 1}


def test_list_gives_the_keys(vault: OpenBao, server: LoginServer, wire: Wire) -> None:
    server.reply = lambda _: Reply(200, {"data": {"keys": ["a", "b/"]}})
    assert vault.list(AT) == ("a", "b/")
    assert wire.seen[-1].method == "LIST"


@pytest.mark.parametrize("body", [None, CANARY, [CANARY], {"data": CANARY}, {"data": None}, {"data": {"keys": CANARY}}])
def test_an_answer_of_unknown_form_is_an_error(vault: OpenBao, server: LoginServer, body: Any) -> None:
    server.reply = lambda _: Reply(200, body)
    with pytest.raises(Transient) as failed:
        vault.list(AT)
    assert_own_words(failed.value)


METRICS = """\
# HELP wanted what is wanted
wanted 17
wanted{label="x"} 18
wanted_more 19
unwanted 20
also 2.5e+03
broken x
"""


def test_of_all_metrics_only_the_wanted_numbers_are_kept(vault: OpenBao, server: LoginServer, wire: Wire) -> None:
    server.reply = lambda _: Reply(200, METRICS)
    assert vault.numbers(("wanted", "also", "broken", "missing")) == {"wanted": 17, "also": 2500}
    assert wire.seen[-1].path == "/v1/sys/metrics?format=prometheus"
    server.reply = lambda _: Reply(400, "prometheus is not enabled")
    assert vault.numbers(("wanted",)) is None


def test_an_answer_that_breaks_off_is_transient(vault: OpenBao, server: LoginServer) -> None:
    server.reply = lambda _: Reply(200, METRICS, {"Content-Length": "100000", "Connection": "close"})
    with pytest.raises(Transient) as failed:
        vault.numbers(("wanted",))
    assert_own_words(failed.value)


# -- failures of the way


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.SSLError(CANARY),
        requests.exceptions.ConnectTimeout(CANARY),
        requests.exceptions.ReadTimeout(CANARY),
        requests.exceptions.ConnectionError(CANARY),
        requests.exceptions.ChunkedEncodingError(CANARY),
        requests.exceptions.InvalidHeader(CANARY),
        urllib3.exceptions.LocationParseError(CANARY),
        OSError(CANARY),
        UnicodeDecodeError("ascii", CANARY.encode(), 0, 1, CANARY),
    ],
)
def test_exceptions_of_libraries_become_transient_without_their_text(
    vault: OpenBao, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception
) -> None:
    vault.supports_namespaces()
    vault._has_namespaces = False

    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(RawAdapter, "request", fail)
    with pytest.raises(Transient) as failed:
        CALLS[call](vault)
    assert failed.value.reason is Reason.VAULT_UNAVAILABLE
    assert_own_words(failed.value)


def test_nobody_listening_is_transient_and_names_the_address(token_file: Path) -> None:
    with serving(new_server()) as wire:
        gone = wire.url
    with pytest.raises(Transient, match=gone) as failed:
        OpenBao(OpenBaoSettings(gone, None, token_file, timeout=1)).read(AT)
    assert_own_words(failed.value)


def test_a_server_that_hangs_costs_one_timeout(wire: Wire, server: LoginServer, token_file: Path) -> None:
    release = threading.Event()

    def hang(_: Seen) -> Reply:
        release.wait(5)
        return Reply(200)

    server.reply = hang
    vault = OpenBao(OpenBaoSettings(wire.url, None, token_file, timeout=0.2))
    with pytest.raises(Transient, match=r"within 0\.2 s"):
        vault.read(AT)
    release.set()
    assert wire.count("/v1/kv/subkeys/org/x") == 1, "it was tried again"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_does_not_carry_the_token_to_another_host(vault: OpenBao, server: LoginServer, status: int) -> None:
    with serving(lambda _: Reply(200, {"data": {"keys": []}})) as thief:
        elsewhere = Reply(status, None, {"Location": f"{thief.url}/{CANARY}"})
        server.reply = lambda _: elsewhere
        for call in CALLS.values():
            with pytest.raises(Transient, match="redirect") as failed:
                call(vault)
            assert_own_words(failed.value)
        server.login_reply = lambda: elsewhere
        vault._login._login = None
        with pytest.raises(Transient, match="redirect"):
            vault.read(AT)
        assert thief.seen == []


def test_environment_has_no_say(vault: OpenBao, wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(lambda _: Reply(200)) as proxy:
        (tmp_path / ".vault-token").write_text(CANARY)
        (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login {CANARY} password {CANARY}\n")
        for name, value in {"HOME": str(tmp_path), "VAULT_TOKEN": CANARY, "VAULT_ADDR": proxy.url,
                            "VAULT_NAMESPACE": CANARY, "http_proxy": proxy.url, "HTTP_PROXY": proxy.url,
                            "NETRC": str(tmp_path / ".netrc"), "no_proxy": ""}.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        vault.read(AT)
        assert proxy.seen == []
    assert CANARY not in repr(wire.seen)


# -- login


def test_token_is_renewed_by_a_new_login_before_it_expires(vault: OpenBao, wire: Wire, clock: Clock) -> None:
    vault.read(AT)
    clock.now += 399
    vault.read(AT)
    assert wire.count(LOGIN) == 1
    clock.now += 2  # 2/3 of 600 s have passed
    vault.read(AT)
    assert wire.count(LOGIN) == 2
    assert wire.seen[-1].headers["X-Vault-Token"] == "token-2"


def test_each_login_reads_the_projected_token_again(vault: OpenBao, wire: Wire, clock: Clock, token_file: Path) -> None:
    vault.read(AT)
    token_file.write_text("second.jwt.x")
    clock.now += 500
    vault.read(AT)
    bodies = [request.body for request in wire.seen if request.path == LOGIN]
    assert [b"first.jwt.x" in body for body in bodies] == [True, False]
    assert b"second.jwt.x" in bodies[1]
    assert all("X-Vault-Token" not in request.headers for request in wire.seen if request.path == LOGIN)


def test_login_is_in_the_parent_and_calls_are_in_the_child(vault: OpenBao, wire: Wire) -> None:
    vault.read(AT)
    vault.read(VaultPath("", "sys/namespaces/t-1"))
    assert [request.headers["X-Vault-Namespace"] for request in wire.seen] == ["axon", "axon/t-1", "axon"]


def test_refused_token_is_replaced_once(vault: OpenBao, server: LoginServer, wire: Wire) -> None:
    server.reply = lambda r: Reply(403 if r.headers["X-Vault-Token"] == "token-1" else 200, {"data": {"a": 1}})
    assert vault.read(AT) == {"a": 1}
    assert wire.count(LOGIN) == 2


def test_refused_again_is_denied_without_a_third_attempt(vault: OpenBao, server: LoginServer, wire: Wire) -> None:
    server.reply = always(403)
    with pytest.raises(Denied):
        vault.read(AT)
    assert wire.count(LOGIN) == 2
    assert wire.count("/v1/kv/subkeys/org/x") == 2


@pytest.mark.parametrize("status", [400, 403, 404])
def test_refused_login_is_denied(vault: OpenBao, server: LoginServer, status: int) -> None:
    server.login_reply = lambda: Reply(status, {"errors": [CANARY]})
    with pytest.raises(Denied) as failed:
        vault.read(AT)
    assert failed.value.reason is Reason.VAULT_DENIED
    assert_own_words(failed.value)


@pytest.mark.parametrize(
    "body", [None, CANARY, {"auth": None}, {"auth": {"client_token": 1, "lease_duration": CANARY}}]
)
def test_login_answer_of_unknown_form_is_an_error(vault: OpenBao, server: LoginServer, body: Any) -> None:
    server.login_reply = lambda: Reply(200, body)
    with pytest.raises(Transient) as failed:
        vault.read(AT)
    assert_own_words(failed.value)


@pytest.mark.parametrize("content", [None, b"", b"\n", CANARY.encode() + b"\xff"])
def test_unreadable_token_file_is_denied(vault: OpenBao, token_file: Path, content: bytes | None) -> None:
    token_file.unlink()
    if content is not None:
        token_file.write_bytes(content)
    with pytest.raises(Denied, match=str(token_file)) as failed:
        vault.read(AT)
    assert_own_words(failed.value)


def test_32_threads_share_one_login(vault: OpenBao, server: LoginServer, wire: Wire) -> None:
    def slowly() -> Reply:
        time.sleep(0.1)
        return server.welcome()

    server.login_reply = slowly
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: vault.read(VaultPath(f"t-{n}", "sys/mounts/kv")), range(64)))
    assert wire.count(LOGIN) == 1
    # no thread's request ended up in another's namespace
    children = sorted(r.headers["X-Vault-Namespace"] for r in wire.seen if r.path != LOGIN)
    assert children == sorted(f"axon/t-{n}" for n in range(64))


def test_32_threads_share_one_failed_login(server: LoginServer, wire: Wire, token_file: Path, clock: Clock) -> None:
    def once_all_have_asked() -> Reply:
        # a thread looks at the clock when its call begins, and again when it asks for the token
        for _ in range(10_000):
            if sum(looks >= 2 for looks in [*clock.looks.values()]) == 32:
                break
            time.sleep(0.001)
        clock.now += 1
        return Reply(503, {"errors": ["OpenBao is sealed"]})

    server.login_reply = once_all_have_asked
    # the timeout of one answer plays no part
    vault = OpenBao(OpenBaoSettings(wire.url, None, token_file, timeout=30), clock=clock)
    with ThreadPoolExecutor(32) as pool:
        errors = [outcome.exception() for outcome in [pool.submit(vault.read, AT) for _ in range(32)]]
    assert all(isinstance(error, Transient) for error in errors)
    assert len({id(error) for error in errors}) == 32
    assert wire.count(LOGIN) == 1


def test_after_a_failed_login_the_next_call_tries_again(vault: OpenBao, server: LoginServer, clock: Clock) -> None:
    server.login_reply = lambda: Reply(503)
    with pytest.raises(Transient):
        vault.read(AT)
    server.login_reply = server.welcome
    clock.now += 1
    assert vault.read(AT) == {"keys": []}


# -- namespaces


@pytest.mark.parametrize(
    ("says", "expected"),
    [((404, "namespace not found"), True), ((200, ""), False), ((404, "unsupported path"), False)],
)
def test_a_server_that_ignores_the_namespace_header_is_recognised(
    vault: OpenBao, server: LoginServer, wire: Wire, says: tuple[int, str], expected: bool
) -> None:
    server.reply = always(*says)
    assert vault.supports_namespaces() is expected
    assert vault.supports_namespaces() is expected
    # only a yes is final: a server that was in the way of the right one can go away again
    assert wire.count("/v1/sys/namespaces") == (1 if expected else 2)
    assert wire.seen[-1].headers["X-Vault-Namespace"].startswith("axon/axon-probe-")


@pytest.mark.parametrize("body", [{"errors": []}, "<html>not found</html>", ""])
def test_a_bare_not_found_does_not_say_whether_there_are_namespaces(
    vault: OpenBao, server: LoginServer, body: object
) -> None:
    server.reply = lambda _: Reply(404, body)
    with pytest.raises(Transient):
        vault.supports_namespaces()


def test_not_found_of_something_in_between_is_not_taken_for_an_absent_resource(
    vault: OpenBao, server: LoginServer
) -> None:
    server.reply = lambda _: Reply(404, "<html>not found</html>")
    with pytest.raises(Transient):
        vault.read(AT)
    with pytest.raises(Transient):
        vault.delete(AT)


# -- metrics


def test_calls_are_observed_with_their_outcome(wire: Wire, server: LoginServer, token_file: Path) -> None:
    seen: list[tuple[str, str, str]] = []
    vault = OpenBao(
        OpenBaoSettings(wire.url, None, token_file),
        observe=lambda backend, verb, outcome, _: seen.append((backend, verb, outcome)),
    )
    vault.read(AT)
    server.reply = always(500)
    with pytest.raises(Transient):
        vault.delete(AT)
    assert seen == [("vault", "login", "ok"), ("vault", "read", "ok"), ("vault", "delete", "transient")]
