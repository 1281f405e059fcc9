"""Tenant: one organization."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from axon_operator.api.base import DNS_LABEL, ApiModel, ObjectName, Port, Quantity, at_least, at_most, cel
from axon_operator.api.conditions import Condition
from axon_operator.api.identity import Identity, LogoutStatus
from axon_operator.api.vault import Vault

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


ForeignNamespace = Annotated[
    str,
    Field(
        pattern=DNS_LABEL,
        max_length=63,
        json_schema_extra=cel(
            "!self.startsWith('axon-')",
            "namespaces named axon-… are tenants', or may become one's, and no tenant reaches another; name the namespace of a platform's service",
        ),
    ),
]
"""A namespace that is no tenant's and cannot become one's."""


class Ingress(ApiModel):
    """Who may connect to the tenant's runtimes from outside of it."""

    namespaces: list[ForeignNamespace] = Field(
        default_factory=list,
        max_length=16,
        description="Namespaces by name, for example that of an ingress controller. Their pods may connect to the ports that a runtime declares, and to no other. Nobody when empty.",
    )


class Network(ApiModel):
    """What the tenant's runtimes may reach outside of it, and who may reach them."""

    ingress: Ingress = Field(
        default_factory=Ingress, description="Who may connect to runtimes from outside of the tenant."
    )
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


class Governance(ApiModel):
    """The rules that the organization keeps to."""

    profile: ObjectName | None = Field(
        default=None,
        description="Name of the GovernanceProfile that the tenant, its runtimes and bindings must keep to; none by default.",
    )


class DeletionPolicy(StrEnum):
    """What becomes of the organization's data when its Tenant is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"


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
    deletion_policy: DeletionPolicy = Field(
        default=DeletionPolicy.DELETE,
        description="What a deletion leaves: Delete nothing; Retain the OpenBao namespace, locked and with all logins revoked, and the realm, disabled and without sessions. In Kubernetes everything goes in either case.",
    )
    admins: list[Admin] = Field(
        default_factory=list, description="Who may manage the tenant's runtimes and bindings.", max_length=64
    )
    quota: Quota = Field(default_factory=Quota, description="Ceilings for the whole tenant.")
    limits: Limits = Field(default_factory=Limits, description="Defaults and ceiling for one container.")
    network: Network = Field(default_factory=Network, description="What opens the network of runtimes.")
    vault: Vault = Field(default_factory=Vault, description="The tenant's OpenBao namespace.")
    identity: Identity = Field(default_factory=Identity, description="The tenant's Keycloak realm.")
    governance: Governance = Field(default_factory=Governance, description="The rules that the tenant keeps to.")


class TenantStatus(ApiModel):
    """What the operator observed."""

    observed_generation: int | None = Field(
        default=None, description="The generation of the spec that the status speaks of."
    )
    conditions: list[Condition] = Field(
        default_factory=list, description="Observations about the tenant.", max_length=24
    )
    namespace: str | None = Field(default=None, description="The tenant's Kubernetes namespace.", max_length=63)
    vault_namespace: str | None = Field(default=None, description="The tenant's OpenBao namespace.", max_length=128)
    adopted_uid: str | None = Field(
        default=None,
        alias="adoptedUID",
        description="The uid of the lost Tenant for which the OpenBao namespace was made, if this one has taken it over.",
        max_length=64,
    )
    realm: str | None = Field(default=None, description="The tenant's Keycloak realm.", max_length=63)
    logouts: list[LogoutStatus] = Field(
        default_factory=list, description="Forced logouts that were carried out.", max_length=64
    )
