"""Looks at OpenBao's audit devices in a thread of its own, and lets the Tenants tell what it finds."""

from collections.abc import Callable
from typing import Protocol

import structlog

from axon_operator.api.reasons import ConditionType
from axon_operator.domain.finding import Finding
from axon_operator.process import metrics
from axon_operator.process.rounds import Rounds

log = structlog.stdlib.get_logger("axon_operator")


class Checking(Protocol):
    """What is run."""

    def run(self) -> Finding:
        """One look."""


class AuditWatch(Rounds):
    """A look at every interval, while this process leads."""

    def __init__(
        self, check: Checking, *, interval: float, may_begin: Callable[[], bool], changed: Callable[[], None]
    ) -> None:
        """`changed`: called after a look that found something else than the one before."""
        super().__init__("audit", interval=interval, may_begin=may_begin)
        self._check = check
        self._changed = changed
        self._finding = Finding(ConditionType.AUDIT_READY)

    @property
    def finding(self) -> Finding:
        """Of the last look; without a status before the first. To be asked from any thread."""
        return self._finding

    def _round(self) -> None:
        """One look, with its log line and metric."""
        before, self._finding = self._finding, self._check.run()
        found = self._finding
        for status in ("True", "False", "Unknown"):
            metrics.AUDIT_READY.labels(status).set(status == found.status)
        if found == before:
            return
        tell = log.info if found.status == "True" else log.warning
        tell("audit devices looked at", status=found.status, reason=found.reason, message=found.message)
        self._changed()
