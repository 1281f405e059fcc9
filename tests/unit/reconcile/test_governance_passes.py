"""A profile that a tenant, a runtime or a binding does not keep to: told, and never in the way of a guard."""

from typing import Any

import pytest

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.domain.finding import Finding
from axon_operator.domain.names import PROFILE_LABEL
from axon_operator.domain.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    NETWORK_POLICY,
    PROFILE,
    SERVICE_ACCOUNT,
    Manifest,
    Ref,
    VaultPath,
)

from .test_glance import Process
from .test_passes import ACME, AGENT, BILLING, NAMES, PRINCIPAL, declare, leave, one_pass, ready, settle, settled, state
from .world import Crash, World

EVERYTHING = (ACME, AGENT, BILLING)
HOME = Ref(NAMESPACE, "", "axon-acme")
PODS = Ref(DEPLOYMENT, "axon-acme", PRINCIPAL)
WALL = Ref(NETWORK_POLICY, "axon-acme", PRINCIPAL)
FILES = Ref(CONFIG_MAP, "axon-acme", PRINCIPAL)
POLICY = VaultPath(NAMES.vault_namespace, f"sys/policies/acl/{PRINCIPAL}")
DIGEST = f"registry.example/agent@sha256:{'0' * 64}"
TAG = "registry.example/agent:1"


def write_profile(world: World, **spec: Any) -> None:
    metadata = {"name": "strict"}
    kind = {"apiVersion": PROFILE.api_version, "kind": PROFILE.kind}
    world.add({**kind, "metadata": metadata, "spec": spec})


def edit(world: World, ref: Ref, **spec: Any) -> None:
    world.objects[ref]["spec"] |= spec
    world.objects[ref]["metadata"]["generation"] += 1


def governed(**profile: Any) -> World:
    """Settled with two pods, then put under a profile, and settled again."""
    world = settled()
    edit(world, AGENT, replicas=2)
    settle(world, *EVERYTHING)
    write_profile(world, **profile)
    edit(world, ACME, governance={"profile": "strict"})
    settle(world, *EVERYTHING)
    return world


def condition(world: World, ref: Ref, kind: str) -> dict[str, Any] | None:
    return next((c for c in world.objects[ref]["status"]["conditions"] if c["type"] == kind), None)


def told(world: World, ref: Ref, kind: str) -> tuple[str, str]:
    found = condition(world, ref, kind)
    assert found is not None
    return found["status"], found["reason"]


VIOLATED = ("False", Reason.GOVERNANCE_VIOLATION)


def image_and_replicas(deployment: Manifest) -> tuple[str, int]:
    (workload,) = deployment["spec"]["template"]["spec"]["containers"]
    return workload["image"], deployment["spec"]["replicas"]


def delivered(world: World) -> bool:
    in_policy = "kv/data/org/billing/stripe" in world.vault[POLICY]["policy"]
    in_files = "billing.json" in str(world.objects[FILES]["data"])
    assert in_policy == in_files
    return in_policy


def test_a_tenant_that_keeps_to_its_profile_is_ready_and_its_namespace_says_which() -> None:
    world = governed(sessions={"maxLifespan": "10h"}, maxCredentialTTL="15m")
    assert told(world, ACME, "Compliant") == ("True", Reason.READY)
    assert ready(world, ACME)["status"] == "True"
    assert delivered(world)
    before = world.writes
    for ref in EVERYTHING:
        one_pass(world, ref)
    assert world.writes == before
    for drift in ({PROFILE_LABEL: "other"}, {}):
        labels = world.objects[HOME]["metadata"]["labels"]
        del labels[PROFILE_LABEL]
        labels |= drift
        settle(world, ACME)
        assert world.objects[HOME]["metadata"]["labels"][PROFILE_LABEL] == "strict"
    edit(world, ACME, governance={})
    settle(world, ACME)
    assert PROFILE_LABEL not in world.objects[HOME]["metadata"]["labels"]
    assert condition(world, ACME, "Compliant") is None


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ({"sessions": {"maxLifespan": "8h"}}, Reason.GOVERNANCE_VIOLATION),
        (None, Reason.PROFILE_NOT_FOUND),
    ],
    ids=["violated", "missing"],
)
def test_whatever_a_tenant_violates_its_guards_are_set_right(profile: dict[str, Any] | None, reason: Reason) -> None:
    world = governed(**(profile or {}))
    if profile is None:
        del world.objects[Ref(PROFILE, "", "strict")]
    closed = Ref(NETWORK_POLICY, "axon-acme", "axon-default-deny")
    del world.objects[closed]
    settle(world, *EVERYTHING)
    assert closed in world.objects
    assert told(world, ACME, "Compliant") == ("False", reason)
    assert told(world, ACME, "Stalled") == ("True", reason)
    for kind in ("NamespaceReady", "VaultReady", "IdentityReady"):
        assert told(world, ACME, kind) == ("True", Reason.READY)
    # the kill switch and the deletion work all the same
    edit(world, ACME, suspended=True)
    settle(world, ACME)
    assert told(world, ACME, "NetworkReady") == ("True", Reason.SUSPENDED)
    world.objects[ACME]["metadata"] |= {"deletionTimestamp": "2026-01-02T00:00:00Z"}
    leave(world)


