"""What all containers of a pod have in common."""

from typing import Any


def restricted() -> dict[str, Any]:
    """The security context of every container that we make: what Pod Security "restricted" asks for, and more."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
