"""Stage of what is issued for a runtime's bindings: made, kept for a while beside its successor, and taken back.

Taken back in an order that a crash cannot upset: the policy names it no more, then what was issued is revoked, and when
a look has shown that nothing is left, what it hangs on goes. So as long as something may be good, there is a name by
which it is found. An account that OpenBao keeps cannot be revoked, only given another password: the note of who was given
the one of before goes when that was done.
"""

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import Waiting
from axon_operator.backends.vault.port import Vault
from axon_operator.domain import issue
from axon_operator.domain.issue import Engine, Issued
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.resources import VaultPath
from axon_operator.domain.rotation import may_go, next_rotation, overlap_ends
from axon_operator.domain.tenant.databases import kept, kept_at
from axon_operator.reconcile.common import vault_changes
from axon_operator.reconcile.engine.plan import (
    Change,
    Stage,
    VaultDelete,
    VaultGenerate,
    VaultRenew,
    VaultRevoke,
    VaultWrite,
)

_REVOKING = "What is no longer asked for is being revoked."
_LOOK = 1.0
"""Seconds between looks whether the pods have taken over the next generation."""


@dataclass(frozen=True, slots=True)
class IssuesSeen:
    """What a runtime has issued in OpenBao, by the names of the issues."""

    found: Mapping[Engine, tuple[str, ...]] = field(default_factory=dict)
    """Those that there are, or that have given something that is still good."""
    leased: Mapping[Engine, frozenset[str]] = field(default_factory=dict)
    """Those by which OpenBao has given something that is still good; asked only where something is to go."""
    accounts: frozenset[str] = frozenset()
    """The accounts that OpenBao keeps for the tenant; asked only where there is a note of one."""

    @property
    def engines(self) -> frozenset[Engine]:
        """Engines that hold anything of the runtime."""
        return frozenset(engine for engine, names in self.found.items() if names)

    def highest(self, names: RuntimeNames, bindings: Iterable[Any]) -> dict[str, int]:
        """Of each binding, the last generation that there is anything of."""
        every = [name for found in self.found.values() for name in found]
        numbers = {b.name: issue.numbers(every, names.series(b.name, b.uid)) for b in bindings}
        return {binding: max(found) for binding, found in numbers.items() if found}


def look_at_issues(
    vault: Vault,
    names: RuntimeNames,
    tenant: TenantNames,
    engines: Iterable[Engine],
    current: Iterable[str] = (),
    *,
    closely: bool,
) -> IssuesSeen:
    """Lists what the runtime has in these engines.

    Args:
        vault: OpenBao.
        names: of the runtime.
        tenant: whose namespace it is.
        engines: to look at.
        current: names of the issues that are served.
        closely: also look for what is good although the name by which it was issued is gone.
    """

    def ours(engine: Engine, folder: str) -> frozenset[str]:
        listed = vault.list(VaultPath(tenant.vault_namespace, folder))
        return frozenset(name.rstrip("/") for name in listed if issue.is_of(engine, name, names))

    found = {engine: ours(engine, engine.folder) for engine in engines}
    served = frozenset(current)
    stale = [e for e, there in found.items() if e.leases and (closely or there - served)]
    leased = {engine: ours(engine, engine.lookup) for engine in stale}
    names_found = {e: tuple(sorted(there | leased.get(e, frozenset()))) for e, there in found.items()}
    accounts = frozenset(vault.list(kept(tenant)) if found.get(Engine.KEPT) else ())
    return IssuesSeen(names_found, leased, accounts)


