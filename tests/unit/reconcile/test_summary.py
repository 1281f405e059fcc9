"""From an outcome to conditions."""

from dataclasses import replace

from axon_operator.api.conditions import Condition
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import Denied, ReconcileError, Terminal, Transient, Waiting
from axon_operator.domain.finding import Finding
from axon_operator.reconcile.engine.plan import Outcome, Stage, StageOutcome
from axon_operator.reconcile.engine.summary import Observation, conditions, is_settled, next_pass

GONE = Transient(Reason.VAULT_UNAVAILABLE, "OpenBao does not answer.")
TAKEN = Terminal(Reason.NAME_TAKEN, "Taken.")
PODS = Waiting(Reason.PODS_NOT_READY, "0 of 1.", after=2)
DENIED = Denied(Reason.VAULT_DENIED, "Refused.")


def outcome(*errors: ReconcileError | None) -> Outcome:
    kinds = (ConditionType.NAMESPACE_READY, ConditionType.VAULT_READY, ConditionType.IDENTITY_READY)
    return Outcome(tuple(StageOutcome(Stage(kind), (), error) for kind, error in zip(kinds, errors, strict=False)))


def summarize(
    done: Outcome,
    previous: tuple[Condition, ...] = (),
    *,
    generation: int = 1,
    now: str = "2026-01-01T00:00:00Z",
    deleting: bool = False,
    overdue: bool = False,
) -> dict[str, Condition]:
    seen = Observation(done, previous, generation, now, deleting, overdue)
    return {c.type: c for c in conditions(seen)}


def test_all_stages_complete_is_ready_and_nothing_else() -> None:
    found = summarize(outcome(None, None, None))
    assert {kind: c.status for kind, c in found.items()} == {
        "Ready": "True",
        "NamespaceReady": "True",
        "VaultReady": "True",
        "IdentityReady": "True",
    }


def test_waiting_is_reconciling_and_terminal_is_stalled() -> None:
    waiting, terminal = summarize(outcome(PODS)), summarize(outcome(None, TAKEN))
    assert (waiting["Ready"].status, waiting["Reconciling"].status) == ("False", "True")
    assert (terminal["Ready"].status, terminal["Stalled"].reason) == ("False", Reason.NAME_TAKEN)
    assert "Stalled" not in waiting
    assert "Reconciling" not in terminal


def test_a_backend_that_is_away_does_not_take_ready_from_an_object_that_was() -> None:
    before = tuple(summarize(outcome(None, None)).values())
    after = summarize(outcome(None, GONE), before)
    assert after["Ready"].status == "True"
    assert after["VaultReady"].status == "Unknown"
    assert "Reconciling" not in after


def test_but_a_new_spec_is_not_ready_before_it_was_carried_out() -> None:
    before = tuple(summarize(outcome(None, None)).values())
    assert summarize(outcome(None, GONE), before, generation=2)["Ready"].status == "False"


def test_the_transition_time_moves_only_with_the_status() -> None:
    before = tuple(summarize(outcome(PODS)).values())
    same = summarize(outcome(GONE), before, now="2026-01-02T00:00:00Z")
    moved = summarize(outcome(None), before, now="2026-01-02T00:00:00Z")
    assert same["Ready"].last_transition_time == "2026-01-01T00:00:00Z"
    assert moved["Ready"].last_transition_time == "2026-01-02T00:00:00Z"


def test_a_deletion_that_cannot_go_on_says_so_and_one_that_waits_does_not() -> None:
    assert summarize(outcome(GONE), deleting=True)["DeletionBlocked"].message == GONE.message
    assert "DeletionBlocked" not in summarize(outcome(PODS), deleting=True)


def test_a_deletion_that_waits_too_long_says_for_what() -> None:
    found = summarize(outcome(PODS), deleting=True, overdue=True)
    assert found["DeletionBlocked"].message == PODS.message


def test_a_stage_that_waits_for_another_does_not_repeat_its_error() -> None:
    waits = StageOutcome(Stage(ConditionType.WORKLOAD_READY), waits_for=ConditionType.VAULT_READY)
    before = tuple(summarize(outcome(None, None)).values())
    found = summarize(Outcome((*outcome(None, GONE).stages, waits)), before)
    assert found["Ready"].status == "True"
    assert (found["WorkloadReady"].status, found["WorkloadReady"].reason) == ("Unknown", Reason.DEPENDENCY_NOT_READY)


def test_stalled_is_not_hidden_behind_reconciling() -> None:
    assert "Reconciling" not in summarize(outcome(PODS, TAKEN))


def test_when_nothing_could_be_read_the_last_observations_stay() -> None:
    before = tuple(summarize(outcome(None, None)).values())
    blind = Outcome((StageOutcome(Stage(ConditionType.READY), (), GONE),))
    found = summarize(blind, before)
    assert found["VaultReady"].status == "True"
    assert found["Ready"].status == "True"


def test_the_next_pass() -> None:
    assert next_pass(outcome(None), resync=300).after == 300
    assert next_pass(outcome(PODS), resync=300).after == 2
    assert next_pass(outcome(TAKEN), resync=300).after == 300
    soon, late = next_pass(outcome(PODS, GONE), resync=300).backoff, next_pass(outcome(DENIED), resync=300).backoff
    assert soon is not None
    assert late is not None
    assert soon.base < late.base
    # a backend that is away holds up nobody who waits for something else
    assert next_pass(outcome(PODS, GONE), resync=300).after == 2
    assert next_pass(outcome(PODS, DENIED), resync=300).after == 2
    assert next_pass(outcome(GONE), resync=300).after >= soon.cap


def test_a_defect_takes_ready_away() -> None:
    before = tuple(summarize(outcome(None, None)).values())
    after = summarize(outcome(Transient(Reason.INTERNAL_ERROR, "A bug.")), before)["Ready"]
    assert (after.status, after.reason) == ("False", Reason.INTERNAL_ERROR)


def test_a_bad_finding_is_told_and_takes_nothing_away() -> None:
    bad = Finding(ConditionType.AUDIT_READY, "False", Reason.VAULT_DENIED, "Nothing is recorded.")
    found = summarize(replace(outcome(None, None), findings=(bad,)))
    assert (found["AuditReady"].status, found["AuditReady"].reason) == ("False", Reason.VAULT_DENIED)
    assert found["Ready"].status == "True"
    assert is_settled(tuple(found.values()), 1)


def test_a_finding_that_is_not_known_yet_stays_as_it_was_and_one_that_is_not_looked_for_goes() -> None:
    good = Finding(ConditionType.ISOLATED, "True", Reason.READY, "Refused everywhere.")
    before = tuple(summarize(replace(outcome(None), findings=(good,))).values())
    unknown = replace(outcome(None), findings=(Finding(ConditionType.ISOLATED),))
    assert summarize(unknown, before, generation=2)["Isolated"] in before
    assert "Isolated" not in summarize(unknown)
    assert "Isolated" not in summarize(outcome(None), before)
    assert summarize(Outcome(), before)["Isolated"] in before
