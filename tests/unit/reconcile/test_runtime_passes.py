"""What a runtime and its bindings do when something around them is broken: taking away never waits for giving."""

import copy
import datetime
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.errors import Denied
from axon_operator.domain import agent
from axon_operator.domain.consent import started
from axon_operator.domain.names import PROGRAM_ANNOTATION, TENANT_LABEL
from axon_operator.domain.resources import (
    BINDING,
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    RUNTIME,
    SERVICE_ACCOUNT,
    Manifest,
    Ref,
    VaultPath,
)
from axon_operator.reconcile.binding import BindingReconciler
from axon_operator.reconcile.engine.controller import Controller
from axon_operator.reconcile.runtime import RuntimeReconciler

from . import world as worlds
from .test_passes import (
    ACME,
    AGENT,
    BILLING,
    NAMES,
    PLATFORM,
    PRINCIPAL,
    SECRET,
    one_pass,
    ready,
    settle,
    settled,
)
from .world import World

ACCOUNT = Ref(SERVICE_ACCOUNT, "axon-acme", PRINCIPAL)
CONFIG = Ref(CONFIG_MAP, "axon-acme", PRINCIPAL)
PODS = Ref(DEPLOYMENT, "axon-acme", PRINCIPAL)
WALL = Ref(NETWORK_POLICY, "axon-acme", PRINCIPAL)
POLICY = VaultPath(NAMES.vault_namespace, f"sys/policies/acl/{PRINCIPAL}")
ROLE = VaultPath(NAMES.vault_namespace, f"auth/k8s/role/{PRINCIPAL}")
OUTSIDE = {"cidr": "203.0.113.0/24", "ports": [443]}


def record(name: str) -> VaultPath:
    return VaultPath(NAMES.vault_namespace, f"runtime-status/{PRINCIPAL}/{name}")


def running(replicas: int = 3) -> World:
    """Settled, with pods as far as the Deployment knows."""
    world = settled()
    world.objects[AGENT]["spec"]["replicas"] = replicas
    for _ in range(2):
        one_pass(world, AGENT)
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), replicas)
        world.objects[PODS]["status"] = {**counts, "observedGeneration": 1}
    one_pass(world, AGENT)
    assert ready(world, AGENT)["status"] == "True"
    return world


def break_a_guard(world: World) -> None:
    for condition in world.objects[ACME]["status"]["conditions"]:
        if condition["type"] == "NamespaceReady":
            condition["status"] = "False"


PROGRAM = WorkflowRuntimeSpec.model_validate({"image": "registry.example/agent:1"})


def pod(world: World, *, sidecar: str = "running", workload: str = "running", **status: Any) -> str:
    """A pod of the runtime; returns its uid."""
    uid = str(uuid.uuid4())
    world.add(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"pod-{uid}",
                "namespace": "axon-acme",
                "uid": uid,
                "labels": {"axonos.ai/runtime": "agent", TENANT_LABEL: "acme"},
                "annotations": {PROGRAM_ANNOTATION: started(PROGRAM)},
            },
            "status": {
                "phase": "Running",
                "initContainerStatuses": [{"name": "credentials", "state": {sidecar: {}}}],
                "containerStatuses": [{"name": "workload", "state": {workload: {}}}],
                **status,
            },
        }
    )
    return uid


def delete(world: World, ref: Ref) -> None:
    world.objects[ref]["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"


def related(world: World, ref: Ref) -> tuple[Ref, ...]:
    """What a pass over the object asks to look at."""
    make: Any = {BINDING: BindingReconciler, RUNTIME: RuntimeReconciler}[ref.resource]
    now = lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)  # noqa: E731
    made = make(world.backends, PLATFORM)
    controller = Controller(made, world.backends, resync=300, now=now, report=lambda _: None, audit=world.audit)
    controller.expire(ref)
    return controller.run(ref).related


def outside_rules(world: World) -> list[Any]:
    egress = world.objects[WALL]["spec"]["egress"]
    return [r for r in egress if any("ipBlock" in peer for peer in r["to"])]


