"""Generations: deterministic, one at a time, and nothing of a namesake counts."""

import datetime
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.domain.binding import Binding, order
from axon_operator.domain.rotation import (
    Generation,
    generations,
    is_restarted,
    may_go,
    next_rotation,
    overlap_ends,
    stamp,
)
from axon_operator.domain.values import seconds

from .around import NOW, ORDERS, USER, bound

INTERVALS = ["1m", "90s", "1h", "24h", "8760h"]
VARIABLE = {"env": {"variables": [{"name": "A", "key": "value"}]}}


def made(name: str, *, interval: str | None, trigger: str, restarts: bool, overlap: str = "30s") -> Binding:
    rotation: dict[str, Any] = {"overlap": overlap, **({"interval": interval} if interval else {})}
    more: dict[str, Any] = {"delivery": VARIABLE} if restarts else {}
    return bound({"generated": {}}, name, rotation=rotation, rotationTrigger=trigger, **more)


sets = st.lists(
    st.builds(
        made,
        st.sampled_from("abcd"),
        interval=st.none() | st.sampled_from(INTERVALS),
        trigger=st.sampled_from(["", "1"]),
        restarts=st.booleans(),
        overlap=st.sampled_from(["0s", "30s", "24h"]),
    ),
    unique_by=lambda b: b.name,
    max_size=4,
)
steps = st.lists(st.integers(0, 4 * 24 * 3600), max_size=6)


def chosen(
    bindings: list[Binding],
    before: Mapping[str, Generation],
    now: datetime.datetime,
    highest: Mapping[str, int] | None = None,
) -> dict[str, Generation]:
    orders = {b.name: order(b, (ORDERS,)) for b in bindings}
    return generations(bindings, before, highest or {}, orders, now)


