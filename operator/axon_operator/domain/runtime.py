"""What a WorkflowRuntime becomes in the three systems."""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import SIDECAR_LIMITS, EgressRule
from axon_operator.api.workflowruntime import ResourceAmounts, WorkflowRuntimeSpec
from axon_operator.domain import agent, network
from axon_operator.domain.binding import credential_file
from axon_operator.domain.manifests import manifest
from axon_operator.domain.names import (
    KV_MOUNT,
    REALM_OWNER_ATTRIBUTE,
    RUNTIME_AUTH_MOUNT,
    RUNTIME_LABEL,
    STATUS_MOUNT,
    TENANT_LABEL,
    RuntimeNames,
    TenantNames,
)
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    NETWORK_POLICY,
    RUNTIME,
    SERVICE,
    SERVICE_ACCOUNT,
    Manifest,
    RealmPath,
    RealmResource,
    Ref,
    Resource,
    VaultPath,
    VaultResource,
)
from axon_operator.domain.tenant import KUBERNETES_IDP
from axon_operator.domain.values import seconds

VAULT_AUDIENCE = "openbao"
TOKEN_SECONDS = 600
"""Lifetime of projected tokens, the shortest that Kubernetes issues: OpenBao checks only signature and expiry,
so a token of a deleted pod stays good for that long."""
USER = 65532
RECORDS_AT_ONCE = 50
"""Records of pods that one pass removes."""
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DEFAULT_TTL = 900
"""Seconds that a login lasts while there are no bindings."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A WorkflowRuntime with everything its desired state depends on."""

    names: RuntimeNames
    tenant: TenantNames
    spec: WorkflowRuntimeSpec
    bindings: tuple[SecretBindingSpec, ...]
    """Only those that can be delivered."""
    callers: tuple[tuple[str, int], ...]
    """Other runtimes of the tenant that declared a connection to this one: (name, port)."""
    suspended: bool
    """By its own spec or by its tenant."""
    isolated: bool
    """The tenant is suspended: no network at all."""
    published: str | None = None
    """The name under which the set of files is published now."""

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
        return tuple(sorted(credential_file(b) for b in self.bindings))

    @property
    def publication(self) -> str:
        """The name under which that set is to be published."""
        return agent.published_as(agent.revision(self.credentials), self.published)

    def child(self, resource: Resource, name: str, body: Mapping[str, Any]) -> Manifest:
        """A Kubernetes object owned by the runtime."""
        return manifest(
            Ref(resource, self.names.namespace, name),
            self.names.uid,
            self.tenant.tenant,
            body,
            labels={RUNTIME_LABEL: self.names.runtime},
            collected_with=Ref(RUNTIME, self.names.namespace, self.names.runtime),
        )


def service_account(runtime: Runtime) -> Manifest:
    """The pods' identity; nothing is mounted by default."""
    return runtime.child(SERVICE_ACCOUNT, runtime.names.principal, {"automountServiceAccountToken": False})


def network_policy(runtime: Runtime, egress: Iterable[EgressRule], platform: Platform) -> Manifest | None:
    """The paths that the declarations open; none for a suspended tenant. `egress`: what is allowed of it."""
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
        {"from": [network.runtime_peer(name)], "ports": [{"protocol": "TCP", "port": port}]}
        for name, port in sorted(set(runtime.callers))
    ]
    body = {"spec": network.policy({RUNTIME_LABEL: runtime.names.runtime}, ingress=ingress, egress=outward)}
    return runtime.child(NETWORK_POLICY, runtime.names.principal, body)


def config_map(runtime: Runtime, platform: Platform) -> Manifest:
    """What the `credentials` sidecar follows."""
    data = agent.config_map_data(
        runtime.credentials, runtime.publication, runtime.names.principal, runtime.tenant.vault_namespace, platform
    )
    # only so that a changed lifetime, which stands in OpenBao alone, changes something that is watched
    data["login-ttl"] = f"{login_ttl(runtime)}s\n"
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


