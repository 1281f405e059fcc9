"""Who may lead, judged from the Lease and from how long it has not changed: pure.

Another machine's clock is never compared with ours. What a Lease says about time is text that either changed
or did not; how long it did not is measured on our own monotonic clock.
"""

import datetime
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from axon_operator.domain.resources import LEASE, Manifest, Ref

_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, as in controller-runtime. `fence` is shorter than `lease`: who led has stopped before another begins."""

    lease: int = 15
    """A holder counts as dead when its record has not changed for this long."""
    fence: float = 10.0
    """A holder acts for this long after the start of its last renewal."""
    retry: float = 2.0
    """Between two looks or renewals."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a living holder changes."""

    holder: str
    """Empty: given back."""
    renewed: str
    """By the holder's clock, so only good for telling whether it changed."""
    transitions: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record, and since when we see it like this."""

    record: Record | None
    """None: there is no Lease."""
    since: float
    """On our monotonic clock."""


class Verdict(StrEnum):
    """What a candidate may do now."""

    ACQUIRE = "acquire"
    RENEW = "renew"
    WAIT = "wait"


def sight(before: Sighting | None, lease: Manifest | None, now: float) -> Sighting:
    """What is known after the answer to a look that arrived at `now`.

    A Lease that is gone counts as a change like any other, because its holder may not know yet;
    only one that this process has never seen is free at once.
    """
    record = _record(lease) if lease else None
    if before is None:
        return Sighting(record, now if record else _NEVER)
    return before if before.record == record else Sighting(record, now)


def judge(seen: Sighting, identity: str, now: float, timing: Timing) -> Verdict:
    """Whether the candidate may write its name into the Lease that it saw (and only into that version)."""
    if seen.record and seen.record.holder == identity:
        return Verdict.RENEW
    if seen.record and not seen.record.holder:
        return Verdict.ACQUIRE
    return Verdict.ACQUIRE if now - seen.since > timing.lease else Verdict.WAIT


def until_next(seen: Sighting | None, identity: str, now: float, timing: Timing) -> float:
    """Seconds until the next turn: sooner than usual if the holder counts as dead before that."""
    if seen is None or seen.record is None or seen.record.holder in {"", identity}:
        return timing.retry
    left = seen.since + timing.lease - now
    # a little more, because a record must be older than the limit
    return min(timing.retry, left + 0.01) if left > 0 else timing.retry


def claimed(lease: Manifest | None, at: Ref, identity: str, clock: datetime.datetime, timing: Timing) -> Manifest:
    """The Lease with our name: renewed, or taken over. `clock` is for people to read."""
    before = _record(lease) if lease else Record("", "", 0)
    stamp = _stamp(clock)
    if stamp == before.renewed:  # a clock that was set back must not make a renewal look like none
        stamp = _stamp(clock + datetime.timedelta(microseconds=1))
    spec = dict(lease.get("spec") or {}) if lease else {}
    spec |= {"holderIdentity": identity, "leaseDurationSeconds": timing.lease, "renewTime": stamp}
    if before.holder != identity:
        spec |= {"acquireTime": stamp, "leaseTransitions": before.transitions + (1 if lease else 0)}
    metadata = dict(lease["metadata"]) if lease else {"name": at.name, "namespace": at.namespace}
    return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}


def released(lease: Manifest) -> Manifest:
    """The Lease given back, as client-go writes it: the next candidate that looks may take it."""
    return {**lease, "spec": {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}


def holder_of(lease: Manifest | None) -> str:
    """Who holds it; empty if nobody does."""
    return _record(lease).holder if lease else ""


def _record(lease: Manifest) -> Record:
    spec = lease.get("spec") or {}
    return Record(spec.get("holderIdentity") or "", spec.get("renewTime") or "", int(spec.get("leaseTransitions") or 0))


def _stamp(clock: datetime.datetime) -> str:
    return clock.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
