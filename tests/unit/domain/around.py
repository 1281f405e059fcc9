"""What the tests of the domain make bindings from, and judge them by."""

import datetime
from collections.abc import Sequence
from typing import Any

from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.vault import Database
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain.binding import Binding, Surroundings, candidates
from axon_operator.domain.consent import Consent
from axon_operator.domain.issue import Issued
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.rotation import Generation

TENANT = TenantNames("acme", "7f3f6c2e-0000-4000-8000-000000000001")
NAMES = RuntimeNames("axon-acme", "agent", "7f3f6c2e-0000-4000-8000-000000000002")
IMAGE = WorkflowRuntimeSpec.model_validate({"image": "registry.example/agent:1"})
USER = "7f3f6c2e-0000-4000-8000-000000000003"
NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
ORDERS = Database.model_validate(
    {
        "name": "orders",
        "host": "db.example",
        "database": "orders",
        "username": "axon",
        "credentialSecretRef": {"name": "orders"},
        "roles": [{"name": "reader", "memberOf": ["orders_read"]}, {"name": "writer", "memberOf": ["orders_write"]}],
    }
)
FILE: dict[str, Any] = {"file": {"path": "credential.json"}}


def bound(
    source: dict[str, Any], name: str = "b", *, uid: str = "", created: str = "2026-01-01T00:00:00Z", **spec: Any
) -> Binding:
    """A binding of that source; by default with a file of its own."""
    body = {"runtimeRef": {"name": "agent"}, "source": source, "delivery": {"file": {"path": f"{name}.json"}}, **spec}
    return Binding(name, uid or f"uid-{name}", created, SecretBindingSpec.model_validate(body))


def around(
    runtime: WorkflowRuntimeSpec = IMAGE, databases: Sequence[Database] = (ORDERS,), revision: str = "0123456789ab"
) -> Surroundings:
    """Of a runtime of a tenant with one database."""
    consent = Consent(TENANT.tenant, NAMES.uid, revision)
    return Surroundings(NAMES, TENANT, runtime, consent, databases, (), (), None, "cluster.local")


def issued(binding: Binding, number: int = 1, surroundings: Surroundings | None = None, kv_path: str = "") -> Issued:
    """The binding as it is delivered."""
    source, where = binding.spec.source, surroundings or around()
    kept = next(iter(candidates(source, where)[::-1]), "")
    is_made = binding.spec.is_issued
    generation = Generation(binding.uid, number if is_made else 0, NOW if is_made else None, "")
    return Issued(binding, generation, where, kv_path or kept, 1)
