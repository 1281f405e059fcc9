"""Stage of forced logouts. OpenBao is closed to the user first, then the sessions end; later it opens again."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError

from axon_operator.api.identity import EVERYBODY, Logout, LogoutStatus
from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError, Terminal, Waiting
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.names import LOGOUT_KEY, USER_AUTH_MOUNT, TenantNames
from axon_operator.domain.resources import VaultPath
from axon_operator.domain.tenant.logout import kept, kept_out, pending
from axon_operator.domain.tenant.vault import login_roles, users_mount
from axon_operator.reconcile.common import attempt, not_asked
from axon_operator.reconcile.engine.plan import (
    Backends,
    Change,
    Outcome,
    RealmLogout,
    RealmLogoutUser,
    Stage,
    VaultDelete,
    VaultWrite,
)
from axon_operator.reconcile.tenant.seen import People, Person, TenantSeen
from axon_operator.reconcile.tenant.vault import revoke

_ROLES = f"auth/{USER_AUTH_MOUNT}/role"
_LOGINS = f"sys/leases/lookup/auth/{USER_AUTH_MOUNT}/login"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def look_for_people(
    to: Backends, names: TenantNames, logouts: Sequence[Logout], done: Sequence[LogoutStatus]
) -> People:
    """Those whose logout is not over, by their name in the spec."""
    subjects = {d.user: d.subject for d in done if d.readmitted_at is None}
    wanted = dict.fromkeys((*(w.user for w in pending(logouts, done)), *subjects))
    mount = cache(lambda: (to.vault.read(users_mount(names)) or {}).get("accessor"))
    return {user: attempt(lambda user=user: _look(to, names, user, subjects.get(user), mount)) for user in wanted}  # type: ignore[misc]


def _look(
    to: Backends, names: TenantNames, user: str, known: str | None, users_accessor: Callable[[], str | None]
) -> Person:
    """`users_accessor`: of the mount through which all of them log in, asked for when it is needed first."""
    if user == EVERYBODY:
        ways = (VaultPath(names.vault_namespace, path) for path in (_ROLES, _LOGINS))
        return Person(None, open=any(to.vault.list(at) for at in ways))
    subject = known or to.keycloak.find_user(names.realm, user)
    mount = users_accessor()
    if subject is None or mount is None:
        return Person(subject, mount)
    return Person(subject, mount, _entity(to.vault, names, subject, mount))


def _entity(vault: Vault, names: TenantNames, subject: str, mount: str) -> Mapping[str, Any] | None:
    """The entity of who has logged in before; else the one that stands in for who has not."""
    alias = {"alias_name": subject, "alias_mount_accessor": mount}
    found = vault.look_up(VaultPath(names.vault_namespace, "identity/lookup/entity"), alias)
    return found or vault.read(_stand_in(names, subject))


def _stand_in(names: TenantNames, subject: str) -> VaultPath:
    return VaultPath(names.vault_namespace, f"identity/entity/name/logout-{subject}")


def logout_stage(seen: TenantSeen) -> Stage | None:
    """None where nothing is asked for and nothing is left to open again."""
    waiting = pending(seen.spec.identity.logout, seen.logouts)
    if not seen.spec.identity.logout and all(done.readmitted_at for done in seen.logouts):
        return None
    changes: list[Change] = []
    problem: ReconcileError | None = None
    for logout in waiting:
        person = seen.people.get(logout.user, not_asked())
        if isinstance(person, ReconcileError):
            problem = problem or person
        elif logout.user != EVERYBODY and person.subject is None:
            message = f"Realm {seen.names.realm} has no user {logout.user}; correct spec.identity.logout."
            problem = problem or Terminal(Reason.USER_NOT_FOUND, message)
        else:
            changes += _closing(seen.names, logout, person)
            if not person.closed:
                problem = problem or Waiting(Reason.PROGRESSING, "Sessions are being ended.", after=0)
    changes += (change for done in seen.logouts for change in (*_keeping_out(seen, done), *_opening(seen, done)))
    waits = [left for done in seen.logouts if (left := _left(seen, done)) > 0]
    return Stage(
        ConditionType.SESSIONS_ENDED,
        tuple(changes),
        problem,
        independent=True,
        message="All sessions asked for have ended.",
        # what has just ended opens again as well
        look_again=min([*waits, *((_left_at_first(seen),) if waiting else ())], default=None),
    )


def logouts_after(seen: TenantSeen, outcome: Outcome, ended: datetime.datetime) -> tuple[LogoutStatus, ...]:
    """What the status records: a logout is done when OpenBao was seen closed and the sessions ended behind that.

    `ended`: a time behind all changes of the pass.
    """
    now = ended.strftime(_TIME)
    before = {d.user: d for d in seen.logouts}
    for logout in pending(seen.spec.identity.logout, seen.logouts):
        person = seen.people.get(logout.user, not_asked())
        if isinstance(person, Person) and person.closed and _end(seen.names, person) in outcome.applied:
            before[logout.user] = LogoutStatus(
                user=logout.user, trigger=logout.trigger, subject=person.subject, ended_at=now
            )
    over = {
        d.user: d.model_copy(update={"readmitted_at": now})
        for d in seen.logouts
        if _is_over(seen, d) and all(c in outcome.applied for c in _opening(seen, d)) and before[d.user] is d
    }
    return kept(seen.spec.identity.logout, tuple({**before, **over}.values()))


def _end(names: TenantNames, person: Person) -> Change:
    return RealmLogoutUser(names.realm, person.subject) if person.subject else RealmLogout(names.realm)


def _closing(names: TenantNames, logout: Logout, person: Person) -> list[Change]:
    """OpenBao first: a token that is still good must not buy a new login while the sessions end."""
    return [*_shutting(names, logout, person), _end(names, person)]


def _shutting(names: TenantNames, logout: Logout, person: Person) -> list[Change]:
    if person.closed:
        return []
    if person.subject is None:
        return [*map(VaultDelete, login_roles(names)), revoke(names, f"auth/{USER_AUTH_MOUNT}")]
    if person.entity is None:
        body = {"disabled": True, "metadata": {LOGOUT_KEY: logout.trigger}}
        return [VaultWrite(_stand_in(names, person.subject), body)]
    changes: list[Change] = []
    if not person.entity.get("disabled"):
        body = {"disabled": True, "metadata": {**(person.entity.get("metadata") or {}), LOGOUT_KEY: logout.trigger}}
        changes.append(VaultWrite(VaultPath(names.vault_namespace, f"identity/entity/id/{person.entity['id']}"), body))
    if not person.entity.get("aliases"):
        alias = {"name": person.subject, "canonical_id": person.entity["id"], "mount_accessor": person.mount}
        changes.append(VaultWrite(VaultPath(names.vault_namespace, "identity/entity-alias"), alias))
    return changes


def _keeping_out(seen: TenantSeen, done: LogoutStatus) -> list[Change]:
    """What somebody has opened before the time is shut again."""
    person = seen.people.get(done.user, not_asked())
    again = Logout(user=done.user, trigger=done.trigger)
    return _shutting(seen.names, again, person) if isinstance(person, Person) and _left(seen, done) > 0 else []


def _opening(seen: TenantSeen, done: LogoutStatus) -> list[Change]:
    """Deleting the entity is what readmits: its old tokens stay dead, and the next login gets a new one (measured)."""
    person = seen.people.get(done.user, not_asked())
    if not _is_over(seen, done) or not isinstance(person, Person) or person.entity is None:
        return []
    if LOGOUT_KEY not in (person.entity.get("metadata") or {}):
        return []
    return [VaultDelete(VaultPath(seen.names.vault_namespace, f"identity/entity/id/{person.entity['id']}"))]


def _is_over(seen: TenantSeen, done: LogoutStatus) -> bool:
    """Whether the user may come back now, and OpenBao and Keycloak have been asked."""
    asked = isinstance(seen.people.get(done.user, not_asked()), Person)
    return asked and not _again(seen, done) and done.readmitted_at is None and _left(seen, done) == 0


def _again(seen: TenantSeen, done: LogoutStatus) -> bool:
    """Whether the same user, however spelled, is to be kept out by another entry."""
    others = (w.user for w in pending(seen.spec.identity.logout, seen.logouts))
    people = (seen.people.get(user, not_asked()) for user in others)
    subjects = {person.subject if isinstance(person, Person) else done.subject for person in people}
    later = (d for d in seen.logouts if d is not done and d.subject == done.subject and _left(seen, d) > 0)
    return done.subject in subjects or any(later)


def _left(seen: TenantSeen, done: LogoutStatus) -> float:
    return kept_out(done, seen.now)


def _left_at_first(seen: TenantSeen) -> float:
    ended = LogoutStatus(user=EVERYBODY, trigger="now", ended_at=seen.now.strftime(_TIME))
    return _left(seen, ended)


def parse_logouts(status: Mapping[str, Any]) -> tuple[LogoutStatus, ...]:
    """Those that the status records."""
    return tuple(parsed for item in status.get("logouts") or () if (parsed := _parsed(item)))


def _parsed(item: Any) -> LogoutStatus | None:
    """None for one that this version does not understand: the logout is then carried out once more."""
    try:
        return LogoutStatus.model_validate(item)
    except ValidationError:
        return None
