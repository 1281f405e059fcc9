"""Deletions of bindings that end while OpenBao is away: not before nothing can be good, and nothing is forgotten."""

import copy
import datetime
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied
from axon_operator.domain.resources import POD

from . import world as worlds
from .test_issue_passes import BASE, CONFIG, ISSUED, PODS, POLICY, Scene, binding
from .test_passes import ACME, AGENT, one_pass

DAY = datetime.timedelta(days=1)


@pytest.fixture
def scene() -> Scene:
    return copy.deepcopy(BASE)


def suspend(scene: Scene) -> None:
    """Its pods are gone, with or without OpenBao."""
    scene.world.objects[AGENT]["spec"]["suspended"] = True
    scene.look(AGENT)
    scene.world.objects = {r: m for r, m in scene.world.objects.items() if r.resource != POD}
    deployment = scene.world.objects[PODS]
    assert deployment["spec"]["replicas"] == 0
    deployment["status"] = {"observedGeneration": deployment["metadata"].get("generation")}


def rounds(scene: Scene, number: int = 3) -> None:
    """Of the operator; the Deployment's controller follows, and there are no pods to do anything."""
    for _ in range(number):
        deployment = scene.world.objects[PODS]
        deployment.setdefault("status", {})["observedGeneration"] = deployment["metadata"].get("generation")
        for ref in (AGENT, *(binding(name) for name in (*ISSUED, "granted"))):
            if ref in scene.world.objects:
                scene.look(ref)


def conditions(scene: Scene, ref: Any) -> dict[str, dict[str, Any]]:
    return {c["type"]: c for c in scene.world.objects[ref]["status"]["conditions"]}


def away(scene: Scene, *names: str) -> None:
    """OpenBao is, and these are being deleted."""
    scene.world.vault_away = True
    for name in names:
        scene.delete(binding(name))
    rounds(scene)


@pytest.mark.parametrize("name", [*ISSUED, "granted"])
def test_a_deletion_ends_without_openbao_a_day_and_a_login_after_the_last_pod_and_is_remembered(
    scene: Scene, name: str
) -> None:
    suspend(scene)
    away(scene, name)
    blocked = conditions(scene, binding(name))["DeletionBlocked"]
    assert blocked["reason"] == Reason.VAULT_UNAVAILABLE
    assert conditions(scene, binding(name))["Withdrawn"]["status"] == "False"
    scene.now += DAY
    rounds(scene)
    assert binding(name) in scene.world.objects
    assert "the deletion ends at 2026-01-02T" in conditions(scene, binding(name))["Withdrawn"]["message"]
    scene.now += DAY
    done = scene.look(binding(name))
    assert binding(name) not in scene.world.objects
    assert {AGENT, ACME} <= set(done.related)

    one_pass(scene.world, ACME)
    cleared = conditions(scene, ACME)["Cleared"]
    assert (cleared["status"], cleared["reason"]) == ("False", Reason.LEFT_BEHIND)
    assert f"{name} of agent" in cleared["message"]
    # nothing is changed by more passes, and nothing is forgotten
    rounds(scene)
    one_pass(scene.world, ACME)
    assert conditions(scene, ACME)["Cleared"] == cleared
    assert scene.good(name) or name == "granted"

    scene.world.vault_away = False
    assert ACME in scene.look(AGENT).related
    rounds(scene)
    assert scene.names(name) == []
    assert scene.good(name) == []
    if name == "granted":
        assert "grants/" not in scene.world.vault[POLICY]["policy"]
    one_pass(scene.world, ACME)
    assert "Cleared" not in conditions(scene, ACME)


def test_while_pods_run_a_deletion_waits_and_says_how_it_can_end(scene: Scene) -> None:
    away(scene, "account")
    scene.now += 30 * DAY
    rounds(scene)
    told = conditions(scene, binding("account"))
    assert "Withdrawn" not in told
    assert "suspend the runtime" in told["DeletionBlocked"]["message"]
    # from then on it is counted, not from the deletion
    suspend(scene)
    rounds(scene)
    assert binding("account") in scene.world.objects
    scene.now += 2 * DAY
    rounds(scene)
    assert binding("account") not in scene.world.objects


def test_a_pod_that_comes_back_begins_the_time_anew(scene: Scene) -> None:
    suspend(scene)
    away(scene, "account")
    deployment = copy.deepcopy(scene.world.objects[PODS])
    scene.now += DAY
    scene.world.objects[PODS]["status"]["replicas"] = 1
    rounds(scene)
    assert "Withdrawn" not in conditions(scene, binding("account"))
    scene.world.objects[PODS] = deployment
    scene.now += 2 * DAY
    rounds(scene)
    assert binding("account") in scene.world.objects
    scene.now += 2 * DAY
    rounds(scene)
    assert binding("account") not in scene.world.objects


@pytest.mark.parametrize("field", ["replicas", "observedGeneration", "spec"])
def test_a_deployment_that_may_make_pods_is_no_end(scene: Scene, field: str) -> None:
    suspend(scene)
    scene.world.vault_away = True
    scene.delete(binding("account"))
    if field == "spec":
        scene.world.objects[PODS]["spec"]["replicas"] = 1
    else:
        scene.world.objects[PODS]["status"][field] = 7
    scene.look(binding("account"))
    assert "Withdrawn" not in conditions(scene, binding("account"))


def test_what_is_revoked_and_stays_is_not_called_revoked(scene: Scene) -> None:
    suspend(scene)
    scene.spec("account")["revoked"] = True
    scene.world.vault_away = True
    for _ in range(3):
        rounds(scene)
        scene.now += 10 * DAY
    assert scene.condition(binding("account"))[1] == Reason.VAULT_UNAVAILABLE
    assert "Withdrawn" not in conditions(scene, binding("account"))


def test_an_operator_that_is_refused_waits_without_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise Denied(Reason.VAULT_DENIED, "refused")

    suspend(scene)
    scene.delete(binding("account"))
    monkeypatch.setattr(worlds._Vault, "read", refuse)
    for _ in range(3):
        rounds(scene)
        scene.now += 10 * DAY
    assert binding("account") in scene.world.objects


def test_a_crash_before_anybody_is_told_loses_nothing(scene: Scene) -> None:
    """The memory is the runtime's ConfigMap, which was there before: whoever looks next finds it."""
    suspend(scene)
    away(scene, "account")
    scene.now += 2 * DAY
    scene.look(binding("account"))
    assert "account" in scene.world.objects[CONFIG]["data"]["bindings.json"]
    # nobody was told; a pass of the runtime finds that the Tenant does not know
    assert ACME in scene.look(AGENT).related
    one_pass(scene.world, ACME)
    assert ACME not in scene.look(AGENT).related


def test_a_namesake_does_not_hide_what_is_left(scene: Scene) -> None:
    suspend(scene)
    away(scene, "account")
    scene.now += 2 * DAY
    rounds(scene)
    scene.bind("account")
    scene.world.objects[binding("account")]["metadata"]["uid"] = "another"
    one_pass(scene.world, ACME)
    assert "account of agent" in conditions(scene, ACME)["Cleared"]["message"]


def test_a_suspended_tenant_says_nothing_of_it(scene: Scene) -> None:
    suspend(scene)
    away(scene, "account")
    scene.now += 2 * DAY
    rounds(scene)
    scene.world.objects[ACME]["spec"]["suspended"] = True
    one_pass(scene.world, ACME)
    assert "Cleared" not in conditions(scene, ACME)