def refuse(monkeypatch: pytest.MonkeyPatch, verb: str, part: str) -> None:
    """OpenBao refuses calls of the verb on paths that contain the part."""
    honest = getattr(worlds._Vault, verb)

    def call(self: Any, path: VaultPath, *body: Any) -> Any:
        if part in path.path:
            raise Denied(Reason.VAULT_DENIED, "refused")
        return honest(self, path, *body)

    monkeypatch.setattr(worlds._Vault, verb, call)


# -- a tenant whose guards fail


def test_a_failing_guard_stops_no_tightening() -> None:
    world = running()
    break_a_guard(world)
    delete(world, BILLING)
    world.objects[AGENT]["spec"]["replicas"] = 1
    one_pass(world, AGENT)
    assert world.objects[PODS]["spec"]["replicas"] == 1
    assert "billing/stripe" not in world.vault[POLICY]["policy"]
    assert "billing" not in world.objects[CONFIG]["data"]["files"]
    world.objects[AGENT]["spec"]["suspended"] = True
    one_pass(world, AGENT)
    assert world.objects[PODS]["spec"]["replicas"] == 0


def test_a_failing_guard_does_not_stop_the_kill_switch() -> None:
    world = running()
    break_a_guard(world)
    world.objects[ACME]["spec"]["suspended"] = True
    one_pass(world, AGENT)
    assert WALL not in world.objects
    assert world.objects[PODS]["spec"]["replicas"] == 0


def test_a_failing_guard_adds_no_pods() -> None:
    world = running(1)
    break_a_guard(world)
    world.objects[AGENT]["spec"]["replicas"] = 2
    one_pass(world, AGENT)
    assert world.objects[PODS]["spec"]["replicas"] == 1
    assert ready(world, AGENT)["reason"] == Reason.TENANT_NOT_READY


# -- egress


def opened(ref: Ref) -> World:
    """Running, with a rule to the outside that the object asks for."""
    world = running()
    world.objects[ACME]["spec"]["network"] = {"egress": [OUTSIDE]}
    world.objects[ref]["spec"]["egress"] = [OUTSIDE]
    one_pass(world, AGENT)
    assert outside_rules(world)
    return world


@pytest.mark.parametrize("asks", [AGENT, BILLING])
def test_a_narrowed_allow_list_closes_what_was_open(asks: Ref) -> None:
    world = opened(asks)
    world.objects[ACME]["spec"]["network"] = {"egress": []}
    world.objects[AGENT]["spec"]["replicas"] = 2
    one_pass(world, AGENT)
    one_pass(world, BILLING)
    assert not outside_rules(world)
    assert ready(world, asks)["reason"] == Reason.INVALID_SPEC
    assert world.objects[PODS]["spec"]["replicas"] == 2


def test_only_the_rule_that_is_not_allowed_is_closed() -> None:
    world = opened(AGENT)
    world.objects[AGENT]["spec"]["egress"] = [OUTSIDE, {"cidr": "198.51.100.0/24", "ports": [443]}]
    one_pass(world, AGENT)
    assert [r["to"][0]["ipBlock"]["cidr"] for r in outside_rules(world)] == ["203.0.113.0/24"]


def test_while_openbao_is_away_bindings_keep_what_they_opened_and_everything_else_goes_on() -> None:
    world = opened(BILLING)
    world.objects[AGENT]["spec"]["connections"] = [{"runtime": "other", "port": 8080}]
    one_pass(world, AGENT)
    before = len(world.objects[WALL]["spec"]["egress"])
    world.vault_away = True
    world.objects[AGENT]["spec"] |= {"connections": [], "replicas": 1, "image": "registry.example/agent:2"}
    one_pass(world, AGENT)
    assert outside_rules(world)
    assert len(world.objects[WALL]["spec"]["egress"]) == before - 1
    deployment = world.objects[PODS]["spec"]
    assert deployment["replicas"] == 1
    assert deployment["template"]["spec"]["containers"][0]["image"] == "registry.example/agent:2"


