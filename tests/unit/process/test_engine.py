"""How a pass is counted, and when the next one comes."""

import time

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import Denied, Transient, Waiting
from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.resources import TENANT, Ref
from axon_operator.process.engine import Engine, outcome_name
from axon_operator.reconcile.engine.controller import Pass
from axon_operator.reconcile.engine.plan import Outcome, Stage, StageOutcome
from axon_operator.reconcile.engine.summary import next_pass
from unit.reconcile.world import World

ACME = Ref(TENANT, "", "acme")
AWAY = Transient(Reason.VAULT_UNAVAILABLE, "away")
BUG = Transient(Reason.INTERNAL_ERROR, "bug")


def done(*errors: Transient | Waiting) -> Pass:
    outcome = Outcome(tuple(StageOutcome(Stage(ConditionType.VAULT_READY), (), error) for error in errors))
    return Pass(next_pass(outcome, resync=300), outcome, (), (), (), None)


def test_a_pass_is_counted_by_its_first_error_and_a_bug_before_all() -> None:
    waiting, denied = Waiting(Reason.PROGRESSING, "", after=1), Denied(Reason.VAULT_DENIED, "")
    assert outcome_name(()) == "ok"
    assert outcome_name((waiting, denied)) == "waiting"
    assert outcome_name((denied,)) == "denied"
    assert outcome_name((waiting, BUG)) == "defect"


def test_a_failing_backend_delays_nobody_who_waits_for_something_else() -> None:
    engine = Engine({}, World().backends.kubernetes, Store({}), workers=0, namespace="default")
    for _ in range(20):
        # counted as a failure every time
        engine._settle(ACME, done(AWAY, Waiting(Reason.PODS_TERMINATING, "pods", after=0)))
    due, _ = engine._queue._due[ACME]
    assert due <= time.monotonic()
    assert engine._queue._failures[ACME] == 20
    assert engine._settle(ACME, done(BUG)) == "defect"
