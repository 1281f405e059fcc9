"""Passes settle: from nothing, after a crash behind any write, after drift in any field, and back to nothing."""

import copy
import datetime
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.domain.names import FINALIZER, OWNER_UID_LABEL, RuntimeNames, TenantNames
from axon_operator.domain.platform import Peer, Platform
from axon_operator.domain.resources import (
    BINDING,
    CONFIG_MAP,
    NAMESPACE,
    NETWORK_POLICY,
    RUNTIME,
    SERVICE_ACCOUNT,
    TENANT,
    RealmPath,
    Ref,
    Resource,
    VaultPath,
)
from axon_operator.reconcile.binding import BindingReconciler
from axon_operator.reconcile.engine.controller import Controller
from axon_operator.reconcile.engine.plan import System
from axon_operator.reconcile.runtime import RuntimeReconciler
from axon_operator.reconcile.tenant import TenantReconciler

from .world import Crash, World

PLATFORM = Platform(
    "https://issuer",
    "https://bao:8200",
    "axon",
    "CA",
    Peer("bao", {}, 8200),
    "https://kc",
    Peer("kc", {}, 8443),
    "img:1",
    15,
    ("10.0.0.0/8",),
)
ACME = Ref(TENANT, "", "acme")
AGENT = Ref(RUNTIME, "axon-acme", "agent")
BILLING = Ref(BINDING, "axon-acme", "billing")
NAMES = TenantNames("acme", f"uid-{ACME}")
PRINCIPAL = RuntimeNames("axon-acme", "agent", f"uid-{AGENT}").principal
SECRET = VaultPath(NAMES.vault_namespace, "kv/subkeys/org/billing/stripe")


def declare(world: World, *refs: Ref) -> None:
    specs: dict[Ref, dict[str, Any]] = {
        ACME: {"admins": [{"kind": "Group", "name": "acme-admins"}]},
        AGENT: {"image": "registry.example/agent:1", "replicas": 0, "ports": [{"name": "http", "port": 8080}]},
        BILLING: {
            "runtimeRef": {"name": "agent"},
            "source": {"kv": {"path": "billing/stripe", "keys": ["api_key"]}},
            "delivery": {"file": {"path": "billing.json"}},
        },
    }
    for ref in refs:
        metadata = {"name": ref.name, **({"namespace": ref.namespace} if ref.namespace else {})}
        world.add(
            {
                "apiVersion": ref.resource.api_version,
                "kind": ref.resource.kind,
                "metadata": metadata,
                "spec": specs[ref],
            }
        )


def one_pass(world: World, ref: Ref) -> None:
    makers: dict[Resource, Any] = {TENANT: TenantReconciler, RUNTIME: RuntimeReconciler, BINDING: BindingReconciler}
    make = makers[ref.resource]
    now = lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)  # noqa: E731
    reconciler = make(world.backends, PLATFORM)
    Controller(reconciler, world.backends, resync=300, now=now, report=_raise, audit=world.audit).run(ref)


def _raise(error: Exception) -> None:
    raise error


def settle(world: World, *refs: Ref) -> None:
    """Passes over everything until one round writes nothing; the kubelet's and the Deployment's part is done here."""
    for _ in range(30):
        before = world.writes
        for ref in refs:
            one_pass(world, ref)
            for existing, live in world.objects.items():
                if existing.resource.kind == "Deployment":
                    live["status"] = {"observedGeneration": 1, "replicas": 0}
        if world.writes == before:
            return
    pytest.fail("never settles")


def settled() -> World:
    world = World()
    declare(world, ACME, AGENT, BILLING)
    settle(world, ACME)
    world.vault[SECRET] = {"subkeys": {"api_key": None}}
    settle(world, ACME, AGENT, BILLING)
    return world


def ready(world: World, ref: Ref) -> dict[str, Any]:
    return next(c for c in world.objects[ref]["status"]["conditions"] if c["type"] == "Ready")


def state(world: World) -> tuple[Any, ...]:
    return copy.deepcopy((world.objects, world.vault, world.realms))


def test_everything_becomes_ready_and_then_nothing_is_written() -> None:
    world = settled()
    assert {ref: ready(world, ref)["status"] for ref in (ACME, AGENT, BILLING)} == dict.fromkeys(
        (ACME, AGENT, BILLING), "True"
    )
    before = world.writes
    for ref in (ACME, AGENT, BILLING):
        one_pass(world, ref)
    assert world.writes == before


