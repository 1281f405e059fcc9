"""Stage of the databases: connections with accounts that are OpenBao's alone, those it keeps for pods, and their removal."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.tenant import TenantSpec
from axon_operator.api.vault import Database, DatabaseRole
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.credential import Credential, version_mark
from axon_operator.domain.names import (
    DATABASE_ACCOUNT_KEY,
    DATABASE_CREDENTIAL_KEY,
    DATABASE_MOUNT,
    DATABASE_ROTATED_KEY,
    TenantNames,
)
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import VaultPath, VaultResource
from axon_operator.domain.rotation import stamp
from axon_operator.domain.tenant import databases as desired
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.common import Assumed, attempt, not_allowed, staged, vault_changes
from axon_operator.reconcile.engine.plan import (
    Backends,
    Change,
    Stage,
    VaultCredential,
    VaultDelete,
    VaultRenew,
    VaultRotate,
    VaultWrite,
)
from axon_operator.reconcile.tenant.seen import JUST_MADE, DatabasesSeen, TenantSeen, VaultSeen, known
from axon_operator.reconcile.tenant.vault import revoke

_MADE = f"{DATABASE_MOUNT}/creds"
"""Below it OpenBao lists, by their roles, the accounts that it has made."""
_JUST_REMOVED = Waiting(Reason.PROGRESSING, "Just removed; what is left is looked at next.", after=0)
_TAKEN_OVER_NEXT = Waiting(Reason.PROGRESSING, "The accounts that OpenBao is to keep are taken over next.", after=0)
_REVOKING = Waiting(Reason.PROGRESSING, "Accounts of a database that left the spec are being revoked.", after=1)


def look_at_databases(
    to: Backends, names: TenantNames, spec: TenantSpec, platform: Platform, vault: VaultSeen
) -> DatabasesSeen:
    """Reads what is in the mount, if there is one; the mount itself was read with all others."""
    mount = desired.mount(names)
    seen = vault.contents.get(mount.at)
    if seen is None or not as_planned(seen, mount.body):
        return DatabasesSeen(seen)
    there = to.vault.list(desired.connections(names))
    live = {name: to.vault.read(desired.connection_at(names, name)) for name in there}
    connections = {name: desired.as_written(config) for name, config in live.items() if config is not None}
    kept = {name: found for name in to.vault.list(desired.kept(names)) if (found := _kept(to, names, name))}
    wanted = spec.vault.databases
    credentials = {
        database.name: attempt(partial(_version, to.kubernetes, desired.credential(names, database, platform)))
        for database in wanted
        if database.host in platform.allowed_hosts
    }
    if wanted and connections.keys() <= {database.name for database in wanted}:
        return DatabasesSeen(seen, connections, credentials, kept=kept)
    leases = (key.rstrip("/") for key in to.vault.list(VaultPath(names.vault_namespace, f"sys/leases/lookup/{_MADE}")))
    return DatabasesSeen(seen, connections, credentials, to.vault.list(desired.roles(names)), tuple(leases), kept)


def _kept(to: Backends, names: TenantNames, name: str) -> Mapping[str, Any] | None:
    return to.vault.read(desired.kept_at(names, name))


def _version(kubernetes: Kubernetes, credential: Credential) -> str | None:
    """Which version of the Secret would be used; once the password is OpenBao's, the Secret is not needed any more."""
    secret = kubernetes.get(credential.ref)
    if secret is None:
        return None
    if problem := credential.problem(secret):
        raise Terminal(Reason.CREDENTIAL_UNUSABLE, problem)
    return version_mark(secret)


def database_stages(seen: TenantSeen, platform: Platform) -> tuple[Stage, ...]:
    """One, where databases are asked for or some have to go; else none."""
    stage = staged(
        ConditionType.DATABASES_READY, lambda: _databases(seen, platform), needs=(ConditionType.VAULT_READY,)
    )
    # an OpenBao that is away is told once, by the stage of its contents
    told = stage.problem if seen.databases is not seen.vault else None
    return (stage,) if seen.spec.vault.databases or stage.changes or told else ()


def _databases(seen: TenantSeen, platform: Platform) -> Stage:
    if seen.spec.suspended:
        message = "No account is made in a database."
        return Stage(ConditionType.DATABASES_READY, reason=Reason.SUSPENDED, message=message)
    if isinstance(seen.databases, Assumed):
        return Stage(ConditionType.DATABASES_READY)
    live, wanted, mount = known(seen.databases), seen.spec.vault.databases, desired.mount(seen.names)
    if missing := vault_changes((mount,), {mount.at: live.mount}) if wanted else ():
        return Stage(ConditionType.DATABASES_READY, missing, JUST_MADE)
    problems: list[ReconcileError] = []
    changes = [c for database in wanted for c in _connection(seen, database, live, platform, problems)]
    changes += _removals(seen, live, problems)
    if changes and not wanted:
        problems.append(_JUST_REMOVED)
    problem = next(iter(sorted(problems, key=lambda p: isinstance(p, Waiting))), None)
    return Stage(ConditionType.DATABASES_READY, tuple(changes), problem, independent=True)


def _connection(
    seen: TenantSeen, database: Database, live: DatabasesSeen, platform: Platform, problems: list[ReconcileError]
) -> Iterator[Change]:
    for part in (_adopted, _kept_accounts):
        try:
            yield from part(seen, database, live, platform)
        except ReconcileError as error:
            problems.append(error)


