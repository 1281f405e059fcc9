"""Who asked for a spec, as the API server stamps it: nobody can claim to be someone else, or hide."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from axon_operator.domain.names import FINALIZER, REQUESTED_BY_ANNOTATION, REQUESTED_GENERATION_ANNOTATION
from axon_operator.process.audit import UNKNOWN, requested_by
from e2e.support.cluster import GLASS_ANNOTATION
from e2e.support.kubectl import Json, Kubectl
from e2e.support.waiting import Unmet, until
from integration.api.conftest import OPERATOR, As

NAMESPACE = "axon-asked"
FORGED = {REQUESTED_BY_ANNOTATION: "mallory-says-bob", REQUESTED_GENERATION_ANNOTATION: "7"}
ADMINS = "system:masters"

KINDS: dict[str, tuple[str, Json, Json]] = {
    "Tenant": ("tenants.axonos.ai", {"displayName": "One"}, {"displayName": "Two"}),
    "WorkflowRuntime": (
        "workflowruntimes.axonos.ai",
        {"image": "registry.example/agent:1"},
        {"image": "registry.example/agent:2"},
    ),
    "SecretBinding": (
        "secretbindings.axonos.ai",
        {
            "runtimeRef": {"name": "agent"},
            "source": {"kv": {"path": "billing", "keys": ["key"]}},
            "delivery": {"file": {"path": "billing.json"}},
        },
        {"ttl": "10m"},
    ),
}


@pytest.fixture(scope="module")
def server(installed: Kubectl) -> Iterator[Kubectl]:
    """An API server that stamps."""
    installed("create", "namespace", NAMESPACE)
    _until_stamped(installed, expected=True)
    yield installed
    installed("delete", "namespace", NAMESPACE, "--wait=false")
    installed("delete", "tenants.axonos.ai", "--all", "--wait=false")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of our kinds."""
    return str(request.param)


@pytest.fixture
def alice(server: Kubectl) -> As:
    """Someone who may do everything."""
    return As(server, "alice@example.com", ADMINS)


@pytest.fixture
def bob(server: Kubectl) -> As:
    """Someone else who may."""
    return As(server, "bob@example.com", ADMINS)


@pytest.fixture
def name(server: Kubectl, kind: str) -> Iterator[str]:
    """A name of an object that is removed afterwards."""
    name = f"n{secrets.token_hex(4)}"
    yield name
    # only a broken glass lets anybody but the operator take the finalizer off
    patch = json.dumps({"metadata": {"finalizers": None, "annotations": {GLASS_ANNOTATION: "tests"}}})
    server.run("patch", *_where(kind), KINDS[kind][0], name, "--type=merge", "-p", patch)
    server.run("delete", *_where(kind), KINDS[kind][0], name, "--ignore-not-found")


def test_whoever_creates_is_named(alice: As, server: Kubectl, kind: str, name: str) -> None:
    _apply(alice, _object(kind, name, KINDS[kind][1]))
    assert _stamp(server, kind, name) == ("alice@example.com", "1")


def test_nobody_creates_in_another_name(alice: As, server: Kubectl, kind: str, name: str) -> None:
    _apply(alice, _object(kind, name, KINDS[kind][1], FORGED))
    assert _stamp(server, kind, name) == ("alice@example.com", "1")


def test_whoever_changes_the_spec_is_named(alice: As, bob: As, server: Kubectl, kind: str, name: str) -> None:
    _apply(alice, _object(kind, name, KINDS[kind][1]))
    _patch(bob, kind, name, {"spec": KINDS[kind][2]})
    assert _stamp(server, kind, name) == ("bob@example.com", "2")
    assert _asked(server, kind, name) == "bob@example.com"


def test_nobody_changes_the_spec_in_another_name(alice: As, bob: As, server: Kubectl, kind: str, name: str) -> None:
    _apply(alice, _object(kind, name, KINDS[kind][1]))
    _patch(bob, kind, name, {"spec": KINDS[kind][2], "metadata": {"annotations": FORGED}})
    assert _stamp(server, kind, name) == ("bob@example.com", "2")


def test_a_spec_that_is_taken_away_is_refused_in_the_words_of_the_schema(
    alice: As, server: Kubectl, kind: str, name: str
) -> None:
    _apply(alice, _object(kind, name, KINDS[kind][1]))
    patch = json.dumps([{"op": "remove", "path": "/spec"}])
    refused = alice("patch", *_where(kind), KINDS[kind][0], name, "--type=json", "-p", patch)
    assert not refused.ok
    assert "spec: Required value" in refused.output
    assert "MutatingAdmissionPolicy" not in refused.output


@pytest.mark.parametrize(
    "annotations",
    [FORGED, dict.fromkeys(FORGED), None],
    ids=["forged", "removed", "all annotations removed"],
)
def test_a_stamp_changes_only_with_the_spec(
    alice: As, bob: As, server: Kubectl, kind: str, name: str, *, annotations: dict[str, Any] | None
) -> None:
    _apply(alice, _object(kind, name, KINDS[kind][1]))
    _patch(bob, kind, name, {"metadata": {"annotations": annotations, "labels": {"seen": "yes"}}})
    assert _stamp(server, kind, name) == ("alice@example.com", "1")
    assert _live(server, kind, name)["metadata"]["labels"] == {"seen": "yes"}


