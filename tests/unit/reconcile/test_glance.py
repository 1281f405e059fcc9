"""A settled object costs no call, and whatever may have changed ends that."""

import datetime
from collections import Counter
from functools import partial
from typing import Any

import pytest

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError
from axon_operator.domain.finding import Finding
from axon_operator.domain.names import RECONCILE_ANNOTATION
from axon_operator.domain.resources import BINDING, CONFIG_MAP, NETWORK_POLICY, RUNTIME, TENANT, Ref, Resource
from axon_operator.reconcile.binding import BindingReconciler
from axon_operator.reconcile.engine.controller import Controller
from axon_operator.reconcile.engine.plan import Backends
from axon_operator.reconcile.runtime import RuntimeReconciler
from axon_operator.reconcile.tenant import TenantReconciler

from .test_passes import ACME, AGENT, BILLING, PLATFORM, settled
from .world import World

RESYNC = 300.0
MAKERS: dict[Resource, Any] = {RUNTIME: RuntimeReconciler, BINDING: BindingReconciler}


class Counting:
    """Passes everything on, and counts the calls."""

    def __init__(self, to: Any, calls: Counter[str]) -> None:
        self._to, self._calls = to, calls

    def __getattr__(self, verb: str) -> Any:
        self._calls[verb] += 1
        return getattr(self._to, verb)


class Process:
    """One process of the operator over a world, with a clock that the test moves."""

    def __init__(self, world: World, findings: tuple[Finding, ...] = ()) -> None:
        self.findings = findings
        """About every tenant."""
        self.asked: Counter[str] = Counter()
        self.now = 1000.0
        self.related: tuple[Ref, ...] = ()
        real = world.backends
        vault: Any = Counting(real.vault, self.asked)
        keycloak: Any = Counting(real.keycloak, self.asked)
        backends = Backends(real.kubernetes, vault, keycloak)
        makers = {**MAKERS, TENANT: partial(TenantReconciler, findings=lambda _: self.findings)}
        self._controllers = {
            kind: Controller(
                make(backends, PLATFORM),
                backends,
                resync=RESYNC,
                now=lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
                report=_raise,
                audit=world.audit,
                clock=lambda: self.now,
                spread=lambda _low, high: high,
            )
            for kind, make in makers.items()
        }

    def look(self, ref: Ref) -> int:
        """One pass; how many calls it made of OpenBao and Keycloak."""
        self.asked.clear()
        self.related = self._controllers[ref.resource].run(ref).related
        return sum(self.asked.values())

    def expire(self, ref: Ref) -> None:
        """As the engine does after an edit."""
        self._controllers[ref.resource].expire(ref)


def _raise(error: Exception) -> None:
    raise error


ALL = pytest.mark.parametrize("ref", [ACME, AGENT, BILLING])


@ALL
def test_a_start_believes_the_status_for_a_part_of_the_interval(ref: Ref) -> None:
    world = settled()
    process, before = Process(world), world.writes
    assert process.look(ref) == 0
    process.now += RESYNC - 1
    assert process.look(ref) == 0
    process.now += 2
    assert process.look(ref) > 0
    assert world.writes == before


@ALL
def test_after_a_look_at_all_systems_there_is_none_for_the_interval(ref: Ref) -> None:
    process = Process(settled())
    process.expire(ref)
    assert process.look(ref) > 0
    process.now += RESYNC - 1
    assert process.look(ref) == 0


@ALL
def test_an_edit_or_a_request_asks_at_once(ref: Ref) -> None:
    world = settled()
    process = Process(world)
    assert process.look(ref) == 0
    process.expire(ref)
    assert process.look(ref) > 0
    world.objects[ref]["metadata"].setdefault("annotations", {})[RECONCILE_ANNOTATION] = "now"
    assert process.look(ref) > 0
    assert process.look(ref) == 0
    world.objects[ref]["metadata"]["generation"] += 1
    assert process.look(ref) > 0


@ALL
def test_an_edit_during_a_pass_is_not_lost(ref: Ref) -> None:
    process = Process(settled())
    process.expire(ref)
    read, looked = process.look, []

    def look_again() -> None:
        looked.append(read(ref))

    look_again()
    process.expire(ref)
    process.expire(ref)
    look_again()
    look_again()
    assert [calls > 0 for calls in looked] == [True, True, False]


