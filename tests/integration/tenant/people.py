"""The users of a tenant's realm, and what they do in OpenBao."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests

from axon_operator.domain.names import USERS_CLIENT
from axon_operator.domain.resources import RealmPath
from bench.life import Life, keycloak_of
from servers import browser
from servers.bao import Answer

_PASSWORD: Final = "Correct-Horse-Battery-9-Staple"
_ANY_PORT: Final = "http://127.0.0.1/callback"
_MAPPERS: Final = {
    "audience": ("oidc-audience-mapper", {"included.custom.audience": USERS_CLIENT, "access.token.claim": "true"}),
    "groups": (
        "oidc-group-membership-mapper",
        {"claim.name": "groups", "full.path": "true", "access.token.claim": "true"},
    ),
}


class Realm:
    """A tenant's, used by its owner, the operator."""

    def __init__(self, tenant: Life) -> None:
        self.tenant = tenant
        self.url = f"{str(tenant.settings.keycloak_url).rstrip('/')}/realms/{tenant.names.realm}"
        self._keycloak = keycloak_of(tenant.settings)

    def user(self, name: str, *groups: str) -> "Person":
        """A new user, a member of these groups (by full path)."""
        for group in groups:
            self._keycloak.create(self._at("groups"), {"name": group.removeprefix("/")})
        credential = {"type": "password", "value": _PASSWORD, "temporary": False}
        profile = {"email": f"{name}@example.org", "emailVerified": True, "firstName": name, "lastName": name}
        user = {"username": name, "enabled": True, **profile, "groups": groups, "credentials": [credential]}
        self._keycloak.create(self._at("users"), user)
        (sub,) = (found["id"] for found in self._keycloak.list(self._at("users")) if found["username"] == name)
        settings = self.tenant.settings
        pages = browser.Browser(str(settings.keycloak_url), settings.keycloak_ca_file)
        return Person(self, sub, browser.Person(name, _PASSWORD), pages)

    def client(self, name: str, *mappers: str) -> None:
        """A public client whose access tokens have these claims, unless it exists."""
        if any(found["clientId"] == name for found in self._keycloak.list(self._at("clients"))):
            return
        planned = [
            {"name": m, "protocol": "openid-connect", "protocolMapper": _MAPPERS[m][0], "config": _MAPPERS[m][1]}
            for m in mappers
        ]
        body = {"clientId": name, "publicClient": True, "fullScopeAllowed": False, "redirectUris": [_ANY_PORT]}
        self._keycloak.create(self._at("clients"), {**body, "protocolMappers": planned})

    def tokens(self, form: Mapping[str, str]) -> dict[str, str]:
        """What the token endpoint gives."""
        answer = requests.post(
            f"{self.url}/protocol/openid-connect/token",
            data=form,
            verify=str(self.tenant.settings.keycloak_ca_file),
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        tokens: dict[str, str] = answer.json()
        return tokens

    def _at(self, *segments: str) -> RealmPath:
        return RealmPath(self.tenant.names.realm, segments)


@dataclass(frozen=True, slots=True)
class Person:
    """One user."""

    realm: Realm
    sub: str
    at_a_browser: browser.Person
    pages: browser.Browser
    """The user's own: while a session lasts, the next program gets its tokens without a password or a code."""

    @property
    def name(self) -> str:
        """For messages."""
        return self.at_a_browser.name

    def tokens(self, client: str = USERS_CLIENT, **more: str) -> dict[str, Any]:
        """Those that a client gets for the user: `access_token` and `id_token`; `more`: what it asks for besides."""
        if client == USERS_CLIENT:
            self.realm.client(client, "audience", "groups")
        return self.pages.token(self.realm.tenant.names.realm, self.at_a_browser, client, **more)

    def log_in(self, role: str = "user") -> "Session":
        """To the tenant's OpenBao namespace, as the user does."""
        status, answer = log_in(self.realm.tenant, self.tokens()["access_token"], role)
        assert status == 200, answer
        return Session(self.realm.tenant, answer["auth"]["client_token"])


@dataclass(frozen=True, slots=True)
class Session:
    """A login to a tenant's OpenBao namespace."""

    tenant: Life
    token: str

    def call(self, method: str, path: str, body: Any = None, of: Life | None = None) -> Answer:
        """A request to the tenant's namespace, or to another one's."""
        home = f"axon/{(of or self.tenant).names.vault_namespace}"
        return self.tenant.bed.bao.call(method, home, path, self.token, body)


def log_in(tenant: Life, jwt: str, role: str = "user") -> Answer:
    """As anyone, at the mount for users."""
    home = f"axon/{tenant.names.vault_namespace}"
    return tenant.bed.bao.call("POST", home, "auth/keycloak/login", body={"role": role, "jwt": jwt})
