"""A person at a browser: logs in to a realm through its pages."""

import base64
import hashlib
import hmac
import json
import secrets
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from requests.adapters import BaseAdapter

REDIRECT: Final = "http://127.0.0.1:49152/callback"
_STEPS: Final = 12
_STEP_SECONDS: Final = 30


@dataclass(slots=True)
class Person:
    """Who logs in."""

    name: str
    password: str
    otp_secret: str = ""
    """Of the one-time codes, once they are set up."""
    last_step: int = 0
    """Time step of the last code: each can be used once."""


@dataclass(frozen=True, slots=True)
class Page:
    """The form of a page."""

    action: str
    inputs: Mapping[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came back to the program that asked for the login."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    """The forms on the way, by the field that each of them asks for."""
    stopped_at: str = ""
    """Text of the page from which there was no way on."""


class Browser:
    """One browser, with its cookies."""

    def __init__(
        self, keycloak_url: str, ca_file: Path, elsewhere: Path | None = None, through: BaseAdapter | None = None
    ) -> None:
        """A new one.

        Args:
            keycloak_url: of the server.
            ca_file: its authority.
            elsewhere: the authority of everything else. Not one bundle: all of the test bed have the same name.
            through: the way to Keycloak, if it cannot be reached under its own address.
        """
        self._url = keycloak_url.rstrip("/")
        self._http = requests.Session()
        # else a CA bundle of the environment would count and not `ca_file`
        self._http.trust_env = False
        if through:
            self._http.mount(self._url, through)
        self._ca_file, self._elsewhere = ca_file, elsewhere or ca_file

    def request(self, method: str, url: str, **more: Any) -> requests.Response:
        """Anything else."""
        ca_file = self._ca_file if url.startswith(self._url) else self._elsewhere
        return self._kept(
            self._http.request(method, url, allow_redirects=False, timeout=60, verify=str(ca_file), **more)
        )

    def authorize(self, realm: str, person: Person, **parameters: str) -> Arrival:
        """From a program's link to what the program gets; the person fills in whatever is asked."""
        url = f"{self._url}/realms/{realm}/protocol/openid-connect/auth"
        return self._follow(self._get(url, parameters), person)

    def open(self, url: str, person: Person, *, consents: bool = True) -> Arrival:
        """Any link, as `authorize`; the way may also end at a page, or at a program that answers itself."""
        return self._follow(self._get(url), person, consents=consents)

    def _follow(self, response: requests.Response, person: Person, *, consents: bool = True) -> Arrival:
        seen: list[str] = []
        for _ in range(_STEPS):
            if (location := response.headers.get("Location")) is not None:
                target = urljoin(response.url, location)
                if target.startswith(REDIRECT):
                    return Arrival(_parameters(target), tuple(seen))
                response = self._get(target)
                continue
            page = _page(response.text)
            answer = _answer(page, person, consents=consents)
            if response.status_code >= 400 or not page.action or answer is None or seen[-2:] == [answer[0]] * 2:
                return Arrival({}, tuple(seen), response.text)
            seen.append(answer[0])
            response = self._post(urljoin(response.url, page.action), {**page.inputs, **answer[1]})
        return Arrival({}, tuple(seen), response.text)

    def token(self, realm: str, person: Person, client: str, **more: str) -> dict[str, Any]:
        """A whole login with PKCE: the tokens."""
        verifier = secrets.token_urlsafe(48)
        arrival = self.authorize(realm, person, **{**code_request(client, verifier), **more})
        assert "code" in arrival.parameters, arrival
        form = {
            "grant_type": "authorization_code",
            "client_id": client,
            "code": arrival.parameters["code"],
            "redirect_uri": REDIRECT,
            "code_verifier": verifier,
        }
        response = self._post(f"{self._url}/realms/{realm}/protocol/openid-connect/token", form)
        assert response.status_code == 200, response.text
        tokens: dict[str, Any] = response.json()
        return tokens

    def _get(self, url: str, parameters: Mapping[str, str] | None = None) -> requests.Response:
        return self.request("GET", url, params=parameters)

    def _post(self, url: str, form: Mapping[str, str]) -> requests.Response:
        return self.request("POST", url, data=form)

    def _kept(self, response: requests.Response) -> requests.Response:
        for cookie in self._http.cookies:
            # Keycloak marks them so also on loopback, where a real browser sends them all the same
            cookie.secure = False
        return response


def code_request(client: str, verifier: str) -> dict[str, str]:
    """The parameters of a login with PKCE."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return {
        "client_id": client,
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "scope": "openid",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }


def claims(token: str) -> dict[str, Any]:
    """What a token says; its signature is not checked."""
    body = token.split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return decoded


def _answer(page: Page, person: Person, *, consents: bool) -> tuple[str, dict[str, str]] | None:
    """What the person types, and which field tells the page apart."""
    if "totpSecret" in page.inputs:
        person.otp_secret = page.inputs["totpSecret"]
        return "totpSecret", {"totp": _code(person), "userLabel": "phone"}
    if "otp" in page.inputs:
        return "otp", {"otp": _code(person)}
    if "password" in page.inputs:
        return "password", {"username": person.name, "password": person.password}
    if "consent" in page.action:
        return "consent", {"accept": "Yes"} if consents else {"cancel": "No"}
    return None


def _code(person: Person) -> str:
    """RFC 6238, as in Keycloak's default policy; the next one, which is accepted early, if this one was used."""
    person.last_step = max(int(time.time()) // _STEP_SECONDS, person.last_step + 1)
    while person.last_step > int(time.time()) // _STEP_SECONDS + 1:
        time.sleep(1)
    digest = hmac.new(person.otp_secret.encode(), struct.pack(">Q", person.last_step), hashlib.sha1).digest()
    offset = digest[-1] & 15
    (number,) = struct.unpack(">I", digest[offset : offset + 4])
    return f"{(number & 0x7FFFFFFF) % 10**6:06}"


def _parameters(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {name: values[0] for name, values in parse_qs(parts.query or parts.fragment).items()}


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.inputs: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = named.get("action", "")
        if tag == "input" and "name" in named and named.get("type") not in {"submit", "checkbox"}:
            self.inputs[named["name"]] = named.get("value", "")


def _page(html: str) -> Page:
    form = _Form()
    form.feed(html)
    return Page(form.action, form.inputs, html)
