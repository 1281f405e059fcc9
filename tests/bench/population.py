"""Ten thousand settled objects, written in bulk: what the operator and Kubernetes' own controllers would have made.

All that is planned comes from `domain/`, the conditions from `reconcile/engine/summary`; nothing is written down
twice. There is no kubelet and no controller here, so the status of Deployments, quotas and pods is written as they
would: one running pod with a running sidecar per runtime. Whether this is right shows at once: over a settled
population the operator writes nothing.
"""

import datetime
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.progress import track

from axon_operator.api.reasons import ConditionType
from axon_operator.api.tenant import Network, TenantSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.backends.vault.port import Vault
from axon_operator.domain import runtime as runtimes
from axon_operator.domain.agent import revision_of
from axon_operator.domain.binding import Secret, kept_paths
from axon_operator.domain.issue import Issued
from axon_operator.domain.names import FINALIZER, REVISION_ANNOTATION, USER_AUTH_MOUNT, RuntimeNames, TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import (
    BINDING,
    DEPLOYMENT,
    NAMESPACE,
    RESOURCE_QUOTA,
    RUNTIME,
    TENANT,
    Manifest,
    RealmPath,
    Ref,
    Resource,
    VaultPath,
    ref_of,
)
from axon_operator.domain.runtime.pods import deployment as planned_deployment
from axon_operator.domain.runtime.vault import served_path, vault_policy, vault_role
from axon_operator.domain.tenant import kubernetes as tenant_kubernetes
from axon_operator.domain.tenant import realm as tenant_realm
from axon_operator.domain.tenant import vault as tenant_vault
from axon_operator.reconcile.engine.plan import Outcome, Stage, StageOutcome
from axon_operator.reconcile.engine.summary import Observation, conditions
from axon_operator.reconcile.views import TenantView, as_binding, delivered, surroundings
from bench.pods import pod_of, running
from servers.bao import Bao
from servers.kube import Kube

