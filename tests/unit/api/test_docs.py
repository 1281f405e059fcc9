"""The reference pages say what the models and the list of reasons say, completely."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

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
        for name in crds.structural(model)["properties"] if model else ():
            assert f"| `{part}.{name}` |" in page


@pytest.mark.parametrize("kind", crds.KINDS, ids=lambda kind: kind.name)
def test_every_rule_of_the_api_server_is_on_the_page(kind: crds.Kind) -> None:
    page = docs.kind_page(kind)
    rules = list(_rules(crds.crd(kind)))
    assert rules
    assert [rule for rule in rules if docs._cell(rule) not in page] == []


def _rules(node: Any) -> Iterator[str]:
    """The messages of all rules, wherever in the CRD they stand."""
    children = node if isinstance(node, list) else node.values() if isinstance(node, dict) else ()
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get(crds.VALIDATIONS, ()))
    for child in children:
        yield from _rules(child)


def test_a_field_has_its_default_on_the_page() -> None:
    assert "| `spec.ttl` | string | `15m` |" in docs.kind_page(crds.SECRET_BINDING)
