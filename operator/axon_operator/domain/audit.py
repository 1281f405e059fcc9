"""Whether OpenBao records requests, judged by what it tells about its audit devices."""

from dataclasses import dataclass

from axon_operator.api.conditions import ConditionStatus
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.domain.finding import Finding


@dataclass(frozen=True, slots=True)
class Counted:
    """Of all requests since the server's start."""

    recorded: float
    """Given to the audit devices."""
    failed: float
    """Recorded by none of them, and therefore refused."""

    def since(self, before: "Counted") -> "Counted":
        """What was added; a server that has counted fewer than before was started anew."""
        if self.recorded < before.recorded or self.failed < before.failed:
            return self
        return Counted(self.recorded - before.recorded, self.failed - before.failed)


@dataclass(frozen=True, slots=True)
class Look:
    """What was found in one look."""

    devices: tuple[str, ...]
    silent: tuple[str, ...] = ()
    """Those that did not answer."""
    before: Counted | None = None
    """None: not told."""
    calls: int = 0
    """Made after that, the one that asked for `after` included."""
    after: Counted | None = None


def judge(look: Look, *, wanted: str, last: Counted | None) -> Finding:
    """The first thing that speaks against it, from the plainest on.

    Args:
        look: what was found.
        wanted: name of the device that has to be there; empty: any will do.
        last: the counts at the end of the look before; None: there was none.
    """
    if not look.devices:
        message = "OpenBao has no audit device, so it records nothing; declare one in its configuration."
        return _finding("False", Reason.AUDIT_MISSING, message)
    if wanted and wanted not in look.devices:
        message = f"OpenBao has no audit device {wanted}, only {', '.join(look.devices)}; declare it in OpenBao's configuration, or correct vault.audit.device of the chart."
        return _finding("False", Reason.AUDIT_MISSING, message)
    if look.silent:
        message = f"OpenBao's audit device {', '.join(look.silent)} does not answer; check OpenBao's log."
        return _finding("False", Reason.AUDIT_MISSING, message)
    if look.before is None or look.after is None:
        message = "OpenBao does not tell how many requests it records; set prometheus_retention_time in the telemetry stanza of its configuration."
        return _finding("False", Reason.AUDIT_UNPROVEN, message)
    if look.after.since(last or look.before).failed:
        message = "OpenBao had requests since the last look that no audit device recorded, and refused them; check its log, and that every audit device can write."
        return _finding("False", Reason.AUDIT_FAILING, message)
    if look.after.since(look.before).recorded < look.calls:
        message = "OpenBao's count of recorded requests did not grow with the operator's own calls; check its log, and that the operator's address for OpenBao leads to one node, the active one."
        return _finding("False", Reason.AUDIT_UNPROVEN, message)
    return _finding("True", Reason.AUDIT_RECORDED, f"OpenBao records every request, with {', '.join(look.devices)}.")


def _finding(status: ConditionStatus, reason: Reason, message: str) -> Finding:
    return Finding(ConditionType.AUDIT_READY, status, reason, message)