def test_the_audit_has_one_line_per_write_but_status_writes() -> None:
    world = settled()
    assert len(world.audited) == world.writes - world.status_writes
    assert {outcome for *_, outcome in world.audited} == {"ok"}
    for ref in (ACME, AGENT, BILLING):
        # the finalizer is the first write about any object
        first = next(change for of, change, _ in world.audited if of == ref)
        assert (first.verb, first.target) == ("finalize", str(ref))
    assert {change.system for of, change, _ in world.audited if of == ACME} == set(System)


def test_a_crash_behind_any_write_converges_to_the_same_state() -> None:
    clean = settled()
    for crash_at in range(1, clean.writes + 1):
        world = World()
        declare(world, ACME, AGENT, BILLING)
        world.fuse = crash_at
        for _ in range(2):
            try:
                settle(world, ACME)
                world.vault[SECRET] = {"subkeys": {"api_key": None}}
                settle(world, ACME, AGENT, BILLING)
            except Crash:
                continue
        assert state(world) == state(clean), f"crash behind write {crash_at}"


def test_drift_in_any_planned_leaf_of_openbao_and_keycloak_is_healed() -> None:
    clean = settled()
    leaves: list[tuple[str, Any, str]] = [
        ("vault", p, k)
        for p, v in clean.vault.items()
        if p != SECRET and not p.path.startswith("sys/namespaces")
        for k in v
    ]
    leaves += [
        ("realms", p, k)
        for p, v in clean.realms.items()
        for k in v
        if k not in {"id", "realm", "attributes", "alias", "clientId"}
    ]
    fixed = ("sys/mounts/", "sys/auth/")
    for system, path, key in leaves:
        if getattr(path, "path", "").startswith(fixed):
            continue
        world = settled()
        planned = getattr(clean, system)[path][key]
        by_hand = dict.fromkeys(planned, "changed by hand") if isinstance(planned, dict) else "changed by hand"
        getattr(world, system)[path][key] = by_hand
        settle(world, ACME, AGENT, BILLING)
        assert getattr(world, system)[path][key] == planned, f"{path} {key}"


@pytest.mark.parametrize("kind", [NETWORK_POLICY, CONFIG_MAP, SERVICE_ACCOUNT])
def test_a_deleted_child_comes_back(kind: Any) -> None:
    world = settled()
    for ref in [r for r in world.objects if r.resource is kind]:
        del world.objects[ref]
    settle(world, ACME, AGENT, BILLING)
    assert {r for r in world.objects if r.resource is kind} == {r for r in settled().objects if r.resource is kind}


def test_deletion_leaves_nothing_in_the_three_systems() -> None:
    world = settled()
    world.objects[ACME]["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    for _ in range(20):
        for ref in (BILLING, AGENT, ACME):
            if ref in world.objects:
                one_pass(world, ref)
    # what the namespace controller would remove with the namespace was removed one by one, or is inside it
    assert ACME not in world.objects
    assert Ref(NAMESPACE, "", "axon-acme") not in world.objects
    assert not world.vault
    assert not world.realms


def test_deletion_with_openbao_away_is_blocked_says_so_and_goes_on_later() -> None:
    world = settled()
    world.objects[ACME]["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    del world.objects[BILLING], world.objects[AGENT]
    world.vault_away = True
    one_pass(world, ACME)
    one_pass(world, ACME)
    kinds = {c["type"]: c["status"] for c in world.objects[ACME]["status"]["conditions"]}
    assert kinds["DeletionBlocked"] == "True"
    assert FINALIZER in world.objects[ACME]["metadata"]["finalizers"]
    world.vault_away = False
    for _ in range(5):
        one_pass(world, ACME)
    assert ACME not in world.objects


def test_suspension_locks_disables_and_closes_and_can_be_taken_back() -> None:
    world = settled()
    before = state(world)[1:]
    world.objects[ACME]["spec"]["suspended"] = True
    world.objects[ACME]["metadata"]["generation"] = 2
    settle(world, ACME, AGENT, BILLING)
    assert world.vault[VaultPath("", f"sys/namespaces/{NAMES.vault_namespace}")]["locked"] is True
    assert world.realms[RealmPath("axon-acme")]["enabled"] is False
    policies = {r.name for r in world.objects if r.resource is NETWORK_POLICY}
    assert policies == {"axon-default-deny"}
    assert ready(world, ACME)["reason"] == Reason.SUSPENDED
    world.objects[ACME]["spec"]["suspended"] = False
    settle(world, ACME, AGENT, BILLING)
    world.vault[VaultPath("", f"sys/namespaces/{NAMES.vault_namespace}")].pop("locked")
    assert state(world)[1:] == before
    assert ready(world, AGENT)["status"] == "True"


def test_a_runtime_keeps_ready_while_openbao_is_away_and_can_still_be_suspended() -> None:
    world = settled()
    deployment = next(r for r in world.objects if r.resource.kind == "Deployment")
    world.objects[AGENT]["spec"]["replicas"] = 3
    one_pass(world, AGENT)
    counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), 3)
    world.objects[deployment]["status"] = {**counts, "observedGeneration": 1}
    one_pass(world, AGENT)
    world.vault_away = True
    one_pass(world, AGENT)
    assert ready(world, AGENT)["status"] == "True"
    world.objects[AGENT]["spec"]["suspended"] = True
    one_pass(world, AGENT)
    assert world.objects[deployment]["spec"]["replicas"] == 0


