"""The sweep removes what belongs to nobody, and nothing else, whatever comes in whatever order."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Transient
from axon_operator.domain.manifests import manifest
from axon_operator.domain.names import (
    REALM_CLUSTER_ATTRIBUTE,
    REALM_OWNER_ATTRIBUTE,
    REALM_POLICY_ATTRIBUTE,
    REALM_RETAINED_ATTRIBUTE,
    VAULT_CLUSTER_KEY,
    VAULT_OWNER_KEY,
    VAULT_POLICY_KEY,
    VAULT_RETAINED_KEY,
    VAULT_TENANT_KEY,
    RuntimeNames,
    TenantNames,
)
from axon_operator.domain.resources import (
    DEPLOYMENT,
    NAMESPACE,
    NETWORK_POLICY,
    ROLE_BINDING,
    RUNTIME,
    SERVICE_ACCOUNT,
    TENANT,
    Manifest,
    RealmPath,
    Ref,
    Resource,
    VaultPath,
)
from axon_operator.reconcile.engine.plan import Plan
from axon_operator.reconcile.sweep import Report, Sweep, removal
from axon_operator.reconcile.sweep.orphans import (
    FOLDERS,
    KEYCLOAK,
    KINDS,
    KUBERNETES,
    OPENBAO,
    Fate,
    Graces,
    Look,
    Trace,
    granted_to_nobody,
    judge,
    realm_place,
)
from axon_operator.reconcile.tenant import TenantReconciler

from .test_passes import PLATFORM
from .world import World

CLUSTER = World().cluster
GRACES = Graces(access=10, tenant=100)

# -- the decision


@dataclass(frozen=True)
class Step:
    """One look at a world in which objects and traces come and go."""

    wait: int
    living: frozenset[str]
    traces: frozenset[Trace]
    blind: frozenset[str]
    inhabited: frozenset[str]


OWNERS = ("a", "b", "c")
PLACES = (KUBERNETES, OPENBAO, realm_place("axon-t"))


def trace(owner: str, fate: Fate, place: str) -> Trace:
    return Trace(OPENBAO, "Role", VaultPath("t-x", f"{owner}/{fate.name}"), owner, "t", fate, place)


TRACES = [trace(owner, fate, place) for owner in OWNERS for fate in Fate for place in PLACES]


def subsets(items: Any) -> st.SearchStrategy[frozenset[Any]]:
    return st.frozensets(st.sampled_from(list(items)))


STEPS = st.lists(
    st.builds(
        Step, st.integers(0, 120), subsets(OWNERS), subsets(TRACES), subsets(PLACES), subsets(["axon-t", "axon-u"])
    ),
    min_size=1,
    max_size=8,
)


def seen_of(step: Step) -> frozenset[Trace]:
    """A blind place shows nothing."""
    return frozenset(t for t in step.traces if t.place not in step.blind)


@settings(max_examples=100)
@given(STEPS)
def test_nothing_living_young_unseen_or_lived_in_is_ever_due(steps: list[Step]) -> None:
    memory: dict[Trace, float] = {}
    since: dict[Trace, float] = {}
    now = 0.0
    for step in steps:
        now += step.wait
        seen = seen_of(step)
        # the same in other words: since when has this been without an owner, as far as anybody can tell
        for t in list(since):
            if t.owner in step.living or (t not in seen and t.place not in step.blind):
                del since[t]
        for t in seen:
            if t.owner not in step.living:
                since.setdefault(t, now)
        verdict = judge(memory, Look(seen, step.living, step.blind, step.inhabited, tenants=100), now, GRACES)
        assert dict(verdict.memory) == since
        assert verdict.new == frozenset(since) - memory.keys()
        for t in verdict.memory.keys() | verdict.new | verdict.due:
            assert t.owner not in step.living
        for t in verdict.due:
            assert t in seen
            assert now - since[t] >= GRACES.of(t)
            assert t.fate in {Fate.ACCESS, Fate.TENANT}
            if t.fate is Fate.TENANT:
                assert not step.blind
                assert "axon-t" not in step.inhabited
        for t in seen - verdict.due:
            assert t.owner in step.living or t.fate is not Fate.ACCESS or now - since[t] < GRACES.access
        memory = dict(verdict.memory)


@given(STEPS)
def test_the_order_of_what_a_look_shows_and_a_repeated_look_change_nothing(steps: list[Step]) -> None:
    for step in steps:
        look = Look(seen_of(step), step.living, step.blind, step.inhabited, tenants=100)
        once = judge({}, look, 0, GRACES)
        again = judge(once.memory, look, 0, GRACES)
        assert (again.memory, again.new) == (once.memory, frozenset())


def test_what_was_owned_again_starts_anew() -> None:
    orphan = trace("a", Fate.ACCESS, OPENBAO)
    dead, living = (
        Look(frozenset({orphan}), frozenset(), tenants=100),
        Look(frozenset({orphan}), frozenset({"a"}), tenants=100),
    )
    memory = judge({}, dead, 0, GRACES).memory
    assert judge(memory, dead, 10, GRACES).due == {orphan}
    memory = judge(memory, living, 11, GRACES).memory
    assert not memory
    assert judge(memory, dead, 12, GRACES).due == frozenset()


def test_a_whole_tenant_waits_for_its_youngest_part() -> None:
    first, second = (trace("a", Fate.TENANT, place) for place in (KUBERNETES, OPENBAO))
    memory = judge({}, Look(frozenset({first}), frozenset(), tenants=100), 0, GRACES).memory
    both = Look(frozenset({first, second}), frozenset(), tenants=100)
    memory = judge(memory, both, 50, GRACES).memory
    assert judge(memory, both, 149, GRACES).due == frozenset()
    assert judge(memory, both, 150, GRACES).due == {first, second}
    assert judge(memory, replace(both, blind=frozenset({realm_place("axon-t")})), 150, GRACES).due == frozenset()
    assert judge(memory, replace(both, inhabited=frozenset({"axon-t"})), 150, GRACES).due == frozenset()
    kept = replace(both, traces=both.traces | {trace("a", Fate.KEPT, OPENBAO)})
    assert judge(memory, kept, 10_000, GRACES).due == frozenset()


# -- whose it is


@pytest.mark.parametrize(
    ("kind", "name", "principal"),
    [
        ("Role", "rt-agent-0123456789", "rt-agent-0123456789"),
        ("DatabaseRole", "orders.rt-agent-0123456789.db-abcdef0123.7", "rt-agent-0123456789"),
        ("CertificateRole", "rt-agent-0123456789.cert-abcdef0123.7", "rt-agent-0123456789"),
        ("GeneratedValue", "rt-agent-0123456789.token-abcdef0123.7", "rt-agent-0123456789"),
        ("KeptAccount", "orders.app.rt-agent-0123456789.legacy-abcdef0123.7", "rt-agent-0123456789"),
        ("Key", "rt-agent-0123456789", "rt-agent-0123456789"),
        # made by hand, or a user's
        ("Policy", "org-admin", None),
        ("DatabaseRole", "orders.reader", None),
        ("DatabaseRole", "rt-agent-0123456789", None),
        ("CertificateRole", "hand.rt-agent-0123456789", None),
        ("Key", "user-7f3f6c2e-0000-4000-8000-000000000001", None),
        ("Key", "user-x.rt-agent-0123456789", None),
    ],
)
def test_the_principal_in_a_name(kind: str, name: str, principal: str | None) -> None:
    (folder,) = (f for f in FOLDERS if f.kind == kind)
    assert folder.principal(name) == principal


def uid(number: int) -> str:
    return f"7f3f6c2e-0000-4000-8000-{number:012}"


def test_grants_of_runtimes_that_are_gone_also_for_one_revision_and_nothing_that_a_user_wrote_elsewhere() -> None:
    grants = [
        f"{folder}/sub/token" for folder in (uid(1), uid(2), f"{uid(2)}.0123456789ab", "notes", "2", f"{uid(3)}x")
    ]
    assert granted_to_nobody(grants, frozenset({uid(1)})) == {uid(2): uid(2), f"{uid(2)}.0123456789ab": uid(2)}


def test_a_user_who_grants_to_thousands_of_runtimes_that_never_were_keeps_the_sweep_from_nothing() -> None:
    assert len(granted_to_nobody((f"{uid(n)}/sub/token" for n in range(5000)), frozenset())) == 100


# -- the whole of it, in a world in memory


LIVE, DEAD = TenantNames("acme", "uid-acme"), TenantNames("gone", "uid-gone")
AGENT = RuntimeNames(LIVE.namespace, "agent", "uid-agent")
LOST = RuntimeNames(LIVE.namespace, "lost", "uid-lost")


def own_kind(resource: Resource, name: str, uid: str, namespace: str = "") -> Manifest:
    metadata = {"name": name, "uid": uid, **({"namespace": namespace} if namespace else {})}
    spec = {"image": "registry.example/agent:1"} if resource is RUNTIME else {}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def vault_marks(names: TenantNames) -> dict[str, str]:
    return {VAULT_OWNER_KEY: names.uid, VAULT_TENANT_KEY: names.tenant, VAULT_CLUSTER_KEY: CLUSTER}


def realm_marks(names: TenantNames) -> dict[str, str]:
    return {REALM_OWNER_ATTRIBUTE: names.uid, REALM_CLUSTER_ATTRIBUTE: CLUSTER}


def add_tenant(world: World, names: TenantNames) -> None:
    """What a Tenant has in the three systems."""
    world.add(manifest(Ref(NAMESPACE, "", names.namespace), names.uid, names.tenant, {}))
    for resource in (NETWORK_POLICY, ROLE_BINDING):
        world.add(manifest(Ref(resource, names.namespace, "axon-guard"), names.uid, names.tenant, {}))
    world.vault[VaultPath("", f"sys/namespaces/{names.vault_namespace}")] = {"custom_metadata": vault_marks(names)}
    world.vault[VaultPath(names.vault_namespace, "sys/policies/acl/org-admin")] = {"policy": "x"}
    world.realms[RealmPath(names.realm)] = {"attributes": realm_marks(names)}
    world.realms[RealmPath(names.realm, ("clients", "builtin"))] = {"id": "builtin", "clientId": "account"}


def add_runtime(world: World, names: RuntimeNames, tenant: TenantNames) -> None:
    """What a WorkflowRuntime has in the three systems."""
    for resource in (SERVICE_ACCOUNT, NETWORK_POLICY, DEPLOYMENT):
        labels = {"axonos.ai/runtime": names.runtime}
        ref = Ref(resource, names.namespace, names.principal)
        world.add(manifest(ref, names.uid, tenant.tenant, {}, labels=labels))
    for folder in ("auth/k8s/role", "sys/policies/acl"):
        world.vault[VaultPath(tenant.vault_namespace, f"{folder}/{names.principal}")] = {"policy": "x"}
    client = {"id": f"id-{names.runtime}", "attributes": {REALM_OWNER_ATTRIBUTE: names.uid}}
    world.realms[RealmPath(tenant.realm, ("clients", f"id-{names.runtime}"))] = client


@dataclass
class Place:
    """A sweep over a world, with a clock that the test moves."""

    world: World = field(default_factory=World)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.backends = self.world.backends
        self.sweep = Sweep(
            self.backends,
            GRACES,
            self.teardown,
            audit=lambda *_: None,
            now=lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            clock=lambda: self.now,
            pause=self.wait,
        )

    def teardown(self, live: Manifest) -> Plan:
        tenants = TenantReconciler(self.backends, PLATFORM)
        return tenants.plan(tenants.gather(live, ask=True))

    def wait(self, seconds: float) -> None:
        self.now += seconds + 0.01

    def run(self, after: float = 0) -> Report:
        self.now += after
        return self.sweep.run()


@pytest.fixture
def place() -> Place:
    """A living tenant with a living runtime, and more that live than could ever be lost at once."""
    place = Place()
    for name in ("one", "two", "three"):
        place.world.add(own_kind(TENANT, name, f"uid-{name}"))
    place.world.add(own_kind(TENANT, LIVE.tenant, LIVE.uid))
    place.world.add(own_kind(RUNTIME, AGENT.runtime, AGENT.uid, AGENT.namespace))
    add_tenant(place.world, LIVE)
    add_runtime(place.world, AGENT, LIVE)
    return place


def kinds(traces: Any) -> set[tuple[str, str]]:
    return {(t.system, t.kind) for t in traces}


def contents(world: World) -> set[Any]:
    return {*world.objects, *world.vault, *world.realms}


def test_nothing_of_living_objects_is_found(place: Place) -> None:
    before = contents(place.world)
    for _ in range(3):
        report = place.run(after=1000)
        assert (report.known, report.removed, report.problems) == (frozenset(), (), {})
    assert contents(place.world) == before


def test_a_lost_runtime_is_reported_and_after_the_short_grace_removed_in_all_systems(place: Place) -> None:
    before = contents(place.world)
    add_runtime(place.world, LOST, LIVE)
    found = place.run()
    assert kinds(found.new) == {
        (KUBERNETES, "ServiceAccount"), (KUBERNETES, "NetworkPolicy"), (KUBERNETES, "Deployment"),
        (OPENBAO, "Role"), (OPENBAO, "Policy"), (KEYCLOAK, "Client"),
    }  # fmt: skip
    assert {t.tenant for t in found.new} == {LIVE.tenant}
    assert place.run(after=9.9).removed == ()
    report = place.run(after=0.2)
    assert set(report.removed) == found.new
    assert report.removed[0].kind == "Deployment", "what runs goes before what it needs"
    assert report.known == frozenset()
    assert contents(place.world) == before


def issues_of(runtime: RuntimeNames, tenant: TenantNames) -> list[VaultPath]:
    """What a WorkflowRuntime can have in OpenBao beside its login."""
    issue = f"{runtime.principal}.token-0123456789.7"
    paths = (
        f"database/roles/orders.{issue}", f"pki/roles/{issue}", f"kv/data/generated/{issue}",
        f"kv/metadata/generated/{issue}", f"kv/data/accounts/orders.app.{issue}", f"kv/metadata/accounts/orders.app.{issue}",
        f"transit/keys/{runtime.principal}", f"kv/metadata/runtimes/{runtime.runtime}",
        f"kv/metadata/grants/{runtime.uid}/sub/github/token", f"kv/metadata/grants/{runtime.uid}.0123456789ab/sub/x",
    )  # fmt: skip
    return [VaultPath(tenant.vault_namespace, path) for path in paths]


def test_what_was_issued_to_a_lost_runtime_is_taken_back_and_what_users_granted_to_it_removed(place: Place) -> None:
    agent, lost = (RuntimeNames(LIVE.namespace, name, uid(n)) for n, name in enumerate(("other", "lost")))
    place.world.add(own_kind(RUNTIME, agent.runtime, agent.uid, agent.namespace))
    foreign = [
        VaultPath(LIVE.vault_namespace, path) for path in ("transit/keys/user-x", "database/roles/orders.reader")
    ]
    kept = [*issues_of(agent, LIVE), *foreign]
    for at in (*kept, *issues_of(lost, LIVE)):
        place.world.vault[at] = {}
    # whoever the lost one has told the password of before is refused
    place.world.accounts["app"] = "known"
    account = VaultPath(LIVE.vault_namespace, "database/static-roles/orders.app")
    place.world.vault[account] = {"username": "app"}
    found = place.run()
    assert found.problems == {}
    kinds_found = {"DatabaseRole", "CertificateRole", "GeneratedValue", "KeptAccount", "Key", "Entry", "Grant"}
    assert kinds(found.new) == {(OPENBAO, kind) for kind in kinds_found} <= set(KINDS)
    writes: list[str] = []
    write = place.backends.vault.write

    def noted(path: VaultPath, body: Any) -> None:
        writes.append(path.path)
        write(path, body)

    set_method(place.backends.vault, "write", noted)
    report = place.run(after=11)
    assert report.problems == {}
    assert set(report.removed) == found.new
    assert set(kept) <= place.world.vault.keys()
    assert not set(issues_of(lost, LIVE)) & place.world.vault.keys()
    issue = f"{lost.principal}.token-0123456789.7"
    assert writes == [
        f"sys/leases/revoke-prefix/database/creds/orders.{issue}",
        f"sys/leases/revoke-prefix/pki/issue/{issue}",
        "database/rotate-role/orders.app",
        f"transit/keys/{lost.principal}/config",
    ]


def test_a_runtime_that_came_back_under_its_name_keeps_its_entry(place: Place) -> None:
    """It was there again between the look and the removal: a name has more than one life."""
    place.world.vault[VaultPath(LIVE.vault_namespace, "kv/metadata/runtimes/lost")] = {}
    (entry,) = place.run().new
    assert len(removal(entry, place.backends).changes) == 1
    place.world.add(own_kind(RUNTIME, "lost", uid(9), LIVE.namespace))
    assert removal(entry, place.backends).changes == ()


def test_a_grant_under_a_name_that_no_request_can_hold_is_left_and_holds_nothing_up(place: Place) -> None:
    odd, other = (VaultPath(LIVE.vault_namespace, f"kv/metadata/grants/{uid(1)}/sub/{n}") for n in ("a b", "ab"))
    place.world.vault.update({odd: {}, other: {}})
    place.run()
    report = place.run(after=11)
    assert (len(report.removed), report.problems) == (1, {})
    assert odd in place.world.vault
    assert other not in place.world.vault


def test_a_lost_tenant_goes_as_a_whole_after_the_long_grace(place: Place) -> None:
    before = contents(place.world)
    add_tenant(place.world, DEAD)
    found = place.run()
    # its guards are part of its namespace
    assert kinds(found.new) == {(KUBERNETES, "Namespace"), (OPENBAO, "Namespace"), (KEYCLOAK, "Realm")}
    assert place.run(after=99).removed == ()
    report = place.run(after=2)
    assert kinds(report.removed) == kinds(found.new)
    left = contents(place.world) - before
    # what the namespace controller would remove with the namespace
    assert {ref.namespace for ref in left if isinstance(ref, Ref)} <= {DEAD.namespace}
    assert not [at for at in left if not isinstance(at, Ref)]


def test_what_ran_in_a_lost_tenant_goes_early_and_its_walls_with_the_namespace(place: Place) -> None:
    add_tenant(place.world, DEAD)
    inside = RuntimeNames(DEAD.namespace, "agent", "uid-inside")
    add_runtime(place.world, inside, DEAD)
    place.run()
    assert kinds(place.run(after=11).removed) == {
        (KUBERNETES, kind) for kind in ("Deployment", "NetworkPolicy", "ServiceAccount")
    }
    guard = Ref(NETWORK_POLICY, DEAD.namespace, "axon-guard")
    assert guard in place.world.objects
    assert VaultPath(DEAD.vault_namespace, f"auth/k8s/role/{inside.principal}") in place.world.vault
    assert len(place.run(after=100).removed) == 3
    assert not [at for at in place.world.vault if at.namespace == DEAD.vault_namespace]


def test_logins_of_a_lost_tenant_are_revoked_before_its_namespace_goes(place: Place) -> None:
    """Its teardown is the Tenant's own; here only that the sweep carries it to its end within one run."""
    add_tenant(place.world, DEAD)
    place.world.logins[DEAD.vault_namespace] = 1
    writes: list[str] = []
    write, delete = place.backends.vault.write, place.backends.vault.delete

    def revoke(path: VaultPath, body: Any) -> None:
        writes.append(path.path)
        write(path, body)

    def remove(path: VaultPath) -> None:
        writes.append(path.path)
        delete(path)

    set_method(place.backends.vault, "write", revoke)
    set_method(place.backends.vault, "delete", remove)
    place.run()
    assert len(place.run(after=101).removed) == 3
    revoked = [f"sys/leases/revoke-prefix/{prefix}" for prefix in ("auth", "pki")]
    assert writes == [*revoked, f"sys/namespaces/{DEAD.vault_namespace}"]


