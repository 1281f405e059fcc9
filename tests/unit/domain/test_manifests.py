"""Whether what exists is what was planned, field by field."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.tenant import EgressRule, TenantSpec
from axon_operator.domain import network
from axon_operator.domain.manifests import is_current, manifest, must_be_made_anew
from axon_operator.domain.names import TenantNames
from axon_operator.domain.platform import KUBE_DNS, Peer
from axon_operator.domain.resources import NETWORK_POLICY, RUNTIME, SERVICE, Manifest, Ref
from axon_operator.domain.tenant import kubernetes as tenant_kubernetes
from unit.domain.test_runtime import PLATFORM

POLICY = manifest(
    Ref(NETWORK_POLICY, "axon-acme", "rt-agent"),
    "uid",
    "acme",
    {
        "spec": network.policy(
            {"axonos.ai/runtime": "agent"},
            ingress=[{"from": [network.runtime_peer("other")], "ports": [{"protocol": "TCP", "port": 8080}]}],
            egress=[
                network.dns_rule(KUBE_DNS),
                network.peer_rule(Peer("openbao", {}, 8200)),
                *network.cidr_rules([EgressRule(cidr="203.0.113.0/24", ports=[443])]),
            ],
        )
    },
)
DEFAULT_DENY = manifest(
    Ref(NETWORK_POLICY, "axon-acme", "axon-default-deny"), "uid", "acme", {"spec": network.policy({})}
)


def maps(value: Any) -> Iterator[dict[str, Any]]:
    """Every map inside, the value itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from maps(inner)


@given(
    st.sampled_from([POLICY, DEFAULT_DENY]),
    st.data(),
    st.text(min_size=1, max_size=8) | st.sampled_from(["namespaceSelector", "matchLabels", "endPort", "except"]),
    st.integers() | st.text(min_size=1) | st.booleans() | st.just({}) | st.just({"nobody": "x"}) | st.just([{}]),
)
def test_any_key_added_anywhere_inside_a_network_policy_is_drift(
    planned: Manifest, data: st.DataObject, key: str, value: object
) -> None:
    live = copy.deepcopy(planned)
    place = data.draw(st.sampled_from(list(maps(live["spec"]))))
    if key not in place:
        place[key] = value
        assert not is_current(live, planned)


@pytest.mark.parametrize(
    "selector", [{"matchLabels": {"nobody": "x"}}, {"matchExpressions": [{"key": "a", "operator": "Exists"}]}]
)
def test_a_selector_that_selects_less_opens_the_rest_and_is_drift(selector: dict[str, Any]) -> None:
    assert not is_current({**DEFAULT_DENY, "spec": {**DEFAULT_DENY["spec"], "podSelector": selector}}, DEFAULT_DENY)


def test_what_the_server_drops_is_no_drift() -> None:
    live = copy.deepcopy(DEFAULT_DENY)
    del live["spec"]["ingress"], live["spec"]["egress"]
    assert is_current(live, DEFAULT_DENY)


def test_another_subject_is_drift_and_another_role_needs_a_new_binding() -> None:
    spec = TenantSpec.model_validate({"admins": [{"kind": "Group", "name": "acme-admins"}]})
    guards = tenant_kubernetes.guards(TenantNames("acme", "uid"), spec, PLATFORM)
    binding = next(g for g in guards if g["kind"] == "RoleBinding")
    joined = {**binding, "subjects": [*binding["subjects"], {"kind": "User", "name": "eve"}]}
    assert not is_current(joined, binding)
    assert not must_be_made_anew(joined, binding)
    assert must_be_made_anew({**binding, "roleRef": {**binding["roleRef"], "name": "cluster-admin"}}, binding)


def test_a_child_is_collected_with_its_owner_and_a_lost_or_added_owner_is_drift() -> None:
    owner = Ref(RUNTIME, "axon-acme", "agent")
    child = manifest(Ref(SERVICE, "axon-acme", "agent"), "uid", "acme", {}, collected_with=owner)
    reference = child["metadata"]["ownerReferences"][0]
    assert (reference["kind"], reference["uid"], reference["controller"]) == ("WorkflowRuntime", "uid", True)
    for references in ([], [reference, {**reference, "uid": "other"}]):
        live = {**child, "metadata": {**child["metadata"], "ownerReferences": references}}
        assert not is_current(live, child)
