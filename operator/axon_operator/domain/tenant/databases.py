"""The tenant's databases: connections of OpenBao's database engine, each with an account of OpenBao's own.

A connection is written once with the password that an administrator keeps for it; OpenBao logs in with it before it
stores anything. Then OpenBao changes that password to one that nobody else knows. Both steps leave a mark in the
connection itself, the first one in the same write as the password. Written without a password, the connection keeps
the one that it has.
"""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any, Final

from axon_operator.api.vault import Database, DatabasePlugin, DatabaseRole
from axon_operator.domain.credential import Credential
from axon_operator.domain.names import DATABASE_ACCOUNT_KEY, DATABASE_MOUNT, DATABASE_ROTATED_AT_KEY, TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import VaultPath, VaultResource
from axon_operator.domain.values import seconds

PURPOSE: Final = "database"
KEPT: Final = f"{DATABASE_MOUNT}/static-roles"
"""Below it stand the accounts whose passwords OpenBao keeps and changes."""
CLOSED: Final[Mapping[str, Any]] = {"allowed_roles": [], "verify_connection": False}
"""Written to a connection from which no account may be made any more."""

_MOUNT: Final = "Databases of the Tenant's spec, made by axon-operator."
"""Description of the mount, by which it is known."""
_PLUGINS: Final = {DatabasePlugin.POSTGRESQL: "postgresql-database-plugin"}
_CONNECT_SECONDS: Final = 3
"""Less than the operator waits for OpenBao: else a database that is mute would look like an OpenBao that is."""


def mount(names: TenantNames) -> VaultResource:
    """The database engine."""
    at = VaultPath(names.vault_namespace, f"sys/mounts/{DATABASE_MOUNT}")
    return VaultResource(at, {"type": "database", "description": _MOUNT}, fixed=True)


def connections(names: TenantNames) -> VaultPath:
    """Where the connections are listed."""
    return VaultPath(names.vault_namespace, f"{DATABASE_MOUNT}/config")


def connection_at(names: TenantNames, name: str) -> VaultPath:
    """Where one of them stands."""
    return VaultPath(names.vault_namespace, f"{DATABASE_MOUNT}/config/{name}")


def roles(names: TenantNames) -> VaultPath:
    """Where the roles of all connections are listed."""
    return VaultPath(names.vault_namespace, f"{DATABASE_MOUNT}/roles")


def kept(names: TenantNames) -> VaultPath:
    """Where the accounts of all connections are listed whose passwords OpenBao keeps."""
    return VaultPath(names.vault_namespace, KEPT)


def kept_at(names: TenantNames, name: str) -> VaultPath:
    """Where one of them stands."""
    return VaultPath(names.vault_namespace, f"{KEPT}/{name}")


def kept_name(connection: str, role: str) -> str:
    """Under which name OpenBao keeps the account of a role: with its connection, so that no other one's can read it."""
    return f"{connection}.{role}"


def kept_account(names: TenantNames, wanted: Database, role: DatabaseRole) -> VaultResource:
    """An account whose password OpenBao keeps. Made, it has another one at once; changed, the same as before."""
    body = {
        "db_name": wanted.name,
        "username": role.account,
        "credential_type": "password",
        "rotation_period": seconds(role.lifetime),
        "rotation_statements": [_CHANGE],
    }
    return VaultResource(kept_at(names, kept_name(wanted.name, role.name)), body)


_CHANGE: Final = """ALTER ROLE "{{name}}" WITH PASSWORD '{{password}}'"""


def changed_at(kept: Mapping[str, Any]) -> int:
    """When the password of an account that OpenBao keeps was changed last, in microseconds; 0 if that makes no sense."""
    try:
        return int(datetime.datetime.fromisoformat(kept.get("last_vault_rotation") or "").timestamp() * 1_000_000)
    except (TypeError, ValueError):
        return 0


def disputed(wanted: Database, every: Iterable[Database]) -> frozenset[str]:
    """Accounts of its server whose passwords are changed by another entry."""
    others = [d for d in every if d.name != wanted.name and (d.host, d.port) == (wanted.host, wanted.port)]
    return frozenset(a for d in others for a in (d.username, *(r.account for r in d.roles)) if a)


def is_role_of(role: str, name: str) -> bool:
    """Whether a role is one of this connection. A connection's name has no dot, so this is one at most."""
    return role.startswith(f"{name}.")


def connection(names: TenantNames, wanted: Database, platform: Platform) -> VaultResource:
    """A connection, without its password and marks."""
    ca = f"&sslrootcert={platform.database_ca_folder}/{wanted.ca}.crt" if wanted.ca else ""
    where = f"{wanted.host}:{wanted.port}/{wanted.database}"
    query = f"sslmode=verify-full{ca}&connect_timeout={_CONNECT_SECONDS}"
    body = {
        "plugin_name": _PLUGINS[wanted.plugin],
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{where}?{query}",
        "username": wanted.username,
        "disable_escaping": False,
        # no password in clear text reaches the database, whose statistics and log show statements
        "password_authentication": "scram-sha-256",
        "password_policy": "",
        "root_rotation_statements": [],
        "username_template": "",
        # no account can be made by a role that does not carry the connection's name: so those that hang on it are known
        "allowed_roles": [f"{wanted.name}.*"],
    }
    return VaultResource(connection_at(names, wanted.name), body)


def account(wanted: Database) -> str:
    """Whose password it is, and where. For another one the password that OpenBao has is of no use."""
    return f"{wanted.username}@{wanted.host}"


def credential(names: TenantNames, wanted: Database, platform: Platform) -> Credential:
    """The account's first password."""
    secret = wanted.credential_secret_ref.name
    return Credential(platform.operator_namespace, secret, names.tenant, wanted.host, PURPOSE)


def rotation_is_due(wanted: Database, config: Mapping[str, Any], now: datetime.datetime) -> bool:
    """Whether OpenBao's own account needs another password. A mark that is no time was written by nobody of us."""
    try:
        last = datetime.datetime.fromisoformat(config.get(DATABASE_ROTATED_AT_KEY) or "")
        return now - last >= datetime.timedelta(seconds=seconds(wanted.rotation_interval))
    except (TypeError, ValueError):
        return True


def as_written(config: Mapping[str, Any]) -> dict[str, Any]:
    """A connection in the form in which it is written; OpenBao shows it in another one."""
    details = config.get("connection_details") or {}
    return {**config, **details, "root_rotation_statements": config.get("root_credentials_rotate_statements")}


def is_ours(existing: Mapping[str, Any]) -> bool:
    """Whether a connection was made by us; its name is chosen by people."""
    return DATABASE_ACCOUNT_KEY in existing