def test_a_realm_is_found_through_what_is_left_of_its_tenant(place: Place) -> None:
    realm = RealmPath(DEAD.realm)
    place.world.realms[realm] = {"attributes": realm_marks(DEAD)}
    assert place.run().known == frozenset(), "realms are not listed"
    place.world.vault[VaultPath("", f"sys/namespaces/{DEAD.vault_namespace}")] = {"custom_metadata": vault_marks(DEAD)}
    assert kinds(place.run().new) == {(OPENBAO, "Namespace"), (KEYCLOAK, "Realm")}


def test_a_new_tenant_of_that_name_keeps_its_realm(place: Place) -> None:
    """The predecessor's OpenBao namespace names the same realm, which carries another mark now."""
    before = TenantNames(LIVE.tenant, "uid-before")
    place.world.vault[VaultPath("", f"sys/namespaces/{before.vault_namespace}")] = {
        "custom_metadata": vault_marks(before)
    }
    living = {*place.world.objects, *place.world.realms}
    assert kinds(place.run().new) == {(OPENBAO, "Namespace")}
    assert kinds(place.run(after=101).removed) == {(OPENBAO, "Namespace")}
    assert {*place.world.objects, *place.world.realms} == living


def test_foreign_things_are_no_orphans(place: Place) -> None:
    world = place.world
    for mark in ({}, {"team": "payments"}, vault_marks(TenantNames("acme", "uid-copied"))):
        world.vault[VaultPath("", f"sys/namespaces/team-{len(world.vault)}")] = {"custom_metadata": mark}
    world.vault[VaultPath(LIVE.vault_namespace, "sys/policies/acl/hand-made")] = {"policy": "x"}
    world.realms[RealmPath(LIVE.realm, ("clients", "portal"))] = {"id": "portal", "attributes": {}}
    # somebody copied a child of ours, labels and all, into a namespace that is no tenant's
    world.add(manifest(Ref(DEPLOYMENT, "staging", "copy"), "uid-copied", "acme", {}))
    assert place.run().known == frozenset()


