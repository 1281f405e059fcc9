"""A Tenant tells whether OpenBao records requests, and is no less ready for an OpenBao that is away."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.backends.vault.adapter import OpenBaoSettings
from axon_operator.backends.vault.audit import OpenBaoAudit
from axon_operator.domain.resources import PROFILE, TENANT, Ref
from axon_operator.process.auditwatch import AuditWatch
from axon_operator.reconcile.audit import AuditCheck
from axon_operator.reconcile.common import utc_now
from axon_operator.reconcile.engine.controller import Controller
from axon_operator.reconcile.tenant import TenantReconciler
from bench.bed import Bed
from bench.life import Life, backends_of
from bench.tap import Tap
from integration.tenant.conftest import NewTenant

Told = tuple[str, str]


class Process:
    """The operator's controller of Tenants, and what it finds out beside."""

    def __init__(self, tenant: Life) -> None:
        settings = tenant.settings
        root = OpenBaoSettings(
            str(settings.vault_address).rstrip("/"),
            settings.vault_ca_file,
            settings.vault_token_file,
            None,
            "axon-audit",
            "axon-audit",
        )
        check = AuditCheck(OpenBaoAudit(root), device="main")
        self.watch = AuditWatch(check, interval=60, may_begin=lambda: True, changed=lambda: None)
        self._tap = Tap()
        to = self._tap.over(backends_of(settings))
        tenants = TenantReconciler(to, settings.platform(), findings=lambda _: (self.watch.finding,))
        self._controller = Controller(
            tenants, to, resync=300, now=utc_now, report=_raise, audit=lambda *_: None, spread=lambda _low, high: high
        )
        self._tenant = tenant
        self._key = Ref(TENANT, "", tenant.names.tenant)

    def look(self, *, edited: bool = False) -> tuple[str, ...]:
        """A look at the devices, then a pass; what it wrote."""
        before = len(self._tap.writes)
        self.watch.once()
        if edited:
            self._controller.expire(self._key)
        self._controller.run(self._key)
        return tuple(self._tap.writes[before:])

    def told(self, kind: str) -> Told:
        """Status and reason of a condition."""
        found = next(c for c in self.conditions() if c["type"] == kind)
        return found["status"], found["reason"]

    def conditions(self) -> list[dict[str, Any]]:
        """All of them, as the API server has them."""
        live = self._tenant.kube.find(self._key)
        assert live
        conditions: list[dict[str, Any]] = live["status"]["conditions"]
        return conditions


def _raise(error: Exception) -> None:
    raise error


@pytest.fixture
def away(servers: Bed) -> Iterator[Bed]:
    """Its OpenBao may be stopped; afterwards it runs again."""
    yield servers
    servers.bao.stop()
    servers.bao.start()


@pytest.fixture
def acme(servers: Bed, new_tenant: NewTenant) -> Life:
    """Settled under a profile that demands to be recorded."""
    profile = {"apiVersion": PROFILE.api_version, "kind": PROFILE.kind, "metadata": {"name": "recorded"}}
    if servers.kube.find(Ref(PROFILE, "", "recorded")) is None:
        servers.kube.create({**profile, "spec": {"requireAudit": True}})
    tenant = new_tenant({})
    tenant.settle()
    return tenant


def test_a_tenant_says_what_is_recorded_and_an_outage_takes_ready_from_nobody(acme: Life, away: Bed) -> None:
    acme.edit(TENANT, acme.names.tenant, {"governance": {"profile": "recorded"}})
    process = Process(acme)
    process.look(edited=True)
    assert process.told("AuditReady") == ("True", Reason.AUDIT_RECORDED)
    assert process.told("Compliant") == process.told("Ready") == ("True", Reason.READY)
    assert process.look() == ()
    # whoever takes over believes what is told, until it has looked itself
    heir = Process(acme)
    assert heir.look() == ()
    away.bao.stop()
    process.look()
    assert process.told("AuditReady") == ("Unknown", Reason.VAULT_UNAVAILABLE)
    assert process.told("Compliant") == ("Unknown", Reason.VAULT_UNAVAILABLE)
    assert process.told("Ready")[0] == "True"
    away.bao.start()
    process.look()
    assert process.told("AuditReady") == ("True", Reason.AUDIT_RECORDED)
    assert process.told("Compliant") == process.told("Ready") == ("True", Reason.READY)
    text = json.dumps(process.conditions())
    assert "hmac" not in text


def test_a_device_that_is_missed_is_a_violation_where_it_is_demanded_and_nowhere_else(acme: Life, away: Bed) -> None:
    process = Process(acme)
    process.look(edited=True)
    away.bao.configure("")
    away.bao.stop()
    away.bao.start()
    try:
        # one write of the status, and not a single one elsewhere
        assert len(process.look()) == 1
        assert process.told("AuditReady") == ("False", Reason.AUDIT_MISSING)
        assert process.told("Ready") == ("True", Reason.READY)
        acme.edit(TENANT, acme.names.tenant, {"governance": {"profile": "recorded"}})
        process.look(edited=True)
        assert process.told("Compliant") == ("False", Reason.GOVERNANCE_VIOLATION)
    finally:
        away.bao.configure(away.bao.audit_file("main"))