def vault_policy(runtime: Runtime) -> VaultResource:
    """The runtime's one policy: the union of its bindings.

    One policy, because a changed body works at once for tokens already issued, while a changed list
    of policies does not.
    """
    paths = sorted({b.source.kv.path for b in runtime.bindings if b.source.kv})
    rules = [
        *(f'path "{KV_MOUNT}/data/org/{path}" {{ capabilities = ["read"] }}' for path in paths),
        f'path "{STATUS_MOUNT}/{runtime.names.principal}/+" {{ capabilities = ["create", "update"] }}',
        'path "auth/token/renew-self" { capabilities = ["update"] }',
        'path "auth/token/revoke-self" { capabilities = ["update"] }',
    ]
    return VaultResource(_vault_path(runtime.names, runtime.tenant, "policy"), {"policy": "\n".join(rules) + "\n"})


def login_ttl(runtime: Runtime) -> int:
    """Seconds that a login lasts: as long as the shortest-lived binding allows."""
    return min((seconds(b.ttl) for b in runtime.bindings), default=DEFAULT_TTL)


def vault_role(runtime: Runtime, service_account_uid: str) -> VaultResource:
    """Who may log in: exactly this service account, by subject and by uid."""
    ttl = login_ttl(runtime)
    body = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [VAULT_AUDIENCE],
        "bound_subject": runtime.names.subject,
        # a JSON pointer; a service account re-created under the same name has another uid
        "bound_claims": {"/kubernetes.io/serviceaccount/uid": [service_account_uid]},
        "allowed_redirect_uris": [],
        "token_policies": [runtime.names.principal],
        "token_no_default_policy": True,
        "token_type": "service",  # batch tokens cannot be revoked
        "token_ttl": ttl,
        "token_max_ttl": ttl,
        # without these a token is still accepted 60 s after its expiry
        "clock_skew_leeway": -1,
        "expiration_leeway": -1,
    }
    return VaultResource(_vault_path(runtime.names, runtime.tenant, "role"), body)


def vault_refs(names: RuntimeNames, tenant: TenantNames) -> tuple[VaultPath, ...]:
    """What a runtime has in OpenBao, in the order in which it is removed: no new logins, then no rights."""
    return (_vault_path(names, tenant, "role"), _vault_path(names, tenant, "policy"))


def served_path(names: RuntimeNames, tenant: TenantNames, pod_uid: str = "") -> VaultPath:
    """Where pods record the revision that they serve: the folder, or one pod's entry."""
    folder = f"{STATUS_MOUNT}/{names.principal}"
    return VaultPath(tenant.vault_namespace, f"{folder}/{pod_uid}" if pod_uid else folder)


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


def deployment(runtime: Runtime, platform: Platform) -> Manifest:
    """The pods. Nothing in the template depends on the bindings, so that changing them restarts nothing."""
    pod = {
        "serviceAccountName": runtime.names.principal,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_credentials_container(runtime, platform)],
        "containers": [_workload_container(runtime)],
        "volumes": _volumes(runtime, platform),
    }
    spec = {
        "replicas": runtime.replicas,
        "selector": {"matchLabels": runtime.labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": runtime.labels}, "spec": pod},
    }
    return runtime.child(DEPLOYMENT, runtime.names.principal, {"spec": spec})


def _credentials_container(runtime: Runtime, platform: Platform) -> dict[str, Any]:
    """A native sidecar: started before the workload, which waits until the first set of files is there."""
    env = {
        "BAO_ADDR": platform.vault_address,
        "BAO_CACERT": f"{agent.CONFIG_DIR}/ca.crt",
        "BAO_NAMESPACE": f"{platform.vault_parent}/{runtime.tenant.vault_namespace}",
        "AUTH_MOUNT": RUNTIME_AUTH_MOUNT,
        "STATUS_MOUNT": STATUS_MOUNT,
        "ROLE": runtime.names.principal,
        "JWT": f"{agent.TOKEN_DIR}/token",
        "CONFIG": agent.CONFIG_DIR,
        "SECRETS": agent.SECRETS_DIR,
        "WORK": agent.WORK_DIR,
        "HOME": agent.WORK_DIR,
    }
    return {
        "name": "credentials",
        "image": platform.agent_image,
        "restartPolicy": "Always",
        "command": ["/bin/sh", "-c", agent.SCRIPT],
        "env": [
            *({"name": name, "value": value} for name, value in env.items()),
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}},
        ],
        "startupProbe": {
            "exec": {"command": ["/bin/sh", "-c", f"test -e {agent.WORK_DIR}/.started"]},
            "periodSeconds": 1,
            "failureThreshold": 3600,
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": dict(SIDECAR_LIMITS)},
        "securityContext": _restricted(),
        "volumeMounts": [
            {"name": "credentials", "mountPath": agent.SECRETS_DIR},
            {"name": "agent-work", "mountPath": agent.WORK_DIR},
            {"name": "agent-config", "mountPath": agent.CONFIG_DIR, "readOnly": True},
            {"name": "agent-token", "mountPath": agent.TOKEN_DIR, "readOnly": True},
        ],
    }


