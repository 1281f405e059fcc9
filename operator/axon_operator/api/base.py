"""What all API models share, and the string types whose patterns end up in the CRDs."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A part of a custom resource: camelCase on the wire, immutable.

    Unknown fields are ignored: kubectl refuses them and the API server drops them, so a live object holds only
    those of a newer version's CRD, and after a rollback they must block neither a runtime nor a deletion.

    `hide_input_in_errors` keeps values out of messages (a spec is not secret, but a user may have
    pasted a secret into the wrong field).
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=False,
    )

    def to_json(self) -> dict[str, Any]:
        """The JSON object as Kubernetes stores it, without the fields that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def cel(rule: str, message: str) -> dict[str, Any]:
    """`json_schema_extra` for one CEL rule; `message` tells the user what to change."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message}]}


def keyed(key: str) -> dict[str, Any]:
    """`json_schema_extra` for a list whose items are told apart by one of their fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def at_most(small: str, large: str) -> dict[str, Any]:
    """The rule that one quantity of a model is not above another; an absent one is fine. Both name fields of `self`."""
    steps = [path.split(".")[: n + 1] for path in (small, large) for n in range(path.count(".") + 1)]
    absent = " || ".join(f"!has(self.{'.'.join(step)})" for step in steps)
    unread = " || ".join(f"!isQuantity(self.{path})" for path in (small, large))
    return {
        "rule": f"{absent} || {unread} || quantity(self.{small}).compareTo(quantity(self.{large})) <= 0",
        "message": f"{small} is larger than {large}; lower the first or raise the second",
    }


def at_least(smallest: str, why: str) -> dict[str, Any]:
    """The rule that a quantity is not below `smallest`; `why` ends the message."""
    return cel(
        f"!isQuantity(self) || quantity(self).compareTo(quantity('{smallest}')) >= 0",
        f"must be at least {smallest}, {why}",
    )


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

ObjectName = Annotated[str, Field(pattern=DNS_LABEL, max_length=40)]
"""Name of one of our namespaced objects: 40 characters leave room for the names derived from it."""

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=20)]
"""A Kubernetes quantity such as `500m` or `2Gi`."""

Duration = Annotated[str, Field(pattern=r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", min_length=2, max_length=16)]
"""A duration such as `90s`, `15m` or `1h30m`; never negative."""

Port = Annotated[int, Field(ge=1, le=65535)]

HostName = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", min_length=1, max_length=253),
]
"""A host: small letters, without scheme, port and path."""


class CredentialRef(ApiModel):
    """A Secret in the operator's own namespace, made by an administrator for this tenant and host."""

    name: str = Field(
        description=(
            "Name of the Secret. Its labels axonos.ai/tenant, axonos.ai/host and axonos.ai/purpose must say for whom it"
            " is; its key `credential` holds the value."
        ),
        pattern=DNS_LABEL,
        max_length=63,
    )
