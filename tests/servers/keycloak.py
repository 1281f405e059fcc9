"""A real Keycloak on its embedded database, bootstrapped by the shipped script."""

import os
import secrets
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import requests

from axon_testbed import pins, pki, tools
from axon_testbed.layout import MANIFESTS, Layout
from servers.kube import Kube
from servers.processes import Process, free_port, run

BOOTSTRAP = MANIFESTS / "bootstrap" / "keycloak" / "bootstrap.py"
_START_SECONDS = 300
_JAVA = "-Xms64m -Xmx1g -XX:MaxMetaspaceSize=256m -Dfile.encoding=UTF-8 -XX:+ExitOnOutOfMemoryError -XX:+UseSerialGC"


class KeycloakServer:
    """The server. `kube` must be its tokens' own issuer and let anyone read its keys: Keycloak has no token here."""

    def __init__(self, folder: Path, kube: Kube, public_url: str) -> None:
        """`public_url`: what its clients call it, and so the beginning of its tokens' issuer."""
        folder.mkdir(parents=True, exist_ok=True)
        self.http_port = free_port()
        self._folder = folder
        self._kube = kube
        self._password = secrets.token_urlsafe(24)
        self._https_port = free_port()
        authority = Layout(folder)
        self.ca_file = folder / "ca.crt"
        self.ca_file.write_text(pki.ensure_authority(authority))
        certificate, key = pki.ensure_server(authority, "keycloak", ("127.0.0.1",))
        (folder / "tls.crt").write_text(certificate)
        (folder / "tls.key").write_text(key)
        env = {
            "JAVA_OPTS": _JAVA,
            "KC_BOOTSTRAP_ADMIN_USERNAME": "temporary",
            "KC_BOOTSTRAP_ADMIN_PASSWORD": self._password,
        }
        command = self._command(_built(Layout.from_environment()), public_url)
        self._process = Process("keycloak", command, folder, env, patience=_START_SECONDS)

    def start(self) -> None:
        self._process.start(self._answers)

    def stop(self) -> None:
        self._process.stop()

    def cpu_seconds(self) -> float:
        """Used so far."""
        return self._process.cpu_seconds()

    def bootstrap(self) -> None:
        """What an administrator does once, with the script that is shipped."""
        url = f"https://127.0.0.1:{self._https_port}"
        run(
            [sys.executable, BOOTSTRAP, "--url", url, "--ca", self.ca_file, "--issuer", self._kube.issuer],
            {**os.environ, "KEYCLOAK_USERNAME": "temporary", "KEYCLOAK_PASSWORD": self._password},
            timeout=300,
            # a cold Keycloak on a busy machine can need longer than the script waits
            attempts=4,
        )

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """As administrator of everything, `path` below the admin API's realms; the answer's JSON, or None."""
        url = f"http://127.0.0.1:{self.http_port}"
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "temporary", "password": self._password}
        with requests.Session() as http:
            http.trust_env = False
            login = http.post(f"{url}/realms/master/protocol/openid-connect/token", data=form, timeout=60)
            bearer = {"Authorization": f"Bearer {login.json()['access_token']}"}
            answer = http.request(
                method, f"{url}/admin/realms/{path}".rstrip("/"), headers=bearer, json=body, timeout=60
            )
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def _command(self, home: Path, public_url: str) -> list[str | Path]:
        return [
            home / "bin" / "kc.sh",
            "start",
            "--optimized",
            "--http-enabled=true",
            "--http-host=127.0.0.1",
            f"--http-port={self.http_port}",
            f"--https-port={self._https_port}",
            f"--https-certificate-file={self._folder}/tls.crt",
            f"--https-certificate-key-file={self._folder}/tls.key",
            f"--hostname={public_url}",
            # its own authority too: tests let other servers prove themselves with it
            f"--truststore-paths={self._kube.ca_file},{self.ca_file}",
            f"--db-url=jdbc:h2:file:{self._folder}/database;NON_KEYWORDS=VALUE",
        ]

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.http_port}/realms/master", timeout=5).status_code == 200
        except requests.RequestException:
            return False


def _built(layout: Layout) -> Path:
    """The distribution, unpacked and with its build step done: that takes a minute, so it is kept."""
    archive = tools.keycloak_distribution(layout)
    home = layout.cache / "servers" / archive.stem
    if home.exists():
        return home
    scratch = home.with_suffix(".new")
    shutil.rmtree(scratch, ignore_errors=True)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(scratch)
    unpacked = scratch / f"keycloak-{pins.KEYCLOAK_DIST.split(':')[2]}"
    script = unpacked / "bin" / "kc.sh"
    script.chmod(0o755)
    run([script, "build", "--db=dev-file", "--cache=local", "--health-enabled=false"], os.environ, timeout=600)
    unpacked.rename(home)
    shutil.rmtree(scratch)
    return home
