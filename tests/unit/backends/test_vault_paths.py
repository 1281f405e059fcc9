"""No name climbs out of its namespace: attacks on what is put into OpenBao's URLs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axon_operator.api.reasons import Reason
from axon_operator.api.secretbinding import KVSource
from axon_operator.backends.errors import Terminal
from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.domain.resources import VaultPath
from unit.backends.leaks import assert_own_words
from unit.backends.wire import CANARY, Reply, Seen, Wire, serving

LOGIN = "/v1/auth/k8s/login"


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with serving(_answer) as running:
        yield running


@pytest.fixture(scope="module")
def vault(wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> OpenBao:
    token_file = tmp_path_factory.mktemp("vault") / "token"
    token_file.write_text("a.b.c")
    return OpenBao(OpenBaoSettings(wire.url, None, token_file))


def _answer(request: Seen) -> Reply:
    if request.path == LOGIN:
        return Reply(200, {"auth": {"client_token": "token", "lease_duration": 600}})
    return Reply(200, {"data": {"keys": []}})


hostile = st.sampled_from(
    ["..", ".", "%2e%2e", "%2f", "/", "//", "\\", "?", "#", "*", "+", ";", "@", ":", "\n", "\r\nX-Vault-Token: x",
     "\x00", " ", "", "é", "\u2024\u2024", "\uff0e\uff0e", "\u2215", "root", "sys", "axon", "-x", ".x", "x.", "X"]
)  # fmt: skip
plain = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
segment = st.one_of(plain, hostile, st.text(max_size=8), st.builds(str.__add__, plain, hostile))
names = st.one_of(st.just(""), st.just("t-0123456789abcdef"), segment, st.builds("{}/{}".format, segment, segment))
paths = st.lists(segment, min_size=1, max_size=5).map("/".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(namespace=names, path=paths, verb=st.sampled_from(["read", "list", "delete", "write", "look_up"]))
def test_fuzzed_path_is_refused_or_sent_exactly_as_it_is(
    vault: OpenBao, wire: Wire, namespace: str, path: str, verb: str
) -> None:
    wire.seen.clear()
    at = VaultPath(namespace, path)
    refused = None
    try:
        getattr(vault, verb)(at, *([{}] if verb in {"write", "look_up"} else []))
    except Terminal as error:
        refused = error.reason
    if refused:
        assert refused is Reason.INVALID_SPEC
        assert wire.seen == [], "something was sent before the path was refused"
        return
    (request,) = [seen for seen in wire.seen if seen.path != LOGIN]
    # received byte for byte: neither requests nor urllib3 had anything to fold, quote or cut off
    assert request.path == f"/v1/{path}"
    assert request.headers["X-Vault-Namespace"] == ("axon/" + namespace if namespace else "axon")
    assert re.fullmatch(r"/v1(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+", request.path)
    assert ".." not in request.path
    assert namespace or path.startswith("sys/")


@pytest.mark.parametrize(
    ("namespace", "path"),
    [
        ("t-1", "kv/data/../../sys/mounts"),
        ("t-1", "kv/subkeys/org/../../data/org/x"),
        ("t-1", "kv/subkeys/org/%2e%2e/x"),
        ("t-1", "kv//subkeys"),
        ("t-1", "/kv"),
        ("t-1", "kv/"),
        ("t-1", ""),
        ("t-1", "kv/subkeys/org/x?version=1"),
        ("t-1", "kv/subkeys/org/x#y"),
        ("t-1", "kv/subkeys/org/x\n"),
        ("t-1/t-2", "sys/mounts"),
        ("../globex", "sys/mounts"),
        ("..", "sys/mounts"),
        ("t-1/", "sys/mounts"),
        ("root", "sys/mounts"),
        ("identity", "sys/mounts"),
        ("T-1", "sys/mounts"),
        ("t-1\r\nX-Vault-Token: stolen", "sys/mounts"),
        # read by OpenBao as the namespace t-2 below the parent
        ("", "t-2/kv/data/org/x"),
        ("", "auth/k8s/role/axon-operator"),
    ],
)
def test_climbing_out_is_refused_before_anything_is_sent(vault: OpenBao, wire: Wire, namespace: str, path: str) -> None:
    wire.seen.clear()
    with pytest.raises(Terminal) as refused:
        vault.read(VaultPath(namespace, path))
    assert wire.seen == []
    assert_own_words(refused.value)


def test_a_refused_name_is_not_repeated(vault: OpenBao) -> None:
    with pytest.raises(Terminal) as refused:
        vault.read(VaultPath("t-1", f"kv/{CANARY}/.."))
    assert_own_words(refused.value)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}){0,3}", fullmatch=True))
def test_every_path_that_the_api_admits_can_be_read(vault: OpenBao, path: str) -> None:
    if ".." in path:  # refused by the CRD's rule
        return
    KVSource(path=path)
    vault.read(VaultPath("t-1", f"kv/subkeys/org/{path}"))


@pytest.mark.parametrize(
    "address",
    [
        "http://openbao.openbao.svc:8200",
        "http://127.0.0.1.example.org:8200",
        "http://127.0.0.1@example.org:8200",
        "https://user:password@openbao:8200",
        "https://openbao:8200/v1",
        "https://openbao:8200?x=y",
        "ftp://openbao",
        "openbao:8200",
        "https://",
        "",
    ],
)
def test_an_address_over_which_a_token_could_be_overheard_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="OpenBao's address"):
        OpenBaoSettings(address, None, Path("token"))


@pytest.mark.parametrize(
    "address", ["https://openbao:8200", "https://[::1]:8200/", "http://localhost:1", "http://[::1]:1"]
)
def test_https_and_loopback_are_accepted(address: str) -> None:
    OpenBaoSettings(address, None, Path("token"))


@pytest.mark.parametrize("namespace", ["", "root", "axon/", "/axon", "axon/..", "a b"])
def test_a_parent_that_is_not_a_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match="parent namespace"):
        OpenBaoSettings("https://openbao:8200", None, Path("token"), namespace=namespace)
