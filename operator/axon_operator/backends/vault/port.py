"""What the reconcilers need of OpenBao."""

from collections.abc import Mapping
from typing import Any, Protocol

from axon_operator.domain.audit import Counted
from axon_operator.domain.resources import VaultPath


class Vault(Protocol):
    """Reads and writes below the operator's parent namespace.

    Every call raises only the errors of `backends.errors`. Paths are checked segment by segment
    before anything is sent, so that no name can climb out of its namespace.
    """

    def read(self, path: VaultPath) -> Mapping[str, Any] | None:
        """The `data` of the resource, or None if it does not exist."""

    def list(self, path: VaultPath) -> tuple[str, ...]:
        """Names below the path; empty if there are none."""

    def scan(self, path: VaultPath) -> tuple[str, ...]:
        """Paths of all that is below the path, at any depth, without folders; empty if there is nothing."""

    def look_up(self, path: VaultPath, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The `data` of what a description finds, or None; a read that OpenBao wants as a POST."""

    def write(self, path: VaultPath, body: Mapping[str, Any]) -> None:
        """Create or replace."""

    def delete(self, path: VaultPath) -> None:
        """Delete; a resource that does not exist is fine."""

    def supports_namespaces(self) -> bool:
        """False for a server that ignores the namespace header (Vault CE): it cannot separate tenants."""


class AuditLog(Protocol):
    """What OpenBao tells about how it records requests. Every call raises only the errors of `backends.errors`."""

    def devices(self) -> tuple[str, ...]:
        """Names of the audit devices."""

    def answers(self, device: str) -> bool:
        """Whether the device hashes a text of ours; a call that is recorded itself."""

    def counted(self) -> Counted | None:
        """How many requests were recorded since the server's start, this call included; None if it does not count."""
