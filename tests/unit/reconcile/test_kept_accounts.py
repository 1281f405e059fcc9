"""Accounts of databases that OpenBao keeps: when their passwords are changed; passes over a world in memory."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.cli.lineage import Seen, shown, trace
from axon_operator.domain.resources import RUNTIME, Ref, VaultPath
from axon_operator.reconcile.runtime import RuntimeReconciler

from .test_issue_passes import CONFIG, SOURCES, Scene, binding, run
from .test_leftovers import DAY, away, conditions, suspend
from .test_passes import ACME, AGENT, NAMES, PLATFORM

ROLE = VaultPath(NAMES.vault_namespace, "database/static-roles/orders.app")
NOTES = VaultPath(NAMES.vault_namespace, "kv/data/accounts")


def kept(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = scene.world.vault[ROLE]
    return found


def password(scene: Scene) -> str:
    return scene.world.accounts["app_rw"]


def notes(scene: Scene) -> list[str]:
    """Which generation of which binding was given the password."""
    found = (p.path.removeprefix(f"{NOTES.path}/") for p in scene.world.vault if p.path.startswith(NOTES.path))
    return sorted(f"{name.split('.')[3].rpartition('-')[0]}.{name.rpartition('.')[2]}" for name in found)


def keep(scene: Scene) -> None:
    """As the Tenant's pass does."""
    statement = ["ALTER ROLE"]
    scene.world.backends.vault.write(
        ROLE, {"db_name": "orders", "username": "app_rw", "rotation_period": 86400, "rotation_statements": statement}
    )


def made() -> Scene:
    SOURCES["kept"] = {"database": {"connection": "orders", "role": "app"}}
    try:
        scene = Scene("random")
        scene.world.accounts["app_rw"] = "first"
        scene.world.objects[ACME]["spec"]["vault"]["databases"][0]["roles"].append({"name": "app", "account": "app_rw"})
        scene.bind("kept")
    finally:
        del SOURCES["kept"]
    scene.settle()
    assert scene.condition(binding("kept")) == ("False", Reason.SOURCE_MISSING)
    keep(scene)
    scene.settle()
    return scene


BASE = made()


@pytest.fixture
def scene() -> Scene:
    return copy.deepcopy(BASE)


def turn(scene: Scene) -> None:
    scene.spec("kept")["rotationTrigger"] = "now"


def revoke(scene: Scene) -> None:
    scene.spec("kept")["revoked"] = True


def delete(scene: Scene) -> None:
    scene.delete(binding("kept"))


def delete_runtime(scene: Scene) -> None:
    scene.delete(AGENT)


def another_source(scene: Scene) -> None:
    scene.spec("kept")["source"] = {"generated": {}}


def test_it_is_handed_on_by_its_name_and_the_password_is_left_alone(scene: Scene) -> None:
    assert scene.condition(binding("kept")) == ("True", Reason.READY)
    assert 'path "database/static-creds/orders.app" { capabilities = ["read"] }' in scene.policy
    assert notes(scene) == ["kept.1"]
    before, writes = password(scene), scene.world.writes
    scene.later(3600)
    assert (password(scene), scene.world.writes) == (before, writes)


@pytest.mark.parametrize("act", [revoke, delete, delete_runtime, another_source])
def test_what_is_taken_back_leaves_another_password(scene: Scene, act: Callable[[Scene], None]) -> None:
    before, since = password(scene), len(scene.world.audited)
    act(scene)
    scene.settle()
    assert password(scene) != before
    assert "static-creds" not in scene.policy
    assert notes(scene) == []
    done = [target for _, target in scene.verbs(since)]
    changed = done.index("database/static-roles/orders.app")
    assert any("policies" in target for target in done[:changed]), "nobody may read the next one"
    assert any("accounts" in target for target in done[changed:])


def test_a_trigger_changes_it_once_and_the_pods_are_told(scene: Scene) -> None:
    before, published = password(scene), scene.published
    turn(scene)
    scene.settle()
    after = password(scene)
    assert after != before
    assert scene.published != published
    assert notes(scene) == ["kept.2"]
    assert scene.condition(binding("kept")) == ("True", Reason.READY)
    scene.later(600)
    assert password(scene) == after


def test_an_interval_changes_it(scene: Scene) -> None:
    scene.spec("kept")["rotation"] = {"interval": "1h"}
    scene.settle()
    before = password(scene)
    scene.later(3600 * 2)
    assert password(scene) != before


def test_a_password_that_openbao_changed_by_itself_is_fetched_anew(scene: Scene) -> None:
    published = scene.published
    scene.world.backends.vault.write(VaultPath(NAMES.vault_namespace, "database/rotate-role/orders.app"), {})
    scene.settle()
    assert scene.published != published
    assert scene.condition(binding("kept")) == ("True", Reason.READY)


