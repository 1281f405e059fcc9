"""What a user consents to, and where that stands."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.secretbinding import GrantSource, SecretBindingSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain.consent import (
    REVISION,
    Consent,
    GrantFolder,
    digest,
    program,
    revision,
    runs,
    runtime_of,
    started,
)
from axon_operator.domain.names import PROGRAM_ANNOTATION

from .around import NAMES, USER

BASE: dict[str, Any] = {
    "image": "a:1",
    "command": ["run"],
    "args": ["fast"],
    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    "connections": [{"runtime": "x", "port": 1}, {"runtime": "y", "port": 2}],
    "egress": [{"cidr": "203.0.113.0/24", "ports": [443, 80]}],
}
OTHERS: dict[str, list[Any]] = {
    "image": ["a:2"],
    "command": [[], ["run", "x"], ["other"]],
    "args": [[], ["fast", ""], ["run"]],
    "env": [[], [{"name": "A", "value": "2"}, {"name": "B", "value": "2"}], [{"name": "A", "value": "1"}]],
    "connections": [[], [{"runtime": "x", "port": 2}, {"runtime": "y", "port": 2}]],
    "egress": [
        [],
        [{"cidr": "203.0.113.0/24", "ports": [443]}],
        [{"cidr": "203.0.113.0/25", "ports": [443, 80]}],
        [*BASE["egress"], {"cidr": "198.51.100.0/24", "ports": [443]}],
    ],
}
SAME: dict[str, Any] = {
    "replicas": 3,
    "suspended": True,
    "run": {"trigger": "again"},
    "ports": [{"name": "http", "port": 8080}],
    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
}


BINDING: dict[str, Any] = {
    "runtimeRef": {"name": "agent"},
    "source": {"grant": {"user": USER, "path": "github/token"}},
    "delivery": {"proxy": {"host": "api.github.com", "localPort": 8080, "key": "token"}},
    "egress": [{"cidr": "198.51.100.0/24", "ports": [443]}],
}
OTHER_BINDINGS: dict[str, list[Any]] = {
    "source": [
        {"grant": {"user": USER, "path": "aws/root"}},
        {"grant": {"user": USER, "path": "github/token", "keys": ["token"]}},
        {"kv": {"path": "github/token"}},
    ],
    "delivery": [
        {"proxy": {**BINDING["delivery"]["proxy"], "host": "attacker.example"}},
        {"proxy": {**BINDING["delivery"]["proxy"], "port": 8443}},
        {"proxy": {**BINDING["delivery"]["proxy"], "header": "x-token"}},
        {"file": {"path": "github.json"}},
        {"env": {"variables": [{"name": "TOKEN", "key": "token"}]}},
    ],
    "egress": [[], [{"cidr": "198.51.100.0/24", "ports": [80]}], [{"cidr": "203.0.113.0/24", "ports": [443]}]],
}
SAME_BINDINGS: dict[str, Any] = {
    "runtimeRef": {"name": "agent"},
    "ttl": "1h",
    "rotation": {"interval": "1h"},
    "rotationTrigger": "again",
    "revoked": True,
}


def of(spec: dict[str, Any], bindings: Mapping[str, dict[str, Any]] | None = None) -> str:
    return revision(*_parsed(spec, bindings or {}))


def _parsed(spec: dict[str, Any], bindings: Mapping[str, dict[str, Any]]) -> tuple[WorkflowRuntimeSpec, Any]:
    parsed = {name: SecretBindingSpec.model_validate(b) for name, b in bindings.items()}
    return WorkflowRuntimeSpec.model_validate(spec), parsed


@given(st.sampled_from([(field, value) for field, values in OTHERS.items() for value in values]))
def test_another_program_another_start_or_another_way_out_asks_again(change: tuple[str, Any]) -> None:
    assert of({**BASE, change[0]: change[1]}) != of(BASE)


@given(st.sampled_from([*SAME.items()]))
def test_nothing_else_asks_again(change: tuple[str, Any]) -> None:
    assert of({**BASE, change[0]: change[1]}) == of(BASE)
    assert set(WorkflowRuntimeSpec.model_fields) == {*OTHERS, *SAME}, "judge a new field here"


@given(st.permutations(BASE["env"]), st.permutations(BASE["connections"]), st.permutations([443, 80, 443]))
def test_order_says_nothing(env: list[Any], connections: list[Any], ports: list[int]) -> None:
    egress = [{"cidr": "203.0.113.0/24", "ports": ports}]
    assert of({**BASE, "env": env, "connections": connections, "egress": egress}) == of(BASE)


@given(st.sampled_from([(field, value) for field, values in OTHER_BINDINGS.items() for value in values]))
def test_a_grant_that_is_sent_elsewhere_or_handed_over_in_another_way_asks_again(change: tuple[str, Any]) -> None:
    assert of(BASE, {"github": {**BINDING, change[0]: change[1]}}) != of(BASE, {"github": BINDING})


@pytest.mark.parametrize(
    "delivery",
    [{"file": {"path": "sitecustomize.py"}}, {"env": {"variables": [{"name": "PYTHONPATH", "key": "value"}]}}],
    ids=str,
)
def test_code_that_another_binding_puts_into_the_program_asks_again(delivery: dict[str, Any]) -> None:
    code = {"runtimeRef": {"name": "agent"}, "source": {"kv": {"path": "code"}}, "delivery": delivery}
    assert of(BASE, {"github": BINDING, "code": code}) != of(BASE, {"github": BINDING})
    assert of(BASE, {"github": BINDING, "other": code}) != of(BASE, {"github": BINDING, "code": code})


@given(st.sampled_from([*SAME_BINDINGS.items()]))
def test_how_long_a_credential_lasts_asks_nobody(change: tuple[str, Any]) -> None:
    assert of(BASE, {"github": {**BINDING, change[0]: change[1]}}) == of(BASE, {"github": BINDING})
    fields = {field.alias for field in SecretBindingSpec.model_fields.values()}
    assert fields == {*OTHER_BINDINGS, *SAME_BINDINGS}, "judge a new field here"


def test_the_order_of_bindings_says_nothing() -> None:
    other = {**BINDING, "delivery": {"file": {"path": "x"}}}
    assert of(BASE, {"a": BINDING, "b": other}) == of(BASE, {"b": other, "a": BINDING})


def test_a_revision_is_the_whole_digest_of_a_document_that_says_all_of_it() -> None:
    document = program(*_parsed(BASE, {"github": BINDING}))
    assert of(BASE, {"github": BINDING}) == digest(document) == hashlib.sha256(document.encode()).hexdigest()
    assert re.fullmatch(REVISION, digest(document))
    told = json.loads(document)
    assert (told["image"], told["command"], told["args"]) == ("a:1", ["run"], ["fast"])
    assert (told["env"], told["connections"]) == ({"A": "1", "B": "2"}, ["x:1", "y:2"])
    assert told["egress"] == ["203.0.113.0/24 80,443"]
    (binding,) = told["bindings"].values()
    assert binding["source"]["grant"]["path"] == "github/token"
    assert binding["delivery"]["proxy"]["host"] == "api.github.com"
    assert binding["egress"] == ["198.51.100.0/24 443"]


@pytest.mark.parametrize("segment", ["x", "..", f"{USER}.", f"{USER}.0123456789ab", f"{USER}.{64 * 'A'}", f"{USER}.{64 * 'a'}.x", f"x{USER}", f"{USER}\n", USER.upper()])  # fmt: skip
def test_a_folder_of_grants_that_is_none_is_passed_over(segment: str) -> None:
    assert GrantFolder.parse(segment) is None


@pytest.mark.parametrize("folder", [GrantFolder(USER), GrantFolder(USER, 64 * "a")], ids=str)
def test_a_folder_of_grants_is_read_as_it_is_written(folder: GrantFolder) -> None:
    assert GrantFolder.parse(str(folder)) == folder
    assert runtime_of(f"{folder}/user/path") == USER


@pytest.mark.parametrize(("grant", "uid"), [(f"{USER}.x/a", USER), (f"{USER}x/a", None), ("x/a", None), ("", None)])
def test_a_grant_under_an_odd_name_is_still_a_runtimes(grant: str, uid: str | None) -> None:
    assert runtime_of(grant) == uid


segments = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
grants = st.builds(
    lambda path, user: GrantSource(user=str(user), path="/".join(path)),
    st.lists(segments, min_size=1, max_size=3),
    st.uuids(),
)
consents = st.builds(Consent, st.just("acme"), st.uuids().map(str), st.from_regex(REVISION, fullmatch=True))


@given(consents, grants)
def test_the_places_of_a_grant_are_below_the_runtime_and_the_user(consent: Consent, grant: GrantSource) -> None:
    tied, free = consent.paths(grant)
    assert free == f"grants/{consent.runtime_uid}/{grant.user}/{grant.path}"
    assert tied == f"grants/{consent.runtime_uid}.{consent.revision}/{grant.user}/{grant.path}"


@given(consents, consents, grants, grants)
def test_no_two_grants_share_a_place_or_a_context(a: Consent, b: Consent, one: GrantSource, two: GrantSource) -> None:
    same = (a.runtime_uid, one) == (b.runtime_uid, two)
    assert (a.context(one) == b.context(two)) == same
    assert bool(set(a.paths(one)) & set(b.paths(two))) == same


def test_a_context_is_what_the_plugin_encrypts_with() -> None:
    found = Consent("acme", NAMES.uid, "0" * 64).context(GrantSource(user=USER, path="github/token"))
    assert base64.b64decode(found).decode() == f"acme|{USER}|github/token|{NAMES.uid}"


@given(st.sampled_from(["image", "command", "args", "env"]))
def test_a_pod_is_known_by_its_program_and_how_it_was_started(field: str) -> None:
    spec = WorkflowRuntimeSpec.model_validate(BASE)
    pod = {"metadata": {"annotations": {PROGRAM_ANNOTATION: started(spec)}}}
    assert runs(pod, spec)
    for other in OTHERS[field]:
        assert not runs(pod, WorkflowRuntimeSpec.model_validate({**BASE, field: other}))
    assert not runs({"metadata": {}}, spec)
