"""Passes settle: from nothing, after a crash behind any write, after drift in any field, and back to nothing."""

import copy
import datetime
import re
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.domain.names import (
    FINALIZER,
    OWNER_UID_LABEL,
    USERS_CLIENT,
    VAULT_SUSPENDED_KEY,
    RuntimeNames,
    TenantNames,
)
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
from axon_operator.reconcile.engine.controller import Controller, Pass
from axon_operator.reconcile.engine.plan import System
from axon_operator.reconcile.runtime import RuntimeReconciler
from axon_operator.reconcile.tenant import TenantReconciler

from .world import BROWSER_FLOW, Crash, World

PLATFORM = Platform(
    "https://issuer",
    "https://bao:8200",
    "axon",
    "CA",
    Peer("bao", {}, 8200),
    "https://kc",
    "KC-CA",
    Peer("kc", {}, 8443),
    "img:1",
    15,
    ("10.0.0.0/8",),
    "cluster.local",
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


def one_pass(world: World, ref: Ref) -> Pass:
    makers: dict[Resource, Any] = {TENANT: TenantReconciler, RUNTIME: RuntimeReconciler, BINDING: BindingReconciler}
    make = makers[ref.resource]
    now = lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)  # noqa: E731
    reconciler = make(world.backends, PLATFORM)
    controller = Controller(reconciler, world.backends, resync=300, now=now, report=_raise, audit=world.audit)
    controller.expire(ref)
    return controller.run(ref)


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


def a_crash_behind_any_write_ends_alike(make: Callable[[], World], most: int) -> None:
    """A new world settles into the same realms wherever the process died; with fewer than `most` writes."""
    clean = make()
    settle(clean, ACME)
    for fuse in range(1, most):
        world = make()
        world.fuse = fuse
        try:
            settle(world, ACME)
        except Crash:
            settle(world, ACME)
        else:
            return
        assert world.realms == clean.realms
    pytest.fail("more writes than expected")


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


def busy() -> World:
    """Settled, with a runtime logged in and somebody's session."""
    world = settled()
    world.logins[NAMES.vault_namespace] = 2
    world.sessions["axon-acme"] = 3
    return world


def suspend(world: World) -> None:
    world.objects[ACME]["spec"]["suspended"] = True
    world.objects[ACME]["metadata"]["generation"] += 1


def resume(world: World) -> None:
    world.objects[ACME]["spec"]["suspended"] = False
    world.objects[ACME]["metadata"]["generation"] += 1


def delete(world: World) -> None:
    metadata = world.objects[ACME]["metadata"]
    metadata |= {"deletionTimestamp": "2026-01-02T00:00:00Z", "generation": metadata["generation"] + 1}


def leave(world: World) -> None:
    """Rounds of passes until the Tenant is gone."""
    for _ in range(20):
        for ref in (BILLING, AGENT, ACME):
            if ref in world.objects:
                one_pass(world, ref)
    assert ACME not in world.objects
    assert Ref(NAMESPACE, "", "axon-acme") not in world.objects
    assert not world.vault
    assert not world.realms


def until_done(world: World, act: Any) -> None:
    """Once more where the process died."""
    try:
        act(world)
    except Crash:
        act(world)


@pytest.mark.parametrize("orders", [(delete,), (suspend, delete), (delete, suspend)])
def test_a_crash_behind_any_write_of_a_deletion_leaves_nothing(orders: tuple[Any, ...]) -> None:
    def gone(fuse: int | None) -> World:
        world = busy()
        for order in orders:
            order(world)
        world.writes, world.fuse = 0, fuse
        until_done(world, leave)
        return world

    for crash_at in range(1, gone(None).writes + 1):
        assert not gone(crash_at).logins, f"crash behind write {crash_at}"


def test_a_crash_behind_any_write_of_a_suspension_or_a_resumption_converges() -> None:
    def there_and_back(fuse: int | None) -> tuple[World, tuple[Any, ...]]:
        world = busy()
        world.writes, world.fuse = 0, fuse
        suspend(world)
        until_done(world, lambda w: settle(w, ACME, AGENT, BILLING))
        closed = state(world)
        assert not world.logins
        assert not world.sessions, f"crash behind write {fuse}"
        # somebody came in between the look and the lock
        world.logins[NAMES.vault_namespace] = 1
        world.sessions["axon-acme"] = 1
        resume(world)
        until_done(world, lambda w: settle(w, ACME, AGENT, BILLING))
        assert not world.logins, f"crash behind write {fuse}"
        assert not world.sessions, f"crash behind write {fuse}"
        return world, closed

    clean, closed = there_and_back(None)
    for crash_at in range(1, clean.writes + 1):
        world, closed_too = there_and_back(crash_at)
        assert _without_versions(closed_too) == _without_versions(closed), f"crash behind write {crash_at}"
        assert _without_versions(state(world)) == _without_versions(state(clean)), f"crash behind write {crash_at}"