def test_a_profile_that_comes_later_is_enough() -> None:
    world = settled()
    edit(world, ACME, governance={"profile": "strict"})
    settle(world, *EVERYTHING)
    assert told(world, ACME, "Compliant") == ("False", Reason.PROFILE_NOT_FOUND)
    assert told(world, AGENT, "WorkloadReady") == ("False", Reason.PROFILE_NOT_FOUND)
    assert told(world, BILLING, "Delivered") == ("False", Reason.PROFILE_NOT_FOUND)
    assert not delivered(world)
    write_profile(world)
    settle(world, *EVERYTHING)
    assert {ref: ready(world, ref)["status"] for ref in EVERYTHING} == dict.fromkeys(EVERYTHING, "True")
    assert delivered(world)


def test_a_runtime_without_digest_is_not_started_until_it_has_one() -> None:
    world = World()
    write_profile(world, requireImageDigest=True)
    declare(world, ACME, AGENT)
    edit(world, ACME, governance={"profile": "strict"})
    edit(world, AGENT, replicas=2)
    settle(world, ACME, AGENT)
    assert image_and_replicas(world.objects[PODS]) == (TAG, 0)
    assert told(world, AGENT, "WorkloadReady") == VIOLATED
    # what it needs besides is there, and can be taken back
    assert told(world, AGENT, "VaultReady") == ("True", Reason.READY)
    edit(world, AGENT, image=DIGEST)
    settle(world, ACME, AGENT)
    assert image_and_replicas(world.objects[PODS]) == (DIGEST, 2)
    assert told(world, AGENT, "WorkloadReady")[1] != Reason.GOVERNANCE_VIOLATION