def after(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


@given(sets, steps)
def test_never_two_generations_at_once_and_asked_again_nothing_new(bindings: list[Binding], later: list[int]) -> None:
    current, now = chosen(bindings, {}, NOW), NOW
    assert {g.number for g in current.values()} <= {1}
    for step in later:
        now += datetime.timedelta(seconds=step)
        found = chosen(bindings, current, now)
        assert found == chosen(list(reversed(bindings)), current, now)
        for name, generation in found.items():
            assert generation.number - current[name].number in {0, 1}
            assert (generation == current[name]) == (generation.number == current[name].number)
        assert chosen(bindings, found, now) == found
        current = found


@given(sets)
def test_what_is_not_due_stays_until_its_time_and_then_goes_within_a_tenth(bindings: list[Binding]) -> None:
    current = chosen(bindings, {}, NOW)
    for binding in bindings:
        due = next_rotation(binding, current[binding.name])
        rotation = binding.spec.rotation
        interval = rotation.interval if rotation else None
        assert (due is None) == (interval is None)
        if due is None or interval is None:
            continue
        nominal = seconds(interval)
        assert 0.9 * nominal <= (due - NOW).total_seconds() <= 1.1 * nominal
        second = datetime.timedelta(seconds=1)
        assert chosen([binding], current, due - second)[binding.name].number == 1
        assert chosen([binding], current, due)[binding.name].number == 2


def test_rotations_are_spread_and_not_in_step_from_one_generation_to_the_next() -> None:
    names = [f"b{n}" for n in range(200)]
    waits = [_wait(made(name, interval="1h", trigger="", restarts=False), 1) for name in names]
    assert len(set(waits)) > 190
    assert min(waits) < 3600 * 0.92 < 3600 * 1.08 < max(waits)
    one = made("b", interval="1h", trigger="", restarts=False)
    assert len({_wait(one, number) for number in range(1, 50)}) > 45


def _wait(binding: Binding, number: int) -> float:
    due = next_rotation(binding, Generation(binding.uid, number, NOW, ""))
    assert due is not None
    return (due - NOW).total_seconds()


@given(sets, st.integers(0, 3600))
def test_a_trigger_rotates_exactly_once(bindings: list[Binding], later: int) -> None:
    current = chosen(bindings, {}, NOW)
    turned = [
        Binding(b.name, b.uid, b.created, b.spec.model_copy(update={"rotation_trigger": "another"})) for b in bindings
    ]
    first = chosen(turned, current, NOW)
    assert all(g.number == 2 for g in first.values())
    assert chosen(turned, first, NOW) == first
    for binding in turned:
        due = next_rotation(binding, first[binding.name])
        if due is None or after(later) < NOW + (due - NOW) * 0.8:
            assert chosen([binding], first, after(later))[binding.name] == first[binding.name]


@given(st.lists(st.sampled_from(["1h", "66m", "70m"]), min_size=2, max_size=4), st.integers(1, 40))
def test_bindings_whose_variables_restart_the_pods_rotate_together(intervals: list[str], number: int) -> None:
    bindings = [made(f"b{n}", interval=i, trigger="", restarts=True) for n, i in enumerate(intervals)]
    file = made("file", interval="70m", trigger="", restarts=False)
    orders = {b.name: order(b, ()) for b in (*bindings, file)}
    current = {b.name: Generation(b.uid, number, NOW, orders[b.name]) for b in (*bindings, file)}
    first = min(due for b in bindings if (due := next_rotation(b, current[b.name])))
    found = chosen([*bindings, file], current, first)
    for binding in bindings:
        due = next_rotation(binding, current[binding.name])
        assert due is not None
        near = first >= due - (due - NOW) * 0.2
        assert (found[binding.name].number == number + 1) == near
    own = next_rotation(file, current["file"])
    assert own is not None
    assert (found["file"].number == number + 1) == (own <= first), "a file restarts nothing and waits for its own time"


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_nothing_of_an_earlier_binding_of_that_name_counts(number: int, there: int) -> None:
    binding = made("a", interval="1h", trigger="", restarts=False)
    namesake = Generation("another uid", number, NOW, order(binding, ()))
    found = chosen([binding], {"a": namesake}, NOW, {"a": there})["a"]
    assert (found.uid, found.number) == (binding.uid, there + 1)


def test_one_of_another_kind_of_source_does_not_count() -> None:
    kept = bound({"kv": {"path": "x"}}, "a")
    before = chosen([made("a", interval=None, trigger="", restarts=False)], {}, NOW)
    found = chosen([kept], before, NOW)["a"]
    assert (found.number, found.made) == (0, None)
    again = chosen([made("a", interval=None, trigger="", restarts=False)], {"a": found}, NOW, {"a": 1})["a"]
    assert again.number == 2


def test_a_name_that_openbao_still_has_something_of_is_not_used_again() -> None:
    binding = made("a", interval=None, trigger="", restarts=False)
    assert chosen([binding], {}, NOW, {"a": 3})["a"].number == 4
    turned = made("a", interval=None, trigger="1", restarts=False)
    assert chosen([turned], chosen([binding], {}, NOW), NOW, {"a": 7})["a"].number == 8


def test_what_is_not_made_here_is_never_rotated() -> None:
    for source in ({"kv": {"path": "x"}}, {"grant": {"user": USER, "path": "x"}}):
        binding = bound(source, "a", rotationTrigger="1")
        first = chosen([binding], {}, NOW)
        assert first["a"].number == 0
        assert next_rotation(binding, first["a"]) is None
        assert overlap_ends(binding, first["a"]) is None
        assert chosen([bound(source, "a", rotationTrigger="2")], first, after(10**6)) == first


@given(st.sampled_from(["0s", "30s", "24h"]), st.integers(0, 2 * 24 * 3600))
def test_the_old_one_may_go_when_the_overlap_is_over(overlap: str, later: int) -> None:
    binding = made("a", interval=None, trigger="", restarts=False, overlap=overlap)
    assert may_go(binding, Generation(binding.uid, 2, NOW, ""), after(later)) == (later > seconds(overlap))


def test_another_role_its_rights_or_another_life_need_another_credential_and_nothing_else_does() -> None:
    reader = bound({"database": {"connection": "orders", "role": "reader"}})
    asked = order(reader, (ORDERS,))
    assert asked != order(bound({"database": {"connection": "orders", "role": "writer"}}), (ORDERS,))
    assert asked != order(bound({"database": {"connection": "orders", "role": "reader"}}, ttl="1m"), (ORDERS,))
    more = ORDERS.roles[0].model_copy(update={"member_of": ["orders_read", "a"]})
    same = more.model_copy(update={"member_of": ["a", "orders_read"]})
    wider, turned = (ORDERS.model_copy(update={"roles": [role]}) for role in (more, same))
    assert asked != order(reader, (wider,)) == order(reader, (turned,))
    for spec in (
        {"delivery": {"file": {"path": "another.json"}}},
        {"rotation": {"interval": "1h"}},
        {"egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]},
    ):
        assert asked == order(bound({"database": {"connection": "orders", "role": "reader"}}, **spec), (ORDERS,))


def test_only_variables_that_restart_restart() -> None:
    none = {"env": {**VARIABLE["env"], "onChange": "None"}}
    assert is_restarted(bound({"generated": {}}, delivery=VARIABLE).spec)
    assert not is_restarted(bound({"generated": {}}, delivery=none).spec)
    assert not is_restarted(bound({"generated": {}}).spec)


def test_a_stamp_is_in_utc_and_to_the_second() -> None:
    east = datetime.timezone(datetime.timedelta(hours=2))
    assert stamp(datetime.datetime(2026, 1, 1, 1, 2, 3, 999999, tzinfo=east)) == "2025-12-31T23:02:03Z"
