"""Whether the workers get on: what the liveness probe asks.

Not how long a pass takes. One over a runtime with dozens of bindings makes hundreds of calls, and while OpenBao is
slow it lasts as long as it lasts; a restart would only begin it anew.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_STUCK: Final = 600.0
"""Seconds: many times what one call can take, with a login before it and another try behind it."""


class Progress:
    """When each worker last got on: began a pass, or ended a call of it. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: dict[int, float] = {}
        """Of the threads that are in a pass."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around one pass, in the thread that makes it."""
        thread = threading.get_ident()
        self._at[thread] = self._clock()
        try:
            yield
        finally:
            del self._at[thread]

    def noted(self) -> None:
        """A call has ended, in whatever way. Also told by threads that are in no pass."""
        thread = threading.get_ident()
        if thread in self._at:
            self._at[thread] = self._clock()

    @property
    def stuck(self) -> bool:
        """Whether any worker has been in the same call, or between two, for longer than that can take."""
        now = self._clock()
        return any(now - at > _STUCK for at in tuple(self._at.values()))
