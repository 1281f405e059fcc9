"""SecretBinding: which credential which runtime may hold."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from axon_operator.api.base import ApiModel, Duration, HostName, ObjectName, Port, cel, keyed
from axon_operator.api.conditions import Condition
from axon_operator.api.tenant import EgressRule

EXACTLY_ONE = {"minProperties": 1, "maxProperties": 1}

SecretPath = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"),
]
"""A path below a folder that we fix: no `..`, no empty segment, nothing that OpenBao would read as a pattern."""

Key = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""Name of one value of a secret."""

USER_ID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


def _inside(folder: str, example: str) -> dict[str, Any]:
    return cel(
        "!self.contains('..') && !self.contains('//') && !self.startsWith('/') && !self.endsWith('/')",
        f"the path is relative to {folder} and must not contain '..' or '//' nor begin or end with '/'; write for example {example}",
    )


def _keys() -> Any:
    return Field(
        default_factory=list,
        description="Keys to deliver; all of them when empty.",
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class RuntimeRef(ApiModel):
    """A WorkflowRuntime in the same namespace."""

    name: ObjectName = Field(description="Name of the WorkflowRuntime; it is always in the binding's own namespace.")


class KVSource(ApiModel):
    """A secret of the organization, kept in the tenant's KV store."""

    path: SecretPath = Field(
        description="Path below kv/org/ in the tenant's OpenBao namespace, for example billing/stripe.",
        json_schema_extra=_inside("kv/org/", "billing/stripe"),
    )
    keys: list[Key] = _keys()


class GrantSource(ApiModel):
    """A user's own secret, as far as that user has granted it to the runtime: `kubectl axon secret allow`."""

    user: str = Field(
        description="The user's id in the tenant's realm (the `sub` of their tokens), which is never given to another.",
        pattern=USER_ID,
        max_length=36,
    )
    path: SecretPath = Field(
        description="Path of the user's secret, as the user named it, for example github/token.",
        json_schema_extra=_inside("the user's own folder", "github/token"),
    )
    keys: list[Key] = _keys()


class DatabaseSource(ApiModel):
    """An account of a database, made for each pod or kept by OpenBao. Its keys: username, password, host, port, database."""

    connection: ObjectName = Field(description="Name of the database in spec.vault.databases of the Tenant.")
    role: ObjectName = Field(
        description=(
            "Name of one of the roles of that database: with memberOf an account is made for each pod, with account it"
            " is that one, for all of them, and ttl says nothing about it."
        )
    )


class PKISource(ApiModel):
    """A certificate of the tenant's authority for the runtime's SPIFFE id. Its keys: certificate, private_key, ca_chain."""


class Charset(StrEnum):
    """Of what a generated value is made."""

    ALPHANUMERIC = "Alphanumeric"
    """Letters and digits."""
    PRINTABLE = "Printable"
    """Letters, digits and signs that need no quoting in a shell, a URL or a .env file: `-._~`."""


class GeneratedSource(ApiModel):
    """A random value that OpenBao generates and keeps. Its key: value."""

    length: Annotated[int, Field(ge=16, le=100)] = Field(default=32, description="Number of characters.")
    charset: Charset = Field(default=Charset.ALPHANUMERIC, description="Alphanumeric, or Printable (also -._~).")


class Source(ApiModel):
    """Where the credential comes from: exactly one kind."""

    model_config = ConfigDict(
        json_schema_extra={
            **EXACTLY_ONE,
            **cel(
                "has(self.kv) || has(self.grant) || has(self.database) || has(self.pki) || has(self.generated)",
                "exactly one source is needed: kv, grant, database, pki or generated",
            ),
        }
    )

    kv: KVSource | None = Field(default=None, description="A secret of the organization.")
    grant: GrantSource | None = Field(default=None, description="A secret of a user who has consented.")
    database: DatabaseSource | None = Field(default=None, description="An account of a database that expires.")
    pki: PKISource | None = Field(default=None, description="A certificate for the runtime's own identity.")
    generated: GeneratedSource | None = Field(default=None, description="A random value.")


class FileFormat(StrEnum):
    """How the keys are written into the file."""

    JSON = "json"
    DOTENV = "dotenv"
    PEM = "pem"
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
        default=FileFormat.JSON,
        description="json, dotenv, raw (the one value), or for a certificate pem (key, certificate, chain).",
    )
    mode: str = Field(default="0440", description="File mode, octal.", pattern=r"^04[04]{2}$", max_length=4)


