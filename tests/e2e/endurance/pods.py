"""From the moment at which a binding is there until its file is in each pod of a runtime that has many."""

import secrets
import time
from collections.abc import Iterator
from typing import Final

from axon_testbed.progress import say, step
from bench.report import Row
from e2e.endurance.consumer import WAITING, Watches, is_gone, is_ready, wait_all
from e2e.endurance.options import Options
from e2e.endurance.rows import timed
from e2e.support import samples
from e2e.support.cluster import runtime_ref
from e2e.support.house import House
from e2e.support.kubectl import Json
from e2e.support.waiting import Unmet, until
from e2e.support.watch import file_in

NAME: Final = "pods"
GOAL: Final = 3.0
GOAL_PODS: Final = 50
"""The goal is for so many, and not for more."""
_PATIENCE: Final = 120.0
_SPARE: Final = 4
"""Pods of the node's limit that are left to others."""
_SMALL: Final = {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}


def run(house: House, watches: Watches, options: Options) -> Iterator[Row]:
    """At the wanted number of pods, or at as many as the node takes."""
    count = min(options.pods, room(house))
    with step(f"pods: start {count}"):
        uids = _start(house, count)
    house.cluster.write_secret(house.tenant, "many/key", key=secrets.token_hex(8))
    seconds: list[float] = []
    last: list[float] = []
    with step(f"pods: add {options.additions} bindings"):
        for number in range(options.additions):
            taken = _added(house, watches, uids, f"many-{number}")
            say(f"  … the last of {len(taken)} pods has it after {max(taken):.1f} s")
            seconds += taken
            last.append(max(taken))
    goal = GOAL if count <= GOAL_PODS else None
    what = f"a binding is added until its file is in each of {count} pods"
    yield timed(NAME, what, seconds, goal, f"files in {options.additions} tries")
    yield timed(NAME, "the same, the last pod of each try", last, None, "tries")


def room(house: House) -> int:
    """How many more pods the node takes."""
    (node,) = house.cluster.kubectl.items("nodes")
    living = [p for p in house.cluster.kubectl.items("-A", "pods") if p["status"]["phase"] in {"Pending", "Running"}]
    return int(node["status"]["allocatable"]["pods"]) - len(living) - _SPARE


def _start(house: House, count: int) -> list[str]:
    """Uids of the pods, all of which run."""
    program = {"image": samples.image(), "args": [WAITING], "resources": _SMALL, "replicas": count, "ports": []}
    house.cluster.kubectl.apply(samples.runtime(house.tenant, "many", **program))

    def running() -> list[Json]:
        pods = house.cluster.pods(house.tenant, "many")
        ready = [p for p in pods if any(c["type"] == "Ready" and c["status"] == "True" for c in _conditions(p))]
        if len(ready) != count:
            raise Unmet(f"{len(ready)} of {len(pods)}")
        return ready

    pods = until(f"{count} pods run", running, timeout=900, every=5)
    house.cluster.wait_ready(runtime_ref(house.tenant, "many"))
    return [p["metadata"]["uid"] for p in pods]


def _conditions(pod: Json) -> list[Json]:
    found: list[Json] = pod["status"].get("conditions", [])
    return found


def _added(house: House, watches: Watches, uids: list[str], name: str) -> list[float]:
    """Seconds for each pod; afterwards the binding is gone again."""
    files = [file_in(uid, f"{name}.json") for uid in uids]
    body = {"runtimeRef": {"name": "many"}, "source": samples.kv("many/key"), "delivery": samples.file(f"{name}.json")}
    api, namespace = house.cluster.api, f"axon-{house.tenant}"
    since = time.monotonic()
    api.create(samples.binding(house.tenant, name, **body))

    def all_there() -> None:
        missing = sum(watches.files.came_at(file) is None for file in files)
        if missing:
            raise Unmet(f"{missing} pods without it")

    until(f"{name} is in all pods", all_there, timeout=_PATIENCE, every=0.1)
    came = [at for file in files if (at := watches.files.came_at(file))]
    wait_all(house, [name], is_ready, timeout=_PATIENCE)
    api.delete(namespace, name)
    wait_all(house, [name], is_gone, timeout=_PATIENCE)
    return [at - since for at in came]
