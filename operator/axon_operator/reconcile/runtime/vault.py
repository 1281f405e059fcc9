"""Stages of OpenBao: policy, login and what was issued; their removal."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.manifests import is_current, owner_uid
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.resources import Manifest, VaultPath, ref_of
from axon_operator.domain.runtime import Runtime, service_account
from axon_operator.domain.runtime import vault as desired
from axon_operator.domain.values import as_planned
from axon_operator.reconcile.common import Assumed, attempt, deleting, kube_changes, vault_changes
from axon_operator.reconcile.engine.plan import (
    Change,
    KubeApply,
    KubeCreateBound,
    KubeDelete,
    Stage,
    VaultDelete,
    VaultDeleteKey,
)
from axon_operator.reconcile.issues import IssuesSeen, look_again, makings, renewals, withdrawal_stages
from axon_operator.reconcile.runtime.seen import RuntimeSeen, VaultContents, not_known


def vault_stage(seen: RuntimeSeen, runtime: Runtime) -> Stage:
    """What takes access back comes first, whatever becomes of the rest; what gives it last."""
    contents = seen.vault
    if isinstance(contents, ReconcileError):
        raise contents
    if isinstance(contents, Assumed):
        account = service_account(runtime)
        return Stage(ConditionType.VAULT_READY, kube_changes([account], seen.children, seen.names.uid))
    for unknown in (seen.found, seen.issues):
        if isinstance(unknown, ReconcileError):
            # without these the union of the bindings is unknown: an unfinished one must not replace it
            raise unknown
    issues = seen.issues if isinstance(seen.issues, IssuesSeen) else IssuesSeen()
    narrowed = _narrowing(contents, runtime)
    made = attempt(lambda: _makings(runtime, issues, contents))
    if isinstance(made, ReconcileError):
        return Stage(ConditionType.VAULT_READY, narrowed, made)
    policy = vault_changes([desired.vault_policy(runtime)], contents)
    problem = account_problem(seen, runtime)
    login = () if problem else _login_changes(seen, runtime, contents)
    # a list that fails only puts the tidying up off
    recorded = () if isinstance(seen.recorded, ReconcileError) else seen.recorded
    stale = desired.stale_records(recorded, seen.pods)
    forget = [VaultDelete(desired.served_path(seen.names, runtime.tenant, uid), required=False) for uid in stale]
    if seen.told.asks and runtime.consent is None:
        # what it says would not be kept up
        forget.append(VaultDelete(desired.directory_path(seen.names, runtime.tenant, "metadata")))
    return Stage(
        ConditionType.VAULT_READY,
        (*(narrowed if made else ()), *made, *policy, *login, *forget),
        problem,
        look_again=look_again(runtime.bindings, runtime.lingering, seen.now),
    )


def _makings(runtime: Runtime, issues: IssuesSeen, vault: VaultContents) -> tuple[Change, ...]:
    """What must be there before it is asked for."""
    made = makings(runtime.bindings, issues, vault)
    return (*made, *vault_changes(desired.before_grants(runtime), vault))


def _narrowing(vault: VaultContents, runtime: Runtime) -> tuple[Change, ...]:
    """The policy without what is no longer asked for, if it names any of that."""
    live = _policy(vault, runtime.names, runtime.tenant)
    return vault_changes([desired.narrowed_policy(runtime, live)], vault) if live else ()


def withdrawals(seen: RuntimeSeen, runtime: Runtime) -> tuple[Stage, ...]:
    """What was issued and is neither current nor just replaced, and accounts that get another password.

    While it is not known what is asked for, nothing goes.
    """
    if not isinstance(seen.issues, IssuesSeen) or not isinstance(seen.vault, Mapping):
        return ()
    if isinstance(seen.found, ReconcileError):
        return ()
    keep = {*(b.name for b in runtime.bindings), *(n for names in runtime.lingering.values() for n in names)}
    policy = _policy(seen.vault, seen.names, runtime.tenant)
    return withdrawal_stages(
        runtime.tenant,
        seen.issues,
        policy,
        frozenset(keep),
        needs=(ConditionType.VAULT_READY,),
        renewals=renewals(runtime.bindings, seen.issues),
    )


def _policy(vault: VaultContents, names: RuntimeNames, tenant: TenantNames) -> str:
    """The runtime's policy, as it was read."""
    return (vault.get(desired.vault_policy_path(names, tenant)) or {}).get("policy") or ""


def account_problem(seen: RuntimeSeen, runtime: Runtime) -> ReconcileError | None:
    """Why no role can be bound to the service account that is there."""
    account = seen.children.get(ref_of(service_account(runtime)))
    if account is None or not isinstance(seen.vault, Mapping) or is_bound(account, runtime, seen.vault):
        return None
    if owner_uid(account) != seen.names.uid:
        message = f"{ref_of(account)} is not the one that the operator made: the pods cannot log in to OpenBao. It is not touched; delete it, and the operator makes its own."
        return Terminal(Reason.NAME_TAKEN, message)
    if deleting(account):
        return Waiting(Reason.PROGRESSING, "The service account is being deleted; it is made again then.", after=1)
    return None


