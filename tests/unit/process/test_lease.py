"""However candidates are delayed or frozen, whatever their clocks say: never do two hold the lease at once.

Each runs the real `Elector` in a thread, which stops before and after every effect on the one Lease until the
test lets it go on. So every order of effects and every length of a delay can be tried, without waiting.
"""

import copy
import datetime
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import ReconcileError, Transient, Waiting
from axon_operator.domain.lease import Timing
from axon_operator.domain.resources import Manifest, Ref
from axon_operator.process.lease import Elector, Standing

TIMING = Timing()


class Ended(BaseException):
    """The test is over."""


class World:
    """The time, and the Lease as the API server keeps it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lease: Manifest | None = None
        self.versions = itertools.count(1)

    def store(self, manifest: Manifest) -> Manifest:
        if self.lease is not None and self.lease["spec"] == manifest["spec"]:
            return self.lease  # the API server makes no new version of what did not change
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(next(self.versions))
        return self.lease


class Candidate:
    """An elector that moves only when it is told to."""

    def __init__(self, world: World, name: str, offset: float) -> None:
        self._world = world
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._over = False
        self.cut = False
        """The answer to the call under way is lost."""
        self.standing = Standing.STANDBY
        self.wall = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        self.elector = Elector(
            self,
            namespace="axon-system",
            pod=name,
            timing=TIMING,
            monotonic=lambda: world.now + offset,
            clock=lambda: self.wall,
        )
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def step(self) -> None:
        """Until just before or after the next effect."""
        if self._thread.is_alive():
            self._go.release()
            self._stopped.acquire()

    def end(self) -> None:
        self._over = True
        while self._thread.is_alive():
            self._go.release()
            self._thread.join(0.01)

    # -- the API server, as this one reaches it

    def get(self, ref: Ref) -> Manifest | None:
        self._pause()
        found = copy.deepcopy(self._world.lease)
        self._answer()
        return found

    def create(self, manifest: Manifest) -> None:
        self._pause()
        if self._world.lease is not None:
            raise Waiting(Reason.PROGRESSING, "exists", after=0.5)
        self._world.store(manifest)
        self._answer()

    def replace(self, manifest: Manifest) -> Manifest:
        self._pause()
        live = self._world.lease
        if live is None or live["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise Waiting(Reason.PROGRESSING, "changed", after=0.2)
        stored = copy.deepcopy(self._world.store(manifest))
        self._answer()
        return stored

    def _answer(self) -> None:
        self._pause()
        if self.cut:
            raise Transient(Reason.KUBERNETES_UNAVAILABLE, "no answer")

    def _pause(self) -> None:
        self._stopped.release()
        self._go.acquire()
        if self._over:
            raise Ended

    def _live(self) -> None:
        try:
            while self.standing is not Standing.LOST:
                self._pause()
                try:
                    self.standing = self.elector.turn()
                except ReconcileError:
                    continue
        except Ended:
            pass
        self._stopped.release()


@contextmanager
def candidates(world: World, count: int) -> Iterator[list[Candidate]]:
    """Some processes; their monotonic clocks have nothing to do with each other."""
    made = [Candidate(world, f"pod-{n}", offset=n * 7919.0) for n in range(count)]
    try:
        yield made
    finally:
        for candidate in made:
            candidate.end()


@dataclass(frozen=True)
class Move:
    """What happens next."""

    who: int
    delay: float
    """Seconds before it: of the network, of a frozen process, or between two turns."""
    steps: int
    """How far this one gets without anybody else."""
    cut: bool
    jump: int
    """Of its wall clock, in seconds."""


MOVES = st.lists(
    st.builds(
        Move,
        who=st.integers(0, 1),
        delay=st.sampled_from([0.0, 0.0, 1.0, 4.0, 8.0, 11.0, 15.5]),
        steps=st.integers(1, 10),
        cut=st.sampled_from([False, False, False, True]),
        jump=st.integers(-2, 2),
    ),
    min_size=15,
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(MOVES)
def test_two_never_hold_it_at_once(moves: list[Move]) -> None:
    world = World()
    with candidates(world, 2) as both:
        for move in moves:
            one = both[move.who]
            world.now += move.delay
            one.cut = move.cut
            one.wall += datetime.timedelta(seconds=move.jump)
            for _ in range(move.steps):
                one.step()
                assert not all(c.elector.holds() for c in both), f"both at {world.now}"


@settings(max_examples=50, deadline=None)
@given(MOVES)
def test_whatever_happened_a_process_that_is_left_alone_leads_in_the_end(moves: list[Move]) -> None:
    world = World()
    with candidates(world, 2) as both:
        for move in moves:
            world.now += move.delay
            both[move.who].cut = move.cut
            for _ in range(move.steps):
                both[move.who].step()
    survivor = Candidate(world, "pod-new", offset=0)
    began = world.now
    while not survivor.elector.holds():
        world.now += 0.5
        survivor.step()
        assert world.now - began <= TIMING.lease + TIMING.retry + 0.5 * 8, "not within the lease's duration"
    survivor.end()


def turns(candidate: Candidate, world: World, seconds: float) -> None:
    """Lets a candidate take its turns for a while, as its thread would."""
    until = world.now + seconds
    while world.now < until:
        for _ in range(6):
            candidate.step()
        world.now += 1


def test_a_frozen_leader_does_not_hold_the_lease_when_it_thaws_and_never_again() -> None:
    world = World()
    with candidates(world, 2) as (leader, standby):
        turns(leader, world, 4)
        assert leader.elector.holds()
        turns(standby, world, 30)  # while the leader is frozen
        assert standby.elector.holds()
        assert not leader.elector.holds(), "in the first instant, before any of its threads has moved"
        turns(leader, world, 3)
        assert leader.standing is Standing.LOST
        assert standby.elector.holds()


def test_a_leader_that_thaws_before_anyone_took_over_does_not_carry_on_either() -> None:
    world = World()
    with candidates(world, 1) as (leader,):
        turns(leader, world, 4)
        world.now += 11
        assert not leader.elector.holds()
        for _ in range(6):
            leader.step()
        assert leader.standing is Standing.LOST


def test_a_leader_whose_answers_are_lost_for_a_moment_keeps_the_lease() -> None:
    world = World()
    with candidates(world, 1) as (leader,):
        turns(leader, world, 4)
        leader.cut = True
        turns(leader, world, 6)
        leader.cut = False
        turns(leader, world, 2)
        assert leader.elector.holds()
        assert leader.standing is Standing.LEADER


def test_a_lease_that_is_taken_away_by_hand_ends_the_leadership_at_the_next_renewal() -> None:
    for theft in ("deleted", "given away"):
        world = World()
        with candidates(world, 1) as (leader,):
            turns(leader, world, 4)
            assert world.lease
            world.lease = None if theft == "deleted" else world.store({**world.lease, "spec": {"holderIdentity": "x"}})
            turns(leader, world, 4)
            assert leader.standing is Standing.LOST, theft


# -- with its own threads


class OneLease:
    """A Lease that answers at once, until it hangs."""

    def __init__(self) -> None:
        self.world = World()
        self.hangs = threading.Event()

    def get(self, ref: Ref) -> Manifest | None:
        return copy.deepcopy(self.world.lease)

    def create(self, manifest: Manifest) -> None:
        self.world.store(manifest)

    def replace(self, manifest: Manifest) -> Manifest:
        if self.hangs.is_set():
            threading.Event().wait()
        return copy.deepcopy(self.world.store(manifest))


def entered(lease: OneLease, pod: str) -> tuple[Elector, threading.Event, threading.Event]:
    """A candidate in the election, and what it says: won, lost."""
    timing = Timing(lease=1, fence=0.4, retry=0.05)
    elector = Elector(lease, namespace="axon-system", pod=pod, timing=timing)
    won, lost = threading.Event(), threading.Event()
    elector.start(won.set, lost.set)
    return elector, won, lost


def test_the_loss_is_told_while_the_renewal_still_hangs() -> None:
    lease = OneLease()
    elector, won, lost = entered(lease, "pod")
    assert won.wait(5)
    assert elector.holds()
    assert not lost.wait(0.8), "it is renewed"
    lease.hangs.set()
    assert lost.wait(5)
    assert not elector.holds()
    assert elector.alive, "its thread still waits for the answer"


def test_who_leaves_gives_the_lease_back_and_is_followed_at_once() -> None:
    lease = OneLease()
    first, won, lost = entered(lease, "first")
    assert won.wait(5)
    second, followed, _ = entered(lease, "second")
    assert not followed.wait(1.5), "it is renewed"
    first.stop()
    assert not first.holds()
    assert followed.wait(0.5)
    assert second.holds()
    assert not lost.is_set()
    second.stop()


def test_a_candidate_that_leaves_takes_nothing_along() -> None:
    lease = OneLease()
    leader, won, _ = entered(lease, "leader")
    assert won.wait(5)
    standby, *_ = entered(lease, "standby")
    standby.stop()
    assert not standby.alive
    assert leader.holds()
    leader.stop()
