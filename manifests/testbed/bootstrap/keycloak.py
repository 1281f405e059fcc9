"""Bootstraps the test bed's Keycloak: the operator's client, a client for the tests, and no static administrator.

The first run logs in as the temporary administrator that Keycloak made at its first start, and removes it at
the end. Every later run logs in as the tests do, with a service account's token.
"""

import os
import sys
import time
import urllib.error
from pathlib import Path

sys.path.insert(0, "/bootstrap")

from bootstrap import (
    OPERATOR,
    OPERATOR_SUBJECT,
    Keycloak,
    ensure_client,
    ensure_identity_provider,
    is_within,
    say,
)

ADMIN = "testbed-admin"
ADMIN_SUBJECT = "system:serviceaccount:axon-testbed:admin"
REALM = {"adminEventsEnabled": True, "adminEventsDetailsEnabled": True}


def login(keycloak: Keycloak) -> None:
    """Logs in as the tests do, or at the first run as the temporary administrator."""
    try:
        keycloak.login_as_service_account(Path("/var/run/secrets/axon/token").read_text())
    except urllib.error.HTTPError:
        keycloak.login_with_password(os.environ["TEMPORARY_USERNAME"], os.environ["TEMPORARY_PASSWORD"])


def ensure_admin_events(keycloak: Keycloak) -> None:
    """The tests count what the operator changes, creations of realms included."""
    realm = keycloak.get("")
    if not is_within(REALM, realm):
        keycloak.write("PUT", "", {**realm, **REALM})
        say("admin events: on")


def remove_temporary_admin(keycloak: Keycloak) -> None:
    """From here on nobody has a password."""
    for user in keycloak.get(f"/users?exact=true&username={os.environ.get('TEMPORARY_USERNAME', 'temporary')}"):
        keycloak.write("DELETE", f"/users/{user['id']}")
        say("temporary administrator: removed")


def main() -> None:
    keycloak = Keycloak(os.environ["KEYCLOAK_URL"], "/ca/ca.crt")
    while True:
        try:
            login(keycloak)
            break
        except urllib.error.HTTPError:
            raise
        except OSError:  # not listening yet
            time.sleep(1)
    ensure_admin_events(keycloak)
    ensure_identity_provider(keycloak)
    ensure_client(keycloak, ADMIN, ADMIN_SUBJECT, "admin")
    ensure_client(keycloak, OPERATOR, OPERATOR_SUBJECT, "create-realm")
    remove_temporary_admin(keycloak)


main()
