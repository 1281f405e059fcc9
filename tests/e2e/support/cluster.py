"""The cluster with its two backends, and our objects in it."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from e2e.support.api import Api
from e2e.support.https import Forwarded, Https, PortForward, ToApiServer
from e2e.support.keycloak import Keycloak
from e2e.support.kubectl import Json, Kubectl
from e2e.support.node import Node
from e2e.support.openbao import OpenBao
from e2e.support.settings import (
    KEYCLOAK_URL,
    KUBECONFIG,
    OPERATOR_NAMESPACE,
    TESTBED_NAMESPACE,
    VAULT_PARENT,
)
from e2e.support.shell import Result
from e2e.support.waiting import Unmet, until, until_true
from servers.browser import Browser

SECRETS_DIR = "/var/run/axon/secrets"
IDENTITY_TOKEN = "/var/run/axon/identity/token"
REQUEST_ANNOTATION = "axonos.ai/reconcile-requested-at"
GLASS_ANNOTATION = "axonos.ai/break-glass"


@dataclass(frozen=True)
class Ref:
    """One of our objects."""

    kind: str
    name: str
    namespace: str = ""

    @property
    def args(self) -> tuple[str, ...]:
        """As kubectl wants it."""
        where = ("-n", self.namespace) if self.namespace else ()
        return (*where, self.kind, self.name)

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


def tenant_ref(name: str) -> Ref:
    """A Tenant."""
    return Ref("tenant.axonos.ai", name)


def runtime_ref(tenant: str, name: str = "agent") -> Ref:
    """A WorkflowRuntime of a tenant."""
    return Ref("workflowruntime.axonos.ai", name, f"axon-{tenant}")


def binding_ref(tenant: str, name: str = "billing") -> Ref:
    """A SecretBinding of a tenant."""
    return Ref("secretbinding.axonos.ai", name, f"axon-{tenant}")


@dataclass(frozen=True)
class Pod:
    """A pod of a runtime, at one moment."""

    namespace: str
    name: str
    uid: str
    ip: str
    restarts: tuple[tuple[str, int], ...]
    """Container name and number of restarts."""
    started: str
    """When the workload's process started."""

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, int], ...], str]:
        """Changes when anything in the pod was restarted."""
        return self.uid, self.restarts, self.started


