"""Runs the orphan sweep in a thread of its own, and tells people what it found and did."""

import datetime
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import structlog

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.resources import TENANT, Ref
from axon_operator.process import metrics
from axon_operator.process.events import Note, event
from axon_operator.process.rounds import Rounds
from axon_operator.reconcile.sweep import Report
from axon_operator.reconcile.sweep.orphans import KINDS, Fate, Trace

_LONGEST_NOTE = 1000
_HELD = "Their grace is over, but not fewer tenants are dead than alive: is this a restored cluster, or a second one on the same OpenBao? Otherwise remove them by hand (docs/operations.md, Orphans)."

_THEN = {
    **dict.fromkeys((Fate.ACCESS, Fate.TENANT), "Removed after a grace period, if no owner shows up."),
    Fate.STAYS: "Not removed: it restricts.",
    Fate.KEPT: "Not removed: it is to be retained, or its mark does not say which cluster it is of.",
}

log = structlog.stdlib.get_logger("axon_operator")


class Sweeping(Protocol):
    """What is run."""

    def run(self) -> Report:
        """One sweep."""


class Sweeper(Rounds):
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
        """`may_begin`: whether this process leads and has listed everything once: what is not known yet must not look dead.

        `namespace`: where Events about Tenants go.
        """
        super().__init__("sweep", interval=interval, may_begin=may_begin)
        self._sweep = sweep
        self._kubernetes = kubernetes
        self._namespace = namespace

    def _round(self) -> None:
        """One sweep, with its log lines, metrics and Events."""
        report = self._sweep.run()
        for trace in sorted(report.new, key=str):
            log.warning("orphan found", **_about(trace))
        for trace in report.removed:
            metrics.ORPHANS_REMOVED.labels(trace.system, trace.kind).inc()
            log.warning("orphan removed", **_about(trace))
        if held := {(trace.tenant, trace.owner) for trace in report.held}:
            log.warning("dead tenants kept", tenants=len(held), message=_HELD)
        metrics.ORPHANS_HELD.set(len(held))
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
    fates = {trace.fate for trace in traces}
    then = _THEN[fates.pop()] if len(fates) == 1 else _THEN[Fate.TENANT]
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
