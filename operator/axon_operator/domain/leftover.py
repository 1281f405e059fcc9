"""What a SecretBinding leaves in OpenBao if its deletion ends while OpenBao is away, and when it may end so."""

import datetime
import re
from collections.abc import Iterable, Sequence

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.domain.finding import Finding
from axon_operator.domain.issue import Told

LONGEST = 86_400
"""Seconds: the longest `ttl` that a binding can have, or have had."""
_LONGEST_LOGIN = 4 * LONGEST
"""Twice the longest `ttl` with the longest overlap."""
_MARGIN = 600
"""Seconds for pods that came and went between two looks, and for two clocks."""
_NAMED = 10


def ends_at(since: datetime.datetime, login: str | None, token: int) -> datetime.datetime:
    """When nothing can be good any more of what the pods of a runtime had, or could have fetched.

    Kubernetes may call a pod gone whose node is only out of its reach. It can log in as long as its last projected
    token lasts, fetch as long as that login lasts, and what it fetches lives for the longest `ttl`.

    Args:
        since: from then on the runtime has had no pods, and can have got none.
        login: how long a login lasts, as the runtime's ConfigMap tells it to the sidecar (`900s`).
        token: seconds that a projected token lasts.
    """
    known = re.fullmatch(r"([0-9]{1,6})s\s*", login or "")
    seconds = min(int(known[1]), _LONGEST_LOGIN) if known else _LONGEST_LOGIN
    return since + datetime.timedelta(seconds=token + seconds + LONGEST + _MARGIN)


def left(told: Told, living: Iterable[str]) -> tuple[str, ...]:
    """Names of bindings that a runtime's ConfigMap tells of, and that are gone: OpenBao was not told yet.

    The ConfigMap is changed after the policy, so as long as OpenBao is away it keeps them.

    Args:
        told: what the ConfigMap tells.
        living: uids of the bindings that there are.
    """
    known = frozenset(living)
    return tuple(sorted(name for name, it in told.bindings.items() if it.generation.uid not in known))


def finding(leftovers: Sequence[str]) -> tuple[Finding, ...]:
    """What the Tenant says of them; nothing if there are none. `leftovers`: `<binding> of <runtime>`."""
    if not leftovers:
        return ()
    more = f" and {len(leftovers) - _NAMED} more" if len(leftovers) > _NAMED else ""
    message = (
        f"Deleted while OpenBao was away, and still to be taken back there: {', '.join(leftovers[:_NAMED])}{more}."
        " No pod holds it, and accounts and certificates are past their end. The operator takes back what is left when it"
        " reaches OpenBao (see VaultReady); there is nothing else to do."
    )
    return (Finding(ConditionType.CLEARED, "False", Reason.LEFT_BEHIND, message),)
