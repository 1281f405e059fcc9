"""Kubernetes Events: one when a condition that people watch changes, when drift was set right, when a credential is new."""

import datetime
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from axon_operator.api.conditions import Condition
from axon_operator.api.reasons import FINDINGS, ConditionType, Reason
from axon_operator.domain.resources import EVENT, Manifest
from axon_operator.reconcile.engine.controller import Pass
from axon_operator.reconcile.engine.plan import Change, KubeAnnotate

_WATCHED = {ConditionType.READY, ConditionType.STALLED, ConditionType.DELETION_BLOCKED, *FINDINGS}

_LATER = (
    "The Kubernetes namespace stays, so that the sweep finds the rest; it removes all of it when that system is back."
)


@dataclass(frozen=True, slots=True)
class Note:
    """What an Event says."""

    type: str
    """Normal or Warning."""
    reason: str
    message: str


def notes(done: Pass) -> list[Note]:
    """The Events of a pass; none for one that changed nothing."""
    before = {c.type: c for c in done.before}
    moved = [c for c in done.after if c.type in _WATCHED and _moved(before.get(c.type), c)]
    # Ready=False repeats what Stalled says
    stalled = any(c.type == ConditionType.STALLED for c in moved)
    found = [_of_condition(c) for c in moved if not (stalled and c.type == ConditionType.READY)]
    if changes := "; ".join(str(change) for change in healed(done)):
        found.append(Note("Normal", Reason.UPDATED, f"Set right: {changes}"[:1000]))
    if adopted := "; ".join(str(change) for change in done.outcome.applied if change.verb == "adopt"):
        found.append(Note("Normal", Reason.ADOPTED, f"Taken over from a lost Tenant: {adopted}"[:1000]))
    return [*found, *_rotated(done), *_left(done)]


def healed(done: Pass) -> list[Change]:
    """What the pass set right on an object that was as planned."""
    if not _settled(done.before, done.after):
        return []
    # pods are annotated whenever their credentials change: that is work, not drift
    return [change for change in done.outcome.applied if not isinstance(change, KubeAnnotate)]


def _rotated(done: Pass) -> list[Note]:
    """Another credential in place of one that was there; the first one is news of `Ready`."""
    before = ((done.live or {}).get("status") or {}).get("rotatedAt")
    if before is None or done.status.get("rotatedAt", before) == before:
        return []
    message = "A new credential is published. The one before is revoked when every pod serves the new one and spec.rotation.overlap has passed."
    return [Note("Normal", Reason.ROTATED, message)]


def _left(done: Pass) -> list[Note]:
    """What a deletion leaves behind, told when it ends."""
    if done.next is not None or not done.outcome.complete:
        return []
    kept = (s.stage.message for s in done.outcome.stages if s.stage.reason is Reason.RETAINED and not s.given_up)
    abandoned = (
        f"Deleted without: {str(left).partition(' ')[2]}. {why.message}" for left, why in done.outcome.abandoned
    )
    return [
        *(Note("Normal", Reason.RETAINED, message) for message in kept),
        *(Note("Warning", Reason.ABANDONED, f"{message} {_LATER}"[:1000]) for message in abandoned),
    ]


def event(note: Note, live: Manifest, namespace: str, now: datetime.datetime) -> Manifest:
    """The Event object about `live`; `namespace` is for cluster-scoped objects."""
    metadata = live["metadata"]
    where = metadata.get("namespace", namespace)
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": where},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": note.type,
        "reason": note.reason,
        "note": note.message,
        "action": "Reconcile",
        "reportingController": "axonos.ai/axon-operator",
        "reportingInstance": "axon-operator",
        "regarding": {
            "apiVersion": live["apiVersion"],
            "kind": live["kind"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            **({"namespace": metadata["namespace"]} if "namespace" in metadata else {}),
        },
    }


def _of_condition(condition: Condition) -> Note:
    bad = "False" if condition.type in FINDINGS else "True"
    warns = condition.type != ConditionType.READY and condition.status == bad
    return Note("Warning" if warns else "Normal", condition.reason, condition.message)


def _moved(before: Condition | None, after: Condition) -> bool:
    if before is None:
        # a good first look at something else is no news of this object
        return after.type not in FINDINGS or after.status != "True"
    return (before.status, before.reason) != (after.status, after.reason)


def _settled(before: Iterable[Condition], after: Iterable[Condition]) -> bool:
    """Ready before with the same generation: what was changed now was drift, or followed from another object."""
    generation = next((c.observed_generation for c in after), None)
    return any(
        c.type == ConditionType.READY and c.status == "True" and c.observed_generation == generation for c in before
    )
