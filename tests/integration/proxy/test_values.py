"""Any value: from OpenBao through the template of `bao agent` and Envoy to the host, or not at all."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from axon_operator.domain.proxy import Route, secret_template
from axon_testbed import pins, tools
from axon_testbed.layout import Layout
from e2e.support.waiting import until_true
from servers.envoy import Envoy, secret
from servers.https import Host, send, status
from servers.processes import Process, free_port

from .conftest import MakeRoute

TOKEN = "root"
_CONTROL = "".join(map(chr, range(0x20))) + "\x7f"
inner = st.characters(exclude_categories=["Cs"], exclude_characters=_CONTROL.replace("\t", ""))
outer = st.characters(exclude_categories=["Cs"], exclude_characters=_CONTROL + " ")
fit = st.builds("".join, st.tuples(outer, st.text(inner, max_size=60), outer)) | outer
"""Values that a header can carry unchanged."""
unfit = st.builds("".join, st.tuples(st.text(inner), st.sampled_from(_CONTROL.replace("\t", "")), st.text(inner)))
SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class DevBao:
    """A server that forgets everything, and agents that render templates from it once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._address = f"http://127.0.0.1:{free_port()}"
        self._binary = tools.wheel_binary(Layout.from_environment(), pins.OPENBAO_WHEEL)
        self._agents = 0
        (folder / "token").write_text(TOKEN)
        listen = f"-dev-listen-address={self._address.removeprefix('http://')}"
        command: list[str | Path] = [
            self._binary,
            "server",
            "-dev",
            f"-dev-root-token-id={TOKEN}",
            "-dev-no-store-token",
            listen,
        ]
        self.process = Process("bao", command, folder)

    def start(self) -> None:
        self.process.start(lambda: _answers(f"{self._address}/v1/sys/health"))

    def render(self, values: Mapping[str, Any], templates: Mapping[str, str]) -> tuple[Path, str]:
        """Writes the values as one secret; where the files are, and what the agent said.

        Args:
            templates: file name to template, with the secret as `.Data.data`.
        """
        answer = requests.post(f"{self._address}/v1/secret/data/it", headers={"X-Vault-Token": TOKEN},
                               json={"data": values}, timeout=10)  # fmt: skip
        assert answer.ok, answer.text
        self._agents += 1
        folder = self._folder / str(self._agents)
        folder.mkdir()
        config = {
            "exit_after_auth": True,
            "auto_auth": {
                "method": [{"type": "token_file", "config": {"token_file_path": str(self._folder / "token")}}]
            },
            "template_config": {"exit_on_retry_failure": True},
            "template": [
                {
                    "contents": f'{{{{ with secret "secret/data/it" }}}}{text}{{{{ end }}}}',
                    "destination": str(folder / name),
                    "perms": "0440",
                    "error_on_missing_key": True,
                }
                for name, text in templates.items()
            ],
        }
        (folder / "agent.json").write_text(json.dumps(config))
        env = {**os.environ, "BAO_ADDR": self._address, "HOME": str(folder)}
        done = subprocess.run([self._binary, "agent", f"-config={folder}/agent.json", "-log-level=debug"],
                              env=env, check=False, capture_output=True, text=True, timeout=30)  # fmt: skip
        return folder, done.stdout + done.stderr


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevBao]:
    server = DevBao(tmp_path_factory.mktemp("bao"))
    server.start()
    yield server
    server.process.stop()


@pytest.fixture(scope="module")
def route(envoy: Envoy, new_route: MakeRoute) -> Route:
    """Served."""
    made = new_route()
    envoy.configure([made])
    envoy.deliver({made: "first"})
    until_true("the port is open", lambda: envoy.listens(made.local_port), every=0.01)
    return made


def expect(host: Host, route: Route, value: bytes) -> None:
    """The value arrives, and nothing else within one request."""
    deadline = time.monotonic() + 2
    expected = route.prefix.encode() + value
    while True:
        host.requests.clear()
        head = f"GET /x HTTP/1.1\r\nHost: 127.0.0.1:{route.local_port}\r\nConnection: close\r\n\r\n"
        assert status(send(route.local_port, head.encode())) == 200
        (came,) = host.requests
        if came.values(route.header) == [expected]:
            assert {name for name, _ in came.headers} == {b"host", route.header.encode()}
            return
        assert time.monotonic() < deadline, (came.values(route.header), expected)


