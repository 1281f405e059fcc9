"""Where a user's secrets and grants are in OpenBao, and what they are bound to. Every name is checked before it is used."""

import argparse
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from axon_operator.api.base import ObjectName
from axon_operator.api.secretbinding import USER_ID, Key, SecretPath
from axon_operator.cli.cluster import CommandError
from axon_operator.domain import consent
from axon_operator.domain.consent import GrantFolder
from axon_operator.domain.names import DIRECTORY, KV_MOUNT, RUNTIME_PREFIX

_SECRET_PATH: Final = TypeAdapter(SecretPath)
_KEY: Final = TypeAdapter(Key)
_NAME: Final = TypeAdapter(ObjectName)
_PRINCIPAL: Final = re.compile(rf"{RUNTIME_PREFIX}[a-z0-9-]{{1,60}}")
_ORDER: Final = ("image", "command", "args", "env", "connections", "egress", "bindings")
"""In which a program is shown; what else there is comes behind."""


def is_secret_path(text: str) -> bool:
    """Whether it stays below the folder that we put before it, and means to OpenBao what it says."""
    return _fits(_SECRET_PATH, text) and ".." not in text


def is_key(text: str) -> bool:
    """Whether it can be the name of one value."""
    return _fits(_KEY, text)


def _fits(kind: TypeAdapter[str], text: object) -> bool:
    try:
        kind.validate_python(text, strict=True)
    except ValidationError:
        return False
    return True


def a_secret_path(text: str) -> str:
    """argparse's check, before anything is sent."""
    if not is_secret_path(text):
        raise argparse.ArgumentTypeError(
            "a path is made of letters, digits, '_', '-' and '.' between single slashes, such as github/token; without '..'"
        )
    return text


def a_runtime(text: str) -> str:
    """argparse's check, before anything is sent."""
    if not _fits(_NAME, text):
        raise argparse.ArgumentTypeError("this is not the name of a WorkflowRuntime")
    return text


def is_user(sub: object) -> bool:
    """Whether it is a user's id as Keycloak gives them, and so one segment of a path."""
    return isinstance(sub, str) and re.fullmatch(USER_ID, sub) is not None


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime, as the directory tells users."""

    name: str
    uid: str
    principal: str
    revision: str
    document: str = field(repr=False)
    """Of which the revision is to be the digest."""

    @classmethod
    def from_entry(cls, name: str, entry: object) -> "Runtime | None":
        """None if the entry is not as the operator writes it."""
        if not isinstance(entry, dict):
            return None
        uid, principal, revision, document = (str(entry.get(k)) for k in ("uid", "principal", "revision", "program"))
        written = (
            re.fullmatch(USER_ID, uid) and _PRINCIPAL.fullmatch(principal) and re.fullmatch(consent.REVISION, revision)
        )
        return cls(name, uid, principal, revision, document) if written else None

    def program(self) -> dict[str, Any]:
        """All that the revision stands for.

        Raises:
            CommandError: the entry names another revision, or none of our programs: it is forged or stale.
        """
        try:
            program = json.loads(self.document)
        except ValueError:
            program = None
        if consent.digest(self.document) != self.revision or not isinstance(program, dict):
            raise CommandError(
                f"what the directory tells of runtime {self.name} is not what its revision stands for;"
                " nothing was allowed, ask your administrator"
            )
        known = {part: program[part] for part in _ORDER if part in program}
        return {**known, **program}


@dataclass(frozen=True, slots=True)
class Owner:
    """A user of a tenant: what is theirs, and where."""

    tenant: str
    sub: str

    @property
    def key(self) -> str:
        """The user's own key in transit."""
        return f"user-{self.sub}"

    def folder(self, kind: str) -> str:
        """The metadata of all their secrets."""
        return f"{KV_MOUNT}/{kind}/users/{self.sub}"

    def secret(self, kind: str, path: str) -> str:
        """One secret; `kind`: data or metadata."""
        return f"{self.folder(kind)}/{path}"

    def grants(self, kind: str, to: GrantFolder) -> str:
        """All that was granted there."""
        return f"{KV_MOUNT}/{kind}/{to.of(self.sub)}"

    def grant(self, kind: str, to: GrantFolder, path: str) -> str:
        """One grant."""
        return f"{self.grants(kind, to)}/{path}"

    def bound_to(self, path: str) -> bytes:
        """The associated data of a secret: it opens at this place and for this owner only. No part contains a bar."""
        return "|".join((self.tenant, self.sub, path)).encode()


def runtimes(kind: str) -> str:
    """The directory of the tenant's runtimes."""
    return f"{KV_MOUNT}/{kind}/{DIRECTORY}"
