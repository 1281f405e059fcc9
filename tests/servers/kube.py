"""A real kube-apiserver with etcd: ready in about two seconds; no kubelet, no controllers."""

import secrets
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from axon_operator.domain.resources import Manifest, Ref, Resource, ref_of
from axon_testbed import pki
from axon_testbed.layout import Layout
from servers.processes import Process, ServerError, free_port

ISSUER = "https://kubernetes.default.svc.cluster.local"
_NAMESPACE_EXISTS = 409
_NOT_FOUND = 404
_BINARIES = ("etcd", "kube-apiserver")


def missing_binaries() -> list[str]:
    """The programs that the test bed has not built: it does so only where it builds its own node image."""
    return [name for name in _BINARIES if not (Layout.from_environment().bin / name).exists()]


@dataclass(frozen=True)
class Kube:
    """The running API server, and requests to it as its administrator. Any number of threads may use it."""

    port: int
    ca_file: Path
    admin_token: str
    controllers_token: str
    issuer: str = ISSUER
    _local: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def as_controllers(self) -> "Kube":
        """Requests of Kubernetes' own controllers, whom no admission policy of the operator's chart concerns."""
        return replace(self, admin_token=self.controllers_token, _local=threading.local())

    def service_account(self, namespace: str, name: str) -> str:
        """Create it, and its namespace; its uid."""
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, also=_NAMESPACE_EXISTS)
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        created = self.call("POST", accounts, {"metadata": {"name": name}})
        uid: str = created["metadata"]["uid"]
        return uid

    def delete_service_account(self, namespace: str, name: str) -> None:
        self.call("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")

    def token(self, namespace: str, name: str, audience: str = "", seconds: int = 600) -> str:
        """What the kubelet would project into a pod; without an audience, one for the API server itself."""
        spec = {"spec": {"audiences": [audience] if audience else [], "expirationSeconds": seconds}}
        issued = self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", spec)
        token: str = issued["status"]["token"]
        return token

    def get(self, ref: Ref) -> Manifest:
        """An object that must exist."""
        found: Manifest = self.call("GET", _path(ref.resource, ref.namespace, ref.name))
        return found

    def find(self, ref: Ref) -> Manifest | None:
        """An object that need not exist."""
        found: Manifest = self.call("GET", _path(ref.resource, ref.namespace, ref.name), also=_NOT_FOUND)
        return None if found["kind"] == "Status" else found

    def list(self, resource: Resource, query: str = "", *, namespace: str = "") -> list[Manifest]:
        """All objects of a kind, in a namespace or in all."""
        items = self.call("GET", f"{_path(resource, namespace)}?{query}")["items"]
        # those of built-in kinds come without it
        return [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in items]

    def create(self, manifest: Manifest) -> Manifest:
        ref = ref_of(manifest)
        made: Manifest = self.call("POST", _path(ref.resource, ref.namespace), manifest)
        return made

    def accepts(self, manifest: Manifest) -> bool:
        """Whether it would be created, by all that the API server checks."""
        ref = ref_of(manifest)
        return self._request("POST", f"{_path(ref.resource, ref.namespace)}?dryRun=All", manifest).status_code == 201

    def patch(self, ref: Ref, body: Any) -> Manifest:
        """A JSON merge patch."""
        path = _path(ref.resource, ref.namespace, ref.name)
        changed: Manifest = self.call("PATCH", path, body, content="application/merge-patch+json")
        return changed

    def try_patch(self, ref: Ref, patch: Any) -> bool:
        """Whether the API server takes a JSON patch."""
        path = _path(ref.resource, ref.namespace, ref.name)
        return self._request("PATCH", path, patch, "application/json-patch+json").status_code == 200

    def set_status(self, ref: Ref, status: Mapping[str, Any]) -> None:
        """Replace the status, as a controller or the kubelet would."""
        path = f"{_path(ref.resource, ref.namespace, ref.name)}/status"
        patch = [{"op": "add", "path": "/status", "value": status}]
        self.call("PATCH", path, patch, content="application/json-patch+json")

    def delete(self, ref: Ref) -> None:
        """At once also where a kubelet would have to stop something first."""
        self.call("DELETE", f"{_path(ref.resource, ref.namespace, ref.name)}?gracePeriodSeconds=0")

    def is_ready(self) -> bool:
        try:
            return self._request("GET", "/readyz").status_code == 200
        except requests.RequestException:
            return False

    def call(self, method: str, path: str, body: Any = None, *, also: int = 200, content: str = "") -> Any:
        """Any request; the answer's JSON. `also`: a further status code that is fine."""
        response = self._request(method, path, body, content)
        assert response.status_code in {200, 201, also}, f"{method} {path}: {response.text}"
        return response.json()

    def _request(self, method: str, path: str, body: Any = None, content: str = "") -> requests.Response:
        headers = {"Content-Type": content} if content else None
        return self._session().request(method, self.address + path, json=body, headers=headers, timeout=30)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False
            session.verify = str(self.ca_file)
            # as every client of Kubernetes: "too many requests" is also what it says while its caches fill
            again = Retry(total=None, status=30, connect=0, read=0, status_forcelist=(429,), allowed_methods=None)
            session.mount("https://", HTTPAdapter(max_retries=again))
            session.headers["Authorization"] = f"Bearer {self.admin_token}"
        return session


