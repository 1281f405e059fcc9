"""Whether anything of a tenant is there twice, in the three systems."""

from collections import Counter

from e2e.support.cluster import Cluster, runtime_ref, tenant_ref
from e2e.support.kubectl import Json
from e2e.support.openbao import tenants_of


def duplicates(cluster: Cluster, name: str) -> list[str]:
    """What is there more often, or other, than it should be."""
    uid = cluster.kubectl.need(*tenant_ref(name).args)["metadata"]["uid"]
    owner = cluster.kubectl.need(*runtime_ref(name).args)["metadata"]["uid"]
    principal, vault = cluster.principal(name), cluster.vault_namespace(name)
    objects = cluster.kubectl.items(
        "-n",
        f"axon-{name}",
        "deployments,serviceaccounts,configmaps,networkpolicies,services",
        "-l",
        f"axonos.ai/owner-uid={owner}",
    )
    children = Counter(o["kind"] for o in objects)
    expected: dict[str, tuple[object, object]] = {
        "children of the runtime": (
            children,
            Counter(Deployment=1, ServiceAccount=1, ConfigMap=1, NetworkPolicy=1, Service=1),
        ),
        "namespaces in OpenBao": (tenants_of(cluster.openbao.namespaces(), uid), [vault]),
        "roles": (cluster.openbao.names(vault, "auth/k8s/role"), [principal]),
        "policies": (_own_policies(cluster.openbao.names(vault, "sys/policies/acl")), [principal]),
        "clients": ([c["clientId"] for c in cluster.keycloak.clients(f"axon-{name}") if _is_ours(c)], [principal]),
        "pods": (len(cluster.pods(name)), 1),
    }
    return [f"{what}: {seen}, not {wanted}" for what, (seen, wanted) in expected.items() if seen != wanted]


def _own_policies(names: list[str]) -> list[str]:
    """The policies of runtimes."""
    return [name for name in names if name.startswith("rt-")]


def _is_ours(client: Json) -> bool:
    """Whether the operator made a client; the others are Keycloak's own."""
    return "axonos.ai/owner-uid" in client.get("attributes", {})