BINDINGS_PER_RUNTIME: Final = 4
_THREADS: Final = 8
_REALM_THREADS: Final = 2
"""Each realm occupies a core, and its transaction lasts the longer the more are made beside it."""
_RUNTIME_CONDITIONS: Final = (
    ConditionType.IDENTITY_READY,
    ConditionType.VAULT_READY,
    ConditionType.NETWORK_READY,
    ConditionType.CREDENTIALS_READY,
    ConditionType.WORKLOAD_READY,
)
_TENANT_CONDITIONS: Final = (
    ConditionType.NAMESPACE_READY,
    ConditionType.VAULT_READY,
    ConditionType.IDENTITY_READY,
    ConditionType.LOGIN_READY,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Size:
    """How many objects, and how they are spread."""

    tenants: int
    runtimes: int
    largest: int
    """Runtimes of the first tenant; the others share the rest evenly."""

    @property
    def objects(self) -> int:
        """Runtimes and bindings."""
        return self.runtimes * (1 + BINDINGS_PER_RUNTIME)

    def shares(self) -> list[int]:
        """Runtimes of each tenant."""
        rest, others = self.runtimes - self.largest, self.tenants - 1
        return [self.largest, *(rest // others + (n < rest % others) for n in range(others))]


def spread(scale: float) -> Size:
    """2,000 runtimes and 8,000 bindings of 50 tenants, times `scale`."""
    count, runtimes_ = max(2, round(50 * math.sqrt(scale))), max(4, round(2000 * scale))
    return Size(count, runtimes_, math.ceil(runtimes_ / count))


def skewed(scale: float) -> Size:
    """The same number of objects, half of them in one tenant."""
    even = spread(scale)
    return Size(even.tenants, even.runtimes, even.runtimes // 2)


NOBODY: Final = Size(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A seeded tenant."""

    names: TenantNames
    runtimes: tuple[str, ...]


class Population:
    """Makes tenants, runtimes and bindings in the three systems."""

    def __init__(self, kube: Kube, bao: Bao, vault: Vault, keycloak: Keycloak, platform: Platform) -> None:
        """`vault` and `keycloak`: the operator's own adapters, since only who makes a realm may manage it."""
        self._kube = kube
        self._bao = bao
        self._vault = vault
        self._keycloak = keycloak
        self._platform = platform
        self._cluster: str = kube.get(Ref(NAMESPACE, "", "kube-system"))["metadata"]["uid"]

    def make(self, size: Size) -> tuple[Tenant, ...]:
        """All of it; progress goes to standard error."""
        shares = size.shares()
        names = _in_parallel("tenants", self._tenant, [f"t{n:02d}" for n in range(size.tenants)])
        jobs = [(tenant, f"r{n:04d}") for tenant, share in zip(names, shares, strict=True) for n in range(share)]
        made = _in_parallel("runtimes with their bindings", lambda job: self._runtime(*job), jobs)
        clients = {tenant.tenant: [m.client for m in made if m.tenant == tenant] for tenant in names}
        _in_parallel("realms with their clients", lambda t: self._realm(t, clients[t.tenant]), names, _REALM_THREADS)
        _in_parallel("quotas", lambda t: self._guards(t, len(clients[t.tenant])), names)
        _in_parallel("users' logins", self._logins, names)
        return tuple(Tenant(tenant, tuple(name for of, name in jobs if of == tenant)) for tenant in names)

    def _tenant(self, name: str) -> TenantNames:
        """The Tenant, its namespace and its OpenBao namespace with the organization's secrets."""
        made = self._kube.create(_object(TENANT, "", name, _TENANT_SPEC))
        names, spec = TenantNames(name, made["metadata"]["uid"]), TenantSpec.model_validate(_TENANT_SPEC)
        self._kube.create(tenant_kubernetes.namespace(names, spec))
        for resource in (
            tenant_vault.namespace(names, spec, self._cluster),
            *tenant_vault.contents(names, self._platform),
        ):
            written = resource.maker or resource
            self._vault.write(written.at, written.body)
        for path in PATHS:
            self._bao.admin("POST", f"axon/{names.vault_namespace}", f"kv/data/org/{path}", {"data": {"key": "v"}})
        status = {"namespace": names.namespace, "vaultNamespace": names.vault_namespace, "realm": names.realm}
        self._settle(made, _TENANT_CONDITIONS, status)
        return names

    def _logins(self, tenant: TenantNames) -> None:
        """After the realm: OpenBao fetches its keys."""
        mounts = self._vault.read(VaultPath(tenant.vault_namespace, "sys/auth")) or {}
        accessor = mounts[f"{USER_AUTH_MOUNT}/"]["accessor"]
        spec = TenantSpec.model_validate(_TENANT_SPEC)
        for resource in tenant_vault.logins(tenant, spec, self._platform, accessor):
            self._vault.write(resource.at, resource.body)

    def _guards(self, tenant: TenantNames, pods: int) -> None:
        """After the pods: without a quota controller, a quota that is there refuses them."""
        for guard in tenant_kubernetes.guards(tenant, TenantSpec.model_validate(_TENANT_SPEC), self._platform):
            made = self._kube.create(guard)
            if made["kind"] == RESOURCE_QUOTA.kind:
                used = {"pods": str(pods), "limits.cpu": "0", "limits.memory": "0"}
                self._kube.set_status(ref_of(made), {"hard": made["spec"]["hard"], "used": used})

    def _realm(self, tenant: TenantNames, clients: Sequence[dict[str, Any]]) -> None:
        """The clients one by one, 35 ms for each: inside a new realm more the more they are, and a partial import
        gives them other ids."""
        spec = TenantSpec.model_validate(_TENANT_SPEC)
        self._keycloak.create(RealmPath(""), tenant_realm.whole(tenant, spec, self._cluster, self._platform).body)
        for client in clients:
            self._keycloak.create(RealmPath(tenant.realm, ("clients",)), client)

    def _runtime(self, tenant: TenantNames, name: str) -> "_Made":
        """A runtime, its bindings and its children."""
        made = self._kube.create(_object(RUNTIME, tenant.namespace, name, _RUNTIME_SPEC))
        bindings = [
            self._kube.create(_object(BINDING, tenant.namespace, f"{name}-{n}", _binding_spec(name, n)))
            for n in range(BINDINGS_PER_RUNTIME)
        ]
        names = RuntimeNames(tenant.namespace, name, made["metadata"]["uid"])
        runtime = runtimes.Runtime(
            names=names,
            tenant=tenant,
            spec=WorkflowRuntimeSpec.model_validate(_RUNTIME_SPEC),
            bindings=_delivered(names, tenant, bindings, self._platform),
            callers=(),
            suspended=False,
            isolated=False,
        )
        account = self._children(runtime)
        status = {
            "replicas": 1,
            "readyReplicas": 1,
            "selector": ",".join(f"{label}={value}" for label, value in runtime.labels.items()),
            "serviceAccount": runtime.names.principal,
            "serviceAccountUID": account,
            "revision": revision_of(runtime.publication),
        }
        self._settle(made, _RUNTIME_CONDITIONS, status)
        for binding in bindings:
            served = {"revision": revision_of(runtime.publication), "consumers": {"ready": 1, "total": 1}}
            self._settle(binding, (ConditionType.DELIVERED,), served, message="Every pod serves it.")
        return _Made(tenant, dict(runtimes.keycloak_client(runtime).body))

    def _children(self, runtime: runtimes.Runtime) -> str:
        """Makes them; returns the uid of the service account."""
        account = self._kube.create(runtimes.service_account(runtime))
        for planned in (
            runtimes.network_policy(runtime, Network(), (), self._platform),
            runtimes.config_map(runtime, self._platform),
        ):
            assert planned is not None
            self._kube.create(planned)
        deployment = self._kube.create(planned_deployment(runtime, self._platform))
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), 1)
        generation = deployment["metadata"]["generation"]
        self._kube.set_status(ref_of(deployment), {"observedGeneration": generation, **counts})
        pod = self._kube.create(pod_of(deployment, 0, {REVISION_ANNOTATION: runtime.publication}))
        self._kube.set_status(ref_of(pod), running(pod))
        for resource in (vault_policy(runtime), vault_role(runtime, account["metadata"]["uid"])):
            self._vault.write(resource.at, resource.body)
        record = served_path(runtime.names, runtime.tenant, pod["metadata"]["uid"])
        self._bao.admin("POST", f"axon/{record.namespace}", record.path, {"revision": runtime.publication})
        return str(account["metadata"]["uid"])

    def _settle(
        self, made: Manifest, kinds: Iterable[ConditionType], extra: dict[str, Any], message: str = "As planned."
    ) -> None:
        """The status of an object of which everything is as planned."""
        generation = made["metadata"]["generation"]
        seen = Observation(
            outcome=Outcome(tuple(StageOutcome(Stage(kind, message=message)) for kind in kinds)),
            previous=(),
            generation=generation,
            now=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            deleting=False,
        )
        status = {**extra, "observedGeneration": generation, "conditions": [c.to_json() for c in conditions(seen)]}
        self._kube.set_status(ref_of(made), status)


def _delivered(
    names: RuntimeNames, tenant: TenantNames, made: Sequence[Manifest], platform: Platform
) -> tuple[Issued, ...]:
    """The bindings as a pass sees them that finds all their secrets, which have been written once."""
    spec = WorkflowRuntimeSpec.model_validate(_RUNTIME_SPEC)
    view = TenantView(tenant, TenantSpec.model_validate(_TENANT_SPEC), None, ready=True, deleting=False)
    candidates = [as_binding(b) for b in made]
    around = surroundings(names, spec, view, candidates, platform)
    found = {path: Secret(frozenset({"key"}), 1) for path in kept_paths(candidates, around)}
    now = datetime.datetime.now(datetime.UTC)
    return delivered(candidates, found, around, before={}, highest={}, now=now)


@dataclass(frozen=True, slots=True)
class _Made:
    tenant: TenantNames
    client: dict[str, Any]


PATHS: Final = tuple(f"app/secret-{n}" for n in range(BINDINGS_PER_RUNTIME))
_TENANT_SPEC: Final[dict[str, Any]] = {
    "quota": {"cpu": "4000", "memory": "4000Gi", "pods": 10000},
    # what it asks for beyond a new realm's own steps is not part of an import
    "identity": {"mfa": "None"},
}
_RUNTIME_SPEC: Final[dict[str, Any]] = {"image": "registry.example/agent:1"}


def _binding_spec(runtime: str, number: int) -> dict[str, Any]:
    return {
        "runtimeRef": {"name": runtime},
        "source": {"kv": {"path": PATHS[number], "keys": ["key"]}},
        "delivery": {"file": {"path": f"secret-{number}.json"}},
    }


def _object(resource: Resource, namespace: str, name: str, spec: dict[str, Any]) -> Manifest:
    metadata: dict[str, Any] = {"name": name, "finalizers": [FINALIZER]}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def _in_parallel(what: str, work: Callable[[Any], T], jobs: Sequence[Any], threads: int = _THREADS) -> list[T]:
    with ThreadPoolExecutor(threads) as pool:
        shown = track(pool.map(work, jobs), f"  {what}", len(jobs), console=Console(stderr=True))
        return list(shown)


def runtime_ref(tenant: Tenant, runtime: str) -> Ref:
    """One of the tenant's runtimes."""
    return Ref(RUNTIME, tenant.names.namespace, runtime)


def binding_ref(tenant: Tenant, runtime: str, number: int) -> Ref:
    """One of the runtime's bindings."""
    return Ref(BINDING, tenant.names.namespace, f"{runtime}-{number}")


def all_refs(tenant: Tenant) -> Iterator[Ref]:
    """The tenant, its runtimes and their bindings."""
    yield Ref(TENANT, "", tenant.names.tenant)
    for runtime in tenant.runtimes:
        yield runtime_ref(tenant, runtime)
        yield from (binding_ref(tenant, runtime, number) for number in range(BINDINGS_PER_RUNTIME))


def deployment_ref(tenant: TenantNames, principal: str) -> Ref:
    """A runtime's Deployment."""
    return Ref(DEPLOYMENT, tenant.namespace, principal)
