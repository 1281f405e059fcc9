"""Which bindings are delivered, and what the others are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.reasons import Reason
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain.binding import (
    Binding,
    Problem,
    Secret,
    assumed,
    deliverable,
    in_question,
    kept_paths,
    problems,
)

from .around import IMAGE, USER, around, bound

KEYS = {"org/billing/stripe": Secret(frozenset({"api_key", "hook"}), 1)}
AROUND = around()


def binding(
    name: str,
    *,
    created: str = "2026-01-01T00:00:00Z",
    path: str = "billing/stripe",
    file: str = "",
    keys: tuple[str, ...] = (),
    revoked: bool = False,
) -> Binding:
    delivery = {"file": {"path": file or f"{name}.json"}}
    source = {"kv": {"path": path, "keys": list(keys)}}
    return bound(source, name, created=created, delivery=delivery, revoked=revoked)


def only(found: dict[str, Problem]) -> Problem:
    (problem,) = found.values()
    return problem


def test_a_binding_without_a_problem_is_delivered() -> None:
    one = binding("a", keys=("api_key",))
    assert problems([one], KEYS, AROUND) == {}
    assert deliverable([one], KEYS, AROUND) == (one,)


def test_a_missing_secret_is_waited_for_and_named() -> None:
    found = only(problems([binding("a", path="nope")], {"org/nope": None}, AROUND))
    assert (found.reason, found.permanent) == (Reason.SOURCE_MISSING, False)
    assert "kv/org/nope" in found.message


def test_a_missing_key_is_named() -> None:
    found = only(problems([binding("a", keys=("api_key", "other"))], KEYS, AROUND))
    assert found.reason is Reason.SOURCE_MISSING
    assert "no key other" in found.message


def test_a_variable_of_a_key_that_is_missing_is_named() -> None:
    delivery = {"env": {"variables": [{"name": "KEY", "key": "other"}]}}
    found = only(problems([bound({"kv": {"path": "billing/stripe"}}, delivery=delivery)], KEYS, AROUND))
    assert "no key other" in found.message


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ({"database": {"connection": "orders", "role": "reader"}}, "secret"),
        ({"pki": {}}, "value"),
        ({"generated": {}}, "password"),
    ],
)
def test_a_key_that_a_source_never_has_is_refused(source: dict[str, object], key: str) -> None:
    delivery = {"env": {"variables": [{"name": "KEY", "key": key}]}}
    found = only(problems([bound(source, delivery=delivery)], {}, AROUND))
    assert (found.reason, found.permanent) == (Reason.INVALID_SPEC, True)


@pytest.mark.parametrize(("connection", "role"), [("orders", "admin"), ("other", "reader")])
def test_a_database_or_role_that_the_tenant_does_not_name_gives_nothing(connection: str, role: str) -> None:
    found = only(problems([bound({"database": {"connection": connection, "role": role}})], {}, AROUND))
    assert (found.reason, found.permanent) == (Reason.SOURCE_MISSING, False)


def test_a_grant_counts_where_openbao_has_it_for_the_runtime_or_for_this_revision_of_it() -> None:
    grant = bound({"grant": {"user": USER, "path": "github/token"}})
    assert grant.spec.source.grant is not None
    places = AROUND.consent.paths(grant.spec.source.grant)
    for there in places:
        assert problems([grant], {there: Secret(frozenset({"ciphertext"}), 1)}, AROUND) == {}
    other = around(revision="ba9876543210").consent.paths(grant.spec.source.grant)[0]
    found = only(problems([grant], {**dict.fromkeys(places), other: Secret(frozenset(), 1)}, AROUND))
    assert (found.reason, found.permanent) == (Reason.CONSENT_MISSING, False)
    assert "kubectl axon secret allow github/token agent" in found.message


def test_the_older_of_two_bindings_keeps_the_file() -> None:
    old, new = (
        binding("z", created="2026-01-01T00:00:00Z", file="f"),
        binding("a", created="2026-01-02T00:00:00Z", file="f"),
    )
    found = problems([new, old], KEYS, AROUND)
    assert set(found) == {"a"}
    assert (found["a"].reason, found["a"].permanent) == (Reason.CONFLICT, True)


def test_a_broken_or_revoked_binding_does_not_hold_a_file_name() -> None:
    good = binding("b", created="2026-02-01T00:00:00Z", file="f")
    assert set(problems([binding("a", path="nope", file="f"), good], {**KEYS, "org/nope": None}, AROUND)) == {"a"}
    assert deliverable([binding("a", file="f", revoked=True), good], KEYS, AROUND) == (good,)


def test_variables_and_ports_of_the_runtime_itself_are_taken() -> None:
    spec = {**IMAGE.to_json(), "env": [{"name": "KEY", "value": "x"}], "ports": [{"name": "http", "port": 8080}]}
    taken = around(WorkflowRuntimeSpec.model_validate(spec))
    for delivery in (
        {"env": {"variables": [{"name": "KEY", "key": "api_key"}]}},
        {"proxy": {"host": "a.example", "localPort": 8080, "key": "api_key"}},
    ):
        found = only(problems([bound({"kv": {"path": "billing/stripe"}}, delivery=delivery)], KEYS, taken))
        assert (found.reason, found.permanent) == (Reason.CONFLICT, True)


BINDINGS = st.lists(
    st.builds(
        binding,
        st.sampled_from("abcdef"),
        created=st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
        path=st.sampled_from(["p", "q", "r"]),
        file=st.sampled_from(["", "f", "g"]),
        keys=st.sampled_from([(), ("x",), ("y",), ("x", "y")]),
        revoked=st.booleans(),
    ),
    unique_by=lambda b: b.name,
)
SECRETS = st.fixed_dictionaries(
    {f"org/{p}": st.none() | st.builds(Secret, st.frozensets(st.sampled_from("xy")), st.just(1)) for p in "pqr"}
)


@given(bindings=BINDINGS, secrets=SECRETS)
def test_what_is_published_tells_a_binding_enough_of_the_others(
    bindings: list[Binding], secrets: dict[str, Secret | None]
) -> None:
    truth, published = problems(bindings, secrets, AROUND), deliverable(bindings, secrets, AROUND)
    told = {b.name: (f"org/{b.spec.source.kv.path}", 1) for b in published if b.spec.source.kv}
    for one in bindings:
        asked = kept_paths(in_question(bindings, one.name), AROUND)
        known = {**assumed(published, AROUND, told), **{path: secrets[path] for path in asked}}
        assert problems(bindings, known, AROUND).get(one.name) == truth.get(one.name)
        assert deliverable(bindings, known, AROUND) == published


@given(bindings=BINDINGS)
def test_no_two_delivered_bindings_have_the_same_file(bindings: list[Binding]) -> None:
    there = {f"org/{p}": Secret(frozenset("xy"), 1) for p in "pqr"}
    paths = [b.spec.delivery.file.path for b in deliverable(bindings, there, AROUND) if b.spec.delivery.file]
    assert len(paths) == len(set(paths))
