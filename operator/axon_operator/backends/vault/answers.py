"""What OpenBao's answers mean, and the errors they become.

OpenBao says several different things with one status code (400 for an absent mount, 503 for both sealed
and locked), so its text has to be looked at. It is matched here and never leaves this module.
"""

from enum import Enum, auto
from typing import Final

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Behind, Denied, ReconcileError, Terminal, Transient, Waiting

DELETION_POLL: Final = 2.0
LOCK_POLL: Final = 30.0


class Answer(Enum):
    """What the server said."""

    DONE = auto()
    UNCHANGED = auto()
    """The state asked for was there already."""
    ABSENT = auto()
    """What the path names does not exist."""
    NO_NAMESPACE = auto()
    """The namespace of the request does not exist."""
    UNSUPPORTED = auto()
    """This server has no such function."""
    GOING = auto()
    """The namespace is being deleted."""
    APPEARED = auto()
    """A mount or an issuer was to be created where there is one."""
    DENIED = auto()
    LOCKED = auto()
    SEALED = auto()
    BUSY = auto()
    """Over a rate limit."""
    ELSEWHERE = auto()
    """A redirect: followed, it would carry the token to another host."""
    KEYLESS = auto()
    """It cannot fetch the API server's keys, so it verifies no login."""
    REALMLESS = auto()
    """It cannot fetch a realm's keys, so it does not take them for those that verify users' logins."""
    DATABASE_REFUSES = auto()
    """A database refuses the login of OpenBao."""
    DATABASE_UNTRUSTED = auto()
    """A database's certificate is not one that OpenBao trusts."""
    DATABASE_AWAY = auto()
    """OpenBao does not reach a database."""
    DATABASE_KEEPS = auto()
    """A database does not let OpenBao's account change the password of another one, or has none of that name."""
    FOREIGN = auto()
    """Not OpenBao's words: from something between it and the operator."""
    FAILING = auto()
    REJECTED = auto()


_BY_STATUS: Final = {
    403: Answer.DENIED,
    404: Answer.ABSENT,
    # a server that has not caught up with an earlier write
    412: Answer.FAILING,
    429: Answer.BUSY,
    # standby nodes of Vault's disaster recovery and performance replication
    472: Answer.FAILING,
    473: Answer.FAILING,
}
_BY_TEXT: Final = (
    # measured against OpenBao 2.7.2
    (400, "no secret engine mount at", Answer.ABSENT),
    (400, "no auth engine at", Answer.ABSENT),
    (400, "unknown audit backend", Answer.ABSENT),
    (400, "could not delete key; not found", Answer.ABSENT),
    (400, "no existing key named", Answer.ABSENT),
    (400, "path is already in use", Answer.APPEARED),
    (400, "issuer name already in use", Answer.APPEARED),
    (400, "is already locked", Answer.UNCHANGED),
    (400, "is not locked", Answer.UNCHANGED),
    (400, "tainted", Answer.GOING),
    (400, "keyset configuration error", Answer.KEYLESS),
    (400, "fetching keys", Answer.KEYLESS),
    (400, "error checking jwks", Answer.REALMLESS),
    (400, "prometheus is not enabled", Answer.UNSUPPORTED),
    (404, "namespace not found", Answer.NO_NAMESPACE),
    (404, "unsupported path", Answer.UNSUPPORTED),
    (404, "namespace is tainted", Answer.GOING),
    (500, "unable to find pki issuer for reference", Answer.ABSENT),
    (503, "locked by an administrator", Answer.LOCKED),
    (503, "sealed", Answer.SEALED),
)

