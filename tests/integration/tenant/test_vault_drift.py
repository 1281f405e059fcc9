"""Every field that the plan writes in OpenBao, changed by hand in turn: the fields come from the plan itself."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pytest

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.tenant import TenantSpec
from axon_operator.api.vault import Database
from axon_operator.backends.errors import Terminal
from axon_operator.domain.names import VAULT_CLUSTER_KEY, VAULT_OWNER_KEY
from axon_operator.domain.resources import NAMESPACE, Ref, VaultPath, VaultResource
from axon_operator.domain.tenant import databases
from axon_operator.domain.tenant import vault as desired
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.tenant import TenantReconciler
from bench.bed import Bed
from bench.life import Life, backends_of
from integration.tenant.conftest import NewTenant
from integration.tenant.test_databases import Hand
from servers.bao import Answer
from servers.postgres import Postgres

SPEC: Final = {"organizationID": "org-1", "vault": {"admins": ["/keepers"]}}
WORDS: Final = (
    "24h", "glob", "truncate", "read-only", "default", "batch", "any", "permit", "cookie", "password",
    "mysql-database-plugin",
)  # fmt: skip
"""What a text is changed to, if it can be only some: the first that the server takes there."""
ITEMS: Final = ("changed", "1.2.3;utf8:changed", "CodeSigning", "KeyAgreement")


@pytest.fixture(scope="module")
def tenant(new_tenant: NewTenant) -> Life:
    made = new_tenant(SPEC)
    made.settle()
    return made


def planned(tenant: Life) -> tuple[VaultResource, ...]:
    """All of it, as the operator plans it."""
    names, spec, platform = tenant.names, TenantSpec.model_validate(SPEC), tenant.settings.platform()
    mount = send(tenant, "GET", desired.users_mount(names))[1]["data"]
    logins = desired.logins(names, spec, platform, mount["accessor"])
    cluster = tenant.kube.get(Ref(NAMESPACE, "", "kube-system"))["metadata"]["uid"]
    return (desired.namespace(names, spec, cluster), *desired.contents(names, platform), *logins)


def connection(tenant: Life, declared: dict[str, Any]) -> VaultResource:
    """A database's, as the operator plans it."""
    return databases.connection(tenant.names, Database.model_validate(declared), tenant.settings.platform())


def send(tenant: Life, method: str, at: VaultPath, body: Any = None) -> Answer:
    """As an administrator, whatever comes of it."""
    if body and at.path.startswith("database/config/"):
        body = {**body, "verify_connection": False}
    return tenant.bed.bao.as_admin(method, f"axon/{at.namespace}".rstrip("/"), at.path, body)


def live(tenant: Life, resource: VaultResource) -> Any:
    status, answer = send(tenant, "GET", resource.at)
    data = answer["data"] if status == 200 else None
    return databases.as_written(data) if data and "connection_details" in data else data


def leaves(body: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in body.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key)


