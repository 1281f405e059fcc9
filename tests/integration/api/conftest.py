"""kubectl on a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from axon_operator.backends.kubernetes.adapter import KubernetesApi
from axon_operator.domain.names import REQUESTED_BY_ANNOTATION
from axon_testbed.layout import MANIFESTS
from e2e.support.cluster import GLASS_ANNOTATION
from e2e.support.kubectl import Json, Kubectl
from e2e.support.shell import Result
from e2e.support.waiting import until_true
from servers.kube import KubeServer, missing_binaries

INSTALL = MANIFESTS / "install"
OPERATOR = "system:serviceaccount:axon-system:axon-operator"
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "verbs": ["create", "update", "patch", "delete"]}, {"level": "None"}],
}


class As:
    """kubectl as somebody else; how the API server decides is the same as with their token."""

    def __init__(self, kubectl: Kubectl, user: str, *groups: str) -> None:
        self._kubectl = kubectl
        self._who = ["--as", user, *(f"--as-group={group}" for group in groups)]

    def __call__(self, *args: str, stdin: str | None = None) -> Result:
        return self._kubectl.run(*self._who, *args, stdin=stdin)

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """RBAC's answer alone, without admission. Takes `resource/subresource`, which kubectl would read as a name."""
        resource, _, subresource = resource.partition("/")
        return self("auth", "can-i", verb, resource, f"--subresource={subresource}", "-n", namespace).ok


def break_glass(kubectl: Kubectl, namespace: str) -> None:
    """Gives the administrator a reason to change by hand what the operator made, and waits until it counts."""
    kubectl("annotate", "namespace", namespace, f"{GLASS_ANNOTATION}=changes by hand")
    probe = ("-n", namespace, "annotate", "networkpolicy", "axon-default-deny", "seen=yes", "--dry-run=server")
    until_true("the glass is broken", lambda: kubectl.run(*probe).ok)


@pytest.fixture(scope="session")
def installed(kubectl: Kubectl) -> Kubectl:
    """The same API server with CRDs, roles, admission policies and profiles as they are installed."""
    for file in ("crds.yaml", "namespace.yaml", "operator.yaml"):
        kubectl("apply", "--server-side", "--force-conflicts", "-f", str(INSTALL / file))
    kubectl("wait", "--for=condition=Established", "-f", str(INSTALL / "crds.yaml"), "--timeout=60s")
    kubectl("apply", "--server-side", "-f", str(INSTALL / "profiles.yaml"))
    # "established" comes a moment before the API server takes objects, and the policy that stamps them refuses a kind
    # whose schema it has not read yet
    tenant = {"apiVersion": "axonos.ai/v1alpha1", "kind": "Tenant", "metadata": {"name": "probe"}, "spec": {}}
    probe = ("create", "--dry-run=server", "-o", "yaml", "-f", "-")
    until_true(
        "Tenants are stamped", lambda: REQUESTED_BY_ANNOTATION in kubectl.run(*probe, stdin=json.dumps(tenant)).stdout
    )
    return kubectl


@pytest.fixture(scope="session")
def kubeconfig(installed: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the operator's service account."""
    config: Json = yaml.safe_load(installed.kubeconfig.read_text())
    namespace, name = OPERATOR.split(":")[2:]
    token = installed("-n", namespace, "create", "token", name, "--duration=1h").strip()
    config["users"][0]["user"] = {"token": token}
    path = tmp_path_factory.mktemp("operator") / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="session")
def operators(kubeconfig: Path) -> KubernetesApi:
    """The operator's own adapter, with its rights."""
    with pytest.MonkeyPatch.context() as patch:
        # the library has read KUBECONFIG when it was imported
        patch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        return KubernetesApi(timeout=30, connections=1)


@pytest.fixture(scope="session")
def kubectl(apiserver: KubeServer) -> Kubectl:
    """kubectl as administrator of an empty API server."""
    return Kubectl(apiserver.kubeconfig("admin", apiserver.kube.admin_token))


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    """An API server, empty at first, with an audit log of all writes."""
    if missing := missing_binaries():
        # built with the local node image; with a published one, tests/e2e asks the API server in the cluster
        pytest.skip(f"{' and '.join(missing)} not built: the test bed used a published node image")
    folder = tmp_path_factory.mktemp("apiserver")
    policy = folder / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(AUDIT))
    server = KubeServer(folder, audit_policy=policy)
    try:
        server.start()
        yield server
    finally:
        server.stop()
