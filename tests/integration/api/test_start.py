"""The operator's process and its first moments with a real API server. Neither OpenBao nor Keycloak is needed."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from axon_operator.api import crds
from e2e.support.kubectl import Kubectl
from servers.kube import KubeServer
from servers.processes import free_port

SECONDS = 60


class Operator:
    """The running process."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self._port = free_port()
        self._log = folder / "operator.log"
        unused = {
            name: str(folder / name.lower())
            for name in ("VAULT_CA_FILE", "VAULT_TOKEN_FILE", "KEYCLOAK_CA_FILE", "KEYCLOAK_TOKEN_FILE")
        }
        for path in unused.values():
            Path(path).touch()
        variables = {
            **unused,
            "VAULT_ADDRESS": "https://127.0.0.1:1",
            "VAULT_PEER_NAMESPACE": "openbao",
            "VAULT_PEER_LABELS": '{"app": "openbao"}',
            "KEYCLOAK_URL": "https://127.0.0.1:1",
            "KEYCLOAK_PEER_NAMESPACE": "keycloak",
            "KEYCLOAK_PEER_LABELS": '{"app": "keycloak"}',
            "AGENT_IMAGE": "registry.example/agent:1",
            "OPERATOR_NAMESPACE": "default",
            "POD_NAME": "axon-operator-0",
            "PORT": str(self._port),
        }
        env = {**os.environ, **{f"AXON_{name}": value for name, value in variables.items()}}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from axon_operator.handlers import main; main()"],
                env={**env, "KUBECONFIG": str(kubectl.kubeconfig)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def answers(self, path: str) -> bool:
        """Whether a probe succeeds."""
        assert self._process.poll() is None, self.log()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def becomes(self, path: str) -> None:
        """Waits until a probe succeeds."""
        deadline = time.monotonic() + SECONDS
        while not self.answers(path):
            assert time.monotonic() < deadline, f"no {path} within {SECONDS} s:\n{self.log()}"
            time.sleep(0.1)

    def says(self, words: str) -> None:
        """Waits until the log holds these words."""
        deadline = time.monotonic() + SECONDS
        while words not in self.log():
            assert time.monotonic() < deadline, f"not said within {SECONDS} s: {words}\n{self.log()}"
            time.sleep(0.1)

    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text()

    def stop(self) -> None:
        """As the kubelet would."""
        self._process.terminate()
        self._process.wait(timeout=SECONDS)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Kubectl]:
    """An API server of its own, which has never heard of our kinds."""
    server = KubeServer(tmp_path / "server")
    try:
        yield Kubectl(server.kubeconfig("admin", server.start().admin_token))
    finally:
        server.stop()


@pytest.fixture
def operator_without_crds(bare: Kubectl, tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(bare, tmp_path)
    yield operator
    operator.stop()


def test_started_before_the_crds_it_waits_for_them_and_then_works(
    operator_without_crds: Operator, bare: Kubectl
) -> None:
    operator, kubectl = operator_without_crds, bare
    operator.becomes("/livez")
    operator.says("does not serve tenants (axonos.ai/v1alpha1) yet. Are the CRDs installed?")
    assert not operator.answers("/readyz"), "it watches nothing"
    kubectl("apply", "--server-side", "-f", str(crds.ROOT / "crds"))
    operator.becomes("/readyz")
    kubectl.apply({"apiVersion": "axonos.ai/v1alpha1", "kind": "Tenant", "metadata": {"name": "first"}, "spec": {}})
    try:
        kubectl("wait", "axt/first", "--for=condition=Ready=False", f"--timeout={SECONDS}s")
    finally:
        operator.stop()
        kubectl("patch", "axt/first", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        kubectl("delete", "axt/first", "--ignore-not-found")
        kubectl("delete", "namespace", "axon-first", "--ignore-not-found", "--wait=false")
