"""From the end of a run until nobody gets into the database with the account that it had."""

import itertools
import shlex
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from axon_testbed.progress import step
from bench.report import Row
from e2e.endurance.consumer import Watches
from e2e.endurance.options import Options
from e2e.endurance.rows import timed
from e2e.support import samples
from e2e.support.cluster import binding_ref, runtime_ref
from e2e.support.database import account_in
from e2e.support.house import ACCOUNT, ACCOUNT_FILE, House
from e2e.support.node import MOUNTS
from e2e.support.waiting import Unmet, until
from e2e.support.watch import PODS, read_pod

NAME: Final = "runs"
GOAL: Final = 5.0
_AT_ONCE: Final = 5
_UNTIL_TOLD: Final = "while [ ! -e /tmp/end ]; do sleep 0.1; done"
_TMP: Final = "volumes/kubernetes.io~empty-dir/tmp"
"""The workload's own /tmp, below the pod's folder on the node."""


def run(house: House, watches: Watches, options: Options) -> Iterator[Row]:
    """Some runtimes that run again and again, side by side."""
    shares = [len(share) for share in _shares(options.runs)]
    with step(f"runs: {options.runs} of {len(shares)} runtimes"), ThreadPoolExecutor(len(shares)) as pool:
        jobs = [f"job-{number}" for number in range(len(shares))]
        seconds = list(itertools.chain.from_iterable(pool.map(partial(_ends, house, watches), jobs, shares)))
    yield timed(NAME, "end of the workload until its account is dead", seconds, GOAL, "runs")


def _shares(runs: int) -> list[Sequence[int]]:
    shares = [range(runs)[number::_AT_ONCE] for number in range(_AT_ONCE)]
    return [share for share in shares if share]


def _ends(house: House, watches: Watches, runtime: str, runs: int) -> list[float]:
    """Of so many runs of one runtime."""
    program = {"image": samples.image(), "args": [_UNTIL_TOLD]}
    house.declare(runtime, run={"deadline": "10m", "trigger": "0"}, **program)
    binding = binding_ref(house.tenant, runtime)
    body = {"runtimeRef": {"name": runtime}, "source": ACCOUNT, "delivery": ACCOUNT_FILE}
    house.cluster.kubectl.apply(samples.binding(house.tenant, runtime, **body))
    seconds = []
    for number in range(runs):
        if number:
            house.edit(runtime_ref(house.tenant, runtime), run={"trigger": str(number)})
            house.cluster.wait_condition(runtime_ref(house.tenant, runtime), "Ready", "True", "Ready")
        house.cluster.wait_condition(binding, "Ready", "True", "Ready")
        seconds.append(_end(house, watches, runtime))
        house.cluster.wait_condition(runtime_ref(house.tenant, runtime), "Ready", "True", "RunSucceeded")
    house.delete(runtime_ref(house.tenant, runtime))
    house.delete(binding)
    return seconds


def _end(house: House, watches: Watches, runtime: str) -> float:
    """Of the run that runs now: from before the workload is told to end."""
    uid = house.cluster.pod(house.tenant, runtime).uid
    account = account_in(read_pod(house.cluster.node, uid)[ACCOUNT_FILE["file"]["path"]])
    name, password = account["username"], account["password"]
    assert house.database.lets_in(name, password), "the account is not let in before"
    tell = shlex.quote(f"{PODS}/{uid}/{_TMP}/end")
    since = time.monotonic()
    house.cluster.node.sh(f"{MOUNTS} touch {tell}")
    dead = until(f"the account of {runtime} is dead", partial(_dead_at, watches, name), timeout=60, every=0.05)
    assert not house.database.lets_in(name, password), "an account that is not there is let in"
    return dead - since


def _dead_at(watches: Watches, account: str) -> float:
    at = watches.accounts.gone_at(account)
    if at is None:
        raise Unmet("the account may log in")
    return at