def test_more_pods_wait_for_their_walls() -> None:
    world = settled()
    deployment = next(r for r in world.objects if r.resource.kind == "Deployment")
    world.objects[AGENT]["spec"]["replicas"] = 3
    world.vault_away = True
    one_pass(world, AGENT)
    assert world.objects[deployment]["spec"]["replicas"] == 0


def test_a_runtime_deleted_while_its_tenant_is_suspended_leaves_nothing_behind_once_resumed() -> None:
    world = settled()
    world.objects[ACME]["spec"]["suspended"] = True
    settle(world, ACME, AGENT)
    world.objects[AGENT]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    one_pass(world, AGENT)
    one_pass(world, AGENT)
    assert AGENT in world.objects
    world.objects[ACME]["spec"]["suspended"] = False
    settle(world, ACME)
    for _ in range(4):
        one_pass(world, AGENT)
    assert AGENT not in world.objects
    assert not [p for p in world.vault if PRINCIPAL in p.path]
    assert not [p for p in world.realms if "clients" in p.segments]


@pytest.mark.parametrize("system", ["kubernetes", "vault", "keycloak"])
def test_something_foreign_of_that_name_is_refused_and_not_touched(system: str) -> None:
    world = World()
    declare(world, ACME)
    if system == "kubernetes":
        world.add(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": "axon-acme", "labels": {OWNER_UID_LABEL: "someone"}},
            }
        )
    elif system == "vault":
        world.vault[VaultPath("", f"sys/namespaces/{NAMES.vault_namespace}")] = {"custom_metadata": {}}
    else:
        world.realms[RealmPath("axon-acme")] = {"realm": "axon-acme"}
    before = copy.deepcopy((world.objects.get(Ref(NAMESPACE, "", "axon-acme")), world.vault, world.realms))
    settle(world, ACME)
    stalled = next(c for c in world.objects[ACME]["status"]["conditions"] if c["type"] == "Stalled")
    assert stalled["reason"] == Reason.NAME_TAKEN
    after = {
        "kubernetes": world.objects.get(Ref(NAMESPACE, "", "axon-acme")),
        "vault": world.vault,
        "keycloak": world.realms,
    }
    assert after[system] == before[["kubernetes", "vault", "keycloak"].index(system)]


def test_a_service_account_recreated_by_someone_gets_no_role() -> None:
    world = settled()
    account = Ref(SERVICE_ACCOUNT, "axon-acme", PRINCIPAL)
    role = copy.deepcopy(world.vault[VaultPath(NAMES.vault_namespace, f"auth/k8s/role/{PRINCIPAL}")])
    world.objects[account]["metadata"] |= {"uid": "another", "labels": {}}
    settle(world, ACME, AGENT, BILLING)
    assert world.vault[VaultPath(NAMES.vault_namespace, f"auth/k8s/role/{PRINCIPAL}")] == role
    assert ready(world, AGENT)["reason"] == Reason.NAME_TAKEN


def test_a_deleted_binding_is_out_of_the_policy_before_it_is_gone() -> None:
    world = settled()
    world.objects[BILLING]["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    policy = VaultPath(NAMES.vault_namespace, f"sys/policies/acl/{PRINCIPAL}")
    one_pass(world, BILLING)
    assert "billing/stripe" in world.vault[policy]["policy"]
    assert BILLING in world.objects
    one_pass(world, AGENT)
    one_pass(world, BILLING)
    assert "billing/stripe" not in world.vault[policy]["policy"]
    assert BILLING not in world.objects
