"""What starts a pass, and when the next one comes."""

import time

import pytest

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import Transient, Waiting
from axon_operator.domain.names import FINALIZER
from axon_operator.domain.resources import TENANT, Manifest, Ref
from axon_operator.process.engine import Engine
from axon_operator.reconcile.engine.controller import Pass
from axon_operator.reconcile.engine.plan import Outcome, Stage, StageOutcome
from axon_operator.reconcile.engine.summary import next_pass
from unit.reconcile.world import World

ACME = Ref(TENANT, "", "acme")


@pytest.fixture
def engine() -> Engine:
    return Engine({}, World().backends.kubernetes, workers=0, namespace="default")


def tenant(*finalizers: str) -> Manifest:
    metadata = {"name": "acme", "uid": "1", "generation": 1, "finalizers": [*finalizers]}
    return {"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": metadata}


def test_a_finalizer_that_somebody_takes_off_starts_a_pass_and_our_own_writes_do_not(engine: Engine) -> None:
    engine.notice("ADDED", tenant(FINALIZER))
    assert engine._queue.get() == ACME
    engine._queue.done(ACME)
    engine.notice("MODIFIED", {**tenant(FINALIZER), "status": {"observedGeneration": 1}})
    assert len(engine._queue) == 0
    engine.notice("MODIFIED", tenant())
    assert len(engine._queue) == 1


def done(*errors: Transient | Waiting) -> Pass:
    outcome = Outcome(tuple(StageOutcome(Stage(ConditionType.VAULT_READY), (), error) for error in errors))
    return Pass(next_pass(outcome, resync=300), outcome, (), (), (), None)


def test_a_failing_backend_delays_nobody_who_waits_for_something_else(engine: Engine) -> None:
    away = Transient(Reason.VAULT_UNAVAILABLE, "away")
    for _ in range(20):
        # counted as a failure every time
        engine._settle(ACME, done(away, Waiting(Reason.PODS_TERMINATING, "pods", after=0)))
    assert engine._queue._due[ACME] <= time.monotonic()
    assert engine._queue._failures[ACME] == 20


def test_a_defect_is_counted_as_one(engine: Engine) -> None:
    assert engine._settle(ACME, done(Transient(Reason.INTERNAL_ERROR, "bug"))) == "defect"
