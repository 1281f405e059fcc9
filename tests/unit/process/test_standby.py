"""A standby watches, and works only when it is asked to lead."""

import threading
from typing import Any, cast

from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.resources import TENANT, Manifest, Ref
from axon_operator.process.engine import Engine
from axon_operator.reconcile.engine.controller import Controller, Pass
from axon_operator.reconcile.engine.plan import Outcome
from unit.reconcile.world import World


class Passes:
    """A controller that only says for what it was called."""

    def __init__(self) -> None:
        self.made: list[Ref] = []
        self.first = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def expire(self, key: Ref) -> None:
        """Nothing is remembered here."""

    def run(self, key: Ref) -> Pass:
        self.made.append(key)
        self.first.set()
        self.may_end.wait()
        return Pass(None, Outcome(), (), (), (), None)


def tenant(name: str) -> Manifest:
    """As a watch shows it."""
    metadata = {"name": name, "uid": name, "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": metadata}


def engine(passes: Passes) -> Engine:
    """With two workers, for Tenants only."""
    controllers = {TENANT: cast("Controller[Any]", passes)}
    return Engine(controllers, World().backends.kubernetes, Store({TENANT: None}), workers=2, namespace="default")


def test_what_was_noticed_before_is_worked_on_after_the_start() -> None:
    passes = Passes()
    standby = engine(passes)
    standby.notice("ADDED", tenant("acme"))
    assert standby.alive
    assert not passes.first.wait(0.2)
    standby.start()
    assert passes.first.wait(5)
    assert passes.made == [Ref(TENANT, "", "acme")]
    assert standby.alive
    assert standby.stop(5)
    assert not standby.alive


def test_a_standby_that_is_stopped_never_works() -> None:
    passes = Passes()
    standby = engine(passes)
    standby.notice("ADDED", tenant("acme"))
    assert standby.stop(5)
    standby.start()  # it won the lease at the same moment
    assert not passes.first.wait(0.2)


def test_stopping_says_when_a_pass_does_not_end() -> None:
    passes = Passes()
    passes.may_end.clear()
    leader = engine(passes)
    leader.start()
    leader.notice("ADDED", tenant("acme"))
    assert passes.first.wait(5)
    assert not leader.stop(0.1)
    passes.may_end.set()
    assert leader.stop(5)