@pytest.mark.parametrize("act", [turn, revoke, delete, delete_runtime, another_source])
def test_a_crash_behind_any_write_ends_in_another_password(act: Callable[[Scene], None]) -> None:
    clean = run(act, BASE, None)
    for crash_at in range(1, clean.world.writes + 1):
        scene = run(act, BASE, crash_at)
        assert password(scene) != password(BASE), crash_at
        assert notes(scene) == notes(clean), crash_at
        assert ("static-creds" in scene.policy) == ("static-creds" in clean.policy), crash_at


@pytest.mark.parametrize("act", [turn, revoke, delete])
def test_a_database_that_is_away_is_waited_for_and_holds_up_nothing_else(
    scene: Scene, act: Callable[[Scene], None]
) -> None:
    before = password(scene)
    scene.world.database_away.add("orders")
    act(scene)
    scene.spec("random")["delivery"]["file"]["path"] = "other.json"
    for _ in range(6):
        scene.round()
    assert password(scene) == before
    assert "kept.1" in notes(scene)
    assert binding("kept") in scene.world.objects
    assert scene.condition(binding("kept"))[0] == "False"
    assert scene.condition(AGENT, "Withdrawn") == ("False", Reason.DATABASE_UNREACHABLE)
    assert "other.json" in scene.world.objects[CONFIG]["data"]["files"]
    assert scene.condition(binding("random")) == ("True", Reason.READY)
    scene.world.database_away.clear()
    scene.settle()
    assert password(scene) != before
    assert notes(scene) == (["kept.2"] if act is turn else [])


def test_an_account_that_was_given_up_is_not_waited_for(scene: Scene) -> None:
    """The Tenant has changed its password before."""
    before = password(scene)
    del scene.world.vault[ROLE]
    scene.settle()
    assert scene.condition(binding("kept")) == ("False", Reason.SOURCE_MISSING)
    assert (notes(scene), password(scene)) == ([], before)


def test_another_runtime_with_the_same_account_is_woken(scene: Scene) -> None:
    other = Ref(RUNTIME, "axon-acme", "other")
    metadata = {"name": "shared", "namespace": "axon-acme"}
    spec = {**copy.deepcopy(scene.spec("kept")), "runtimeRef": {"name": "other"}}
    body = {"apiVersion": "axonos.ai/v1alpha1", "kind": "SecretBinding", "metadata": metadata, "spec": spec}
    scene.world.add(body)
    assert other not in scene.look(AGENT).related
    revoke(scene)
    assert other in scene.look(AGENT).related


def test_a_variable_is_refused(scene: Scene) -> None:
    variables = {"variables": [{"name": "P", "key": "password"}], "onChange": "Restart"}
    scene.spec("kept")["delivery"] = {"env": variables}
    scene.settle()
    assert scene.condition(binding("kept")) == ("False", Reason.INVALID_SPEC)
    assert notes(scene) == []


def test_one_of_two_bindings_of_a_runtime_is_taken_back(scene: Scene) -> None:
    spec = {**copy.deepcopy(scene.spec("kept")), "delivery": {"file": {"path": "second.json"}}}
    metadata = {"name": "second", "namespace": "axon-acme"}
    scene.world.add({"apiVersion": "axonos.ai/v1alpha1", "kind": "SecretBinding", "metadata": metadata, "spec": spec})
    scene.settle()
    before, published = password(scene), scene.published
    revoke(scene)
    scene.settle()
    assert password(scene) != before
    assert notes(scene) == ["second.1"]
    assert "static-creds" in scene.policy
    assert scene.published != published
    assert scene.condition(binding("second")) == ("True", Reason.READY)


def test_the_runtime_says_whom_it_shares_with_without_asking(scene: Scene) -> None:
    reconciler = RuntimeReconciler(scene.world.backends, PLATFORM, lambda: scene.now)
    assert reconciler.gather(scene.world.objects[AGENT], ask=False).sharing == ()


def test_its_deletion_does_not_end_without_openbao_which_alone_can_change_the_password(scene: Scene) -> None:
    suspend(scene)
    away(scene, "kept")
    for _ in range(3):
        scene.look(binding("kept"))
        scene.now += 2 * DAY
    assert binding("kept") in scene.world.objects
    told = conditions(scene, binding("kept"))
    assert "Withdrawn" not in told
    assert "suspend" not in told["DeletionBlocked"]["message"]


@pytest.mark.parametrize("tenant", [True, False])
def test_a_trace_tells_its_path_also_to_who_may_not_read_the_tenant(scene: Scene, tenant: bool) -> None:
    objects = scene.world.objects
    seen = Seen(objects[binding("kept")], objects[ACME] if tenant else None, objects[AGENT], (), objects[CONFIG], ())
    found = trace(seen)
    assert found.paths == ("database/static-creds/orders.app",)
    assert set(found.rules) <= set(scene.policy.splitlines())
    (made,) = found.made
    assert VaultPath(NAMES.vault_namespace, made.replace("metadata", "data")) in scene.world.vault
    assert (found.generation, found.account) == (1, "app_rw" if tenant else None)
    assert ("account app_rw" in "\n".join(shown(found))) == tenant