def marks_of(world: World, names: TenantNames) -> tuple[dict[str, str], dict[str, str]]:
    return (
        world.vault_namespace(names.vault_namespace)["custom_metadata"],
        world.realms[RealmPath(names.realm)]["attributes"],
    )


def test_the_tenants_of_another_cluster_are_no_orphans_of_this_one(place: Place) -> None:
    """It shares OpenBao and Keycloak with this one; a backup of one of its namespaces was unpacked here."""
    add_tenant(place.world, DEAD)
    in_vault, in_realm = marks_of(place.world, DEAD)
    in_vault[VAULT_CLUSTER_KEY] = in_realm[REALM_CLUSTER_ATTRIBUTE] = "cluster-2"
    theirs = {at for at in contents(place.world) if DEAD.vault_namespace in str(at) or DEAD.realm in str(at)}
    assert kinds(place.run().new) == {(KUBERNETES, "Namespace")}
    assert kinds(place.run(after=10_000).removed) == {(KUBERNETES, "Namespace")}
    assert {at for at in theirs if not isinstance(at, Ref)} <= contents(place.world)


@pytest.mark.parametrize("system", [OPENBAO, KEYCLOAK])
def test_a_mark_without_cluster_is_reported_and_keeps_the_whole_tenant(place: Place, system: str) -> None:
    """It may be of a living Tenant of another cluster, whose operator has not been upgraded yet."""
    add_tenant(place.world, DEAD)
    in_vault, in_realm = marks_of(place.world, DEAD)
    before = contents(place.world)
    if system == OPENBAO:
        del in_vault[VAULT_CLUSTER_KEY]
    else:
        del in_realm[REALM_CLUSTER_ATTRIBUTE]
    assert Fate.KEPT in {t.fate for t in place.run().new}
    assert place.run(after=10_000).removed == ()
    assert contents(place.world) == before
    in_vault[VAULT_CLUSTER_KEY] = in_realm[REALM_CLUSTER_ATTRIBUTE] = CLUSTER
    place.run()
    assert len(place.run(after=101).removed) == 3


