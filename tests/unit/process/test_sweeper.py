"""The sweep runs when it may, survives what goes wrong, and people are told once."""

import datetime
import io
import json
import time
from typing import Any

import pytest
import structlog

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Transient
from axon_operator.domain.resources import TENANT, Manifest, Ref, VaultPath
from axon_operator.process import metrics
from axon_operator.process.audit import UNKNOWN, AuditStream
from axon_operator.process.sweeper import Sweeper, Sweeping, count, found
from axon_operator.reconcile.engine.plan import VaultDelete
from axon_operator.reconcile.sweep import Report
from axon_operator.reconcile.sweep.orphans import KINDS, OPENBAO, Fate, Trace

ROLE = Trace(OPENBAO, "Role", VaultPath("t-1", "auth/k8s/role/rt-a"), "rt-a", "acme", Fate.ACCESS, "openbao/t-1")
LOST = Trace(OPENBAO, "Namespace", VaultPath("", "sys/namespaces/t-2"), "uid", "lost", Fate.TENANT, OPENBAO)
AWAY = Transient(Reason.VAULT_UNAVAILABLE, "away")


class Api:
    """Knows one Tenant and keeps what is created."""

    def __init__(self) -> None:
        self.created: list[Manifest] = []

    def get(self, ref: Ref) -> Manifest | None:
        if ref != Ref(TENANT, "", "acme"):
            return None
        return {"apiVersion": TENANT.api_version, "kind": "Tenant", "metadata": {"name": "acme", "uid": "u"}}

    def create(self, manifest: Manifest) -> None:
        self.created.append(manifest)


class Script:
    """Sweeps whose outcomes are given; the last one repeats."""

    def __init__(self, *outcomes: Report | Exception) -> None:
        self._outcomes = list(outcomes)
        self.runs = 0

    def run(self) -> Report:
        self.runs += 1
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def report(**parts: Any) -> Report:
    return Report(
        **{"known": frozenset(), "new": frozenset(), "removed": (), "held": frozenset(), "problems": {}, **parts}
    )


def new_sweeper(script: Sweeping, api: Api, *, may_begin: bool = True, interval: float = 600) -> Sweeper:
    return Sweeper(script, api, interval=interval, may_begin=lambda: may_begin, namespace="default")  # type: ignore[arg-type]


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0


def test_orphans_are_told_in_log_metrics_and_as_one_event_per_living_tenant() -> None:
    api = Api()
    sweeper = new_sweeper(
        Script(report(known=frozenset({ROLE, LOST}), new=frozenset({ROLE, LOST}), problems={"keycloak/axon-x": AWAY})),
        api,
    )
    with structlog.testing.capture_logs() as lines:
        sweeper.once()
    assert sorted(line["event"] for line in lines) == ["orphan found", "orphan found", "sweep incomplete"]
    assert {line["log_level"] for line in lines} == {"warning"}
    assert value("axon_operator_orphans", system=OPENBAO, kind="Role") == 1
    (told,) = api.created
    assert (told["type"], told["reason"], told["regarding"]["name"]) == ("Warning", "OrphanFound", "acme")
    assert "rt-a" in told["note"]


def test_removals_are_told_and_the_gauge_falls_to_zero() -> None:
    api = Api()
    before = value("axon_operator_orphans_removed_total", system=OPENBAO, kind="Role")
    new_sweeper(Script(report(removed=(ROLE,))), api).once()
    assert value("axon_operator_orphans_removed_total", system=OPENBAO, kind="Role") == before + 1
    assert all(value("axon_operator_orphans", system=system, kind=kind) == 0 for system, kind in KINDS)
    assert [told["reason"] for told in api.created] == ["OrphanRemoved"]


def test_dead_tenants_that_are_kept_are_told_in_log_and_metric_until_they_no_longer_are() -> None:
    sweeper = new_sweeper(Script(report(held=frozenset({LOST})), report()), Api())
    with structlog.testing.capture_logs() as lines:
        sweeper.once()
    assert [(line["event"], line["tenants"]) for line in lines] == [("dead tenants kept", 1)]
    assert value("axon_operator_orphans_held_tenants") == 1
    sweeper.once()
    assert value("axon_operator_orphans_held_tenants") == 0


def test_the_audit_lines_of_a_sweep_carry_one_id_and_those_of_the_next_another() -> None:
    ids: list[list[str]] = []

    class Removing:
        def run(self) -> Report:
            sink = io.StringIO()
            audit = AuditStream(sink, now=lambda: datetime.datetime.now(datetime.UTC))
            live = {"kind": "Tenant", "metadata": {"name": "lost", "uid": "uid", "generation": 1}}
            for _ in range(2):
                audit(live, VaultDelete(VaultPath("", "sys/namespaces/t-2")), "ok")
            ids.append([json.loads(line)["reconcile"] for line in sink.getvalue().splitlines()])
            return report()

    sweeper = new_sweeper(Removing(), Api())
    sweeper.once()
    sweeper.once()
    (first, second), (third, fourth) = ids
    assert first == second != third == fourth
    assert UNKNOWN not in {first, third}


def test_a_sweep_that_finds_nothing_tells_nothing() -> None:
    api = Api()
    with structlog.testing.capture_logs() as lines:
        new_sweeper(Script(report()), api).once()
    assert (lines, api.created) == ([], [])


def test_an_event_is_never_longer_than_the_api_server_takes() -> None:
    note = found(
        [Trace(OPENBAO, "Role", VaultPath("t-1", f"r/{n:0>60}"), "o", "t", Fate.ACCESS, "p") for n in range(99)]
    )
    assert len(note.message) <= 1024
    assert note.message.endswith("if no owner shows up.")


@pytest.mark.parametrize("may_begin", [True, False])
def test_it_begins_only_when_it_may_and_goes_on_after_a_defect(*, may_begin: bool) -> None:
    script = Script(RuntimeError("defect"), report())
    sweeper = new_sweeper(script, Api(), may_begin=may_begin, interval=0.01)
    sweeper.start()
    deadline = time.monotonic() + (5 if may_begin else 0.2)
    while script.runs < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    sweeper.stop(5)
    assert (script.runs >= 3) is may_begin
    count(())
