"""The reference pages say what the models and the list of reasons say, completely."""

from enum import StrEnum
from pathlib import Path

import pytest

from axon_operator.api import crds, docs
from axon_operator.api.reasons import ConditionType, Reason


def test_the_committed_pages_are_current() -> None:
    assert crds.stale(docs.outputs(), crds.ROOT) == []


@pytest.mark.parametrize("enum", [ConditionType, Reason])
def test_every_condition_type_and_reason_is_documented(enum: type[StrEnum]) -> None:
    undocumented = {member.value for member in enum} - docs.member_docs(enum).keys()
    assert undocumented == set(), "write a string below the member"


@pytest.mark.parametrize("kind", crds.KINDS, ids=lambda kind: kind.name)
def test_a_page_names_every_field(kind: crds.Kind) -> None:
    page = docs.outputs()[Path("docs/reference") / f"{kind.name.lower()}.md"]
    for part, model in (("spec", kind.spec), ("status", kind.status)):
        for name in crds.structural(model)["properties"]:
            assert f"| `{part}.{name}` |" in page


def test_rules_of_the_api_server_are_on_the_page() -> None:
    page = docs.kind_page(crds.SECRET_BINDING)
    assert "Rule: runtimeRef is immutable" in page
    assert "| `spec.ttl` | string | `15m` |" in page