@pytest.mark.parametrize("when", ["while it lived", "when it was deleted"])
def test_what_is_to_be_retained_is_never_removed(place: Place, when: str) -> None:
    """`while it lived`: its Tenant lost its finalizer, so nothing was closed."""
    add_tenant(place.world, DEAD)
    in_vault, in_realm = marks_of(place.world, DEAD)
    if when == "while it lived":
        in_vault[VAULT_POLICY_KEY] = in_realm[REALM_POLICY_ATTRIBUTE] = "Retain"
    else:
        in_vault[VAULT_RETAINED_KEY] = in_realm[REALM_RETAINED_ATTRIBUTE] = "2026-01-01T00:00:00Z"
    before = contents(place.world)
    assert {t.fate for t in place.run().new if t.system != KUBERNETES} == {Fate.KEPT}
    assert place.run(after=10_000).removed == ()
    assert contents(place.world) == before


def test_a_wall_in_a_living_namespace_is_reported_and_stays(place: Place) -> None:
    wall = Ref(NETWORK_POLICY, LIVE.namespace, "axon-default-deny")
    place.world.add(manifest(wall, "uid-before", LIVE.tenant, {}))
    assert {t.fate for t in place.run().new} == {Fate.STAYS}
    assert place.run(after=10_000).removed == ()
    assert wall in place.world.objects


