"""Runs the orphan sweep in a thread of its own, and tells people what it found and did."""

import datetime
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import structlog

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.resources import TENANT, Ref
from axon_operator.process import metrics
from axon_operator.process.engine import report_defect
from axon_operator.process.events import Note, event
from axon_operator.reconcile.sweep import KINDS, Fate, Report, Trace

_LOOK_AGAIN = 1.0
"""Seconds between looks whether this process may begin."""
_LONGEST_NOTE = 1000

log = structlog.stdlib.get_logger("axon_operator")


class Sweeping(Protocol):
    """What is run."""

    def run(self) -> Report:
        """One sweep."""


class Sweeper:
    """A sweep at every interval, while this process leads and knows all objects."""

    def __init__(
        self,
        sweep: Sweeping,
        kubernetes: Kubernetes,
        *,
        interval: float,
        may_begin: Callable[[], bool],
        namespace: str,
    ) -> None:
        """`interval`: seconds from the end of a sweep to the next, ±10 %.

        `may_begin`: whether this process leads and has listed everything once: what is not known yet must not look
        dead. `namespace`: where Events about Tenants go.
        """
        self._sweep = sweep
        self._kubernetes = kubernetes
        self._interval = interval
        self._may_begin = may_begin
        self._namespace = namespace
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Begins no more sweeps, and waits at most `timeout` seconds for one that is under way; whether that is over."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if not self._may_begin():
                self._stopped.wait(_LOOK_AGAIN)
                continue
            try:
                self.once()
            except Exception as error:  # noqa: BLE001 - a defect must not end the sweeps
                report_defect(error)
            self._stopped.wait(self._interval * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, guards nothing

    def once(self) -> None:
        """One sweep, with its log lines, metrics and Events."""
        with structlog.contextvars.bound_contextvars(task="sweep"):
            report = self._sweep.run()
            for trace in sorted(report.new, key=str):
                log.warning("orphan found", **_about(trace))
            for trace in report.removed:
                metrics.ORPHANS_REMOVED.labels(trace.system, trace.kind).inc()
                log.warning("orphan removed", **_about(trace))
            for what, error in report.problems.items():
                log.warning("sweep incomplete", what=what, reason=error.reason, message=error.message)
            count(report.known)
            self._tell(_by_tenant(report.new), found)
            self._tell(_by_tenant(report.removed), removed)

    def _tell(self, orphans: Mapping[str, list[Trace]], note: Callable[[list[Trace]], Note]) -> None:
        now = datetime.datetime.now(datetime.UTC)
        for tenant, traces in orphans.items():
            try:
                live = self._kubernetes.get(Ref(TENANT, "", tenant)) if tenant else None
                if live is not None:
                    self._kubernetes.create(event(note(traces), live, self._namespace, now))
            except ReconcileError as error:
                log.warning("event not recorded", reason=error.reason, message=error.message)


def found(traces: list[Trace]) -> Note:
    """The Event about new orphans in a living Tenant's part of the systems."""
    stays = all(trace.fate is Fate.STAYS for trace in traces)
    then = "Not removed: it restricts." if stays else "Removed after a grace period, if no owner shows up."
    return Note("Warning", Reason.ORPHAN_FOUND, _listed("Belongs to no living object", traces, then))


def removed(traces: list[Trace]) -> Note:
    """The Event about removed orphans."""
    return Note("Normal", Reason.ORPHAN_REMOVED, _listed("Belonged to no living object and was removed", traces, ""))


def count(known: Iterable[Trace]) -> None:
    """Sets the gauge, to zero too for what there is no more."""
    numbers = Counter((trace.system, trace.kind) for trace in known)
    for system, kind in KINDS:
        metrics.ORPHANS.labels(system, kind).set(numbers[(system, kind)])


def _listed(what: str, traces: list[Trace], then: str) -> str:
    text = f"{what}: {'; '.join(str(trace) for trace in traces)}."
    room = _LONGEST_NOTE - len(then) - 1
    return f"{text if len(text) <= room else text[: room - 1] + '…'} {then}".strip()


def _by_tenant(traces: Iterable[Trace]) -> Mapping[str, list[Trace]]:
    groups: dict[str, list[Trace]] = defaultdict(list)
    for trace in sorted(traces, key=str):
        groups[trace.tenant].append(trace)
    return groups


def _about(trace: Trace) -> dict[str, str]:
    return {
        "system": trace.system,
        "orphan": str(trace),
        "owner": trace.owner,
        "tenant": trace.tenant,
        "fate": trace.fate.name.lower(),
    }
