"""What the API server makes of our manifests: as planned right after, so the table of its own fields is complete; and
what others add is seen, and goes with `replace`, where server-side apply leaves it."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from axon_operator.backends.errors import Denied, Waiting
from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.domain.manifests import is_current, is_extended, replacement
from axon_operator.domain.resources import NAMESPACE, Manifest, Ref, ref_of
from e2e.support.kubectl import Kubectl
from e2e.support.waiting import Unmet, until
from integration.api.conftest import break_glass
from unit.reconcile.test_passes import ACME, AGENT, BILLING, declare, settle
from unit.reconcile.world import World

HOME = "axon-acme"


def planned(*, tenant: str = "acme", suspended: bool = False) -> list[Manifest]:
    """Everything that a Tenant with a runtime that uses every field becomes; the namespace first."""
    world = World()
    declare(world, ACME, AGENT, BILLING)
    world.objects[ACME]["spec"]["suspended"] = suspended
    world.objects[ACME]["spec"]["network"] = {"egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]}
    world.objects[AGENT]["spec"] |= {
        "image": "registry.example/agent:1",
        "command": ["/agent"],
        "args": [],
        "env": [{"name": "EMPTY", "value": ""}, {"name": "MODE", "value": "test"}],
        "replicas": 0,
        "ports": [{"name": "http", "port": 8080}, {"name": "metrics", "port": 9090}],
        "connections": [{"runtime": "other", "port": 8080}],
        "egress": [{"cidr": "203.0.113.0/24", "ports": [443]}],
        "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
    }
    settle(world, ACME, AGENT, BILLING)
    namespace = copy.deepcopy(world.objects[Ref(NAMESPACE, "", HOME)])
    namespace["metadata"] = {k: namespace["metadata"][k] for k in ("name", "labels", "annotations")}
    manifests = [namespace, *(m for m in world.applied.values() if m["kind"] != "Namespace")]
    # the world's uids are made for people to read; here they become labels
    text = json.dumps(manifests).replace(f"uid-{ACME}", "1111").replace(f"uid-{AGENT}", "2222")
    found: list[Manifest] = json.loads(text.replace("acme", tenant))
    return found


@pytest.fixture(scope="module")
def api(kubectl: Kubectl, operators: KubernetesApi) -> Iterator[KubernetesApi]:
    """The operator's adapter, and a tenant in which an administrator may change things by hand."""
    for manifest in planned():
        until("the operator's rights take effect", lambda manifest=manifest: apply(operators, manifest))  # type: ignore[misc]
    break_glass(kubectl, HOME)
    yield operators
    kubectl("delete", "namespace", HOME, "--wait=false")


def apply(api: KubernetesApi, manifest: Manifest) -> None:
    """As the operator does; a refusal means that the API server has not loaded its roles or policies yet."""
    try:
        api.apply(manifest)
    except Denied as refused:
        raise Unmet(refused.message) from None


def live(api: KubernetesApi, manifest: Manifest) -> Manifest:
    found = api.get(ref_of(manifest))
    assert found is not None
    return found


def of_kind(kind: str) -> Manifest:
    return next(m for m in planned() if m["kind"] == kind)


@pytest.mark.parametrize("suspended", [False, True])
def test_what_was_applied_is_current_right_after(api: KubernetesApi, suspended: bool) -> None:
    for manifest in planned(suspended=suspended):
        api.apply(manifest)
        assert is_current(live(api, manifest), manifest), ref_of(manifest)


def test_a_replaced_object_is_current_and_a_second_replacement_of_the_same_version_is_refused(
    api: KubernetesApi,
) -> None:
    for manifest in planned():
        if manifest["kind"] in {"Namespace", "ServiceAccount"}:
            continue
        wanted = replacement(live(api, manifest), manifest)
        changed = copy.deepcopy(manifest)
        changed["metadata"]["labels"]["example.com/by"] = "hand"
        api.apply(changed)
        with pytest.raises(Waiting):
            api.replace(wanted)
        api.replace(replacement(live(api, manifest), manifest))
        assert is_current(live(api, manifest), manifest), ref_of(manifest)


ADDED: list[tuple[str, dict[str, Any]]] = [
    ("Deployment", {"spec": {"template": {"spec": {"shareProcessNamespace": True}}}}),
    (
        "Deployment",
        {"spec": {"template": {"spec": {"containers": [{"name": "workload", "env": [{"name": "X", "value": "1"}]}]}}}},
    ),
    ("Deployment", {"spec": {"template": {"spec": {"containers": [{"name": "injected", "image": "x:1"}]}}}}),
    (
        "Deployment",
        {
            "spec": {
                "template": {
                    "spec": {
                        "initContainers": [
                            {"name": "credentials", "lifecycle": {"postStart": {"exec": {"command": ["/x"]}}}}
                        ]
                    }
                }
            }
        },
    ),
    ("Deployment", {"spec": {"paused": True}}),
    ("Service", {"spec": {"externalIPs": ["203.0.113.7"]}}),
    ("Service", {"spec": {"ports": [{"name": "extra", "port": 22, "protocol": "TCP"}]}}),
    ("NetworkPolicy", {"spec": {"podSelector": {"matchLabels": {"nobody": "x"}}}}),
    ("ConfigMap", {"data": {"extra": "x"}}),
    ("ResourceQuota", {"spec": {"hard": {"secrets": "1"}}}),
]


@pytest.mark.parametrize(("kind", "patch"), ADDED)
def test_what_somebody_added_is_seen_and_goes_with_replace(
    api: KubernetesApi, kubectl: Kubectl, kind: str, patch: dict[str, Any]
) -> None:
    manifest = of_kind(kind)
    ref = ref_of(manifest)
    kubectl("-n", HOME, "patch", kind.lower(), ref.name, "-p", json.dumps(patch), "--field-manager=hand")
    assert is_extended(live(api, manifest), manifest)
    api.apply(manifest)
    # a policy's selector is one value to apply; everything else here is merged by key
    assert is_extended(live(api, manifest), manifest) is (kind != "NetworkPolicy")
    api.replace(replacement(live(api, manifest), manifest))
    assert is_current(live(api, manifest), manifest)


def test_a_restart_by_kubectl_is_left_alone(api: KubernetesApi, kubectl: Kubectl) -> None:
    manifest = of_kind("Deployment")
    kubectl("-n", HOME, "rollout", "restart", "deployment", ref_of(manifest).name)
    assert is_current(live(api, manifest), manifest)
