"""Where a request to OpenBao may go. Checked before anything is sent.

hvac and urllib3 fold `..` in a URL, so `kv/data/../../sys/mounts` would reach `/v1/sys/mounts` with the
operator's token; OpenBao in turn reads the first segments of a path as a namespace if one of that name
exists. Hence: a closed character set, no dot segments, and in the parent namespace only `sys/`.
"""

import re
from typing import Final

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Terminal
from axon_operator.domain.resources import VaultPath

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_RESERVED: Final = frozenset({"root", "sys", "audit", "auth", "cubbyhole", "identity"})
"""OpenBao gives these another meaning than that of a namespace's name (GHSA-mwr2-wmgp-crj6)."""


def is_namespace(name: str) -> bool:
    """Whether the name can only mean one namespace below the current one."""
    return _NAMESPACE.fullmatch(name) is not None and name not in _RESERVED


def is_path(path: str) -> bool:
    """Whether every segment survives URL normalisation unchanged."""
    return ".." not in path and all(_SEGMENT.fullmatch(segment) for segment in path.split("/"))


def check(path: VaultPath) -> None:
    """Refuse a path that could be read as another one than the caller means.

    The offending text is not repeated: it is not ours.

    Raises:
        Terminal: InvalidSpec.
    """
    if path.namespace and not is_namespace(path.namespace):
        raise Terminal(
            Reason.INVALID_SPEC,
            "The name of an OpenBao namespace may hold only a-z, 0-9 and inner '-', and no reserved word.",
        )
    if not is_path(path.path):
        raise Terminal(
            Reason.INVALID_SPEC,
            "A path in OpenBao may hold only letters, digits, '_', '-' and '.' between single slashes, "
            "no segment may begin with '.' or '-', and '..' is not allowed.",
        )
    if not path.namespace and not path.path.startswith("sys/"):
        raise Terminal(
            Reason.INVALID_SPEC,
            "In the operator's parent namespace only paths below sys/ are used; name the tenant's namespace.",
        )