def with_leaf(body: Mapping[str, Any], leaf: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, *rest = leaf
    return {**body, first: with_leaf(body[first], tuple(rest), value) if rest else value}


def leaf_of(body: Mapping[str, Any], leaf: tuple[str, ...]) -> Any:
    return leaf_of(body[leaf[0]], leaf[1:]) if len(leaf) > 1 else body[leaf[0]]


def by_hand(value: Any) -> Iterator[Any]:
    """Other values of the same kind."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value - 1, 384)
        case str():
            yield from (f"{value}x", f"{value}?changed", f"{value}\n# changed", *WORDS)
        case _:
            yield from ([*value, item] for item in ITEMS)
            yield value[1:]


def changed(tenant: Life, resource: VaultResource, leaf: tuple[str, ...]) -> bool:
    """Whether the server took another value of this field."""
    for value in by_hand(leaf_of(resource.body, leaf)):
        body = with_leaf(resource.body, leaf, value)
        if send(tenant, "POST", resource.at, body)[0] < 300 and not as_planned(live(tenant, resource), resource.body):
            return True
    return False


def compare(tenant: Life) -> None:
    """As after the interval at which a settled Tenant is compared."""
    tenant.settle(again=True)


def test_every_field_that_is_changed_by_hand_is_healed(tenant: Life) -> None:
    resources = [r for r in planned(tenant) if not r.fixed]
    # these two say whose the namespace is: another's is not touched
    whose = {VAULT_OWNER_KEY, VAULT_CLUSTER_KEY}
    fields = [(r, leaf) for r in resources for leaf in leaves(r.body) if leaf[-1] not in whose]
    assert len(fields) > 50
    # the server takes another value of these only together with other fields
    assert stubborn_of(tenant, fields) == {"provider", "role_type"}


def test_every_field_of_a_database_that_is_changed_by_hand_is_healed(
    servers: Bed, postgres: Postgres, new_tenant: NewTenant
) -> None:
    hand = Hand(servers, postgres, new_tenant({}))
    hand.keep()
    hand.declare(hand.database())
    hand.settled()
    resource = connection(hand.tenant, hand.database())
    assert stubborn_of(hand.tenant, [(resource, leaf) for leaf in leaves(resource.body)]) == set()
    hand.settled()


def test_every_field_of_an_account_that_is_changed_by_hand_is_healed(
    servers: Bed, postgres: Postgres, new_tenant: NewTenant
) -> None:
    hand = Hand(servers, postgres, new_tenant({}))
    account = f"app-{hand.tenant.names.tenant}"
    postgres.sql(f'CREATE ROLE "{account}" LOGIN')
    hand.keep()
    declared = Database.model_validate(hand.database(roles=[{"name": "app", "account": account}]))
    hand.declare(declared.to_json())
    hand.settled()
    resource = databases.kept_account(hand.tenant.names, declared, declared.roles[0])
    # OpenBao takes another account under this name only when it was removed before
    fields = [(resource, leaf) for leaf in leaves(resource.body)]
    assert stubborn_of(hand.tenant, fields) == {"username", "credential_type"}
    assert send(hand.tenant, "DELETE", resource.at)[0] < 300
    compare(hand.tenant)
    assert as_planned(live(hand.tenant, resource), resource.body)
    hand.settled()


def stubborn_of(tenant: Life, fields: Iterable[tuple[VaultResource, tuple[str, ...]]]) -> set[str]:
    """Those of which the server takes no other value; all others are set right."""
    stubborn = set()
    for resource, leaf in fields:
        if not changed(tenant, resource, leaf):
            stubborn.add(leaf[-1])
            continue
        compare(tenant)
        assert as_planned(live(tenant, resource), resource.body), f"{resource.at} {leaf}"
    return stubborn


def test_what_is_removed_by_hand_comes_back(tenant: Life) -> None:
    removed = 0
    for resource in planned(tenant)[1:]:
        if send(tenant, "DELETE", resource.at)[0] < 300 and live(tenant, resource) is None:
            removed += 1
            compare(tenant)
            again = next(r for r in planned(tenant) if r.at == resource.at)
            assert as_planned(live(tenant, again), again.body), resource.at
    assert removed >= 10


def test_another_mount_in_the_place_of_ours_is_told_and_not_touched(tenant: Life) -> None:
    reconciler = TenantReconciler(backends_of(tenant.settings), tenant.settings.platform())
    fixed = [r for r in planned(tenant) if r.fixed]
    assert {r.at.path for r in fixed} > {"sys/mounts/kv", "sys/mounts/transit", "sys/mounts/pki", "sys/auth/keycloak"}
    for resource in fixed:
        other = {"type": "userpass" if resource.at.path.startswith("sys/auth/") else "ssh"}
        for method, body in (("DELETE", None), ("POST", other)):
            assert send(tenant, method, resource.at, body)[0] < 300
        plan = reconciler.plan(reconciler.gather(tenant.objects()[0], ask=True))
        (stage,) = (s for s in plan.stages if s.condition is ConditionType.VAULT_READY)
        assert isinstance(stage.problem, Terminal)
        assert stage.problem.reason is Reason.CONFLICT
        assert resource.at.path in stage.problem.message
        assert not stage.changes
        assert send(tenant, "DELETE", resource.at)[0] < 300
        compare(tenant)
        assert as_planned(live(tenant, resource), resource.body)


def test_a_settled_tenant_is_compared_with_few_reads_and_no_write(tenant: Life) -> None:
    compare(tenant)
    tenant.bed.proxy.forget()
    assert tenant.settle(again=True).writes == ()
    asked = [s.path for s in tenant.bed.proxy.since(0) if s.tenant.endswith(tenant.names.vault_namespace)]
    assert 0 < len(asked) <= 14, asked
    # who asks for no database costs no read because others do
    assert not [path for path in asked if "database" in path]
