"""A tenant with everything that credentials can come from, and what its workloads hold."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from e2e.support import samples
from e2e.support.cluster import Cluster, Pod, Ref, binding_ref, runtime_ref, tenant_ref
from e2e.support.database import CONNECTION, IMAGE, PORT, ROLE, Database, account_in
from e2e.support.kubectl import Json
from e2e.support.peer import PORT as PEER_PORT
from e2e.support.settings import DATABASE_ADDRESS
from e2e.support.tenants import Tenants
from e2e.support.user import User
from e2e.support.waiting import Unmet

IDLE = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"
TO_THE_DATABASE = [{"cidr": f"{DATABASE_ADDRESS}/32", "ports": [PORT]}]
TO_THE_PEER = [{"cidr": f"{DATABASE_ADDRESS}/32", "ports": [PEER_PORT]}]
ALLOWED = {"egress": [{"cidr": "203.0.113.0/24", "ports": [443, PORT, PEER_PORT]}]}
ACCOUNT = {"database": {"connection": CONNECTION, "role": ROLE}}
ACCOUNT_FILE = {"file": {"path": "orders.env", "format": "dotenv"}}
CERTIFICATE_FILE = {"file": {"path": "tls.pem", "format": "pem"}}
LOGIN = (
    ". /var/run/axon/secrets/orders.env;"
    ' PGPASSWORD=$password psql "host=$host port=$port user=$username dbname=$database sslmode=require" -tAqX'
)
"""In the workload, with what was delivered."""


def granted(user: User) -> Json:
    """A `source`."""
    return {"grant": {"user": user.sub, "path": "github/token", "keys": ["token"]}}


def variable(name: str, key: str, **more: str) -> Json:
    """A `delivery`."""
    return {"env": {"variables": [{"name": name, "key": key}], **more}}


@dataclass(frozen=True)
class House:
    """A tenant with a database, where credentials are delivered."""

    cluster: Cluster
    database: Database
    tenant: str
    vault: str
    """Its OpenBao namespace."""

    @classmethod
    def open(cls, cluster: Cluster, database: Database, tenants: Tenants, prefix: str) -> "House":
        """A new one, with room for some hundred pods. Its people need no second factor: what a factor is worth is
        another test's subject."""
        name = tenants.name(prefix)
        room = {"cpu": "100", "memory": "64Gi", "pods": 120}
        spec = {"vault": database.let_in(name), "network": ALLOWED, "identity": {"mfa": "None"}, "quota": room}
        cluster.kubectl.apply(samples.tenant(name, **spec))
        cluster.wait_ready(tenant_ref(name))
        cluster.wait_condition(tenant_ref(name), "DatabasesReady", "True")
        cluster.break_glass(name)
        return cls(cluster, database, name, cluster.vault_namespace(name))

    # -- bindings

    def declare(self, runtime: str, **spec: Any) -> None:
        """A runtime without credentials; its image has a client for the database."""
        program = {"image": IMAGE, "command": ["/bin/sh", "-c"], "args": [IDLE], "ports": []}
        limits = {
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}}
        }
        self.cluster.kubectl.apply(samples.runtime(self.tenant, runtime, **{**program, **limits, **spec}))
        self.cluster.wait_ready(runtime_ref(self.tenant, runtime), timeout=60)

    def start(self, runtime: str, **spec: Any) -> Pod:
        """The same, and its pod."""
        self.declare(runtime, **spec)
        return self.cluster.pod(self.tenant, runtime)

    def bind(self, name: str, source: Json, delivery: Json, *, runtime: str = "agent", **spec: Any) -> Ref:
        """One more credential, delivered."""
        ref = binding_ref(self.tenant, name)
        body = {"runtimeRef": {"name": runtime}, "source": source, "delivery": delivery, **spec}
        self.cluster.kubectl.apply(samples.binding(self.tenant, name, **body))
        self.cluster.wait_ready(ref, timeout=60)
        return ref

    def edit(self, ref: Ref, **spec: Any) -> None:
        """Changes fields of a binding's or runtime's spec, and waits for nothing."""
        self.cluster.kubectl("patch", *ref.args, "--type=merge", "-p", json.dumps({"spec": spec}))

    def rotate(self, *refs: Ref) -> None:
        """Asks for the next generation, and waits until it is served."""
        for ref in refs:
            self.edit(ref, rotationTrigger=secrets.token_hex(4))
        self.cluster.wait_ready(*refs, timeout=60)

    def delete(self, ref: Ref) -> None:
        """Waits until the object is gone."""
        self.cluster.kubectl("delete", *ref.args, "--timeout=90s", timeout=100)

    # -- pods

    def read(self, file: str, runtime: str = "agent") -> str | None:
        """What the workload reads."""
        return self.cluster.delivered(self.cluster.pod(self.tenant, runtime), file)

    def account(self, runtime: str = "agent") -> tuple[str, str]:
        """User name and password, as the workload reads them."""
        found = account_in(self.read("orders.env", runtime) or "")
        return found["username"], found["password"]

    def query(self, statement: str, runtime: str = "agent") -> str:
        """What the workload is told by the database, with the account that it was given."""
        pod = self.cluster.pod(self.tenant, runtime)
        return self.cluster.workload(pod, "sh", "-c", f'{LOGIN} -c "{statement}"').output.strip()

    def variables(self, runtime: str) -> dict[str, str]:
        """The environment of the workload's first process."""
        pod = self.cluster.pod(self.tenant, runtime)
        lines = self.cluster.workload(pod, "cat", "/proc/1/environ").stdout.split("\0")
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def sidecar_process(self, runtime: str) -> int:
        """Of the runtime's only pod, on the node."""
        (pod,) = self.cluster.pods(self.tenant, runtime)
        statuses = pod["status"]["initContainerStatuses"]
        return self.cluster.node.main_process(next(s["containerID"] for s in statuses if s["name"] == "credentials"))

    def agent_process(self, runtime: str) -> int:
        """On the node: the child of the sidecar's shell that is called bao and goes on; `Unmet` while there is none."""
        script = f"grep -lE '^PPid:[[:space:]]+{self.sidecar_process(runtime)}$' /proc/[0-9]*/status | cut -d/ -f3 | while read -r p; do tr '\\0' ' ' </proc/$p/cmdline | grep -q '^bao agent' && echo $p; done; true"
        found = self.cluster.node.sh(script).split()
        if len(found) != 1:
            raise Unmet(f"{len(found)} agents")
        return int(found[0])

    # -- what there is of a binding in OpenBao

    def issues(self, name: str = "") -> list[str]:
        """Names of what was made for a binding, or for all."""
        folders = ("database/roles", "pki/roles", "kv/metadata/generated")
        return self._of(name, folders)

    def leases(self, name: str = "") -> list[str]:
        """By which of them something was given that is still good."""
        return self._of(name, ("sys/leases/lookup/database/creds", "sys/leases/lookup/pki/issue"))

    def _of(self, name: str, folders: tuple[str, ...]) -> list[str]:
        found = [n.rstrip("/") for folder in folders for n in self.cluster.openbao.names(self.vault, folder)]
        return [n for n in found if f".{name}-" in n] if name else found

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        """Whether it is on the authority's list."""
        found = self.cluster.openbao.admin("GET", "pki/cert/crl", namespace=self.vault)
        assert found
        crl = x509.load_pem_x509_crl(found["data"]["certificate"].encode())
        return crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None

    def authority(self) -> x509.Certificate:
        """The tenant's own."""
        found = self.cluster.openbao.admin("GET", "pki/issuer/authority", namespace=self.vault)
        assert found
        return x509.load_pem_x509_certificate(found["data"]["certificate"].encode())
