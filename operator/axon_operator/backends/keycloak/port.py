"""What the reconcilers need of Keycloak."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from axon_operator.domain.resources import RealmPath


class Keycloak(Protocol):
    """Reads and writes of the realms that the operator created.

    Every call raises only the errors of `backends.errors`. Path segments are checked before
    anything is sent. Realms are never listed (reference: minutes with some hundred realms).
    """

    def read(self, path: RealmPath) -> Mapping[str, Any] | None:
        """The representation, or None if it does not exist.

        A realm that exists but is not the operator's comes back without `attributes` and `id`
        (Keycloak strips it): callers must read that as "not mine".
        """

    def list(self, collection: RealmPath) -> tuple[Mapping[str, Any], ...]:
        """The full representations in a collection of a realm, such as its clients; empty if there is none."""

    def find_user(self, realm: str, username: str) -> str | None:
        """The id of the user of exactly this name, or None."""

    def create(self, collection: RealmPath, body: Mapping[str, Any]) -> None:
        """POST into a collection; `Waiting` if it exists already: whose it is must be read first."""

    def update(self, path: RealmPath, body: Mapping[str, Any]) -> None:
        """PUT a partial representation."""

    def delete(self, path: RealmPath) -> None:
        """Delete; a resource that does not exist is fine."""

    def grant(self, mappings: RealmPath, roles: Sequence[Mapping[str, Any]]) -> None:
        """Add roles, each by `id` and `name`, to the mappings of a group or client; one that is there is fine."""

    def withdraw(self, mappings: RealmPath, roles: Sequence[Mapping[str, Any]]) -> None:
        """Take roles from the mappings of a group or client; one that is not there is fine."""

    def reaches_ldap(self, realm: str, probe: Mapping[str, str], *, log_in: bool) -> bool:
        """Whether Keycloak can connect to a directory, and log in there with the credential that it has."""

    def logout_all(self, realm: str) -> None:
        """End every session of the realm, offline sessions too."""

    def logout_user(self, realm: str, user: str) -> None:
        """End every session of one user (by id), offline sessions too; a user who does not exist is fine."""
