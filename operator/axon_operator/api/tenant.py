"""Tenant: one organization."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from axon_operator.api.base import ApiModel, Duration, Port, Quantity, at_least, at_most, cel
from axon_operator.api.conditions import Condition

RESERVED_NAMES = (
    "admin", "audit", "auth", "axon", "cubbyhole", "default", "identity", "keycloak", "kube", "master",
    "openbao", "public", "root", "sys", "system", "vault",
)  # fmt: skip
"""Words that mean something to Kubernetes, OpenBao, Keycloak or to us; no tenant may carry one."""


class SubjectKind(StrEnum):
    """Whom an entry of `admins` names."""

    USER = "User"
    GROUP = "Group"


class Admin(ApiModel):
    """A person or group that may manage the tenant's runtimes and bindings."""

    kind: SubjectKind = Field(description="User or Group, as the API server's authenticator names them.")
    name: str = Field(
        description="Name of the user or group.",
        min_length=1,
        max_length=253,
        json_schema_extra=cel("!self.startsWith('system:')", "names of Kubernetes itself (system:…) are refused"),
    )


class EgressRule(ApiModel):
    """Where traffic may go outside the cluster."""

    cidr: str = Field(
        description="IPv4 range, for example 203.0.113.0/24.",
        max_length=18,
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "isCIDR(self) && cidr(self).ip().family() == 4",
                    "message": "must be an IPv4 CIDR such as 203.0.113.0/24",
                },
                {
                    "rule": "!isCIDR(self) || cidr(self).prefixLength() >= 8",
                    "message": "the range is too wide; the shortest prefix is /8",
                },
                {
                    "rule": "!isCIDR(self) || cidr(self) == cidr(self).masked()",
                    "message": "must begin with the first address of the range, such as 203.0.113.0/24 and not 203.0.113.5/24",
                },
                {
                    "rule": "!isCIDR(self) || !(cidr('169.254.0.0/16').containsCIDR(self) || cidr(self).containsCIDR('169.254.0.0/16'))",
                    "message": "link-local addresses (instance metadata) are never allowed, nor a range that contains them",
                },
            ]
        },
    )
    ports: list[Port] = Field(description="TCP ports.", min_length=1, max_length=16)


class Network(ApiModel):
    """What the tenant's runtimes may reach outside the cluster."""

    egress: list[EgressRule] = Field(
        default_factory=list,
        max_length=32,
        description="The allow-list: a runtime or binding may ask for egress only within these ranges and ports.",
    )


SIDECAR_LIMITS = {"cpu": "500m", "memory": "192Mi"}
"""What every pod's credentials sidecar is limited to: a smaller ceiling would let no pod start."""
DEFAULT_REQUESTS = {"cpu": "10m", "memory": "32Mi"}
"""What a container is guaranteed that asks for nothing: Kubernetes refuses a smaller default limit."""

_FOR_SIDECAR = "which the credentials sidecar of every pod needs"
_FOR_REQUESTS = "which every container is guaranteed"


class Limits(ApiModel):
    """Defaults and ceiling for one container."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [at_most("defaultCpu", "maxCpu"), at_most("defaultMemory", "maxMemory")]
        }
    )

    default_cpu: Quantity = Field(
        default="500m",
        description="CPU limit of a container that sets none.",
        json_schema_extra=at_least(DEFAULT_REQUESTS["cpu"], _FOR_REQUESTS),
    )
    default_memory: Quantity = Field(
        default="256Mi",
        description="Memory limit of a container that sets none.",
        json_schema_extra=at_least(DEFAULT_REQUESTS["memory"], _FOR_REQUESTS),
    )
    max_cpu: Quantity = Field(
        default="4",
        description="Largest CPU limit of one container.",
        json_schema_extra=at_least(SIDECAR_LIMITS["cpu"], _FOR_SIDECAR),
    )
    max_memory: Quantity = Field(
        default="8Gi",
        description="Largest memory limit of one container.",
        json_schema_extra=at_least(SIDECAR_LIMITS["memory"], _FOR_SIDECAR),
    )


class Quota(ApiModel):
    """Ceilings for the whole tenant."""

    cpu: Quantity = Field(default="8", description="Sum of CPU limits.")
    memory: Quantity = Field(default="16Gi", description="Sum of memory limits.")
    pods: Annotated[int, Field(ge=0, le=10000)] = Field(default=100, description="Number of pods.")


def _bounded(low: str, high: str) -> dict[str, Any]:
    return cel(
        f"duration(self) >= duration('{low}') && duration(self) <= duration('{high}')",
        f"must be between {low} and {high}",
    )


class Sessions(ApiModel):
    """How long logins in the tenant's realm last."""

    access_token_lifespan: Duration = Field(
        default="2m", description="Lifetime of an access token, 10s to 2m.", json_schema_extra=_bounded("10s", "2m")
    )
    idle_timeout: Duration = Field(
        default="30m",
        description="A session unused for this long ends, 1m to 24h.",
        json_schema_extra=_bounded("1m", "24h"),
    )
    max_lifespan: Duration = Field(
        default="10h",
        description="A session ends after this long in any case, 1m to 168h.",
        json_schema_extra=_bounded("1m", "168h"),
    )


class Identity(ApiModel):
    """The tenant's Keycloak realm."""

    sessions: Sessions = Field(default_factory=Sessions, description="How long logins last.")


class TenantSpec(ApiModel):
    """What the organization is to have."""

    display_name: str | None = Field(default=None, description="Name for people.", min_length=1, max_length=128)
    organization_id: str | None = Field(
        default=None,
        alias="organizationID",
        description="The platform's own identifier of the organization, kept in the marks of all three systems.",
        max_length=128,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    )
    suspended: bool = Field(
        default=False,
        description="Kill switch: network closed, OpenBao tokens revoked and the namespace locked, realm disabled, runtimes at zero. Reversible.",
    )
    admins: list[Admin] = Field(
        default_factory=list, description="Who may manage the tenant's runtimes and bindings.", max_length=64
    )
    quota: Quota = Field(default_factory=Quota, description="Ceilings for the whole tenant.")
    limits: Limits = Field(default_factory=Limits, description="Defaults and ceiling for one container.")
    network: Network = Field(default_factory=Network, description="What runtimes may reach outside the cluster.")
    identity: Identity = Field(default_factory=Identity, description="The tenant's Keycloak realm.")


class TenantStatus(ApiModel):
    """What the operator observed."""

    observed_generation: int | None = Field(
        default=None, description="The generation of the spec that the status speaks of."
    )
    conditions: list[Condition] = Field(
        default_factory=list, description="Observations about the tenant.", max_length=16
    )
    namespace: str | None = Field(default=None, description="The tenant's Kubernetes namespace.", max_length=63)
    vault_namespace: str | None = Field(default=None, description="The tenant's OpenBao namespace.", max_length=128)
    realm: str | None = Field(default=None, description="The tenant's Keycloak realm.", max_length=63)
