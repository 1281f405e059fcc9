"""Tenants as the operator makes them, with its own plans."""

import datetime
from collections.abc import Iterable
from typing import Any

from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import TenantSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.binding import Binding, Secret, assumed
from axon_operator.domain.issue import resources
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.platform import Peer, Platform
from axon_operator.domain.resources import VaultResource
from axon_operator.domain.runtime import Runtime
from axon_operator.domain.runtime.vault import before_grants, vault_policy, vault_role
from axon_operator.domain.tenant import vault as tenant_vault
from axon_operator.reconcile.views import TenantView, delivered, surroundings
from servers.kube import ISSUER

PLATFORM = Platform(
    issuer=ISSUER,
    vault_address="https://openbao:8200",
    vault_parent="axon",
    vault_ca="",
    vault_peer=Peer("openbao", {}, 8200),
    keycloak_url="https://keycloak",
    keycloak_ca="",
    keycloak_peer=Peer("keycloak", {}, 443),
    agent_image="registry.example/agent:1",
    render_interval=15,
    cluster_cidrs=(),
    trust_domain="cluster.local",
)
CLUSTER = "cluster-1"
SPEC = WorkflowRuntimeSpec.model_validate({"image": "registry.example/agent:1"})
BINDING = Binding(
    "billing",
    "7f3f6c2e-0000-4000-8000-00000000000b",
    "2026-01-01T00:00:00Z",
    SecretBindingSpec.model_validate(
        {
            "runtimeRef": {"name": "agent"},
            "source": {"kv": {"path": "billing/stripe"}},
            "delivery": {"file": {"path": "billing.json"}},
        }
    ),
)


def runtime(tenant: TenantNames) -> Runtime:
    """A runtime of the tenant with one binding."""
    names = RuntimeNames(tenant.namespace, "agent", tenant.uid)
    around = surroundings(names, SPEC, TenantView(tenant, TenantSpec(), None, True, False), [BINDING], PLATFORM)
    found = {"org/billing/stripe": Secret(frozenset(), 1)}
    return Runtime(
        names=names,
        tenant=tenant,
        spec=SPEC,
        bindings=delivered([BINDING], found, around, before={}, highest={}, now=datetime.datetime.now(datetime.UTC)),
        callers=(),
        suspended=False,
        isolated=False,
    )


CONNECTION = "orders"
_ROLES: list[dict[str, Any]] = [
    {"name": "reader", "memberOf": ["orders_reader", "orders_writer"]},
    {"name": "app", "account": "orders_app"},
]
_TENANT = TenantSpec.model_validate(
    {
        "vault": {
            "databases": [
                {
                    "name": CONNECTION,
                    "host": "127.0.0.1",
                    "database": "orders",
                    "username": "axon",
                    "credentialSecretRef": {"name": "orders"},
                    "roles": _ROLES,
                }
            ]
        }
    }
)
ORDERS = _TENANT.vault.databases[0]
_SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "database": ({"database": {"connection": CONNECTION, "role": "reader"}}, "json"),
    "pki": ({"pki": {}}, "pem"),
    "generated": ({"generated": {"length": 100, "charset": "Printable"}}, "raw"),
    "grant": ({"grant": {"user": "7f3f6c2e-0000-4000-8000-00000000000a", "path": "github/token"}}, "json"),
}


def issues(names: RuntimeNames, tenant: TenantNames) -> dict[str, VaultResource]:
    """What the operator makes for bindings of a runtime to each kind of source, and for users who grant to it."""
    candidates = [_binding(name, source, form) for name, (source, form) in _SOURCES.items()]
    around = surroundings(names, SPEC, TenantView(tenant, _TENANT, None, True, False), candidates, PLATFORM)
    found = assumed(candidates, around, {})
    now = datetime.datetime.now(datetime.UTC)
    made = delivered(candidates, found, around, before={}, highest={}, now=now)
    key, entry = before_grants(
        Runtime(
            names=names,
            tenant=tenant,
            spec=SPEC,
            bindings=made,
            callers=(),
            suspended=False,
            isolated=False,
            consent=around.consent,
        )
    )
    by_source = {i.binding.name: resource for i in made for resource in resources([i])}
    return {**by_source, "key": key, "directory": entry}


def _binding(name: str, source: dict[str, Any], form: str) -> Binding:
    delivery = {"file": {"path": name, "format": form}}
    spec = {"runtimeRef": {"name": "agent"}, "source": source, "delivery": delivery}
    uid = f"7f3f6c2e-0000-4000-8000-{len(name):012}"
    return Binding(name, uid, "2026-01-01T00:00:00Z", SecretBindingSpec.model_validate(spec))


def planned_empty(tenant: TenantNames) -> tuple[VaultResource, ...]:
    """What the operator writes for a tenant without runtimes, in its order; without what needs a realm."""
    return (tenant_vault.namespace(tenant, TenantSpec(), CLUSTER), *tenant_vault.contents(tenant, PLATFORM))


def planned(tenant: TenantNames, service_account_uid: str = "") -> tuple[VaultResource, ...]:
    """The same for a tenant with one runtime."""
    of_runtime = runtime(tenant)
    return (
        *planned_empty(tenant),
        vault_policy(of_runtime),
        vault_role(of_runtime, service_account_uid),
    )


def make(vault: Vault, tenant: TenantNames, service_account_uid: str = "") -> None:
    """Write all of it, with one runtime."""
    write(vault, planned(tenant, service_account_uid))


def write(vault: Vault, planned: Iterable[VaultResource]) -> None:
    """Write them as the operator does where none of them is there yet."""
    for resource in planned:
        written = resource.maker or resource
        vault.write(written.at, written.body)
