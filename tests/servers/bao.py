"""A real OpenBao: TLS, static seal, initialized from the test bed's own file, bootstrapped by the shipped script."""

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from axon_testbed import pins, pki, tools
from axon_testbed.layout import MANIFESTS, Layout
from servers.kube import Kube
from servers.processes import Process, free_port, run

BOOTSTRAP = MANIFESTS / "bootstrap" / "openbao" / "bootstrap.sh"
TESTBED_CONFIG = MANIFESTS / "testbed" / "openbao" / "openbao.hcl"
SERVICE_ACCOUNT_MOUNT = "/run/secrets/kubernetes.io/serviceaccount"

_CONFIG = """
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{folder}/tls.crt"
  tls_key_file = "{folder}/tls.key"
}}
storage "raft" {{
  path = "{folder}/data"
  node_id = "openbao"
  performance_multiplier = 1
}}
seal "static" {{
  current_key_id = "test"
  current_key = "file://{folder}/seal.key"
}}
"""
TELEMETRY = """
telemetry {
  prometheus_retention_time = "24h"
  disable_hostname = true
  prefix_filter = ["-vault.route"]
}
"""

Answer = tuple[int, Any]
_NOT_FOUND = 404
_TOO_MANY = 429
_DAY = 86400
_PATIENCE = 60


def patiently(ask: Callable[[], Answer]) -> Answer:
    """What comes of a request once a rate quota has room for it, as sidecars and other patient clients see it."""
    deadline = time.monotonic() + _PATIENCE
    while (answer := ask())[0] == _TOO_MANY and time.monotonic() < deadline:
        pass
    return answer


class Bao:
    """The server, and raw requests to it: for preparing, looking behind the adapter's back, and attacking."""

    def __init__(self, folder: Path, kube: Kube) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"https://127.0.0.1:{self.port}"
        self.ca_file = folder / "ca.crt"
        self._kube = kube
        self._binary = tools.wheel_binary(Layout.from_environment(), pins.OPENBAO_WHEEL)
        self._prepare()
        self._process = Process("openbao", self._command(), folder, self._env())
        self._admin, self._admin_until = "", 0.0

    def start(self) -> None:
        """Start and unseal (the static seal does that by itself)."""
        self._process.start(self._is_active)
        self._admin = ""

    def stop(self) -> None:
        self._process.stop()

    def configure(self, devices: str, telemetry: str = TELEMETRY) -> None:
        """Other audit devices and metrics than its own. Devices count when it reloads, metrics when it starts."""
        shipped = TESTBED_CONFIG.read_text()
        initialize = shipped[shipped.index('initialize "admin"') :]
        (self.folder / "openbao.hcl").write_text(f"{self._config}{telemetry}{devices}{initialize}")

    def reload(self) -> None:
        """Reads its configuration again; not waited for."""
        self._process.signal(signal.SIGHUP)

    def audit_file(self, name: str) -> str:
        """The declaration of an audit device that writes into a file."""
        options = f'options {{\n  file_path = "{self.folder}/{name}.log"\n  mode = "0600"\n}}'
        return f'audit "file" "{name}" {{\n{options}\n}}\n'

    @contextmanager
    def mute(self) -> Iterator[None]:
        """It takes connections and says nothing."""
        self._process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Used so far."""
        return self._process.cpu_seconds()

    def bootstrap(self, operator_uid: str, *, audit_check: str = "yes") -> None:
        """What an administrator does once, with the script that is shipped."""
        path = f"{self._binary.parent}:{os.environ['PATH']}"
        env = {"BAO_ADDR": self.address, "BAO_TOKEN": self._admin_token(), "BAO_CACERT": str(self.ca_file),
               "HOME": str(self.folder), "PATH": path, "OPERATOR_UID": operator_uid, "AUDIT_CHECK": audit_check}  # fmt: skip
        run(["sh", BOOTSTRAP], env, timeout=60)

    def admin(self, method: str, namespace: str, path: str, body: Any = None) -> Any:
        """As administrator of everything; the `data`, or None."""
        status, answer = self.call(method, namespace, path, self._admin_token(), body)
        assert status < 400, f"{method} {namespace} {path}: {status} {answer}"
        return answer.get("data") if answer else None

    def look(self, method: str, namespace: str, path: str) -> Any:
        """As administrator at something that need not exist: its `data`, or None."""
        status, answer = self.call(method, namespace, path, self._admin_token())
        assert status < 400 or status == _NOT_FOUND, f"{method} {namespace} {path}: {status} {answer}"
        return answer["data"] if status < 400 else None

    def call(self, method: str, namespace: str, path: str, token: str = "", body: Any = None) -> Answer:
        """Any request at all; status and JSON."""
        headers = {"X-Vault-Namespace": namespace, **({"X-Vault-Token": token} if token else {})}
        response = requests.request(
            method, f"{self.address}/v1/{path}", headers=headers, json=body, verify=str(self.ca_file), timeout=10
        )
        return response.status_code, response.json() if response.content else None

    def log_in(self, namespace: str, role: str, jwt: str) -> Answer:
        """As anyone, at the mount `k8s`."""
        return self.call("POST", namespace, "auth/k8s/login", body={"role": role, "jwt": jwt})

    def as_admin(self, method: str, namespace: str, path: str, body: Any = None) -> Answer:
        """As administrator of everything, whatever comes of it."""
        return self.call(method, namespace, path, self._admin_token(), body)

    def _admin_token(self) -> str:
        if not self._admin or time.monotonic() > self._admin_until:
            status, answer = self.log_in("", "testbed-admin", self._kube.token("axon-testbed", "admin", "openbao"))
            assert status == 200, answer
            self._admin = answer["auth"]["client_token"]
            self._admin_until = time.monotonic() + answer["auth"]["lease_duration"] / 2
        return self._admin

    def _is_active(self) -> bool:
        try:
            return requests.get(f"{self.address}/v1/sys/health", verify=str(self.ca_file), timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def _prepare(self) -> None:
        folder = self.folder
        (folder / "data").mkdir(parents=True)
        authority = Layout(folder)
        self.ca_file.write_text(pki.ensure_authority(authority))
        certificate, key = pki.ensure_server(authority, "openbao", ("127.0.0.1",))
        (folder / "tls.crt").write_text(certificate)
        (folder / "tls.key").write_text(key)
        (folder / "seal.key").write_bytes(secrets.token_bytes(32))
        self._config = _CONFIG.format(folder=folder, port=self.port, cluster_port=free_port())
        self.configure(self.audit_file("main"))
        (folder / "pod").mkdir()
        # there is no kubelet that would renew it
        (folder / "pod" / "token").write_text(self._kube.token("openbao", "openbao", self._kube.issuer, _DAY))
        (folder / "pod" / "ca.crt").write_bytes(self._kube.ca_file.read_bytes())

    def _command(self) -> list[str | Path]:
        """OpenBao reads its pod's service account at a fixed place: give it one in a mount namespace of its own."""
        script = f'mount -t tmpfs none /run && mkdir -p {SERVICE_ACCOUNT_MOUNT} && cp "$0"/* {SERVICE_ACCOUNT_MOUNT} && exec "$@"'
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        wrapper: list[str | Path] = ["unshare", "--mount", *as_root, "sh", "-c", script, self.folder / "pod"]
        return [*wrapper, self._binary, "server", f"-config={self.folder}/openbao.hcl"]

    def _env(self) -> Mapping[str, str]:
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self._kube.port)}
