"""Bindings come, rotate and go, hundreds of them, while the operator, OpenBao and sidecars are killed at random. Then it is
looked for what is left of them."""

import itertools
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import requests

from axon_testbed.progress import say, step
from bench.report import Row
from e2e.endurance.consumer import SOURCES, Consumer, Watches, is_gone, is_ready, wait_all
from e2e.endurance.leftovers import KINDS, left
from e2e.endurance.options import Options
from e2e.support import operator
from e2e.support.cluster import binding_ref, runtime_ref
from e2e.support.house import House
from e2e.support.https import ServerError
from e2e.support.shell import CommandError
from e2e.support.user import User
from e2e.support.waiting import Unmet, WaitedTooLongError, until

NAME: Final = "cycles"
_RUNTIMES: Final = 2
_AT_ONCE: Final = 4
"""Bindings of one runtime; so there are at most twice as many."""
_PAUSES: Final = (5.0, 25.0)
"""Seconds between a kill and the next, at least and at most."""
_PATIENCE: Final = 300.0
_SETTLED: Final = 240.0
_TROUBLES: Final = (
    AssertionError,
    CommandError,
    ServerError,
    requests.RequestException,
)
"""What a call can meet while something is away."""


@dataclass
class _Seen:
    cycles: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)


def run(house: House, watches: Watches, options: Options) -> Iterator[Row]:
    """Rows of what was done, and one of each kind of thing that could be left."""
    with step("cycles: start the runtimes"):
        user = User.new(house.cluster, house.tenant, "bob")
        consumers = [Consumer.start(house, watches, user, f"churn-{n}") for n in range(_RUNTIMES)]
    seen, over = _Seen(), threading.Event()
    say(f"cycles: seed {options.seed}")
    killer = threading.Thread(target=_kill_at_random, args=(house, options.seed, seen, over), daemon=True)
    with step(f"cycles: {options.cycles} bindings"), ThreadPoolExecutor(len(consumers)) as pool:
        killer.start()
        numbers, lock = itertools.count(), threading.Lock()

        def work(consumer: Consumer) -> None:
            choice = random.Random(f"{options.seed} {consumer.runtime}")
            while True:
                with lock:
                    number = next(numbers)
                if number * _AT_ONCE >= options.cycles:
                    return
                _cycle(consumer, number, choice.sample(SOURCES, _AT_ONCE), seen)

        list(pool.map(work, consumers))
        over.set()
        killer.join()
    yield from _done(seen, options)
    yield from _left(house, watches, consumers)


def _cycle(consumer: Consumer, number: int, sources: list[str], seen: _Seen) -> None:
    """Some bindings of one runtime, from their creation until nothing is told of them any more."""
    house, names = consumer.house, {source: f"c{number}-{source}" for source in sources}
    api, namespace = house.cluster.api, f"axon-{house.tenant}"
    try:
        for source, name in names.items():
            api.create(consumer.binding(name, source, rotation={"overlap": "1s"}))
        wait_all(house, names.values(), is_ready, timeout=_PATIENCE)
        for source, name in names.items():
            _patiently(lambda source=source, name=name: _rotate(consumer, source, name))  # type: ignore[misc]
        wait_all(house, names.values(), is_ready, timeout=_PATIENCE)
        for name in names.values():
            api.delete(namespace, name)
        wait_all(house, names.values(), is_gone, timeout=_PATIENCE)
    except WaitedTooLongError as error:
        say(f"  ✗ {error}")
        seen.failed.append(str(error))
        house.cluster.kubectl("-n", namespace, "delete", "axsb", *names.values(), "--ignore-not-found", "--wait=false")
        return
    seen.cycles += len(names)
    seen.by_source.update(sources)
    if number % 5 == 4:
        kills = ", ".join(f"{n} {kind}" for kind, n in sorted(seen.kills.items()))
        say(f"  … {seen.cycles} done, {time.monotonic() - seen.began:.0f} s; killed: {kills or 'nothing'}")


