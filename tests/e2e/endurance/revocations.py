"""From the edit that takes a credential back until nobody gets anything by it: many times, of every source."""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from axon_testbed.progress import say, step
from bench.report import Row
from e2e.endurance.consumer import SOURCES, Consumer, Held, Watches, is_gone, is_ready, is_revoked, wait_all
from e2e.endurance.options import Options
from e2e.endurance.rows import timed
from e2e.support.house import House
from e2e.support.user import User
from e2e.support.waiting import WaitedTooLongError

NAME: Final = "revocations"
GOAL: Final = 5.0
_PATIENCE: Final = 30.0
_PAUSE: Final = 0.03
"""Between looks; with what they take themselves they are to be 0.1 s apart."""


@dataclass
class _Seen:
    """What all consumers have measured."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    ways: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    looks: list[float] = field(default_factory=list)
    """Seconds between two looks at the same credential."""
    alive: list[str] = field(default_factory=list)
    """What was not dead in time."""
    failed: list[str] = field(default_factory=list)
    """Tries that got no further, and why."""
    began: float = field(default_factory=time.monotonic)


def run(house: House, watches: Watches, options: Options) -> Iterator[Row]:
    """All sources at the same time, shared between some runtimes."""
    with step("revocations: start the runtimes"):
        user = User.new(house.cluster, house.tenant, "alice")
        consumers = [Consumer.start(house, watches, user, f"agent-{n}") for n in range(options.at_once)]
    seen, numbers, lock = _Seen(), itertools.count(), threading.Lock()

    def work(consumer: Consumer) -> None:
        while True:
            with lock:
                number = next(numbers)
            if number >= options.tries:
                return
            try:
                _try(consumer, number, seen)
            except WaitedTooLongError as error:
                say(f"  ✗ {error}")
                seen.failed.append(str(error))
            if number % 10 == 9:
                say(f"  … {number + 1} of {options.tries}, {time.monotonic() - seen.began:.0f} s")

    with step(f"revocations: {options.tries} of each source"), ThreadPoolExecutor(len(consumers)) as pool:
        list(pool.map(work, consumers))
    yield from _rows(seen)


def _try(consumer: Consumer, number: int, seen: _Seen) -> None:
    """One credential of each source is given, and taken back in one of the two ways, which take turns."""
    names = {source: f"{consumer.runtime}-{source}" for source in SOURCES}
    _give(consumer, names)
    wait_all(consumer.house, names.values(), is_ready)
    holding = consumer.held(names)
    held = holding.alive()
    since = {}
    for index, (source, name) in enumerate(names.items()):
        deleted = (number + index) % 2 == 1
        since[source] = time.monotonic()
        _take(consumer, name, deleted=deleted)
        seen.ways["deleted" if deleted else "revoked"] += 1
    dead = _measured(held, seen)
    holding.assert_login_good()
    for one in held:
        at = dead.get(one.source)
        if at is None or one.let_in():
            seen.alive.append(f"{one.source} of try {number}")
        else:
            seen.seconds[one.source].append(at - since[one.source])
    wait_all(consumer.house, names.values(), lambda found: is_gone(found) or is_revoked(found))


def _give(consumer: Consumer, names: dict[str, str]) -> None:
    api, namespace = consumer.house.cluster.api, f"axon-{consumer.house.tenant}"
    there = api.bindings(namespace)
    for source, name in names.items():
        if name in there:
            api.edit(namespace, name, revoked=False)
        else:
            api.create(consumer.binding(name, source))


def _take(consumer: Consumer, name: str, *, deleted: bool) -> None:
    api, namespace = consumer.house.cluster.api, f"axon-{consumer.house.tenant}"
    if deleted:
        api.delete(namespace, name)
    else:
        api.edit(namespace, name, revoked=True)


def _measured(held: list[Held], seen: _Seen) -> dict[str, float]:
    """When each was dead, by source; without those that live on."""
    dead: dict[str, float] = {}
    deadline = looked = time.monotonic()
    deadline += _PATIENCE
    while len(dead) < len(held) and looked < deadline:
        for one in held:
            if one.source not in dead and (at := one.dead_at()) is not None:
                dead[one.source] = at
        time.sleep(_PAUSE)
        now = time.monotonic()
        seen.looks.append(now - looked)
        looked = now
    return dead


def _rows(seen: _Seen) -> Iterator[Row]:
    ways = ", ".join(f"{count} {way}" for way, count in sorted(seen.ways.items()))
    for source in SOURCES:
        if seen.seconds[source]:
            yield timed(NAME, f"{source}: taken back until dead", seen.seconds[source], GOAL, "tries")
    yield Row(NAME, f"not dead after {_PATIENCE:g} s", len(seen.alive), "", 0, ways, tuple(seen.alive))
    yield Row(NAME, "tries that did not come about", len(seen.failed), "", 0, "", tuple(seen.failed))
    yield timed(NAME, "between two looks", seen.looks, None, "looks")
