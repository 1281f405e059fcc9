"""A new Tenant gets what a lost one of its name had, if an administrator says so, and in no other case."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.domain.names import (
    ADOPT_ANNOTATION,
    OWNER_UID_LABEL,
    REALM_CLUSTER_ATTRIBUTE,
    REALM_OWNER_ATTRIBUTE,
    REALM_RETAINED_ATTRIBUTE,
    VAULT_CLUSTER_KEY,
    VAULT_HOME_KEY,
    VAULT_OWNER_KEY,
    VAULT_RETAINED_KEY,
    VAULT_TENANT_KEY,
    RuntimeNames,
    TenantNames,
)
from axon_operator.domain.resources import NAMESPACE, RUNTIME, TENANT, RealmPath, Ref, VaultPath
from axon_operator.process.events import notes

from .test_passes import ACME, AGENT, BILLING, declare, delete, one_pass, ready, resume, settle, suspend
from .test_sweep import Place, own_kind
from .world import Crash, World

OLD, NEW = TenantNames("acme", "uid-old"), TenantNames("acme", "uid-new", "uid-old")
OWN = TenantNames("acme", "uid-new")
HOME = VaultPath("", f"sys/namespaces/{OLD.vault_namespace}")
REALM = RealmPath(OLD.realm)
SPACE = Ref(NAMESPACE, "", OLD.namespace)
SECRET = VaultPath(OLD.vault_namespace, "kv/subkeys/org/billing/stripe")
IN_ORDER = (BILLING, AGENT, ACME)


def declare_as(world: World, uid: str, claim: str | None = None) -> None:
    declare(world, ACME)
    metadata = world.objects[ACME]["metadata"]
    metadata["uid"] = uid
    if claim is not None:
        metadata["annotations"] = {ADOPT_ANNOTATION: claim}


def lost(*, namespace: bool = True, change: Callable[[World], None] = lambda _: None) -> World:
    """A cluster of which nothing was left but, perhaps, the tenant's namespace."""
    world = World()
    declare_as(world, OLD.uid)
    settle(world, ACME)
    declare(world, AGENT, BILLING)
    world.vault[SECRET] = {"subkeys": {"api_key": None}}
    settle(world, ACME, AGENT, BILLING)
    world.logins[OLD.vault_namespace] = 2
    world.sessions[OLD.realm] = 1
    change(world)
    own = {ACME, AGENT, BILLING}
    for ref in [r for r in world.objects if r in own or not namespace]:
        del world.objects[ref]
    return world


def mark(world: World) -> dict[str, str]:
    found: dict[str, str] = world.vault[HOME]["custom_metadata"]
    return found


def realm_mark(world: World) -> dict[str, str]:
    found: dict[str, str] = world.realms[REALM]["attributes"]
    return found


def told(world: World, kind: str = "Stalled") -> str:
    conditions = world.objects[ACME]["status"]["conditions"]
    return next((c["message"] for c in conditions if c["type"] == kind), "")


def assert_adopted(world: World) -> None:
    assert ready(world, ACME)["status"] == "True"
    status = world.objects[ACME]["status"]
    assert (status["vaultNamespace"], status["adoptedUID"]) == (OLD.vault_namespace, OLD.uid)
    assert (mark(world)[VAULT_OWNER_KEY], mark(world)[VAULT_HOME_KEY]) == (NEW.uid, OLD.uid)
    assert realm_mark(world)[REALM_OWNER_ATTRIBUTE] == NEW.uid
    owners = {m["metadata"]["labels"][OWNER_UID_LABEL] for r, m in world.objects.items() if r == SPACE or guard(r)}
    assert owners == {NEW.uid}
    assert SECRET in world.vault
    assert VaultPath("", f"sys/namespaces/{OWN.vault_namespace}") not in world.vault
    # who was logged in before has to log in again
    assert not world.logins
    assert not world.sessions


def guard(ref: Ref) -> bool:
    return ref.namespace == OLD.namespace and ref.name.startswith("axon-")


@pytest.mark.parametrize("namespace", [True, False])
def test_a_restored_tenant_lives_on_where_the_lost_one_lived(namespace: bool) -> None:
    world = lost(namespace=namespace)
    declare_as(world, NEW.uid, OLD.uid)
    world.sessions.clear()
    settle(world, ACME)
    assert_adopted(world)
    writes = world.writes
    settle(world, ACME)
    assert world.writes == writes


def test_an_adoption_is_audited_and_told() -> None:
    world = lost()
    declare_as(world, NEW.uid, OLD.uid)
    world.audited.clear()
    events = [note for _ in range(6) for note in notes(one_pass(world, ACME)) if note.reason == Reason.ADOPTED]
    adopted = [change.target for _, change, outcome in world.audited if change.verb == "adopt" and outcome == "ok"]
    assert {HOME.path, OLD.realm, str(SPACE)} <= set(adopted)
    assert adopted[0] == HOME.path, "OpenBao decides, so it is first"
    assert all(any(target in note.message for note in events) for target in adopted)