def test_while_openbao_is_away_a_binding_opens_nothing_new_and_a_narrowed_allow_list_closes() -> None:
    world = running()
    world.objects[ACME]["spec"]["network"] = {"egress": [OUTSIDE]}
    world.objects[BILLING]["spec"]["egress"] = [OUTSIDE]
    world.vault_away = True
    one_pass(world, AGENT)
    assert not outside_rules(world)
    world = opened(BILLING)
    world.vault_away = True
    world.objects[ACME]["spec"]["network"] = {"egress": []}
    one_pass(world, AGENT)
    assert not outside_rules(world)


# -- pods that hold files


def test_a_binding_of_a_runtime_without_pods_can_be_deleted() -> None:
    world = running()
    one_pass(world, BILLING)
    assert ready(world, BILLING)["reason"] == Reason.PODS_NOT_READY
    delete(world, BILLING)
    one_pass(world, AGENT)
    one_pass(world, BILLING)
    assert BILLING not in world.objects


@pytest.mark.parametrize(
    ("status", "holds"),
    [
        ({}, True),
        ({"sidecar": "waiting"}, True),
        ({"sidecar": "waiting", "workload": "terminated"}, True),
        ({"workload": "waiting"}, True),
        ({"sidecar": "waiting", "workload": "waiting"}, False),
        ({"phase": "Failed"}, False),
        ({"phase": "Succeeded"}, False),
    ],
)
def test_a_pod_that_may_hold_the_file_holds_up_the_end_of_its_binding(status: Mapping[str, Any], holds: bool) -> None:
    world = running(1)
    uid = pod(world, **status)
    world.vault[record(uid)] = {"revision": world.objects[CONFIG]["data"]["revision"].strip()}
    one_pass(world, BILLING)
    assert world.objects[BILLING]["status"]["consumers"] == {"ready": int(holds), "total": int(holds)}
    delete(world, BILLING)
    one_pass(world, AGENT)
    one_pass(world, BILLING)
    assert (BILLING in world.objects) is holds


def test_a_pod_without_a_record_serves_nothing() -> None:
    world = running(1)
    pod(world, sidecar="waiting")
    one_pass(world, BILLING)
    assert world.objects[BILLING]["status"]["consumers"] == {"ready": 0, "total": 1}
    assert ready(world, BILLING)["status"] == "False"


# -- records of pods


def test_a_pod_that_starts_and_records_during_a_pass_keeps_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    world = running(1)
    honest = worlds._Kube.list
    started: list[str] = []

    def listing(self: Any, resource: Any, *args: Any) -> tuple[Manifest, ...]:
        found = honest(self, resource, *args)
        if resource is POD and not started:
            started.append(pod(world))
            world.vault[record(started[0])] = {"revision": "r"}
        return found

    monkeypatch.setattr(worlds._Kube, "list", listing)
    one_pass(world, AGENT)
    assert record(started[0]) in world.vault


def test_records_of_pods_that_are_gone_are_removed_but_names_that_are_no_uid_disturb_nothing() -> None:
    world = running(1)
    living, gone = pod(world), str(uuid.uuid4())
    for name in (living, gone, "a b", "..", "x/y"):
        world.vault[record(name)] = {"revision": "r"}
    one_pass(world, AGENT)
    assert record(living) in world.vault
    assert record(gone) not in world.vault
    assert record("a b") in world.vault
    assert ready(world, AGENT)["status"] == "True"


def test_many_records_are_removed_a_few_at_a_time_and_before_the_runtime_is_gone() -> None:
    world = settled()
    for _ in range(120):
        world.vault[record(str(uuid.uuid4()))] = {"revision": "r"}
    one_pass(world, AGENT)
    assert len([p for p in world.vault if "runtime-status/" in p.path]) == 70
    delete(world, AGENT)
    for _ in range(6):
        if AGENT in world.objects:
            one_pass(world, AGENT)
    assert AGENT not in world.objects
    assert not [p for p in world.vault if PRINCIPAL in p.path]