def test_the_operators_own_writes_keep_the_stamp(alice: As, server: Kubectl, kind: str, name: str) -> None:
    operator = As(server, OPERATOR, "system:serviceaccounts", "system:authenticated")
    _apply(alice, _object(kind, name, KINDS[kind][1]))
    _patch(operator, kind, name, {"metadata": {"finalizers": [FINALIZER]}})
    status = {**_object(kind, name, KINDS[kind][1], FORGED), "status": {"observedGeneration": 1}}
    _apply(operator, status, "--server-side", "--subresource=status")
    live = _live(server, kind, name)
    assert live["metadata"]["finalizers"] == [FINALIZER]
    assert live["status"]["observedGeneration"] == 1
    assert _stamp(server, kind, name) == ("alice@example.com", "1")
    assert _asked(server, kind, name) == "alice@example.com"


@pytest.mark.parametrize("way", [(), ("--server-side",)], ids=["client side", "server side"])
def test_applying_twice_does_not_fight(
    alice: As, bob: As, server: Kubectl, kind: str, name: str, *, way: tuple[str, ...]
) -> None:
    manifest = _object(kind, name, KINDS[kind][1])
    _apply(alice, manifest, *way)
    first = _live(server, kind, name)["metadata"]["resourceVersion"]
    _apply(alice, manifest, *way)
    assert _live(server, kind, name)["metadata"]["resourceVersion"] == first
    # nor does the same text from another hand change who asked
    _apply(bob, manifest, *way, *(("--force-conflicts",) if way else ()))
    assert _stamp(server, kind, name) == ("alice@example.com", "1")


def test_a_deletion_is_asked_for_by_nobody_known(alice: As, bob: As, server: Kubectl, kind: str, name: str) -> None:
    _apply(alice, _object(kind, name, KINDS[kind][1]))
    _patch(alice, kind, name, {"metadata": {"finalizers": [FINALIZER]}})
    done = bob("delete", *_where(kind), KINDS[kind][0], name, "--wait=false")
    assert done.ok, done.output
    assert _stamp(server, kind, name) == ("alice@example.com", "1")
    assert _asked(server, kind, name) == UNKNOWN


@pytest.mark.parametrize("kind", ["WorkflowRuntime"])
def test_a_scaling_is_asked_for_by_nobody_known(alice: As, bob: As, server: Kubectl, kind: str, name: str) -> None:
    _apply(alice, _object(kind, name, KINDS[kind][1]))
    done = bob("scale", *_where(kind), KINDS[kind][0], name, "--replicas=0")
    assert done.ok, done.output
    assert _live(server, kind, name)["spec"]["replicas"] == 0
    assert _asked(server, kind, name) == UNKNOWN
    _patch(alice, kind, name, {"spec": KINDS[kind][2]})
    assert _asked(server, kind, name) == "alice@example.com"


def test_an_object_from_before_the_policy_cannot_be_given_a_stamp(
    alice: As, bob: As, server: Kubectl, kind: str, name: str
) -> None:
    binding = server.need("mutatingadmissionpolicybinding", "axon-operator-requested-by")
    server("delete", "mutatingadmissionpolicybinding", "axon-operator-requested-by")
    try:
        _until_stamped(server, expected=False)
        _apply(alice, _object(kind, name, KINDS[kind][1]))
    finally:
        server.apply({**binding, "metadata": {"name": binding["metadata"]["name"]}})
        _until_stamped(server, expected=True)
    assert _asked(server, kind, name) == UNKNOWN
    _patch(bob, kind, name, {"metadata": {"annotations": FORGED, "labels": {"seen": "yes"}}})
    assert _stamp(server, kind, name) == (None, None)
    _patch(bob, kind, name, {"spec": KINDS[kind][2]})
    assert _stamp(server, kind, name) == ("bob@example.com", "2")


def _object(kind: str, name: str, spec: Json, annotations: dict[str, str] | None = None) -> Json:
    metadata: Json = {"name": name} if kind == "Tenant" else {"name": name, "namespace": NAMESPACE}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "axonos.ai/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _where(kind: str) -> tuple[str, ...]:
    return () if kind == "Tenant" else ("-n", NAMESPACE)


def _apply(user: As, manifest: Json, *flags: str) -> None:
    done = user("apply", *flags, "-f", "-", stdin=json.dumps(manifest))
    assert done.ok, done.output


def _patch(user: As, kind: str, name: str, patch: Json, *flags: str) -> None:
    args = ("--type=merge", "-p", json.dumps(patch), *flags)
    done = user("patch", *_where(kind), KINDS[kind][0], name, *args)
    assert done.ok, done.output


def _live(server: Kubectl, kind: str, name: str) -> Json:
    return server.need(*_where(kind), KINDS[kind][0], name)


def _stamp(server: Kubectl, kind: str, name: str) -> tuple[str | None, str | None]:
    annotations = _live(server, kind, name)["metadata"].get("annotations", {})
    return annotations.get(REQUESTED_BY_ANNOTATION), annotations.get(REQUESTED_GENERATION_ANNOTATION)


def _asked(server: Kubectl, kind: str, name: str) -> str:
    """As the audit stream will say it."""
    return requested_by(_live(server, kind, name))


def _until_stamped(server: Kubectl, *, expected: bool) -> None:
    """The API server takes a moment to serve a new kind and to load a changed policy."""
    probe = json.dumps(_object("Tenant", "probe", {}))

    def check() -> None:
        done = server.run("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=probe)
        if not done.ok:
            raise Unmet(done.output)
        annotations = json.loads(done.stdout)["metadata"].get("annotations", {})
        if (REQUESTED_BY_ANNOTATION in annotations) is not expected:
            raise Unmet(str(annotations))

    until("the admission policy takes effect", check, timeout=60)
