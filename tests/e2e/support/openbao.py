"""OpenBao, as its administrator sees it and as anyone with a token sees it."""

from typing import Any

from e2e.support.https import Answer, Https, ServerError
from e2e.support.kubectl import Json, Kubectl
from e2e.support.settings import ADMIN, TESTBED_NAMESPACE, VAULT_AUDIENCE, VAULT_PARENT


class OpenBao:
    """The real server. Namespaces are written in full: `axon/t-…`."""

    def __init__(self, https: Https, kubectl: Kubectl) -> None:
        self._https = https
        self._kubectl = kubectl
        self._token = ""

    def call(self, method: str, path: str, *, namespace: str = "", token: str = "", body: Json | None = None) -> Answer:
        """One call in a namespace with a token, whatever comes of it."""
        headers = {"X-Vault-Request": "true"}
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        if token:
            headers["X-Vault-Token"] = token
        return self._https.request(method, f"v1/{path}", headers=headers, json=body)

    def login(self, role: str, jwt: str, *, namespace: str) -> Answer:
        """A login with a projected service-account token."""
        return self.call("POST", "auth/k8s/login", namespace=namespace, body={"role": role, "jwt": jwt})

    def admin(self, method: str, path: str, *, namespace: str = "", body: Json | None = None) -> Json | None:
        """A call as the test bed's administrator, which must succeed; None if there is nothing of that name."""
        answer = self.call(method, path, namespace=namespace, token=self._admin_token(), body=body)
        if answer.status == 403:
            self._token = ""
            answer = self.call(method, path, namespace=namespace, token=self._admin_token(), body=body)
        if answer.status == 404:
            return None
        if not answer.ok:
            raise ServerError(f"OpenBao: {method} {path} in {namespace or 'root'}: {answer.status} {answer.text}")
        return answer.body

    def write_secret(self, namespace: str, path: str, **values: str) -> None:
        """A new version of an organization's secret."""
        self.admin("POST", f"kv/data/org/{path}", namespace=namespace, body={"data": values})

    def namespace(self, full_name: str) -> Json | None:
        """A namespace below the operator's parent namespace."""
        found = self.admin(
            "GET", f"sys/namespaces/{full_name.removeprefix(f'{VAULT_PARENT}/')}", namespace=VAULT_PARENT
        )
        return found["data"] if found else None

    def namespaces(self) -> dict[str, Json]:
        """All tenants' namespaces by full name, with their properties."""
        found = self.admin("LIST", "sys/namespaces", namespace=VAULT_PARENT)
        info: dict[str, Json] = found["data"]["key_info"] if found else {}
        return {f"{VAULT_PARENT}/{name.rstrip('/')}": properties for name, properties in info.items()}

    def names(self, namespace: str, path: str) -> list[str]:
        """What a LIST of a path shows."""
        found = self.admin("LIST", path, namespace=namespace)
        return sorted(found["data"]["keys"]) if found else []

    def _admin_token(self) -> str:
        if not self._token:
            jwt = self._kubectl.token(TESTBED_NAMESPACE, "admin", VAULT_AUDIENCE)
            answer = self.login(ADMIN, jwt, namespace="")
            if not answer.ok:
                raise ServerError(f"OpenBao refuses its administrator: {answer.status} {answer.text}")
            self._token = answer.body["auth"]["client_token"]
        return self._token


def tenants_of(namespaces: dict[str, Json], uid: str) -> list[str]:
    """The OpenBao namespaces that carry the mark of one Tenant."""

    def mark(properties: Json) -> Any:
        return (properties.get("custom_metadata") or {}).get("axon_owner_uid")

    return [name for name, properties in namespaces.items() if mark(properties) == uid]
