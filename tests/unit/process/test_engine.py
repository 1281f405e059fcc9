"""How a pass is counted."""

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, Transient, Waiting
from axon_operator.process.engine import outcome_name


def test_a_pass_is_counted_by_its_first_error_and_a_bug_before_all() -> None:
    waiting = Waiting(Reason.PROGRESSING, "", after=1)
    denied = Denied(Reason.VAULT_DENIED, "")
    bug = Transient(Reason.INTERNAL_ERROR, "")
    assert outcome_name(()) == "ok"
    assert outcome_name((waiting, denied)) == "waiting"
    assert outcome_name((denied,)) == "denied"
    assert outcome_name((waiting, bug)) == "defect"
