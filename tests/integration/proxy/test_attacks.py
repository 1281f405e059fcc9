"""A workload that wants the credential, or wants it to go elsewhere."""

import base64
import datetime
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from axon_operator.domain.proxy import Route
from e2e.support.waiting import until_true
from servers.envoy import Envoy, secret
from servers.https import Authority, Host, self_signed, send, status

from .conftest import MakeRoute

CANARY = "canary-c0ffee-77"
OWN = "own-decade-42"
"""What the workload itself sends."""
pytestmark = pytest.mark.usefixtures("evil")


@pytest.fixture(scope="module")
def route(envoy: Envoy, new_route: MakeRoute) -> Route:
    """Served."""
    made = new_route()
    envoy.configure([made])
    envoy.deliver({made: CANARY})
    until_true("the port is open", lambda: envoy.listens(made.local_port), every=0.01)
    return made


def request(route: Route, line: str = "GET /x HTTP/1.1", *headers: str, host: str = "") -> bytes:
    lines = (line, f"Host: {host or f'127.0.0.1:{route.local_port}'}", "Connection: close", *headers)
    return "\r\n".join([*lines, "", ""]).encode()


def arrived(host: Host, route: Route) -> bytes:
    """The one request that came, which is for this host and carries the credential once; its request line."""
    (came,) = host.requests
    assert came.values("host") == [f"{route.host}:{route.port}".encode()]
    assert came.values(route.header) == [f"{route.prefix}{CANARY}".encode()]
    return came.line


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_credential_is_added(route: Route, api: Host, name: str) -> None:
    answer = send(route.local_port, request(route, host=f"{name}:{route.local_port}"))
    assert status(answer) == 200
    assert answer.endswith(b"ok")
    assert b"server: upstream" in answer
    assert arrived(api, route) == b"GET /x HTTP/1.1"
    # nothing about the pod
    assert {name for name, _ in api.requests[0].headers} == {b"host", b"authorization"}


def test_a_body_is_passed_on(route: Route, api: Host) -> None:
    assert status(send(route.local_port, request(route, "POST /x HTTP/1.1", "Content-Length: 5") + b"hello")) == 200
    assert api.requests[0].body == b"hello"


def test_a_body_is_asked_for_when_the_client_waits_for_that(route: Route, api: Host) -> None:
    """As curl does with large ones."""
    head = request(route, "POST /x HTTP/1.1", "Content-Length: 5", "Expect: 100-continue")
    with socket.create_connection(("127.0.0.1", route.local_port), timeout=10) as connection:
        connection.sendall(head)
        assert status(connection.recv(65536)) == 100
        connection.sendall(b"hello")
        assert status(connection.recv(65536)) == 200
    assert api.requests[0].body == b"hello"


def test_an_answer_is_passed_on_as_it_comes(route: Route, api: Host) -> None:
    with socket.create_connection(("127.0.0.1", route.local_port), timeout=10) as connection:
        connection.sendall(request(route, "GET /stream?2 HTTP/1.1"))
        started = time.monotonic()
        seen = b""
        while b"first" not in seen:
            seen += connection.recv(65536)
        assert time.monotonic() - started < 1
        while b"last" not in seen:
            seen += connection.recv(65536)


@pytest.mark.parametrize(
    "headers",
    [
        ("Authorization: own",),
        ("authorization: own", "AUTHORIZATION: own", "Authorization: "),
        ("authorization: own\r\n folded",),
        ("authorization:\town",),
        ("Connection: authorization",),
        ("Connection: close, Authorization", "Keep-Alive: authorization"),
        ("Trailer: authorization",),
        ("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 9", "x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-original-path: /evil"),
        ("x-forwarded-host: evil.example", "forwarded: host=evil.example", "x-forwarded-proto: http"),
    ],
)  # fmt: skip
def test_a_header_of_the_workload_does_not_take_the_place_of_the_credential(
    route: Route, api: Host, headers: tuple[str, ...]
) -> None:
    assert status(send(route.local_port, request(route, "GET /x HTTP/1.1", *headers))) == 200
    assert arrived(api, route) == b"GET /x HTTP/1.1"
    assert {name for name, _ in api.requests[0].headers} <= {b"host", b"authorization", b"trailer"}


def test_a_trailer_does_not_either(route: Route, api: Host) -> None:
    head = request(route, "POST /x HTTP/1.1", "Transfer-Encoding: chunked", "Trailer: authorization")
    assert status(send(route.local_port, head + b"2\r\nhi\r\n0\r\nauthorization: own\r\n\r\n")) == 200
    arrived(api, route)
    assert api.requests[0].body == b"hi"


