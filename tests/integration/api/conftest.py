"""kubectl on a real API server."""

from collections.abc import Iterator

import pytest

from axon_testbed.layout import MANIFESTS
from e2e.support.kubectl import Kubectl
from e2e.support.shell import Result
from servers.kube import KubeServer, missing_binaries

INSTALL = MANIFESTS / "install"
OPERATOR = "system:serviceaccount:axon-system:axon-operator"


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


@pytest.fixture(scope="session")
def installed(kubectl: Kubectl) -> Kubectl:
    """The same API server with CRDs, roles and admission policies as they are installed."""
    for file in ("crds.yaml", "namespace.yaml", "operator.yaml"):
        kubectl("apply", "--server-side", "-f", str(INSTALL / file))
    kubectl("wait", "--for=condition=Established", "-f", str(INSTALL / "crds.yaml"), "--timeout=60s")
    return kubectl


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl as administrator of an empty API server."""
    if missing := missing_binaries():
        # built with the local node image; with a published one, tests/e2e asks the API server in the cluster
        pytest.skip(f"{' and '.join(missing)} not built: the test bed used a published node image")
    server = KubeServer(tmp_path_factory.mktemp("apiserver"))
    try:
        kube = server.start()
        yield Kubectl(server.kubeconfig("admin", kube.admin_token))
    finally:
        server.stop()
