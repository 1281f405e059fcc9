"""Forced logouts: which are still to be done, and who is kept out meanwhile.

An access token is good until it expires, also after its session has ended: OpenBao checks its signature and times
only. So whoever is logged out can log in to OpenBao again only when every token of before has expired.
"""

import datetime
from collections.abc import Iterable, Sequence

from axon_operator.api.identity import EVERYBODY, Logout, LogoutStatus

_LONGEST = 120
"""Seconds that an access token lasts at most (`spec.identity.sessions`), whatever the spec says now."""
_SKEW = 30
"""Seconds by which the clocks of Keycloak, OpenBao and the operator may differ."""


def pending(wanted: Sequence[Logout], done: Iterable[LogoutStatus]) -> tuple[Logout, ...]:
    """Those whose trigger has not been answered."""
    answered = {(d.user, d.trigger) for d in done}
    return tuple(w for w in wanted if (w.user, w.trigger) not in answered)


def kept_out(done: LogoutStatus, now: datetime.datetime) -> float:
    """Seconds for which OpenBao must not yet accept the user's logins; 0 when they may be accepted, or are."""
    if done.readmitted_at is not None:
        return 0.0
    ended = datetime.datetime.fromisoformat(done.ended_at)
    left = ended + datetime.timedelta(seconds=_LONGEST + _SKEW) - now
    return max(0.0, left.total_seconds())


def closed_to_everybody(wanted: Sequence[Logout], done: Sequence[LogoutStatus], now: datetime.datetime) -> bool:
    """Whether nobody may log in to OpenBao as a user."""
    everybody = (d for d in done if d.user == EVERYBODY)
    return any(p.user == EVERYBODY for p in pending(wanted, done)) or any(kept_out(d, now) > 0 for d in everybody)


def kept(wanted: Sequence[Logout], done: Sequence[LogoutStatus]) -> tuple[LogoutStatus, ...]:
    """What must stay in the status: what answers the spec, and what is not over yet."""
    current = {(w.user, w.trigger) for w in wanted}
    return tuple(d for d in done if (d.user, d.trigger) in current or d.readmitted_at is None)
