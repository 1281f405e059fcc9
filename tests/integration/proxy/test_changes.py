"""Bindings that come, change and go in a running pod, under traffic."""

import ctypes
import http.client
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from axon_operator.domain.proxy import Route
from axon_operator.domain.runtime.pods import USER
from e2e.support.waiting import until_true
from servers.envoy import Envoy
from servers.https import Host, send, status

from .conftest import MakeRoute

SOON = 2.0
"""Seconds within which a change must count."""


class Traffic:
    """Clients that keep their connections, and clients that open one for each request."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[str] = Counter()
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(keep,)) for keep in (True, True, False, False)]

    def _run(self, keep: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._over.wait(0.002):
            try:
                connection.request("POST", "/x", body=b"body", headers={} if keep else {"connection": "close"})
                answer = connection.getresponse()
                answer.read()
                self.answers[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as problem:
                self.answers[type(problem).__name__] += 1
                connection.close()
        connection.close()

    @contextmanager
    def running(self) -> Iterator["Traffic"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()


def soon(what: str, probe: object) -> float:
    """Seconds until it was so."""
    started = time.monotonic()
    until_true(what, probe, timeout=SOON, every=0.005)  # type: ignore[arg-type]
    return time.monotonic() - started


def serve(envoy: Envoy, values: Mapping[Route, str]) -> None:
    """Exactly these."""
    envoy.configure(list(values))
    envoy.deliver(values)
    for route in values:
        soon(f"the port of {route.binding} is open", lambda route=route: envoy.listens(route.local_port))


def ask(route: Route) -> bytes:
    head = f"GET /x HTTP/1.1\r\nHost: 127.0.0.1:{route.local_port}\r\nConnection: close\r\n\r\n"
    return send(route.local_port, head.encode())


def sent(host: Host, route: Route) -> set[bytes]:
    return {value for request in host.requests for value in request.values(route.header)}


def test_a_rotation_fails_no_request_and_counts_at_once(envoy: Envoy, new_route: MakeRoute, api: Host) -> None:
    route = new_route()
    serve(envoy, {route: "value-0"})
    with Traffic(route.local_port).running() as traffic:
        for turn in range(1, 21):
            envoy.deliver({route: f"value-{turn}"})
            expected = f"Bearer value-{turn}".encode()
            soon("the new value is used", lambda expected=expected: expected in sent(api, route))
            # from then on no request has the old one
            api.requests.clear()
            time.sleep(0.1)
            assert sent(api, route) == {expected}
    assert set(traffic.answers) == {"200"}
    assert traffic.answers["200"] > 200


def test_bindings_that_come_and_go_do_not_disturb_others(envoy: Envoy, new_route: MakeRoute, api: Host) -> None:
    steady, passing = new_route(), new_route(binding="passing", header="x-api-key", prefix="", origin="b")
    serve(envoy, {steady: "steady"})
    with Traffic(steady.local_port).running() as traffic:
        for _ in range(10):
            envoy.configure([steady, passing])
            envoy.deliver({passing: "passing"})
            soon("the new one is served", lambda: envoy.listens(passing.local_port) and status(ask(passing)) == 200)
            envoy.configure([steady])
            envoy.withdraw(passing)
            soon("it is gone", lambda: not envoy.listens(passing.local_port))
    assert set(traffic.answers) == {"200"}
    assert traffic.answers["200"] > 200
    assert sent(api, passing) == {b"passing"}


def test_a_port_is_open_only_while_its_credential_is_there(envoy: Envoy, new_route: MakeRoute, api: Host) -> None:
    route = new_route()
    envoy.configure([route])
    time.sleep(0.5)
    assert not envoy.listens(route.local_port)
    for _ in range(3):
        envoy.deliver({route: "value"})
        soon("it is served", lambda: envoy.listens(route.local_port))
        assert status(ask(route)) == 200
        envoy.withdraw(route)
        soon("it is closed", lambda: not envoy.listens(route.local_port))
        with pytest.raises(ConnectionRefusedError):
            ask(route)


def test_a_connection_does_not_outlive_the_credential(envoy: Envoy, new_route: MakeRoute, api: Host) -> None:
    route = new_route()
    serve(envoy, {route: "value"})
    head = f"Host: 127.0.0.1:{route.local_port}\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", route.local_port), timeout=SOON + 1) as idle,
        socket.create_connection(("127.0.0.1", route.local_port), timeout=SOON + 1) as waiting,
    ):
        idle.sendall(f"GET /x HTTP/1.1\r\n{head}".encode())
        assert b" 200 " in idle.recv(65536)
        waiting.sendall(f"GET /slow?30 HTTP/1.1\r\n{head}".encode())
        until_true("it is on its way", lambda: any(b"/slow" in r.line for r in api.requests), every=0.01)
        envoy.withdraw(route)
        started = time.monotonic()
        for connection in (idle, waiting):
            assert b" 200 " not in connection.recv(65536)
        assert time.monotonic() - started < SOON


def test_a_binding_that_is_gone_reaches_nobody_though_the_sidecar_hangs(
    envoy: Envoy, new_route: MakeRoute, api: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = new_route()
    serve(envoy, {route: "value"})
    monkeypatch.setattr(envoy, "publish", lambda: None)
    envoy.configure([])
    soon("refused", lambda: status(ask(route)) == 503)
    api.requests.clear()
    assert status(ask(route)) == 503
    assert api.requests == []
    monkeypatch.undo()
    envoy.publish()


def test_no_moment_of_a_change_sends_a_credential_to_the_wrong_host(
    envoy: Envoy, new_route: MakeRoute, api: Host, other: Host
) -> None:
    """Host and secret of a binding change together, on the same port, and Envoy sees the files in any order."""
    first = new_route()
    second = new_route(local_port=first.local_port, host="other.example", port=other.port, origin="b")
    serve(envoy, {first: "of-api"})
    with Traffic(first.local_port).running():
        for turn in range(12):
            old, new, value = (first, second, "of-other") if turn % 2 == 0 else (second, first, "of-api")
            target = other if turn % 2 == 0 else api
            target.requests.clear()
            if turn % 3 == 0:
                envoy.deliver({new: value})
            envoy.configure([new])
            if turn % 3 == 1:
                time.sleep(0.05)
            envoy.deliver({new: value})
            envoy.withdraw(old)
            soon("the new host is used", lambda target=target: len(target.requests) > 0)
            assert sent(api, first) <= {b"Bearer of-api"}
            assert sent(other, second) <= {b"Bearer of-other"}


def test_bindings_exchange_their_ports(envoy: Envoy, new_route: MakeRoute, api: Host) -> None:
    one, two = new_route(binding="one", origin="1"), new_route(binding="two", origin="2")
    serve(envoy, {one: "of-one", two: "of-two"})
    exchanged = {
        new_route(binding="one", origin="1", local_port=two.local_port): "of-one",
        new_route(binding="two", origin="2", local_port=one.local_port): "of-two",
    }
    # rendered before the listeners change: both change in one step
    envoy.deliver(exchanged)
    envoy.configure(list(exchanged))

    def has(route: Route, value: str) -> bool:
        api.requests.clear()
        return status(ask(route)) == 200 and sent(api, route) == {f"Bearer {value}".encode()}

    for route, value in exchanged.items():
        soon(f"{route.binding} has its new port", lambda route=route, value=value: has(route, value))


def test_a_port_that_the_workload_holds_costs_no_other_binding(envoy: Envoy, new_route: MakeRoute, api: Host) -> None:
    held, free = new_route(binding="held"), new_route(binding="free")
    with socket.create_server(("127.0.0.1", held.local_port)):
        envoy.configure([held, free])
        envoy.deliver({held: "value", free: "value"})
        soon("the other is served", lambda: envoy.listens(free.local_port))
        assert status(ask(free)) == 200
        assert f"cannot bind '127.0.0.1:{held.local_port}'" in envoy.log


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's place")
def test_a_workload_that_uses_up_its_users_inotify_instances_does_not_bring_proxies_down(
    envoy: Envoy, new_route: MakeRoute, api: Host
) -> None:
    """All tenants' workloads on a node are one user, and share what the kernel gives to one."""
    route = new_route()
    with no_inotify_left(USER):
        serve(envoy, {route: "value"})
        assert status(ask(route)) == 200


@contextmanager
def no_inotify_left(user: int) -> Iterator[None]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(user)
        os.setuid(user)
        c = ctypes.CDLL(None)
        while c.inotify_init() >= 0:
            pass
        os.write(write, b"done")
        signal.pause()
    try:
        assert os.read(read, 4) == b"done"
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def test_a_pod_that_restarts_serves_what_is_there(envoy: Envoy, new_route: MakeRoute, api: Host) -> None:
    """As after a crash of Envoy: the volumes remain."""
    routes = [new_route(binding=f"b{number}") for number in range(10)]
    serve(envoy, dict.fromkeys(routes, "value"))
    envoy.stop()
    envoy.start()
    assert [status(ask(route)) for route in routes] == [200] * 10