def _login_changes(seen: RuntimeSeen, runtime: Runtime, vault: VaultContents) -> tuple[Change, ...]:
    """Service account and role. The role is the record of which account the operator made, by its uid.

    An account with our marks and another uid was made by someone who copied them, or by a pass that was cut
    off before the role was written: it is replaced, never bound.
    """
    planned = service_account(runtime)
    account = seen.children.get(ref_of(planned))
    if account is not None and is_bound(account, runtime, vault):
        changes = () if is_current(account, planned) else (KubeApply(planned),)
        return (*changes, *vault_changes([desired.vault_role(runtime, account["metadata"]["uid"])], vault))
    replaced = (KubeDelete(ref_of(account), account["metadata"]["uid"]),) if account else ()
    return (*replaced, KubeCreateBound(planned, partial(desired.vault_role, runtime)))


def is_bound(account: Manifest, runtime: Runtime, vault: VaultContents) -> bool:
    """Whether the role is bound to this very account; marks can be copied, a uid cannot."""
    planned = desired.vault_role(runtime, account["metadata"]["uid"])
    role = vault.get(planned.at)
    return role is not None and as_planned(role.get("bound_claims"), planned.body["bound_claims"])


def vault_teardown(seen: RuntimeSeen) -> Stage:
    """Where the tenant is going too, its whole namespace is: nothing to remove one by one."""
    if seen.unmarked:
        message = f"Namespace {seen.names.namespace} has lost the mark of its Tenant, so what the runtime has in OpenBao and Keycloak cannot be removed; see the Tenant's status."
        raise Waiting(Reason.TENANT_NOT_READY, message, after=30)
    if seen.tenant and seen.tenant.spec.suspended and not seen.tenant.deleting:
        message = "The tenant is suspended and its OpenBao namespace locked; the runtime's role is removed when it is resumed or deleted."
        raise Waiting(Reason.SUSPENDED, message, after=60)
    if not isinstance(seen.vault, Mapping):
        raise not_known(seen.vault)
    if isinstance(seen.recorded, ReconcileError):
        raise seen.recorded
    existing = tuple(c for at, found in seen.vault.items() if found is not None for c in _forgotten(seen, at, found))
    tenant, uids = seen.tenant, desired.stale_records(seen.recorded, ())
    records = [desired.served_path(seen.names, tenant.names, uid) for uid in uids] if tenant else []
    more = Waiting(Reason.DELETING, "More records of pods are left.", after=0)
    return Stage(
        ConditionType.VAULT_READY,
        (*existing, *(VaultDelete(at) for at in records)),
        more if len(records) == desired.RECORDS_AT_ONCE else None,
    )


def _forgotten(seen: RuntimeSeen, at: VaultPath, found: Mapping[str, Any]) -> tuple[Change, ...]:
    """How something that a runtime has in OpenBao is removed; what a namesake has come to own stays."""
    names, tenant = seen.names, seen.tenant
    if tenant is None:
        return ()
    if at == desired.transit_key(names, tenant.names):
        return (VaultDeleteKey(at),)
    if at == desired.directory_path(names, tenant.names):
        own = (found.get("data") or {}).get("uid") == names.uid
        return (VaultDelete(desired.directory_path(names, tenant.names, "metadata")),) if own else ()
    return (VaultDelete(at),)


def remembered(vault: Vault, names: RuntimeNames, tenant: TenantNames) -> VaultContents:
    """By what OpenBao remembers logins of the runtime's pods: it stays when nobody is left who could log in by it."""
    alias = {
        "alias_name": names.subject,
        "alias_mount_accessor": (vault.read(desired.login_mount(tenant)) or {}).get("accessor"),
    }
    if not alias["alias_mount_accessor"]:
        return {}
    entity = vault.look_up(VaultPath(tenant.vault_namespace, "identity/lookup/entity"), alias)
    # one that an administrator has merged with others stands for more than this runtime
    if entity is None or len(entity["aliases"]) > 1:
        return {}
    return {desired.entity_path(tenant, entity["id"]): entity}


def issues_teardown(seen: RuntimeSeen) -> tuple[Stage, ...]:
    """When nobody can log in any more, all that was issued goes."""
    if isinstance(seen.issues, ReconcileError):
        return (Stage(ConditionType.WITHDRAWN, problem=seen.issues),)
    if not isinstance(seen.issues, IssuesSeen) or not isinstance(seen.vault, Mapping) or seen.tenant is None:
        return ()
    needs = (ConditionType.WORKLOAD_READY, ConditionType.VAULT_READY)
    policy = _policy(seen.vault, seen.names, seen.tenant.names)
    return withdrawal_stages(seen.tenant.names, seen.issues, policy, None, needs=needs)