@pytest.mark.parametrize("verb", ["list", "delete"])
def test_tidying_up_records_fails_nothing_but_a_deletion(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    world = settled()
    world.vault[record(str(uuid.uuid4()))] = {"revision": "r"}
    refuse(monkeypatch, verb, "runtime-status")
    one_pass(world, AGENT)
    assert ready(world, AGENT)["status"] == "True"
    delete(world, AGENT)
    for _ in range(4):
        one_pass(world, AGENT)
    assert AGENT in world.objects
    monkeypatch.undo()
    for _ in range(4):
        if AGENT in world.objects:
            one_pass(world, AGENT)
    assert AGENT not in world.objects


# -- who asks whom to look


def test_a_binding_asks_the_runtime_once_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    world = settled()
    refuse(monkeypatch, "write", "sys/policies")
    world.vault[SECRET] = {"subkeys": {}}
    assert related(world, BILLING) == (AGENT,)
    one_pass(world, AGENT)
    assert related(world, BILLING) == ()
    world.objects[BILLING]["spec"]["delivery"]["file"]["path"] = "other.json"
    world.vault[SECRET] = {"subkeys": {"api_key": None}}
    assert related(world, BILLING) == (AGENT,)
    one_pass(world, AGENT)
    assert related(world, BILLING) == ()
    delete(world, BILLING)
    assert related(world, BILLING) == (AGENT,)
    one_pass(world, AGENT)
    assert related(world, BILLING) == ()


# -- what the status says


def test_the_revision_is_the_published_one_whatever_is_away_or_suspended() -> None:
    world = settled()
    published = agent.revision_of(world.objects[CONFIG]["data"]["revision"].strip())
    status = world.objects[AGENT]["status"]
    assert status["revision"] == published
    world.vault_away = True
    one_pass(world, AGENT)
    assert world.objects[AGENT]["status"]["revision"] == published
    world.vault_away = False
    world.objects[ACME]["spec"]["suspended"] = True
    settle(world, ACME, AGENT)
    assert world.objects[AGENT]["status"]["revision"] == published
    delete(world, AGENT)
    one_pass(world, AGENT)
    assert world.objects[AGENT]["status"]["revision"] == published


def test_a_runtime_that_published_another_revision_looks_again_to_tell_it() -> None:
    world = settled()
    delete(world, BILLING)
    assert AGENT in related(world, AGENT)
    assert AGENT not in related(world, AGENT)
    assert world.objects[AGENT]["status"]["revision"] == agent.revision_of(
        world.objects[CONFIG]["data"]["revision"].strip()
    )


# -- the service account


def replace_account(world: World, *, labels: Mapping[str, str] | None) -> None:
    """Someone deletes the account and makes another of that name; without `labels` those of the old are copied."""
    live = world.objects[ACCOUNT]["metadata"]
    world.objects[ACCOUNT]["metadata"] = {
        **live,
        "uid": "impostor",
        "labels": live["labels"] if labels is None else labels,
    }


def bound(world: World) -> Any:
    return world.vault[ROLE]["bound_claims"]["/kubernetes.io/serviceaccount/uid"]


def test_copied_marks_do_not_get_an_account_the_role() -> None:
    world = settled()
    replace_account(world, labels=None)
    settle(world, ACME, AGENT, BILLING)
    assert world.objects[ACCOUNT]["metadata"]["uid"] != "impostor"
    assert bound(world) == [world.objects[ACCOUNT]["metadata"]["uid"]]
    assert ready(world, AGENT)["status"] == "True"


def test_the_role_that_follows_from_a_new_account_counts_as_a_change_if_it_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = settled()
    del world.objects[ACCOUNT]
    assert [str(change) for change in one_pass(world, AGENT).outcome.applied] == [
        f"create {ACCOUNT}",
        f"write OpenBao {ROLE}",
    ]
    del world.objects[ACCOUNT]
    refuse(monkeypatch, "write", "role")
    assert [str(change) for change in one_pass(world, AGENT).outcome.applied] == [f"create {ACCOUNT}"]


def test_a_foreign_account_blocks_the_role_and_nothing_that_is_taken_away() -> None:
    world = running()
    before = bound(world)
    replace_account(world, labels={})
    delete(world, BILLING)
    one_pass(world, AGENT)
    assert bound(world) == before
    assert world.objects[ACCOUNT]["metadata"]["uid"] == "impostor"
    assert ready(world, AGENT)["reason"] == Reason.NAME_TAKEN
    assert "billing/stripe" not in world.vault[POLICY]["policy"]
    assert "billing" not in world.objects[CONFIG]["data"]["files"]
    one_pass(world, BILLING)
    assert BILLING not in world.objects


def test_an_account_that_was_deleted_or_relabelled_heals() -> None:
    world = settled()
    labels = copy.deepcopy(world.objects[ACCOUNT]["metadata"]["labels"])
    world.objects[ACCOUNT]["metadata"]["labels"] = {}
    one_pass(world, AGENT)
    assert world.objects[ACCOUNT]["metadata"]["labels"] == labels
    del world.objects[ACCOUNT]
    world.vault[ROLE]["bound_claims"] = {"/kubernetes.io/serviceaccount/uid": ["former"]}
    one_pass(world, AGENT)
    assert bound(world) == [world.objects[ACCOUNT]["metadata"]["uid"]]


@pytest.mark.parametrize("held", [True, False])
def test_a_runtime_goes_without_its_tenant_and_waits_for_one_whose_namespace_has_lost_its_mark(*, held: bool) -> None:
    world = settled()
    if held:
        world.objects[Ref(NAMESPACE, "", "axon-acme")]["metadata"]["labels"] = {}
    else:
        # a new Tenant of that name, which was refused the namespace
        world.objects[ACME]["metadata"]["uid"] = "another"
        world.objects[ACME]["status"] = {}
    delete(world, AGENT)
    for _ in range(5):
        if AGENT in world.objects:
            one_pass(world, AGENT)
    assert (AGENT in world.objects) is held


def out_of_room(world: World, says: str) -> None:
    """As the Deployment's controller tells that it cannot make a third pod."""
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": says}
    counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), 2)
    world.objects[PODS]["status"] = {**counts, "observedGeneration": 1, "conditions": [failure]}


