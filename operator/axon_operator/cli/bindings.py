"""The commands about one SecretBinding: rotate, revoke, trace."""

import argparse
import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

from axon_operator.api.base import DNS_LABEL
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.cli import lineage
from axon_operator.cli.cluster import Cluster, CommandError, missing
from axon_operator.cli.edits import REVOKED, ROTATION_TRIGGER, edit, rotated, withdrawn
from axon_operator.cli.grammar import FORCE, OUTPUT, Argument, Command, now, patience, say
from axon_operator.cli.tree import standing
from axon_operator.domain.manifests import conditions_of
from axon_operator.domain.names import NAMESPACE_PREFIX, TenantNames
from axon_operator.domain.resources import BINDING, Manifest, Ref

"""What the names of all tenants' namespaces begin with."""
_POLL: Final = 0.5
_PATIENCE: Final = 300
"""Seconds for which `--wait` waits; pods that are replaced take their time."""


def _rotate(cluster: Cluster, options: argparse.Namespace) -> int:
    at, started = options.binding, time.monotonic()
    live = cluster.get(at)
    if live is None:
        raise missing(at)
    before = made(live)
    edit(cluster, at, rotated(now()), ROTATION_TRIGGER, force=options.force)
    if not options.wait:
        say(f"{at} is being rotated.")
        return 0
    _until(cluster, at, lambda live: has_rotated(live, before), by=started + options.timeout)
    say(f"{at} is rotated, and all its pods serve the new credential, after {time.monotonic() - started:.1f} s.")
    return 0


def _revoke(cluster: Cluster, options: argparse.Namespace) -> int:
    at, started = options.binding, time.monotonic()
    changed = edit(cluster, at, withdrawn(revoked=not options.undo), REVOKED, force=options.force)
    if not options.wait:
        under_way, already = (
            ("is being delivered again", "is not revoked")
            if options.undo
            else ("is being revoked", "is revoked already")
        )
        say(f"{at} {under_way if changed else already}.")
        return 0
    _until(cluster, at, is_delivered if options.undo else is_revoked, by=started + options.timeout)
    done = "delivered again" if options.undo else "revoked, and gone from all pods,"
    say(f"{at} is {done} after {time.monotonic() - started:.1f} s.")
    return 0


def _trace(cluster: Cluster, options: argparse.Namespace) -> int:
    found = lineage.trace(lineage.look(cluster, options.binding))
    if options.output == "json":
        say(json.dumps(found.to_json(), indent=2))
    else:
        say(*lineage.shown(found))
    return 0


def _until(cluster: Cluster, at: Ref, reached: Callable[[Manifest], bool], *, by: float) -> None:
    while True:
        live = cluster.get(at)
        if live is None:
            raise missing(at)
        if reached(live):
            return
        if why := obstacle(live):
            raise CommandError(f"{at} stays as it is: {why}")
        if time.monotonic() > by:
            raise CommandError(f"{at} is not there yet; it goes on. {standing(live).message}")
        time.sleep(_POLL)


def made(live: Manifest) -> str:
    """When the current credential was made; empty if none is known."""
    return str((live.get("status") or {}).get("rotatedAt") or "")


def has_rotated(live: Manifest, before: str) -> bool:
    """Whether a newer credential than that of `before` is there, and no pod serves the old one any more."""
    consumers = (live.get("status") or {}).get("consumers") or {}
    everywhere = consumers.get("ready") == consumers.get("total")
    return made(live) > before and everywhere and standing(live).ready == "True"


def is_revoked(live: Manifest) -> bool:
    """Whether nothing of it is good any more; in a suspended tenant nothing is."""
    told = standing(live)
    return told.ready == "True" and told.reason in {Reason.REVOKED, Reason.SUSPENDED}


def is_delivered(live: Manifest) -> bool:
    """Whether the pods have it."""
    return standing(live).ready == "True" and not is_revoked(live)


def obstacle(live: Manifest) -> str | None:
    """Why waiting is of no use, if that is so."""
    current = [c for c in conditions_of(live) if c["observedGeneration"] == live["metadata"]["generation"]]
    for condition in current:
        stalled = condition["type"] == ConditionType.STALLED and condition["status"] == "True"
        suspended = condition["type"] == ConditionType.READY and condition["reason"] == Reason.SUSPENDED
        if stalled or suspended:
            return str(condition["message"])
    return None


def a_binding(text: str) -> Ref:
    """argparse's check of a name, before anything is sent."""
    place, _, name = text.partition("/")
    if not (re.fullmatch(DNS_LABEL, place) and re.fullmatch(DNS_LABEL, name)):
        raise argparse.ArgumentTypeError(f"{text!r} is not TENANT/NAME or NAMESPACE/NAME of a SecretBinding")
    namespace = place if place.startswith(NAMESPACE_PREFIX) else TenantNames(place, "").namespace
    return Ref(BINDING, namespace, name)


_BINDING: Final = Argument(
    ("binding",),
    "the SecretBinding, by its Tenant or its namespace (what begins with `axon-` is a namespace)",
    {"metavar": "TENANT/NAME", "type": a_binding},
)
_TIMEOUT: Final = patience(_PATIENCE)

BINDING_COMMANDS: Final[Sequence[Command]] = (
    Command(
        "rotate",
        "replace a credential by a new one",
        "Sets `spec.rotationTrigger` of the SecretBinding: a new account, certificate or value is made and delivered, and"
        " the one before is revoked when all pods have the new one and `spec.rotation.overlap` has passed. For kv and"
        " grant it says who changes the value.",
        (
            _BINDING,
            Argument(("--wait",), "until all pods serve the new one; says how long it took", {"action": "store_true"}),
            _TIMEOUT,
            FORCE,
        ),
        _rotate,
    ),
    Command(
        "revoke",
        "take a credential back, and keep the binding",
        "Sets `spec.revoked` of the SecretBinding: what was issued for it is revoked in OpenBao, and it leaves the pods."
        " A value of kv or grant only leaves the pods, and OpenBao refuses it to the runtime: if somebody may have copied"
        " it, have it changed where it is used. `--undo` takes the field back; what is issued then is a new credential.",
        (
            _BINDING,
            Argument(("--undo",), "deliver it again", {"action": "store_true"}),
            Argument(("--wait",), "until that is so everywhere; says how long it took", {"action": "store_true"}),
            _TIMEOUT,
            FORCE,
        ),
        _revoke,
    ),
    Command(
        "trace",
        "where a credential comes from, and who holds it",
        "Shows the way of one credential: path in OpenBao, policy, login role, runtime, service account, pods, digests of"
        " their images; for a user's own secret also who consented. All of it comes from Kubernetes objects that you may"
        " read, and names in OpenBao are computed from them as the operator does; OpenBao is not asked. What you may not"
        " read is named at the end. Nothing in it is secret.",
        (_BINDING, OUTPUT),
        _trace,
    ),
)
