"""Waiting with a deadline and with an answer to "what did it look like when time was up?"."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Unmet(Exception):
    """What a probe raises while its condition does not hold; the text says what it sees instead."""


class WaitedTooLongError(AssertionError):
    """A condition did not come true in time."""


def until(what: str, probe: Callable[[], T], *, timeout: float = 60, every: float = 0.5) -> T:
    """The probe's result, as soon as it raises no `Unmet`."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return probe()
        except Unmet as unmet:
            seen = unmet
        if time.monotonic() > deadline:
            raise WaitedTooLongError(f"{what}: not within {timeout:g} s; last seen: {seen}")
        time.sleep(every)


def until_true(what: str, probe: Callable[[], bool], *, timeout: float = 60, every: float = 0.5) -> None:
    """Returns as soon as the probe says True."""

    def check() -> None:
        if not probe():
            raise Unmet("still not so")

    until(what, check, timeout=timeout, every=every)


def stays(what: str, probe: Callable[[], bool], *, seconds: float, every: float = 0.5) -> None:
    """Fails as soon as the probe says False within the given time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not probe():
            raise AssertionError(f"{what}: no longer so, {deadline - time.monotonic():.1f} s before the end")
        time.sleep(every)
