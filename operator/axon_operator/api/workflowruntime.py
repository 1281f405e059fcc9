"""WorkflowRuntime: where an organization's workflows run."""

from typing import Annotated

from pydantic import ConfigDict, Field

from axon_operator.api.base import DNS_LABEL, ApiModel, Duration, ObjectName, Port, Quantity, at_most, cel
from axon_operator.api.conditions import Condition
from axon_operator.api.tenant import EgressRule

IMAGE = (
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[a-f0-9]{64})?$"
)


class EnvVar(ApiModel):
    """A plain environment variable. Credentials come through a SecretBinding, never from here."""

    name: str = Field(description="Name of the variable.", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)
    value: str = Field(description="Its value, visible to everyone who may read the object.", max_length=4096)


class ResourceAmounts(ApiModel):
    """CPU and memory."""

    cpu: Quantity | None = Field(default=None, description="CPU, for example 250m.")
    memory: Quantity | None = Field(default=None, description="Memory, for example 256Mi.")


class Resources(ApiModel):
    """What one pod's workload container gets."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                at_most("requests.cpu", "limits.cpu"),
                at_most("requests.memory", "limits.memory"),
            ]
        }
    )

    requests: ResourceAmounts = Field(default_factory=ResourceAmounts, description="Guaranteed amounts.")
    limits: ResourceAmounts = Field(default_factory=ResourceAmounts, description="Ceilings.")


class ContainerPort(ApiModel):
    """A TCP port on which the workload listens."""

    name: str = Field(
        description="Name of the port.",
        pattern=DNS_LABEL,
        max_length=15,
        json_schema_extra=cel(
            "self.matches('[a-z]') && !self.contains('--')",
            "a port's name needs a letter and must not contain '--'; write for example http",
        ),
    )
    port: Annotated[int, Field(ge=1024, le=65535)] = Field(
        description="Port number; 1024 or above, as the pod is not root."
    )


class Connection(ApiModel):
    """Another runtime of the same tenant that this one may call."""

    runtime: ObjectName = Field(description="Name of the other WorkflowRuntime, in the same namespace.")
    port: Port = Field(description="The port of the other runtime.")


class Run(ApiModel):
    """The workload runs to its end, once, instead of being kept running."""

    deadline: Duration = Field(
        default="1h",
        description="How long a run may take; then its pods are stopped and it has failed.",
        json_schema_extra=cel(
            "duration(self) >= duration('10s') && duration(self) <= duration('168h')", "must be between 10s and 168h"
        ),
    )
    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=0, description="How many pods may fail before the run has failed."
    )
    trigger: str = Field(
        default="",
        description="Any change runs it again, as does a change of what is to run; what still runs is stopped.",
        max_length=64,
    )


class WorkflowRuntimeSpec(ApiModel):
    """What is to run, and what it may reach."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "has(self.run) == has(oldSelf.run)",
                    "message": "run can be neither added nor taken away; delete the runtime and create another one",
                },
                {
                    "rule": "!has(self.run) || self.replicas > 0",
                    "message": "a run needs at least one pod; set suspended to keep it from starting",
                },
            ]
        }
    )

    image: str = Field(
        description="Container image with a tag or digest, for example registry.example/agent@sha256:….",
        min_length=1,
        max_length=512,
        pattern=IMAGE,
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.contains('@') || self.substring(self.lastIndexOf('/') + 1).contains(':')",
                    "message": "the image needs a tag or, better, a digest: name:tag or name@sha256:…",
                },
                {
                    "rule": f"self == '' || self.matches('{IMAGE}')",
                    "message": "must be an image reference such as registry.example/agent:1.0, the name in lower case",
                },
            ]
        },
    )
    command: list[Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=list, description="Entry point, instead of the image's.", max_length=64
    )
    args: list[Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=list, description="Arguments of the entry point.", max_length=128
    )
    env: list[EnvVar] = Field(
        default_factory=list,
        description="Plain environment variables; no secrets.",
        max_length=128,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    resources: Resources = Field(default_factory=Resources, description="CPU and memory of the workload.")
    replicas: Annotated[int, Field(ge=0, le=100)] = Field(default=1, description="Number of pods.")
    ports: list[ContainerPort] = Field(
        default_factory=list,
        description="TCP ports on which the workload listens.",
        max_length=16,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            **cel("self.all(p, self.exists_one(q, q.port == p.port))", "each port number may stand here only once"),
        },
    )
    connections: list[Connection] = Field(
        default_factory=list, description="Runtimes of the same tenant that this one may call.", max_length=32
    )
    egress: list[EgressRule] = Field(
        default_factory=list,
        description="Ranges outside the cluster that this runtime may reach; only within the Tenant's allow-list.",
        max_length=32,
    )
    run: Run | None = Field(
        default=None,
        description="The workload runs to its end, once; its credentials end with it. Without this it is kept running.",
    )
    suspended: bool = Field(default=False, description="Scale to zero and keep everything else.")


class WorkflowRuntimeStatus(ApiModel):
    """What the operator observed."""

    observed_generation: int | None = Field(
        default=None, description="The generation of the spec that the status speaks of."
    )
    conditions: list[Condition] = Field(
        default_factory=list, description="Observations about the runtime.", max_length=24
    )
    replicas: int | None = Field(default=None, description="Number of pods.")
    ready_replicas: int | None = Field(default=None, description="Number of ready pods.")
    selector: str | None = Field(
        default=None, description="Label selector of the pods, for the scale subresource.", max_length=512
    )
    service_account: str | None = Field(default=None, description="The pods' service account.", max_length=63)
    service_account_uid: str | None = Field(
        default=None, alias="serviceAccountUID", description="Which service account of that name it is.", max_length=63
    )
    revision: str | None = Field(
        default=None, description="The set of credentials that pods are to serve.", max_length=64
    )
