"""Accounts that OpenBao makes for a runtime in a real PostgreSQL, where the connection's own may make others and no more."""

import time

from axon_operator.backends.vault.adapter import OpenBao
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.resources import VaultPath
from axon_operator.domain.tenant import databases
from integration.openbao.tenants import issues, make
from servers.bao import Bao
from servers.postgres import Postgres

OWN = "axon"
CONNECTION = {
    "plugin_name": "postgresql-database-plugin",
    "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/orders?sslmode=verify-full",
    "username": OWN,
    "password": "c4n4ry",
    "allowed_roles": ["orders.*"],
    "root_rotation_statements": [],
    "username_template": "",
    "password_policy": "",
    "password_authentication": "scram-sha-256",
    "disable_escaping": False,
    "verify_connection": False,
}
_ROLES = ("orders_reader", "orders_writer")
_PATIENCE = 10


def connect(vault: OpenBao, tenant: TenantNames, **more: object) -> VaultPath:
    """A connection of the tenant, as the operator makes it; without more its database need not be there."""
    at = databases.connection_at(tenant, "orders")
    vault.write(databases.mount(tenant).at, databases.mount(tenant).body)
    vault.write(at, {**CONNECTION, **more})
    return at


class Accounts:
    """Of one runtime, in one database."""

    def __init__(self, vault: OpenBao, bao: Bao, postgres: Postgres, tenant: TenantNames) -> None:
        self.vault, self.postgres, self.tenant, self._bao = vault, postgres, tenant, bao
        make(vault, tenant)
        self._prepare()
        where = f"127.0.0.1:{postgres.port}/postgres?sslmode=verify-full&sslrootcert={postgres.ca}"
        url = f"postgresql://{{{{username}}}}:{{{{password}}}}@{where}"
        at = connect(vault, tenant, connection_url=url, verify_connection=True)
        vault.write(VaultPath(at.namespace, "database/rotate-root/orders"), {})
        role = issues(RuntimeNames(tenant.namespace, "lost", "uid-lost"), tenant)["database"]
        vault.write(role.at, role.body)
        self.role = role.at.path.rpartition("/")[2]

    def make(self) -> tuple[str, str]:
        data = self._bao.admin("GET", f"axon/{self.tenant.vault_namespace}", f"database/creds/{self.role}")
        return data["username"], data["password"]

    def password(self, kept: str) -> str:
        """Of an account that OpenBao keeps, as a pod would read it."""
        path = f"database/static-creds/{kept}"
        return str(self._bao.admin("GET", f"axon/{self.tenant.vault_namespace}", path)["password"])

    def revoke(self) -> None:
        """As the operator."""
        prefix = f"sys/leases/revoke-prefix/database/creds/{self.role}"
        self.vault.write(VaultPath(self.tenant.vault_namespace, prefix), {"sync": True})

    def left(self) -> tuple[str, ...]:
        """Roles by which accounts were made that are still good."""
        return self.vault.list(VaultPath(self.tenant.vault_namespace, "sys/leases/lookup/database/creds"))

    def known(self, name: str) -> str:
        """What the database says of an account: whether it may log in, and how many roles it has; empty if it is gone."""
        roles = "SELECT count(*) FROM pg_auth_members WHERE member = r.oid"
        return self.postgres.sql(f"SELECT rolcanlogin, ({roles}) FROM pg_roles r WHERE rolname = '{name}'")

    def wait(self, query: str) -> None:
        """Until a session runs that."""
        deadline = time.monotonic() + _PATIENCE
        while self.postgres.sql(f"SELECT count(*) FROM pg_stat_activity WHERE query = '{query}'") == "0":
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def clear(self) -> None:
        """Nothing is left in the database."""
        self.revoke()
        self.vault.delete(databases.mount(self.tenant).at)
        self.postgres.sql(f"DROP TABLE orders CASCADE; DROP OWNED BY {', '.join((*_ROLES, OWN))} CASCADE")
        for name in (*_ROLES, OWN):
            self.postgres.sql(f"DROP ROLE {name}")

    def _prepare(self) -> None:
        for name in _ROLES:
            self.postgres.sql(f"CREATE ROLE {name}")
        self.postgres.account(OWN, str(CONNECTION["password"]))
        # a table in which the connection's own account has no right
        self.postgres.sql("CREATE TABLE orders (id int); INSERT INTO orders VALUES (7)")
        self.postgres.sql("GRANT SELECT ON orders TO orders_reader; GRANT CREATE ON SCHEMA public TO orders_writer")
