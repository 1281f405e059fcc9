"""What a look at the audit devices asks, and what becomes of an OpenBao that does not answer."""

import pytest

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import Denied, NotSent, ReconcileError, Terminal, Transient
from axon_operator.domain.audit import Counted
from axon_operator.reconcile.audit import AuditCheck


class Log:
    """Devices that count every call, as OpenBao does."""

    def __init__(self, *devices: str) -> None:
        self.names = devices
        self.silent: set[str] = set()
        self.fails: ReconcileError | None = None
        self.recorded, self.failed = 0, 0

    def _called(self) -> None:
        if self.fails:
            raise self.fails
        self.recorded += 1

    def devices(self) -> tuple[str, ...]:
        self._called()
        return self.names

    def answers(self, device: str) -> bool:
        self._called()
        return device not in self.silent

    def counted(self) -> Counted | None:
        self._called()
        return Counted(self.recorded, self.failed)


def told(check: AuditCheck) -> tuple[str | None, Reason]:
    finding = check.run()
    assert finding.condition is ConditionType.AUDIT_READY
    return finding.status, finding.reason


def test_every_device_is_probed_and_each_probe_has_to_be_counted() -> None:
    log = Log("main", "stdout")
    check = AuditCheck(log, device="main")
    assert told(check) == ("True", Reason.AUDIT_RECORDED)
    assert log.recorded == 5
    log.silent = {"stdout"}
    assert told(check) == ("False", Reason.AUDIT_MISSING)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Transient(Reason.VAULT_UNAVAILABLE, "away"), "Unknown"),
        (NotSent(Reason.VAULT_UNAVAILABLE, "held back"), "Unknown"),
        (Denied(Reason.VAULT_DENIED, "refused"), "False"),
        (Terminal(Reason.REQUEST_REJECTED, "invalid"), "False"),
    ],
)
def test_only_an_openbao_that_is_away_is_unknown(error: ReconcileError, status: str) -> None:
    log = Log("main")
    log.fails = error
    finding = AuditCheck(log, device="").run()
    assert (finding.status, finding.reason, finding.message) == (status, error.reason, error.message)


def test_what_failed_while_it_was_away_is_told_when_it_is_back_and_once() -> None:
    log = Log("main")
    check = AuditCheck(log, device="")
    assert told(check)[0] == "True"
    log.fails = Transient(Reason.VAULT_UNAVAILABLE, "no device records")
    assert told(check)[0] == "Unknown"
    log.fails, log.failed = None, 3
    assert told(check) == ("False", Reason.AUDIT_FAILING)
    assert told(check) == ("True", Reason.AUDIT_RECORDED)
