"""HTTP to a service in the cluster or to the API server, through a way that survives restarts of either end."""

import atexit
import re
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from e2e.support.kubectl import Json, Kubectl
from e2e.support.waiting import Unmet, until

READY = re.compile(r"(?:Forwarding from|Starting to serve on) 127\.0\.0\.1:(\d+)")


class Forward:
    """A kubectl that listens on a local port, started when first needed and again when it has ended."""

    def __init__(self, kubectl: Kubectl, *command: str) -> None:
        self._command = kubectl.command(*command)
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._lock = threading.Lock()
        atexit.register(self.close)

    def port(self) -> int:
        """The local port."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            return self._port

    def close(self, port: int | None = None) -> None:
        """Ends it; the next use starts it again. `port`: only if it is still that one, for those who share it."""
        with self._lock:
            if port not in {None, self._port}:
                return
            if self._process and self._process.poll() is None:
                self._process.terminate()
                self._process.wait()
            self._process = None

    def _start(self) -> None:
        # to a file: it writes a line per connection, which would fill a pipe that nobody reads
        with tempfile.NamedTemporaryFile(prefix="kubectl-") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            self._port = until("kubectl listens", lambda: self._announced(Path(output.name)), timeout=20, every=0.05)

    def _announced(self, output: Path) -> int:
        said = output.read_text()
        found = READY.search(said)
        if found:
            return int(found[1])
        if self._process and self._process.poll() is not None:
            raise requests.ConnectionError(f"kubectl ended: {said.strip()}")
        raise Unmet(said.strip() or "no output yet")


class PortForward(Forward):
    """To a port of a pod, or of a service's pod."""

    def __init__(self, kubectl: Kubectl, namespace: str, target: str, port: int) -> None:
        super().__init__(kubectl, "-n", namespace, "port-forward", target, f":{port}")


class ToApiServer(Forward):
    """To the API server, as the kubeconfig's user."""

    def __init__(self, kubectl: Kubectl) -> None:
        super().__init__(kubectl, "proxy", "--port=0")


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    body: Json
    text: str

    @property
    def ok(self) -> bool:
        """Whether it did what was asked."""
        return self.status < 400


class ServerError(RuntimeError):
    """An administrator's call failed that had to succeed."""


class Https:
    """A server that is reached through a forward and proves itself with the test bed's CA. Any number of threads may use it."""

    def __init__(self, forward: Forward, ca: Path, scheme: str = "https") -> None:
        self._forward = forward
        self._scheme = scheme
        self._session = requests.Session()
        self._session.verify = str(ca)
        self._session.trust_env = False  # a proxy or a CA bundle of the shell must not come between

    def request(self, method: str, path: str, *, patience: float = 30, **options: Any) -> Answer:
        """One request. A broken connection is tried again for as long as patience lasts."""
        deadline = time.monotonic() + patience
        while True:
            port = self._forward.port()
            try:
                url = f"{self._scheme}://127.0.0.1:{port}/{path.lstrip('/')}"
                reply = self._session.request(method, url, timeout=30, allow_redirects=False, **options)
                return Answer(reply.status_code, _json(reply), reply.text)
            except requests.ConnectionError:
                self._forward.close(port)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


class Forwarded(HTTPAdapter):
    """Takes requests for a server's own address through a port-forward, as a browser with that name in its hosts file."""

    def __init__(self, address: str, forward: PortForward) -> None:
        super().__init__()
        self._address = address
        self._forward = forward

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """See `HTTPAdapter.send`."""
        url = str(request.url)
        request.headers["Host"] = urlsplit(self._address).netloc
        request.url = url.replace(self._address, f"https://127.0.0.1:{self._forward.port()}", 1)
        response = super().send(request, *args, **options)
        response.url = url
        return response


def _json(reply: requests.Response) -> Json:
    """The JSON object, or a list wrapped into one."""
    try:
        body = reply.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {"items": body}
