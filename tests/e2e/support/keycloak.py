"""Keycloak, as its administrator sees it and as anyone with a token sees it."""

from e2e.support.https import Answer, Https, ServerError
from e2e.support.kubectl import Json, Kubectl
from e2e.support.settings import ADMIN, KEYCLOAK_URL, TESTBED_NAMESPACE

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Keycloak:
    """The real server."""

    def __init__(self, https: Https, kubectl: Kubectl) -> None:
        self._https = https
        self._kubectl = kubectl
        self._token = ""

    def login(self, realm: str, assertion: str, *, client: str = "") -> Answer:
        """A client's login with a projected service-account token."""
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "client_assertion": assertion}
        if client:
            form["client_id"] = client
        return self._https.request("POST", f"realms/{realm}/protocol/openid-connect/token", data=form)

    def userinfo(self, realm: str, access_token: str) -> Answer:
        """A call that a realm answers only to its own tokens."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return self._https.request("GET", f"realms/{realm}/protocol/openid-connect/userinfo", headers=headers)

    def admin(self, method: str, path: str, *, body: Json | None = None) -> Json | None:
        """A call of the admin API which must succeed; None if there is nothing of that name."""
        answer = self._admin_call(method, path, body)
        if answer.status == 401:  # its tokens live for a minute
            self._token = ""
            answer = self._admin_call(method, path, body)
        if answer.status == 404:
            return None
        if not answer.ok:
            raise ServerError(f"Keycloak: {method} {path}: {answer.status} {answer.text}")
        return answer.body

    def realm(self, name: str) -> Json | None:
        """A realm's representation."""
        return self.admin("GET", name)

    def clients(self, realm: str) -> list[Json]:
        """The clients of a realm."""
        found = self.admin("GET", f"{realm}/clients")
        clients: list[Json] = found["items"] if found else []
        return clients

    def _admin_call(self, method: str, path: str, body: Json | None) -> Answer:
        headers = {"Authorization": f"Bearer {self._admin_token()}"}
        return self._https.request(method, f"admin/realms/{path}".rstrip("/"), headers=headers, json=body)

    def _admin_token(self) -> str:
        if not self._token:
            jwt = self._kubectl.token(TESTBED_NAMESPACE, "admin", f"{KEYCLOAK_URL}/realms/master")
            answer = self.login("master", jwt, client=ADMIN)
            if not answer.ok:
                raise ServerError(f"Keycloak refuses its administrator: {answer.status} {answer.text}")
            self._token = answer.body["access_token"]
        return self._token
