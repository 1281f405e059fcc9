"""Events are told once, when something that people watch has changed."""

import datetime
from dataclasses import replace

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


def test_a_finding_is_told_when_it_is_another_and_a_good_first_one_is_not() -> None:
    good = condition("AuditReady", "True", Reason.AUDIT_RECORDED)
    bad = condition("AuditReady", "False", Reason.AUDIT_MISSING)
    away = condition("AuditReady", "Unknown", Reason.VAULT_UNAVAILABLE)
    assert notes(passed((), (good,))) == notes(passed((bad,), (bad,))) == []
    for before, after, told in (
        ((), bad, ("Warning", "AuditMissing")),
        ((good,), bad, ("Warning", "AuditMissing")),
        ((good,), away, ("Normal", "VaultUnavailable")),
        ((bad,), good, ("Normal", "AuditRecorded")),
    ):
        assert [(n.type, n.reason) for n in notes(passed(before, (after,)))] == [told]


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


def rotated(before: str | None, after: str | None) -> Pass:
    """A pass after which the status has another time."""
    live, status = ({"rotatedAt": at} if at else {} for at in (before, after))
    return replace(passed((READY,), (READY,)), live={**LIVE, "status": live}, status=status)


def test_a_credential_in_place_of_another_is_told_and_the_first_one_is_not() -> None:
    (note,) = notes(rotated("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"))
    assert (note.type, note.reason) == ("Normal", Reason.ROTATED)
    for quiet in (rotated(None, "2026-01-01T00:00:00Z"), rotated("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")):
        assert notes(quiet) == []
    # revoked, suspended, or not looked at
    assert notes(rotated("2026-01-01T00:00:00Z", None)) == []


def test_a_revocation_and_a_consent_that_is_taken_back_are_told_by_ready() -> None:
    for status, reason in (("True", Reason.REVOKED), ("False", Reason.CONSENT_MISSING)):
        (note,) = notes(passed((READY,), (condition("Ready", status, reason),)))
        assert note.reason == reason


def test_an_event_about_a_cluster_scoped_object_stands_in_the_default_namespace() -> None:
    (note,) = notes(passed((), (READY,)))
    made = event(note, LIVE, "default", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    assert made["metadata"]["namespace"] == "default"
    assert made["regarding"]["name"] == Ref(TENANT, "", "acme").name
