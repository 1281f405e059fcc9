"""People of an organization, with real logins."""

import base64
import json
import secrets
from dataclasses import dataclass

from axon_operator.domain.names import USERS_CLIENT
from e2e.support.cluster import Cluster
from e2e.support.https import Answer
from e2e.support.kubectl import Json
from servers.browser import Browser, Person

PASSWORD = f"Aa1-{secrets.token_hex(12)}"


@dataclass
class User:
    """Somebody with an account in a tenant's realm."""

    cluster: Cluster
    tenant: str
    name: str
    sub: str
    browser: Browser

    @classmethod
    def new(cls, cluster: Cluster, tenant: str, name: str) -> "User":
        """An account that an administrator of the realm makes."""
        realm = f"axon-{tenant}"
        profile = {"email": f"{name}@example.org", "emailVerified": True, "firstName": name, "lastName": name}
        credential = {"type": "password", "value": PASSWORD, "temporary": False}
        body = {"username": name, "enabled": True, **profile, "credentials": [credential]}
        cluster.keycloak.admin("POST", f"{realm}/users", body=body)
        found = cluster.keycloak.admin("GET", f"{realm}/users?username={name}&exact=true")
        assert found
        return cls(cluster, tenant, name, found["items"][0]["id"], cluster.browser())

    def access_token(self) -> str:
        """By the realm's login pages; from then on the browser has a session."""
        person = Person(self.name, PASSWORD)
        return str(self.browser.token(f"axon-{self.tenant}", person, USERS_CLIENT)["access_token"])

    def vault_token(self, access_token: str) -> str:
        """OpenBao's, for an access token; empty if it is refused."""
        home = self.cluster.vault_namespace(self.tenant)
        body: Json = {"role": "user", "jwt": access_token}
        answer = self.cluster.openbao.call("POST", "auth/keycloak/login", namespace=home, body=body)
        return str(answer.body["auth"]["client_token"]) if answer.ok else ""

    def writes(self, vault_token: str, sub: str) -> bool:
        """Whether the token opens a user's own folder."""
        home, path = self.cluster.vault_namespace(self.tenant), f"kv/data/users/{sub}/note"
        return self.cluster.openbao.call("POST", path, namespace=home, token=vault_token, body={"data": {"a": "b"}}).ok

    def grants(self, runtime: str, path: str, values: dict[str, str], *, tied: bool = False) -> "Grant":
        """Consents: encrypts something for a runtime, and puts it where the runtime may read it.

        Args:
            runtime: to which.
            path: under which name.
            values: what.
            tied: to the runtime as it is now, and no other revision of it.
        """
        token = self.vault_token(self.access_token())
        told = self.must("GET", f"kv/data/runtimes/{runtime}", token).body["data"]["data"]
        folder = f"{told['uid']}.{told['revision']}" if tied else told["uid"]
        context = "|".join((self.tenant, self.sub, path, told["uid"]))
        sealed = self.must(
            "POST",
            f"transit/encrypt/{told['principal']}",
            token,
            {"plaintext": _base64(json.dumps(values)), "associated_data": _base64(context)},
        )
        grant = Grant(self, token, f"{folder}/{self.sub}/{path}")
        self.must(
            "POST", f"kv/data/grants/{grant.path}", token, {"data": {"ciphertext": sealed.body["data"]["ciphertext"]}}
        )
        return grant

    def must(self, method: str, path: str, token: str, body: Json | None = None) -> Answer:
        """A call in the tenant's OpenBao namespace that the user may make."""
        home = self.cluster.vault_namespace(self.tenant)
        answer = self.cluster.openbao.call(method, path, namespace=home, token=token, body=body)
        assert answer.ok, f"{self.name} may not {method} {path}: {answer.status} {answer.text}"
        return answer


@dataclass(frozen=True)
class Grant:
    """What a user has granted."""

    user: User
    token: str
    path: str
    """Below `grants/`."""

    def withdraw(self) -> None:
        """Takes it back, with all its versions."""
        self.user.must("DELETE", f"kv/metadata/grants/{self.path}", self.token)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
