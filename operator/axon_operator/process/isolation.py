"""Tells the canary what to try, reads what came of it, and wakes the Tenants of which something else is to be said."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import ValidationError

from axon_operator.api.reasons import ConditionType, Reason
from axon_operator.backends.errors import ReconcileError
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.domain.finding import Finding
from axon_operator.domain.isolation import (
    REPORT,
    REPORT_KEY,
    TARGETS,
    TARGETS_KEY,
    Report,
    Target,
    Targets,
    Told,
)
from axon_operator.domain.names import TenantNames
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import CONFIG_MAP, TENANT, Ref
from axon_operator.process import metrics
from axon_operator.process.rounds import Rounds
from axon_operator.reconcile.isolation import crossings, judge, not_heard, targets

_NOBODY: Final = Report(tenants={})
_VERDICTS: Final = {"True": "isolated", "False": "crossed", "Unknown": "unknown"}
_NOT_TRIED: Final = {Reason.SUSPENDED, Reason.PROGRESSING}

log = structlog.stdlib.get_logger("axon_operator")


@dataclass(frozen=True, slots=True)
class _Heard:
    """What was heard of a tenant so far."""

    at: str
    """Of the last report; one that was there at the first look may be of any age."""
    told: Told | None
    """The last that came while this process looked on, and was about what there was."""
    since: float
    """When that came; without one, when the first look was."""


class Isolation(Rounds):
    """A look at the canary's report at every interval, while this process leads and knows all objects.

    No clock of another machine counts: a report is as old as the time since it changed before our eyes.
    """

    def __init__(
        self,
        known: Kubernetes,
        api: Kubernetes,
        platform: Platform,
        *,
        interval: float,
        may_begin: Callable[[], bool],
        changed: Callable[[Ref], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`known`: what the watches have brought; `api`: for the two ConfigMaps, which are not watched.

        `changed`: told of each Tenant of which something else was found.
        """
        super().__init__("isolation", interval=interval, may_begin=may_begin)
        self._known = known
        self._api = api
        self._platform = platform
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._found: Mapping[TenantNames, Finding] = {}
        self._changed = changed

    def finding(self, names: TenantNames) -> Finding:
        """What the last look has found out about a tenant. To be asked from any thread."""
        return self._found.get(names, Finding(ConditionType.ISOLATED))

    def _round(self) -> None:
        """One look, with its metric."""
        aims = targets(self._known, self._platform)
        there = tuple(aim for aim in aims.values() if isinstance(aim, Target))
        try:
            self._publish(Targets(tenants=there))
            report = self._report()
        except ReconcileError as error:
            log.warning("canary not heard", reason=error.reason, message=error.message)
            report = _NOBODY
        now = self._clock()
        self._heard = {t.uid: _hear(self._heard.get(t.uid), t, report.tenants.get(t.uid), now) for t in there}
        self._conclude(
            {names: self._judge(aim, now) if isinstance(aim, Target) else aim for names, aim in aims.items()}
        )

    def _judge(self, target: Target, now: float) -> Finding:
        heard = self._heard[target.uid]
        return judge(target, heard.told, now - heard.since)

    def _conclude(self, found: Mapping[TenantNames, Finding]) -> None:
        # what was found stays until something else is: a look that learns nothing new is no news
        before = self._found
        self._found = {n: _kept(before.get(n), finding) for n, finding in found.items()}
        tried = [f.status for f in self._found.values() if f.status and f.reason not in _NOT_TRIED]
        numbers = Counter(_VERDICTS[status] for status in tried)
        for verdict in _VERDICTS.values():
            metrics.ISOLATION.labels(verdict).set(numbers[verdict])
        for names, finding in self._found.items():
            if finding.status is not None and before.get(names) != finding:
                tell = log.warning if finding.status == "False" else log.info
                told = {"status": finding.status, "reason": finding.reason, "message": finding.message}
                tell("isolation of a tenant looked at", tenant=names.tenant, **told)
                self._changed(Ref(TENANT, "", names.tenant))

    def _publish(self, wanted: Targets) -> None:
        text = wanted.model_dump_json()
        ref = Ref(CONFIG_MAP, self._platform.operator_namespace, TARGETS)
        live = self._api.get(ref)
        if live is None:
            log.warning("canary not told", message=f"{ref} is missing; the chart makes it.")
        elif live.get("data") != {TARGETS_KEY: text}:
            self._api.replace({**live, "data": {TARGETS_KEY: text}})

    def _report(self) -> Report:
        live = self._api.get(Ref(CONFIG_MAP, self._platform.operator_namespace, REPORT)) or {}
        text = (live.get("data") or {}).get(REPORT_KEY)
        if text is None:
            return _NOBODY
        try:
            return Report.model_validate_json(text)
        except ValidationError:
            log.warning("canary not heard", message=f"Its report in ConfigMap {REPORT} is not of the agreed form.")
            return _NOBODY


def _kept(before: Finding | None, found: Finding) -> Finding:
    """With this look; why nothing was tried is no longer true when something is, and a hole counts until it is closed."""
    if before is not None and before.status == "False" and found.reason is Reason.NOT_PROVEN:
        return before
    if found.status is not None or before is None:
        return found
    return not_heard() if before.reason in _NOT_TRIED else before


def _hear(before: _Heard | None, target: Target, told: Told | None, now: float) -> _Heard:
    """What is known with this look. A tenant that is new to us is waited for from now on."""
    if before is None:
        return _Heard(told.at if told else "", None, now)
    if told is None or told.at == before.at:
        return before
    if told.target != target.digest and not crossings(told, target):
        return _Heard(told.at, before.told, before.since)
    return _Heard(told.at, told, now)
