"""What a run is to do, from the command line and the environment."""

import os
from dataclasses import dataclass
from pathlib import Path

from axon_testbed.layout import REPOSITORY


@dataclass(frozen=True, slots=True)
class Options:
    """The environment's, which the command line can override."""

    scale: float
    """1 is 10,000 objects."""
    edits: int
    minutes: float
    """How long each fault of a soak lasts."""
    every: int
    """Of the points at which the operator can crash, only every so many are tried."""
    results: Path

    @classmethod
    def from_environment(cls, scale: float) -> "Options":
        """`scale`: where the environment names none. AXON_BENCH_SCALE, AXON_BENCH_EDITS, AXON_SOAK_MINUTES, AXON_SOAK_EVERY,
        AXON_BENCH_RESULTS."""
        return cls(
            scale=float(os.environ.get("AXON_BENCH_SCALE", scale)),
            edits=int(os.environ.get("AXON_BENCH_EDITS", "200")),
            minutes=float(os.environ.get("AXON_SOAK_MINUTES", "10")),
            every=int(os.environ.get("AXON_SOAK_EVERY", "1")),
            results=Path(os.environ.get("AXON_BENCH_RESULTS", REPOSITORY / "build" / "bench")),
        )
