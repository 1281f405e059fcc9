"""What a cluster's own controllers, its kubelet and the sidecars do for one tenant, where none of them is there."""

from collections.abc import Mapping
from typing import Any, Final

from axon_operator.domain.names import STATUS_MOUNT, TenantNames
from axon_operator.domain.resources import (
    BINDING,
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    LEASE,
    NAMESPACE,
    POD,
    RESOURCE_QUOTA,
    RESOURCES,
    RUNTIME,
    SERVICE_ACCOUNT,
    Manifest,
    Ref,
    ref_of,
)
from axon_operator.domain.runtime import VAULT_AUDIENCE
from axon_operator.domain.values import as_planned
from bench.pods import pod_of, running
from servers.bao import Bao, patiently
from servers.kube import Kube

IN_NAMESPACES: Final = tuple(r for r in RESOURCES.values() if r.namespaced and r not in {EVENT, LEASE})
"""The kinds that the operator makes, and pods."""
_FORBIDDEN: Final = 403
_COUNTS: Final = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")


class Cluster:
    """Everybody's next step, whenever it is asked for it."""

    def __init__(self, kube: Kube, bao: Bao, tenant: TenantNames) -> None:
        self._kube = kube
        self._bao = bao
        self._tenant = tenant
        self._served: dict[str, str] = {}
        """Uid of a pod to the name of the set of files that it has recorded."""

    def step(self) -> bool:
        """Whether anybody did anything."""
        namespace = self._kube.find(Ref(NAMESPACE, "", self._tenant.namespace))
        if namespace is None:
            return False
        if "deletionTimestamp" in namespace["metadata"]:
            return self._end(namespace)
        return any([self._quotas(), self._pods(), self._sidecars()])

    def _list(self, *resources: Any) -> list[Manifest]:
        return [m for resource in resources for m in self._kube.list(resource, namespace=self._tenant.namespace)]

    def _end(self, namespace: Manifest) -> bool:
        """The namespace controller's part; true until the namespace is gone."""
        left = self._list(*IN_NAMESPACES)
        for manifest in left:
            if "deletionTimestamp" not in manifest["metadata"]:
                self._kube.delete(ref_of(manifest))
        if not left:
            finalized = {**namespace, "spec": {"finalizers": []}}
            self._kube.call("PUT", f"/api/v1/namespaces/{self._tenant.namespace}/finalize", finalized)
        return any(m["kind"] not in {RUNTIME.kind, BINDING.kind} for m in left) or not left

    def _quotas(self) -> bool:
        """Without the status of a quota, no pod is admitted."""
        outdated = [m for m in self._list(RESOURCE_QUOTA) if (m.get("status") or {}).get("hard") != m["spec"]["hard"]]
        for quota in outdated:
            hard = quota["spec"]["hard"]
            self._kube.set_status(ref_of(quota), {"hard": hard, "used": dict.fromkeys(hard, "0")})
        return bool(outdated)

    def _pods(self) -> bool:
        """The Deployment's controller's and the kubelet's part: pods of the current template, all running."""
        deployments = self._list(DEPLOYMENT)
        planned = [pod_of(d, number) for d in deployments for number in range(d["spec"]["replicas"])]
        wanted = {pod["metadata"]["name"]: pod for pod in planned}
        live = {pod["metadata"]["name"]: pod for pod in self._list(POD)}
        outdated = [
            pod for name, pod in live.items() if name not in wanted or not as_planned(pod["spec"], wanted[name]["spec"])
        ]
        for pod in outdated:
            self._kube.delete(ref_of(pod))
        refused = {name: self._start(pod) for name, pod in wanted.items() if name not in live}
        # not a list comprehension inside any(): every Deployment gets its status
        counted = [self._count(deployment, refused) for deployment in deployments]
        return bool(outdated or any(why is None for why in refused.values()) or any(counted))

    def _start(self, pod: Manifest) -> str | None:
        """Why the API server does not admit it."""
        pods = f"/api/v1/namespaces/{self._tenant.namespace}/pods"
        made = self._kube.call("POST", pods, pod, also=_FORBIDDEN)
        if made["kind"] == "Status":
            return str(made["message"])
        self._kube.set_status(ref_of(made), running(pod))
        return None

    def _count(self, deployment: Manifest, refused: Mapping[str, str | None]) -> bool:
        names = [pod_of(deployment, number)["metadata"]["name"] for number in range(deployment["spec"]["replicas"])]
        failures = [why for name in names if (why := refused.get(name))]
        status: dict[str, Any] = {"observedGeneration": deployment["metadata"]["generation"]}
        # the API server drops zeros
        if count := len(names) - len(failures):
            status |= dict.fromkeys(_COUNTS, count)
        if failures:
            failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failures[0]}
            status["conditions"] = [failure]
        if deployment.get("status") == status:
            return False
        self._kube.set_status(ref_of(deployment), status)
        return True

    def _sidecars(self) -> bool:
        """Each pod logs in and records the published set, as soon as OpenBao lets it."""
        published = {
            m["metadata"]["name"]: m["data"]["revision"].strip() for m in self._list(CONFIG_MAP) if "data" in m
        }
        served = [self._serve(pod, published.get(pod["spec"]["serviceAccountName"], "")) for pod in self._list(POD)]
        return any(served)

    def _serve(self, pod: Manifest, published: str) -> bool:
        uid, principal = pod["metadata"]["uid"], pod["spec"]["serviceAccountName"]
        account = Ref(SERVICE_ACCOUNT, self._tenant.namespace, principal)
        if not published or self._served.get(uid) == published or self._kube.find(account) is None:
            return False
        home = f"axon/{self._tenant.vault_namespace}"
        jwt = self._kube.token(account.namespace, principal, VAULT_AUDIENCE)
        status, login = patiently(lambda: self._bao.log_in(home, principal, jwt))
        if status != 200:
            return False
        record = f"{STATUS_MOUNT}/{principal}/{uid}"
        token = login["auth"]["client_token"]
        status, _ = patiently(lambda: self._bao.call("POST", home, record, token, {"revision": published}))
        if status >= 400:
            return False
        self._served[uid] = published
        return True
