"""SecretBinding: which credential which runtime may hold."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from axon_operator.api.base import ApiModel, Duration, ObjectName, cel
from axon_operator.api.conditions import Condition
from axon_operator.api.tenant import EgressRule

EXACTLY_ONE = {"minProperties": 1, "maxProperties": 1}


class RuntimeRef(ApiModel):
    """A WorkflowRuntime in the same namespace."""

    name: ObjectName = Field(description="Name of the WorkflowRuntime; it is always in the binding's own namespace.")


class KVSource(ApiModel):
    """A secret of the organization, kept in the tenant's KV store."""

    path: str = Field(
        description="Path below kv/org/ in the tenant's OpenBao namespace, for example billing/stripe.",
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$",
        json_schema_extra=cel(
            "!self.contains('..') && !self.contains('//') && !self.startsWith('/') && !self.endsWith('/')",
            "the path is relative to kv/org/ and must not contain '..' or '//' nor begin or end with '/'; write for example billing/stripe",
        ),
    )
    keys: list[Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]] = Field(
        default_factory=list,
        description="Keys to deliver; all of them when empty.",
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class Source(ApiModel):
    """Where the credential comes from: exactly one kind."""

    model_config = ConfigDict(
        json_schema_extra={**EXACTLY_ONE, **cel("has(self.kv)", "exactly one source is needed: kv")}
    )

    kv: KVSource | None = Field(default=None, description="A secret of the organization.")


class FileFormat(StrEnum):
    """How the keys are written into the file."""

    JSON = "json"
    DOTENV = "dotenv"
    RAW = "raw"


class FileDelivery(ApiModel):
    """A file on a memory volume of the pod, replaced atomically."""

    path: str = Field(
        description="File name below /var/run/axon/secrets/, for example db.json.",
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
    )
    format: FileFormat = Field(
        default=FileFormat.JSON, description="json, dotenv, or raw (the value of the single key)."
    )
    mode: str = Field(default="0440", description="File mode, octal.", pattern=r"^0[04]{3}$", max_length=4)


class Delivery(ApiModel):
    """How the credential reaches the workload: exactly one way."""

    model_config = ConfigDict(
        json_schema_extra={**EXACTLY_ONE, **cel("has(self.file)", "exactly one delivery is needed: file")}
    )

    file: FileDelivery | None = Field(default=None, description="As a file.")


class SecretBindingSpec(ApiModel):
    """Which credential, for which runtime, how."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            "!has(self.delivery.file) || self.delivery.file.format != 'raw' || !has(self.source.kv) || (has(self.source.kv.keys) && self.source.kv.keys.size() == 1)",
            "format raw writes one value: name exactly one key in source.kv.keys",
        )
    )

    runtime_ref: RuntimeRef = Field(
        description="The runtime that may hold the credential.",
        json_schema_extra=cel("self == oldSelf", "runtimeRef is immutable; delete the binding and create another one"),
    )
    source: Source = Field(description="Where the credential comes from.")
    delivery: Delivery = Field(description="How it reaches the workload.")
    egress: list[EgressRule] = Field(
        default_factory=list,
        description="Where the credential is used; opens the runtime's network there, only within the Tenant's allow-list.",
        max_length=16,
    )
    ttl: Duration = Field(
        default="15m",
        description="How long one login of the runtime to OpenBao lasts, 1m to 24h; the shortest of a runtime's bindings counts.",
        json_schema_extra=cel(
            "duration(self) >= duration('1m') && duration(self) <= duration('24h')", "must be between 1m and 24h"
        ),
    )


class Consumers(ApiModel):
    """How far the delivery has come."""

    ready: int = Field(description="Pods that serve the current revision.", ge=0)
    total: int = Field(description="Pods of the runtime that run, or may hold files.", ge=0)


class SecretBindingStatus(ApiModel):
    """What the operator observed. Never a value, token, accessor or lease id."""

    observed_generation: int | None = Field(
        default=None, description="The generation of the spec that the status speaks of."
    )
    conditions: list[Condition] = Field(
        default_factory=list, description="Observations about the binding.", max_length=16
    )
    revision: str | None = Field(
        default=None, description="The runtime's set of credentials that contains this binding.", max_length=64
    )
    consumers: Consumers | None = Field(default=None, description="How many pods serve that revision.")
