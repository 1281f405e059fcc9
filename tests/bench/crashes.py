"""The operator dies behind each of its writes, and another one carries on: do the three systems end up the same?

The controllers run in this process: only so it is known which write was the last one.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from axon_operator.domain.resources import BINDING, RUNTIME, TENANT
from bench.bed import Bed, say
from bench.life import Controllers, Life, NotSettledError, as_operator
from bench.report import Row
from bench.state import State, differences, normalised, words
from bench.tap import Crash, Tap

NAME: Final = "crashes"
_LIVES: Final = 4
"""Tenants at the same time; more only wait for Keycloak, which makes one realm a second."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one act of a tenant's life."""

    writes: tuple[str, ...]
    state: State
    died: bool
    """Whether there were enough writes for the crash to happen."""
    late: bool = False
    """Equal only after the resync, not by what the new process finds by itself."""
    wrong: tuple[str, ...] = ()
    """How the state differs from the wanted one, or why there is none."""


def _play(life: Life, act: "Act", crash_behind: int | None = None, wanted: State | None = None) -> Played:
    """One act, with a crash behind the write of that number; `wanted`: the state to which it has to lead."""
    act.declare(life)
    tap = Tap(crash_behind)
    try:
        died, process = _settle(life, tap)
        state = life.state()
        late = wanted is not None and died and state != wanted
        if late:
            process.resync(TENANT, RUNTIME, BINDING)
            process.settle()
            state = life.state()
    except NotSettledError as error:
        return Played(_told(life, tap), {}, died=True, wrong=(f"not settled: {error}",))
    wrong = tuple(differences(wanted, state)) if wanted is not None else ()
    return Played(_told(life, tap), state, died, late and not wrong, wrong)


def _settle(life: Life, tap: Tap) -> tuple[bool, Controllers]:
    """Whether the process died, and the one that was alive last."""
    try:
        process = Controllers(life, tap)
        process.settle()
    except Crash:
        process = Controllers(life, Tap())
        process.settle()
        return True, process
    return False, process


def _told(life: Life, tap: Tap) -> tuple[str, ...]:
    return tuple(normalised(tap.writes, words(life.names, life.runtimes)))


@dataclass(frozen=True, slots=True)
class Act:
    """What people do at one point of a tenant's life."""

    name: str
    declare: Callable[[Life], None]


def _create_inside(life: Life) -> None:
    for secret in ("app/a", "app/b", "app/c"):
        life.secret(secret)
    life.runtime("api", {"image": _IMAGE, "ports": [{"name": "http", "port": 8080}]})
    life.runtime("worker", {"image": _IMAGE, "connections": [{"runtime": "api", "port": 8080}]})
    for name, runtime, secret in (("one", "api", "app/a"), ("two", "api", "app/b"), ("three", "worker", "app/a")):
        life.binding(name, runtime, secret)


def _update(life: Life) -> None:
    sessions = {"idleTimeout": "10m"}
    changed = {
        "displayName": "Acme",
        "admins": [],
        "quota": {"cpu": "16"},
        "identity": {"sessions": sessions},
        "deletionPolicy": "Retain",
        "governance": {"profile": "baseline"},
        "vault": {"admins": []},
    }
    life.edit(TENANT, life.names.tenant, changed)
    ports = [{"name": "http", "port": 8081}]
    life.edit(RUNTIME, "api", {"ports": ports, "egress": [{"cidr": "203.0.113.0/25", "ports": [443]}]})
    life.edit(RUNTIME, "worker", {"replicas": 2, "connections": [{"runtime": "api", "port": 8081}]})
    life.edit(BINDING, "one", {"ttl": "5m", "egress": [{"cidr": "203.0.113.128/25", "ports": [8443]}]})
    life.edit(BINDING, "two", {"source": {"kv": {"path": "app/c"}}})
    life.binding("four", "worker", "app/b")


def _resume(life: Life) -> None:
    life.edit(TENANT, life.names.tenant, {"suspended": False, "deletionPolicy": "Delete"})


