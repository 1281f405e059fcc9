"""Work that is done again and again, in a thread of its own, by the process that leads."""

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

import structlog

from axon_operator.process.logs import new_id, report_defect

_LOOK_AGAIN = 1.0
"""Seconds between looks whether this process may begin."""


class Rounds(ABC):
    """One round at every interval."""

    def __init__(self, name: str, *, interval: float, may_begin: Callable[[], bool]) -> None:
        """`interval`: seconds from the end of a round to the next, ±10 %. `may_begin`: asked before each round."""
        self._interval = interval
        self._name = name
        self._may_begin = may_begin
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def once(self) -> None:
        """One round, whose log lines carry its name and an id."""
        with structlog.contextvars.bound_contextvars(task=self._name, reconcile=new_id()):
            self._round()

    @abstractmethod
    def _round(self) -> None:
        """One round."""

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Begins no more rounds, and waits at most `timeout` seconds for one that is under way; whether that is over."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if not self._may_begin():
                self._stopped.wait(_LOOK_AGAIN)
                continue
            try:
                self.once()
            except Exception as error:  # noqa: BLE001 - a defect must not end the rounds
                report_defect(error)
            self._stopped.wait(self._interval * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, guards nothing