@pytest.mark.parametrize(
    "header", ["authorization : own", "author_ization: own", "x_api_key: own", "author\0ization: own", ": own"]
)
def test_a_header_that_servers_read_in_two_ways_is_refused(route: Route, api: Host, header: str) -> None:
    assert status(send(route.local_port, request(route, "GET /x HTTP/1.1", header))) == 400
    assert api.requests == []


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("GET //evil.example/x HTTP/1.1", b"GET /evil.example/x HTTP/1.1"),
        ("GET /\\evil.example/x HTTP/1.1", b"GET /evil.example/x HTTP/1.1"),
        ("GET /a/../../x HTTP/1.1", b"GET /x HTTP/1.1"),
        ("GET /a/%2e%2e/x HTTP/1.1", b"GET /x HTTP/1.1"),
        ("GET /@evil.example/ HTTP/1.1", b"GET /@evil.example/ HTTP/1.1"),
        ("GET /x?https://evil.example/ HTTP/1.1", b"GET /x?https://evil.example/ HTTP/1.1"),
        ("GET /group%2Fproject HTTP/1.1", b"GET /group%2Fproject HTTP/1.1"),
        ("GET http://api.example/x HTTP/1.1", b"GET /x HTTP/1.1"),
    ],
)
def test_no_path_leads_to_another_host(route: Route, api: Host, line: str, sent: bytes) -> None:
    assert status(send(route.local_port, request(route, line))) == 200
    assert arrived(api, route) == sent


@pytest.mark.parametrize("host", ["evil.example", "evil.example:443", "api.example.evil.example", "127.0.0.1", "127.0.0.1:1", "api.example@evil.example", ""])  # fmt: skip
def test_a_foreign_host_header_leads_nowhere(route: Route, api: Host, host: str) -> None:
    raw = request(route).replace(f"127.0.0.1:{route.local_port}".encode(), host.encode())
    assert status(send(route.local_port, raw)) in {400, 404}
    assert api.requests == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET http://evil.example/x HTTP/1.1", 404),
        ("GET https://evil.example/x HTTP/1.1", 403),
        ("GET https://api.example/x HTTP/1.1", 403),
        ("GET http://api.example@evil.example/x HTTP/1.1", 404),
        ("GET http://evil.example#api.example/x HTTP/1.1", 400),
        ("GET ftp://evil.example/x HTTP/1.1", 400),
        ("GET evil.example:443 HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("OPTIONS * HTTP/1.1", 404),
        ("CONNECT evil.example:443 HTTP/1.1", 404),
        ("CONNECT api.example:443 HTTP/1.1", 404),
        ("CONNECT /x HTTP/1.1", 400),
        ("TRACE /x HTTP/1.1", 405),
        ("TRACK /x HTTP/1.1", 400),
        ("PRI * HTTP/2.0", 400),
        ("GET /x HTTP/1.0", 426),
        ("GET /x HTTP/0.9", 426),
        ("GET /x", 426),
    ],
)
def test_targets_and_methods_that_are_refused(route: Route, api: Host, line: str, expected: int) -> None:
    assert status(send(route.local_port, request(route, line))) == expected
    assert api.requests == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (("Transfer-Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\n"),
        (("Content-Length: 4", "Content-Length: 5"), b"12345"),
        (("Content-Length: +5",), b"12345"),
        (("Transfer-Encoding: xchunked",), b"0\r\n\r\n"),
        (("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), b"zz\r\n"),
        (("Host: evil.example",), b""),
        (("Upgrade: websocket", "Connection: upgrade"), b""),
    ],
)
def test_a_second_request_cannot_be_smuggled(
    route: Route, api: Host, evil: Host, headers: tuple[str, ...], body: bytes
) -> None:
    inner = request(route, "GET /smuggled HTTP/1.1", host="evil.example")
    assert status(send(route.local_port, request(route, "POST /x HTTP/1.1", *headers) + body + inner)) >= 400
    assert b"/smuggled" not in b"".join(r.line for r in api.requests)


def test_a_redirect_is_not_followed(route: Route, api: Host, evil: Host) -> None:
    target = f"https://evil.example:{evil.port}/"
    answer = send(route.local_port, request(route, f"GET /redirect?{target} HTTP/1.1"))
    assert status(answer) == 302
    assert f"location: {target}".encode() in answer
    assert len(api.requests) == 1


def test_only_loopback_listens(envoy: Envoy, route: Route) -> None:
    """As the kernel says it of the pod's network, and no port but that of the route."""
    assert envoy.sockets() == [("127.0.0.1", route.local_port)]


def test_an_empty_or_broken_credential_is_not_sent_without(envoy: Envoy, route: Route, api: Host) -> None:
    good = secret(route, CANARY)
    for document in (secret(route, ""), good.replace("generic_secret", "unknown")):
        envoy.write(route.file, document)
        until_true("refused", lambda: status(send(route.local_port, request(route))) == 401, every=0.01)
        api.requests.clear()
        assert status(send(route.local_port, request(route))) == 401
        assert api.requests == []
    # a value that would be two headers, had it come past the template
    for bad in ("x\r\nhost: evil.example", "x\ny", "x\0y"):
        envoy.deliver({route: bad})
        until_true("refused", lambda: status(send(route.local_port, request(route))) == 503, every=0.01)
        assert api.requests == []
    envoy.deliver({route: CANARY})
    until_true("served", lambda: status(send(route.local_port, request(route))) == 200)


Certificate = Callable[[Authority, Path], Path]
_YESTERDAY = datetime.timedelta(days=-1)


def tried(envoy: Envoy, route: Route, host: Host) -> int:
    """The answer that comes from a host on which only that one request ever tried itself."""
    envoy.configure([route])
    envoy.deliver({route: CANARY})
    until_true("the port is open", lambda: envoy.listens(route.local_port), every=0.01)
    try:
        return status(send(route.local_port, request(route)))
    finally:
        host.close()


@pytest.mark.parametrize("name", ["api.example", "*.example"])
def test_the_host_is_known_by_its_certificate(
    envoy: Envoy, new_route: MakeRoute, authority: Authority, folder: Path, name: str
) -> None:
    host = Host(authority.server(folder, name))
    assert tried(envoy, new_route(binding="tried", port=host.port), host) == 200
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    "certificate",
    [
        lambda trusted, folder: trusted.server(folder, "evil.example"),
        lambda trusted, folder: trusted.server(folder, "api.example.evil.example"),
        lambda trusted, folder: trusted.server(folder, "127.0.0.1"),
        lambda trusted, folder: trusted.server(folder, "api.example", ends=_YESTERDAY),
        lambda trusted, folder: Authority("trusted").server(folder, "api.example"),
        lambda trusted, folder: self_signed(folder, "api.example"),
    ],
    ids=["another name", "longer name", "address", "expired", "foreign authority", "self-signed"],
)
def test_another_certificate_gets_no_request(
    envoy: Envoy, new_route: MakeRoute, authority: Authority, folder: Path, certificate: Certificate
) -> None:
    host = Host(certificate(authority, folder))
    assert tried(envoy, new_route(binding="tried", port=host.port), host) == 503
    assert host.requests == []


