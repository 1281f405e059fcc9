"""Rounds through all tenants, for ever; each ends with a report."""

import datetime
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from pydantic import ValidationError

from axon_operator.canary.attempts import visit
from axon_operator.canary.settings import CanarySettings
from axon_operator.canary.stranger import Stranger
from axon_operator.domain.isolation import (
    REPORT,
    REPORT_KEY,
    TARGETS,
    TARGETS_KEY,
    Report,
    Result,
    Target,
    Targets,
    Told,
)
from axon_operator.domain.urls import check_url

_VISITS: Final = 4
"""Tenants at the same time: few, because each login that is refused costs a server work too."""

log = structlog.get_logger("axon_canary")


class Canary:
    """Tries what it is told to, and tells what came of it."""

    def __init__(self, settings: CanarySettings) -> None:
        self._settings = settings

    def round(self) -> None:
        """One visit to each tenant."""
        with Stranger(self._settings) as stranger:
            text = (stranger.config_map(TARGETS) or {}).get(TARGETS_KEY)
        if text is None:
            log.warning(
                "nothing to try", message=f"ConfigMap {TARGETS} cannot be read, or the operator has not written it."
            )
            return
        try:
            tenants = Targets.model_validate_json(text).tenants
        except ValidationError:
            log.warning("nothing to try", message=f"ConfigMap {TARGETS} is not of the agreed form.")
            return
        with ThreadPoolExecutor(_VISITS) as at_once:
            told = dict(zip((t.uid for t in tenants), at_once.map(self._visit, tenants), strict=True))
        report = Report(tenants=told).model_dump_json()
        with Stranger(self._settings) as stranger:
            if not stranger.write_config_map(REPORT, {REPORT_KEY: report}):
                log.warning("report not written", message=f"ConfigMap {REPORT} cannot be written.")

    def _visit(self, target: Target) -> Told:
        issuer = f"{str(self._settings.keycloak_url).rstrip('/')}/realms/{target.realm}"
        with Stranger(self._settings) as stranger:
            results = visit(stranger, target, issuer)
        for attempt, result in results.items():
            if result is not Result.REFUSED:
                log.warning(result, namespace=target.namespace, attempt=attempt)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        return Told(target=target.digest, at=now, results=results)


def main() -> None:
    """Entry point of the container."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        settings = CanarySettings()
        for url in (settings.kubernetes_url, settings.vault_address, settings.keycloak_url):
            check_url("an address", str(url), with_path=True)
    except ValidationError as error:
        wrong = "; ".join(
            f"AXON_CANARY_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False)
        )
        sys.exit(f"axon-canary cannot start, settings are missing or wrong: {wrong}")
    except ValueError as error:
        sys.exit(f"axon-canary cannot start, settings are wrong: {error}")
    # the first process of a container gets no signal that it does not ask for
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    canary = Canary(settings)
    while True:
        canary.round()
        time.sleep(settings.interval)
