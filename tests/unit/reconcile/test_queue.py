"""The work queue keeps client-go's promises."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.domain.resources import TENANT, Ref
from axon_operator.reconcile.engine.queue import Backoff, WorkQueue

A, B = Ref(TENANT, "", "a"), Ref(TENANT, "", "b")


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_that_is_asked_for_twice_is_handed_out_once() -> None:
    queue = WorkQueue()
    queue.add(A)
    queue.add(A)
    assert queue.get() == A
    assert len(queue) == 0


def test_a_key_never_runs_twice_at_once_and_is_not_forgotten() -> None:
    queue = WorkQueue()
    queue.add(A)
    assert queue.get() == A
    queue.add(A)
    queue.add(B)
    assert queue.get() == B
    assert len(queue) == 0
    queue.done(A)
    assert queue.get() == A


def test_a_timer_is_replaced_by_a_later_one() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    queue.add_after(A, 1)
    queue.add_after(A, 10)
    queue.add_after(B, 5)
    clock.now = 6
    assert queue.get() == B
    clock.now = 11
    assert queue.get() == A


def test_adding_now_makes_the_timer_superfluous() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    queue.add_after(A, 5)
    queue.add(A)
    assert queue.get() == A
    queue.done(A)
    clock.now = 6
    queue.add(B)
    assert queue.get() == B
    assert len(queue) == 0


def test_a_waiting_worker_is_woken_by_a_key_and_by_closing() -> None:
    queue = WorkQueue()
    got: list[Ref | None] = []
    worker = threading.Thread(target=lambda: got.extend((queue.get(), queue.get())))
    worker.start()
    queue.add(A)
    queue.close()
    worker.join(5)
    assert not worker.is_alive()
    assert got[-1] is None


@given(st.integers(1, 1000))
def test_backoff_grows_and_is_bounded(failures: int) -> None:
    backoff = Backoff(base=0.5, cap=60)
    longest = backoff.delay(failures, lambda _low, high: high)
    assert longest <= 60.1
    assert longest >= min(60, 0.5 * 2 ** min(failures - 1, 30))
    assert backoff.delay(failures, lambda low, _high: low) < 0.1


def test_failures_are_counted_until_a_success() -> None:
    queue = WorkQueue(Clock())
    backoff = Backoff(base=1000, cap=10**9)
    delays = [queue.add_failed(A, Backoff(base=1, cap=1)) for _ in range(3)]
    queue.forget(A)
    assert all(delay <= 1.1 for delay in delays)
    assert queue.add_failed(A, backoff) <= 1000.1
