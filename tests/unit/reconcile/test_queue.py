"""The work queue keeps client-go's promises, and those of its own: priorities, turns, shares."""

import threading
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.domain.resources import BINDING, Ref
from axon_operator.reconcile.engine.queue import Backoff, Priority, WorkQueue

URGENT, ROUTINE = Priority.URGENT, Priority.ROUTINE


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def key(tenant: str, name: str = "x") -> Ref:
    return Ref(BINDING, tenant, name)


A, B = key("a"), key("b")
_COIN: st.SearchStrategy[bool] = st.booleans()


def new_queue(clock: Clock | None = None, *, share: int = 4) -> WorkQueue:
    return WorkQueue(tenant=lambda ref: ref.namespace, share=share, clock=clock or Clock())


def waiting(queue: WorkQueue) -> int:
    return sum(queue.depth(priority) for priority in Priority)


def test_a_key_that_is_asked_for_twice_is_handed_out_once() -> None:
    queue = new_queue()
    queue.add(A, URGENT)
    queue.add(A, URGENT)
    assert queue.get() == A
    assert waiting(queue) == 0


def test_a_key_never_runs_twice_at_once_and_is_not_forgotten() -> None:
    queue = new_queue()
    queue.add(A, ROUTINE)
    assert queue.get() == A
    queue.add(A, ROUTINE)
    queue.add(B, ROUTINE)
    assert queue.get() == B
    assert waiting(queue) == 0
    queue.done(A)
    assert queue.get() == A


def test_a_timer_is_replaced_by_a_later_one() -> None:
    clock = Clock()
    queue = new_queue(clock)
    queue.add_after(A, 1, ROUTINE)
    queue.add_after(A, 10, ROUTINE)
    queue.add_after(B, 5, ROUTINE)
    clock.now = 6
    assert queue.get() == B
    clock.now = 11
    assert queue.get() == A


def test_adding_now_makes_the_timer_superfluous() -> None:
    clock = Clock()
    queue = new_queue(clock)
    queue.add_after(A, 5, ROUTINE)
    queue.add(A, URGENT)
    assert queue.get() == A
    queue.done(A)
    clock.now = 6
    queue.add(B, URGENT)
    assert queue.get() == B
    assert waiting(queue) == 0


def test_an_edit_overtakes_routine_work_even_if_it_waited_there_already() -> None:
    queue = new_queue()
    others = [key(f"t{n}") for n in range(5)]
    for other in others:
        queue.add(other, ROUTINE)
    queue.add(A, ROUTINE)
    queue.add(A, URGENT)
    assert queue.get() == A
    queue.done(A)
    assert [queue.get() for _ in others] == others
    assert waiting(queue) == 0


def test_an_edit_during_the_work_stays_urgent() -> None:
    queue = new_queue()
    queue.add(A, ROUTINE)
    assert queue.get() == A
    queue.add(A, URGENT)
    queue.add(A, ROUTINE)
    queue.add(B, ROUTINE)
    queue.done(A)
    assert queue.get() == A


def test_routine_work_has_its_turn_under_a_storm_of_edits() -> None:
    queue = new_queue(share=10**6)
    queue.add(key("quiet"), ROUTINE)
    for n in range(100):
        queue.add(key("storm", str(n)), URGENT)
    taken = [queue.get() for _ in range(30)]
    assert key("quiet") in taken


def test_tenants_take_turns() -> None:
    queue = new_queue(share=10**6)
    for n in range(1000):
        queue.add(key("noisy", str(n)), ROUTINE)
    queue.add(key("quiet"), ROUTINE)
    assert key("quiet") in [queue.get(), queue.get()]


def test_no_tenant_has_more_than_its_share_of_the_workers() -> None:
    queue = new_queue(share=2)
    for n in range(10):
        queue.add(key("hanging", str(n)), URGENT)
    queue.add(key("well"), ROUTINE)
    taken = [queue.get() for _ in range(3)]
    assert Counter(k.namespace for k in taken if k) == {"hanging": 2, "well": 1}
    queue.done(taken[0] or A)
    following = queue.get()
    assert following
    assert following.namespace == "hanging"


def test_waiting_workers_are_woken_by_a_key_by_a_timer_and_by_closing() -> None:
    queue = WorkQueue(tenant=lambda ref: ref.namespace, share=4)
    got: list[Ref | None] = []
    arrived = threading.Semaphore(0)

    def work() -> None:
        for taken in iter(queue.get, None):
            got.append(taken)
            arrived.release()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    queue.add(A, URGENT)
    assert arrived.acquire(timeout=5)
    queue.add_after(B, 0.01, ROUTINE)
    assert arrived.acquire(timeout=5)
    queue.close()
    for worker in workers:
        worker.join(5)
    assert not any(worker.is_alive() for worker in workers)
    assert got == [A, B]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from(Priority)), max_size=60), st.data())
def test_every_key_is_handed_out_no_key_twice_at_once_and_no_share_exceeded(
    adds: list[tuple[int, int, Priority]], data: st.DataObject
) -> None:
    queue = new_queue(share=2)
    active: list[Ref] = []
    handed: set[Ref] = set()

    def take() -> None:
        taken = queue.get()
        assert taken
        assert taken not in active
        active.append(taken)
        handed.add(taken)
        assert max(Counter(k.namespace for k in active).values()) <= 2

    for tenant, name, priority in adds:
        queue.add(key(str(tenant), str(name)), priority)
        busy = bool(active)
        if data.draw(_COIN):
            if busy:
                queue.done(active.pop())
            else:
                take()
    while active or waiting(queue):
        if active:
            queue.done(active.pop())
        else:
            take()
    assert handed == {key(str(t), str(n)) for t, n, _ in adds}


@given(st.integers(1, 1000))
def test_backoff_grows_and_is_bounded(failures: int) -> None:
    backoff = Backoff(base=0.5, cap=60)
    longest = backoff.delay(failures, lambda _low, high: high)
    assert longest <= 60.1
    assert longest >= min(60, 0.5 * 2 ** min(failures - 1, 30))
    assert backoff.delay(failures, lambda low, _high: low) < 0.1


def test_failures_are_counted_until_a_success() -> None:
    queue = new_queue()
    backoff = Backoff(base=1000, cap=10**9)
    delays = [queue.add_failed(A, Backoff(base=1, cap=1)) for _ in range(3)]
    queue.forget(A)
    assert all(delay <= 1.1 for delay in delays)
    assert queue.add_failed(A, backoff) <= 1000.1


def test_the_time_of_waiting_is_told() -> None:
    clock = Clock()
    told: list[tuple[Priority, float]] = []
    queue = WorkQueue(
        tenant=lambda ref: ref.namespace, share=1, clock=clock, waited=lambda priority, s: told.append((priority, s))
    )
    queue.add(B, URGENT)
    clock.now = 1000
    queue.get()
    queue.add(A, ROUTINE)
    clock.now += 3
    queue.add(A, URGENT)
    clock.now += 2
    queue.get()
    assert told == [(URGENT, 1000.0), (URGENT, 5.0)]
