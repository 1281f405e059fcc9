"""kubectl on a real API server."""

from collections.abc import Iterator

import pytest

from e2e.support.kubectl import Kubectl
from servers.kube import KubeServer, missing_binaries


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
