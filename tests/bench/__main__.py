"""`python -m bench` and `python -m bench soak`."""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from axon_testbed.errors import BedError
from bench import bindings, crashes, scenarios, soak, tenants
from bench.bed import Bed, bed
from bench.options import Options
from bench.population import NOBODY, Size, skewed, spread
from bench.report import Row, show, write
from servers.processes import ServerError


def main() -> int:
    """1 if a goal was missed or something could not be measured."""
    parser = argparse.ArgumentParser(description="Measures the operator on real servers.")
    parser.add_argument("what", nargs="?", choices=tuple(_SCALES), default="bench")
    parser.add_argument("--scale", type=float, help="1 is 10,000 objects")
    parser.add_argument("--edits", type=int, help="edits per measurement")
    parser.add_argument("--minutes", type=float, help="length of each outage of a soak")
    parser.add_argument("--every", type=int, help="of the points at which the operator can crash, every so many")
    parser.add_argument(
        "--only", choices=(*_BENCHES, *soak.TROUBLES, crashes.NAME), nargs="+", help="some of the measurements"
    )
    given = parser.parse_args()
    named = {name: value for name in _OVERRIDES if (value := getattr(given, name)) is not None}
    options = dataclasses.replace(Options.from_environment(_SCALES[given.what]), **named)
    rows: list[Row] = []
    failed = False
    try:
        for row in (_soak if given.what == "soak" else _bench)(options, given.only):
            rows.append(row)  # noqa: PERF402 - what was measured before a failure is kept
    except (BedError, ServerError, TimeoutError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        failed = True
    finally:
        show(f"{given.what}, scale {options.scale:g}", rows)
        settings = {name: getattr(options, name) for name in _OVERRIDES}
        print(f"JSON: {write(options.results, given.what, settings, rows)}")
    return 1 if failed or any(row.met is False for row in rows) else 0


_OVERRIDES = ("scale", "edits", "minutes", "every")
_SCALES = {"bench": 1.0, "soak": 0.05}
"""A soak is about behaviour: with few objects every one of them is looked at often."""

_SPREAD: dict[str, scenarios.Scenario] = {
    "restart": lambda bed, options: scenarios.restart_and_noop(bed),
    "resync": lambda bed, options: scenarios.edits_during_resync(bed, options.edits),
    "hang": lambda bed, options: scenarios.edits_beside_a_hang(bed, options.edits),
    "bindings": lambda bed, options: bindings.changed_bindings(bed),
}
_SKEWED: dict[str, scenarios.Scenario] = {
    "retries": lambda bed, options: scenarios.edits_beside_retries(bed, options.edits)
}
_BENCHES = (*_SPREAD, *_SKEWED, tenants.NAME)


def _bench(options: Options, only: Sequence[str] | None) -> Iterator[Row]:
    for of_size, benches in ((spread, _SPREAD), (skewed, _SKEWED)):
        wanted = [run for name, run in benches.items() if not only or name in only]
        if not wanted:
            continue
        with _bed(of_size(options.scale)) as running:
            for run in wanted:
                yield from run(running, options)
    if not only or tenants.NAME in only:
        with _bed(NOBODY) as running:
            yield from tenants.run(running, options)


def _soak(options: Options, only: Sequence[str] | None) -> Iterator[Row]:
    if troubles := [name for name in soak.TROUBLES if not only or name in only]:
        with _bed(spread(options.scale)) as running:
            yield from soak.run(running, options, troubles)
    if not only or crashes.NAME in only:
        with _bed(NOBODY) as running:
            yield from crashes.run(running, options.every)


@contextmanager
def _bed(size: Size) -> Iterator[Bed]:
    """In a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as folder, bed(Path(folder), size) as running:
        yield running


if __name__ == "__main__":
    sys.exit(main())
