"""Where a request to Keycloak may go. Checked before anything is sent.

python-keycloak and requests neither quote nor keep a path as it is: the realm `t1/../master` is sent as
`master`, and `t1?x=` acts on `t1`. Keycloak itself accepts `..` as the name of a realm. Hence a closed
character set for every segment, also where a name travels in a body.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Terminal
from axon_operator.domain.resources import RealmPath

REALMS: Final = RealmPath("")
"""The collection in which realms are created. It is never read: listing realms can take minutes."""

_REALM: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_NOT_A_TENANTS: Final = "master"


def is_segment(name: str) -> bool:
    """Whether the name survives URL normalisation unchanged."""
    return _SEGMENT.fullmatch(name) is not None and ".." not in name


def resource_url(path: RealmPath) -> str:
    """The URL of a realm or of something in it, relative to Keycloak's address.

    The offending text of a refused path is not repeated: it is not ours.

    Raises:
        Terminal: InvalidSpec.
    """
    _check_realm(path.realm)
    if not all(is_segment(segment) for segment in path.segments):
        raise Terminal(
            Reason.INVALID_SPEC,
            "Names in Keycloak's paths may hold only letters, digits, '_', '-' and '.', may not begin with "
            "'.' or '-', and '..' is not allowed.",
        )
    return "/".join(("admin/realms", path.realm, *path.segments))


def collection_url(collection: RealmPath, body: Mapping[str, Any]) -> str:
    """The URL to which `body` is posted to create something.

    Raises:
        Terminal: InvalidSpec, also if the body of a realm names one that has no valid path.
    """
    if collection != REALMS:
        return resource_url(collection)
    _check_realm(body.get("realm"))
    return "admin/realms"


def update_url(path: RealmPath, body: Mapping[str, Any]) -> str:
    """The URL to which `body` is put.

    Raises:
        Terminal: InvalidSpec, also if the body would rename a realm.
    """
    if not path.segments and body.get("realm", path.realm) != path.realm:
        raise Terminal(Reason.INVALID_SPEC, "A realm is never renamed: its name is its tenant's.")
    return resource_url(path)


def _check_realm(name: object) -> None:
    if not isinstance(name, str) or not _REALM.fullmatch(name) or name == _NOT_A_TENANTS:
        raise Terminal(
            Reason.INVALID_SPEC,
            "The name of a realm may hold only a-z, 0-9 and inner '-', and may not be 'master'.",
        )
