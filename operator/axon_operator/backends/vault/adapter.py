"""Adapter over hvac.

Of hvac only the request adapter is used, one per request over a shared connection pool: an `hvac.Client`
is mutable, reads VAULT_TOKEN and ~/.vault-token, follows redirects with its token, and lacks half of what
is needed here (namespace metadata, subkeys, locks).
"""

import io
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
import urllib3.exceptions
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, Transient
from axon_operator.backends.http import RENEW_AT, json_object, observed, read_token, untrusted
from axon_operator.backends.observe import Observe, ignore
from axon_operator.backends.vault.answers import Answer, as_error, classify, why_refused
from axon_operator.backends.vault.login import Login, SharedLogin
from axon_operator.backends.vault.paths import check, is_namespace, is_path
from axon_operator.domain.resources import VaultPath
from axon_operator.domain.urls import check_url

BACKEND: Final = "vault"
_NOTHING: Final = 204
"""Status of an answer without a body."""
_BUSY_PAUSE: Final = 0.025
"""Seconds. A rate quota lets a burst through when one of its intervals begins, and it counts by address: who shares one
with a client that never pauses, as behind a load balancer, has to ask at that moment."""
_BUSY_PATIENCE: Final = 3.0
"""Seconds: some intervals of a quota."""
_WRITES: Final = frozenset({"post", "delete"})


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
    namespace: str | None = "axon"
    """The namespace in which the operator logs in and beyond which it has no right; None: the root namespace."""
    auth_mount: str = "k8s"
    role: str = "axon-operator"
    timeout: float = 5.0
    """Seconds for one connection and for one answer."""
    connections: int = 32
    """Connections kept open: as many as there are workers."""

    def __post_init__(self) -> None:
        check_url("OpenBao's address", self.address, with_path=False)
        if self.namespace is not None and not all(is_namespace(name) for name in self.namespace.split("/")):
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
        pause: Callable[[float], None] = time.sleep,
        may_write: Callable[[], None] = lambda: None,
    ) -> None:
        """`may_write`: raises where writing is over; asked right before each write is sent, for waits lie before it."""
        self._settings = settings
        self._address = settings.address.rstrip("/")
        self._observe = observe
        self._clock = clock
        self._pause = pause
        self._may_write = may_write
        self._login = SharedLogin(self._log_in, clock)
        self._http = _session(settings)
        self._has_namespaces = False

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
        return self._names("list", path)

    def scan(self, path: VaultPath) -> tuple[str, ...]:
        """See `Vault.scan`."""
        return self._names("scan", path)

    def _names(self, verb: str, path: VaultPath) -> tuple[str, ...]:
        check(path)
        with self._observed(verb):
            answer, response = self._call(verb, path)
            if answer in {Answer.ABSENT, Answer.NO_NAMESPACE}:
                return ()
            data = self._data(answer, response, f"{verb} {path}")
            # a scan of nothing finds no list, not an empty one (measured)
            keys = data.get("keys", [] if verb == "scan" else None)
            if not isinstance(keys, list):
                raise as_error(Answer.DONE, self._address, f"{verb} {path}")
            return tuple(str(key) for key in keys)

    def look_up(self, path: VaultPath, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See `Vault.look_up`."""
        check(path)
        with self._observed("look-up"):
            answer, response = self._call("post", path, body)
            if answer in {Answer.ABSENT, Answer.NO_NAMESPACE} or response.status_code == _NOTHING:
                return None
            return self._data(answer, response, f"look up {path}")

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

    def numbers(self, names: Collection[str]) -> Mapping[str, float] | None:
        """Those metrics of the server; None where it keeps none.

        All of them together can be a hundred megabytes, with some lines for each mount of each tenant.
        """
        with self._observed("metrics"):
            answer, response = self._exchange(
                "get",
                self._settings.namespace or "",
                "sys/metrics",
                params={"format": "prometheus"},
                stream=True,
                hooks={"response": _only_lines(tuple(f"{name} ".encode() for name in names))},
            )
            if answer is Answer.UNSUPPORTED:
                return None
            if answer is not Answer.DONE:
                raise as_error(answer, self._address, "read sys/metrics")
            return _numbers(response.text)

    def supports_namespaces(self) -> bool:
        """See `Vault.supports_namespaces`. Asked until it is so; a failure to find out is an error, not an answer.

        A namespace that cannot exist is listed: a server with namespaces says that there is no such
        namespace, one that ignores the header lists its root or says that it has no such function.
        Anything else is no answer, least of all a bare "not found": that is what something in between says.
        """
        if not self._has_namespaces:
            action = "look for namespaces"
            with self._observed("probe"):
                answer, _ = self._exchange(
                    "list", f"{self._settings.namespace}/axon-probe-{secrets.token_hex(8)}", "sys/namespaces"
                )
                if answer is Answer.ABSENT:
                    raise as_error(Answer.FOREIGN, self._address, action)
                if answer not in {Answer.NO_NAMESPACE, Answer.DONE, Answer.UNSUPPORTED}:
                    raise as_error(answer, self._address, action)
                self._has_namespaces = answer is Answer.NO_NAMESPACE
        return self._has_namespaces

    def _call(
        self, method: str, path: VaultPath, body: Mapping[str, Any] | None = None
    ) -> tuple[Answer, requests.Response]:
        namespace = "/".join(filter(None, (self._settings.namespace, path.namespace)))
        return self._exchange(method, namespace, path.path, body)

    def _exchange(
        self, method: str, namespace: str, path: str, body: Mapping[str, Any] | None = None, **how: Any
    ) -> tuple[Answer, requests.Response]:
        """One authenticated request; once more with a new login if the first token is refused. `how`: of requests."""
        token = self._login.token()
        answer, response = self._send(method, namespace, path, body, token, **how)
        if answer is Answer.DENIED:
            token = self._login.token(refused=token)
            answer, response = self._send(method, namespace, path, body, token, **how)
        return answer, response

    def _send(
        self, method: str, namespace: str, path: str, body: Mapping[str, Any] | None, token: str | None, **how: Any
    ) -> tuple[Answer, requests.Response]:
        """One request. Over a rate quota it is not handled at all, and is repeated for a while."""
        until = self._clock() + _BUSY_PATIENCE
        while True:
            if token and method in _WRITES:
                self._may_write()
            answer, response = self._request(method, namespace, path, body, token, **how)
            if answer is not Answer.BUSY or self._clock() >= until:
                return answer, response
            self._pause(_BUSY_PAUSE)

    def _request(
        self, method: str, namespace: str, path: str, body: Mapping[str, Any] | None, token: str | None, **how: Any
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
                method, f"/v1/{path}", raise_exception=False, json=body, timeout=self._settings.timeout, **how
            )
        except requests.exceptions.SSLError:
            trouble = untrusted(self._settings.ca_file)
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ReadTimeout):
            trouble = f"did not answer within {self._settings.timeout:g} s; check that it is running and unsealed"
        except (OSError, ValueError, urllib3.exceptions.HTTPError):
            # OSError covers all of requests' own, and a CA file that cannot be read
            trouble = (
                "could not be reached; check that it is running, vault.address of the operator's chart, the network "
                f"policies on the way to it, and that {self._settings.ca_file or 'the CA file'} can be read"
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
            answer, response = self._send("post", settings.namespace or "", path, body, token=None)
            auth = _json_field(response, "auth") if answer is Answer.DONE else None
            match auth:
                case {"client_token": str(token), "lease_duration": int(seconds)}:
                    return Login(token, started + RENEW_AT * seconds if seconds > 0 else float("inf"))
            # whatever is wrong with a login, it is for the server's admin to set right
            if answer in {Answer.DENIED, Answer.REJECTED, Answer.ABSENT, Answer.NO_NAMESPACE, Answer.LOCKED}:
                raise Denied(
                    Reason.VAULT_DENIED,
                    f"OpenBao at {self._address} refused the operator's login as role {settings.role} at "
                    f"{path} in namespace {settings.namespace or 'root'}: {why_refused(response.text)}.",
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


def _only_lines(beginnings: tuple[bytes, ...]) -> Callable[..., requests.Response]:
    """A hook for a streamed answer: of a good one, only lines that begin so are kept.

    A hook, so that an answer that breaks off does so inside the request.
    """

    def shortened(response: requests.Response, **_: Any) -> requests.Response:
        short = requests.Response()
        short.status_code, short.encoding = response.status_code, response.encoding
        if response.ok:
            short.raw = io.BytesIO(b"\n".join(line for line in response.iter_lines() if line.startswith(beginnings)))
        else:
            short.raw = io.BytesIO(response.content)
        return short

    return shortened


def _numbers(text: str) -> dict[str, float]:
    """Lines of `name number`; what has another form is left out."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        with suppress(ValueError):
            found[name] = float(value)
    return found


def _json_field(response: requests.Response, name: str) -> dict[str, Any] | None:
    """An object inside the answer, or None if the answer has not that form."""
    value = (json_object(response) or {}).get(name)
    return value if isinstance(value, dict) else None
