"""What the canary is to try, and what its report says."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from axon_operator.api.reasons import Reason
from axon_operator.domain.finding import Finding
from axon_operator.domain.isolation import (
    ANY_PORT,
    RUNTIMES,
    TENANTS,
    Address,
    Attempt,
    Report,
    Result,
    Target,
    Told,
    combined,
)
from axon_operator.domain.names import RUNTIME_LABEL, TenantNames
from axon_operator.domain.resources import POD, RUNTIME, TENANT, Manifest, Resource
from axon_operator.reconcile.isolation import SILENCE, judge, targets
from unit.domain.test_runtime import PLATFORM
from unit.reconcile.world import World

HOME = {"namespace": "axon-acme", "vaultNamespace": "t-1", "realm": "axon-acme"}
TARGET = Target(
    uid=str(uuid.UUID(int=1)),
    namespace="axon-acme",
    vault_namespace="axon/t-1",
    realm="axon-acme",
    accounts=("rt-a",),
    addresses=(Address.model_validate({"ip": "192.0.2.1", "port": 8080}),),
)
REFUSED = dict.fromkeys(Attempt, Result.REFUSED)


def told(target: Target = TARGET, **changed: Result) -> Told:
    results = {**REFUSED, **{Attempt[name]: result for name, result in changed.items()}}
    return Told(target=target.digest, at="now", results=results)


def thing(resource: Resource, name: str, *, namespace: str = "", **parts: Any) -> Manifest:
    metadata = {"name": name, "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), **parts.pop("metadata", {})}
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {**metadata, **where}, **parts}


def tenant(name: str = "acme", spec: Any = None, status: Any = HOME, **metadata: Any) -> Manifest:
    return thing(TENANT, name, spec=spec or {}, status=status, metadata=metadata)


def runtime(name: str, *, made: str = "2026-01-01T00:00:00Z", ports: Any = (), **metadata: Any) -> Manifest:
    spec = {"image": "x:1", "ports": [{"name": "http", "port": port} for port in ports]}
    return thing(RUNTIME, name, namespace="axon-acme", spec=spec, metadata={"creationTimestamp": made, **metadata})


def pod(name: str, of: str, ip: str = "192.0.2.9", phase: str = "Running", **metadata: Any) -> Manifest:
    labels = {RUNTIME_LABEL: of}
    status = {"phase": phase, "podIP": ip}
    return thing(POD, name, namespace="axon-acme", status=status, metadata={"labels": labels, **metadata})


def aims(*objects: Manifest) -> dict[TenantNames, Target | Finding]:
    world = World()
    for manifest in objects:
        world.add(manifest)
    return targets(world.backends.kubernetes, PLATFORM)


def aim(*objects: Manifest) -> Target | Finding:
    (found,) = aims(*objects).values()
    return found


def test_refused_everywhere_is_isolated() -> None:
    finding = judge(TARGET, told(), 0)
    assert (finding.status, finding.reason) == ("True", Reason.REFUSED)


@given(st.dictionaries(st.sampled_from(Attempt), st.sampled_from(Result)))
def test_only_a_refusal_of_all_that_is_tried_is_isolated_and_one_crossing_is_enough(
    results: dict[Attempt, Result],
) -> None:
    finding = judge(TARGET, Told(target=TARGET.digest, at="now", results=results), 0)
    crossed = [attempt for attempt, result in results.items() if result is Result.CROSSED]
    assert (finding.status == "False") == bool(crossed)
    assert (finding.status == "True") == (results == REFUSED)
    assert len(finding.message) <= 1024
    if finding.status == "Unknown":
        assert finding.reason is Reason.NOT_PROVEN
        undecided = {attempt for attempt in Attempt if results.get(attempt) is not Result.REFUSED}
        assert {attempt for attempt in Attempt if attempt in finding.message} >= undecided


def test_every_crossing_says_where_to_look() -> None:
    messages = {judge(TARGET, told(TARGET, **{a.name: Result.CROSSED}), 0).message for a in Attempt}
    assert len(messages) == len(Attempt)
    assert all("(see " in message for message in messages)


def test_what_was_tried_of_something_else_says_nothing_and_silence_is_not_a_wall() -> None:
    """Say of a pod whose address belongs to another one by now."""
    other = TARGET.model_copy(update={"accounts": ("rt-b",)})
    assert judge(TARGET, told(other, NETWORK=Result.CROSSED), 0) == Finding(judge(TARGET, None, 0).condition)
    for silent in (told(), told(NETWORK=Result.CROSSED), told(other), None):
        assert judge(TARGET, silent, SILENCE - 1).reason is not Reason.NOT_PROVEN
        finding = judge(TARGET, silent, SILENCE)
        assert (finding.status, finding.reason) == ("Unknown", Reason.NOT_PROVEN)


def test_what_cannot_be_tried_is_not_missed() -> None:
    empty = TARGET.model_copy(update={"accounts": (), "addresses": ()})
    results = {a: Result.REFUSED for a in Attempt if a not in {Attempt.NETWORK, Attempt.LOGIN, Attempt.TOKENS}}
    finding = judge(empty, Told(target=empty.digest, at="now", results=results), 0)
    assert finding.status == "True"
    assert "network" not in finding.message


def test_of_several_tries_the_worst_counts() -> None:
    assert combined([Result.REFUSED, Result.UNDECIDED, Result.CROSSED]) is Result.CROSSED
    assert combined([Result.REFUSED, Result.UNDECIDED]) is Result.UNDECIDED
    assert combined([Result.REFUSED]) is Result.REFUSED


def test_a_target_names_the_oldest_runtimes_and_a_running_pod_of_each() -> None:
    young = [runtime(f"young-{n}", made="2026-02-01T00:00:00Z") for n in range(RUNTIMES)]
    found = aim(
        tenant(),
        *young,
        runtime("old", ports=(9000, 9001)),
        runtime("silent"),
        runtime("leaving", deletionTimestamp="2026-01-02T00:00:00Z"),
        pod("p1", "old", "192.0.2.1", creationTimestamp="2026-01-03T00:00:00Z"),
        pod("p0", "old", "192.0.2.2", deletionTimestamp="2026-01-02T00:00:00Z"),
        pod("p2", "old", "192.0.2.3", creationTimestamp="2026-01-04T00:00:00Z"),
        pod("p3", "silent", "192.0.2.4", phase="Pending"),
        pod("p4", "young-0", "192.0.2.5"),
    )
    assert isinstance(found, Target)
    assert (found.namespace, found.realm) == ("axon-acme", "axon-acme")
    assert found.vault_namespace.startswith("axon/t-")
    assert [(str(a.ip), a.port) for a in found.addresses] == [("192.0.2.1", 9000), ("192.0.2.5", ANY_PORT)]
    assert len(found.accounts) == RUNTIMES
    assert found.accounts[0].startswith("rt-old-")
    assert not [a for a in found.accounts if a.startswith("rt-leaving-")]


@pytest.mark.parametrize(
    ("live", "reason"),
    [
        (tenant(spec={"suspended": True}), Reason.SUSPENDED),
        (tenant(status={}), Reason.PROGRESSING),
        (tenant(status={k: v for k, v in HOME.items() if k != "realm"}), Reason.PROGRESSING),
    ],
)
def test_what_is_suspended_or_not_there_yet_is_not_tried(live: Manifest, reason: Reason) -> None:
    found = aim(live, runtime("a"), pod("p", "a"))
    assert isinstance(found, Finding)
    assert (found.status, found.reason) == ("Unknown", reason)


def test_what_is_deleted_is_not_spoken_of() -> None:
    assert aims(tenant(deletionTimestamp="2026-01-02T00:00:00Z")) == {}


def test_whoever_admits_our_namespace_is_not_tried_over_the_network() -> None:
    network = {"ingress": {"namespaces": [PLATFORM.operator_namespace]}}
    found = aim(tenant(spec={"network": network}), runtime("a"), pod("p", "a"))
    assert isinstance(found, Target)
    assert Attempt.NETWORK not in found.attempts


def test_a_pod_that_changes_makes_another_target() -> None:
    before, after = (aim(tenant(), runtime("a"), pod("p", "a", ip)) for ip in ("192.0.2.1", "192.0.2.2"))
    assert isinstance(before, Target)
    assert isinstance(after, Target)
    assert before.digest != after.digest


def test_no_more_is_told_than_a_config_map_holds() -> None:
    found = aims(*(tenant(f"t{n:04}", status=HOME) for n in range(TENANTS + 2)))
    left = [aim for aim in found.values() if isinstance(aim, Finding)]
    assert [finding.reason for finding in left] == [Reason.NOT_PROVEN] * 2
    longest = TARGET.model_copy(
        update={
            "accounts": ("r" * 63,) * RUNTIMES,
            "addresses": TARGET.addresses * RUNTIMES,
            "namespace": "n" * 63,
            "realm": "n" * 63,
        }
    )
    assert len(longest.model_dump_json()) * TENANTS < 900 * 1024
    assert len(told().model_dump_json()) * TENANTS < 900 * 1024


@pytest.mark.parametrize(
    "report",
    [
        "",
        "[]",
        '{"tenants":{}, "more": 1}',
        '{"tenants":{"me":{"target":"0123456789abcdef","at":"","results":{}}}}',
        '{"tenants":{"00000000-0000-0000-0000-000000000001":{"target":"0123456789abcdef","at":"","results":{"network":"fine"}}}}',
        '{"tenants":{"00000000-0000-0000-0000-000000000001":{"target":"0123456789abcdef","at":"%s","results":{}}}}' % ("x" * 41),
    ],
)  # fmt: skip
def test_a_report_of_another_form_is_none(report: str) -> None:
    with pytest.raises(ValidationError):
        Report.model_validate_json(report)
