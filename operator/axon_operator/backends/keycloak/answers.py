"""The errors that Keycloak's answers become. Its texts are never looked at: the status codes suffice."""

from typing import Final

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError, Terminal, Transient, Waiting

CREATE_REALM: Final = "create a realm"
"""The one action for which the operator's client has a role; what it may do in a realm comes from creating it."""


def as_error(status: int, address: str, action: str) -> ReconcileError:
    """The error for a status code that the caller has no use for.

    Args:
        status: the HTTP status code.
        address: the server's, from the operator's settings.
        action: what was tried, in our words, such as `create axon-acme/clients`.
    """
    match status:
        case 401 | 403 if action == CREATE_REALM:
            return Denied(
                Reason.KEYCLOAK_DENIED,
                f"Keycloak at {address} does not let the operator create a realm; give its client in realm master the "
                "realm role create-realm (manifests/bootstrap/keycloak/bootstrap.py does).",
            )
        case 401 | 403:
            return Denied(
                Reason.KEYCLOAK_DENIED,
                f"Keycloak at {address} does not let the operator {action}; it may manage only realms that its own "
                "client has created: give that client its roles on this realm back, or delete the realm.",
            )
        case 404:
            return Waiting(
                Reason.DEPENDENCY_NOT_READY,
                f"To {action}, something above it has to exist in Keycloak first.",
                after=2.0,
            )
        case 409:
            # perhaps made by a pass that was cut off: the next one reads its mark and judges
            return Waiting(
                Reason.PROGRESSING,
                f"Could not {action}: Keycloak has something of that name already. It is not touched; "
                "if this message stays, rename or remove one of the two.",
                after=2.0,
            )
        case 408 | 429:
            return Transient(Reason.KEYCLOAK_UNAVAILABLE, f"Keycloak at {address} is overloaded; check its resources.")
        case _ if 300 <= status < 400:
            return Transient(
                Reason.KEYCLOAK_UNAVAILABLE,
                f"Keycloak at {address} answered with a redirect, which is never followed; "
                "give the operator the final address.",
            )
        case _ if 400 <= status < 500:
            return Terminal(
                Reason.REQUEST_REJECTED,
                f"Keycloak at {address} rejected the request to {action} as invalid; "
                "check that its version is supported, and its own log for the cause.",
            )
        case _ if status >= 500:
            return Transient(
                Reason.KEYCLOAK_UNAVAILABLE,
                f"Keycloak at {address} answered with an error of its own; check its log and its database.",
            )
        case _:
            return Transient(
                Reason.KEYCLOAK_UNAVAILABLE,
                f"Keycloak at {address} answered in an unknown form; "
                "check that nothing stands between it and the operator.",
            )