def test_a_quota_without_room_is_told_by_the_runtime_and_by_the_tenant_and_ends() -> None:
    world = running()
    before = world.objects[PODS]["status"]
    out_of_room(world, 'pods "x" is forbidden: exceeded quota: axon-quota, requested: limits.cpu=2')
    assert ACME in related(world, AGENT)
    assert (ready(world, AGENT)["status"], ready(world, AGENT)["reason"]) == ("False", Reason.QUOTA_EXCEEDED)
    # said once, not with every try
    assert ACME not in related(world, AGENT)
    one_pass(world, ACME)
    # the tenant's own people must not take Ready from it
    assert (ready(world, ACME)["status"], ready(world, ACME)["reason"]) == ("True", Reason.QUOTA_EXCEEDED)
    assert "WorkflowRuntime axon-acme/agent; raise spec.quota" in ready(world, ACME)["message"]

    world.objects[PODS]["status"] = before
    assert ACME in related(world, AGENT)
    one_pass(world, ACME)
    assert ready(world, ACME)["reason"] == Reason.READY


def test_a_runtime_that_goes_is_no_reason_to_raise_the_quota() -> None:
    world = running()
    out_of_room(world, "exceeded quota")
    one_pass(world, AGENT)
    delete(world, AGENT)
    assert ACME in related(world, AGENT)
    one_pass(world, ACME)
    assert ready(world, ACME)["reason"] == Reason.READY


@pytest.mark.parametrize(
    ("says", "remedy"),
    [
        ("maximum cpu usage per Container is 2, but limit is 4", "Lower spec.resources.limits"),
        ("admission webhook canary denied the request", "kubectl -n axon-acme get events"),
    ],
)
def test_another_refusal_of_pods_names_where_the_cause_is(says: str, remedy: str) -> None:
    world = running()
    out_of_room(world, says)
    assert ACME not in related(world, AGENT)
    assert ready(world, AGENT)["reason"] == Reason.PODS_NOT_READY
    assert remedy in ready(world, AGENT)["message"]
    assert says not in ready(world, AGENT)["message"]
