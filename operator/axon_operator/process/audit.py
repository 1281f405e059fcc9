"""The audit stream: one JSON line on standard output for every write that was tried in one of the three systems.

Separate from the log, which goes to standard error, so that the two can be kept and read apart. A line names what
was written to, never what was written (docs/reference/audit.md).
"""

import datetime
import json
import threading
from collections.abc import Callable
from typing import TextIO

import structlog

from axon_operator.domain.names import REQUESTED_BY_ANNOTATION, REQUESTED_GENERATION_ANNOTATION
from axon_operator.domain.resources import Manifest
from axon_operator.reconcile.engine.plan import Change

FORMAT = 1
"""Version of the format; grows when a field changes its meaning or goes away."""
UNKNOWN = "unknown"
_NAME_LENGTH = 256


class AuditStream:
    """Writes the lines. Safe to use from many threads."""

    def __init__(self, sink: TextIO, *, now: Callable[[], datetime.datetime]) -> None:
        self._sink = sink
        self._now = now
        self._lock = threading.Lock()

    def __call__(self, live: Manifest, change: Change, outcome: str) -> None:
        """One line about a change that was tried for the object `live`; `outcome` is `ok` or a reason.

        Raises what the sink raises if the line cannot be written: the pass ends there, so that no more goes unrecorded.
        """
        metadata = live["metadata"]
        entry = {
            "audit": FORMAT,
            "time": self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "object": {
                "kind": live["kind"],
                "namespace": metadata.get("namespace", ""),
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "generation": metadata["generation"],
            "reconcile": structlog.contextvars.get_contextvars().get("reconcile", UNKNOWN),
            "requestedBy": requested_by(live),
            "backend": change.system,
            "verb": change.verb,
            "target": change.target,
            "outcome": outcome,
        }
        line = json.dumps(entry) + "\n"
        with self._lock:
            self._sink.write(line)
            self._sink.flush()


def requested_by(live: Manifest) -> str:
    """Who asked for this generation of the object, as the API server stamped it; `unknown` where it did not.

    At most 256 characters, and none that a terminal would obey: names come from whatever issues them.
    """
    metadata = live["metadata"]
    annotations = metadata.get("annotations") or {}
    # deletion and `kubectl scale` make a new generation without a stamp: the last editor did not ask for that one
    if annotations.get(REQUESTED_GENERATION_ANNOTATION) != str(metadata["generation"]):
        return UNKNOWN
    name = str(annotations.get(REQUESTED_BY_ANNOTATION) or UNKNOWN)
    return "".join(c if c.isprintable() else "\ufffd" for c in name[:_NAME_LENGTH])
