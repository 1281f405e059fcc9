"""One look at whether OpenBao records requests. It is the same for all tenants: audit devices are the whole server's."""

from axon_operator.api.conditions import ConditionStatus
from axon_operator.api.reasons import ConditionType
from axon_operator.backends.errors import ReconcileError, Transient
from axon_operator.backends.vault.port import AuditLog
from axon_operator.domain.audit import Counted, Look, judge
from axon_operator.domain.finding import Finding


class AuditCheck:
    """Looks, and remembers the counts of the last look. For one thread."""

    def __init__(self, log: AuditLog, *, device: str) -> None:
        """`device`: name of the one that has to be there; empty: any will do."""
        self._log = log
        self._device = device
        self._last: Counted | None = None

    def run(self) -> Finding:
        """What is found now. An OpenBao that is away says nothing about its audit devices."""
        try:
            look = self._look()
        except ReconcileError as error:
            status: ConditionStatus = "Unknown" if isinstance(error, Transient) else "False"
            return Finding(ConditionType.AUDIT_READY, status, error.reason, error.message)
        last, self._last = self._last, look.after
        return judge(look, wanted=self._device, last=last)

    def _look(self) -> Look:
        """The probes of the devices are the canary: they stand between two looks at the counts."""
        devices = self._log.devices()
        before = self._log.counted()
        silent = tuple(device for device in devices if not self._log.answers(device))
        return Look(devices, silent, before, len(devices) + 1, self._log.counted())
