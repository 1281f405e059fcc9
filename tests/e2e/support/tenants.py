"""Tenants for tests: unique names, secrets that carry the canary, glass that is broken, removal at the end."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from e2e.support import samples
from e2e.support.cluster import Cluster, binding_ref, runtime_ref, tenant_ref

SECRET_PATH = "billing/stripe"
SECRET_KEY = "api_key"
SECRET_FILE = "billing.json"


@dataclass
class Tenants:
    """Makes tenants and remembers them."""

    cluster: Cluster
    canary: str
    """Part of every value that a test stores in OpenBao; the leak scan looks for it everywhere."""
    made: list[str] = field(default_factory=list)

    def value(self) -> str:
        """A new secret value."""
        return f"{self.canary}{secrets.token_hex(4)}"

    def name(self, prefix: str) -> str:
        """A name that no other run uses; the Tenant is removed at the end whoever creates it."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        self.made.append(name)
        return name

    def empty(self, prefix: str, **spec: Any) -> str:
        """A tenant that is Ready, with nothing in it."""
        name = self.name(prefix)
        self.cluster.kubectl.apply(samples.tenant(name, **spec))
        self.cluster.wait_ready(tenant_ref(name))
        self.cluster.break_glass(name)
        return name

    def running(self, prefix: str, **spec: Any) -> str:
        """A tenant with the runtime `agent`, which holds the credential `billing`; all Ready."""
        return self.several(prefix, 1, **spec)[0]

    def several(self, prefix: str, count: int, **spec: Any) -> list[str]:
        """Some tenants of that kind, made side by side."""
        names = [self.name(prefix) for _ in range(count)]
        self.cluster.kubectl.apply(*(samples.tenant(name, **spec) for name in names))
        for name in names:
            self.cluster.wait_ready(tenant_ref(name))
            self.cluster.break_glass(name)
            self.cluster.write_secret(name, SECRET_PATH, **{SECRET_KEY: self.value()})
        self.cluster.kubectl.apply(*(make(name) for name in names for make in (samples.runtime, samples.binding)))
        for name in names:
            self.cluster.wait_ready(runtime_ref(name), binding_ref(name))
        return names

    def remove(self) -> None:
        """Deletes all that still exist, and returns when they are gone."""
        if self.made:
            refs = [tenant_ref(name) for name in self.made]
            self.cluster.kubectl("delete", "tenants.axonos.ai", *self.made, "--ignore-not-found", "--wait=false")
            self.made.clear()
            self.cluster.wait_gone(*refs)
