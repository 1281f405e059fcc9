"""One pass over one object: read, plan, apply, summarize, write the status if it differs."""

import datetime
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from axon_operator.api.conditions import Condition
from axon_operator.api.reasons import FINDINGS, ConditionType, Reason
from axon_operator.backends.errors import ReconcileError, Terminal, Transient
from axon_operator.domain.manifests import conditions_of
from axon_operator.domain.names import FINALIZER, RECONCILE_ANNOTATION
from axon_operator.domain.resources import Manifest, Ref, Resource
from axon_operator.reconcile.engine.plan import (
    Attempted,
    Backends,
    Change,
    KubeFinalize,
    Outcome,
    Plan,
    Stage,
    apply,
    perform,
)
from axon_operator.reconcile.engine.summary import Next, Observation, conditions, is_settled, next_pass

Input = TypeVar("Input")


class Reconciler(Protocol[Input]):
    """What a kind must bring along."""

    resource: Resource

    def gather(self, live: Manifest, *, ask: bool) -> Input:
        """All reads. Without `ask`, OpenBao and Keycloak are not read but taken to be as last observed."""

    def plan(self, seen: Input) -> Plan:
        """What is to be done; pure."""

    def status(self, seen: Input, outcome: Outcome) -> dict[str, Any]:
        """The fields of the status besides conditions and observedGeneration; pure."""

    def related(self, seen: Input, outcome: Outcome) -> tuple[Ref, ...]:
        """Objects that should look again because of this pass; pure."""


Audit = Callable[[Manifest, Change, str], None]
"""Told of every write that was tried: for which object, what, and `ok` or the reason of the error."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did."""

    next: Next | None
    """None: the object is gone or needs nothing more."""
    outcome: Outcome
    before: tuple[Condition, ...]
    after: tuple[Condition, ...]
    related: tuple[Ref, ...]
    live: Manifest | None
    """As it was before the pass."""
    status: Mapping[str, Any] = field(default_factory=dict)
    """As the pass has left it; empty where it has not looked at it as a whole."""


_DELETION_PATIENCE = datetime.timedelta(minutes=2)
"""After this long, what a deletion waits for is shown as what blocks it. Only a hint: it compares two clocks."""


@dataclass(frozen=True, slots=True)
class _Settled:
    """An object that was found as planned in all three systems."""

    uid: str
    request: str | None
    """The reconcile request that this answers."""
    until: float
    """When OpenBao and Keycloak are to be compared again, on the monotonic clock."""


_NOTHING = Pass(None, Outcome(), (), (), (), None)


