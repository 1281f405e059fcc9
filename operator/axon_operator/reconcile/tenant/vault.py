"""Stages of the OpenBao namespace: contents, users' logins, suspension, teardown."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.api.tenant import DeletionPolicy, TenantSpec
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.names import PKI_MOUNT, RUNTIME_AUTH_MOUNT, USER_AUTH_MOUNT, VAULT_OWNER_KEY, TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import VaultPath, VaultResource
from axon_operator.domain.tenant import databases
from axon_operator.domain.tenant import vault as desired
from axon_operator.domain.tenant.claim import Claim
from axon_operator.domain.tenant.logout import closed_to_everybody
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.common import Assumed, vault_changes
from axon_operator.reconcile.engine.plan import (
    Change,
    Stage,
    System,
    VaultAdopt,
    VaultDelete,
    VaultRenew,
    VaultReopen,
    VaultRevoke,
    VaultWrite,
)
from axon_operator.reconcile.tenant.realm import closing_of_realm
from axon_operator.reconcile.tenant.seen import (
    JUST_ADOPTED,
    JUST_MADE,
    POLL,
    TenantSeen,
    VaultSeen,
    known,
    require_unrecorded,
)

_LEASES = "sys/leases/lookup"
"""Where OpenBao lists all that it can revoke; the ids stay in memory for as long as it takes to see whether there are any."""
_REVOKE = "sys/leases/revoke-prefix"
_MOUNT_TABLES = ("sys/mounts", "sys/auth")

_REALM = 5.0
"""Seconds until a look whether the realm has come."""
_REVOKED = 1.0
"""Seconds until a look shows that a revocation is done; it nearly always is at once."""


def look_at_vault(
    vault: Vault, names: TenantNames, cluster: str, spec: TenantSpec, platform: Platform, *, leaving: bool
) -> VaultSeen:
    """Reads the namespace; of one that is to be closed who could still get in, else what it holds."""
    if not vault.supports_namespaces():
        return VaultSeen(False, None, {})
    seen = VaultSeen(True, vault.read(desired.namespace_path(names)), {})
    if not seen.mark.is_of(names.uid, cluster) or seen.locked or seen.going:
        return seen
    if leaving:
        return _look_who_is_in(vault, names, seen)
    planned = (*desired.contents(names, platform), *desired.logins(names, spec, platform, ""))
    return replace(seen, contents=_read(vault, names, planned))


def _look_who_is_in(vault: Vault, names: TenantNames, seen: VaultSeen) -> VaultSeen:
    try:
        leases = vault.list(VaultPath(names.vault_namespace, _LEASES))
        return replace(seen, roles=_roles(vault, names), leases=leases, accounts=_accounts(vault, names))
    except ReconcileError as error:
        return replace(seen, hidden=error)


def _accounts(vault: Vault, names: TenantNames) -> tuple[VaultPath, ...]:
    """Accounts of databases that OpenBao keeps, by connections that we have made."""
    mount = databases.mount(names)
    mounts = vault.read(VaultPath(names.vault_namespace, mount.at.path.rpartition("/")[0])) or {}
    if not as_planned(_mount({"sys/mounts": mounts}, mount.at.path), mount.body):
        return ()
    kept = vault.list(databases.kept(names))
    found = {name: vault.read(databases.connection_at(names, name)) for name in {k.partition(".")[0] for k in kept}}
    ours = {name for name, config in found.items() if config and databases.is_ours(databases.as_written(config))}
    return tuple(databases.kept_at(names, name) for name in kept if name.partition(".")[0] in ours)


def _roles(vault: Vault, names: TenantNames) -> tuple[VaultPath, ...]:
    """Of runtimes and of users."""
    folders = (
        VaultPath(names.vault_namespace, f"auth/{mount}/role") for mount in (RUNTIME_AUTH_MOUNT, USER_AUTH_MOUNT)
    )
    return tuple(VaultPath(at.namespace, f"{at.path}/{role}") for at in folders for role in vault.list(at))


def _read(
    vault: Vault, names: TenantNames, planned: Collection[VaultResource]
) -> dict[VaultPath, Mapping[str, Any] | None]:
    """What is there of the plan. All mounts come in two answers, however many there are."""
    tables = {name: vault.read(VaultPath(names.vault_namespace, name)) or {} for name in _MOUNT_TABLES}
    mounts = {r.at: _mount(tables, r.at.path) for r in planned if r.at.path.startswith(_MOUNT_TABLES)}
    engine = databases.mount(names).at
    mounts[engine] = _mount(tables, engine.path)
    if any(r.fixed and mounts[r.at] and not as_planned(mounts[r.at], r.body) for r in planned):
        # inside another mount than ours, our paths mean something else
        return mounts
    inside = {r.at for r in planned if r.at not in mounts} | set(desired.login_roles(names))
    return {**mounts, **{at: vault.read(at) for at in sorted(inside, key=str)}}


def _mount(tables: Mapping[str, Mapping[str, Any]], path: str) -> Mapping[str, Any] | None:
    """A mount, or how it is tuned."""
    system, table, name, *tune = path.split("/")
    mount: Mapping[str, Any] | None = tables[f"{system}/{table}"].get(f"{name}/")
    return mount["config"] if mount and tune else mount


def vault_stage(seen: TenantSeen, platform: Platform) -> Stage:
    """The namespace with its contents; of a suspended tenant revoked and locked."""
    if isinstance(seen.vault, Assumed):
        return _vault_closed(()) if seen.spec.suspended else Stage(ConditionType.VAULT_READY)
    if isinstance(seen.claim, Terminal) and not seen.names.home:
        raise seen.claim
    names, vault = seen.names, known(seen.vault)
    if not vault.namespaces:
        raise Terminal(
            Reason.NAMESPACES_UNSUPPORTED,
            "The secrets server ignores namespaces (Vault CE does), so it cannot separate tenants; use OpenBao or Vault Enterprise.",
        )
    namespace = desired.namespace(names, seen.spec, seen.cluster)
    contents = desired.contents(names, platform)
    if vault.namespace is None:
        return Stage(ConditionType.VAULT_READY, vault_changes((namespace, *contents), {}), JUST_MADE)
    claimed = isinstance(seen.claim, Claim) and seen.claim.covers(vault.mark) and vault.mark.tenant == names.tenant
    if not claimed:
        _require_vault_owner(vault, seen)
    if vault.going:
        raise Waiting(Reason.DELETING, "OpenBao is still deleting the tenant's former namespace.", after=2)
    if claimed:
        mark = desired.closed(names, seen.spec, seen.cluster)
        return Stage(ConditionType.VAULT_READY, (VaultAdopt(mark.at, mark.body),), JUST_ADOPTED)
    if seen.spec.suspended:
        return _vault_suspended(names, vault, namespace)
    if vault.resuming:
        return _vault_resumed(names, vault, namespace)
    return Stage(
        ConditionType.VAULT_READY,
        vault_changes((namespace, *contents), {namespace.at: vault.namespace, **vault.contents}),
    )


def login_stage(seen: TenantSeen, platform: Platform) -> Stage:
    """OpenBao trusts the realm: users log in with their Keycloak account."""
    if seen.spec.suspended:
        return Stage(ConditionType.LOGIN_READY, reason=Reason.SUSPENDED, message="Nobody can log in.")
    if isinstance(seen.vault, Assumed):
        return Stage(ConditionType.LOGIN_READY)
    live = known(seen.vault).contents
    mount = live.get(desired.users_mount(seen.names))
    if mount is None:
        return Stage(ConditionType.LOGIN_READY, problem=JUST_MADE)
    planned = desired.logins(seen.names, seen.spec, platform, mount["accessor"])
    roles = desired.login_roles(seen.names)
    if closed_to_everybody(seen.spec.identity.logout, seen.logouts, seen.now):
        # the logout itself has removed the roles
        message = "Closed until every access token of before the logout has expired."
        others = vault_changes([r for r in planned if r.at not in roles], live)
        return Stage(ConditionType.LOGIN_READY, others, message=message)
    obsolete = {at for at in roles if live.get(at) is not None} - {r.at for r in planned}
    removals = tuple(VaultDelete(at) for at in sorted(obsolete, key=str))
    if seen.own_realm is None:
        # whose keys would be trusted is not known; what is taken back does not wait for that
        existing = [r for r in planned if r.at in roles and live.get(r.at) is not None]
        # a Keycloak that is away takes nothing from who was ready
        away = seen.keycloak if isinstance(seen.keycloak, ReconcileError) else None
        problem = away or Waiting(Reason.DEPENDENCY_NOT_READY, "Waits for the realm (IdentityReady).", after=_REALM)
        return Stage(ConditionType.LOGIN_READY, (*removals, *vault_changes(existing, live)), problem)
    return Stage(ConditionType.LOGIN_READY, (*removals, *vault_changes(planned, live)))


def login_teardown(seen: TenantSeen) -> Stage:
    """Before anything is waited for: people are out, and of a suspended tenant the runtimes too.

    What cannot be seen or was given up is told by the stages that remove it.
    """
    names, vault, keycloak = seen.names, seen.own_vault, seen.own_realm
    changes: list[Change] = []
    if vault is not None and System.OPENBAO not in seen.abandoned.systems:
        people = desired.login_roles(names)
        roles = [role for role in vault.roles if seen.spec.suspended or role in people]
        prefix = "auth" if seen.spec.suspended else f"auth/{USER_AUTH_MOUNT}"
        changes += [*map(VaultDelete, roles), *((revoke(names, prefix),) if roles else ())]
    if keycloak is not None and System.KEYCLOAK not in seen.abandoned.systems:
        changes += closing_of_realm(names, keycloak.realm or {})
    message = "People's logins have ended."
    return Stage(ConditionType.LOGIN_READY, tuple(changes), reason=Reason.DELETING, message=message, independent=True)


def is_revocation(change: Change) -> bool:
    """Whether it revokes, and so may be made again in every pass until nothing is left."""
    return isinstance(change, VaultRevoke | VaultRenew) or (
        isinstance(change, VaultWrite) and change.path.path.startswith(_REVOKE)
    )


def revoke(names: TenantNames, prefix: str = "auth") -> VaultWrite:
    """Revokes all that stands below a prefix: below `auth` every login, and with it what was issued to it."""
    return VaultWrite(VaultPath(names.vault_namespace, f"{_REVOKE}/{prefix}"), {"sync": True})


def _revocation(names: TenantNames, vault: VaultSeen) -> Stage | None:
    """No new logins, then none of the old, then other passwords; None when a look has shown that nothing is left."""
    if not (vault.roles or vault.leases or vault.accounts):
        return None
    roles = (VaultDelete(role) for role in vault.roles)
    # logins first: others are left only of who logged in elsewhere, as an administrator does
    others = sorted({prefix.rstrip("/") for prefix in vault.leases} - {"auth", PKI_MOUNT})
    revocations = (revoke(names, prefix) for prefix in ("auth", *others))
    # last, and always: certificates went with the logins, and nobody knows of that yet
    certificates = VaultRevoke(VaultPath(names.vault_namespace, PKI_MOUNT))
    # what pods know, nobody is to use any more; a database that is away keeps nothing else waiting
    accounts = (VaultRenew(at, VaultDelete(at)) for at in vault.accounts)
    waiting = Waiting(Reason.PROGRESSING, "Logins are being revoked.", after=_REVOKED)
    return Stage(ConditionType.VAULT_READY, (*roles, *revocations, certificates, *accounts), waiting)


def _vault_suspended(names: TenantNames, vault: VaultSeen, namespace: VaultResource) -> Stage:
    marked = vault_changes((namespace,), {namespace.at: vault.namespace})
    if vault.locked:
        return _vault_closed(marked)
    if vault.hidden:
        # once more if it lasts: a namespace in which clients leave the operator no room is locked all the same
        closing = (revoke(names), *(() if marked else (_lock(names),)))
        return Stage(ConditionType.VAULT_READY, (*marked, *closing), vault.hidden, independent=True)
    # in a locked namespace revocation is refused even to root: revoke first, and see that it is done
    revocation = _revocation(names, vault)
    if revocation is None:
        return _vault_closed((*marked, _lock(names)))
    if marked or vault.roles:
        return replace(revocation, changes=(*marked, *revocation.changes))
    # all was revoked once, and we let nobody in: the lock does not wait for what cannot be revoked, nor for who
    # comes back at a mount that is not ours
    return replace(_vault_closed((*revocation.changes, _lock(names))), independent=True)


def _lock(names: TenantNames) -> VaultWrite:
    return VaultWrite(VaultPath("", f"sys/namespaces/api-lock/lock/{names.vault_namespace}"), {})


def _vault_closed(changes: tuple[Change, ...]) -> Stage:
    message = "Namespace locked: no token works, and every one is revoked before it opens again."
    return Stage(ConditionType.VAULT_READY, changes, reason=Reason.SUSPENDED, message=message)


def _vault_resumed(names: TenantNames, vault: VaultSeen, namespace: VaultResource) -> Stage:
    """Whoever logged in between the last look and the lock does not come back; the mark goes when that is sure."""
    unlock = VaultWrite(VaultPath("", f"sys/namespaces/api-lock/unlock/{names.vault_namespace}"), {})
    return Stage(
        ConditionType.VAULT_READY,
        (
            VaultReopen(revoke(names), unlock if vault.locked else None, _lock(names)),
            VaultWrite(namespace.at, namespace.body),
        ),
        Waiting(Reason.RESUMED, "Unlocked; its contents are compared next.", after=0),
    )


def vault_teardown(seen: TenantSeen) -> Stage:
    """Revoked, then deleted; or, if it is to be retained, locked."""
    names, vault = seen.names, known(seen.vault)
    where = f"OpenBao namespace {names.vault_namespace}"
    if not vault.namespaces and "vaultNamespace" in seen.recorded:
        message = f"The secrets server ignores namespaces, so whether {where} is gone cannot be seen; give the operator the server on which it was made."
        raise Terminal(Reason.NAMESPACES_UNSUPPORTED, message)
    if vault.namespace is None:
        return Stage(ConditionType.VAULT_READY)
    if not vault.mark.is_of(names.uid, seen.cluster):
        require_unrecorded(seen, "vaultNamespace", where, f"custom metadata {VAULT_OWNER_KEY}")
        return Stage(ConditionType.VAULT_READY)
    if vault.mark.retained_at:
        return _vault_retained(names, ())
    going = Waiting(Reason.DELETING, "OpenBao is deleting the tenant's namespace.", after=POLL)
    if vault.going:
        raise going
    if vault.hidden:
        raise vault.hidden
    # OpenBao deletes asynchronously: revoke first, so that no login outlives its policies
    if revocation := _revocation(names, vault):
        return revocation
    if seen.spec.deletion_policy is DeletionPolicy.RETAIN:
        mark = desired.retained(names, seen.spec, seen.cluster, seen.deleted_at or "")
        # the mark last: what carries it is closed
        return _vault_retained(names, (*(() if vault.locked else (_lock(names),)), VaultWrite(mark.at, mark.body)))
    return Stage(ConditionType.VAULT_READY, (VaultDelete(desired.namespace_path(names)),), going)


def _vault_retained(names: TenantNames, changes: tuple[Change, ...]) -> Stage:
    message = f"OpenBao namespace {names.vault_namespace} stays, locked and with all logins revoked; its mark names {names.tenant} ({names.uid})."
    return Stage(ConditionType.VAULT_READY, changes, reason=Reason.RETAINED, message=message)


def _require_vault_owner(vault: VaultSeen, seen: TenantSeen) -> None:
    if not vault.mark.is_of(seen.names.uid, seen.cluster):
        message = f"OpenBao namespace {seen.names.vault_namespace} exists without this tenant's mark ({VAULT_OWNER_KEY}); it is not touched. Remove it if it is a leftover, or adopt it as docs/operations.md says."
        raise Terminal(Reason.NAME_TAKEN, message)