_OF_A_DATABASE: Final = ("failed to connect to `", "cannot parse connection url")
"""How what OpenBao's driver for PostgreSQL says begins. Names of accounts and databases follow: they have no blanks."""
_BY_DRIVERS_TEXT: Final = (
    ("(sqlstate 28", Answer.DATABASE_REFUSES),
    ("(sqlstate 3d", Answer.DATABASE_REFUSES),
    ("(sqlstate 42501", Answer.DATABASE_REFUSES),
    (" x509: ", Answer.DATABASE_UNTRUSTED),
    ("unable to read ca file", Answer.DATABASE_UNTRUSTED),
    ("unable to add ca", Answer.DATABASE_UNTRUSTED),
)


_OF_AN_ACCOUNT: Final = "error setting credentials"
_UNCHANGEABLE: Final = ("(sqlstate 42501)", "(sqlstate 42704)")
"""What PostgreSQL says where somebody may not change an account, and where there is none of that name."""


def classify(status: int, text: str) -> Answer:
    """Read an answer's status code and, where that is ambiguous, its text."""
    lowered = text.lower()
    if status in {400, 500} and any(words in lowered for words in _OF_A_DATABASE):
        return next((answer for words, answer in _BY_DRIVERS_TEXT if words in lowered), Answer.DATABASE_AWAY)
    if _OF_AN_ACCOUNT in lowered and any(words in lowered for words in _UNCHANGEABLE):
        return Answer.DATABASE_KEEPS
    for code, words, answer in _BY_TEXT:
        if status == code and words in lowered:
            return answer
    if status == 404 and not lowered.lstrip().startswith("{"):
        # taken for "absent", a proxy's page would end a deletion that has not happened
        return Answer.FOREIGN
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    match status // 100:
        case 2:
            return Answer.DONE
        case 3:
            return Answer.ELSEWHERE
        case 4:
            return Answer.REJECTED
        case _:
            return Answer.FAILING


def as_error(answer: Answer, address: str, action: str) -> ReconcileError:
    """The error for an answer that the caller has no use for.

    Args:
        answer: what the server said.
        address: the server's, from the operator's settings.
        action: what was tried, in our words, such as `write t-0123/sys/mounts/kv`.
    """
    if problem := _behind(answer, action):
        return problem
    match answer:
        case Answer.ABSENT | Answer.NO_NAMESPACE:
            return Waiting(
                Reason.DEPENDENCY_NOT_READY,
                f"To {action}, something above it has to exist in OpenBao first.",
                after=DELETION_POLL,
            )
        case Answer.GOING:
            return Waiting(
                Reason.DELETING, f"Cannot {action} yet: that namespace is being deleted.", after=DELETION_POLL
            )
        case Answer.APPEARED:
            return Waiting(
                Reason.PROGRESSING,
                f"Could not {action}: it appeared after it was last looked at; looking again.",
                after=DELETION_POLL,
            )
        case Answer.LOCKED:
            return Waiting(
                Reason.VAULT_LOCKED,
                f"Cannot {action}: the namespace is locked. If the tenant is not suspended, unlock it with "
                "`bao namespace unlock` in the parent namespace.",
                after=LOCK_POLL,
            )
        case Answer.DENIED:
            return Denied(
                Reason.VAULT_DENIED,
                f"OpenBao at {address} does not let the operator {action}, even after a new login; "
                "run manifests/bootstrap/openbao/bootstrap.sh of this version, which writes its policy.",
            )
        case Answer.REJECTED | Answer.UNSUPPORTED:
            return Terminal(
                Reason.REQUEST_REJECTED,
                f"OpenBao at {address} rejected the request to {action} as invalid; "
                "check that its version is supported, and its own log for the cause.",
            )
        case _:
            return Transient(Reason.VAULT_UNAVAILABLE, f"OpenBao at {address} {_TROUBLE[answer]}.")


