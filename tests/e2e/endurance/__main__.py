"""`python -m e2e.endurance`: measures, prints a table, keeps it as JSON; ends with 1 if a goal was missed."""

import argparse
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict

import requests

from axon_testbed.progress import say
from bench import options as bench_options
from bench.report import Row, show, write
from e2e.endurance import cost, cycles, pods, revocations, runs
from e2e.endurance.consumer import Watches
from e2e.endurance.options import Options
from e2e.support import operator, watch
from e2e.support.cluster import Cluster
from e2e.support.database import Database
from e2e.support.house import House
from e2e.support.https import ServerError
from e2e.support.shell import CommandError
from e2e.support.tenants import Tenants

Part = Callable[[House, Watches, Options], Iterator[Row]]
_PARTS: dict[str, Part] = {
    revocations.NAME: revocations.run,
    runs.NAME: runs.run,
    cycles.NAME: cycles.run,
    pods.NAME: pods.run,
    cost.NAME: lambda house, _, options: cost.run(house, options),
}


def main() -> int:
    """1 if a goal was missed or something could not be measured."""
    options, only = _given()
    # who is stopped clears up, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cluster, rows, failed = Cluster.connect(), list[Row](), False
    operator.install(cluster)
    database = Database(cluster)
    try:
        for name in only:
            failed |= not _part(name, cluster, database, options, rows)
    finally:
        database.remove()
        show("endurance", rows)
        folder = bench_options.Options.from_environment(1).results
        print(f"JSON: {write(folder, 'endure', {'parts': only, **asdict(options)}, rows)}")
    return 1 if failed or any(row.met is False for row in rows) else 0


def _given() -> tuple[Options, list[str]]:
    parser = argparse.ArgumentParser(description="Shows at length, on the cluster, what tests show once.")
    parser.add_argument("--only", choices=tuple(_PARTS), nargs="+", default=list(_PARTS), help="some of the parts")
    parser.add_argument("--tries", type=int, default=200, help="revocations and deletions of each source")
    parser.add_argument("--runs", type=int, default=50, help="runs that end")
    parser.add_argument("--cycles", type=int, default=500, help="bindings that are created, rotated and deleted")
    parser.add_argument("--pods", type=int, default=pods.GOAL_PODS, help="of one runtime, as far as the node allows")
    parser.add_argument("--additions", type=int, default=10, help="bindings that this runtime is given")
    parser.add_argument("--minutes", type=float, default=5, help="how long idle pods are watched")
    parser.add_argument("--at-once", type=int, default=3, help="runtimes that share the tries")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of what is killed when")
    given = vars(parser.parse_args())
    only: list[str] = given.pop("only")
    return Options(**given), only


def _part(name: str, cluster: Cluster, database: Database, options: Options, rows: list[Row]) -> bool:
    """In a tenant of its own; whether it came to its end."""
    tenants = Tenants(cluster, secrets.token_hex(8))
    try:
        house = House.open(cluster, database, tenants, "endure")
        with closing(watch.files(cluster.node)) as files, closing(watch.accounts(database)) as accounts:
            for row in _PARTS[name](house, Watches(files, accounts), options):
                rows.append(row)  # noqa: PERF402 - what was measured before a failure is kept
    except (AssertionError, CommandError, ServerError, requests.RequestException) as error:
        say(f"{name}: not measured: {error}")
        return False
    finally:
        tenants.remove()
    return True


if __name__ == "__main__":
    sys.exit(main())