def _adopted(seen: TenantSeen, database: Database, live: DatabasesSeen, platform: Platform) -> Iterator[Change]:
    """The account taken over, or the connection set right. The first password is written once for each Secret.

    Never without need: it is worthless once OpenBao has changed it, and written again would cost the connection.
    """
    names, now = seen.names, stamp(seen.now)
    resource, account = desired.connection(names, database, platform), desired.account(database)
    existing = live.connections.get(database.name)
    if existing is not None and not desired.is_ours(existing):
        message = f"OpenBao {resource.at} exists and was not made for this tenant; it is not touched. Choose another name, or remove it in OpenBao."
        raise Terminal(Reason.NAME_TAKEN, message)
    if database.host not in platform.allowed_hosts:
        if existing and existing["allowed_roles"]:
            yield VaultWrite(resource.at, desired.CLOSED)
        raise not_allowed(f"Database {database.name}'s", database.host)
    credential, version = desired.credential(names, database, platform), live.credentials[database.name]
    if existing is not None and existing[DATABASE_ACCOUNT_KEY] == account:
        newer = isinstance(version, str) and version != existing.get(DATABASE_CREDENTIAL_KEY)
        if not newer:
            due = desired.rotation_is_due(database, existing, seen.now)
            yield from _set_right(resource, existing, now, due=due)
        if not newer and not isinstance(version, ReconcileError):
            return
    if isinstance(version, ReconcileError):
        raise version
    if version is None:
        raise Terminal(Reason.CREDENTIAL_UNUSABLE, credential.problem(None) or "")
    body = {**resource.body, DATABASE_ACCOUNT_KEY: account}
    yield VaultCredential(VaultResource(resource.at, body), credential, now)


def _set_right(resource: VaultResource, existing: Mapping[str, Any], now: str, *, due: bool) -> Iterator[Change]:
    """Without a password: OpenBao keeps the one that it has."""
    yield from vault_changes((resource,), {resource.at: existing})
    version = str(existing.get(DATABASE_CREDENTIAL_KEY))
    if due or existing.get(DATABASE_ROTATED_KEY) != version:
        yield VaultRotate(resource.at, version, now)


def _kept_accounts(seen: TenantSeen, database: Database, live: DatabasesSeen, platform: Platform) -> Iterator[Change]:
    """Accounts whose passwords OpenBao keeps. One that is not asked for any more is left with one that nobody was given."""
    existing = live.connections.get(database.name)
    if existing is not None and (not desired.is_ours(existing) or database.host not in platform.allowed_hosts):
        return
    disputed = desired.disputed(database, seen.spec.vault.databases)
    roles = [role for role in database.roles if role.account]
    wrong = [role for role in roles if role.account in disputed]
    planned = [desired.kept_account(seen.names, database, role) for role in roles if role not in wrong]
    found = {desired.kept_at(seen.names, name): kept for name, kept in _kept_by(database.name, live).items()}
    # OpenBao lets nobody put another account under a name
    same = {r.at for r in planned if r.at not in found or found[r.at].get("username") == r.body["username"]}
    # of one that another entry names, too, nobody knows whose the password is to be
    left = {desired.kept_account(seen.names, database, role).at for role in wrong}
    yield from (_given_up(at) for at in found if at not in same | left)
    taken_over = existing is not None and existing[DATABASE_ACCOUNT_KEY] == desired.account(database)
    if taken_over:
        yield from vault_changes([r for r in planned if r.at in same], found)
    if (taken_over is False and planned) or any(r.at not in same for r in planned):
        raise _TAKEN_OVER_NEXT
    if wrong:
        raise _disputed(database, wrong[0])


def _kept_by(connection: str, live: DatabasesSeen) -> dict[str, Mapping[str, Any]]:
    return {name: kept for name, kept in live.kept.items() if desired.is_role_of(name, connection)}


def _given_up(at: VaultPath) -> Change:
    return VaultRenew(at, VaultDelete(at))


def _disputed(database: Database, role: DatabaseRole) -> Terminal:
    message = f"Account {role.account} of role {role.name} of database {database.name} is named by another entry for the same server, and each would change its password; name it in one of spec.vault.databases."
    return Terminal(Reason.INVALID_SPEC, message)


@dataclass(frozen=True, slots=True)
class _Hanging:
    """What hangs on a connection, or on the mount."""

    roles: Set[str] = frozenset()
    leases: Set[str] = frozenset()
    kept: tuple[VaultPath, ...] = ()


def _removals(seen: TenantSeen, live: DatabasesSeen, problems: list[ReconcileError]) -> Iterator[Change]:
    """Of connections that have left the spec, and of the mount behind the last one; others' connections keep it."""
    names, mount = seen.names, desired.mount(seen.names)
    wanted = {database.name for database in seen.spec.vault.databases}
    for name, existing in live.connections.items():
        if name not in wanted and desired.is_ours(existing):
            roles, leases = ({r for r in found if desired.is_role_of(r, name)} for found in (live.roles, live.leases))
            kept = tuple(desired.kept_at(names, account) for account in _kept_by(name, live))
            yield from _removal(names, desired.connection_at(names, name), _Hanging(roles, leases, kept), problems)
    if not wanted and not live.connections and live.mount and as_planned(live.mount, mount.body):
        yield from _removal(names, mount.at, _Hanging(leases=set(live.leases)), problems)


def _removal(names: TenantNames, at: VaultPath, hanging: _Hanging, problems: list[ReconcileError]) -> Iterator[Change]:
    """No new accounts, then none of the old, and when a look has shown that, what they hang on.

    Without its connection no account can be revoked and no password changed, and a mount whose accounts cannot be
    revoked is stuck (measured).
    """
    if hanging == _Hanging():
        yield VaultDelete(at)
        return
    roles = sorted(hanging.roles)
    yield from (VaultDelete(VaultPath(names.vault_namespace, f"{DATABASE_MOUNT}/roles/{role}")) for role in roles)
    yield from (revoke(names, f"{_MADE}/{role}") for role in sorted(hanging.roles | hanging.leases))
    yield from map(_given_up, hanging.kept)
    problems.append(_REVOKING)
