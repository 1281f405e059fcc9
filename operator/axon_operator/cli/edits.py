"""Changes of a spec, made so that nothing is lost that somebody else does at the same time: pure but for `edit`."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from axon_operator.cli.cluster import FIELD_MANAGER, Cluster, CommandError, ConflictError, missing
from axon_operator.domain.resources import Manifest, Ref

SUSPENDED: Final = ("suspended",)
LOGOUT: Final = ("identity", "logout")
ROTATION_TRIGGER: Final = ("rotationTrigger",)
REVOKED: Final = ("revoked",)
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_ATTEMPTS: Final = 5

Make = Callable[[Manifest], Mapping[str, Any] | None]
"""The fields of the spec that are to change, from the object as it is; None if it is as wanted."""


def edit(cluster: Cluster, at: Ref, make: Make, field: tuple[str, ...], *, force: bool) -> Manifest | None:
    """Reads, changes and writes, again if somebody else was faster. None if nothing was to change.

    Raises:
        CommandError: there is no such object, or the field is kept by a tool that would set it back.
    """
    for _ in range(_ATTEMPTS):
        live = cluster.get(at)
        if live is None:
            raise missing(at)
        wanted = make(live)
        if wanted is None:
            return None
        keeper = kept_by(live, field)
        if keeper and not force:
            path = ".".join(("spec", *field))
            raise CommandError(
                f"{path} of {at} is kept by {keeper}, which would set it back; change it there, or do it now anyway with --force"
            )
        try:
            return cluster.change(live, wanted)
        except ConflictError:
            continue
    raise ConflictError(f"{at} is being changed by somebody else all the time; nothing was changed, try again")


def kept_by(live: Manifest, field: tuple[str, ...]) -> str | None:
    """Who applies this field of the spec, and so sets it back with the next run; None if nobody does.

    Tools show that in one of two ways: server-side apply by the field's owner, client-side apply by an annotation.
    """
    metadata = live["metadata"]
    path = ("spec", *field)
    for entry in metadata.get("managedFields") or ():
        applied = entry.get("operation") == "Apply" and entry.get("manager") != FIELD_MANAGER
        if applied and _has(entry.get("fieldsV1"), [f"f:{name}" for name in path]):
            return str(entry["manager"])
    applied_by_client = (metadata.get("annotations") or {}).get(_LAST_APPLIED)
    if applied_by_client and _has(json.loads(applied_by_client), path):
        return "kubectl apply, or a tool that works like it"
    return None


def _has(node: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return True


def switched(*, suspended: bool) -> Make:
    """Suspended or not."""
    return _toggled("suspended", suspended)


def logged_out(user: str, trigger: str) -> Make:
    """An entry for this user, in place of a former one; others' entries stay.

    Raises:
        CommandError: of a suspended Tenant.
    """

    def make(live: Manifest) -> Mapping[str, Any]:
        if live["spec"].get("suspended"):
            name = live["metadata"]["name"]
            raise CommandError(f"Tenant {name} is suspended: its sessions have ended, and nobody can log in")
        entries = (live["spec"].get("identity") or {}).get("logout") or ()
        # Keycloak tells usernames apart without their case
        others = [entry for entry in entries if entry["user"].lower() != user.lower()]
        return {"identity": {"logout": [*others, {"user": user, "trigger": trigger}]}}

    return make


def rotated(trigger: str) -> Make:
    """Another trigger.

    Raises:
        CommandError: of a credential that is not made here, or that is revoked.
    """

    def make(live: Manifest) -> Mapping[str, Any]:
        source, name = live["spec"]["source"], live["metadata"]["name"]
        if kept := source.get("kv"):
            raise CommandError(
                f"kv/org/{kept['path']} is kept by the organization: whoever keeps its secrets writes the new value into OpenBao (bao kv put), and pods take it over by themselves"
            )
        if granted := source.get("grant"):
            raise CommandError(
                f"{granted['path']} is the secret of user {granted['user']}: they change it themselves (kubectl axon secret put), and allow it anew"
            )
        if live["spec"].get("revoked"):
            raise CommandError(
                f"SecretBinding {name} is revoked: what is issued after `kubectl axon revoke --undo` is a new credential anyway"
            )
        return {"rotationTrigger": trigger}

    return make


def withdrawn(*, revoked: bool) -> Make:
    """Revoked or not."""
    return _toggled("revoked", revoked)


def _toggled(field: str, wanted: bool) -> Make:
    def make(live: Manifest) -> Mapping[str, Any] | None:
        return None if bool(live["spec"].get(field)) == wanted else {field: wanted}

    return make