class Cluster:
    """Everything that a check needs."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        self._folder = tempfile.TemporaryDirectory(prefix="axon-e2e-")
        self._operator_http: dict[str, Https] = {}

    @classmethod
    def connect(cls) -> "Cluster":
        """The cluster of the test bed's kubeconfig."""
        if not KUBECONFIG.exists():
            raise SystemExit(f"There is no cluster: {KUBECONFIG} does not exist. Start one with `make up`.")
        return cls(Kubectl(KUBECONFIG))

    # -- the backends

    @cached_property
    def ca(self) -> Path:
        """The CA of both backends' certificates, as a file."""
        bundle = self.kubectl.need("-n", TESTBED_NAMESPACE, "configmap", "backend-ca")["data"]["ca.crt"]
        path = Path(self._folder.name) / "ca.crt"
        path.write_text(bundle)
        return path

    @cached_property
    def openbao(self) -> OpenBao:
        """OpenBao."""
        return OpenBao(Https(PortForward(self.kubectl, "openbao", "svc/openbao", 8200), self.ca), self.kubectl)

    @cached_property
    def keycloak(self) -> Keycloak:
        """Keycloak."""
        return Keycloak(Https(self._to_keycloak, self.ca), self.kubectl)

    @cached_property
    def _to_keycloak(self) -> PortForward:
        return PortForward(self.kubectl, "keycloak", "svc/keycloak", 8443)

    @cached_property
    def api(self) -> Api:
        """The API server, for those who ask it more often than there should be a kubectl."""
        return Api(Https(ToApiServer(self.kubectl), self.ca, scheme="http"))

    def browser(self) -> Browser:
        """A new one, for Keycloak's pages."""
        return Browser(KEYCLOAK_URL, self.ca, through=Forwarded(KEYCLOAK_URL, self._to_keycloak))

    def operator_http(self, pod: str) -> Https:
        """The metrics and probes of one of the operator's pods."""
        if pod not in self._operator_http:
            forward = PortForward(self.kubectl, OPERATOR_NAMESPACE, f"pod/{pod}", 8080)
            self._operator_http[pod] = Https(forward, self.ca, scheme="http")
        return self._operator_http[pod]

    @cached_property
    def node(self) -> Node:
        """The node's own processes and files."""
        return Node(self.kubectl)

    @contextmanager
    def openbao_away(self) -> Iterator[None]:
        """OpenBao hangs, as if its machine had: connections are accepted and nothing answers. It loses nothing."""
        process = self.node.main_process(self._openbao_container()["containerID"])
        self.node.signal(process, "STOP")
        try:
            yield
        finally:
            self.node.signal(process, "CONT")
            self.kubectl("-n", "openbao", "rollout", "status", "statefulset/openbao", "--timeout=60s")

    def kill_openbao(self) -> None:
        """Ends OpenBao's process with signal 9; returns when the kubelet has started another and its seal has opened."""
        before = self._openbao_container()
        self.node.signal(self.node.main_process(before["containerID"]), "KILL")

        def back() -> bool:
            now = self._openbao_container()
            return bool(now["restartCount"] > before["restartCount"] and now["ready"])

        until_true("OpenBao is back", back)

    def _openbao_container(self) -> Json:
        """Its status."""
        pods = self.kubectl.items("-n", "openbao", "pods", "-l", "app.kubernetes.io/name=openbao")
        status: Json = pods[0]["status"]["containerStatuses"][0]
        return status

    # -- our objects

    def condition(self, ref: Ref, kind: str) -> Json:
        """A condition of an object at its current generation; `Unmet` while there is none."""
        found = self.kubectl.get(*ref.args)
        if found is None:
            raise Unmet(f"{ref} does not exist")
        condition = condition_of(found, kind)
        if condition is None:
            raise Unmet(f"{ref} has no current {kind}: {told(found.get('status', {}).get('conditions', []))}")
        return condition

    def wait_condition(self, ref: Ref, kind: str, status: str, reason: str = "", *, timeout: float = 120) -> Json:
        """Waits until a condition has a status and, if given, a reason."""

        def probe() -> Json:
            condition = self.condition(ref, kind)
            if condition["status"] != status or (reason and condition["reason"] != reason):
                raise Unmet(told(self.kubectl.need(*ref.args)["status"]["conditions"]))
            return condition

        return until(f"{ref}: {kind}={status} {reason}".rstrip(), probe, timeout=timeout)

    def wait_ready(self, *refs: Ref, timeout: float = 180) -> None:
        """Waits until all objects are Ready at their current generation."""
        for ref in refs:
            self.wait_condition(ref, "Ready", "True", timeout=timeout)

    def wait_gone(self, *refs: Ref, timeout: float = 180) -> None:
        """Waits until the objects do not exist."""
        for ref in refs:

            def probe(ref: Ref = ref) -> None:
                found = self.kubectl.get(*ref.args)
                if found:
                    raise Unmet(told(found.get("status", {}).get("conditions", [])))

            until(f"{ref} gone", probe, timeout=timeout)

    def request_reconcile(self, ref: Ref, value: str) -> None:
        """Asks for a reconcile now; the value must be a new one."""
        self.kubectl("annotate", *ref.args, f"{REQUEST_ANNOTATION}={value}", "--overwrite")

    @cached_property
    def glass(self) -> Kubectl:
        """kubectl of an administrator who may break the glass: for looks into pods, and for changes by hand."""
        return self.kubectl.breaking_glass()

    def break_glass(self, *tenants: str) -> None:
        """States a reason in the tenants' namespaces, and waits until `glass` gets past the operator's walls there."""
        for tenant in tenants:
            reason = f"{GLASS_ANNOTATION}=end-to-end tests"
            self.glass("annotate", "namespace", f"axon-{tenant}", reason, "--overwrite")
        for tenant in tenants:
            # the API server sees the annotation a moment later
            change = ("annotate", "networkpolicy", "axon-default-deny", "seen=yes", "--dry-run=server")
            seen = partial(self.glass.run, "-n", f"axon-{tenant}", *change)
            until_true(f"the glass of {tenant} is broken", lambda seen=seen: seen().ok, timeout=30)  # type: ignore[misc]

    def vault_namespace(self, tenant: str) -> str:
        """The tenant's OpenBao namespace in full, `axon/t-…`."""
        status = self.kubectl.need(*tenant_ref(tenant).args)["status"]
        return f"{VAULT_PARENT}/{str(status['vaultNamespace']).removeprefix(f'{VAULT_PARENT}/')}"

    def principal(self, tenant: str, runtime: str = "agent") -> str:
        """The runtime's one name in all three systems."""
        return str(self.kubectl.need(*runtime_ref(tenant, runtime).args)["status"]["serviceAccount"])

    def write_secret(self, tenant: str, path: str, **values: str) -> None:
        """A new version of a secret of the tenant's organization."""
        self.openbao.write_secret(self.vault_namespace(tenant), path, **values)

    # -- pods

    def pods(self, tenant: str, runtime: str = "agent") -> list[Json]:
        """The runtime's pods, those on their way out included."""
        return self.kubectl.items("-n", f"axon-{tenant}", "pods", "-l", f"axonos.ai/runtime={runtime}")

    def pod(self, tenant: str, runtime: str = "agent") -> Pod:
        """The runtime's only running pod."""

        def probe() -> Pod:
            pods = [p for p in self.pods(tenant, runtime) if "deletionTimestamp" not in p["metadata"]]
            if len(pods) != 1:
                raise Unmet(f"{len(pods)} pods")
            return _pod(pods[0])

        return until(f"one running pod of {runtime_ref(tenant, runtime)}", probe)

    def workload(self, pod: Pod, *command: str, timeout: float = 30) -> Result:
        """Runs a command in the workload's container."""
        return self.glass.exec(pod.namespace, pod.name, "workload", *command, timeout=timeout)

    def sidecar(self, pod: Pod, script: str, *, timeout: float = 30) -> Result:
        """Runs a shell script in the `credentials` sidecar, which holds the pod's token for OpenBao."""
        return self.glass.exec(pod.namespace, pod.name, "credentials", "sh", "-c", script, timeout=timeout)

    def delivered(self, pod: Pod, file: str) -> str | None:
        """The content of a delivered file, or None if there is none."""
        result = self.workload(pod, "cat", f"{SECRETS_DIR}/{file}")
        return result.stdout if result.ok else None

    def wait_delivered(self, pod: Pod, file: str, part: str, *, timeout: float = 60) -> None:
        """Waits until a delivered file contains a text."""

        def probe() -> None:
            content = self.delivered(pod, file)
            if part not in (content or ""):
                raise Unmet("another content" if content else "no such file")

        until(f"{file} with the expected value in {pod.name}", probe, timeout=timeout)

    def reaches(self, pod: Pod, ip: str, port: int = 8080) -> bool:
        """Whether an HTTP server answers the workload of a pod, with a page or with an error of its own."""
        return answered(self.workload(pod, "timeout", "3", "wget", "-qO-", f"http://{ip}:{port}/"))

    # -- identities of runtimes

    def vault_jwt(self, tenant: str, runtime: str = "agent") -> str:
        """The token with which the runtime's pod logs in to OpenBao, read from the pod."""
        return self._read(self.sidecar(self.pod(tenant, runtime), 'cat "$JWT"'))

    def identity_token(self, tenant: str, runtime: str = "agent") -> str:
        """The token with which the runtime's workload logs in to its realm, read from the pod."""
        return self._read(self.workload(self.pod(tenant, runtime), "cat", IDENTITY_TOKEN))

    def vault_token(self, tenant: str, runtime: str = "agent") -> str:
        """An OpenBao token of the runtime."""
        answer = self.openbao.login(
            self.principal(tenant, runtime), self.vault_jwt(tenant, runtime), namespace=self.vault_namespace(tenant)
        )
        if not answer.ok:
            raise AssertionError(f"OpenBao refuses {tenant}'s own runtime: {answer.status} {answer.text}")
        return str(answer.body["auth"]["client_token"])

    @staticmethod
    def _read(result: Result) -> str:
        if not result.ok or not result.stdout.strip():
            raise AssertionError(f"no token in the pod: {result.output}")
        return result.stdout.strip()


