"""The informers' memory: the newest state counts, whoever tells of it, and what is gone stays gone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.names import OURS, TENANT_LABEL
from axon_operator.domain.resources import BINDING, CONFIG_MAP, EVENT, POD, RUNTIME, Manifest, Resource, ref_of

Told = list[tuple[str | None, str | None]]


def made(name: str = "a", version: int = 1, *, uid: str = "u1", kind: Resource = CONFIG_MAP, **more: Any) -> Manifest:
    metadata = {"name": name, "namespace": "axon-acme", "uid": uid, "resourceVersion": str(version), "labels": OURS}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **more}


def labelled(labels: dict[str, str], version: int, kind: Resource) -> Manifest:
    manifest = made(version=version, kind=kind)
    manifest["metadata"]["labels"] = labels
    return manifest


def listening() -> tuple[Store, Told]:
    store, told = Store({CONFIG_MAP: OURS, POD: {TENANT_LABEL: ""}, BINDING: None, RUNTIME: None}), Told()
    store.subscribe(lambda before, after: told.append((version(before), version(after))))
    return store, told


def version(manifest: Manifest | None) -> str | None:
    return manifest["metadata"]["resourceVersion"] if manifest else None


def test_a_watch_tells_of_what_is_new_and_not_of_old_news() -> None:
    store, told = listening()
    for number in (3, 2, 3, 5):
        store.watched(made(version=number))
    assert told == [(None, "3"), ("3", "5")]
    assert version(store.get(ref_of(made()))) == "5"


def test_our_own_writes_are_known_at_once_and_come_back_as_no_news() -> None:
    store, told = listening()
    store.written(made(version=7))
    store.watched(made(version=7))
    assert version(store.get(ref_of(made()))) == "7"
    assert told == []


def test_what_is_gone_stays_gone_whichever_news_comes_late() -> None:
    store, told = listening()
    store.watched(made(version=1))
    store.removed(ref_of(made()), "u1")
    store.watched(made(version=9))
    store.written(made(version=9))
    assert store.get(ref_of(made())) is None
    assert told == [(None, "1")]
    store.watched(made(version=10, uid="u2"))
    assert version(store.get(ref_of(made()))) == "10"


def test_the_end_of_a_predecessor_does_not_remove_its_successor() -> None:
    store, _ = listening()
    store.watched(made(version=4, uid="u2"))
    store.gone(ref_of(made()), "u1", 9)
    assert store.get(ref_of(made()))


def test_an_object_that_has_its_label_again_is_there_again() -> None:
    store, told = listening()
    store.watched(made(version=1))
    store.gone(ref_of(made()), "u1", 2)
    store.watched(made(version=1))
    assert store.get(ref_of(made())) is None
    store.watched(made(version=3))
    assert version(store.get(ref_of(made()))) == "3"
    assert told == [(None, "1"), ("1", None), (None, "3")]


@pytest.mark.parametrize("kind", [CONFIG_MAP, POD], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("answered_first", [True, False])
def test_an_object_that_our_own_write_shows_without_its_label_is_gone_until_it_has_it_again(
    kind: Resource, *, answered_first: bool
) -> None:
    store, told = listening()
    ref = ref_of(made(kind=kind))
    store.watched(made(version=1, kind=kind))
    for from_the_watch in (not answered_first, answered_first):
        if from_the_watch:
            store.gone(ref, "u1", 2)
        else:
            store.written(labelled({"other": "x"}, 3, kind))
    store.watched(made(version=3, kind=kind))
    assert store.get(ref) is None
    assert told == [(None, "1"), ("1", None)]
    store.written(labelled({**OURS, TENANT_LABEL: "acme"}, 4, kind))
    assert version(store.get(ref)) == "4"


def test_a_late_end_does_not_remove_what_is_newer() -> None:
    store, told = listening()
    store.watched(made(version=5))
    store.gone(ref_of(made()), "u1", 4)
    assert version(store.get(ref_of(made()))) == "5"
    assert told == [(None, "5")]


def test_an_edit_that_the_answer_to_our_own_write_shows_first_is_told_once() -> None:
    store, told = listening()
    spec = {"runtimeRef": {"name": "agent"}}
    store.watched(made(version=1, kind=BINDING, spec=spec))
    told.clear()
    store.written(made(version=11, kind=BINDING, spec=spec))
    for number in (10, 11):
        store.watched(made(version=number, kind=BINDING, spec=spec))
    assert told == [("1", "11")]


def test_a_list_removes_what_is_not_in_it_but_not_what_is_newer() -> None:
    store, told = listening()
    store.watched(made("old", 3, uid="u1"))
    store.watched(made("kept", 4, uid="u2"))
    store.written(made("newer", 12, uid="u3"))
    told.clear()
    store.prune(CONFIG_MAP, {("axon-acme", "kept")}, 10)
    assert told == [("3", None)]
    assert {m["metadata"]["name"] for m in store.list(CONFIG_MAP, "axon-acme", {})} == {"kept", "newer"}


def test_kinds_that_are_not_watched_are_not_remembered() -> None:
    store, _ = listening()
    store.written(made(kind=EVENT))
    assert len(store) == 0


def test_what_a_reader_does_to_an_object_nobody_else_sees() -> None:
    store, _ = listening()
    store.watched(made(data={"a": "1"}))
    (store.get(ref_of(made())) or {})["data"]["a"] = "changed"
    assert (store.get(ref_of(made())) or {})["data"] == {"a": "1"}


def test_objects_are_found_by_the_runtime_that_they_speak_of() -> None:
    store, _ = listening()
    store.watched(made("b1", kind=BINDING, spec={"runtimeRef": {"name": "agent"}}))
    store.watched(made("b2", kind=BINDING, spec={"runtimeRef": {"name": "other"}}, uid="u2"))
    store.watched(made("caller", kind=RUNTIME, spec={"connections": [{"runtime": "agent", "port": 1}]}, uid="u3"))
    assert [m["metadata"]["name"] for m in store.referring(BINDING, "axon-acme", "agent")] == ["b1"]
    assert [m["metadata"]["name"] for m in store.referring(RUNTIME, "axon-acme", "agent")] == ["caller"]


def test_an_object_that_speaks_of_another_runtime_is_found_by_that_one_only() -> None:
    store, _ = listening()
    caller = made("caller", kind=RUNTIME, spec={"connections": [{"runtime": "agent", "port": 1}]})
    store.watched(caller)
    caller["metadata"]["resourceVersion"] = "2"
    caller["spec"] = {"connections": [{"runtime": "other", "port": 1}]}
    store.watched(caller)
    assert store.referring(RUNTIME, "axon-acme", "agent") == ()
    assert [m["metadata"]["name"] for m in store.referring(RUNTIME, "axon-acme", "other")] == ["caller"]
    store.gone(ref_of(caller), "u1", 3)
    assert store.referring(RUNTIME, "axon-acme", "other") == ()


def test_what_a_pods_template_says_is_left_out() -> None:
    store, _ = listening()
    pod = made(kind=POD, spec={"containers": []}, status={"phase": "Running"})
    store.watched(pod)
    found = store.get(ref_of(pod)) or {}
    assert "spec" not in found
    assert found["status"] == {"phase": "Running"}


def test_managed_fields_are_left_out() -> None:
    store, _ = listening()
    manifest = made()
    manifest["metadata"]["managedFields"] = [{"manager": "someone"}]
    store.watched(manifest)
    assert "managedFields" not in (store.get(ref_of(manifest)) or {})["metadata"]


EVENTS = st.lists(
    st.tuples(st.sampled_from(["watched", "written"]), st.integers(1, 30), st.sampled_from(["a", "b"])), max_size=30
)


@given(EVENTS)
def test_in_whatever_order_news_comes_the_newest_state_remains(events: list[tuple[str, int, str]]) -> None:
    store, _ = listening()
    newest: dict[str, int] = {}
    for how, number, name in events:
        getattr(store, how)(made(name, number, uid=name))
        newest[name] = max(number, newest.get(name, 0))
    seen = {m["metadata"]["name"]: int(m["metadata"]["resourceVersion"]) for m in store.list(CONFIG_MAP, "", {})}
    assert seen == newest
