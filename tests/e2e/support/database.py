"""A PostgreSQL that is none of the cluster's: at an address outside its ranges, as a tenant's own database would be."""

import json
import secrets
import shlex
import subprocess

from e2e.support.cluster import Cluster
from e2e.support.kubectl import Json
from e2e.support.settings import DATABASE_ADDRESS, OPERATOR_NAMESPACE, TESTBED_NAMESPACE
from e2e.support.shell import Result

NAME = "database"
IMAGE = "docker.io/library/postgres:15-bookworm"
PORT = 5432
CONNECTION = "orders"
ROLE = "reader"
"""Of the connection; its accounts may read, and nothing else."""


class Database:
    """The real server, as its administrator sees it and as anyone with a password sees it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._secrets: list[str] = []
        self.remove()
        # on the node itself, which the network policies of tenants know as an address like any other
        cluster.node.sh(f"nsenter --target 1 --net ip address replace {DATABASE_ADDRESS}/32 dev lo")
        cluster.kubectl.apply(_pod(secrets.token_urlsafe(16)))
        cluster.kubectl("-n", TESTBED_NAMESPACE, "wait", "--for=condition=Ready", f"pod/{NAME}", "--timeout=90s")
        self.sql("CREATE TABLE orders AS SELECT 7 AS number")
        self.sql("CREATE TABLE salaries AS SELECT 1 AS amount")

    def remove(self) -> None:
        """With all that is in it, and what administrators keep for it."""
        self._cluster.kubectl("-n", TESTBED_NAMESPACE, "delete", "pod", NAME, "--ignore-not-found")
        if self._secrets:
            self._cluster.kubectl("-n", OPERATOR_NAMESPACE, "delete", "secret", "--ignore-not-found", *self._secrets)

    def let_in(self, tenant: str) -> Json:
        """What an administrator does for a Tenant, and writes into its `spec.vault`."""
        account, group, password = f"openbao-{tenant}", group_of(tenant), secrets.token_urlsafe(16)
        self.sql(f"CREATE ROLE \"{account}\" LOGIN CREATEROLE PASSWORD '{password}'")
        self.sql(f'CREATE ROLE "{group}"; GRANT SELECT ON orders TO "{group}"')
        self.sql(f'GRANT "{group}" TO "{account}" WITH ADMIN OPTION')
        labels = {"axonos.ai/tenant": tenant, "axonos.ai/host": DATABASE_ADDRESS, "axonos.ai/purpose": "database"}
        metadata = {"name": account, "namespace": OPERATOR_NAMESPACE, "labels": labels}
        self._secrets.append(account)
        self._cluster.kubectl.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"credential": password}}
        )
        declared = {
            "name": CONNECTION,
            "host": DATABASE_ADDRESS,
            "port": PORT,
            "database": "postgres",
            "ca": "testbed",
            "username": account,
            "credentialSecretRef": {"name": account},
            "roles": [{"name": ROLE, "memberOf": [group]}],
        }
        return {"databases": [declared]}

    def sql(self, statement: str) -> str:
        """As the server's administrator."""
        psql = f'PGPASSWORD="$POSTGRES_PASSWORD" psql -U postgres -v ON_ERROR_STOP=1 -tAqX -c {shlex.quote(statement)}'
        result = self._inside(psql)
        if not result.ok:
            raise AssertionError(f"the database refuses its administrator: {result.output}")
        return result.stdout.strip()

    def accounts(self, tenant: str) -> set[str]:
        """Those that OpenBao has made for a tenant."""
        members = (
            "SELECT m.rolname FROM pg_auth_members JOIN pg_roles m ON m.oid = member JOIN pg_roles g ON g.oid = roleid"
            f" WHERE g.rolname = '{group_of(tenant)}' AND m.rolname LIKE 'v-%'"
        )
        return set(self.sql(members).split())

    def knows(self, account: str) -> bool:
        """Whether there is an account of that name, whatever it may do."""
        return bool(self.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{account}'"))

    def lets_in(self, account: str, password: str) -> bool:
        """Whether that is the password of an account, over a verified connection."""
        where = f"host={DATABASE_ADDRESS} user={account} dbname=postgres sslmode=verify-full sslrootcert=/ca/ca.crt"
        return self._inside(f"PGPASSWORD={shlex.quote(password)} psql '{where}' -tAqXc 'SELECT 1'").ok

    def start(self, script: str) -> "subprocess.Popen[str]":
        """A shell script beside the server that goes on, for its lines."""
        return self._cluster.kubectl.start(TESTBED_NAMESPACE, NAME, "postgres", "sh", "-c", script)

    def _inside(self, script: str) -> Result:
        return self._cluster.kubectl.exec(TESTBED_NAMESPACE, NAME, "postgres", "sh", "-c", script)


def group_of(tenant: str) -> str:
    """The role that holds the rights, in which the accounts of a tenant are members."""
    return f"reader-{tenant}"


def account_in(file: str) -> dict[str, str]:
    """What a delivered file in the format dotenv says."""
    return {name: str(json.loads(value)) for name, value in (line.split("=", 1) for line in file.splitlines())}


def _pod(password: str) -> Json:
    settings = {
        "listen_addresses": DATABASE_ADDRESS,
        "ssl": "on",
        "ssl_cert_file": "/tls/tls.crt",
        "ssl_key_file": "/tls/tls.key",
        "fsync": "off",
    }
    container = {
        "name": "postgres",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": [f"-c{name}={value}" for name, value in settings.items()],
        "env": [
            {"name": "POSTGRES_PASSWORD", "value": password},
            {"name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata"},
        ],
        "readinessProbe": {"exec": {"command": ["pg_isready", "-q", "-h", DATABASE_ADDRESS]}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/postgresql/data"},
            {"name": "tls", "mountPath": "/tls", "readOnly": True},
            {"name": "ca", "mountPath": "/ca", "readOnly": True},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "namespace": TESTBED_NAMESPACE},
        "spec": {
            "hostNetwork": True,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 999, "runAsGroup": 999, "fsGroup": 999},
            "containers": [container],
            "volumes": [
                {"name": "data", "emptyDir": {}},
                {"name": "tls", "secret": {"secretName": "database-tls", "defaultMode": 0o440}},
                {"name": "ca", "configMap": {"name": "backend-ca"}},
            ],
        },
    }
