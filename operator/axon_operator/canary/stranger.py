"""What the canary can do: requests and connections that anyone in the cluster could make.

A result is concluded from status codes and from the form of refusals alone. What a server gives away when it does not
refuse is not read: the connection is closed on it.
"""

import errno
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import requests

from axon_operator.backends.http import json_object
from axon_operator.canary.settings import CanarySettings
from axon_operator.domain.isolation import Address, Result

_LONGEST_REFUSAL: Final = 64 * 1024
_LONGEST_CONFIG_MAP: Final = 2 * 1024 * 1024
"""Of 1 MiB, with every quote in it escaped."""
_KEPT_OUT: Final = {
    errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EACCES, errno.EPERM,
}  # fmt: skip
"""How a connection fails that somebody on the way does not let pass."""

Body = dict[str, Any]
Tells = Callable[[requests.Response, Body], bool]
"""Of an answer and its JSON object, which is empty where it has none."""


class Stranger:
    """Requests of one visit. They follow no redirect, and no variable of the environment leads them elsewhere."""

    def __init__(self, settings: CanarySettings) -> None:
        self._settings = settings
        self._http = requests.Session()
        self._http.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def token(self, audience: str) -> str | None:
        """A token of the canary's own account for an audience; None if there is none."""
        home = f"/api/v1/namespaces/{self._settings.namespace}/serviceaccounts/{self._settings.account}/token"
        answer = self.kubernetes("POST", home, json={"spec": {"audiences": [audience], "expirationSeconds": 600}})
        body = _body(answer) if answer is not None and answer.status_code == 201 else None
        found = ((body or {}).get("status") or {}).get("token")
        return found if isinstance(found, str) else None

    def config_map(self, name: str) -> Mapping[str, str] | None:
        """The data of a ConfigMap of the canary's namespace; None if it cannot be read."""
        answer = self.kubernetes("GET", self._config_map(name))
        body = _body(answer, _LONGEST_CONFIG_MAP) if answer is not None and answer.status_code == 200 else None
        return None if body is None else body.get("data") or {}

    def write_config_map(self, name: str, data: Mapping[str, str]) -> bool:
        """Whether the data of a ConfigMap of the canary's namespace was written."""
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self.kubernetes("PATCH", self._config_map(name), headers=headers, json={"data": dict(data)})
        return answer is not None and answer.status_code == 200

    def kubernetes(self, method: str, path: str, **request: Any) -> requests.Response | None:
        """The API server's answer; None if there is none."""
        settings = self._settings
        try:
            token = settings.kubernetes_token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        headers = {"Authorization": f"Bearer {token}", **request.pop("headers", {})}
        return self._ask(method, settings.kubernetes_url, path, settings.kubernetes_ca_file, headers=headers, **request)

    def openbao(self, method: str, namespace: str, path: str, **request: Any) -> requests.Response | None:
        """OpenBao's answer; None if there is none."""
        settings, headers = self._settings, {"X-Vault-Namespace": namespace, "X-Vault-Request": "true"}
        return self._ask(
            method, settings.vault_address, f"/v1/{path}", settings.vault_ca_file, headers=headers, **request
        )

    def keycloak(self, method: str, realm: str, path: str, **request: Any) -> requests.Response | None:
        """Keycloak's answer; None if there is none."""
        settings = self._settings
        return self._ask(method, settings.keycloak_url, f"/realms/{realm}/{path}", settings.keycloak_ca_file, **request)

    def knock(self, address: Address) -> Result:
        """Whether packets reach a pod. A reset shows that too: somebody there has read the first one."""
        try:
            with socket.create_connection((str(address.ip), address.port), self._settings.network_timeout):
                return Result.CROSSED
        except (ConnectionRefusedError, ConnectionResetError):
            return Result.CROSSED
        except TimeoutError:
            return Result.REFUSED
        except OSError as error:
            return Result.REFUSED if error.errno in _KEPT_OUT else Result.UNDECIDED

    def _config_map(self, name: str) -> str:
        return f"/api/v1/namespaces/{self._settings.namespace}/configmaps/{name}"

    def _ask(self, method: str, server: object, path: str, ca_file: Path, **request: Any) -> requests.Response | None:
        url = f"{str(server).rstrip('/')}{path}"
        timeout = self._settings.timeout
        try:
            return self._http.request(
                method, url, verify=str(ca_file), timeout=timeout, allow_redirects=False, stream=True, **request
            )
        except requests.RequestException:
            return None


def concluded(
    answer: requests.Response | None, refuses: Tells, lets_through: Tells = lambda _answer, _body: False
) -> Result:
    """What an answer says, which is the server's own, as its certificate proves; None if there was none.

    `refuses`: whether it is a refusal in that server's words. `lets_through`: whether it tells, beside success, that
    nothing has refused.
    """
    if answer is None:
        return Result.UNDECIDED
    with answer:
        if 200 <= answer.status_code < 300:
            return Result.CROSSED
        body = _body(answer) or {}
        if lets_through(answer, body):
            return Result.CROSSED
        return Result.REFUSED if refuses(answer, body) else Result.UNDECIDED


def _body(answer: requests.Response, longest: int = _LONGEST_REFUSAL) -> Body | None:
    """The JSON object of an answer that is not longer than what is waited for."""
    try:
        return json_object(answer) if int(answer.headers.get("Content-Length", 0)) <= longest else None
    except (requests.RequestException, ValueError):
        return None
