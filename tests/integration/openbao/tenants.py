"""Tenants as the operator makes them, with its own plans."""

from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import TenantSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.vault.port import Vault
from axon_operator.domain import runtime as runtimes
from axon_operator.domain import tenant as tenants
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.platform import Peer, Platform
from axon_operator.domain.resources import VaultResource
from servers.kube import ISSUER

PLATFORM = Platform(
    issuer=ISSUER,
    vault_address="https://openbao:8200",
    vault_parent="axon",
    vault_ca="",
    vault_peer=Peer("openbao", {}, 8200),
    keycloak_url="https://keycloak",
    keycloak_peer=Peer("keycloak", {}, 443),
    agent_image="registry.example/agent:1",
    render_interval=15,
    cluster_cidrs=(),
)
BINDING = SecretBindingSpec.model_validate(
    {
        "runtimeRef": {"name": "agent"},
        "source": {"kv": {"path": "billing/stripe"}},
        "delivery": {"file": {"path": "billing.json"}},
    }
)


def runtime(tenant: TenantNames) -> runtimes.Runtime:
    """A runtime of the tenant with one binding."""
    return runtimes.Runtime(
        names=RuntimeNames(tenant.namespace, "agent", tenant.uid),
        tenant=tenant,
        spec=WorkflowRuntimeSpec.model_validate({"image": "registry.example/agent:1"}),
        bindings=(BINDING,),
        callers=(),
        suspended=False,
        isolated=False,
    )


def planned(tenant: TenantNames, service_account_uid: str = "") -> tuple[VaultResource, ...]:
    """Everything that the operator writes for a tenant with one runtime, in its order."""
    of_runtime = runtime(tenant)
    return (
        tenants.vault_namespace(tenant, TenantSpec()),
        *tenants.vault_contents(tenant, PLATFORM),
        runtimes.vault_policy(of_runtime),
        runtimes.vault_role(of_runtime, service_account_uid),
    )


def make(vault: Vault, tenant: TenantNames, service_account_uid: str = "") -> None:
    """Write all of it."""
    for resource in planned(tenant, service_account_uid):
        vault.write(resource.at, resource.body)