@pytest.mark.parametrize(("ref", "kind"), [(ACME, NETWORK_POLICY), (AGENT, NETWORK_POLICY), (AGENT, CONFIG_MAP)])
def test_drift_in_kubernetes_is_healed_without_waiting(ref: Ref, kind: Resource) -> None:
    world = settled()
    process = Process(world)
    assert process.look(ref) == 0
    owner = world.objects[ref]["metadata"]["uid"]
    child = next(
        r
        for r, m in world.objects.items()
        if r.resource is kind and (m["metadata"].get("labels") or {}).get("axonos.ai/owner-uid") == owner
    )
    good = world.objects.pop(child)
    assert process.look(ref) > 0
    assert {k: v for k, v in world.objects[child].items() if k != "metadata"} == {
        k: v for k, v in good.items() if k != "metadata"
    }


@ALL
def test_what_is_not_ready_is_never_only_glanced_at(ref: Ref) -> None:
    world = settled()
    world.objects[ref]["status"]["conditions"][0]["status"] = "False"
    assert Process(world).look(ref) > 0


def test_a_pass_that_fails_half_way_is_made_again_in_full_and_tells_whom_it_concerned() -> None:
    world = settled()
    process = Process(world)
    world.objects[AGENT]["spec"]["ports"] = [{"name": "http", "port": 9090}]
    world.objects[AGENT]["metadata"]["generation"] = 2
    process.expire(AGENT)
    world.refused.add(("patch_status", AGENT))
    with pytest.raises(ReconcileError):
        process.look(AGENT)
    world.refused.clear()
    assert process.look(AGENT) > 0
    assert BILLING in process.related


def test_another_lifetime_of_a_login_is_a_change_that_is_seen() -> None:
    world = settled()
    process = Process(world)
    world.objects[BILLING]["spec"]["ttl"] = "5m"
    assert process.look(AGENT) > 0


def test_another_service_account_than_the_one_that_was_judged_is_seen_after_a_start() -> None:
    world = settled()
    account = next(r for r in world.objects if r.resource.kind == "ServiceAccount")
    world.objects[account]["metadata"]["uid"] = "another"
    assert Process(world).look(AGENT) > 0


def test_a_request_that_was_made_while_nobody_led_is_answered() -> None:
    world = settled()
    world.objects[ACME]["metadata"]["annotations"] = {RECONCILE_ANNOTATION: "during the change of leaders"}
    process = Process(world)
    assert process.look(ACME) > 0
    assert process.look(ACME) == 0


GOOD = Finding(ConditionType.AUDIT_READY, "True", Reason.AUDIT_RECORDED, "With main.")
BAD = Finding(ConditionType.AUDIT_READY, "False", Reason.AUDIT_MISSING, "Without.")
NOT_YET = Finding(ConditionType.AUDIT_READY)


def test_another_finding_is_one_write_of_the_status_and_no_call() -> None:
    world = settled()
    process = Process(world)
    ready = world.objects[ACME]["status"]["conditions"][0]
    for findings, told in (((GOOD,), "True"), ((BAD,), "False"), ((NOT_YET,), "False"), ((GOOD,), "True"), ((), None)):
        before, process.findings = _audited(world), findings
        writes = world.writes
        assert process.look(ACME) == 0
        assert _audited(world) == told
        assert world.writes - writes == (told != before)
        assert process.look(ACME) == 0
        assert world.writes - writes == (told != before)
    assert world.objects[ACME]["status"]["conditions"][0] == ready


def test_a_finding_that_cannot_be_written_is_written_later() -> None:
    world = settled()
    process = Process(world, (GOOD,))
    world.refused.add(("patch_status", ACME))
    with pytest.raises(ReconcileError):
        process.look(ACME)
    world.refused.clear()
    assert process.look(ACME) == 0
    assert _audited(world) == "True"


def _audited(world: World) -> str | None:
    conditions = world.objects[ACME]["status"]["conditions"]
    return next((c["status"] for c in conditions if c["type"] == "AuditReady"), None)
