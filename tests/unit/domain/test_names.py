"""Names are injective, valid in all three systems, and bound to the uid."""

import re
import uuid

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.domain.names import RuntimeNames, TenantNames

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
uids = st.uuids().map(str)
DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


@given(labels, labels, uids)
def test_every_name_is_a_dns_label(namespace: str, runtime: str, uid: str) -> None:
    principal = RuntimeNames(f"axon-{namespace}", runtime, uid).principal
    tenant = TenantNames(namespace, uid)
    for name in (principal, tenant.namespace, tenant.realm, tenant.vault_namespace):
        assert len(name) <= 63
        assert DNS_LABEL.match(name)


@given(st.tuples(labels, labels, uids), st.tuples(labels, labels, uids))
def test_two_runtimes_never_share_a_principal(a: tuple[str, str, str], b: tuple[str, str, str]) -> None:
    assert (a == b) == (RuntimeNames(*a).principal == RuntimeNames(*b).principal)


def test_a_dash_in_the_namespace_is_not_a_dash_in_the_name() -> None:
    uid = str(uuid.uuid4())
    assert RuntimeNames("foo", "bar-baz", uid).principal != RuntimeNames("foo-bar", "baz", uid).principal


def test_a_recreated_object_gets_nothing_of_its_predecessor() -> None:
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    assert RuntimeNames("axon-a", "r", one).principal != RuntimeNames("axon-a", "r", two).principal
    assert TenantNames("a", one).vault_namespace != TenantNames("a", two).vault_namespace


series = st.tuples(labels, labels, uids, labels, uids)


@given(series, series, st.integers(1, 10**6), st.integers(1, 10**6))
def test_two_issues_never_share_a_name(
    a: tuple[str, str, str, str, str], b: tuple[str, str, str, str, str], n: int, m: int
) -> None:
    one, two = RuntimeNames(*a[:3]), RuntimeNames(*b[:3])
    assert ((a, n) == (b, m)) == (one.issue(*a[3:], n) == two.issue(*b[3:], m))


@given(series, st.integers(1, 10**6))
def test_an_issue_is_found_by_its_runtime_and_its_binding_and_by_no_other(
    one: tuple[str, str, str, str, str], number: int
) -> None:
    namespace, runtime, uid, binding, binding_uid = one
    names = RuntimeNames(f"axon-{namespace}", runtime, uid)
    name = names.issue(binding, binding_uid, number)
    assert name.startswith(names.issues)
    assert name.removeprefix(names.series(binding, binding_uid)) == str(number)
    other = RuntimeNames(f"axon-{namespace}", runtime, f"{uid}x")
    assert not name.startswith(other.issues)
    assert not name.startswith(names.series(binding, f"{binding_uid}x"))


@given(labels, uids)
def test_the_openbao_namespace_does_not_tell_the_tenant(tenant: str, uid: str) -> None:
    assert re.fullmatch(r"t-[0-9a-f]{16}", TenantNames(tenant, uid).vault_namespace)