class OnChange(StrEnum):
    """What happens to the workload when a value changes that it has read once."""

    NONE = "None"
    RESTART = "Restart"


class Variable(ApiModel):
    """An environment variable with one value of the credential."""

    name: str = Field(description="Name of the variable.", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)
    key: Key = Field(description="Which value of the credential.")


class EnvDelivery(ApiModel):
    """Environment variables, for programs that read nothing else. They are set when the workload starts."""

    variables: list[Variable] = Field(
        description=(
            "The variables. The kubelet reads them from a file in which no value can hold a single quote: a credential"
            " with one is not delivered, and the binding says ValueUnusable."
        ),
        min_length=1,
        max_length=32,
        json_schema_extra=keyed("name"),
    )
    on_change: OnChange = Field(
        default=OnChange.RESTART,
        description="Restart: pods are replaced, a few at a time, when the credential changes. None: they keep what they started with.",
    )


class ProxyDelivery(ApiModel):
    """The workload calls a local port; the pod's proxy adds the credential and calls the host over TLS.

    The workload never holds it.
    """

    host: HostName = Field(description="The one host to which the credential is sent, verified by its certificate.")
    port: Port = Field(default=443, description="The host's port.")
    local_port: Annotated[int, Field(ge=1024, le=65535)] = Field(
        description="Where the workload calls: http://127.0.0.1:<localPort>."
    )
    header: str = Field(
        default="authorization",
        description="The request header that carries the credential, in small letters.",
        pattern=r"^[a-z][a-z0-9-]*$",
        max_length=64,
        json_schema_extra=cel(
            "!(self in ['host', 'connection', 'content-length', 'transfer-encoding', 'te', 'upgrade', 'expect'])",
            "this header steers the connection itself; name the one in which the host expects the credential",
        ),
    )
    prefix: str = Field(
        default="",
        description="What stands before the value in the header, such as 'Bearer '.",
        pattern=r"^[A-Za-z0-9 _=-]*$",
        max_length=32,
    )
    key: Key = Field(description="Which value of the credential.")


class Delivery(ApiModel):
    """How the credential reaches the workload: exactly one way."""

    model_config = ConfigDict(
        json_schema_extra={
            **EXACTLY_ONE,
            **cel(
                "has(self.file) || has(self.env) || has(self.proxy)",
                "exactly one delivery is needed: file, env or proxy",
            ),
        }
    )

    file: FileDelivery | None = Field(default=None, description="As a file.")
    env: EnvDelivery | None = Field(default=None, description="As environment variables.")
    proxy: ProxyDelivery | None = Field(default=None, description="Added to requests; the workload never holds it.")


class Rotation(ApiModel):
    """When a new credential takes the place of the old one."""

    interval: Duration | None = Field(
        default=None,
        description="How often, give or take 10 %; without it only when rotationTrigger changes.",
        json_schema_extra=cel(
            "duration(self) >= duration('1m') && duration(self) <= duration('8760h')", "must be between 1m and 8760h"
        ),
    )
    overlap: Duration = Field(
        default="30s",
        description="How long the old one stays good after the new one was published; longer if a pod has not taken it over.",
        json_schema_extra=cel("duration(self) <= duration('24h')", "must be at most 24h"),
    )


_SECRET_WITH_ONE_KEY = " || ".join(
    f"has(self.source.{kind}) && has(self.source.{kind}.keys) && self.source.{kind}.keys.size() == 1"
    for kind in ("kv", "grant")
)


