"""The four errors. Adapters raise nothing else, in our own words and `from None`.

    ReconcileError
    ├── Terminal    the user must change something: Stalled, no retry
    ├── Waiting     something is under way: look again after a fixed time
    ├── Transient   a backend does not do its part: retry with backoff
    └── Denied      a backend refuses us: one new login was already tried; back off long

Messages go into status, events and logs. They never contain text from a library or a server,
because such text can carry values (see docs/threat-model.md).
"""

from axon_operator.api.reasons import Reason


class ReconcileError(Exception):
    """Base of the four; `reason` and `message` are written by us and safe to show."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Terminal(ReconcileError):
    """Retrying is useless until a person changes something; the message says what."""


class Waiting(ReconcileError):
    """Not there yet, and nothing is wrong."""

    def __init__(self, reason: Reason, message: str, *, after: float) -> None:
        """`after`: seconds until it is worth looking again."""
        super().__init__(reason, message)
        self.after = after


class Transient(ReconcileError):
    """A backend is away or failing; the retry delay grows with every failure of the same object."""


class NotSent(Transient):
    """The operator itself held a call back: it says nothing new about the backend, and nothing was changed."""


class Behind(Transient):
    """The backend answered that a system behind it is away: that says nothing bad about the backend."""


class Denied(ReconcileError):
    """A backend refuses the operator although it has just logged in again."""
