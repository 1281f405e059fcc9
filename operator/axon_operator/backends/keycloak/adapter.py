"""Adapter over python-keycloak.

Only its connection is used. Its admin class puts names into URLs unquoted, and some of its methods raise
errors that hold the server's answer (reference: seven such defects).
"""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
from keycloak.connection import ConnectionManager
from keycloak.exceptions import KeycloakError

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError, Terminal, Transient, Waiting
from axon_operator.backends.http import RENEW_AT, json_object, observed, read_token, untrusted
from axon_operator.backends.keycloak.answers import CREATE_REALM, as_error
from axon_operator.backends.keycloak.paths import collection_url, resource_url, update_url
from axon_operator.backends.observe import Observe, ignore
from axon_operator.domain.resources import RealmPath
from axon_operator.domain.urls import check_url

BACKEND: Final = "keycloak"
_TOKEN_URL: Final = "realms/master/protocol/openid-connect/token"  # noqa: S105  (a path)
_KEY_FETCH_PAUSE: Final = 11.0
"""Seconds. Keycloak fetches the API server's keys at most every 10 s, and until then answers 401."""
_OFFLINE_GRANT: Final = "Offline Token"
_MASK: Final = "**********"
"""How Keycloak shows a credential."""
_SECRETS: Final = frozenset({"secret", "registrationAccessToken"})
"""Of a client's representation. They are dropped on arrival: nothing in the operator has use for them."""


@dataclass(frozen=True, slots=True)
class KeycloakSettings:
    """Where Keycloak is and how the operator proves itself there.

    Raises:
        ValueError: the URL is not https (http only to loopback).
    """

    url: str
    """`https://host:port`, with the path under which Keycloak is served if it is not the root."""
    ca_file: Path | None
    """The authorities that vouch for the server; None for the publicly trusted ones."""
    token_file: Path
    """The projected service-account token; read again at each login, because the kubelet replaces it."""
    client_id: str = "axon-operator"
    timeout: float = 10.0
    """Seconds for one connection and for one answer. Creating a realm takes some."""

    def __post_init__(self) -> None:
        check_url("Keycloak's URL", self.url, with_path=True)