def _delete_runtime(life: Life) -> None:
    for binding in ("three", "four"):
        life.delete(BINDING, binding)
    life.delete(RUNTIME, "worker")


ACTS: Final = (
    Act("create a tenant", lambda _life: None),
    Act("create runtimes and bindings", _create_inside),
    Act("update all", _update),
    Act("suspend a runtime", lambda life: life.edit(RUNTIME, "api", {"suspended": True})),
    Act("resume a runtime", lambda life: life.edit(RUNTIME, "api", {"suspended": False})),
    Act("suspend the tenant", lambda life: life.edit(TENANT, life.names.tenant, {"suspended": True})),
    Act("resume the tenant", _resume),
    Act("delete a binding", lambda life: life.delete(BINDING, "two")),
    Act("delete a runtime with bindings", _delete_runtime),
    Act("delete the tenant with all in it", lambda life: life.delete(TENANT, life.names.tenant)),
)
_IMAGE: Final = "registry.example/agent:1"
_TENANT: Final[dict[str, Any]] = {
    "displayName": "Before",
    "organizationID": "org-1",
    "admins": [{"kind": "Group", "name": "keepers"}],
    "network": {"egress": [{"cidr": "203.0.113.0/24", "ports": [443, 8443]}]},
    "vault": {"admins": ["/keepers"]},
}


@dataclass
class _Tally:
    """What was seen of one act in all lives."""

    points: int = 0
    late: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def run(bed: Bed, every: int) -> Iterator[Row]:
    """A clean life, and one for each number of a write, with a crash behind the write of that number in each act.

    `every`: only every so many numbers.
    """
    with as_operator(bed):
        say("crashes: a clean life")
        life = Life(bed, "crash-000", _TENANT)
        clean = {act.name: _play(life, act) for act in ACTS}
        numbers = range(1, max(len(played.writes) for played in clean.values()) + 1, every)
        tallies = {act.name: _Tally() for act in ACTS}
        say(f"crashes: {len(numbers)} more lives, {_LIVES} at the same time")
        with ThreadPoolExecutor(_LIVES) as pool:
            for lived in pool.map(lambda number: _live(bed, number, clean), numbers):
                for name, number, played in lived:
                    _count(tallies[name], number, clean[name], played)
    for name, played in clean.items():
        yield from _rows(name, played, tallies[name])


def _live(bed: Bed, number: int, clean: Mapping[str, Played]) -> list[tuple[str, int, Played]]:
    """A life up to its first difference from the clean one."""
    started = time.monotonic()
    life = Life(bed, f"crash-{number:03d}", _TENANT)
    lived: list[tuple[str, int, Played]] = []
    for act in ACTS:
        wanted = clean[act.name]
        played = _play(life, act, number if number <= len(wanted.writes) else None, wanted.state)
        lived.append((act.name, number, played))
        if played.wrong:
            break
    say(f"crashes behind write {number}: {time.monotonic() - started:.0f} s{' DIFFERS' if played.wrong else ''}")
    return lived


def _count(tally: _Tally, number: int, clean: Played, played: Played) -> None:
    behind = clean.writes[number - 1] if number <= len(clean.writes) else "none"
    tally.points += played.died
    if played.late:
        tally.late.append(f"{number}: {behind}")
    if played.wrong:
        tally.wrong += [f"{number}: {behind}: {difference}" for difference in played.wrong]


def _rows(name: str, clean: Played, tally: _Tally) -> list[Row]:
    scenario = f"{NAME}: {name}"
    wrong = len({line.split(":")[0] for line in tally.wrong})
    return [
        Row(scenario, "writes of a clean run", len(clean.writes), "writes", detail=clean.writes),
        Row(scenario, "crash points tried", tally.points, "points"),
        Row(scenario, "ended otherwise than a clean run", wrong, "points", 0, detail=tuple(tally.wrong)),
        Row(scenario, "equal only with the next resync", len(tally.late), "points", detail=tuple(tally.late)),
    ]
