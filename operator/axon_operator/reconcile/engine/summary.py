"""From an outcome to conditions, events and the time of the next pass."""

from collections.abc import Sequence
from dataclasses import dataclass

from axon_operator.api.conditions import Condition, ConditionStatus, transition
from axon_operator.api.reasons import FINDINGS, ConditionType, Reason
from axon_operator.backends.errors import Denied, ReconcileError, Terminal, Transient, Waiting
from axon_operator.reconcile.engine.plan import Outcome, StageOutcome
from axon_operator.reconcile.engine.queue import Backoff, Priority

_KSTATUS = {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.DELETION_BLOCKED}

_UNFINISHED = (_KSTATUS - {ConditionType.READY}) | {ConditionType.WITHDRAWN}
"""Conditions that are there only while something is still to be done."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the conditions are made from."""

    outcome: Outcome
    previous: Sequence[Condition]
    generation: int
    now: str
    deleting: bool
    overdue: bool = False
    """Deletion takes longer than waiting explains."""


def conditions(seen: Observation) -> list[Condition]:
    """One condition per stage, then the kstatus three; a condition that no longer applies is left out."""
    stages = [_of_stage(seen, s) for s in seen.outcome.stages if s.stage.condition is not ConditionType.READY]
    return [*_kstatus(seen), *(stages or _last_known(seen)), *_findings(seen), *_deletion(seen)]


@dataclass(frozen=True, slots=True)
class Next:
    """When the object is to be looked at again."""

    after: float
    """Seconds; with a `backoff`, whichever of the two is sooner."""
    backoff: Backoff | None = None
    priority: Priority = Priority.ROUTINE


RETRY = Backoff(base=0.5, cap=60)
RETRY_DENIED = Backoff(base=30, cap=600)
_STEP = 5.0
"""Seconds. Who waits for less is on the way from an edit to its effect, and goes before routine work."""


def next_pass(outcome: Outcome, *, resync: float) -> Next:
    """When to look again: failures back off, waiting has its own time, settled objects are checked at `resync`."""
    waits = [e.after for e in outcome.errors if isinstance(e, Waiting)]
    backoff = _backoff(outcome)
    planned = [s.stage.look_again for s in outcome.stages if s.stage.look_again is not None]
    after = min([backoff.cap if backoff else resync, *waits, *planned])
    return Next(after, backoff, Priority.URGENT if after < _STEP else Priority.ROUTINE)


def _backoff(outcome: Outcome) -> Backoff | None:
    if any(isinstance(e, Transient) for e in outcome.errors):
        return RETRY
    if any(isinstance(e, Denied) for e in outcome.errors):
        return RETRY_DENIED
    return None


def is_settled(known: Sequence[Condition], generation: int) -> bool:
    """Whether the conditions say that an object is as its newest spec wants it, in all systems."""
    known = [c for c in known if c.type not in FINDINGS]
    good = all(c.status == "True" and c.observed_generation == generation for c in known)
    types = {c.type for c in known}
    return good and ConditionType.READY in types and not types & _UNFINISHED


def _last_known(seen: Observation) -> list[Condition]:
    """Nothing could be read in this pass: what was observed before stays."""
    return [c for c in seen.previous if c.type not in _KSTATUS]


def _of_stage(seen: Observation, stage: StageOutcome) -> Condition:
    kind = stage.stage.condition
    if stage.waits_for is not None:
        return _condition(seen, kind, "Unknown", Reason.DEPENDENCY_NOT_READY, f"Waits for {stage.waits_for}.")
    if stage.given_up is not None:
        return _condition(seen, kind, "False", Reason.ABANDONED, f"Given up. {stage.given_up.message}")
    if stage.error is None:
        return _condition(seen, kind, "True", stage.stage.reason, stage.stage.message)
    unreachable = isinstance(stage.error, Transient) and not stage.applied
    status: ConditionStatus = "Unknown" if unreachable else "False"
    return _condition(seen, kind, status, stage.error.reason, stage.error.message)


def _findings(seen: Observation) -> list[Condition]:
    before = {c.type: c for c in seen.previous}
    told = ((f, before.get(f.condition)) for f in seen.outcome.findings)
    return [
        c
        for f, kept in told
        if (c := kept if f.status is None else _condition(seen, f.condition, f.status, f.reason, f.message))
    ]


def _kstatus(seen: Observation) -> list[Condition]:
    errors = seen.outcome.errors
    stalled = next((e for e in errors if isinstance(e, Terminal)), None)
    moving = next((e for e in errors if not isinstance(e, Terminal)), None)
    result = [_ready(seen, stalled or moving)]
    kept = result[0].status == "True"
    # kstatus reads Reconciling first: beside Stalled it would hide that nothing will change
    if ((moving and not kept) or seen.deleting) and not stalled:
        reason, message = (moving.reason, moving.message) if moving else (Reason.DELETING, "Being torn down.")
        result.append(_condition(seen, ConditionType.RECONCILING, "True", reason, message))
    if stalled:
        result.append(_condition(seen, ConditionType.STALLED, "True", stalled.reason, stalled.message))
    return result


def _ready(seen: Observation, error: ReconcileError | None) -> Condition:
    if seen.deleting:
        return _condition(seen, ConditionType.READY, "False", Reason.DELETING, "Being torn down.")
    if error is None:
        first = next((s.stage for s in seen.outcome.stages if s.stage.reason is not Reason.READY), None)
        if first:
            return _condition(seen, ConditionType.READY, "True", first.reason, first.message)
        return _condition(seen, ConditionType.READY, "True", Reason.READY, "Everything exists as planned.")
    if _was_ready(seen) and all(_is_outage(e) for e in seen.outcome.errors):
        message = f"Was ready when last checked. {error.message}"
        return _condition(seen, ConditionType.READY, "True", error.reason, message)
    return _condition(seen, ConditionType.READY, "False", error.reason, error.message)


def _is_outage(error: ReconcileError) -> bool:
    """A backend is away. A defect of our own is tried again like one, but says nothing good about the object."""
    return isinstance(error, Transient) and error.reason is not Reason.INTERNAL_ERROR


def _was_ready(seen: Observation) -> bool:
    """A backend that is away changes nothing for an object that was ready with this very spec."""
    return any(
        c.type == ConditionType.READY and c.status == "True" and c.observed_generation == seen.generation
        for c in seen.previous
    )


def _deletion(seen: Observation) -> list[Condition]:
    blocking = next((s for s in seen.outcome.stages if _blocks(s.error, overdue=seen.overdue)), None)
    if not seen.deleting or blocking is None or blocking.error is None:
        return []
    error = blocking.error
    # what is only slow is not given up
    remedy = "" if isinstance(error, Waiting) else blocking.stage.remedy
    message = f"{error.message} {remedy}".strip()
    return [_condition(seen, ConditionType.DELETION_BLOCKED, "True", error.reason, message)]


def _blocks(error: ReconcileError | None, *, overdue: bool) -> bool:
    return error is not None and (overdue or not isinstance(error, Waiting))


def _condition(
    seen: Observation, kind: ConditionType, status: ConditionStatus, reason: Reason, message: str
) -> Condition:
    return transition(seen.previous, kind, status, reason, message, generation=seen.generation, now=seen.now)