def _without_versions(seen: tuple[Any, ...]) -> tuple[Any, ...]:
    for live in seen[0].values():
        live["metadata"].pop("resourceVersion", None)
    return seen


def test_a_resumption_that_fails_half_way_still_revokes_before_anything_else() -> None:
    world = busy()
    suspend(world)
    settle(world, ACME, AGENT, BILLING)
    world.logins[NAMES.vault_namespace] = 1
    resume(world)
    # DNS opened, unlocked, and then the process dies before it has revoked
    world.fuse = 2
    with pytest.raises(Crash):
        one_pass(world, ACME)
    assert not world.vault_namespace(NAMES.vault_namespace)["locked"]
    world.vault_away = True
    one_pass(world, ACME)
    world.vault_away = False
    one_pass(world, ACME)
    assert not world.logins


def test_suspension_takes_the_roles_before_it_revokes_and_ends_sessions_behind_the_closed_door() -> None:
    world = busy()
    suspend(world)
    seen: list[str] = []
    for _ in range(6):
        done = one_pass(world, ACME)
        seen += [str(change) for change in done.outcome.applied]
    role = next(n for n, c in enumerate(seen) if c.startswith("delete OpenBao") and "/role/" in c)
    revoked, locked = (next(n for n, c in enumerate(seen) if word in c) for word in ("revoke-prefix", "api-lock/lock"))
    disabled, ended = seen.index("update Keycloak axon-acme"), seen.index("logout-all Keycloak axon-acme")
    assert role < revoked < locked
    assert disabled < ended


@pytest.mark.parametrize("order", [suspend, delete])
def test_credentials_that_hang_on_no_login_of_the_tenant_are_revoked_too(order: Any) -> None:
    world = busy()
    world.credentials.add(NAMES.vault_namespace)
    order(world)
    for _ in range(10):
        for ref in (BILLING, AGENT, ACME):
            if ref in world.objects:
                one_pass(world, ref)
    assert not world.credentials
    assert order is delete or world.vault_namespace(NAMES.vault_namespace)["locked"]


def test_what_openbao_does_not_revoke_or_comes_back_elsewhere_does_not_hold_the_lock_off() -> None:
    world = busy()
    suspend(world)
    told = []
    for _ in range(4):
        world.logins[NAMES.vault_namespace] = 1
        one_pass(world, ACME)
        told.append(ready(world, ACME)["message"])
    # once it is revoked, without a way in; then the lock closes what is left
    assert "Logins are being revoked." in told
    assert world.vault_namespace(NAMES.vault_namespace).get("locked")


def test_a_namespace_over_its_rate_quota_is_locked_all_the_same_and_revoked_before_it_opens() -> None:
    world = busy()
    suspend(world)
    world.logins[NAMES.vault_namespace] = 1
    world.vault_busy.add(NAMES.vault_namespace)
    for _ in range(3):
        one_pass(world, ACME)
    assert world.vault_namespace(NAMES.vault_namespace)["locked"]
    resume(world)
    for _ in range(3):
        one_pass(world, ACME)
        # as long as the tokens of before could still be good, the namespace is not left open
        assert world.vault_namespace(NAMES.vault_namespace)["locked"]
        assert world.vault_namespace(NAMES.vault_namespace)["custom_metadata"][VAULT_SUSPENDED_KEY] == "true"
    world.vault_busy.clear()
    one_pass(world, ACME)
    assert NAMES.vault_namespace not in world.logins