def _rotate(consumer: Consumer, source: str, name: str) -> None:
    """What has no generations gets another value from whoever keeps it."""
    house, value = consumer.house, secrets.token_hex(8)
    if source == "kv":
        house.cluster.write_secret(house.tenant, f"{consumer.runtime}/kv", key=value)
    elif source == "grant":
        consumer.grant.user.grants(consumer.runtime, "github/token", {"token": value})
    else:
        house.cluster.api.edit(f"axon-{house.tenant}", name, rotationTrigger=value)


def _patiently(act: Callable[[], None]) -> None:
    """Again, while something that it needs is away."""

    def probe() -> None:
        try:
            act()
        except _TROUBLES as error:
            raise Unmet(str(error)) from error

    until("a rotation is asked for", probe, timeout=120, every=1)


# -- what is killed


def _kill_at_random(house: House, seed: int, seen: _Seen, over: threading.Event) -> None:
    choice = random.Random(seed)
    kinds: dict[str, Callable[[], None]] = {
        "leaders of the operator": lambda: operator.kill(house.cluster, 0),
        "agents": lambda: _kill_agent(house, f"churn-{choice.randrange(_RUNTIMES)}"),
        "OpenBaos": house.cluster.kill_openbao,
    }
    while not over.wait(choice.uniform(*_PAUSES)):
        kind = choice.choice(tuple(kinds))
        try:
            kinds[kind]()
        except (Unmet, *_TROUBLES) as error:  # an agent is just being replaced, or what was killed takes its time
            say(f"  … {kind}: {error}")
        else:
            seen.kills[kind] += 1


def _kill_agent(house: House, runtime: str) -> None:
    house.cluster.node.signal(house.agent_process(runtime), "KILL")


# -- what is left


def _done(seen: _Seen, options: Options) -> Iterator[Row]:
    by_source = ", ".join(f"{count} {source}" for source, count in sorted(seen.by_source.items()))
    seconds = time.monotonic() - seen.began
    note = f"{by_source}; in {seconds:.0f} s, {_RUNTIMES * _AT_ONCE} at a time; seed {options.seed}"
    yield Row(NAME, "created, rotated and deleted", seen.cycles, "", None, note)
    for kind, count in sorted(seen.kills.items()):
        yield Row(NAME, f"killed: {kind}", count, "")
    yield Row(NAME, "rounds that came to no end", len(seen.failed), "", 0, "", tuple(seen.failed))


def _left(house: House, watches: Watches, consumers: list[Consumer]) -> Iterator[Row]:
    """First all bindings go, with the pods alive, then the runtimes."""
    namespace = f"axon-{house.tenant}"
    with step("cycles: delete everything, and wait until it has settled"):
        operator.wait_running(house.cluster)
        for consumer in consumers:
            house.cluster.kubectl("delete", *binding_ref(house.tenant, f"{consumer.runtime}-steady").args)
        wait_all(house, house.cluster.api.bindings(namespace), is_gone, timeout=_PATIENCE)
        uids = {p["metadata"]["uid"] for c in consumers for p in house.cluster.pods(house.tenant, c.runtime)}
        files = _settled(lambda: sorted(f for f in watches.files.present() if f.split("/")[0] in uids))
        for consumer in consumers:
            house.delete(runtime_ref(house.tenant, consumer.runtime))
        found = {kind: _settled(lambda kind=kind: left(house, kind)) for kind in KINDS}  # type: ignore[misc]
    for kind, names in (found | {"files in pods": files}).items():
        yield Row(NAME, f"left: {kind}", len(names), "", 0, ", ".join(names[:3]), tuple(names))


def _settled(look: Callable[[], list[str]]) -> list[str]:
    """What is there until the end, or nothing as soon as nothing is there."""
    deadline = time.monotonic() + _SETTLED
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(1)
    return found
