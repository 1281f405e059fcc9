"""How desired state is written down: Kubernetes manifests, OpenBao paths, Keycloak paths.

A resource is *where* plus *what*; a plan is made by comparing it with what a backend reads back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON. Dicts, not typed models: those drop unknown fields."""


@dataclass(frozen=True, slots=True)
class VaultPath:
    """A path in OpenBao. `namespace` is a child of the operator's parent namespace, or "" for the parent."""

    namespace: str
    path: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.path}" if self.namespace else self.path


@dataclass(frozen=True, slots=True)
class VaultResource:
    """Something planned in OpenBao. Only the fields of `body` are compared with what is read back."""

    at: VaultPath
    body: Mapping[str, Any] = field(hash=False)
    fixed: bool = False
    """Cannot be changed in place (mounts): a difference is a conflict, not drift."""


@dataclass(frozen=True, slots=True)
class RealmPath:
    """A path in Keycloak's admin API: the realm itself, or something below it."""

    realm: str
    segments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((self.realm, *self.segments))


@dataclass(frozen=True, slots=True)
class RealmResource:
    """Something planned in Keycloak. Only the fields of `body` are compared with what is read back."""

    at: RealmPath
    collection: RealmPath
    """Where it is created (POST)."""
    body: Mapping[str, Any] = field(hash=False)
