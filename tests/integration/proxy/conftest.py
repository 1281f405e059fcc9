"""One Envoy, as in a pod, and HTTPS servers to which it may or may not talk."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from axon_operator.domain.proxy import Route
from servers.envoy import Envoy
from servers.https import Authority, Host
from servers.processes import free_port

NAMES = ("api.example", "other.example", "evil.example")
MakeRoute = Callable[..., Route]


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The one that the pod trusts."""
    return Authority("trusted")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proxy")


@pytest.fixture(scope="module")
def hosts(authority: Authority, folder: Path) -> Iterator[dict[str, Host]]:
    """All reachable, all with good certificates: nothing but the proxy keeps a credential from any of them."""
    running = {name: Host(authority.server(folder, name)) for name in NAMES}
    yield running
    for host in running.values():
        host.close()


@pytest.fixture
def api(hosts: dict[str, Host]) -> Host:
    hosts["api.example"].requests.clear()
    return hosts["api.example"]


@pytest.fixture
def other(hosts: dict[str, Host]) -> Host:
    hosts["other.example"].requests.clear()
    return hosts["other.example"]


@pytest.fixture
def evil(hosts: dict[str, Host]) -> Iterator[Host]:
    """To which no request may ever go."""
    yield hosts["evil.example"]
    assert hosts["evil.example"].requests == []


@pytest.fixture(scope="module")
def new_route(hosts: dict[str, Host]) -> MakeRoute:
    """A route to api.example with a port of its own, but for what is said."""

    def make(**changes: Any) -> Route:
        usual = Route("stripe", "api.example", hosts["api.example"].port, free_port(), "authorization", "Bearer ", "a")
        return dataclasses.replace(usual, **changes)

    return make


@pytest.fixture(scope="module")
def envoy(authority: Authority, folder: Path) -> Iterator[Envoy]:
    """As talkative as it can be told to be."""
    server = Envoy(folder / "pod", NAMES, authority.pem)
    try:
        server.start("trace")
        yield server
    finally:
        server.stop()