def _behind(answer: Answer, action: str) -> ReconcileError | None:
    """The error for an answer that speaks of a database; None for another one."""
    match answer:
        case Answer.DATABASE_REFUSES:
            return Terminal(
                Reason.DATABASE_LOGIN_REFUSED,
                f"To {action}, OpenBao logged in to the database, which refuses the user, the password or the "
                "database's name. Set these right in the spec, or set a new password in the database and put it into "
                "the Secret that the spec names; the one of before is good for one adoption only.",
            )
        case Answer.DATABASE_UNTRUSTED:
            return Terminal(
                Reason.DATABASE_UNTRUSTED,
                f"To {action}, OpenBao has to trust the database's certificate, and does not. Check that it is for the "
                "host in the spec, and that the authority that the spec names has its file on OpenBao's server.",
            )
        case Answer.DATABASE_AWAY:
            return Behind(
                Reason.DATABASE_UNREACHABLE,
                f"To {action}, OpenBao has to reach the database, and does not. Check host and port in the spec, that "
                "the database takes connections with TLS, and the network from OpenBao's pods to it.",
            )
        case Answer.DATABASE_KEEPS:
            return Terminal(
                Reason.DATABASE_ACCOUNT_REFUSED,
                f"To {action}, OpenBao has to change the password of an account of the database, which has none of that "
                "name or does not let it. Make the account, and let the one of username change it "
                '(GRANT "account" TO "username" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE), or correct spec.vault.databases '
                "of the Tenant. If the account is gone for good, delete its entry below database/static-roles in OpenBao.",
            )
        case _:
            return None


def why_refused(text: str) -> str:
    """What to set right when a login is refused, from the answer's text."""
    return next((remedy for words, remedy in _REFUSALS if words in text), _ANY_REFUSAL)


_BOOTSTRAP: Final = "manifests/bootstrap/openbao/bootstrap.sh"
_REFUSALS: Final = (
    # measured against OpenBao 2.7.2
    ("namespace not found", f"there is no such namespace; run {_BOOTSTRAP}, or correct vault.namespace of the chart"),
    ("could not be found", f"there is no such role; run {_BOOTSTRAP}, or correct vault.role of the chart"),
    (
        "invalid audience (aud) claim",
        "the token's audience is not the role's; let the projected token in the operator's pod have the audience "
        f"openbao, as the chart does, and run {_BOOTSTRAP} if the role has another one",
    ),
    (
        "invalid subject (sub) claim",
        f"the role is another service account's; run {_BOOTSTRAP}, which binds it to axon-system:axon-operator",
    ),
    (
        "associated bound claim values",
        "the role is pinned to the uid of another service account, as after the operator's was made anew; run "
        f"{_BOOTSTRAP} with OPERATOR_UID=<uid of the operator's service account>",
    ),
    (
        "verifying token signature",
        "the token is not signed by the API server whose keys OpenBao has; let OpenBao run in this cluster, or its "
        "mount trust this cluster's issuer",
    ),
)
_ANY_REFUSAL: Final = (
    f"run {_BOOTSTRAP}, which makes namespace, mount and role, or correct vault.authMount of the chart; "
    "see that the namespace is not locked"
)


_TROUBLE: Final = {
    Answer.SEALED: "is sealed; unseal it",
    Answer.BUSY: "refuses requests because of a rate quota; raise the quota if this lasts",
    Answer.KEYLESS: "cannot verify logins: it does not reach the API server; check its network policies and its "
    "service account's token",
    Answer.REALMLESS: "cannot fetch the keys of the tenant's realm, so it lets no user in; check the network policies "
    "between OpenBao and Keycloak, and that the operator's CA file for Keycloak is that of Keycloak's certificate",
    Answer.ELSEWHERE: "answered with a redirect, which is never followed; give the operator the final address",
    Answer.FAILING: "answered with an error of its own; check its log and that every audit device can write",
    Answer.FOREIGN: "answered in an unknown form; check that nothing stands between it and the operator",
    # answers with which a caller that asked for something else cannot go on
    Answer.DONE: "answered in an unknown form; check that nothing stands between it and the operator",
    Answer.UNCHANGED: "answered in an unknown form; check that nothing stands between it and the operator",
}
