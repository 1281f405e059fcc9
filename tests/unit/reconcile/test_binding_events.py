"""What is told in Events of a binding's life, by the passes themselves."""

import datetime
from typing import Any

import pytest

from axon_operator.api.secretbinding import GrantSource, SecretBindingSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain.consent import Consent, revision
from axon_operator.domain.names import RuntimeNames
from axon_operator.domain.resources import BINDING, RUNTIME, Resource, VaultPath
from axon_operator.process.events import notes
from axon_operator.reconcile.binding import BindingReconciler
from axon_operator.reconcile.engine.controller import Controller
from axon_operator.reconcile.runtime import RuntimeReconciler

from .test_passes import ACME, AGENT, BILLING, NAMES, PLATFORM, _raise, declare, settle
from .world import World

USER = "11111111-2222-3333-4444-555555555555"


def told(world: World, *, minute: int = 0) -> list[str]:
    """Reasons of the Events of passes over the runtime and the binding until nothing more is written."""
    now = datetime.datetime(2026, 1, 1, 0, minute, tzinfo=datetime.UTC)
    makers: dict[Resource, Any] = {RUNTIME: RuntimeReconciler, BINDING: BindingReconciler}
    found: list[str] = []
    for _ in range(30):
        before, status = world.writes, world.status_writes
        for ref in (AGENT, BILLING):
            reconciler = makers[ref.resource](world.backends, PLATFORM, lambda: now)
            controller = Controller(
                reconciler, world.backends, resync=300, now=lambda: now, report=_raise, audit=world.audit
            )
            controller.expire(ref)
            done = controller.run(ref)
            found += [str(note.reason) for note in notes(done) if ref is BILLING]
            for existing, live in world.objects.items():
                if existing.resource.kind == "Deployment":
                    live["status"] = {"observedGeneration": 1, "replicas": 0}
        if (world.writes, world.status_writes) == (before, status):
            return found
    pytest.fail("never settles")


def edit(world: World, **spec: Any) -> None:
    world.objects[BILLING]["spec"] |= spec
    world.objects[BILLING]["metadata"]["generation"] += 1


def bound(**source: Any) -> World:
    world = World()
    declare(world, ACME, AGENT, BILLING)
    world.objects[BILLING]["spec"]["source"] = source
    file = {"path": "billing.json", "format": "json"}
    world.objects[BILLING]["spec"]["delivery"] = {"file": file}
    settle(world, ACME)
    return world


def test_a_rotation_is_told_once_and_the_first_credential_is_no_rotation() -> None:
    world = bound(pki={})
    assert "Rotated" not in told(world)
    first = world.objects[BILLING]["status"]["rotatedAt"]
    edit(world, rotationTrigger="now")
    assert told(world, minute=1).count("Rotated") == 1
    assert world.objects[BILLING]["status"]["rotatedAt"] > first
    assert told(world, minute=2) == []


@pytest.mark.parametrize("source", [{"pki": {}}, {"kv": {"path": "billing/stripe", "keys": ["api_key"]}}], ids=str)
def test_a_revocation_is_told_by_ready_and_what_comes_after_it_is_no_rotation(source: dict[str, Any]) -> None:
    world = bound(**source)
    world.vault[VaultPath(NAMES.vault_namespace, "kv/subkeys/org/billing/stripe")] = {"subkeys": {"api_key": None}}
    told(world)
    edit(world, revoked=True)
    assert "Revoked" in told(world, minute=1)
    assert "rotatedAt" not in world.objects[BILLING]["status"]
    edit(world, revoked=False)
    again = told(world, minute=2)
    assert "Rotated" not in again
    assert again


def test_a_consent_that_is_taken_back_is_told() -> None:
    world = bound(grant={"user": USER, "path": "github/token"})
    assert "ConsentMissing" in told(world)
    names = RuntimeNames("axon-acme", "agent", f"uid-{AGENT}")
    spec, asking = (world.objects[at]["spec"] for at in (AGENT, BILLING))
    bindings = {BILLING.name: SecretBindingSpec.model_validate(asking)}
    now = revision(WorkflowRuntimeSpec.model_validate(spec), bindings)
    grant = GrantSource.model_validate(world.objects[BILLING]["spec"]["source"]["grant"])
    _, place = Consent("acme", names.uid, now).paths(grant)
    at = VaultPath(NAMES.vault_namespace, f"kv/subkeys/{place}")
    world.vault[at] = {"subkeys": {"ciphertext": None}}
    assert "ConsentMissing" not in told(world, minute=1)
    del world.vault[at]
    assert "ConsentMissing" in told(world, minute=2)
