"""One cluster, one installed operator, tests one after the other."""

import secrets
from collections.abc import Iterator

import pytest

from e2e.support import operator
from e2e.support.cluster import Cluster
from e2e.support.database import Database
from e2e.support.tenants import Tenants
from e2e.support.traces import OperatorLog

ORDER = (
    "testbed",
    "kubectl",
    "bad_input",
    "attacks",
    "isolation",
    "lifecycle",
    "people",
    "bindings",
    "audit",
    "leader",
    "quiet",
    "crash",
    "orphans",
    "leaks",
)
"""Cheap doubts first, and the leak scan after everything that could have leaked."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the files in that order."""
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))


@pytest.fixture(scope="session")
def bare_cluster() -> Cluster:
    """The cluster, whether the operator is installed or not."""
    return Cluster.connect()


@pytest.fixture(scope="session")
def cluster(bare_cluster: Cluster) -> Cluster:
    """The cluster with the operator running as the chart installs it."""
    operator.install(bare_cluster)
    return bare_cluster


@pytest.fixture(scope="session")
def operator_log(cluster: Cluster) -> Iterator[OperatorLog]:
    """The operator's log since before the first test."""
    log = OperatorLog(cluster)
    yield log
    log.close()


@pytest.fixture(scope="session")
def canary() -> str:
    """The recognizable part of every secret value of this run."""
    return f"canary{secrets.token_hex(12)}"


@pytest.fixture(scope="session")
def database(cluster: Cluster) -> Iterator[Database]:
    """A PostgreSQL, for as long as a test needs one."""
    made = Database(cluster)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def tenants(cluster: Cluster, operator_log: OperatorLog, canary: str) -> Iterator[Tenants]:
    """Makes tenants, which are removed when the file's tests are done."""
    made = Tenants(cluster, canary)
    yield made
    made.remove()
