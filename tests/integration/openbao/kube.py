"""A real kube-apiserver with etcd: issues the service-account tokens with which everybody logs in to OpenBao."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from axon_testbed import pki
from axon_testbed.layout import Layout
from integration.openbao.processes import Process, free_port

ISSUER = "https://kubernetes.default.svc.cluster.local"
_NAMESPACE_EXISTS = 409


@dataclass(frozen=True)
class Kube:
    """The running API server."""

    port: int
    ca_file: Path
    admin_token: str

    def service_account(self, namespace: str, name: str) -> str:
        """Create it, and its namespace; its uid."""
        self._call("POST", "namespaces", {"metadata": {"name": namespace}}, also=_NAMESPACE_EXISTS)
        created = self._call("POST", f"namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})
        uid: str = created["metadata"]["uid"]
        return uid

    def delete_service_account(self, namespace: str, name: str) -> None:
        self._call("DELETE", f"namespaces/{namespace}/serviceaccounts/{name}")

    def token(self, namespace: str, name: str, audience: str) -> str:
        """What the kubelet would project into a pod."""
        spec = {"spec": {"audiences": [audience], "expirationSeconds": 600}}
        issued = self._call("POST", f"namespaces/{namespace}/serviceaccounts/{name}/token", spec)
        token: str = issued["status"]["token"]
        return token

    def is_ready(self) -> bool:
        try:
            return self._request("GET", "/readyz").status_code == 200
        except requests.RequestException:
            return False

    def _call(self, method: str, path: str, body: Any = None, also: int = 200) -> Any:
        response = self._request(method, f"/api/v1/{path}", body)
        assert response.status_code in {200, 201, also}, response.text
        return response.json()

    def _request(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(
            method,
            f"https://127.0.0.1:{self.port}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.admin_token}"},
            verify=str(self.ca_file),
            timeout=10,
        )


class KubeServer:
    """Starts and stops it."""

    def __init__(self, folder: Path) -> None:
        binaries = Layout.from_environment().bin
        for name in ("etcd", "kube-apiserver"):
            if not (binaries / name).exists():
                pytest.fail(f"{binaries / name} is missing: run `uv run testbed up` first")
        authority = Layout(folder)
        (folder / "ca.crt").write_text(pki.ensure_authority(authority))
        certificate, key = pki.ensure_server(authority, "kube-apiserver", ("kubernetes.default.svc", "127.0.0.1"))
        (folder / "apiserver.crt").write_text(certificate)
        (folder / "apiserver.key").write_text(key)
        (folder / "sa.key").write_bytes(_signing_key())
        self.kube = Kube(free_port(), folder / "ca.crt", secrets.token_hex(16))
        (folder / "tokens.csv").write_text(f"{self.kube.admin_token},admin,admin,system:masters\n")
        etcd, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._etcd = Process(
            "etcd",
            [
                binaries / "etcd",
                f"--data-dir={folder}/etcd",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls={peers}",
                "--unsafe-no-fsync",
            ],
            folder,
        )
        self._apiserver = Process(
            "kube-apiserver",
            [
                binaries / "kube-apiserver",
                f"--etcd-servers={etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self.kube.port}",
                f"--tls-cert-file={folder}/apiserver.crt",
                f"--tls-private-key-file={folder}/apiserver.key",
                f"--token-auth-file={folder}/tokens.csv",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.96.0.0/16",
                f"--service-account-issuer={ISSUER}",
                f"--service-account-jwks-uri=https://127.0.0.1:{self.kube.port}/openid/v1/jwks",
                f"--service-account-key-file={folder}/sa.key",
                f"--service-account-signing-key-file={folder}/sa.key",
            ],
            folder,
        )

    def start(self) -> Kube:
        self._etcd.start(lambda: True)
        self.start_apiserver()
        return self.kube

    def start_apiserver(self) -> None:
        self._apiserver.start(self.kube.is_ready)

    def stop_apiserver(self) -> None:
        self._apiserver.stop()

    def stop(self) -> None:
        self._apiserver.stop()
        self._etcd.stop()


def _signing_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