def test_pods_from_before_the_profile_stay_but_none_is_added_and_no_other_image_starts() -> None:
    world = governed(requireImageDigest=True)
    assert told(world, AGENT, "WorkloadReady") == VIOLATED
    assert image_and_replicas(world.objects[PODS]) == (TAG, 2)
    edit(world, AGENT, replicas=5, image="registry.example/agent:2")
    settle(world, *EVERYTHING)
    assert image_and_replicas(world.objects[PODS]) == (TAG, 2)
    # what else was changed by hand is set right, and pods may go
    world.objects[PODS]["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = True
    del world.objects[WALL]
    edit(world, AGENT, replicas=1)
    settle(world, *EVERYTHING)
    (workload,) = world.objects[PODS]["spec"]["template"]["spec"]["containers"]
    assert workload["securityContext"]["privileged"] is False
    assert WALL in world.objects
    assert image_and_replicas(world.objects[PODS]) == (TAG, 1)
    edit(world, AGENT, suspended=True)
    settle(world, *EVERYTHING)
    assert image_and_replicas(world.objects[PODS]) == (TAG, 0)
    # nor do they come back before it keeps to the profile
    edit(world, AGENT, suspended=False)
    settle(world, *EVERYTHING)
    assert image_and_replicas(world.objects[PODS]) == (TAG, 0)
    assert Ref(SERVICE_ACCOUNT, "axon-acme", PRINCIPAL) in world.objects


def test_a_binding_above_the_ceiling_is_not_delivered_until_it_is_lowered() -> None:
    world = governed(maxCredentialTTL="10m")
    assert told(world, BILLING, "Delivered") == VIOLATED
    assert not delivered(world)
    # the runtime itself has done nothing wrong
    assert told(world, AGENT, "CredentialsReady") == ("True", Reason.READY)
    edit(world, BILLING, ttl="10m")
    settle(world, *EVERYTHING)
    assert told(world, BILLING, "Delivered")[1] != Reason.GOVERNANCE_VIOLATION
    assert delivered(world)


def test_a_binding_that_violates_can_be_deleted() -> None:
    world = governed(maxCredentialTTL="10m")
    world.objects[BILLING]["metadata"] |= {"deletionTimestamp": "2026-01-02T00:00:00Z"}
    for _ in range(5):
        for ref in EVERYTHING:
            if ref in world.objects:
                one_pass(world, ref)
    assert BILLING not in world.objects


def test_egress_that_a_profile_forbids_is_closed_and_the_rest_stays_open() -> None:
    rules = [{"cidr": "203.0.113.0/24", "ports": [443]}, {"cidr": "198.51.0.0/16", "ports": [443]}]
    world = settled()
    edit(world, ACME, network={"egress": rules})
    edit(world, AGENT, egress=rules)
    settle(world, *EVERYTHING)
    assert opened(world) == {"203.0.113.0/24", "198.51.0.0/16"}
    write_profile(world, egress={"shortestPrefix": 24})
    edit(world, ACME, governance={"profile": "strict"})
    settle(world, *EVERYTHING)
    assert opened(world) == {"203.0.113.0/24"}
    assert told(world, AGENT, "WorkloadReady") == VIOLATED
    assert told(world, ACME, "Compliant") == VIOLATED


def opened(world: World) -> set[str]:
    rules = world.objects[WALL]["spec"]["egress"]
    return {to["ipBlock"]["cidr"] for rule in rules for to in rule["to"] if "ipBlock" in to}


def test_a_crash_behind_any_write_under_a_new_profile_converges_to_the_same_state() -> None:
    profile = {"requireImageDigest": True, "maxCredentialTTL": "10m"}
    clean = settled()
    start = clean.writes
    write_profile(clean, **profile)
    edit(clean, ACME, governance={"profile": "strict"})
    settle(clean, *EVERYTHING)
    for crash_at in range(1, clean.writes - start + 1):
        world = settled()
        write_profile(world, **profile)
        edit(world, ACME, governance={"profile": "strict"})
        world.fuse = crash_at
        try:
            settle(world, *EVERYTHING)
        except Crash:
            settle(world, *EVERYTHING)
        assert state(world) == state(clean), f"crash behind write {crash_at}"


@pytest.mark.parametrize(
    ("ref", "profile"),
    [
        (ACME, {"sessions": {"maxLifespan": "8h"}}),
        (AGENT, {"requireImageDigest": True}),
        (BILLING, {"maxCredentialTTL": "10m"}),
    ],
    ids=str,
)
def test_a_glance_sees_that_the_profile_has_changed(ref: Ref, profile: dict[str, Any]) -> None:
    world = settled()
    write_profile(world)
    edit(world, ACME, governance={"profile": "strict"})
    settle(world, *EVERYTHING)
    process = Process(world)
    assert process.look(ref) == 0
    edit(world, Ref(PROFILE, "", "strict"), **profile)
    assert process.look(ref) > 0
    assert ready(world, ref)["reason"] == Reason.GOVERNANCE_VIOLATION


GOOD = Finding(ConditionType.AUDIT_READY, "True", Reason.AUDIT_RECORDED, "With main.")
BAD = Finding(ConditionType.AUDIT_READY, "False", Reason.AUDIT_MISSING, "OpenBao has no audit device.")
AWAY = Finding(ConditionType.AUDIT_READY, "Unknown", Reason.VAULT_UNAVAILABLE, "OpenBao does not answer.")
NOT_YET = Finding(ConditionType.AUDIT_READY)


def audited(*findings: Finding, **profile: Any) -> World:
    """Settled under a profile that demands it, by processes that found one after the other."""
    world = settled()
    write_profile(world, requireAudit=True, **profile)
    edit(world, ACME, governance={"profile": "strict"})
    for finding in findings:
        looked(world, finding)
    return world


def looked(world: World, *findings: Finding) -> None:
    process = Process(world, findings)
    process.expire(ACME)
    process.look(ACME)


def compliant(world: World) -> tuple[str, str, str]:
    """Compliant, its reason, and Ready."""
    return (*told(world, ACME, "Compliant"), ready(world, ACME)["status"])


def test_who_must_be_recorded_is_compliant_only_where_that_is_seen() -> None:
    assert compliant(audited(GOOD)) == ("True", Reason.READY, "True")
    world = audited(GOOD, BAD)
    assert compliant(world) == ("False", Reason.GOVERNANCE_VIOLATION, "False")
    assert BAD.message in str(condition(world, ACME, "Compliant"))
    looked(world, GOOD)
    assert compliant(world) == ("True", Reason.READY, "True")
    # switched off
    looked(world)
    assert compliant(world) == ("False", Reason.GOVERNANCE_VIOLATION, "False")
    assert "vault.audit" in str(condition(world, ACME, "Compliant"))


def test_an_openbao_that_is_away_takes_ready_from_nobody_and_gives_it_to_nobody() -> None:
    assert compliant(audited(GOOD, AWAY)) == ("Unknown", Reason.VAULT_UNAVAILABLE, "True")
    assert compliant(audited(AWAY)) == ("Unknown", Reason.VAULT_UNAVAILABLE, "False")
    assert compliant(audited(BAD, AWAY))[2] == "False"


def test_before_the_first_look_counts_what_the_process_before_has_found() -> None:
    assert compliant(audited(NOT_YET)) == ("False", Reason.PROGRESSING, "False")
    for finding in (GOOD, BAD, AWAY):
        world = audited(GOOD, finding)
        before = state(world)
        looked(world, NOT_YET)
        assert state(world) == before


def test_a_demand_to_be_recorded_costs_a_settled_tenant_nothing() -> None:
    world = audited(GOOD)
    process, writes = Process(world, (NOT_YET,)), world.writes
    assert process.look(ACME) == 0
    process.findings = (GOOD,)
    assert process.look(ACME) == 0
    assert world.writes == writes
    process.findings = (BAD,)
    assert process.look(ACME) > 0
    assert compliant(world)[0] == "False"


def test_nobody_else_is_concerned_by_what_is_recorded() -> None:
    world = audited(BAD)
    settle(world, AGENT, BILLING)
    for ref in (AGENT, BILLING):
        assert ready(world, ref)["status"] == "True"
    assert delivered(world)
    # another violation is told first: it is the tenant's own
    world = audited(BAD, sessions={"maxLifespan": "8h"})
    assert "maxLifespan" in str(condition(world, ACME, "Compliant"))