def test_a_tenant_whose_logins_cannot_be_seen_is_not_deleted_before_they_are_revoked() -> None:
    world = busy()
    world.logins[NAMES.vault_namespace] = 1
    world.vault_busy.add(NAMES.vault_namespace)
    delete(world)
    for _ in range(4):
        for ref in (BILLING, AGENT, ACME):
            if ref in world.objects:
                one_pass(world, ref)
    assert world.logins[NAMES.vault_namespace]
    world.vault_busy.clear()
    leave(world)


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
        if k not in {"id", "realm", "attributes", "alias", "clientId", "clientProfiles", "clientPolicies"}
        and (p.segments[:-1] != BROWSER_FLOW or k == "requirement")
    ]
    fixed = re.compile("sys/(mounts|auth)/[^/]+")
    for system, path, key in leaves:
        if fixed.fullmatch(getattr(path, "path", "")):
            continue
        world = settled()
        planned = getattr(clean, system)[path][key]
        getattr(world, system)[path][key] = by_hand(planned)
        settle(world, ACME, AGENT, BILLING)
        assert getattr(world, system)[path][key] == planned, f"{path} {key}"


def by_hand(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: by_hand(inner) for key, inner in value.items()}
    return ["by hand"] if isinstance(value, list) else "by hand"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all scalars, and of all maps: somebody may add a field to each."""
    if isinstance(value, dict):
        yield (*path, "added by hand")
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
        yield (*path, len(value))
    else:
        yield path


SHARED = {"Namespace", "ServiceAccount"}
"""Kinds in which fields that are not planned belong to others."""


def test_drift_in_any_planned_leaf_of_kubernetes_and_anything_added_is_healed() -> None:
    clean = settled()
    for ref, planned in clean.applied.items():
        body = {k: v for k, v in planned.items() if k not in {"apiVersion", "kind", "metadata"}}
        for path in leaves(body):
            if path[-1] == "added by hand" and (len(path) == 1 or ref.resource.kind in SHARED):
                continue
            world = copy.deepcopy(clean)
            *above, last = path
            place = reduce(lambda part, key: part[key], above, world.objects[ref])
            if last == "added by hand":
                place[last] = {"by": "hand"}
            elif isinstance(place, list) and last == len(place):
                place.append({"name": "by-hand"})
            else:
                place[last] = {int: 4711, bool: not place[last]}.get(type(place[last]), "by hand")
            settle(world, ACME, AGENT, BILLING)
            after = {k: world.objects[ref][k] for k in body}
            assert after == body, f"{ref} {path}"


@pytest.mark.parametrize("kind", [NETWORK_POLICY, CONFIG_MAP, SERVICE_ACCOUNT])
def test_a_deleted_child_comes_back(kind: Any) -> None:
    world = settled()
    for ref in [r for r in world.objects if r.resource is kind]:
        del world.objects[ref]
    settle(world, ACME, AGENT, BILLING)
    assert {r for r in world.objects if r.resource is kind} == {r for r in settled().objects if r.resource is kind}


def test_deletion_leaves_nothing_in_the_three_systems() -> None:
    world = settled()
    delete(world)
    # what the namespace controller would remove with the namespace was removed one by one, or is inside it
    leave(world)


@pytest.mark.parametrize("orders", [(suspend, delete), (delete, suspend)])
def test_a_suspended_tenant_can_be_deleted_while_its_network_is_still_open(orders: tuple[Any, ...]) -> None:
    world = busy()
    for order in orders:
        order(world)
    one_pass(world, ACME)
    assert {r.name for r in world.objects if r.resource is NETWORK_POLICY} == {"axon-default-deny"}
    leave(world)


def blocked(world: World) -> str | None:
    conditions = world.objects[ACME]["status"]["conditions"]
    return next((c["message"] for c in conditions if c["type"] == "DeletionBlocked"), None)


@pytest.mark.parametrize("held", [BILLING, AGENT])
def test_a_foreign_finalizer_cannot_keep_credentials_from_being_revoked(held: Ref) -> None:
    world = busy()
    world.objects[held]["metadata"]["finalizers"].append("example.com/veto")
    delete(world)
    for _ in range(10):
        for ref in (BILLING, AGENT, ACME):
            if ref in world.objects:
                one_pass(world, ref)
    assert not world.vault
    assert not world.realms
    assert not world.logins


def test_the_object_that_holds_a_deletion_up_is_named() -> None:
    world = busy()
    world.objects[BILLING]["metadata"]["finalizers"].append("example.com/veto")
    namespace = Ref(NAMESPACE, "", "axon-acme")
    world.objects[namespace]["metadata"]["finalizers"] = ["kubernetes"]
    delete(world)
    world.objects[ACME]["metadata"]["deletionTimestamp"] = "2025-12-31T00:00:00Z"
    world.objects[AGENT]["metadata"]["creationTimestamp"] = "2025-12-30T00:00:00Z"
    for _ in range(10):
        for ref in (BILLING, AGENT, ACME):
            if ref in world.objects:
                one_pass(world, ref)
    message = blocked(world) or ""
    assert str(BILLING) in message
    assert "example.com/veto" in message


def test_a_tenants_people_lose_their_rights_before_anything_else_is_taken_down() -> None:
    world = busy()
    delete(world)
    done = one_pass(world, ACME)
    assert str(done.outcome.applied[0]) == "delete RoleBinding axon-acme/axon-admins"


def test_objects_made_in_a_loop_do_not_hold_the_revocation_up() -> None:
    world = busy()
    delete(world)
    for _ in range(10):
        for ref in (AGENT, BILLING):
            if ref in world.objects:
                one_pass(world, ref)
        if AGENT not in world.objects:
            declare(world, AGENT)
            world.objects[AGENT]["metadata"] |= {"creationTimestamp": "2026-01-03T00:00:00Z", "finalizers": [FINALIZER]}
        if ACME in world.objects:
            one_pass(world, ACME)
    assert not world.vault
    assert not world.realms


@pytest.mark.parametrize("system", ["kubernetes", "vault", "keycloak"])
def test_what_was_made_and_has_lost_its_mark_blocks_the_deletion_and_stays(system: str) -> None:
    world = busy()
    if system == "kubernetes":
        world.objects[Ref(NAMESPACE, "", "axon-acme")]["metadata"]["labels"].pop(OWNER_UID_LABEL)
    elif system == "vault":
        world.vault_namespace(NAMES.vault_namespace)["custom_metadata"] = {}
    else:
        world.realms[RealmPath("axon-acme")].pop("attributes")
    delete(world)
    for _ in range(10):
        for ref in (BILLING, AGENT, ACME):
            if ref in world.objects:
                one_pass(world, ref)
    assert FINALIZER in world.objects[ACME]["metadata"]["finalizers"]
    assert "lost its mark" in (blocked(world) or "")


@pytest.mark.parametrize("system", ["kubernetes", "vault", "keycloak"])
def test_a_tenant_whose_adoption_was_refused_can_be_deleted(system: str) -> None:
    world = World()
    declare(world, ACME)
    foreign_things(world, system)
    settle(world, ACME)
    before = copy.deepcopy((world.objects.get(Ref(NAMESPACE, "", "axon-acme")), world.vault, world.realms))
    delete(world)
    for _ in range(5):
        one_pass(world, ACME)
    assert ACME not in world.objects
    after = (world.objects.get(Ref(NAMESPACE, "", "axon-acme")), world.vault, world.realms)
    position = ["kubernetes", "vault", "keycloak"].index(system)
    assert after[position] == before[position]


def test_a_guard_that_is_not_ours_cancels_neither_the_kill_switch_nor_the_repair_of_others() -> None:
    world = busy()
    guard = Ref(NETWORK_POLICY, "axon-acme", "axon-default-deny")
    quota = next(r for r in world.objects if r.resource.kind == "ResourceQuota")
    world.objects[guard]["metadata"]["labels"][OWNER_UID_LABEL] = "x"
    world.objects[quota]["spec"]["hard"]["pods"] = "100000"
    suspend(world)
    for _ in range(6):
        one_pass(world, ACME)
    assert {r.name for r in world.objects if r.resource is NETWORK_POLICY} == {"axon-default-deny"}
    assert world.objects[quota]["spec"]["hard"]["pods"] == "100"
    assert world.vault_namespace(NAMES.vault_namespace)["locked"]
    assert not world.realms[RealmPath("axon-acme")]["enabled"]
    assert ready(world, ACME)["reason"] == Reason.NAME_TAKEN


def test_a_policy_that_cannot_be_removed_keeps_neither_the_others_nor_the_backends_open() -> None:
    world = busy()
    stuck = Ref(NETWORK_POLICY, "axon-acme", "axon-allow-dns")
    world.refused.add(("delete", stuck))
    suspend(world)
    for _ in range(6):
        done = one_pass(world, ACME)
    assert {r.name for r in world.objects if r.resource is NETWORK_POLICY} == {"axon-default-deny", "axon-allow-dns"}
    assert world.vault_namespace(NAMES.vault_namespace)["locked"]
    assert not world.realms[RealmPath("axon-acme")]["enabled"]
    assert done.next is not None
    assert done.next.after > 0


def test_a_defect_is_not_taken_for_an_outage() -> None:
    world = settled()
    world.objects[Ref(NAMESPACE, "", "axon-acme")]["metadata"]["labels"] = 1
    reported: list[Exception] = []
    now = lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)  # noqa: E731
    reconciler = TenantReconciler(world.backends, PLATFORM)
    controller = Controller(reconciler, world.backends, resync=300, now=now, report=reported.append, audit=world.audit)
    controller.run(ACME)
    assert reported
    assert (ready(world, ACME)["status"], ready(world, ACME)["reason"]) == ("False", Reason.INTERNAL_ERROR)


def test_a_pass_that_saw_nothing_does_not_claim_to_have_judged_the_spec() -> None:
    world = settled()
    suspend(world)
    world.refused.add(("get", Ref(NAMESPACE, "", "axon-acme")))
    one_pass(world, ACME)
    assert world.objects[ACME]["status"]["observedGeneration"] == 1
    world.refused.clear()
    done = one_pass(world, ACME)
    assert AGENT in done.related
    assert world.objects[ACME]["status"]["observedGeneration"] == 2


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
    resume(world)
    settle(world, ACME, AGENT, BILLING)
    world.vault_namespace(NAMES.vault_namespace).pop("locked")
    assert world.realms[RealmPath("axon-acme")].pop("notBefore"), "sessions ended"
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
    clients = {r["clientId"] for p, r in world.realms.items() if p.segments[:-1] == ("clients",)}
    assert clients == {USERS_CLIENT}


@pytest.mark.parametrize("others", [[], [{"name": "somebody", "accessor": "of-another-mount"}]])
def test_a_deleted_runtime_is_forgotten_by_openbao_unless_it_is_merged_with_others(others: list[Any]) -> None:
    world = settled()
    mount = next(p for p in world.vault if p.path == "sys/auth/k8s")
    world.vault[mount] = {**world.vault[mount], "accessor": "of-pods"}
    subject = f"system:serviceaccount:{AGENT.namespace}:{PRINCIPAL}"
    world.entities["pods"] = {"id": "pods", "aliases": [{"name": subject, "accessor": "of-pods"}, *others]}
    world.entities["alice"] = {"id": "alice", "aliases": [{"name": "alice", "accessor": "of-people"}]}
    world.objects[AGENT]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for _ in range(4):
        one_pass(world, AGENT)
    assert AGENT not in world.objects
    assert set(world.entities) == ({"alice", "pods"} if others else {"alice"})


@pytest.mark.parametrize("system", ["kubernetes", "vault", "keycloak"])
def test_something_foreign_of_that_name_is_refused_and_not_touched(system: str) -> None:
    world = World()
    declare(world, ACME)
    foreign_things(world, system)
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


def foreign_things(world: World, system: str) -> None:
    """Something of the Tenant's name that was not made for it."""
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


@pytest.mark.parametrize("system", ["vault", "keycloak"])
def test_users_logins_wait_for_both_systems(system: str) -> None:
    world = World()
    declare(world, ACME)
    foreign_things(world, system)
    settle(world, ACME)
    conditions = {c["type"]: (c["status"], c["reason"]) for c in world.objects[ACME]["status"]["conditions"]}
    assert conditions["LoginReady"][0] != "True"
    assert conditions["LoginReady"][1] == Reason.DEPENDENCY_NOT_READY
    assert not [p for p in world.vault if p.path.startswith("auth/keycloak/")]
    # the other system goes on
    other = {"vault": "IdentityReady", "keycloak": "VaultReady"}[system]
    assert conditions[other] == ("True", Reason.READY)


def test_a_group_that_is_no_longer_named_loses_its_role() -> None:
    world = settled()
    role = VaultPath(NAMES.vault_namespace, "auth/keycloak/role/org-admin")
    for admins in (["/keepers"], ["/keepers", "/others"], []):
        world.objects[ACME]["spec"]["vault"] = {"admins": admins}
        settle(world, ACME)
        assert (world.vault.get(role) or {}).get("bound_claims", {}).get("groups", []) == admins


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
