"""How a user proves who they are: with an access token of the tenant's realm, for OpenBao."""

import base64
import hashlib
import json
import re
import secrets
import time
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from axon_operator.cli.cluster import CommandError
from axon_operator.cli.grammar import tell
from axon_operator.cli.secret.http import Answer, Server
from axon_operator.cli.secret.paths import is_user
from axon_operator.cli.secret.terminal import visible
from axon_operator.domain.names import USERS_CLIENT

_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_PROTOCOL: Final = "protocol/openid-connect"
_CALLBACK: Final = "/callback"
"""Under which the realm's client may be returned to, at any port of this machine."""
_PATIENCE: Final = 300
"""Seconds that a login with the browser may take."""
_SLOWER: Final = 5
"""Seconds by which the interval grows when the server asks for it (RFC 8628)."""
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login gives."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


class Realm:
    """The tenant's, for its users."""

    def __init__(self, url: str, ca: str) -> None:
        self.url = url
        self._server = Server("Keycloak", url, ca)

    def by_device(self) -> Tokens:
        """The user confirms at any browser, here or elsewhere (RFC 8628)."""
        verifier, challenge = _proof_key()
        asked = self._server.send("POST", f"{_PROTOCOL}/auth/device", form={"client_id": USERS_CLIENT, **challenge})
        match asked.body:
            case {
                "device_code": str(code),
                "verification_uri": str(page),
                "user_code": str(shown),
                "expires_in": int(life),
            }:
                pass
            case _:
                raise self._refused("does not begin a login")
        complete = visible(str(asked.body.get("verification_uri_complete", page)))
        tell(
            f"To log in, open {complete}",
            f"and confirm the code {visible(shown)}. It is good for {life // 60} minutes.",
        )
        form = {"grant_type": _DEVICE_GRANT, "client_id": USERS_CLIENT, "device_code": code, "code_verifier": verifier}
        interval, until = int(asked.body.get("interval", _SLOWER)), time.monotonic() + life
        while time.monotonic() < until:
            time.sleep(interval)
            answer = self._token(form)
            if answer.ok:
                return self._tokens(answer)
            match answer.body.get("error"):
                case "authorization_pending":
                    continue
                case "slow_down":
                    interval += _SLOWER
                case "access_denied":
                    raise CommandError("the login was refused at the browser")
                case _:
                    break
        raise CommandError("the login was not confirmed in time; try again")

    def by_browser(self) -> Tokens:
        """A browser of this machine comes back to this program: code flow with PKCE, at a loopback address (RFC 8252)."""
        verifier, challenge = _proof_key()
        state = secrets.token_urlsafe(32)
        with _Return() as returned:
            parameters = {
                "client_id": USERS_CLIENT,
                "response_type": "code",
                "redirect_uri": returned.url,
                "state": state,
                **challenge,
            }
            page = f"{self.url}/{_PROTOCOL}/auth?{urlencode(parameters)}"
            tell(f"To log in, use the browser of this machine. If none opens, open {page}")
            webbrowser.open(page)
            code = returned.code(state)
        form = {
            "grant_type": "authorization_code",
            "client_id": USERS_CLIENT,
            "code": code,
            "redirect_uri": returned.url,
            "code_verifier": verifier,
        }
        return self._tokens(self._token(form))

    def renewed(self, refresh: str) -> Tokens | None:
        """With a login that was kept; None if it has ended."""
        answer = self._token({"grant_type": "refresh_token", "client_id": USERS_CLIENT, "refresh_token": refresh})
        if answer.body.get("error") == "invalid_grant":
            return None
        return self._tokens(answer)

    def end(self, refresh: str) -> None:
        """Ends the session to which a kept login belongs."""
        form = {"client_id": USERS_CLIENT, "refresh_token": refresh}
        answer = self._server.send("POST", f"{_PROTOCOL}/logout", form=form)
        if not answer.ok and answer.body.get("error") != "invalid_grant":
            raise self._refused("does not end the session")

    def _token(self, form: Mapping[str, str]) -> Answer:
        return self._server.send("POST", f"{_PROTOCOL}/token", form=form)

    def _tokens(self, answer: Answer) -> Tokens:
        match answer.body:
            case {"access_token": str(access), "refresh_token": str(refresh)} if answer.ok:
                return Tokens(access, refresh)
        raise self._refused("gives no token")

    def _refused(self, what: str) -> CommandError:
        return CommandError(f"Keycloak {what} in {self.url}; check --tenant and --keycloak")


def _proof_key() -> tuple[str, dict[str, str]]:
    """A verifier and what is told of it beforehand (RFC 7636)."""
    verifier = secrets.token_urlsafe(48)
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return verifier, {"code_challenge": digest, "code_challenge_method": "S256"}


def user_of(access: str) -> str:
    """The `sub` of an access token. Whether the token is good, OpenBao says.

    Raises:
        CommandError: it is no such token.
    """
    try:
        if not _SHAPE.fullmatch(access):
            raise ValueError
        payload = access.split(".")[1]
        sub = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
    except (ValueError, KeyError, TypeError):
        sub = None
    if not is_user(sub):
        raise CommandError("this is no access token of a user of the tenant's realm")
    return str(sub)


class _Return:
    """Where the browser comes back to: a port of this machine that nobody else had, for one login."""

    def __init__(self) -> None:
        self._arrivals: SimpleQueue[dict[str, str]] = SimpleQueue()
        arrivals = self._arrivals

        class Callback(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path != _CALLBACK:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(b"Go back to the terminal; this page can be closed.\n")
                arrivals.put({name: values[0] for name, values in parse_qs(parts.query).items()})

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Nothing: the address holds the code."""

        # with threads: browsers also open connections on which they say nothing
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Callback)
        self.url = f"http://127.0.0.1:{self._server.server_port}{_CALLBACK}"

    def __enter__(self) -> "_Return":
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def code(self, state: str) -> str:
        """Waits for the browser. What comes without our `state` is not of this login.

        Raises:
            CommandError: the login was refused, or took too long.
        """
        until = time.monotonic() + _PATIENCE
        while (left := until - time.monotonic()) > 0:
            try:
                arrived = self._arrivals.get(timeout=left)
            except Empty:
                break
            if not secrets.compare_digest(arrived.get("state", "").encode(), state.encode()):
                continue
            if "code" in arrived:
                return arrived["code"]
            raise CommandError("the login was refused at the browser")
        raise CommandError("nobody logged in at the browser in time; try again")
