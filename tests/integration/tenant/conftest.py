"""API server, OpenBao and Keycloak as plain processes, and tenants that live on them."""

import base64
import datetime
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final

import pytest

from axon_operator.domain.names import HOST_LABEL, PURPOSE_LABEL, TENANT_LABEL
from axon_operator.reconcile.sweep import Report, Sweep
from axon_operator.reconcile.sweep.orphans import Graces
from axon_operator.reconcile.tenant import TenantReconciler
from bench.bed import Bed, bed
from bench.life import Life, as_operator, backends_of
from bench.population import NOBODY
from e2e.support.settings import OPERATOR_NAMESPACE
from servers.postgres import Postgres
from servers.slapd import Slapd

PEOPLE: Final = {"dora": "dora-at-corp-1", "emil": "emil-at-corp-1"}
"""Those in the directory, with their passwords."""

ADMINISTRATORS: Final = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets"
"""Where credentials for the operator are kept."""

NewTenant = Callable[[Mapping[str, Any]], Life]
"""Declares a Tenant with this spec, under a name of its own."""


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """With the operator's rights and admission policies; the operator's process is not started."""
    with bed(tmp_path_factory.mktemp("bed"), NOBODY) as running, as_operator(running):
        yield running


@pytest.fixture(scope="session")
def slapd(servers: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """A directory behind TLS, whose authority Keycloak trusts."""
    folder = tmp_path_factory.mktemp("slapd")
    directory = Slapd(folder / "slapd", servers.keycloak.ca_file.parent, PEOPLE, {"staff": "dora"})
    directory.start()
    yield directory
    directory.stop()


@pytest.fixture(scope="session")
def new_tenant(servers: Bed) -> NewTenant:
    """Under the names tenant-1, tenant-2 and so on."""
    numbers = count(1)
    return lambda spec: Life(servers, f"tenant-{next(numbers)}", spec)


@pytest.fixture(scope="session")
def postgres(servers: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A database with TLS; its authority has its file on OpenBao's server."""
    folder = tmp_path_factory.mktemp("postgres")
    server = Postgres(folder / "postgres", folder)
    server.start()
    yield server
    server.stop()


def sweep(tenant: Life) -> Report:
    """One that finds everything old enough; while it waits, the tenant's cluster goes on."""
    to = backends_of(tenant.settings)
    tenants = TenantReconciler(to, tenant.settings.platform())
    return Sweep(
        to,
        Graces(access=0, tenant=0),
        lambda gone: tenants.plan(tenants.gather(gone, ask=True)),
        audit=lambda *_: None,
        now=lambda: datetime.datetime.now(datetime.UTC),
        pause=lambda _: tenant.cluster.step(),
    ).run()


def put_secret(
    servers: Bed, tenant: str, name: str, credential: str, *, purpose: str = "ldap", host: str = "127.0.0.1"
) -> None:
    """As the administrator who keeps it for the operator; replaces a former one of that name."""
    labels = {TENANT_LABEL: tenant, HOST_LABEL: host, PURPOSE_LABEL: purpose}
    data = {"credential": base64.b64encode(credential.encode()).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "data": data}
    servers.kube.call("DELETE", f"{ADMINISTRATORS}/{name}", also=404)
    servers.kube.call("POST", ADMINISTRATORS, body)
