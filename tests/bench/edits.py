"""Edits of specs, and how long it takes until the operator has observed them."""

import itertools
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from axon_operator.domain.resources import Ref
from bench.population import BINDINGS_PER_RUNTIME, Tenant, binding_ref, runtime_ref
from servers.kube import Kube

_EDITORS: Final = 4
"""People who edit at the same time."""
_POLL: Final = 0.02
_PATIENCE: Final = 60.0
"""Seconds after which an edit counts as that slow."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one object's spec."""

    ref: Ref
    spec: dict[str, Any]


def edits(tenants: Sequence[Tenant], count: int, seed: int = 1) -> list[Edit]:
    """Bindings get another TTL, runtimes another connection: the operator must write in OpenBao or Kubernetes for
    each, and no pod has to be replaced. No runtime comes twice while there are others."""
    rng = random.Random(seed)
    places = [(tenant, runtime) for tenant in tenants for runtime in tenant.runtimes]
    rng.shuffle(places)
    found: list[Edit] = []
    for tenant, runtime in itertools.islice(itertools.cycle(places), count):
        # a port as well as the seconds of a TTL
        value = rng.randrange(2000, 60000)
        if len(found) % 2:
            peer = rng.choice(tenant.runtimes)
            found.append(Edit(runtime_ref(tenant, runtime), {"connections": [{"runtime": peer, "port": value}]}))
        else:
            number = rng.randrange(BINDINGS_PER_RUNTIME)
            found.append(Edit(binding_ref(tenant, runtime, number), {"ttl": f"{value}s"}))
    return found


def latencies(kube: Kube, planned: Sequence[Edit], pause: float = 0.1) -> list[float]:
    """Seconds from each edit to the status that has observed it; the editors rest `pause` seconds in between."""
    with ThreadPoolExecutor(_EDITORS) as pool:
        return list(pool.map(lambda edit: _latency(kube, edit, pause), planned))


def wait_for(what: Callable[[], bool], timeout: float, poll: float = 0.2) -> float:
    """Seconds until it is so; `timeout` if it never was."""
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        if what():
            return time.monotonic() - started
        time.sleep(poll)
    return timeout


def _latency(kube: Kube, edit: Edit, pause: float) -> float:
    generation = kube.patch(edit.ref, {"spec": edit.spec})["metadata"]["generation"]
    seconds = wait_for(lambda: observed(kube, edit.ref) >= generation, _PATIENCE, _POLL)
    time.sleep(pause)
    return seconds


def observed(kube: Kube, ref: Ref) -> int:
    """The generation that the status speaks of."""
    generation: int = (kube.get(ref).get("status") or {}).get("observedGeneration", 0)
    return generation
