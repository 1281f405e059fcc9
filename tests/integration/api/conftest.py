"""A real kube-apiserver with etcd as plain processes: ready in about two seconds, no kubelet, no controllers."""

import secrets
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from axon_testbed.layout import MANIFESTS, Layout
from e2e.support.kubectl import Kubectl
from e2e.support.shell import Result

START_SECONDS = 60
INSTALL = MANIFESTS / "install"
OPERATOR = "system:serviceaccount:axon-system:axon-operator"


class ServerError(Exception):
    """The API server did not come up."""


class As:
    """kubectl as somebody else; how the API server decides is the same as with their token."""

    def __init__(self, kubectl: Kubectl, user: str, *groups: str) -> None:
        self._kubectl = kubectl
        self._who = ["--as", user, *(f"--as-group={group}" for group in groups)]

    def __call__(self, *args: str, stdin: str | None = None) -> Result:
        return self._kubectl.run(*self._who, *args, stdin=stdin)

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """RBAC's answer alone, without admission. Takes `resource/subresource`, which kubectl would read as a name."""
        resource, _, subresource = resource.partition("/")
        return self("auth", "can-i", verb, resource, f"--subresource={subresource}", "-n", namespace).ok


@pytest.fixture(scope="session")
def installed(kubectl: Kubectl) -> Kubectl:
    """The same API server with CRDs, roles and admission policies as they are installed."""
    for file in ("crds.yaml", "namespace.yaml", "operator.yaml"):
        kubectl("apply", "--server-side", "-f", str(INSTALL / file))
    kubectl("wait", "--for=condition=Established", "-f", str(INSTALL / "crds.yaml"), "--timeout=60s")
    return kubectl


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl as administrator of an empty API server."""
    binaries = Layout.from_environment().bin
    if missing := [name for name in ("etcd", "kube-apiserver") if not (binaries / name).exists()]:
        # built with the local node image; with a published one, tests/e2e asks the API server in the cluster
        pytest.skip(f"{' and '.join(missing)} not in {binaries}: the test bed used a published node image")
    folder = tmp_path_factory.mktemp("apiserver")
    etcd, peers, port = free_port(), free_port(), free_port()
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    _write_signing_key(folder / "sa.key")
    processes = []
    try:
        processes.append(
            _start(
                folder,
                binaries / "etcd",
                f"--data-dir={folder}/etcd",
                f"--listen-client-urls=http://127.0.0.1:{etcd}",
                f"--advertise-client-urls=http://127.0.0.1:{etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peers}",
                "--unsafe-no-fsync",
            )
        )
        processes.append(
            _start(
                folder,
                binaries / "kube-apiserver",
                f"--etcd-servers=http://127.0.0.1:{etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--cert-dir={folder}/certs",
                f"--token-auth-file={folder}/tokens.csv",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={folder}/sa.key",
                f"--service-account-signing-key-file={folder}/sa.key",
            )
        )
        # the certificate that the API server made for itself is its own authority
        certificate = folder / "certs" / "apiserver.crt"
        address = f"https://127.0.0.1:{port}"
        _wait_until_ready(f"{address}/readyz", certificate, token, processes[-1])
        yield Kubectl(_kubeconfig(folder / "kubeconfig", address, certificate, token))
    except ServerError as error:
        log = folder / "kube-apiserver.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        pytest.fail(f"{error}; {log} ends with:\n{tail}")
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=30)


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_signing_key(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # the API server reads no PKCS #8 as a public key
    form = serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def _start(folder: Path, program: Path, *flags: str) -> "subprocess.Popen[bytes]":
    with (folder / f"{program.name}.log").open("wb") as log:
        return subprocess.Popen([program, *flags], cwd=folder, stdout=log, stderr=subprocess.STDOUT)


def _wait_until_ready(url: str, certificate: Path, token: str, server: "subprocess.Popen[bytes]") -> None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ServerError("kube-apiserver ended")
        try:
            context = ssl.create_default_context(cafile=certificate)
            with urllib.request.urlopen(request, timeout=2, context=context):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise ServerError(f"kube-apiserver was not ready within {START_SECONDS} s")


def _kubeconfig(path: Path, server: str, certificate: Path, token: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(certificate)}}],
        "users": [{"name": "admin", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path