@given(value=fit)
@example(value="%REQ(:path)% %% %DOWNSTREAM_REMOTE_ADDRESS% ${HOME} {{ .Data }}")
@example(value="\"'\\\\n\\x00`$(id)")
@example(value="x" * 8000)
@settings(SHARED, max_examples=150)
def test_every_fit_value_arrives_unchanged(envoy: Envoy, route: Route, api: Host, value: str) -> None:
    envoy.write(route.file, secret(route, value))
    expect(api, route, value.encode())


@given(values=st.lists(fit, min_size=20, max_size=20))
@settings(SHARED, max_examples=5)
def test_the_template_renders_every_fit_value(
    envoy: Envoy, route: Route, api: Host, bao: DevBao, values: list[str]
) -> None:
    named = {f"k{number}": value for number, value in enumerate(values)}
    templates = {f"{name}.json": secret_template(route, f'index .Data.data "{name}"') for name in named}
    folder, said = bao.render(named, templates)
    for name, value in named.items():
        document = (folder / f"{name}.json").read_text()
        assert json.loads(document)["resources"][0]["name"] == route.name
        envoy.write(route.file, document)
        expect(api, route, value.encode())
    assert not any(value in said for value in values if len(value) > 12)


@pytest.mark.parametrize("bad", ["", " ", "\n", "key\n", "key\r\nhost: evil.example", "a\0b", " key", "key ", "key\t", "a\x7fb", "a\x1bb", None, True, 0, 12345678901234567, [], ["key"], {"key": "key"}])  # fmt: skip
def test_a_value_that_is_none_for_a_header_renders_nothing(bao: DevBao, route: Route, bad: object) -> None:
    canary = "canary-in-the-value"
    value = bad + canary + bad if isinstance(bad, str) and len(bad) == 1 else bad
    folder, said = bao.render({"k": value}, {"x.json": secret_template(route, 'index .Data.data "k"')})
    assert (folder / "x.json").read_text() == ""
    assert canary not in said


@given(value=unfit)
@settings(SHARED, max_examples=5)
def test_no_control_character_is_rendered(bao: DevBao, route: Route, value: str) -> None:
    folder, _ = bao.render({"k": value}, {"x.json": secret_template(route, 'index .Data.data "k"')})
    assert (folder / "x.json").read_text() == ""


def test_a_missing_key_renders_nothing(bao: DevBao, route: Route) -> None:
    folder, _ = bao.render({"k": "x"}, {"x.json": secret_template(route, 'index .Data.data "other"')})
    assert (folder / "x.json").read_text() == ""


def test_an_empty_file_that_was_published_by_mistake_sends_nothing(
    envoy: Envoy, new_route: MakeRoute, api: Host
) -> None:
    made = new_route(binding="empty")
    envoy.configure([made])
    envoy.write(made.file, "")
    envoy.publish()
    time.sleep(0.5)
    assert not envoy.listens(made.local_port)
    envoy.deliver({made: "value"})
    until_true("the port is open", lambda: envoy.listens(made.local_port), every=0.01)
    expect(api, made, b"value")


def test_one_bad_value_does_not_hold_up_others(bao: DevBao, route: Route) -> None:
    templates = {f"{name}.json": secret_template(route, f'index .Data.data "{name}"') for name in ("bad", "good")}
    folder, _ = bao.render({"bad": "key\n", "good": "key"}, templates)
    assert (folder / "bad.json").read_text() == ""
    assert route.name in (folder / "good.json").read_text()


@pytest.mark.parametrize("header", ["x-api-key", "cookie", "content-type", "proxy-authorization", "x-request-id", "user-agent", "accept", "via", "trailer", "keep-alive", "proxy-connection", "x-forwarded-client-cert", "http2-settings", "date", "range", "grpc-timeout"])  # fmt: skip
def test_any_header_can_carry_it(envoy: Envoy, new_route: MakeRoute, api: Host, header: str) -> None:
    made = new_route(header=header, prefix="")
    envoy.configure([made])
    envoy.deliver({made: "value"})
    until_true("the port is open", lambda: envoy.listens(made.local_port), every=0.01)
    expect(api, made, b"value")
