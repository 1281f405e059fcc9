"""What counts as a refusal, as a crossing, and as neither."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from axon_operator.canary import attempts
from axon_operator.canary.settings import CanarySettings
from axon_operator.canary.stranger import Stranger
from axon_operator.domain.isolation import Address, Attempt, Result, Target
from unit.backends.wire import Reply, Seen, Wire, serving

STATUS = {"kind": "Status", "reason": "Forbidden"}
ERRORS = {"errors": ["permission denied"]}
ERROR = {"error": "invalid_client"}
TARGET = Target(
    uid="00000000-0000-0000-0000-000000000001",
    namespace="axon-acme",
    vault_namespace="axon/t-1",
    realm="axon-acme",
    accounts=("rt-a", "rt-b"),
    addresses=(),
)
OWN_TOKEN = "/api/v1/namespaces/axon-system/serviceaccounts/axon-canary/token"
SYSTEMS = {"kubernetes": (403, STATUS), "openbao": (403, ERRORS), "keycloak": (401, ERROR)}


@pytest.fixture
def wire() -> Iterator[Wire]:
    with serving(lambda _: Reply(500)) as running:
        yield running


@pytest.fixture
def stranger(wire: Wire, tmp_path: Path) -> Iterator[Stranger]:
    for name in ("ca", "token"):
        (tmp_path / name).write_text("own")
    settings = CanarySettings.model_validate(
        {
            "namespace": "axon-system",
            "account": "axon-canary",
            "timeout": 1,
            "network_timeout": 0.2,
            "kubernetes_token_file": tmp_path / "token",
            **dict.fromkeys(("kubernetes_url", "vault_address", "keycloak_url"), wire.url),
            **dict.fromkeys(("kubernetes_ca_file", "vault_ca_file", "keycloak_ca_file"), tmp_path / "ca"),
        }
    )
    with Stranger(settings) as stranger:
        yield stranger


def system(request: Seen) -> str:
    if request.path.startswith("/v1/"):
        return "openbao"
    return "keycloak" if request.path.startswith("/realms/") else "kubernetes"


def answers(wire: Wire, **replies: Reply) -> None:
    """Each system refuses, unless it is given another answer; the canary gets tokens of its own."""

    def answer(request: Seen) -> Reply:
        if request.path == OWN_TOKEN:
            return Reply(201, {"status": {"token": "its-own"}})
        where = system(request)
        return replies.get(where) or Reply(*SYSTEMS[where])

    wire.answer = answer


def test_refusals_in_the_servers_own_words_are_refusals(wire: Wire, stranger: Stranger) -> None:
    answers(wire)
    results = attempts.visit(stranger, TARGET, "https://keycloak/realms/axon-acme")
    assert results == dict.fromkeys(TARGET.attempts, Result.REFUSED)
    answers(wire, keycloak=Reply(401, "", {"WWW-Authenticate": 'Bearer realm="axon-acme", error="invalid_token"'}))
    assert attempts.visit(stranger, TARGET, "issuer") == results
    assert {request.headers.get("X-Vault-Namespace") for request in wire.seen if system(request) == "openbao"} == {
        "axon/t-1"
    }


@pytest.mark.parametrize("where", SYSTEMS)
@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, {"kind": "Status", "errors": ["x"], "error": "x"}),
        Reply(429, {"kind": "Status", "errors": ["x"], "error": "x"}),
        Reply(302, "", {"Location": "http://127.0.0.1:1/"}),
        Reply(403, "<html>a proxy</html>"),
        Reply(403, {"message": "a proxy"}),
        Reply(404, {"errors": ["no handler for route"], "error": "Realm does not exist", "kind": "Status"}),
    ],
    ids=["failing", "busy", "elsewhere", "not JSON", "in other words", "not there"],
)
def test_what_is_not_plainly_a_refusal_proves_nothing(wire: Wire, stranger: Stranger, where: str, reply: Reply) -> None:
    answers(wire, **{where: reply})
    results = attempts.visit(stranger, TARGET, "issuer")
    assert {a for a, r in results.items() if r is Result.UNDECIDED} == of(where, results)
    assert Result.CROSSED not in results.values()


@pytest.mark.parametrize("where", SYSTEMS)
def test_whatever_is_let_through_is_a_crossing_and_is_not_read(wire: Wire, stranger: Stranger, where: str) -> None:
    answers(wire, **{where: Reply(200, "s3cr3t, and no JSON")})
    results = attempts.visit(stranger, TARGET, "issuer")
    assert {a for a, r in results.items() if r is Result.CROSSED} == of(where, results)


def test_to_be_let_through_to_nothing_is_a_crossing_too(wire: Wire, stranger: Stranger) -> None:
    answers(wire, openbao=Reply(404, {"errors": []}))
    assert attempts.visit(stranger, TARGET, "issuer")[Attempt.READ] is Result.CROSSED


def test_one_runtime_that_lets_it_in_is_enough(wire: Wire, stranger: Stranger) -> None:
    answers(wire)
    refusing = wire.answer
    wire.answer = lambda r: Reply(200, {}) if b'"rt-b"' in r.body or "rt-b" in r.path else refusing(r)
    results = attempts.visit(stranger, TARGET, "issuer")
    assert {a for a, r in results.items() if r is Result.CROSSED} == {Attempt.TOKENS, Attempt.LOGIN}


def test_without_an_identity_of_its_own_no_refusal_counts(wire: Wire, stranger: Stranger) -> None:
    """A server that takes nobody's token refuses everyone: that is no wall between tenants."""
    answers(wire, kubernetes=Reply(401, {"kind": "Status"}))
    refusing = wire.answer
    wire.answer = lambda request: Reply(401, STATUS) if request.path == OWN_TOKEN else refusing(request)
    results = attempts.visit(stranger, TARGET, "issuer")
    # what needs none of its tokens is still refused
    assert {a for a, r in results.items() if r is Result.REFUSED} == {Attempt.READ}


