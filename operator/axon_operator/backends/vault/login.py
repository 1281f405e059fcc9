"""One login for all worker threads, renewed by logging in again."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from axon_operator.backends.errors import Denied, Transient


@dataclass(frozen=True, slots=True)
class Login:
    """A token and when to replace it."""

    token: str = field(repr=False)
    renew_at: float
    """On the monotonic clock: the wall clock of another machine plays no part."""


class SharedLogin:
    """Holds the current login. Any number of threads may use it at once.

    Whoever finds it stale logs in; the others wait for that one login and share its outcome, so that an
    unreachable server costs every thread one timeout and not one per thread.
    """

    def __init__(self, log_in: Callable[[], Login], clock: Callable[[], float]) -> None:
        self._log_in = log_in
        self._clock = clock
        self._lock = threading.Lock()
        self._login: Login | None = None
        self._failed_at = float("-inf")
        self._failure: Transient | Denied | None = None

    def token(self, refused: str | None = None) -> str:
        """A token that is not due for renewal and is not the one that the server has just refused.

        Raises:
            Transient, Denied: as the login itself.
        """
        arrived = self._clock()
        # no lock on the common way: reading one attribute is atomic, and a Login never changes
        if (login := self._usable(refused)) is not None:
            return login.token
        with self._lock:
            if (login := self._usable(refused)) is not None:
                return login.token
            if self._failure is not None and self._failed_at > arrived:
                # a new instance each time: raising writes a traceback into it
                raise type(self._failure)(self._failure.reason, self._failure.message)
            self._login = None
            try:
                login = self._log_in()
            except (Transient, Denied) as error:
                self._failed_at = self._clock()
                self._failure = type(error)(error.reason, error.message)
                raise
            self._login = login
            return login.token

    def _usable(self, refused: str | None) -> Login | None:
        login = self._login
        if login is None or login.token == refused or self._clock() >= login.renew_at:
            return None
        return login
