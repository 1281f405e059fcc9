"""The condition of the Kubernetes API conventions, as it stands in `status.conditions`."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from axon_operator.api.base import ApiModel
from axon_operator.api.reasons import ConditionType, Reason

ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(ApiModel):
    """One observation about the object, in the form of the Kubernetes API conventions."""

    type: str = Field(description="What is observed, for example Ready or VaultReady.", max_length=64)
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(description="Why, as one CamelCase word from the documented list.", max_length=64)
    message: str = Field(description="What a person should know or do.", max_length=1024)
    last_transition_time: str = Field(
        description="When the status last changed.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int = Field(description="The generation of the spec that was observed.", ge=0)


def transition(
    previous: Iterable[Condition],
    kind: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: str,
    *,
    generation: int,
    now: str,
) -> Condition:
    """The condition as it is now; `lastTransitionTime` moves only when the status does."""
    before = next((c for c in previous if c.type == kind), None)
    since = before.last_transition_time if before and before.status == status else now
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:1024],
        last_transition_time=since,
        observed_generation=generation,
    )
