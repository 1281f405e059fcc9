"""What is found out about an object beside the work on it, as a condition tells it."""

from dataclasses import dataclass

from axon_operator.api.conditions import ConditionStatus
from axon_operator.api.reasons import ConditionType, Reason


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out elsewhere about the object; it says nothing about whether it is as its spec wants it."""

    condition: ConditionType
    """One of `FINDINGS`."""
    status: ConditionStatus | None = None
    """None: not looked at since the start; what was found before stays."""
    reason: Reason = Reason.READY
    message: str = ""
