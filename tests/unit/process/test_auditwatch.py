"""What a look finds is told once, and asks the Tenants to look again only when it is another."""

import structlog

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.domain.finding import Finding
from axon_operator.process import metrics
from axon_operator.process.auditwatch import AuditWatch

GOOD = Finding(ConditionType.AUDIT_READY, "True", Reason.AUDIT_RECORDED, "With main.")
BAD = Finding(ConditionType.AUDIT_READY, "False", Reason.AUDIT_MISSING, "Without.")
AWAY = Finding(ConditionType.AUDIT_READY, "Unknown", Reason.VAULT_UNAVAILABLE, "Away.")


class Script:
    """Looks whose findings are given."""

    def __init__(self, *findings: Finding) -> None:
        self._findings = list(findings)

    def run(self) -> Finding:
        return self._findings.pop(0)


def shown() -> list[str]:
    return [
        status
        for status in ("True", "False", "Unknown")
        if metrics.REGISTRY.get_sample_value("axon_operator_audit_ready", {"status": status}) == 1
    ]


def test_a_change_is_told_in_log_metric_and_to_the_tenants_and_a_repetition_is_not() -> None:
    changes: list[str | None] = []
    script = Script(GOOD, GOOD, BAD, BAD, AWAY, GOOD)
    watch = AuditWatch(
        script, interval=60, may_begin=lambda: True, changed=lambda: changes.append(watch.finding.status)
    )
    assert watch.finding.status is None
    seen = []
    with structlog.testing.capture_logs() as lines:
        for _ in range(6):
            watch.once()
            seen.append(watch.finding)
            assert shown() == [watch.finding.status]
    assert seen == [GOOD, GOOD, BAD, BAD, AWAY, GOOD]
    assert changes == ["True", "False", "Unknown", "True"]
    assert [(line["log_level"], line["reason"]) for line in lines] == [
        ("info", "AuditRecorded"),
        ("warning", "AuditMissing"),
        ("warning", "VaultUnavailable"),
        ("info", "AuditRecorded"),
    ]
