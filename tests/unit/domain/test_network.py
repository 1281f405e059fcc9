"""Egress stays within the Tenant's allow-list and outside the cluster's own ranges."""

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.tenant import EgressRule
from axon_operator.domain.network import cidr_rules, egress_problem

CLUSTER = ("10.0.0.0/8", "169.254.0.0/16")
networks = st.builds(
    lambda address, prefix: str(IPv4Network((address, prefix), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(8, 32),
)
rules = st.builds(EgressRule, cidr=networks, ports=st.lists(st.integers(1, 65535), min_size=1, max_size=4))


def rule(cidr: str, *ports: int) -> EgressRule:
    return EgressRule(cidr=cidr, ports=list(ports))


@given(st.lists(rules, max_size=4), st.lists(rules, max_size=4))
def test_accepted_egress_is_always_inside_the_allow_list_and_outside_the_cluster(
    wanted: list[EgressRule], allowed: list[EgressRule]
) -> None:
    if egress_problem(wanted, allowed, CLUSTER, "spec.egress") is not None:
        return
    for w in wanted:
        network = IPv4Network(w.cidr)
        assert not any(network.overlaps(IPv4Network(c)) for c in CLUSTER)
        for port in w.ports:
            assert any(port in a.ports and network.subnet_of(IPv4Network(a.cidr)) for a in allowed)


def test_an_allow_list_that_names_the_cluster_does_not_open_it() -> None:
    problem = egress_problem([rule("10.1.0.0/16", 443)], [rule("10.0.0.0/8", 443)], CLUSTER, "spec.egress")
    assert problem is not None
    assert "spec.egress[0]" in problem
    assert "10.0.0.0/8" in problem


def test_a_port_that_is_not_allowed_is_named() -> None:
    problem = egress_problem([rule("203.0.113.0/24", 443, 22)], [rule("203.0.113.0/24", 443)], CLUSTER, "spec.egress")
    assert problem is not None
    assert "port 22" in problem


def test_host_bits_are_explained() -> None:
    problem = egress_problem([rule("203.0.113.7/24", 443)], [rule("203.0.113.0/24", 443)], CLUSTER, "spec.egress")
    assert problem is not None
    assert "host bits" in problem


@given(st.lists(rules, max_size=6))
def test_rules_do_not_depend_on_order_or_repetition(wanted: list[EgressRule]) -> None:
    assert cidr_rules(wanted) == cidr_rules([*reversed(wanted), *wanted])
