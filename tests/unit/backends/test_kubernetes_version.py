"""An API server that is too old is refused by its version, however its provider writes that."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import yaml

from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.backends.kubernetes.informer import Informers
from axon_operator.handlers import require_supported

from .wire import Reply, Seen, Wire, serving


@pytest.fixture
def wire() -> Iterator[Wire]:
    with serving(lambda _: Reply(404)) as running:
        yield running


@pytest.fixture
def informers(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Informers:
    config = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": wire.url}}],
        "users": [{"name": "test", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return Informers(KubernetesApi(timeout=5, connections=1), ())


def says(status: int, body: object) -> Callable[[Seen], Reply]:
    return lambda request: Reply(status, body) if request.path == "/version" else Reply(404)


@pytest.mark.parametrize(
    ("major", "minor", "supported"),
    [
        ("1", "34", False),
        ("1", "34+", False),
        ("1", "9", False),
        ("1", "35", True),
        ("1", "35+", True),
        ("2", "0", True),
    ],
)
def test_a_server_is_as_old_as_it_says(
    wire: Wire, informers: Informers, major: str, minor: str, *, supported: bool
) -> None:
    wire.answer = says(200, {"major": major, "minor": minor})
    problem = informers.unsupported()
    assert (problem is None) is supported
    if problem:
        assert problem == f"The API server is Kubernetes {major}.{minor.rstrip('+')}; at least 1.35 is needed."


@pytest.mark.parametrize("answer", [(403, {}), (200, {}), (200, {"major": "1", "minor": ""})])
def test_a_server_that_does_not_tell_its_version_is_trusted(
    wire: Wire, informers: Informers, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, object]
) -> None:
    wire.answer = says(*answer)
    monkeypatch.setattr(os, "_exit", pytest.fail)
    with pytest.raises(ReconcileError):
        informers.unsupported()
    with structlog.testing.capture_logs() as lines:
        asyncio.run(require_supported(informers))
    assert [line["event"] for line in lines] == ["version of the API server not known"]


def test_the_operator_does_not_start_on_one_that_is_too_old(
    wire: Wire, informers: Informers, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.answer = says(200, {"major": "1", "minor": "34"})
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with structlog.testing.capture_logs() as lines:
        asyncio.run(require_supported(informers))
    assert ended == [1]
    assert [(line["event"], line["message"]) for line in lines] == [
        ("axon-operator cannot start", "The API server is Kubernetes 1.34; at least 1.35 is needed.")
    ]