def test_a_server_that_is_away_proves_nothing(wire: Wire, stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stranger, "_ask", lambda *_, **__: None)
    assert set(attempts.visit(stranger, TARGET, "issuer").values()) == {Result.UNDECIDED}


def test_a_packet_that_arrives_is_a_crossing_whether_something_listens_or_not(stranger: Stranger) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert stranger.knock(address(port)) is Result.CROSSED
    assert stranger.knock(address(port)) is Result.CROSSED


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (TimeoutError(), Result.REFUSED),
        (OSError(errno.EHOSTUNREACH, ""), Result.REFUSED),
        (OSError(errno.EPERM, ""), Result.REFUSED),
        (ConnectionResetError(), Result.CROSSED),
        (OSError(errno.EMFILE, ""), Result.UNDECIDED),
        (OSError(errno.EADDRNOTAVAIL, ""), Result.UNDECIDED),
    ],
)
def test_a_connection_that_is_kept_out_is_refused_and_one_that_was_never_tried_is_not(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, error: OSError, result: Result
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fails)
    assert stranger.knock(address(8080)) is result


@pytest.mark.parametrize(("then", "result"), [(Result.REFUSED, Result.REFUSED), (Result.CROSSED, Result.CROSSED)])
def test_a_pod_that_is_closed_a_moment_after_its_start_is_no_hole(
    wire: Wire, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, then: Result, result: Result
) -> None:
    answers(wire)
    knocks = iter([Result.CROSSED, then])
    monkeypatch.setattr(stranger, "knock", lambda _: next(knocks))
    monkeypatch.setattr(attempts, "_NEW_POD", 0)
    target = TARGET.model_copy(update={"addresses": (address(8080),)})
    assert attempts.visit(stranger, target, "issuer")[Attempt.NETWORK] is result


def address(port: int) -> Address:
    return Address.model_validate({"ip": "127.0.0.1", "port": port})


def of(where: str, results: dict[Attempt, Result]) -> set[Attempt]:
    return {attempt for attempt in results if attempt.startswith(where)}
