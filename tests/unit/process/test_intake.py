"""Which objects are looked at after which news, how urgently, and whether all three systems are asked."""

import copy
from typing import Any, cast

import pytest

from axon_operator.backends.kubernetes.store import Store
from axon_operator.domain.manifests import PLAN_ANNOTATION
from axon_operator.domain.names import (
    ABANDON_ANNOTATION,
    ADOPT_ANNOTATION,
    FINALIZER,
    RECONCILE_ANNOTATION,
    REVISION_ANNOTATION,
    RUNTIME_LABEL,
    TENANT_LABEL,
    shard_of,
)
from axon_operator.domain.resources import (
    BINDING,
    DEPLOYMENT,
    NETWORK_POLICY,
    POD,
    PROFILE,
    RUNTIME,
    SERVICE_ACCOUNT,
    TENANT,
    Manifest,
    Ref,
    Resource,
)
from axon_operator.process.engine import Engine
from axon_operator.reconcile.engine.controller import Controller
from axon_operator.reconcile.engine.queue import Priority
from unit.reconcile.world import World

ACME = Ref(TENANT, "", "acme")
AGENT = Ref(RUNTIME, "axon-acme", "agent")
CALLER = Ref(RUNTIME, "axon-acme", "caller")
BILLING = Ref(BINDING, "axon-acme", "billing")


class Expired:
    """A controller that remembers for which objects all systems are to be asked."""

    def __init__(self) -> None:
        self.keys: set[Ref] = set()

    def expire(self, key: Ref) -> None:
        self.keys.add(key)


class Intake:
    """An engine whose workers never run, and what it was told."""

    def __init__(self, **options: Any) -> None:
        kinds = (TENANT, RUNTIME, BINDING, PROFILE, POD, DEPLOYMENT, NETWORK_POLICY, SERVICE_ACCOUNT)
        self.store = Store(dict.fromkeys(kinds))
        self.expired = Expired()
        controllers = dict.fromkeys((TENANT, RUNTIME, BINDING), cast("Controller[Any]", self.expired))
        kubernetes = World().backends.kubernetes
        self.engine = Engine(controllers, kubernetes, self.store, workers=0, namespace="default", **options)
        self._version = 0

    def tell(self, manifest: Manifest) -> dict[Ref, tuple[str, bool]]:
        """A watch tells of a state; {object: (priority, whether all systems are asked)} of what is looked at."""
        self._version += 1
        manifest["metadata"]["resourceVersion"] = str(self._version)
        self.store.watched(copy.deepcopy(manifest))
        return self.taken()

    def gone(self, manifest: Manifest) -> dict[Ref, tuple[str, bool]]:
        """A watch tells that it is gone."""
        metadata = manifest["metadata"]
        self._version += 1
        ref = Ref(_resource(manifest), metadata.get("namespace", ""), metadata["name"])
        self.store.gone(ref, metadata["uid"], self._version)
        return self.taken()

    def taken(self) -> dict[Ref, tuple[str, bool]]:
        queue, found = self.engine._queue, {}
        while any(queue.depth(p) for p in Priority):
            urgent = queue.depth(Priority.URGENT)
            key = queue.get()
            assert key
            found[key] = ("urgent" if urgent else "routine", key in self.expired.keys)
            queue.done(key)
        self.expired.keys.clear()
        return found


def _resource(manifest: Manifest) -> Resource:
    kinds = (TENANT, RUNTIME, BINDING, PROFILE, POD, DEPLOYMENT, NETWORK_POLICY, SERVICE_ACCOUNT)
    return next(r for r in kinds if r.kind == manifest["kind"])


def own(ref: Ref, *, observed: bool, **spec: Any) -> Manifest:
    metadata = {"name": ref.name, "uid": f"uid-{ref.name}", "generation": 1, "finalizers": [FINALIZER]}
    if ref.namespace:
        metadata["namespace"] = ref.namespace
    status = {"observedGeneration": 1} if observed else {}
    kind = ref.resource
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec, "status": status}


def child(kind: Resource, name: str, **labels: str) -> Manifest:
    metadata = {"name": name, "namespace": "axon-acme", "uid": f"uid-{name}", "labels": labels}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


