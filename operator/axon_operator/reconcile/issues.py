"""Stage of what is issued for a runtime's bindings: made, kept for a while beside its successor, and taken back.

Taken back in an order that a crash cannot upset: the policy names it no more, then what was issued is revoked, and when
a look has shown that nothing is left, what it hangs on goes. So as long as something may be good, there is a name by
which it is found.
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
from axon_operator.reconcile.common import vault_changes
from axon_operator.reconcile.engine.plan import Change, Stage, VaultDelete, VaultGenerate, VaultRevoke

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
    return IssuesSeen({e: tuple(sorted(there | leased.get(e, frozenset()))) for e, there in found.items()}, leased)


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
    kept: dict[str, tuple[str, ...]] = {}
    for issued in bindings:
        engine = issue.engine_of(issued.spec.source)
        current = issued.binding.name in confirmed
        if engine is None or (current and may_go(issued.binding, issued.generation, now)):
            continue
        series = issued.name.rpartition(".")[0] + "."
        older = tuple(n for n in seen.found.get(engine, ()) if n.startswith(series) and n != issued.name)
        if older:
            kept[issued.binding.name] = older
    return kept


def makings(bindings: Sequence[Issued], seen: IssuesSeen, contents: Mapping[VaultPath, Any]) -> tuple[Change, ...]:
    """What must be there before the policy names it."""
    written = vault_changes(issue.resources(bindings), contents)
    generated = (
        VaultGenerate(issue.generated_at(i.around.tenant, i.name), issue.policy_path(i))
        for i in bindings
        if i.spec.source.generated and i.name not in seen.found.get(Engine.GENERATED, ())
    )
    return (*written, *generated)


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
) -> tuple[Stage, ...]:
    """One, where something has to go; else none.

    Args:
        tenant: whose namespace it is.
        seen: what there is.
        policy: of the runtime, as it was read.
        keep: names of issues that stay; None if the runtime goes. Only that waits: one that stays is as good as before
            while what nobody uses any more is revoked.
        needs: what must be complete before; of a runtime that stays only if the policy still names something that goes.
    """
    going = [(e, n) for e, names in seen.found.items() for n in names if keep is None or n not in keep]
    if not going:
        return ()
    looked_at = [(e, n, _may_be_good(e, n, seen, policy)) for e, n in going]
    changes = tuple(_withdrawal(tenant, engine, name, good=good) for engine, name, good in looked_at)
    waits = any(good for *_, good in looked_at)
    named = any(_names(policy, name) for _, name in going)
    return (
        Stage(
            ConditionType.WITHDRAWN,
            changes,
            Waiting(Reason.PROGRESSING, _REVOKING, after=0) if waits and keep is None else None,
            needs=needs if named or keep is None else (),
            independent=True,
            look_again=0.0 if waits else None,
            message=_REVOKING,
        ),
    )


def _may_be_good(engine: Engine, name: str, seen: IssuesSeen, policy: str) -> bool:
    """While the policy names it, more may be issued after the look; so it is revoked, and looked at once more."""
    if not engine.leases:
        return False
    return engine not in seen.leased or name in seen.leased[engine] or _names(policy, name)


def _names(policy: str, issue_name: str) -> bool:
    return f'/{issue_name}"' in policy


def _withdrawal(tenant: TenantNames, engine: Engine, name: str, *, good: bool) -> Change:
    role = VaultPath(tenant.vault_namespace, f"{engine.folder}/{name}")
    if not engine.leases:
        return VaultDelete(role)
    return VaultRevoke(VaultPath(tenant.vault_namespace, f"{engine.leases}/{name}"), None if good else role)
