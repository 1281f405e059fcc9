"""Leader election: of several processes one works, the others stand by, warm."""

import datetime
import secrets
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import structlog

from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.kubernetes.port import Leases
from axon_operator.domain.lease import (
    Sighting,
    Timing,
    Verdict,
    claimed,
    holder_of,
    judge,
    released,
    sight,
    until_next,
)
from axon_operator.domain.resources import LEASE, Manifest, Ref
from axon_operator.process import metrics
from axon_operator.process.logs import report_defect

LEASE_NAME: Final = "axon-operator"
CALL_TIMEOUT: Final = 5.0
"""Seconds for one answer of the API server; shorter than the fence, so that a call that hangs can be repeated."""

log = structlog.stdlib.get_logger("axon_operator.lease")


class Standing(StrEnum):
    """Where a process stands in the election."""

    STANDBY = "standby"
    LEADER = "leader"
    LOST = "lost"
    """It led, and another one may lead now. There is no way back: the process must end."""


class Elector:
    """Takes and keeps the Lease, in threads of its own.

    Own code: the official client's elector compares other machines' clocks, has no timeout for a call, and a
    broken connection ends it without telling the process that leads (measured, docs/design-notes.md).
    """

    def __init__(
        self,
        kubernetes: Leases,
        *,
        namespace: str,
        pod: str,
        timing: Timing | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        """`kubernetes`: of its own, with `CALL_TIMEOUT`, so that no worker's call stands in the way of a renewal."""
        self.identity = f"{pod}_{secrets.token_hex(4)}"
        """Random at the end: a container that was restarted is another candidate than the one before."""
        self._kubernetes = kubernetes
        self._ref = Ref(LEASE, namespace, LEASE_NAME)
        self._timing = timing or Timing()
        self._monotonic = monotonic
        self._clock = clock
        self._standing = Standing.STANDBY
        self._lease: Manifest | None = None
        self._seen: Sighting | None = None
        self._current = False
        self._held_until = float("-inf")
        self._leaving = threading.Event()
        self._thread = threading.Thread(name="lease")
        metrics.LEADER.set_function(lambda: float(self.holds()))

    def holds(self) -> bool:
        """The fence: whether this process may write now.

        False as soon as the last renewal is too long ago, whatever the reason: also in the first instant of a
        process that was frozen, before any thread noticed.
        """
        return self._in_time() and not self._leaving.is_set()

    @property
    def alive(self) -> bool:
        """Whether the election goes on, once this process has entered it."""
        return self._thread.ident is None or self._thread.is_alive()

    def start(self, won: Callable[[], None], lost: Callable[[], None]) -> None:
        """Enters the election. `won` is called once, when this process leads; `lost` when it does no longer."""
        self._thread = threading.Thread(target=self._run, args=(won, lost), name="lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leaves the election. A Lease that is held is given back, so that nobody waits until it runs out.

        To be called when the work has stopped: another process may lead when this returns.
        """
        self._leaving.set()
        self._thread.join(self._timing.fence)
        if self._in_time():
            try:
                self._give_back()
            except ReconcileError as error:
                log.warning("lease not given back", reason=error.reason, message=error.message)

    def turn(self) -> Standing:
        """One look at the Lease, and one write if it is this process's turn. Raises the four errors.

        As long as its own writes succeed, the leader does not look: their answers tell it all.
        """
        seen = self._seen if self._seen and self._current else self._look(self._kubernetes.get(self._ref))
        verdict = judge(seen, self.identity, self._monotonic(), self._timing)
        if self._standing is Standing.LEADER and (verdict is not Verdict.RENEW or not self._in_time()):
            self._standing = Standing.LOST
        elif verdict is not Verdict.WAIT:
            self._claim()
            self._standing = Standing.LEADER
        return self._standing

    def _claim(self) -> None:
        self._current = False  # until the answer is there, nobody knows what the Lease says
        started = self._monotonic()
        wanted = claimed(self._lease, self._ref, self.identity, self._clock(), self._timing)
        if self._lease is None:
            self._kubernetes.create(wanted)
        else:
            self._look(self._kubernetes.replace(wanted))
            self._current = True
        # from the start of the call: the others count from a later moment, when they see its effect
        self._held_until = started + self._timing.fence

    def _look(self, lease: Manifest | None) -> Sighting:
        before = holder_of(self._lease) if self._seen else None
        self._seen, self._lease = sight(self._seen, lease, self._monotonic()), lease
        if holder_of(lease) != before:
            log.info("lease seen", holder=holder_of(lease), me=self.identity)
        return self._seen

    def _give_back(self) -> None:
        lease = self._kubernetes.get(self._ref)
        if lease is not None and holder_of(lease) == self.identity:
            self._kubernetes.replace(released(lease))
            log.info("lease given back", me=self.identity)

    def _in_time(self) -> bool:
        return self._monotonic() < self._held_until

    def _run(self, won: Callable[[], None], lost: Callable[[], None]) -> None:
        try:
            self._elect(won, lost)
        except Exception as error:  # noqa: BLE001 - /livez sees that the thread is gone, `_guard` that nobody renews
            report_defect(error)

    def _elect(self, won: Callable[[], None], lost: Callable[[], None]) -> None:
        before = Standing.STANDBY
        while not self._leaving.is_set():
            standing = self._tried(before)
            if standing is Standing.LOST:
                lost()
                return
            if standing is not before:
                log.info("leads", me=self.identity)
                threading.Thread(target=self._guard, args=(lost,), name="fence", daemon=True).start()
                won()
            before = standing
            self._leaving.wait(until_next(self._seen, self.identity, self._monotonic(), self._timing))

    def _tried(self, before: Standing) -> Standing:
        try:
            return self.turn()
        except ReconcileError as error:
            log.warning("lease not read or written", reason=error.reason, message=error.message)
            return before

    def _guard(self, lost: Callable[[], None]) -> None:
        """Tells of the loss while the other thread may still hang in a call, whose timeout counts per read only."""
        while not self._leaving.wait(max(0.0, self._held_until - self._monotonic())):
            if not self._in_time():
                lost()
                return
