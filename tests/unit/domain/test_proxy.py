"""The proxy's configuration: what never stands in it, and which bindings cannot have one."""

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axon_operator.domain import proxy
from axon_operator.domain.agent import CONFIG_DIR
from axon_operator.domain.proxy import Route
from axon_operator.domain.runtime.pods import USER

STRIPE = Route("stripe", "api.example", 443, 8801, "authorization", "Bearer ", "kv:billing/stripe:key")
GITHUB = Route("github", "git.example", 8443, 8802, "x-api-key", "", "grant:alice:github")

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
routes = st.builds(
    Route,
    binding=labels,
    host=st.builds("{}.{}".format, labels, labels),
    port=st.integers(1, 65535),
    local_port=st.integers(1024, 65535),
    header=st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
    prefix=st.from_regex(r"[A-Za-z0-9 _=-]{0,10}", fullmatch=True),
    origin=st.text(max_size=20),
)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Route)])
def test_no_two_different_routes_share_a_credential_or_a_host(field: str) -> None:
    """Else a change could send the new credential to the old host for a moment, or the old one to the new host."""
    value = getattr(STRIPE, field)
    changes: dict[str, Any] = {field: value + 1 if isinstance(value, int) else f"{value}x"}
    another = dataclasses.replace(STRIPE, **changes)
    assert another.name != STRIPE.name
    assert another.file != STRIPE.file


@given(routes)
def test_a_file_name_stays_in_its_folder(route: Route) -> None:
    assert "/" not in route.file
    assert " " not in route.file
    assert len(route.file) <= 255
    assert not route.file.startswith(".")


@pytest.mark.parametrize(
    ("host", "header", "said"),
    [
        ("10.0.0.1", "authorization", "is an address"),
        ("api.example", "x-forwarded-for", "x-forwarded-for"),
        # Envoy removes it after the credential was added: the request would go without
        ("api.example", "x-envoy-retry-on", "x-envoy-retry-on"),
    ],
)
def test_what_cannot_be_delivered(host: str, header: str, said: str) -> None:
    assert said in (proxy.problem(host, header) or "")
    assert proxy.problem("api.example", "authorization") is None


def test_nothing_but_routes_listens() -> None:
    config = json.loads(proxy.bootstrap())
    assert "admin" not in config
    assert "static_resources" not in config


@given(st.lists(routes, max_size=4))
def test_every_route_leads_from_loopback_to_its_host_over_verified_tls(found: list[Route]) -> None:
    clusters = {c["name"]: c for c in json.loads(proxy.clusters(found))["resources"]}
    lines = proxy.listeners(found).splitlines()
    assert len(lines) == len(found)
    for route, line in zip(sorted(found), lines, strict=True):
        file, _, text = line.partition(" ")
        assert file == route.file
        assert json.loads(text)["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": route.local_port}
        tls = clusters[route.name]["transport_socket"]["typed_config"]
        assert tls["sni"] == route.host
        (name,) = tls["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
        assert name == {"san_type": "DNS", "matcher": {"exact": route.host}}


def test_what_is_the_same_is_written_the_same() -> None:
    """So that nothing is reloaded, and no status moves, for another order of bindings."""
    for write in (proxy.clusters, proxy.listeners):
        assert write([STRIPE, GITHUB]) == write([GITHUB, STRIPE])


def test_the_container_is_restricted_and_depends_on_no_binding() -> None:
    container = proxy.container("docker.io/envoyproxy/envoy:v1.40.0", "7f3f6c2e")
    assert container["restartPolicy"] == "Always"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {m["mountPath"]: m["readOnly"] for m in container["volumeMounts"]} == {
        proxy.PROXY_DIR: True,
        CONFIG_DIR: True,
    }
    assert "ports" not in container
    # Kubernetes would read $(…) as a variable
    assert not any("$(" in part for part in container["command"])


@given(st.text(), st.text())
def test_no_two_runtimes_share_a_user_and_none_has_that_of_workloads(one: str, another: str) -> None:
    assert USER < proxy.user(one) < 2**31
    assert (proxy.user(one) == proxy.user(another)) == (one == another)


def listeners_of(folder: Path, found: list[Route]) -> list[Any]:
    """What the sidecar's function makes of them."""
    (folder / "listeners").write_text(proxy.listeners(found))
    call = f"set -u\n{proxy.SCRIPT}\npublish_listeners listeners ."
    subprocess.run(["sh", "-c", call], cwd=folder, check=True, timeout=10)
    resources: list[Any] = json.loads((folder / "listeners.json").read_text())["resources"]
    return resources


def test_the_sidecar_publishes_the_listeners_whose_credential_is_there(tmp_path: Path) -> None:
    assert listeners_of(tmp_path, []) == []
    assert listeners_of(tmp_path, [STRIPE, GITHUB]) == []
    (tmp_path / GITHUB.file).touch()
    assert listeners_of(tmp_path, [STRIPE, GITHUB]) == []
    (tmp_path / GITHUB.file).write_text("{}")
    assert [r["name"] for r in listeners_of(tmp_path, [STRIPE, GITHUB])] == ["github:8802"]
    (tmp_path / STRIPE.file).write_text("{}")
    assert [r["name"] for r in listeners_of(tmp_path, [STRIPE, GITHUB])] == ["github:8802", "stripe:8801"]
    assert [r["name"] for r in listeners_of(tmp_path, [STRIPE])] == ["stripe:8801"]
    (tmp_path / STRIPE.file).unlink()
    assert listeners_of(tmp_path, [STRIPE, GITHUB])[0]["name"] == "github:8802"


def test_the_sidecar_does_not_touch_what_is_the_same(tmp_path: Path) -> None:
    """Envoy reads the file again each time it is replaced."""
    (tmp_path / STRIPE.file).write_text("{}")
    listeners_of(tmp_path, [STRIPE])
    before = (tmp_path / "listeners.json").stat().st_ino
    listeners_of(tmp_path, [STRIPE])
    assert (tmp_path / "listeners.json").stat().st_ino == before


@given(st.lists(routes, min_size=1, max_size=3))
@settings(deadline=None)  # a shell each
def test_the_sidecar_changes_nothing_within_a_listener(
    tmp_path_factory: pytest.TempPathFactory, found: list[Route]
) -> None:
    folder = tmp_path_factory.mktemp("sidecar")
    for route in found:
        (folder / route.file).write_text("{}")
    expected = [json.loads(line.partition(" ")[2]) for line in proxy.listeners(found).splitlines()]
    assert listeners_of(folder, found) == expected