def condition_of(found: Json, kind: str) -> Json | None:
    """A condition of an object, if it is about its current generation."""
    conditions: list[Json] = found.get("status", {}).get("conditions", [])
    condition = next((c for c in conditions if c["type"] == kind), None)
    return condition if condition and condition["observedGeneration"] == found["metadata"]["generation"] else None


def answered(wget: Result) -> bool:
    """Whether wget got through to a server."""
    return wget.ok or "server returned error" in wget.output


def realm_issuer(tenant: str) -> str:
    """The issuer of a tenant's realm."""
    return f"{KEYCLOAK_URL}/realms/axon-{tenant}"


def told(conditions: Iterable[Json]) -> str:
    """Conditions in one line each."""
    lines = [f"  {c['type']}={c['status']} {c['reason']}: {c['message']}" for c in conditions]
    return "\n".join(["", *lines]) if lines else "no conditions"


def _pod(manifest: Json) -> Pod:
    status: dict[str, Any] = manifest["status"]
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    workload = next((c for c in containers if c["name"] == "workload"), None)
    running = workload["state"].get("running") if workload else None
    if status["phase"] != "Running" or not running:
        raise Unmet(f"{manifest['metadata']['name']} is {status['phase']}")
    return Pod(
        manifest["metadata"]["namespace"],
        manifest["metadata"]["name"],
        manifest["metadata"]["uid"],
        status["podIP"],
        tuple(sorted((c["name"], c["restartCount"]) for c in containers)),
        running["startedAt"],
    )
