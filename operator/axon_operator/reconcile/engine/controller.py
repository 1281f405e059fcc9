"""One pass over one object: read, plan, apply, summarize, write the status if it differs."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from axon_operator.api.conditions import Condition
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError, Terminal, Transient
from axon_operator.domain.names import FINALIZER
from axon_operator.domain.resources import Manifest, Ref, Resource
from axon_operator.reconcile.engine.plan import Backends, Outcome, Plan, Stage, apply
from axon_operator.reconcile.engine.summary import Next, Observation, conditions, next_pass

Input = TypeVar("Input")


class Reconciler(Protocol[Input]):
    """What a kind must bring along."""

    resource: Resource

    def gather(self, live: Manifest) -> Input:
        """All reads."""

    def plan(self, seen: Input) -> Plan:
        """What is to be done; pure."""

    def status(self, seen: Input) -> dict[str, Any]:
        """The fields of the status besides conditions and observedGeneration; pure."""

    def related(self, seen: Input, outcome: Outcome) -> tuple[Ref, ...]:
        """Objects that should look again because of this pass; pure."""


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


_DELETION_PATIENCE = datetime.timedelta(minutes=2)
"""After this long, what a deletion waits for is shown as what blocks it. Only a hint: it compares two clocks."""

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
    ) -> None:
        """`resync`: seconds after which a settled object is compared with the backends again.

        `report`: told of a defect, an exception that is none of the four errors.
        """
        self._reconciler = reconciler
        self._backends = backends
        self._resync = resync
        self._now = now
        self._report = report

    def run(self, key: Ref) -> Pass:
        """One pass. Raises only when not even the status can be read or written."""
        live = self._claimed(key)
        if live is None:
            return _NOTHING
        deleting = "deletionTimestamp" in live["metadata"]
        seen, plan, observed = self._planned(live)
        outcome = apply(plan, self._backends)
        if deleting and outcome.complete:
            self._release(live)
            related = () if seen is None else self._reconciler.related(seen, outcome)
            return Pass(None, outcome, (), (), related, live)
        before = _conditions(live)
        after = self._conditions(live, outcome, before, deleting=deleting)
        extra = {} if seen is None else self._reconciler.status(seen)
        self._write_status(key, live, after, extra, observed=observed)
        related = () if seen is None else self._reconciler.related(seen, outcome)
        return Pass(next_pass(outcome, resync=self._resync), outcome, before, after, related, live)

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
        self._backends.kubernetes.set_finalizers(live, (*finalizers, FINALIZER))
        return self._backends.kubernetes.get(key)

    def _release(self, live: Manifest) -> None:
        finalizers = tuple(f for f in live["metadata"]["finalizers"] if f != FINALIZER)
        self._backends.kubernetes.set_finalizers(live, finalizers)

    def _planned(self, live: Manifest) -> tuple[Input | None, Plan, bool]:
        """What was seen, the plan, and whether this generation of the spec was judged at all."""
        try:
            seen = self._reconciler.gather(live)
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

    def _write_status(
        self, key: Ref, live: Manifest, after: tuple[Condition, ...], extra: dict[str, Any], *, observed: bool
    ) -> None:
        """Once per pass, and only when it differs."""
        current = live.get("status") or {}
        wanted = {
            **({} if extra else {k: v for k, v in current.items() if k != "conditions"}),
            **extra,
            **({"observedGeneration": live["metadata"]["generation"]} if observed else {}),
            "conditions": [c.to_json() for c in after],
        }
        if wanted != current:
            self._backends.kubernetes.patch_status(key, wanted)


def _nothing_but(error: ReconcileError) -> Plan:
    """A plan that changes nothing and says why."""
    return Plan((Stage(ConditionType.READY, problem=error),))


def _conditions(live: Manifest) -> tuple[Condition, ...]:
    found = (live.get("status") or {}).get("conditions") or ()
    return tuple(Condition.model_validate(c) for c in found)