def test_without_authorities_nobody_is_trusted(envoy: Envoy, new_route: MakeRoute, api: Host) -> None:
    made = new_route(binding="tried")
    envoy.configure([made], authorities="/var/run/axon/agent/config/missing.pem")
    envoy.deliver({made: CANARY})
    until_true("the port is open", lambda: envoy.listens(made.local_port), every=0.01)
    assert status(send(made.local_port, request(made))) == 503
    assert api.requests == []


def test_the_credential_is_nowhere_but_in_its_file(envoy: Envoy, new_route: MakeRoute, api: Host) -> None:
    """Last: after all that was tried, at the level `trace`."""
    made = new_route()
    envoy.configure([made])
    envoy.deliver({made: CANARY})
    until_true("the port is open", lambda: envoy.listens(made.local_port), every=0.01)
    assert status(send(made.local_port, request(made, "GET /x HTTP/1.1", f"authorization: {OWN}"))) == 200
    # not even what a broken file holds
    for broken in (CANARY, secret(made, CANARY)[:-3], secret(made, CANARY).replace("Secret", "Secrex")):
        envoy.write(made.file, broken)
    envoy.deliver({made: "next"})

    def gets_next() -> bool:
        send(made.local_port, request(made))
        return api.requests[-1].values("authorization") == [b"Bearer next"]

    until_true("all of them were read", gets_next, every=0.05)
    encoded = base64.b64encode(CANARY.encode()).decode()
    for word in (CANARY, encoded, OWN):
        assert word not in envoy.log
    process = Path(f"/proc/{envoy.process.pid}")
    for name in ("cmdline", "environ"):
        assert CANARY.encode() not in (process / name).read_bytes()
    # the network and /dev/shm are shared by all containers of a pod
    assert envoy.unix_sockets() == []
    assert list((process / "root/dev/shm").iterdir()) == []
    written = [str(fd.readlink()) for fd in (process / "fd").iterdir() if _is_open_for_writing(process, fd.name)]
    assert [path for path in written if path.startswith("/") and not path.startswith("/dev/")] == [
        str(envoy.process.log)
    ] * 2


def _is_open_for_writing(process: Path, number: str) -> bool:
    flags = (process / "fdinfo" / number).read_text().split("flags:")[1].split()[0]
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
