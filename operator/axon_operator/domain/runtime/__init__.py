"""What a WorkflowRuntime becomes in the three systems; its pods and what it has in OpenBao have modules of their own."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from axon_operator.api.tenant import EgressRule, Network
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain import agent, issue, network, proxy
from axon_operator.domain.consent import Consent
from axon_operator.domain.issue import Issued, Told, read_told
from axon_operator.domain.manifests import manifest
from axon_operator.domain.names import REALM_OWNER_ATTRIBUTE, RUNTIME_LABEL, TENANT_LABEL, RuntimeNames, TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    CONFIG_MAP,
    NETWORK_POLICY,
    RUNTIME,
    SERVICE,
    SERVICE_ACCOUNT,
    Manifest,
    RealmPath,
    RealmResource,
    Ref,
    Resource,
)
from axon_operator.domain.rotation import DEFAULT_OVERLAP, overlap
from axon_operator.domain.tenant.realm import KUBERNETES_IDP
from axon_operator.domain.values import seconds

VAULT_AUDIENCE = "openbao"

LIVES_PER_LOGIN = 2
"""How many times the life of a leased credential a login lasts at least: leases end with the login."""

DEFAULT_TTL = 900
"""Seconds that a login lasts while there are no bindings."""

BINDINGS_KEY = "bindings.json"
"""Of the ConfigMap: which bindings are delivered, and which generation of each."""


def told_by(config: Manifest | None) -> Told:
    """What a runtime's ConfigMap tells of the bindings that are delivered."""
    return read_told(((config or {}).get("data") or {}).get(BINDINGS_KEY))


@dataclass(frozen=True, slots=True)
class Runtime:
    """A WorkflowRuntime with everything its desired state depends on."""

    names: RuntimeNames
    tenant: TenantNames
    spec: WorkflowRuntimeSpec
    bindings: tuple[Issued, ...]
    """Only those that are delivered."""
    callers: tuple[tuple[str, int], ...]
    """Other runtimes of the tenant that declared a connection to this one: (name, port)."""
    suspended: bool
    """By its own spec or by its tenant."""
    isolated: bool
    """The tenant is suspended: no network at all."""
    published: str | None = None
    """The name under which the set of files is published now."""
    ended: bool = False
    """It has run to its end."""
    lingering: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By binding: names of issues before the current one that must stay good for a while."""
    consent: Consent | None = None
    """Where users grant to it, if a binding asks for what is a user's."""
    engines: frozenset[issue.Engine] = frozenset()
    """Those that hold anything of the runtime."""

    @property
    def labels(self) -> dict[str, str]:
        """Selects the pods."""
        return {TENANT_LABEL: self.tenant.tenant, RUNTIME_LABEL: self.names.runtime}

    @property
    def replicas(self) -> int:
        """Number of pods wanted now."""
        return 0 if self.suspended else self.spec.replicas

    @property
    def credentials(self) -> tuple[agent.CredentialFile, ...]:
        """The files that the pods are to serve."""
        return tuple(sorted(issue.credential_file(b) for b in self.bindings))

    @property
    def routes(self) -> tuple[proxy.Route, ...]:
        """Where the pods' proxy sends credentials; without one there is no proxy."""
        return tuple(sorted(route for b in self.bindings if (route := issue.route(b))))

    @property
    def publication(self) -> str:
        """The name under which that set is to be published."""
        return agent.published_as(agent.revision(self.credentials), self.published)

    def child(
        self, resource: Resource, name: str, body: Mapping[str, Any], annotations: Mapping[str, str] | None = None
    ) -> Manifest:
        """A Kubernetes object owned by the runtime."""
        return manifest(
            Ref(resource, self.names.namespace, name),
            self.names.uid,
            self.tenant.tenant,
            body,
            labels={RUNTIME_LABEL: self.names.runtime},
            annotations=annotations,
            collected_with=Ref(RUNTIME, self.names.namespace, self.names.runtime),
        )


def service_account(runtime: Runtime) -> Manifest:
    """The pods' identity; nothing is mounted by default."""
    return runtime.child(SERVICE_ACCOUNT, runtime.names.principal, {"automountServiceAccountToken": False})


