"""Adapter over hvac.

Of hvac only the request adapter is used, one per request over a shared connection pool: an `hvac.Client`
is mutable, reads VAULT_TOKEN and ~/.vault-token, follows redirects with its token, and lacks half of what
is needed here (namespace metadata, subkeys, locks).
"""

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
import urllib3.exceptions
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, Transient
from axon_operator.backends.http import RENEW_AT, check_url, json_object, observed, read_token
from axon_operator.backends.observe import Observe, ignore
from axon_operator.backends.vault.answers import Answer, as_error, classify
from axon_operator.backends.vault.login import Login, SharedLogin
from axon_operator.backends.vault.paths import check, is_namespace, is_path
from axon_operator.domain.resources import VaultPath

BACKEND: Final = "vault"


@dataclass(frozen=True, slots=True)
class OpenBaoSettings:
    """Where OpenBao is and how the operator proves itself there.

    Raises:
        ValueError: the address is not https (http only to loopback), or a name is not one.
    """

    address: str
    """`https://host:port`, without a path."""
    ca_file: Path | None
    """The authorities that vouch for the server; None for the publicly trusted ones."""
    token_file: Path
    """The projected service-account token; read again at each login, because the kubelet replaces it."""
    namespace: str = "axon"
    """The namespace in which the operator logs in and beyond which it has no right."""
    auth_mount: str = "k8s"
    role: str = "axon-operator"
    timeout: float = 5.0
    """Seconds for one connection and for one answer."""
    connections: int = 32
    """Connections kept open: as many as there are workers."""

    def __post_init__(self) -> None:
        check_url("OpenBao's address", self.address, with_path=False)
        if not all(is_namespace(name) for name in self.namespace.split("/")):
            raise ValueError("the parent namespace has to be one or more names of a-z, 0-9 and inner '-'")
        if not is_path(self.auth_mount):
            raise ValueError("the auth mount has to be a path of letters, digits, '_', '-' and '.'")