BINDING_SPEC = {"runtimeRef": {"name": "agent"}}
OF_AGENT = {RUNTIME_LABEL: "agent", TENANT_LABEL: "acme"}


@pytest.fixture
def intake() -> Intake:
    """After its start, with acme, agent and billing known and settled."""
    intake = Intake()
    intake.tell(own(ACME, observed=True))
    intake.tell(own(AGENT, observed=True))
    intake.tell(own(BILLING, observed=True, **BINDING_SPEC))
    intake.engine.start()
    intake.taken()
    return intake


def test_at_the_start_what_was_carried_out_before_waits_behind_what_was_not() -> None:
    intake = Intake()
    intake.tell(own(ACME, observed=True))
    intake.tell(own(AGENT, observed=False))
    intake.engine.start()
    assert intake.taken() == {AGENT: ("urgent", True), ACME: ("routine", False)}


def test_a_standby_remembers_nothing_but_the_newest_state() -> None:
    intake = Intake()
    for generation in range(1, 4):
        edited = own(BILLING, observed=False, **BINDING_SPEC)
        edited["metadata"]["generation"] = generation
        assert intake.tell(edited) == {}
    assert intake.gone(edited) == {}
    intake.tell(own(ACME, observed=True))
    intake.engine.start()
    assert intake.taken() == {ACME: ("routine", False)}


def test_an_edited_binding_is_looked_at_with_its_runtime(intake: Intake) -> None:
    edited = own(BILLING, observed=True, **BINDING_SPEC)
    edited["metadata"]["generation"] = 2
    assert intake.tell(edited) == {BILLING: ("urgent", True), AGENT: ("urgent", True)}


@pytest.mark.parametrize(
    "change",
    [
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"finalizers": []},
        {"annotations": {RECONCILE_ANNOTATION: "1"}},
        {"annotations": {ABANDON_ANNOTATION: "openbao"}},
        {"annotations": {ADOPT_ANNOTATION: "uid-1"}},
    ],
)
def test_a_deletion_a_stripped_finalizer_and_a_request_are_news(intake: Intake, change: dict[str, Any]) -> None:
    changed = own(ACME, observed=True)
    changed["metadata"] |= change
    assert intake.tell(changed) == {ACME: ("urgent", True)}


def test_our_own_status_writes_are_no_news(intake: Intake) -> None:
    written = own(ACME, observed=True)
    written["status"]["conditions"] = [{"type": "Ready"}]
    assert intake.tell(written) == {}


def test_a_binding_that_is_gone_concerns_its_runtime(intake: Intake) -> None:
    assert intake.gone(own(BILLING, observed=True, **BINDING_SPEC)) == {AGENT: ("urgent", True)}


def test_a_changed_child_is_compared_and_one_that_came_or_went_asks_all_systems(intake: Intake) -> None:
    wall = child(NETWORK_POLICY, "axon-default-deny", **{TENANT_LABEL: "acme"})
    account = child(SERVICE_ACCOUNT, "rt-agent", **OF_AGENT)
    assert intake.tell(wall) == {ACME: ("urgent", True)}
    wall["spec"] = {"ingress": [{}]}
    assert intake.tell(wall) == {ACME: ("urgent", False)}
    wall["metadata"]["annotations"] = {PLAN_ANNOTATION: "another"}
    assert intake.tell(wall) == {ACME: ("urgent", False)}
    assert intake.tell(account) == {AGENT: ("urgent", True)}
    assert intake.gone(account) == {AGENT: ("urgent", True)}


def test_a_note_that_somebody_puts_on_a_child_is_no_news(intake: Intake) -> None:
    deployment = child(DEPLOYMENT, "rt-agent", **OF_AGENT)
    deployment["metadata"]["generation"] = 1
    deployment["status"] = {"observedGeneration": 1}
    intake.tell(deployment)
    deployment["metadata"] |= {"generation": 2, "annotations": {"example.com/note": "looked at"}, "managedFields": [{}]}
    assert intake.tell(deployment) == {}
    deployment["status"] = {"observedGeneration": 2}
    assert intake.tell(deployment) == {AGENT: ("urgent", False)}