class KubeServer:
    """Starts and stops it."""

    def __init__(self, folder: Path, *, own_issuer: bool = False, audit_policy: Path | None = None) -> None:
        """`own_issuer`: tokens name the server's own address as issuer, for those who look it up there (Keycloak).

        `audit_policy`: write `audit_log` by it.

        Raises:
            ServerError: a program is missing.
        """
        if missing := missing_binaries():
            raise ServerError(f"{' and '.join(missing)} are missing: `make up` builds them with its node image")
        self.folder = folder
        self._binaries = Layout.from_environment().bin
        port = free_port()
        issuer = f"https://127.0.0.1:{port}" if own_issuer else ISSUER
        self.kube = Kube(port, folder / "ca.crt", secrets.token_hex(16), secrets.token_hex(16), issuer)
        self.audit_log = folder / "audit.log"
        self._write_files()
        self._endpoint, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._etcd = Process(
            "etcd",
            [
                self._binaries / "etcd",
                f"--data-dir={folder}/etcd",
                f"--listen-client-urls={self._endpoint}",
                f"--advertise-client-urls={self._endpoint}",
                f"--listen-peer-urls={peers}",
                "--unsafe-no-fsync",
            ],
            folder,
        )
        self._apiserver = Process("kube-apiserver", self._command(audit_policy), folder)

    def start(self) -> Kube:
        self._etcd.start(lambda: True)
        self.start_apiserver()
        return self.kube

    def start_apiserver(self) -> None:
        self._apiserver.start(self.kube.is_ready)

    def stop_apiserver(self) -> None:
        self._apiserver.stop()

    def kill_apiserver(self) -> None:
        """Without a chance to say goodbye to its clients."""
        self._apiserver.signal(signal.SIGKILL)

    def compact(self) -> int:
        """Make etcd forget every former revision; the revision that is left."""
        etcdctl: list[str | Path] = [self._binaries / "etcdctl", f"--endpoints={self._endpoint}"]
        status = subprocess.run(
            [*etcdctl, "endpoint", "status", "--write-out=json"], capture_output=True, check=True, timeout=30
        )
        (endpoint,) = yaml.safe_load(status.stdout)
        revision = int(endpoint["Status"]["header"]["revision"])
        subprocess.run([*etcdctl, "compact", str(revision)], capture_output=True, check=True, timeout=60)
        return revision

    def stop(self) -> None:
        self._apiserver.stop()
        self._etcd.stop()

    def kubeconfig(self, name: str, token: str) -> Path:
        """A kubeconfig for whoever holds the token."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": "test", "user": name}}],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": self.kube.address, "certificate-authority": str(self.kube.ca_file)},
                }
            ],
            "users": [{"name": name, "user": {"token": token}}],
        }
        path = self.folder / f"kubeconfig-{name}"
        path.write_text(yaml.safe_dump(config))
        return path

    def _write_files(self) -> None:
        folder, authority = self.folder, Layout(self.folder)
        self.kube.ca_file.write_text(pki.ensure_authority(authority))
        certificate, key = pki.ensure_server(authority, "kube-apiserver", ("kubernetes.default.svc", "127.0.0.1"))
        (folder / "apiserver.crt").write_text(certificate)
        (folder / "apiserver.key").write_text(key)
        (folder / "sa.key").write_bytes(_signing_key())
        users = {self.kube.admin_token: "admin", self.kube.controllers_token: "system:kube-controller-manager"}
        lines = (f"{token},{user},{user},system:masters\n" for token, user in users.items())
        (folder / "tokens.csv").write_text("".join(lines))

    def _command(self, audit_policy: Path | None) -> list[str | Path]:
        folder = self.folder
        audit = [
            f"--audit-policy-file={audit_policy}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=100000",  # MB: who reads it needs one file
        ]
        return [
            self._binaries / "kube-apiserver",
            f"--etcd-servers={self._endpoint}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.kube.port}",
            f"--tls-cert-file={folder}/apiserver.crt",
            f"--tls-private-key-file={folder}/apiserver.key",
            f"--token-auth-file={folder}/tokens.csv",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-issuer={self.kube.issuer}",
            f"--service-account-jwks-uri={self.kube.address}/openid/v1/jwks",
            f"--service-account-key-file={folder}/sa.key",
            f"--service-account-signing-key-file={folder}/sa.key",
            *(audit if audit_policy else []),
        ]


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    root = "/apis" if "/" in resource.api_version else "/api"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}/{resource.api_version}{inside}/{resource.plural}" + (f"/{name}" if name else "")


def _signing_key() -> bytes:
    # the API server reads no PKCS #8 as a public key
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