def _workload_container(runtime: Runtime) -> dict[str, Any]:
    spec = runtime.spec
    return {
        "name": "workload",
        "image": spec.image,
        "command": spec.command,
        "args": spec.args,
        "env": [{"name": v.name, "value": v.value} for v in spec.env],
        "ports": [{"name": p.name, "containerPort": p.port, "protocol": "TCP"} for p in spec.ports],
        "resources": {"requests": _amounts(spec.resources.requests), "limits": _amounts(spec.resources.limits)},
        "securityContext": _restricted(),
        "volumeMounts": [
            {"name": "credentials", "mountPath": agent.SECRETS_DIR, "readOnly": True},
            {"name": "identity", "mountPath": agent.IDENTITY_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a memory volume of this pod alone
        ],
    }


def _volumes(runtime: Runtime, platform: Platform) -> list[dict[str, Any]]:
    def token(name: str, audience: str) -> dict[str, Any]:
        # Keycloak accepts exactly one audience, so each backend needs its own token
        source = {"serviceAccountToken": {"path": "token", "audience": audience, "expirationSeconds": TOKEN_SECONDS}}
        return {"name": name, "projected": {"defaultMode": 0o440, "sources": [source]}}

    def memory(name: str, size: str) -> dict[str, Any]:
        return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}}

    return [
        memory("credentials", "16Mi"),
        memory("agent-work", "16Mi"),
        memory("tmp", "64Mi"),
        {"name": "agent-config", "configMap": {"name": runtime.names.principal, "defaultMode": 0o440}},
        token("agent-token", VAULT_AUDIENCE),
        token("identity", platform.realm_issuer(runtime.tenant.realm)),
    ]


def _restricted() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _amounts(amounts: ResourceAmounts) -> dict[str, str]:
    wanted = {"cpu": amounts.cpu, "memory": amounts.memory}
    return {name: amount for name, amount in wanted.items() if amount}


def _vault_path(names: RuntimeNames, tenant: TenantNames, what: str) -> VaultPath:
    folder = {"policy": "sys/policies/acl", "role": f"auth/{RUNTIME_AUTH_MOUNT}/role"}[what]
    return VaultPath(tenant.vault_namespace, f"{folder}/{names.principal}")


def _client_uuid(names: RuntimeNames) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"axonos.ai/{names.namespace}/{names.principal}"))


def stale_records(recorded: Iterable[str], pods: Sequence[Manifest]) -> tuple[str, ...]:
    """Pod uids with a record of a served revision, whose pods are gone; at most `RECORDS_AT_ONCE`.

    Pods choose the names of their records: what is no uid is left alone, and goes with the tenant.
    """
    living = {pod["metadata"]["uid"] for pod in pods}
    stale = sorted(uid for uid in set(recorded) - living if _UID.fullmatch(uid))
    return tuple(stale[:RECORDS_AT_ONCE])