def test_a_pods_probes_are_no_news_and_its_sidecar_is_news_for_runtime_and_bindings(intake: Intake) -> None:
    pod = child(POD, "pod", **OF_AGENT)
    both = {AGENT: ("urgent", True), BILLING: ("urgent", True)}
    assert intake.tell(pod) == both
    pod["status"] = {"conditions": [{"type": "Ready", "lastProbeTime": "now"}]}
    assert intake.tell(pod) == {}
    pod["status"]["initContainerStatuses"] = [{"name": "credentials", "state": {"running": {}}}]
    assert intake.tell(pod) == both
    assert intake.gone(pod) == both


def test_a_label_that_is_taken_off_concerns_the_former_owner(intake: Intake) -> None:
    wall = child(NETWORK_POLICY, "rt-agent", **OF_AGENT)
    intake.tell(wall)
    wall["metadata"]["labels"] = {TENANT_LABEL: "acme"}
    assert intake.tell(wall) == {AGENT: ("urgent", False), ACME: ("urgent", False)}


def test_a_caller_that_comes_changes_or_goes_concerns_its_callee(intake: Intake) -> None:
    caller = own(CALLER, observed=False, connections=[{"runtime": "agent", "port": 1}])
    both = {CALLER: ("urgent", True), AGENT: ("urgent", True)}
    assert intake.tell(caller) == both
    caller["metadata"]["generation"] = 2
    caller["spec"]["connections"] = []
    assert intake.tell(caller) == both
    caller["metadata"]["generation"] = 3
    assert intake.tell(caller) == {CALLER: ("urgent", True)}


def test_an_edit_that_our_own_write_is_first_to_show_is_not_lost(intake: Intake) -> None:
    edited = own(ACME, observed=True)
    edited["metadata"] |= {"generation": 2, "resourceVersion": "1000"}
    intake.store.written(edited)
    assert intake.taken() == {ACME: ("urgent", True)}
    intake.store.watched(edited)
    assert intake.taken() == {}


def test_a_process_works_on_its_own_shards_only() -> None:
    mine = shard_of("axon-acme")
    for owns, expected in ((mine.__eq__, {ACME: ("urgent", True)}), (mine.__ne__, {})):
        intake = Intake(owns=owns)
        intake.tell(own(ACME, observed=False))
        intake.engine.start()
        assert intake.taken() == expected
    assert shard_of("axon-acme") == mine, "a tenant and all that is in it share a shard"


def test_our_own_finalizer_and_our_own_mark_on_a_pod_are_no_news(intake: Intake) -> None:
    fresh = own(CALLER, observed=False, connections=[{"runtime": "agent", "port": 1}])
    claimed = copy.deepcopy(fresh)
    fresh["metadata"]["finalizers"] = []
    assert AGENT in intake.tell(fresh)
    assert intake.tell(claimed) == {}
    pod = child(POD, "pod", **OF_AGENT)
    intake.tell(pod)
    pod["metadata"]["annotations"] = {REVISION_ANNOTATION: "new"}
    assert intake.tell(pod) == {}


def test_a_profile_is_news_for_who_keeps_to_it_and_nobody_else(intake: Intake) -> None:
    """A glance is enough: it sees what is judged differently now."""
    globex, theirs = Ref(TENANT, "", "globex"), Ref(RUNTIME, "axon-globex", "agent")
    intake.tell(own(globex, observed=True, governance={"profile": "other"}))
    intake.tell(own(theirs, observed=True))
    profile = own(Ref(PROFILE, "", "strict"), observed=False)
    assert intake.tell(profile) == {}
    intake.tell(own(ACME, observed=True, governance={"profile": "strict"}))
    governed = dict.fromkeys((ACME, AGENT, BILLING), ("routine", False))
    assert intake.tell(profile) == governed
    assert intake.gone(profile) == governed


def test_what_was_found_out_elsewhere_about_tenants_is_a_glance_at_each(intake: Intake) -> None:
    globex = Ref(TENANT, "", "globex")
    intake.tell(own(globex, observed=True))
    intake.engine.look_again(TENANT)
    assert intake.taken() == {ACME: ("routine", False), globex: ("routine", False)}
