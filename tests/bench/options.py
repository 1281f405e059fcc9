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
    results: Path

    @classmethod
    def from_environment(cls, scale: float) -> "Options":
        """`scale`: where the environment names none. AXON_BENCH_SCALE, AXON_BENCH_EDITS, AXON_SOAK_MINUTES, AXON_BENCH_RESULTS."""
        return cls(
            scale=float(os.environ.get("AXON_BENCH_SCALE", scale)),
            edits=int(os.environ.get("AXON_BENCH_EDITS", "200")),
            minutes=float(os.environ.get("AXON_SOAK_MINUTES", "10")),
            results=Path(os.environ.get("AXON_BENCH_RESULTS", REPOSITORY / "build" / "bench")),
        )