class KeycloakAdmin:
    """`Keycloak` over HTTP. Any number of threads may use one instance.

    Each thread has a connection and a login of its own: logins last 60 seconds, leave no session behind in
    Keycloak, and python-keycloak keeps the token in the connection. So nothing is shared that would need a lock.
    """

    def __init__(
        self,
        settings: KeycloakSettings,
        *,
        observe: Observe = ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._address = settings.url.rstrip("/")
        self._observe = observe
        self._clock = clock
        self._thread = _PerThread()
        # when a login was first answered with 401 since the last one that worked; None in between
        self._refused_since: float | None = None

    def read(self, path: RealmPath) -> Mapping[str, Any] | None:
        """See `Keycloak.read`. Client secrets are left out."""
        url = resource_url(path)
        with self._observed("read"):
            response = self._exchange(lambda http: http.raw_get(url))
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise as_error(response.status_code, self._address, f"read {path}")
            representation = json_object(response)
            if representation is None:
                raise as_error(0, self._address, f"read {path}")
            return _without_secrets(representation)

    def list(self, collection: RealmPath) -> tuple[Mapping[str, Any], ...]:
        """See `Keycloak.list`. Client secrets are left out."""
        url = resource_url(collection)
        with self._observed("list"):
            # the brief form of groups and roles lacks their attributes, and so their marks
            response = self._exchange(lambda http: http.raw_get(url, briefRepresentation="false"))
            if response.status_code == 404:
                return ()
            if response.status_code != 200:
                raise as_error(response.status_code, self._address, f"list {collection}")
            representations = _json_objects(response)
            if representations is None:
                raise as_error(0, self._address, f"list {collection}")
            return tuple(_without_secrets(one) for one in representations)

    def find_user(self, realm: str, username: str) -> str | None:
        """See `Keycloak.find_user`."""
        url = resource_url(RealmPath(realm, ("users",)))
        query = {"username": username, "exact": "true", "briefRepresentation": "true"}
        with self._observed("find-user"):
            response = self._exchange(lambda http: http.raw_get(url, **query))
            if response.status_code == 404:
                return None
            found = _json_objects(response) if response.status_code == 200 else None
            if found is None:
                raise as_error(response.status_code, self._address, f"find a user in {realm}")
            # Keycloak keeps usernames in lower case
            return next((str(user.get("id")) for user in found if user.get("username") == username.lower()), None)

    def create(self, collection: RealmPath, body: Mapping[str, Any]) -> None:
        """See `Keycloak.create`."""
        url = collection_url(collection, body)
        content = json.dumps(body)
        action = f"create something in {collection}" if collection.realm else CREATE_REALM
        with self._observed("create"):
            status = self._exchange(lambda http: http.raw_post(url, data=content)).status_code
            if status == 409 and "id" in body:
                self._require_made_by_us(collection, body)
            if not 200 <= status < 300:
                raise as_error(status, self._address, action)

    def _require_made_by_us(self, collection: RealmPath, body: Mapping[str, Any]) -> None:
        """After a conflict: raises `Terminal(NameTaken)` if there is nothing under the id that we choose."""
        made = RealmPath(collection.realm, (*collection.segments, body["id"]))
        if self.read(made) is None:
            message = f"Keycloak has another entry named {body.get('clientId')} in {collection}, which the operator did not make; it is not touched. Remove it in Keycloak."
            raise Terminal(Reason.NAME_TAKEN, message)

    def update(self, path: RealmPath, body: Mapping[str, Any]) -> None:
        """See `Keycloak.update`."""
        url = update_url(path, body)
        content = json.dumps(body)
        self._write("update", f"update {path}", lambda http: http.raw_put(url, data=content))

    def delete(self, path: RealmPath) -> None:
        """See `Keycloak.delete`."""
        url = resource_url(path)
        self._write("delete", f"delete {path}", lambda http: http.raw_delete(url), missing_ok=True)

    def grant(self, mappings: RealmPath, roles: Sequence[Mapping[str, Any]]) -> None:
        """See `Keycloak.grant`."""
        url = resource_url(mappings)
        content = json.dumps(list(roles))
        self._write("grant", f"add roles to {mappings}", lambda http: http.raw_post(url, data=content))

    def withdraw(self, mappings: RealmPath, roles: Sequence[Mapping[str, Any]]) -> None:
        """See `Keycloak.withdraw`."""
        url = resource_url(mappings)
        content: Any = json.dumps(list(roles))
        self._write("withdraw", f"take roles from {mappings}", lambda http: http.raw_delete(url, data=content))

    def reaches_ldap(self, realm: str, probe: Mapping[str, str], *, log_in: bool) -> bool:
        """See `Keycloak.reaches_ldap`. The mask makes Keycloak take the credential of the component."""
        url = resource_url(RealmPath(realm, ("testLDAPConnection",)))
        action = "testAuthentication" if log_in else "testConnection"
        content = json.dumps({**probe, "action": action, "bindCredential": _MASK})
        with self._observed("probe"):
            status = self._exchange(lambda http: http.raw_post(url, data=content)).status_code
            if not (200 <= status < 300 or status == 400):
                raise as_error(status, self._address, f"try the directory of {realm}")
            return status != 400

    def logout_all(self, realm: str) -> None:
        """See `Keycloak.logout_all`. It sends no back-channel logouts (reference §6)."""
        url = resource_url(RealmPath(realm, ("logout-all",)))
        self._write("logout-all", f"end the sessions of {realm}", lambda http: http.raw_post(url, data="{}"))

    def logout_user(self, realm: str, user: str) -> None:
        """See `Keycloak.logout_user`. It tells the clients by back-channel logout; offline sessions it leaves (reference §6)."""
        at = RealmPath(realm, ("users", user))
        url = resource_url(RealmPath(realm, (*at.segments, "logout")))
        self._write(
            "logout-user", f"end the sessions of {at}", lambda http: http.raw_post(url, data="{}"), missing_ok=True
        )
        for client in self._offline_clients(at):
            for session in self.list(RealmPath(realm, (*at.segments, "offline-sessions", client))):
                ended = resource_url(RealmPath(realm, ("sessions", str(session.get("id")))))
                self._write(
                    "logout-user",
                    f"end an offline session of {at}",
                    lambda http, ended=ended: http.raw_delete(f"{ended}?isOffline=true"),  # type: ignore[misc]
                    missing_ok=True,
                )

    def _offline_clients(self, user: RealmPath) -> tuple[str, ...]:
        """Ids of the clients with offline sessions of the user: Keycloak shows them among the consents."""
        consents = self.list(RealmPath(user.realm, (*user.segments, "consents")))
        grants = (grant for consent in consents for grant in consent.get("additionalGrants") or ())
        return tuple(dict.fromkeys(str(g["client"]) for g in grants if g.get("key") == _OFFLINE_GRANT))

    def _write(
        self,
        verb: str,
        action: str,
        send: Callable[[ConnectionManager], requests.Response],
        *,
        missing_ok: bool = False,
    ) -> None:
        with self._observed(verb):
            status = self._exchange(send).status_code
            if not (200 <= status < 300 or (missing_ok and status == 404)):
                raise as_error(status, self._address, action)

    def _exchange(self, send: Callable[[ConnectionManager], requests.Response]) -> requests.Response:
        """One authenticated request; once more with a new login if the token is refused."""
        response = self._send(send, self._bearer())
        if response.status_code == 401:
            self._thread.token = None
            response = self._send(send, self._bearer())
        return response

    def _bearer(self) -> dict[str, str]:
        thread = self._thread
        if thread.token is None or self._clock() >= thread.renew_at:
            thread.token, thread.renew_at = self._log_in()
        return {"Content-Type": "application/json", "Authorization": f"Bearer {thread.token}"}

    def _send(
        self, send: Callable[[ConnectionManager], requests.Response], headers: dict[str, str]
    ) -> requests.Response:
        trouble = ""
        try:
            http = self._thread.connection = self._thread.connection or _connect(self._settings)
            http.headers = headers
            response = send(http)
        except (OSError, ValueError):
            # python-keycloak builds its TLS context at once, so this is a CA file that cannot be read
            trouble = f"cannot be verified; check that {self._settings.ca_file} holds its authority"
        except KeycloakError as error:
            trouble = _trouble(error.__cause__, self._settings)
        if trouble:
            # raised here and not in the handlers: so the library's exception is not even its context
            raise Transient(Reason.KEYCLOAK_UNAVAILABLE, f"Keycloak at {self._address} {trouble}.")
        return response

    def _log_in(self) -> tuple[str, float]:
        """Exchange the projected token for one of Keycloak's; when to replace that, on the monotonic clock."""
        with self._observed("login"):
            form = {
                "grant_type": "client_credentials",
                "client_id": self._settings.client_id,
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": read_token(self._settings.token_file, Reason.KEYCLOAK_DENIED),
            }
            started = self._clock()
            response = self._send(
                lambda http: http.raw_post(_TOKEN_URL, data=form),
                {"Content-Type": "application/x-www-form-urlencoded"},
            )
            if response.status_code != 200:
                raise self._login_error(response.status_code)
            match json_object(response):
                case {"access_token": str(token), "expires_in": int(seconds)}:
                    self._refused_since = None
                    return token, started + RENEW_AT * seconds
            raise as_error(0, self._address, "log in")

    def _login_error(self, status: int) -> ReconcileError:
        if status == 401 and self._may_be_key_fetch():
            return Waiting(
                Reason.KEYCLOAK_DENIED,
                f"Keycloak at {self._address} refused the operator's login, as it does for some seconds when "
                "it could not fetch the API server's keys; trying again.",
                after=_KEY_FETCH_PAUSE,
            )
        if status in {400, 401, 403, 404}:
            return Denied(
                Reason.KEYCLOAK_DENIED,
                f"Keycloak at {self._address} refused the operator's login as client "
                f"{self._settings.client_id} in realm master. Run manifests/bootstrap/keycloak/bootstrap.py, which makes "
                "that client; then check that the audience of the operator's token (keycloak.audience of its chart) is "
                "the issuer of realm master, and that Keycloak can fetch the API server's keys.",
            )
        return as_error(status, self._address, "log in")

    def _may_be_key_fetch(self) -> bool:
        """Whether a 401 is young enough to end by itself."""
        now = self._clock()
        since = self._refused_since
        if since is None:
            self._refused_since = since = now
        return now - since < _KEY_FETCH_PAUSE

    def _observed(self, verb: str) -> AbstractContextManager[None]:
        return observed(self._observe, BACKEND, verb, self._clock)


class _PerThread(threading.local):
    """What each thread has of its own."""

    connection: ConnectionManager | None = None
    token: str | None = None
    renew_at: float = 0.0


def _connect(settings: KeycloakSettings) -> ConnectionManager:
    http = ConnectionManager(
        # without the slash, urljoin would drop the last part of a path
        base_url=settings.url.rstrip("/") + "/",
        verify=True if settings.ca_file is None else str(settings.ca_file),
        timeout=settings.timeout,  # type: ignore[arg-type]  # requests takes fractions
        # the default sends a POST again after a dropped connection
        max_retries=0,
    )
    # python-keycloak offers no way to say these; tests hold that they take effect.
    # No redirect is followed: it would carry the token, or a form with the assertion, to another host.
    http._s.max_redirects = 0
    # no proxies, .netrc or CA bundles from the environment
    http._s.trust_env = False
    return http


def _trouble(cause: BaseException | None, settings: KeycloakSettings) -> str:
    match cause:
        case requests.exceptions.SSLError():
            return untrusted(settings.ca_file)
        case requests.exceptions.Timeout():
            return f"did not answer within {settings.timeout:g} s; check that it is running and not overloaded"
        case requests.exceptions.TooManyRedirects():
            return "answered with a redirect, which is never followed; give the operator the final address"
        case _:
            return "could not be reached; check that it is running, keycloak.url of the operator's chart, and the network policies on the way to it"


def _without_secrets(representation: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in representation.items() if name not in _SECRETS}


def _json_objects(response: requests.Response) -> list[dict[str, Any]] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, list) and all(isinstance(item, dict) for item in body) else None