class SecretBindingSpec(ApiModel):
    """Which credential, for which runtime, how."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": f"!has(self.delivery.file) || self.delivery.file.format != 'raw' || has(self.source.generated) || {_SECRET_WITH_ONE_KEY}",
                    "message": "format raw writes one value: use it for a generated one, or name exactly one key of kv or grant",
                },
                {
                    "rule": "!has(self.delivery.file) || (self.delivery.file.format == 'pem') == has(self.source.pki) || has(self.source.pki) && self.delivery.file.format == 'json'",
                    "message": "a certificate is written as pem or json, and nothing else as pem",
                },
                {
                    "rule": "!has(self.delivery.proxy) || has(self.source.kv) || has(self.source.grant) || has(self.source.generated)",
                    "message": "a proxy adds one value to requests: its source is kv, grant or generated",
                },
                {
                    "rule": "!has(self.delivery.env) || has(self.source.kv) || has(self.source.grant) || has(self.source.generated) || has(self.delivery.env.onChange) && self.delivery.env.onChange == 'Restart' && has(self.rotation) && has(self.rotation.interval) && duration(self.rotation.interval) + duration(self.rotation.interval) <= duration(self.ttl)",
                    "message": "a variable keeps the account that expires with ttl: set onChange Restart and rotation.interval to at most half of ttl",
                },
                {
                    "rule": "!has(self.rotation) || duration(self.rotation.overlap) <= duration(self.ttl)",
                    "message": "rotation.overlap is longer than ttl: no credential lives that long; lower it",
                },
                {
                    "rule": "!has(self.rotation) || has(self.source.database) || has(self.source.pki) || has(self.source.generated)",
                    "message": "only database, pki and generated credentials are rotated here; the others by whoever owns them",
                },
            ]
        }
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
        description=(
            "How long an account or certificate lives, 1m to 24h; pods get the next one in time. For the other sources:"
            " how long one login of the runtime to OpenBao lasts. The shortest of a runtime's bindings counts, but where"
            " there are accounts or certificates, a login lasts twice as long as they do."
        ),
        json_schema_extra=cel(
            "duration(self) >= duration('1m') && duration(self) <= duration('24h')", "must be between 1m and 24h"
        ),
    )
    rotation: Rotation | None = Field(
        default=None, description="When a new credential takes the place of the old one, in two steps."
    )
    rotation_trigger: str = Field(
        default="",
        description="Any change rotates now. For kv and grant it does nothing: their owner changes the value.",
        max_length=64,
    )
    revoked: bool = Field(
        default=False,
        description="True: the credential is taken back now, and the binding kept. What is issued afterwards is a new one.",
    )

    @property
    def is_issued(self) -> bool:
        """Whether the credential is made for this binding, and with it taken back; else its owner's value is handed on."""
        return bool(self.source.database or self.source.pki or self.source.generated)


class Consumers(ApiModel):
    """How far the delivery has come."""

    ready: int = Field(description="Pods that serve the binding as it is in the current revision.", ge=0)
    total: int = Field(description="Pods of the runtime that run, or may hold files.", ge=0)


class SecretBindingStatus(ApiModel):
    """What the operator observed. Never a value, token, accessor or lease id."""

    observed_generation: int | None = Field(
        default=None, description="The generation of the spec that the status speaks of."
    )
    conditions: list[Condition] = Field(
        default_factory=list, description="Observations about the binding.", max_length=24
    )
    revision: str | None = Field(
        default=None, description="The runtime's set of credentials that contains this binding.", max_length=64
    )
    consumers: Consumers | None = Field(default=None, description="How many pods serve that revision.")
    rotated_at: str | None = Field(
        default=None, description="When the credential that is current was made (RFC 3339).", max_length=32
    )
    next_rotation: str | None = Field(default=None, description="When the next one is due (RFC 3339).", max_length=32)
    expires_at: str | None = Field(
        default=None,
        description="When the first pod's credential ends, if OpenBao gave no new one until then (RFC 3339).",
        max_length=32,
    )