def test_a_lost_tenant_with_a_living_runtime_stays(place: Place) -> None:
    add_tenant(place.world, DEAD)
    tenant = own_kind(RUNTIME, "agent", "uid-inside", DEAD.namespace)
    place.world.add(tenant)
    place.run()
    assert place.run(after=1000).removed == ()
    del place.world.objects[Ref(RUNTIME, DEAD.namespace, "agent")]
    assert len(place.run().removed) == 3


def test_a_suspended_tenants_locked_namespace_is_left_alone(place: Place) -> None:
    add_runtime(place.world, LOST, LIVE)
    place.world.objects[Ref(TENANT, "", LIVE.tenant)]["spec"]["suspended"] = True
    assert {system for system, _ in kinds(place.run().new)} == {KUBERNETES}


def test_a_system_that_is_away_keeps_nothing_else_from_going_and_loses_nothing(place: Place) -> None:
    add_runtime(place.world, LOST, LIVE)
    add_tenant(place.world, DEAD)
    place.run()
    place.world.vault_away = True
    report = place.run(after=1000)
    # the lost runtime goes where it can be seen; the lost tenant only as a whole
    assert {t.system for t in report.removed} == {KUBERNETES, KEYCLOAK}
    assert {t.fate for t in report.removed} == {Fate.ACCESS}
    assert all(isinstance(error, Transient) for error in report.problems.values())
    assert (OPENBAO, "Role") in kinds(report.known)
    place.world.vault_away = False
    report = place.run()
    assert {(OPENBAO, "Role"), (OPENBAO, "Namespace"), (KEYCLOAK, "Realm")} <= kinds(report.removed)
    assert report.known == frozenset()


