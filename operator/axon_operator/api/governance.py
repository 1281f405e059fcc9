"""GovernanceProfile: ceilings that the Tenants which name it keep to."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from axon_operator.api.base import ApiModel, Duration, Port
from axon_operator.api.identity import Sessions
from axon_operator.api.secretbinding import SecretBindingSpec


def _rules_of(model: type[ApiModel], field: str) -> Any:
    """The rules of the field that a ceiling stands above: one that no value could keep to is refused."""
    return model.model_fields[field].json_schema_extra


class SessionCeilings(ApiModel):
    """The longest that logins may last."""

    max_access_token_lifespan: Duration | None = Field(
        default=None,
        description="The most that spec.identity.sessions.accessTokenLifespan of a Tenant may be.",
        json_schema_extra=_rules_of(Sessions, "access_token_lifespan"),
    )
    max_idle_timeout: Duration | None = Field(
        default=None,
        description="The most that spec.identity.sessions.idleTimeout of a Tenant may be.",
        json_schema_extra=_rules_of(Sessions, "idle_timeout"),
    )
    max_lifespan: Duration | None = Field(
        default=None,
        description="The most that spec.identity.sessions.maxLifespan of a Tenant may be.",
        json_schema_extra=_rules_of(Sessions, "max_lifespan"),
    )


class MfaDemand(StrEnum):
    """Whether a Tenant must ask its users for a second factor."""

    NOT_REQUIRED = "NotRequired"
    REQUIRED = "Required"


class EgressBounds(ApiModel):
    """What egress may open, wherever it is declared: on the Tenant, a runtime or a binding."""

    shortest_prefix: Annotated[int, Field(ge=8, le=32)] = Field(
        default=8, description="No range may have a shorter prefix than this: with 24, 203.0.113.0/24 is the widest."
    )
    denied_ports: list[Port] = Field(
        default_factory=list,
        max_length=64,
        description="TCP ports that no rule may open.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class GovernanceProfileSpec(ApiModel):
    """What is demanded; what is left out is not."""

    sessions: SessionCeilings = Field(
        default_factory=SessionCeilings, description="The longest that logins to the tenant's realm may last."
    )
    mfa: MfaDemand = Field(
        default=MfaDemand.NOT_REQUIRED,
        description="Required: spec.identity.mfa of a Tenant must be Required.",
    )
    require_image_digest: bool = Field(
        default=False, description="Whether a runtime's image must be named by digest (…@sha256:…)."
    )
    require_audit: bool = Field(
        default=False,
        description="Whether OpenBao must be seen to record every request (condition AuditReady of the Tenant).",
    )
    max_credential_ttl: Duration | None = Field(
        default=None,
        alias="maxCredentialTTL",
        description=(
            "The most that spec.ttl of a SecretBinding may be, and rotationInterval of an account in spec.vault.databases"
            " of a Tenant."
        ),
        json_schema_extra=_rules_of(SecretBindingSpec, "ttl"),
    )
    egress: EgressBounds = Field(default_factory=EgressBounds, description="What egress may open.")