class OpenBao:
    """`Vault` over HTTP. Any number of threads may use one instance."""

    def __init__(
        self,
        settings: OpenBaoSettings,
        *,
        observe: Observe = ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._address = settings.address.rstrip("/")
        self._observe = observe
        self._clock = clock
        self._login = SharedLogin(self._log_in, clock)
        self._http = _session(settings)
        self._has_namespaces: bool | None = None

    def read(self, path: VaultPath) -> Mapping[str, Any] | None:
        """See `Vault.read`."""
        check(path)
        with self._observed("read"):
            answer, response = self._call("get", path)
            if answer in {Answer.ABSENT, Answer.NO_NAMESPACE}:
                return None
            return self._data(answer, response, f"read {path}")

    def list(self, path: VaultPath) -> tuple[str, ...]:
        """See `Vault.list`. Names that end in `/` are folders."""
        check(path)
        with self._observed("list"):
            answer, response = self._call("list", path)
            if answer in {Answer.ABSENT, Answer.NO_NAMESPACE}:
                return ()
            keys = self._data(answer, response, f"list {path}").get("keys")
            if not isinstance(keys, list):
                raise as_error(Answer.DONE, self._address, f"list {path}")
            return tuple(str(key) for key in keys)

    def write(self, path: VaultPath, body: Mapping[str, Any]) -> None:
        """See `Vault.write`. What OpenBao answers is dropped: nothing that is written here needs it."""
        check(path)
        with self._observed("write"):
            answer, _ = self._call("post", path, body)
            if answer not in {Answer.DONE, Answer.UNCHANGED}:
                raise as_error(answer, self._address, f"write {path}")

    def delete(self, path: VaultPath) -> None:
        """See `Vault.delete`. Of a namespace it only begins the deletion: read until it is None."""
        check(path)
        with self._observed("delete"):
            answer, _ = self._call("delete", path)
            if answer not in {Answer.DONE, Answer.ABSENT, Answer.NO_NAMESPACE}:
                raise as_error(answer, self._address, f"delete {path}")

    def supports_namespaces(self) -> bool:
        """See `Vault.supports_namespaces`. Asked once; a failure to find out is an error, not an answer.

        A namespace that cannot exist is listed: a server with namespaces says that there is no such
        namespace, one that ignores the header lists its root or says that it has no such function.
        """
        if self._has_namespaces is None:
            action = "look for namespaces"
            with self._observed("probe"):
                answer, _ = self._exchange(
                    "list", f"{self._settings.namespace}/axon-probe-{secrets.token_hex(8)}", "sys/namespaces"
                )
                if answer not in {Answer.NO_NAMESPACE, Answer.DONE, Answer.ABSENT, Answer.UNSUPPORTED}:
                    raise as_error(answer, self._address, action)
                self._has_namespaces = answer is Answer.NO_NAMESPACE
        return self._has_namespaces

    def _call(
        self, method: str, path: VaultPath, body: Mapping[str, Any] | None = None
    ) -> tuple[Answer, requests.Response]:
        namespace = self._settings.namespace
        if path.namespace:
            namespace = f"{namespace}/{path.namespace}"
        return self._exchange(method, namespace, path.path, body)

    def _exchange(
        self, method: str, namespace: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[Answer, requests.Response]:
        """One authenticated request; once more with a new login if the first token is refused."""
        token = self._login.token()
        answer, response = self._send(method, namespace, path, body, token)
        if answer is Answer.DENIED:
            token = self._login.token(refused=token)
            answer, response = self._send(method, namespace, path, body, token)
        return answer, response

    def _send(
        self, method: str, namespace: str, path: str, body: Mapping[str, Any] | None, token: str | None
    ) -> tuple[Answer, requests.Response]:
        adapter = RawAdapter(
            base_uri=self._address,
            token=token,
            session=self._http,
            namespace=namespace,
            allow_redirects=False,
        )
        trouble = ""
        try:
            response = adapter.request(
                method, f"/v1/{path}", raise_exception=False, json=body, timeout=self._settings.timeout
            )
        except requests.exceptions.SSLError:
            trouble = f"did not prove its identity; check that {self._settings.ca_file} is its authority"
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ReadTimeout):
            trouble = f"did not answer within {self._settings.timeout:g} s; check that it is running and unsealed"
        except (OSError, ValueError, urllib3.exceptions.HTTPError):
            # OSError covers all of requests' own, and a CA file that cannot be read
            trouble = (
                "could not be reached; check that it is running, and the network policies and "
                f"{self._settings.ca_file or 'certificate authorities'} on the way to it"
            )
        if trouble:
            # raised here and not in the handlers: so the library's exception is not even its context
            raise Transient(Reason.VAULT_UNAVAILABLE, f"OpenBao at {self._address} {trouble}.")
        return classify(response.status_code, response.text), response

    def _data(self, answer: Answer, response: requests.Response, action: str) -> dict[str, Any]:
        if answer is not Answer.DONE:
            raise as_error(answer, self._address, action)
        data = _json_field(response, "data")
        if data is None:
            raise as_error(Answer.DONE, self._address, action)
        return data

    def _log_in(self) -> Login:
        """Exchange the projected token for one of OpenBao's, in the parent namespace."""
        settings = self._settings
        path = f"auth/{settings.auth_mount}/login"
        with self._observed("login"):
            jwt = read_token(settings.token_file, Reason.VAULT_DENIED)
            started = self._clock()
            body = {"role": settings.role, "jwt": jwt}
            answer, response = self._send("post", settings.namespace, path, body, token=None)
            auth = _json_field(response, "auth") if answer is Answer.DONE else None
            match auth:
                case {"client_token": str(token), "lease_duration": int(seconds)}:
                    return Login(token, started + RENEW_AT * seconds if seconds > 0 else float("inf"))
            # whatever is wrong with a login, it is for the server's admin to set right
            if answer in {Answer.DENIED, Answer.REJECTED, Answer.ABSENT, Answer.NO_NAMESPACE, Answer.LOCKED}:
                raise Denied(
                    Reason.VAULT_DENIED,
                    f"OpenBao at {self._address} refused the operator's login as role {settings.role} at "
                    f"{path} in namespace {settings.namespace}; check that the namespace, the mount and the role "
                    "exist as in manifests/bootstrap/openbao, that the role's subject and audience are those "
                    "of the operator's service account, and its uid the one that the role is pinned to.",
                )
            raise as_error(answer, self._address, "log in")

    def _observed(self, verb: str) -> AbstractContextManager[None]:
        return observed(self._observe, BACKEND, verb, self._clock)


def _session(settings: OpenBaoSettings) -> requests.Session:
    session = requests.Session()
    # no proxies, .netrc or CA bundles from the environment
    session.trust_env = False
    session.verify = True if settings.ca_file is None else str(settings.ca_file)
    transport = HTTPAdapter(pool_connections=1, pool_maxsize=settings.connections, max_retries=0)
    session.mount("https://", transport)
    session.mount("http://", transport)
    return session


def _json_field(response: requests.Response, name: str) -> dict[str, Any] | None:
    """An object inside the answer, or None if the answer has not that form."""
    value = (json_object(response) or {}).get(name)
    return value if isinstance(value, dict) else None
