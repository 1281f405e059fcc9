"""The work queue, with the semantics of client-go's: de-duplicated, a key never runs twice at once."""

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from axon_operator.domain.resources import Ref


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay after failures of one key: full jitter over an exponentially growing span, in seconds."""

    base: float
    cap: float

    def delay(self, failures: int, rng: Callable[[float, float], float] = random.uniform) -> float:
        """`failures` counts from 1. Full jitter, so that many keys do not retry together."""
        return rng(0, min(self.cap, self.base * 2 ** min(failures - 1, 30))) + 0.05


class WorkQueue:
    """Keys that want attention. Thread-safe.

    `add` while a key is being worked on is remembered and runs it once more. Each key has at most one
    timer; `add` makes it superfluous.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: deque[Ref] = deque()
        self._queued: set[Ref] = set()
        self._active: set[Ref] = set()
        self._again: set[Ref] = set()
        self._due: dict[Ref, float] = {}
        self._timers: list[tuple[float, int, Ref]] = []
        self._sequence = 0
        self._failures: dict[Ref, int] = {}
        self._closed = False
        self._changed = threading.Condition()

    def add(self, key: Ref) -> None:
        """Asks for attention now."""
        with self._changed:
            self._due.pop(key, None)
            if key in self._active:
                self._again.add(key)
            elif key not in self._queued:
                self._queued.add(key)
                self._ready.append(key)
                self._changed.notify()

    def add_after(self, key: Ref, delay: float) -> None:
        """Asks for attention in `delay` seconds, instead of what was asked for before."""
        with self._changed:
            self._sequence += 1
            self._due[key] = self._clock() + delay
            heapq.heappush(self._timers, (self._due[key], self._sequence, key))
            self._changed.notify()

    def add_failed(self, key: Ref, backoff: Backoff) -> float:
        """Asks for attention after a delay that grows with the key's failures; returns the delay."""
        with self._changed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = backoff.delay(failures)
        self.add_after(key, delay)
        return delay

    def forget(self, key: Ref) -> None:
        """The key succeeded: its next failure counts as the first."""
        with self._changed:
            self._failures.pop(key, None)

    def get(self) -> Ref | None:
        """The next key, to be given back with `done`; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                wait = self._release_due()
                if self._ready:
                    key = self._ready.popleft()
                    self._queued.discard(key)
                    self._active.add(key)
                    return key
                self._changed.wait(wait)
            return None

    def done(self, key: Ref) -> None:
        """The key's work is over; runs it again if it was added meanwhile."""
        with self._changed:
            self._active.discard(key)
            if key in self._again:
                self._again.discard(key)
                self._due.pop(key, None)
                self._queued.add(key)
                self._ready.append(key)
                self._changed.notify()

    def close(self) -> None:
        """Hands out no more keys."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Number of keys that wait for a worker."""
        with self._changed:
            return len(self._ready)

    def _release_due(self) -> float | None:
        """Moves due keys to the ready ones; returns the seconds until the next timer."""
        now = self._clock()
        while self._timers:
            due, _, key = self._timers[0]
            if self._due.get(key) != due:  # replaced or superfluous
                heapq.heappop(self._timers)
            elif due > now:
                return due - now
            else:
                heapq.heappop(self._timers)
                del self._due[key]
                if key in self._active:
                    self._again.add(key)
                elif key not in self._queued:
                    self._queued.add(key)
                    self._ready.append(key)
        return None