def test_a_crash_behind_any_write_of_an_adoption_converges() -> None:
    def adopted(fuse: int | None) -> World:
        world = lost()
        declare_as(world, NEW.uid, OLD.uid)
        world.sessions.clear()
        world.writes, world.fuse = 0, fuse
        for _ in range(2):
            try:
                settle(world, ACME)
            except Crash:
                continue
        return world

    clean = adopted(None)
    for crash_at in range(1, clean.writes + 1):
        world = adopted(crash_at)
        assert_adopted(world)
        assert (world.vault, world.realms) == (clean.vault, clean.realms), f"crash behind write {crash_at}"


def test_runtimes_are_made_anew_and_what_the_old_ones_had_is_swept() -> None:
    world = lost()
    before = {RuntimeNames(OLD.namespace, "agent", f"uid-{AGENT}").principal}
    declare_as(world, NEW.uid, OLD.uid)
    world.sessions.clear()
    settle(world, ACME)
    world.add({**own_kind(RUNTIME, "agent", "uid-agent-new", OLD.namespace), "spec": {"image": "img:1", "replicas": 0}})
    settle(world, ACME, AGENT)
    roles = {p.path.rsplit("/", 1)[1] for p in world.vault if p.path.startswith("auth/k8s/role/")}
    after = RuntimeNames(OLD.namespace, "agent", "uid-agent-new").principal
    assert after in roles
    assert all(p.namespace in {"", OLD.vault_namespace} for p in world.vault)

    place = sweeping(world)
    place.run()
    removed = place.run(after=11).removed
    assert removed
    assert {t.owner for t in removed} <= {*before, f"uid-{AGENT}"}
    assert not [p for p in world.vault if before & set(p.path.split("/"))]
    assert [p for p in world.vault if after in p.path.split("/")]


def sweeping(world: World) -> Place:
    for name in ("one", "two"):
        world.add(own_kind(TENANT, name, f"uid-{name}"))
    return Place(world)


def test_what_was_retained_is_opened_again() -> None:
    world = lost()
    # as a deletion with Retain leaves it
    world.vault[HOME]["locked"] = True
    mark(world)[VAULT_RETAINED_KEY] = realm_mark(world)[REALM_RETAINED_ATTRIBUTE] = "2026-01-02T00:00:00Z"
    world.realms[REALM] |= {"enabled": False, "notBefore": 1}
    declare_as(world, NEW.uid, OLD.uid)
    settle(world, ACME)
    assert_adopted(world)
    assert not world.vault[HOME]["locked"]
    assert world.realms[REALM]["enabled"] is True
    assert VAULT_RETAINED_KEY not in mark(world)
    assert REALM_RETAINED_ATTRIBUTE not in realm_mark(world)


def test_a_tenant_that_is_restored_as_suspended_opens_nothing() -> None:
    world = lost()
    declare_as(world, NEW.uid, OLD.uid)
    suspend(world)
    settle(world, ACME)
    assert world.vault[HOME]["locked"]
    assert world.realms[REALM]["enabled"] is False
    resume(world)
    settle(world, ACME)
    assert_adopted(world)


def test_the_annotation_may_be_taken_off_and_a_lost_status_is_found_again() -> None:
    world = lost()
    declare_as(world, NEW.uid, OLD.uid)
    world.sessions.clear()
    settle(world, ACME)
    settled = copy.deepcopy((world.vault, world.realms))
    annotations = world.objects[ACME]["metadata"].pop("annotations")
    settle(world, ACME)
    world.objects[ACME]["metadata"]["annotations"] = annotations
    del world.objects[ACME]["status"]
    settle(world, ACME)
    assert_adopted(world)
    assert (world.vault, world.realms) == settled


def test_what_was_adopted_can_be_lost_and_adopted_again() -> None:
    world = lost()
    declare_as(world, NEW.uid, OLD.uid)
    settle(world, ACME)
    del world.objects[ACME]
    declare_as(world, "uid-third", NEW.uid)
    settle(world, ACME)
    assert ready(world, ACME)["status"] == "True"
    assert (mark(world)[VAULT_OWNER_KEY], mark(world)[VAULT_HOME_KEY]) == ("uid-third", OLD.uid)
    assert world.objects[ACME]["status"]["vaultNamespace"] == OLD.vault_namespace


def test_a_deleted_tenant_that_had_adopted_leaves_nothing() -> None:
    world = lost()
    declare_as(world, NEW.uid, OLD.uid)
    settle(world, ACME)
    delete(world)
    for _ in range(8):
        if ACME in world.objects:
            one_pass(world, ACME)
    assert ACME not in world.objects
    assert not world.vault
    assert not world.realms
    assert SPACE not in world.objects


