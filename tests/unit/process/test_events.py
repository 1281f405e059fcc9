"""Events are told once, when something that people watch has changed."""

import datetime

from axon_operator.api.conditions import Condition
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.domain.resources import TENANT, Manifest, Ref, VaultPath
from axon_operator.process.events import event, healed, notes
from axon_operator.reconcile.engine.controller import Pass
from axon_operator.reconcile.engine.plan import Outcome, Stage, StageOutcome, VaultDelete

LIVE: Manifest = {"apiVersion": "axonos.ai/v1alpha1", "kind": "Tenant", "metadata": {"name": "acme", "uid": "u"}}


def condition(kind: str, status: str, reason: Reason) -> Condition:
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "m",
            "lastTransitionTime": "t",
            "observedGeneration": 1,
        }
    )


def passed(before: tuple[Condition, ...], after: tuple[Condition, ...], *, applied: bool = False) -> Pass:
    changes = (VaultDelete(VaultPath("t-1", "sys/policies/acl/x")),) if applied else ()
    return Pass(
        None, Outcome((StageOutcome(Stage(ConditionType.VAULT_READY), changes, None),)), before, after, (), LIVE
    )


READY = condition("Ready", "True", Reason.READY)
NOT_READY = condition("Ready", "False", Reason.NAME_TAKEN)
STALLED = condition("Stalled", "True", Reason.NAME_TAKEN)


def test_a_pass_that_changes_nothing_says_nothing() -> None:
    assert notes(passed((READY,), (READY,))) == []


def test_becoming_ready_is_normal_and_stalling_is_a_warning() -> None:
    assert [(n.type, n.reason) for n in notes(passed((), (READY,)))] == [("Normal", "Ready")]
    assert [(n.type, n.reason) for n in notes(passed((READY,), (NOT_READY, STALLED)))] == [("Warning", "NameTaken")]


def test_drift_that_was_healed_names_what_was_set_right() -> None:
    (note,) = notes(passed((READY,), (READY,), applied=True))
    assert note.reason == Reason.UPDATED
    assert "t-1/sys/policies/acl/x" in note.message


def test_what_is_changed_on_the_way_to_ready_is_no_drift() -> None:
    assert healed(passed((), (READY,), applied=True)) == []
    assert healed(passed((NOT_READY,), (READY,), applied=True)) == []
    newer = READY.model_copy(update={"observed_generation": 2})
    assert healed(passed((READY,), (newer,), applied=True)) == []
    assert [c.system for c in healed(passed((READY,), (READY,), applied=True))] == ["openbao"]


def test_an_event_about_a_cluster_scoped_object_stands_in_the_default_namespace() -> None:
    (note,) = notes(passed((), (READY,)))
    made = event(note, LIVE, "default", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    assert made["metadata"]["namespace"] == "default"
    assert made["regarding"]["name"] == Ref(TENANT, "", "acme").name
