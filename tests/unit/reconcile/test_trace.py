"""`kubectl axon trace` computes the names that the operator has really made: after passes over a world in memory."""

import pytest

from axon_operator.cli.lineage import Seen, Trace, trace
from axon_operator.domain.resources import BINDING, Ref, VaultPath

from .test_issue_passes import CONFIG, ISSUED, POLICY, SOURCES, USER, Scene, binding
from .test_passes import ACME, AGENT, NAMES


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Every source, delivered."""
    return Scene()


def traced(scene: Scene, at: Ref) -> Trace:
    objects = scene.world.objects
    siblings = tuple(m for ref, m in objects.items() if ref.resource is BINDING)
    return trace(Seen(objects[at], objects[ACME], objects[AGENT], siblings, objects[CONFIG], ()))


@pytest.mark.parametrize("name", [*SOURCES, "billing"])
def test_each_rule_stands_in_the_runtimes_policy(scene: Scene, name: str) -> None:
    found, policy = traced(scene, binding(name)), scene.world.vault[POLICY]["policy"].splitlines()
    assert found.rules
    assert set(found.rules) <= set(policy)
    assert all(f'"{path}"' in "".join(found.rules) for path in found.paths)
    assert (len(found.paths), found.policy) == (1, POLICY.path)


@pytest.mark.parametrize("name", ISSUED)
def test_what_was_made_is_there_under_that_name(scene: Scene, name: str) -> None:
    (made,) = traced(scene, binding(name)).made
    # of a value, the world in memory keeps nothing but the value
    place = made.replace("kv/metadata/", "kv/data/")
    assert VaultPath(NAMES.vault_namespace, place) in scene.world.vault


def test_who_consented_is_who_did(scene: Scene) -> None:
    grant = traced(scene, binding("granted")).grant
    assert grant is not None
    assert (grant.user, grant.path, grant.found) == (USER, "github/token", "any")


def test_what_is_revoked_has_no_path_any_more() -> None:
    scene = Scene("account", "random")
    before = traced(scene, binding("account"))
    scene.spec("account")["revoked"] = True
    scene.world.objects[binding("account")]["metadata"]["generation"] += 1
    scene.settle()
    after = traced(scene, binding("account"))
    assert (after.paths, after.made, after.reason) == ((), (), "Revoked")
    assert before.paths[0] not in scene.world.vault[POLICY]["policy"]
    assert traced(scene, binding("random")).paths


def test_a_rotation_is_traced_to_the_next_generation() -> None:
    scene = Scene("certificate")
    (before,) = traced(scene, binding("certificate")).paths
    scene.spec("certificate")["rotationTrigger"] = "now"
    scene.world.objects[binding("certificate")]["metadata"]["generation"] += 1
    scene.settle()
    found = traced(scene, binding("certificate"))
    assert (found.generation, found.paths) == (2, (f"{before.rpartition('.')[0]}.2",))