def test_a_lost_tenant_that_had_adopted_is_an_orphan_as_a_whole() -> None:
    world = lost()
    declare_as(world, NEW.uid, OLD.uid)
    settle(world, ACME)
    del world.objects[ACME]
    place = sweeping(world)
    assert {t.owner for t in place.run().new if t.kind in {"Namespace", "Realm"}} == {NEW.uid}
    place.run(after=101)
    assert not world.vault
    assert not world.realms
    assert SPACE not in world.objects


def test_what_somebody_claims_is_not_swept_meanwhile() -> None:
    world = lost()
    declare_as(world, NEW.uid, OLD.uid)
    place = sweeping(world)
    assert not [t for t in place.run().new if t.kind in {"Namespace", "Realm"}]


# -- attacks and mistakes


def other_name(world: World) -> None:
    mark(world)[VAULT_TENANT_KEY] = "globex"


def other_cluster(world: World) -> None:
    mark(world)[VAULT_CLUSTER_KEY] = realm_mark(world)[REALM_CLUSTER_ATTRIBUTE] = "cluster-2"


def no_cluster(world: World) -> None:
    del mark(world)[VAULT_CLUSTER_KEY]


def copied_mark(world: World) -> None:
    """Somebody gave a namespace of another name the lost one's mark, and removed that."""
    world.vault[VaultPath("", "sys/namespaces/t-0123456789abcdef")] = world.vault.pop(HOME)


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        (None, lambda _: None),
        ("uid-another", lambda _: None),
        ("cluster-2/uid-old", lambda _: None),
        ("uid-old", other_name),
        ("uid-old", other_cluster),
        ("uid-old", no_cluster),
        ("uid-old", copied_mark),
        ("../uid-old", lambda _: None),
        ("uid-old uid-old", lambda _: None),
    ],
)
def test_nothing_is_adopted_unless_the_annotation_and_all_of_the_mark_agree(
    claim: str | None, change: Callable[[World], None]
) -> None:
    world = lost(change=change)
    before = copy.deepcopy((world.vault, world.realms, world.objects[SPACE]))
    declare_as(world, NEW.uid, claim)
    settle(world, ACME)
    assert ready(world, ACME)["status"] == "False"
    assert told(world)
    if claim is None:
        # nothing was claimed, so it has a namespace of its own
        world.vault = {p: v for p, v in world.vault.items() if OWN.vault_namespace not in str(p)}
    assert (world.vault, world.realms, world.objects[SPACE]) == before


def test_another_cluster_has_to_be_named() -> None:
    world = lost(change=other_cluster)
    declare_as(world, NEW.uid, "cluster-2/uid-old")
    settle(world, ACME)
    assert_adopted_from_elsewhere(world)


def assert_adopted_from_elsewhere(world: World) -> None:
    assert ready(world, ACME)["status"] == "True"
    assert {mark(world)[VAULT_CLUSTER_KEY], realm_mark(world)[REALM_CLUSTER_ATTRIBUTE]} == {world.cluster}


def test_a_living_tenants_things_cannot_be_adopted() -> None:
    """Not even if its marks named this Tenant."""
    world = lost()
    before = copy.deepcopy((world.vault, world.realms))
    world.add(own_kind(TENANT, "globex", OLD.uid))
    declare_as(world, NEW.uid, OLD.uid)
    settle(world, ACME)
    assert "names a Tenant that lives" in told(world, "VaultReady")
    assert (world.vault, world.realms) == before


def test_a_tenant_with_an_openbao_namespace_of_its_own_never_moves() -> None:
    world = lost()
    declare_as(world, NEW.uid)
    settle(world, ACME)
    before = copy.deepcopy((world.vault, world.realms))
    world.objects[ACME]["metadata"]["annotations"] = {ADOPT_ANNOTATION: OLD.uid}
    settle(world, ACME)
    assert (world.vault, world.realms) == before
    assert ready(world, ACME)["reason"] == Reason.NAME_TAKEN
    # nor if its status does not say so
    del world.objects[ACME]["status"]
    settle(world, ACME)
    assert (world.vault, world.realms) == before
    assert "of its own already" in told(world, "VaultReady")
    # deleted and made again, it does
    delete(world)
    for _ in range(8):
        if ACME in world.objects:
            one_pass(world, ACME)
    assert HOME in world.vault
    declare_as(world, NEW.uid, OLD.uid)
    world.sessions.clear()
    settle(world, ACME)
    assert_adopted(world)


def test_while_openbao_is_away_nothing_else_is_adopted() -> None:
    world = lost()
    declare_as(world, NEW.uid, OLD.uid)
    before: Any = copy.deepcopy((world.realms, world.objects[SPACE]))
    world.vault_away = True
    settle(world, ACME)
    assert (world.realms, world.objects[SPACE]) == before
    world.vault_away = False
    world.sessions.clear()
    settle(world, ACME)
    assert_adopted(world)
