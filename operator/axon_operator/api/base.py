"""What all API models share, and the string types whose patterns end up in the CRDs."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A part of a custom resource: camelCase on the wire, unknown fields refused, immutable.

    `hide_input_in_errors` keeps values out of messages (a spec is not secret, but a user may have
    pasted a secret into the wrong field).
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="forbid",
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


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

ObjectName = Annotated[str, Field(pattern=DNS_LABEL, max_length=40)]
"""Name of one of our namespaced objects: 40 characters leave room for the names derived from it."""

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=20)]
"""A Kubernetes quantity such as `500m` or `2Gi`."""

Duration = Annotated[str, Field(pattern=r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", min_length=2, max_length=16)]
"""A duration such as `90s`, `15m` or `1h30m`; never negative."""

Port = Annotated[int, Field(ge=1, le=65535)]