def test_a_removal_that_fails_is_told_and_tried_again(place: Place) -> None:
    add_runtime(place.world, LOST, LIVE)
    place.run()
    vault, gone = place.backends.vault, place.backends.vault.delete

    def away(_: VaultPath) -> None:
        raise Transient(Reason.VAULT_UNAVAILABLE, "away")

    set_method(vault, "delete", away)
    report = place.run(after=11)
    assert {t.system for t in report.removed} == {KUBERNETES, KEYCLOAK}
    assert len(report.problems) == 2
    set_method(vault, "delete", gone)
    assert {t.system for t in place.run().removed} == {OPENBAO}


def test_a_mark_that_changed_since_the_look_protects(place: Place) -> None:
    add_runtime(place.world, LOST, LIVE)
    place.run()
    account = Ref(SERVICE_ACCOUNT, LIVE.namespace, LOST.principal)
    read, kubernetes = place.backends.kubernetes.get, place.backends.kubernetes

    def taken_over(ref: Ref) -> Manifest | None:
        live = read(ref)
        if ref == account and live:
            live["metadata"]["labels"]["axonos.ai/owner-uid"] = AGENT.uid
        return live

    set_method(kubernetes, "get", taken_over)
    place.run(after=11)
    assert account in place.world.objects


def set_method(backend: object, name: str, method: Callable[..., Any]) -> None:
    setattr(backend, name, method)


def test_every_kind_that_can_be_found_has_its_metric(place: Place) -> None:
    add_runtime(place.world, LOST, LIVE)
    add_tenant(place.world, DEAD)
    assert kinds(place.run().known) <= set(KINDS)


def test_where_not_more_live_than_are_dead_no_tenant_is_removed() -> None:
    """A restored cluster, or a second one on the same OpenBao, sees all tenants of the other as dead."""
    place = Place()
    place.world.add(own_kind(TENANT, LIVE.tenant, LIVE.uid))
    add_tenant(place.world, LIVE)
    add_tenant(place.world, DEAD)
    found = place.run().new
    assert place.run(after=99).held == frozenset(), "their grace alone keeps them"
    kept = place.run(after=10_000)
    assert (kept.removed, kept.held) == ((), found)
    place.world.add(own_kind(TENANT, "another", "uid-another"))
    gone = place.run(after=1)
    assert set(gone.removed) == found
    assert not gone.held
