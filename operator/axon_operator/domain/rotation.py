"""Generations of a credential: when the next one is due, and when the one before may go."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import AwareDatetime

from axon_operator.api.secretbinding import EnvDelivery, OnChange, SecretBindingSpec
from axon_operator.domain.binding import Binding
from axon_operator.domain.values import seconds

_JITTER = 0.1
"""Share of the interval by which rotations are spread, to both sides."""
_TOGETHER = 0.2
"""Share of the interval by which a rotation is brought forward if another one replaces the pods anyway."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Which generation of a binding's credential is current."""

    uid: str
    """Of the binding."""
    number: int
    """0: nothing is made for it, the value is somebody else's."""
    made: AwareDatetime | None
    """None with 0."""
    order: str
    """What it was made for, see `binding.order`."""


def generations(
    bindings: Sequence[Binding],
    before: Mapping[str, Generation],
    highest: Mapping[str, int],
    orders: Mapping[str, str],
    now: datetime.datetime,
) -> dict[str, Generation]:
    """The generation of each binding that is to be current.

    Args:
        bindings: those that are delivered.
        before: what was current, as the runtime's ConfigMap tells.
        highest: of each binding, the last generation that OpenBao has anything of.
        orders: what each binding asks for; for another one than before another credential is made.
        now: the time.
    """
    found = {b.name: _known(b, before) for b in bindings}
    waiting = [b for b in bindings if (g := found[b.name]) and is_restarted(b.spec) and _is_due(b, g, now)]
    chosen: dict[str, Generation] = {}
    for binding in bindings:
        current, order = found[binding.name], orders[binding.name]
        early = bool(waiting) and is_restarted(binding.spec)
        if current is None or current.order != order or _is_due(binding, current, now, early=early):
            last = max(current.number if current else 0, highest.get(binding.name, 0))
            number, made = (last + 1, now.replace(microsecond=0)) if binding.spec.is_issued else (0, None)
            current = Generation(binding.uid, number, made, order)
        chosen[binding.name] = current
    return chosen


def is_restarted(spec: SecretBindingSpec) -> bool:
    """Whether a change of the credential replaces the pods."""
    return isinstance(spec.delivery.env, EnvDelivery) and spec.delivery.env.on_change is OnChange.RESTART


def next_rotation(binding: Binding, current: Generation) -> datetime.datetime | None:
    """When the next generation is due; None if only a person asks for it."""
    rotation = binding.spec.rotation
    if current.made is None or rotation is None or rotation.interval is None:
        return None
    return current.made + datetime.timedelta(seconds=seconds(rotation.interval) * _spread(current))


def may_go(binding: Binding, current: Generation, now: datetime.datetime) -> bool:
    """Whether the time is over in which the generation before the current one stays good."""
    ends = overlap_ends(binding, current)
    return ends is None or now >= ends


def overlap_ends(binding: Binding, current: Generation) -> datetime.datetime | None:
    """Until when the generation before the current one stays good at least; None if there are no generations."""
    # a second more, for the time at which one was made is cut to the second
    return current.made and current.made + datetime.timedelta(seconds=overlap(binding.spec) + 1)


def overlap(spec: SecretBindingSpec) -> int:
    """Seconds that the old credential stays good after the new one was published."""
    return seconds(spec.rotation.overlap) if spec.rotation else DEFAULT_OVERLAP


DEFAULT_OVERLAP = 30


def stamp(at: datetime.datetime) -> str:
    """RFC 3339, in UTC, to the second."""
    return at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _known(binding: Binding, before: Mapping[str, Generation]) -> Generation | None:
    """One of an earlier binding of the same name, or of another kind of source, does not count."""
    found = before.get(binding.name)
    if found is None or found.uid != binding.uid:
        return None
    made = found.number > 0 and found.made is not None
    return found if made == binding.spec.is_issued else None


def _is_due(binding: Binding, current: Generation, now: datetime.datetime, *, early: bool = False) -> bool:
    due = next_rotation(binding, current)
    if due is None or current.made is None:
        return False
    return now >= due - (due - current.made) * (_TOGETHER if early else 0)


def _spread(generation: Generation) -> float:
    """A factor around 1 that is always the same for this generation, and another one for the next."""
    digest = hashlib.sha256(f"{generation.uid}.{generation.number}".encode()).digest()
    return 1 - _JITTER + 2 * _JITTER * int.from_bytes(digest[:4]) / 2**32