class Controller(Generic[Input]):
    """Runs passes for one kind."""

    def __init__(
        self,
        reconciler: Reconciler[Input],
        backends: Backends,
        *,
        resync: float,
        now: Callable[[], datetime.datetime],
        report: Callable[[Exception], None],
        audit: Audit,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`resync`: seconds after which a settled object is compared with the backends again.

        `report`: told of a defect, an exception that is none of the four errors.
        """
        self._reconciler = reconciler
        self._backends = backends
        self._resync = resync
        self._now = now
        self._report = report
        self._audit = audit
        self._clock = clock
        self._spread = spread
        self._settled: dict[Ref, _Settled] = {}
        self._expired: set[Ref] = set()
        self._untold: dict[Ref, tuple[Ref, ...]] = {}

    def expire(self, key: Ref) -> None:
        """The next pass must ask all three systems. To be called from any thread."""
        self._expired.add(key)

    def run(self, key: Ref) -> Pass:
        """One pass. Raises only when not even the status can be read or written.

        A settled object is first only glanced at: while nothing in Kubernetes speaks against it, OpenBao and
        Keycloak are asked no more often than every `resync` seconds.
        """
        live = self._claimed(key)
        expired = self._take_expired(key)
        if live is None:
            self._settled.pop(key, None)
            self._untold.pop(key, None)
            return _NOTHING
        if not expired and (glance := self._glance(key, live)):
            return glance
        try:
            done = self._full(key, live)
        except BaseException:
            # what was asked for, and what this pass has already changed, must not be lost with it
            self._settled.pop(key, None)
            self._expired.add(key)
            raise
        if done.outcome.complete and done.next:
            self._settled[key] = self._settle(live, done.next.after)
        else:
            self._settled.pop(key, None)
        return done

    def _take_expired(self, key: Ref) -> bool:
        try:
            self._expired.remove(key)
        except KeyError:
            return False
        return True

    def _settle(self, live: Manifest, seconds: float) -> _Settled:
        metadata = live["metadata"]
        request = (metadata.get("annotations") or {}).get(RECONCILE_ANNOTATION)
        return _Settled(metadata["uid"], request, self._clock() + seconds)

    def _glance(self, key: Ref, live: Manifest) -> Pass | None:
        """A pass that asks neither OpenBao nor Keycloak; None unless it finds a settled object as it was.

        A finding may be another one: it is told, at most a write of the status, and says nothing about the object.
        """
        before = _conditions(live)
        if "deletionTimestamp" in live["metadata"] or not is_settled(before, live["metadata"]["generation"]):
            return None
        # after a start, what the status says is believed for a part of the interval: the first look at all
        # objects must not become a storm
        now = self._settle(live, self._spread(0, self._resync))
        # a request may have been made while nobody led: at first sight every one counts as unanswered
        known = self._settled.setdefault(key, replace(now, request=None))
        rest = known.until - self._clock()
        if rest <= 0 or (known.uid, known.request) != (now.uid, now.request):
            return None
        seen, plan, _ = self._planned(live, ask=False)
        if seen is None or plan.changes or any(stage.problem for stage in plan.stages):
            return None
        outcome = apply(plan, self._backends, self._attempted(live))
        after = self._conditions(live, outcome, before, deleting=False)
        wanted = _status(live, after, self._reconciler.status(seen, outcome), judged=True)
        if _without_findings(wanted) != _without_findings(live["status"]):
            return None
        self._write_status(key, live, wanted)
        return Pass(Next(rest), outcome, before, after, (), live)

    def _full(self, key: Ref, live: Manifest) -> Pass:
        """A pass that asks all three systems."""
        deleting = "deletionTimestamp" in live["metadata"]
        seen, plan, judged = self._planned(live, ask=True)
        outcome = apply(plan, self._backends, self._attempted(live))
        if deleting and outcome.complete:
            for left, _ in outcome.abandoned:
                perform(left, self._backends, self._attempted(live))
            self._release(live)
            related = () if seen is None else self._reconciler.related(seen, outcome)
            return Pass(None, outcome, (), (), related, live)
        before = _conditions(live)
        after = self._conditions(live, outcome, before, deleting=deleting)
        extra = {} if seen is None else self._reconciler.status(seen, outcome)
        related = () if seen is None else self._reconciler.related(seen, outcome)
        related = tuple(dict.fromkeys((*self._untold.pop(key, ()), *related)))
        status = _status(live, after, extra, judged=judged)
        try:
            self._write_status(key, live, status)
        except Exception:
            # the next pass finds nothing to change, and would tell nobody
            self._untold[key] = related
            raise
        return Pass(next_pass(outcome, resync=self._resync), outcome, before, after, related, live, status)

    def _claimed(self, key: Ref) -> Manifest | None:
        """The object with our finalizer; None if it is gone, or being deleted and no longer ours."""
        live = self._backends.kubernetes.get(key)
        if live is None:
            return None
        finalizers = tuple(live["metadata"].get("finalizers") or ())
        if FINALIZER in finalizers:
            return live
        if "deletionTimestamp" in live["metadata"]:
            return None
        # before the first external write, so that a deletion cannot overtake the clean-up
        perform(KubeFinalize(live, (*finalizers, FINALIZER)), self._backends, self._attempted(live))
        return self._backends.kubernetes.get(key)

    def _release(self, live: Manifest) -> None:
        finalizers = tuple(f for f in live["metadata"]["finalizers"] if f != FINALIZER)
        perform(KubeFinalize(live, finalizers), self._backends, self._attempted(live))

    def _attempted(self, live: Manifest) -> Attempted:
        return partial(self._audit, live)

    def _planned(self, live: Manifest, *, ask: bool) -> tuple[Input | None, Plan, bool]:
        """What was seen, the plan, and whether this generation of the spec was judged at all."""
        try:
            seen = self._reconciler.gather(live, ask=ask)
            return seen, self._reconciler.plan(seen), True
        except ReconcileError as error:
            return None, _nothing_but(error), False
        except ValidationError as error:
            fields = ", ".join(".".join(str(part) for part in e["loc"]) for e in error.errors(include_input=False))
            message = f"The spec does not fit this operator's version: {fields}."
            return None, _nothing_but(Terminal(Reason.INVALID_SPEC, message)), True
        except Exception as error:  # noqa: BLE001 - a defect must be seen in the status, and must not end the worker
            self._report(error)
            message = "The operator met an unexpected error; its log has the place. It tries again."
            return None, _nothing_but(Transient(Reason.INTERNAL_ERROR, message)), False

    def _conditions(
        self, live: Manifest, outcome: Outcome, before: tuple[Condition, ...], *, deleting: bool
    ) -> tuple[Condition, ...]:
        now = self._now()
        asked = live["metadata"].get("deletionTimestamp")
        seen = Observation(
            outcome=outcome,
            previous=before,
            generation=live["metadata"]["generation"],
            now=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            deleting=deleting,
            overdue=asked is not None and now - datetime.datetime.fromisoformat(asked) > _DELETION_PATIENCE,
        )
        return tuple(conditions(seen))

    def _write_status(self, key: Ref, live: Manifest, wanted: dict[str, Any]) -> None:
        """Once per pass, and only when it differs."""
        if wanted != (live.get("status") or {}):
            self._backends.kubernetes.patch_status(key, wanted)


def _status(live: Manifest, after: tuple[Condition, ...], extra: dict[str, Any], *, judged: bool) -> dict[str, Any]:
    """The whole status; what could not be looked at in this pass stays as it was."""
    current = live.get("status") or {}
    return {
        **({} if extra else {k: v for k, v in current.items() if k != "conditions"}),
        **extra,
        **({"observedGeneration": live["metadata"]["generation"]} if judged else {}),
        "conditions": [c.to_json() for c in after],
    }


def _without_findings(status: dict[str, Any]) -> dict[str, Any]:
    return {**status, "conditions": [c for c in status["conditions"] if c["type"] not in FINDINGS]}


def _nothing_but(error: ReconcileError) -> Plan:
    """A plan that changes nothing and says why."""
    return Plan((Stage(ConditionType.READY, problem=error),))


def _conditions(live: Manifest) -> tuple[Condition, ...]:
    found = conditions_of(live)
    return tuple(Condition.model_validate(c) for c in found)
