#!/usr/bin/env python3
"""Lets axon-operator into a Keycloak: a client of the master realm that may create realms and nothing else.

The client has no secret: the operator proves itself with the token of its Kubernetes service account, and
Keycloak lets it manage exactly the realms that it created. Run this again at any time; it changes only what
differs. It needs Python 3.11 and nothing else:

    KEYCLOAK_USERNAME=admin KEYCLOAK_PASSWORD=… bootstrap.py --url https://keycloak.example.org --ca ca.crt

Keycloak must reach the Kubernetes issuer: run it in the cluster with its own service account's token mounted and
the cluster's CA in `--truststore-paths`.
"""

import argparse
import json
import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

IDENTITY_PROVIDER = "kubernetes"
ISSUER = "https://kubernetes.default.svc.cluster.local"
OPERATOR = "axon-operator"
OPERATOR_SUBJECT = "system:serviceaccount:axon-system:axon-operator"

TIMEOUT_SECONDS = 30
NOT_FOUND = 404


class Keycloak:
    """Keycloak's admin API for its master realm, as much of it as a bootstrap needs."""

    def __init__(self, url: str, ca: str | None) -> None:
        if not url.startswith("https://"):
            raise ValueError("the URL of Keycloak must begin with https://")
        self.url = url.rstrip("/")
        self.trust = ssl.create_default_context(cafile=ca)
        self.token = ""

    def login_with_password(self, username: str, password: str) -> None:
        """Logs in as an administrator of the master realm."""
        self._login(grant_type="password", client_id="admin-cli", username=username, password=password)

    def login_as_service_account(self, token: str) -> None:
        """Logs in with a Kubernetes service account's token whose audience is the master realm."""
        self._login(
            grant_type="client_credentials",
            client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            client_assertion=token,
        )

    def _login(self, **form: str) -> None:
        body = urllib.parse.urlencode(form).encode()
        answer = self._send("POST", "/realms/master/protocol/openid-connect/token", body, {})
        self.token = answer["access_token"]

    def get(self, path: str) -> Any:
        """A resource below the master realm's admin API, None if there is none."""
        try:
            return self._call("GET", path)
        except urllib.error.HTTPError as refusal:
            if refusal.code == NOT_FOUND:
                return None
            raise

    def write(self, method: str, path: str, body: Any = None) -> None:
        """A change below the master realm's admin API."""
        self._call(method, path, body)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        return self._send(method, f"/admin/realms/master{path}", data, headers)

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)  # noqa: S310
        opened = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=self.trust)  # noqa: S310
        with opened as response:
            content = response.read()
        return json.loads(content) if content else None


def ensure_identity_provider(keycloak: Keycloak, issuer: str = ISSUER) -> None:
    """Makes the master realm trust tokens of the cluster's service accounts."""
    found = keycloak.get(f"/identity-provider/instances/{IDENTITY_PROVIDER}")
    if found is None:
        wanted = {
            "alias": IDENTITY_PROVIDER,
            "providerId": "kubernetes",
            "enabled": True,
            "config": {"issuer": issuer},
        }
        keycloak.write("POST", "/identity-provider/instances", wanted)
        say(f"identity provider {IDENTITY_PROVIDER}: created")
    elif found["config"].get("issuer", ISSUER) != issuer:
        raise SystemExit(f"the master realm has an identity provider {IDENTITY_PROVIDER!r} of another issuer")


def ensure_client(keycloak: Keycloak, client_id: str, subject: str, role: str) -> None:
    """Makes a client that only the given service account can log in to, with exactly one role of the realm."""
    wanted: dict[str, Any] = {
        "clientId": client_id,
        "protocol": "openid-connect",
        "publicClient": False,
        "clientAuthenticatorType": "federated-jwt",
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        # Each realm that the client creates gives it roles of a client of its own: no fixed list can name them.
        "fullScopeAllowed": True,
        "attributes": {
            "jwt.credential.issuer": IDENTITY_PROVIDER,
            "jwt.credential.sub": subject,
            # Other tokens list the roles of every realm that the client created, and outgrow the header.
            "client.use.lightweight.access.token.enabled": "true",
        },
    }
    query = urllib.parse.urlencode({"clientId": client_id})
    found = keycloak.get(f"/clients?{query}")
    if not found:
        keycloak.write("POST", "/clients", wanted)
        say(f"client {client_id}: created")
        found = keycloak.get(f"/clients?{query}")
    elif not is_within(wanted, found[0]):
        attributes = {**found[0]["attributes"], **wanted["attributes"]}
        keycloak.write("PUT", f"/clients/{found[0]['id']}", {**wanted, "attributes": attributes})
        say(f"client {client_id}: corrected")
    account = keycloak.get(f"/clients/{found[0]['id']}/service-account-user")
    ensure_only_role(keycloak, account["id"], role)


def is_within(wanted: Any, found: Any) -> bool:
    """Whether all that is wanted is found; other fields are the server's."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(is_within(value, found.get(key)) for key, value in wanted.items())
    return bool(wanted == found)


def ensure_only_role(keycloak: Keycloak, user: str, role: str) -> None:
    """Gives a user one role of the master realm and takes all others, the default roles too."""
    path = f"/users/{user}/role-mappings/realm"
    held = keycloak.get(path)
    if surplus := [entry for entry in held if entry["name"] != role]:
        keycloak.write("DELETE", path, surplus)
        say(f"roles removed: {', '.join(entry['name'] for entry in surplus)}")
    if len(surplus) == len(held):
        keycloak.write("POST", path, [keycloak.get(f"/roles/{role}")])
        say(f"role given: {role}")


def say(text: str) -> None:
    """One line for the person who runs this."""
    sys.stdout.write(text + "\n")


def main() -> None:
    """Bootstraps the operator's client."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="https address of Keycloak")
    parser.add_argument("--ca", type=Path, help="file with the CA that signed Keycloak's certificate")
    parser.add_argument("--issuer", default=ISSUER, help="issuer of the cluster's service-account tokens")
    arguments = parser.parse_args()
    if missing := [name for name in ("KEYCLOAK_USERNAME", "KEYCLOAK_PASSWORD") if not os.environ.get(name)]:
        parser.error(f"set {' and '.join(missing)}: an administrator of the master realm")
    keycloak = Keycloak(arguments.url, arguments.ca)
    keycloak.login_with_password(os.environ["KEYCLOAK_USERNAME"], os.environ["KEYCLOAK_PASSWORD"])
    ensure_identity_provider(keycloak, arguments.issuer)
    ensure_client(keycloak, OPERATOR, OPERATOR_SUBJECT, "create-realm")


if __name__ == "__main__":
    main()