def lingering(
    bindings: Sequence[Issued], seen: IssuesSeen, now: datetime.datetime, *, confirmed: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """By binding: issues before the current one that are to stay good.

    Args:
        bindings: those that are delivered.
        seen: what there is.
        now: the time.
        confirmed: names of bindings of which every pod serves the current ones.
    """
    stay: dict[str, tuple[str, ...]] = {}
    for issued in bindings:
        older = _others(issued, seen)
        over = issued.binding.name in confirmed and may_go(issued.binding, issued.generation, now)
        if issued.engine is Engine.KEPT:
            # its note goes when there is that of the next: then the password was changed
            over = issued.name in seen.found.get(Engine.KEPT, ())
        if older and not over:
            stay[issued.binding.name] = older
    return stay


def _others(issued: Issued, seen: IssuesSeen) -> tuple[str, ...]:
    """Issues of the same binding for the same thing, but the current one."""
    series = issued.name.rpartition(".")[0] + "."
    there = seen.found.get(issued.engine, ()) if issued.engine else ()
    return tuple(n for n in there if n.startswith(series) and n != issued.name)


def makings(bindings: Sequence[Issued], seen: IssuesSeen, contents: Mapping[VaultPath, Any]) -> tuple[Change, ...]:
    """What must be there before the policy names it."""
    written = vault_changes(issue.resources(bindings), contents)
    generated = (
        VaultGenerate(issue.generated_at(i.around.tenant, i.name), issue.policy_path(i))
        for i in bindings
        if i.spec.source.generated and i.name not in seen.found.get(Engine.GENERATED, ())
    )
    # before the policy names the account: who may have its password is never unknown
    noted = (_noting(i) for i in bindings if _is_unnoted(i, seen) and not _others(i, seen))
    return (*written, *generated, *noted)


def _is_unnoted(issued: Issued, seen: IssuesSeen) -> bool:
    return issued.engine is Engine.KEPT and issued.name not in seen.found.get(Engine.KEPT, ())


def _noting(issued: Issued) -> VaultWrite:
    note = issue.note(issued)
    return VaultWrite(note.at, note.body)


def renewals(bindings: Sequence[Issued], seen: IssuesSeen) -> tuple[Change, ...]:
    """Accounts that OpenBao keeps, of which another password is asked for: changed, and then noted."""
    return tuple(
        VaultRenew(kept_at(i.around.tenant, i.account), _noting(i))
        for i in bindings
        if _is_unnoted(i, seen) and _others(i, seen)
    )


def look_again(bindings: Sequence[Issued], kept: Mapping[str, Sequence[str]], now: datetime.datetime) -> float | None:
    """Seconds until the next generation is due, or the one before may go."""
    due = [next_rotation(i.binding, i.generation) for i in bindings]
    ends = [overlap_ends(i.binding, i.generation) for i in bindings if i.binding.name in kept]
    waits = [(at - now).total_seconds() for at in (*due, *ends) if at is not None]
    return max(min(waits), _LOOK) if waits else None


def withdrawal_stages(
    tenant: TenantNames,
    seen: IssuesSeen,
    policy: str,
    keep: frozenset[str] | None,
    *,
    needs: tuple[ConditionType, ...],
    renewals: tuple[Change, ...] = (),
) -> tuple[Stage, ...]:
    """One, where something has to go or to be changed; else none.

    Args:
        tenant: whose namespace it is.
        seen: what there is.
        policy: of the runtime, as it was read.
        keep: names of issues that stay; None if the runtime goes. Only that waits: one that stays is as good as before
            while what nobody uses any more is revoked.
        needs: what must be complete before; of a runtime that stays only if the policy still names something that goes.
        renewals: of accounts that OpenBao keeps, for those who go on with them.
    """
    going = [(e, n) for e, names in seen.found.items() for n in names if keep is None or n not in keep]
    if not going and not renewals:
        return ()
    looked_at = [(e, n, _may_be_good(e, n, seen, policy)) for e, n in going]
    withdrawn = tuple(_withdrawal(tenant, engine, name, seen, good=good) for engine, name, good in looked_at)
    changes = (*withdrawn, *renewals)
    waits = any(good for *_, good in looked_at)
    # who has a password that was changed is to be told of the next one
    again = waits or any(isinstance(change, VaultRenew) for change in changes)
    named = any(issue.is_given(policy, e, n) for e, n in going if not _is_shared(e, n, keep))
    return (
        Stage(
            ConditionType.WITHDRAWN,
            changes,
            Waiting(Reason.PROGRESSING, _REVOKING, after=0) if waits and keep is None else None,
            needs=needs if named or keep is None else (),
            independent=True,
            look_again=0.0 if again else None,
            message=_REVOKING,
        ),
    )


def _may_be_good(engine: Engine, name: str, seen: IssuesSeen, policy: str) -> bool:
    """While the policy names it, more may be issued after the look; so it is revoked, and looked at once more."""
    if not engine.leases:
        return False
    return engine not in seen.leased or name in seen.leased[engine] or issue.is_given(policy, engine, name)


def _is_shared(engine: Engine, name: str, keep: frozenset[str] | None) -> bool:
    """Whether another binding of the runtime goes on with the same account: the policy goes on naming it."""
    return engine is Engine.KEPT and any(issue.account_of(name) == issue.account_of(other) for other in keep or ())


def _withdrawal(tenant: TenantNames, engine: Engine, name: str, seen: IssuesSeen, *, good: bool) -> Change:
    role = VaultPath(tenant.vault_namespace, f"{engine.folder}/{name}")
    if engine is Engine.KEPT and not _is_over(name, seen):
        return VaultRenew(kept_at(tenant, issue.account_of(name)), VaultDelete(role))
    if not engine.leases:
        return VaultDelete(role)
    return VaultRevoke(VaultPath(tenant.vault_namespace, f"{engine.leases}/{name}"), None if good else role)


def _is_over(note: str, seen: IssuesSeen) -> bool:
    """Whether the password that it tells of was changed: for the binding itself, or when the account was given up."""
    series, _, number = note.rpartition(".")
    later = max(issue.numbers(seen.found[Engine.KEPT], f"{series}."), default=0) > int(number)
    return later or issue.account_of(note) not in seen.accounts
