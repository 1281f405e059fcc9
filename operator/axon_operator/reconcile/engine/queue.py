"""The work queue, with the semantics of client-go's: de-duplicated, a key never runs twice at once.

Ours and not a library's, because none has all three: serial keys, priorities, and turns between tenants.
"""

import heapq
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from axon_operator.domain.resources import Ref

_URGENT_IN_A_ROW = 16
"""After so many urgent keys a routine one has its turn, so that routine work never stands still."""


class Priority(IntEnum):
    """Which keys go first."""

    URGENT = 0
    """Somebody is waiting: a fresh edit, and what follows from it."""
    ROUTINE = 1
    """Nobody is: the first look after a start, resync, retries."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay after failures of one key: full jitter over an exponentially growing span, in seconds."""

    base: float
    cap: float

    def delay(self, failures: int, rng: Callable[[float, float], float] = random.uniform) -> float:
        """`failures` counts from 1. Full jitter, so that many keys do not retry together."""
        return rng(0, min(self.cap, self.base * 2 ** min(failures - 1, 30))) + 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """A key that waits for a worker."""

    priority: Priority
    since: float


class WorkQueue:
    """Keys that want attention. Thread-safe.

    `add` while a key is being worked on is remembered and runs it once more. Each key has at most one
    timer; `add` makes it superfluous. Tenants take turns, and no tenant has more than its share of the
    workers, so that one whose backend hangs cannot occupy them all.
    """

    def __init__(
        self,
        *,
        tenant: Callable[[Ref], str],
        share: int,
        clock: Callable[[], float] = time.monotonic,
        waited: Callable[[Priority, float], None] = lambda _priority, _seconds: None,
    ) -> None:
        """`tenant`: whose turn a key belongs to. `share`: keys of one tenant that may run at once.

        `waited`: told how many seconds a key has waited when a worker takes it.
        """
        self._tenant = tenant
        self._share = share
        self._clock = clock
        self._waited = waited
        self._turns = {priority: _Turns() for priority in Priority}
        self._queued: dict[Ref, Entry] = {}
        self._active: set[Ref] = set()
        self._running: Counter[str] = Counter()
        self._again: dict[Ref, Priority] = {}
        self._due: dict[Ref, tuple[float, Priority]] = {}
        self._timers: list[tuple[float, int, Ref]] = []
        self._sequence = 0
        self._failures: dict[Ref, int] = {}
        self._urgent_in_a_row = 0
        self._closed = False
        self._changed = threading.Condition()

    def add(self, key: Ref, priority: Priority) -> None:
        """Asks for attention now; of two priorities asked for, the more urgent counts."""
        with self._changed:
            self._due.pop(key, None)
            self._add(key, priority)

    def add_after(self, key: Ref, delay: float, priority: Priority) -> None:
        """Asks for attention in `delay` seconds, instead of what was asked for before."""
        with self._changed:
            self._sequence += 1
            due = self._clock() + delay
            self._due[key] = (due, priority)
            heapq.heappush(self._timers, (due, self._sequence, key))
            self._changed.notify()

    def add_failed(self, key: Ref, backoff: Backoff) -> float:
        """Asks for attention after a delay that grows with the key's failures; returns the delay."""
        with self._changed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = backoff.delay(failures)
        self.add_after(key, delay, Priority.ROUTINE)
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
                key = self._take()
                if key is not None:
                    # whoever waits next must mind the timers that this worker leaves
                    self._changed.notify()
                    return key
                self._changed.wait(wait)
            return None

    def done(self, key: Ref) -> None:
        """The key's work is over; runs it again if it was added meanwhile."""
        with self._changed:
            self._active.discard(key)
            self._running -= Counter([self._tenant(key)])  # drops what falls to zero
            again = self._again.pop(key, None)
            if again is not None:
                self._due.pop(key, None)
                self._add(key, again)
            # the tenant's next key may have waited for this one to end
            self._changed.notify()

    def close(self) -> None:
        """Hands out no more keys."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def depth(self, priority: Priority) -> int:
        """Number of keys of that priority that wait for a worker."""
        with self._changed:
            return sum(entry.priority is priority for entry in self._queued.values())

    def _add(self, key: Ref, priority: Priority) -> None:
        if key in self._active:
            self._again[key] = min(priority, self._again.get(key, priority))
            return
        queued = self._queued.get(key)
        if queued is not None and queued.priority <= priority:
            return
        # a key that becomes urgent leaves its old place behind; `_take` skips it
        self._queued[key] = Entry(priority, queued.since if queued else self._clock())
        self._turns[priority].append(self._tenant(key), key)
        self._changed.notify()

    def _take(self) -> Ref | None:
        turns = (Priority.URGENT, Priority.ROUTINE)
        if self._urgent_in_a_row >= _URGENT_IN_A_ROW:
            turns = (Priority.ROUTINE, Priority.URGENT)
        for priority in turns:
            key = self._turns[priority].pop(self._may_run, lambda k, p=priority: self._stands(k, p))  # type: ignore[misc]
            if key is not None:
                self._urgent_in_a_row = self._urgent_in_a_row + 1 if priority is Priority.URGENT else 0
                entry = self._queued.pop(key)
                self._active.add(key)
                self._running[self._tenant(key)] += 1
                self._waited(entry.priority, self._clock() - entry.since)
                return key
        return None

    def _may_run(self, tenant: str) -> bool:
        return self._running[tenant] < self._share

    def _stands(self, key: Ref, priority: Priority) -> bool:
        entry = self._queued.get(key)
        return entry is not None and entry.priority is priority

    def _release_due(self) -> float | None:
        """Moves due keys to the ready ones; returns the seconds until the next timer."""
        now = self._clock()
        while self._timers:
            due, _, key = self._timers[0]
            standing = self._due.get(key)
            if standing is None or standing[0] != due:  # replaced or superfluous
                heapq.heappop(self._timers)
            elif due > now:
                return due - now
            else:
                heapq.heappop(self._timers)
                del self._due[key]
                self._add(key, standing[1])
        return None


class _Turns:
    """Keys of one priority: first come, first served within a tenant; tenants take turns."""

    def __init__(self) -> None:
        self._keys: dict[str, deque[Ref]] = {}
        self._order: deque[str] = deque()

    def append(self, tenant: str, key: Ref) -> None:
        if tenant not in self._keys:
            self._keys[tenant] = deque()
            self._order.append(tenant)
        self._keys[tenant].append(key)

    def pop(self, may_run: Callable[[str], bool], stands: Callable[[Ref], bool]) -> Ref | None:
        """The first key of the next tenant that may run one; keys that no longer stand are dropped."""
        for _ in range(len(self._order)):
            tenant = self._order.popleft()
            keys = self._keys[tenant]
            while keys and not stands(keys[0]):
                keys.popleft()
            if keys and may_run(tenant):
                key = keys.popleft()
                self._requeue(tenant)
                return key
            self._requeue(tenant)
        return None

    def _requeue(self, tenant: str) -> None:
        if self._keys[tenant]:
            self._order.append(tenant)
        else:
            del self._keys[tenant]
