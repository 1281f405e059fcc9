"""OpenBao and an API server as plain processes; the operator's adapter, logged in as in a cluster."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.domain.names import TenantNames
from integration.openbao.accounts import Accounts
from servers.bao import Bao
from servers.kube import Kube, KubeServer
from servers.postgres import Postgres

Connect = Callable[..., OpenBao]
SESSION_SECONDS = 4 * 3600
"""That all tests together may take: nobody renews the operator's token here."""


@pytest.fixture(scope="session")
def kube_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    server = KubeServer(tmp_path_factory.mktemp("kube"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def kube(kube_server: KubeServer) -> Kube:
    return kube_server.kube


@pytest.fixture(scope="session")
def bao(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    kube.service_account("openbao", "openbao")
    kube.service_account("axon-testbed", "admin")
    operator_uid = kube.service_account("axon-system", "axon-operator")
    server = Bao(tmp_path_factory.mktemp("openbao"), kube)
    try:
        server.start()
        server.bootstrap(operator_uid)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A database with TLS, in which the operator's tenants may have accounts made."""
    folder = tmp_path_factory.mktemp("postgres")
    server = Postgres(folder / "postgres", folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def token_file(kube: Kube, bao: Bao, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the kubelet would write it into the operator's pod."""
    path = tmp_path_factory.mktemp("projected") / "token"
    path.write_text(kube.token("axon-system", "axon-operator", "openbao", SESSION_SECONDS))
    return path


@pytest.fixture(scope="session")
def settings(bao: Bao, token_file: Path) -> OpenBaoSettings:
    return OpenBaoSettings(bao.address, bao.ca_file, token_file)


@pytest.fixture
def vault(settings: OpenBaoSettings) -> OpenBao:
    """The operator's adapter, not yet logged in."""
    return OpenBao(settings)


@pytest.fixture
def operator_token(bao: Bao, token_file: Path) -> str:
    """What somebody who stole the operator's token holds."""
    status, answer = bao.log_in("axon", "axon-operator", token_file.read_text())
    assert status == 200, answer
    token: str = answer["auth"]["client_token"]
    return token


@pytest.fixture
def tenant(request: pytest.FixtureRequest) -> TenantNames:
    """Names of a tenant that no other test uses."""
    return TenantNames("acme", f"uid of {request.node.nodeid}")


@pytest.fixture
def accounts(vault: OpenBao, bao: Bao, postgres: Postgres, tenant: TenantNames) -> Iterator[Accounts]:
    """Of a runtime that no object stands for."""
    made = Accounts(vault, bao, postgres, tenant)
    yield made
    made.clear()