def network_policy(
    runtime: Runtime, tenants: Network, egress: Iterable[EgressRule], platform: Platform
) -> Manifest | None:
    """The paths that the declarations open; none for a suspended tenant.

    `tenants`: what the Tenant declares; `egress`: what is allowed of the runtime's and its bindings'.
    """
    if runtime.isolated:
        return None
    connections = sorted({(c.runtime, c.port) for c in runtime.spec.connections})
    outward = [
        network.peer_rule(platform.vault_peer),
        network.peer_rule(platform.keycloak_peer),
        *(
            {"to": [network.runtime_peer(name)], "ports": [{"protocol": "TCP", "port": port}]}
            for name, port in connections
        ),
        *network.cidr_rules(egress),
    ]
    ingress = [
        *(
            {"from": [network.runtime_peer(name)], "ports": [{"protocol": "TCP", "port": port}]}
            for name, port in sorted(set(runtime.callers))
        ),
        *network.namespace_rules(tenants.ingress.namespaces, (p.port for p in runtime.spec.ports)),
    ]
    body = {"spec": network.policy({RUNTIME_LABEL: runtime.names.runtime}, ingress=ingress, egress=outward)}
    return runtime.child(NETWORK_POLICY, runtime.names.principal, body)


def config_map(runtime: Runtime, platform: Platform) -> Manifest:
    """What the `credentials` sidecar follows."""
    data = agent.config_map_data(
        runtime.credentials,
        runtime.publication,
        overlap=max((overlap(b.spec) for b in runtime.bindings), default=DEFAULT_OVERLAP),
        principal=runtime.names.principal,
        vault_namespace=runtime.tenant.vault_namespace,
        platform=platform,
    )
    # what stands in OpenBao alone: for the sidecar, and so that a change of it changes something that is watched
    data["login-ttl"] = f"{login_ttl(runtime)}s\n"
    if runtime.routes:
        data |= {proxy.CLUSTERS: proxy.clusters(runtime.routes), proxy.LISTENERS: proxy.listeners(runtime.routes)}
    # for the next pass and those of the bindings
    data[BINDINGS_KEY] = issue.told(runtime.bindings, runtime.engines, asks=runtime.consent is not None).to_json()
    return runtime.child(CONFIG_MAP, runtime.names.principal, {"data": data})


def service(runtime: Runtime) -> Manifest | None:
    """A name under which the tenant's other runtimes find this one, if it listens on anything."""
    if not runtime.spec.ports:
        return None
    ports = [{"name": p.name, "port": p.port, "targetPort": p.port, "protocol": "TCP"} for p in runtime.spec.ports]
    body = {"spec": {"type": "ClusterIP", "selector": runtime.labels, "ports": ports}}
    return runtime.child(SERVICE, runtime.names.runtime, body)


def kubernetes_child_refs(names: RuntimeNames) -> tuple[Ref, ...]:
    """All children that can exist but the Deployment, in the order in which they are removed."""
    return (
        Ref(SERVICE, names.namespace, names.runtime),
        Ref(CONFIG_MAP, names.namespace, names.principal),
        Ref(NETWORK_POLICY, names.namespace, names.principal),
        Ref(SERVICE_ACCOUNT, names.namespace, names.principal),
    )


def login_ttl(runtime: Runtime) -> int:
    """Seconds that a login lasts: as long as the shortest-lived binding allows, but no lease outlives its login."""
    leased = [seconds(b.spec.ttl) + overlap(b.spec) for b in runtime.bindings if issue.fetch(b).leased]
    others = [seconds(b.spec.ttl) for b in runtime.bindings if not issue.fetch(b).leased]
    return max(LIVES_PER_LOGIN * max(leased, default=0), min(others, default=0)) or DEFAULT_TTL


def keycloak_client(runtime: Runtime) -> RealmResource:
    """The runtime's client: it proves itself with its projected token, there is no client secret."""
    body = {
        "id": _client_uuid(runtime.names),
        "clientId": runtime.names.principal,
        "name": runtime.names.runtime,
        "enabled": True,
        "protocol": "openid-connect",
        "publicClient": False,
        "clientAuthenticatorType": "federated-jwt",
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "fullScopeAllowed": False,
        "attributes": {
            "jwt.credential.issuer": KUBERNETES_IDP,
            "jwt.credential.sub": runtime.names.subject,
            REALM_OWNER_ATTRIBUTE: runtime.names.uid,
        },
    }
    return RealmResource(
        keycloak_client_path(runtime.names, runtime.tenant), RealmPath(runtime.tenant.realm, ("clients",)), body
    )


def keycloak_client_path(names: RuntimeNames, tenant: TenantNames) -> RealmPath:
    """Keycloak honours a chosen id, so a retried creation makes no second client."""
    return RealmPath(tenant.realm, ("clients", _client_uuid(names)))


def _client_uuid(names: RuntimeNames) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"axonos.ai/{names.namespace}/{names.principal}"))
