"""Durations, and "is what exists as planned?"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.domain.agent import Folder
from axon_operator.domain.values import as_planned, has_unplanned, seconds

plain = st.recursive(
    st.text(min_size=1) | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("24h", 86400), ("2h1m1s", 7261)]
)
def test_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected


@given(plain)
def test_everything_is_as_planned_when_it_is_the_plan(value: object) -> None:
    assert as_planned(value, value)


@given(st.dictionaries(st.text(max_size=8), plain, max_size=4), st.text(min_size=9, max_size=12), plain)
def test_what_a_server_adds_to_a_map_is_no_drift(planned: dict[str, object], name: str, extra: object) -> None:
    assert as_planned({**planned, name: extra}, planned)


@given(st.lists(plain, max_size=4), plain)
def test_what_somebody_adds_to_a_list_is_drift(planned: list[object], extra: object) -> None:
    assert not as_planned([*planned, extra], planned)


@given(plain)
def test_nothing_is_unplanned_when_it_is_the_plan(value: object) -> None:
    assert not has_unplanned(value, value, {})


@given(st.lists(plain, max_size=4), plain)
def test_an_item_that_somebody_adds_is_unplanned(planned: list[object], extra: object) -> None:
    assert has_unplanned([*planned, extra], planned, {})


def test_what_servers_add_is_not_unplanned_and_an_empty_map_is() -> None:
    known = {".a.default": (1,), ".a.any": ()}
    assert not has_unplanned({"a": {"default": 1, "any": "x", "empty": "", "none": None, "list": []}}, {"a": {}}, known)
    assert not has_unplanned({"a": {"default": 1}}, {}, known)
    assert has_unplanned({"a": {"default": 2}}, {"a": {}}, known)
    assert has_unplanned({"selector": {}}, {}, known)


def test_an_ingress_rule_where_none_is_planned_is_drift() -> None:
    assert not as_planned({"ingress": [{"from": []}]}, {"ingress": []})
    assert as_planned({}, {"ingress": []})


@pytest.mark.parametrize(("live", "planned"), [("1", "1000m"), ("1Gi", "1024Mi"), ("500m", "0.5")])
def test_the_server_may_write_a_quantity_in_another_way(live: str, planned: str) -> None:
    assert as_planned({"hard": {"limits.cpu": live}}, {"hard": {"limits.cpu": planned}})
    assert not as_planned({"value": live}, {"value": planned})


def test_a_plan_may_name_one_of_an_enumeration() -> None:
    assert as_planned({"name": "env"}, {"name": Folder.ENV})
    assert not as_planned({"name": "proxy"}, {"name": Folder.ENV})


@pytest.mark.parametrize(("live", "planned"), [(1, True), (True, 1), ("true", True), (None, False), (None, 0)])
def test_types_are_not_mixed_up(live: object, planned: object) -> None:
    assert not as_planned(live, planned)
