"""JSON logs on standard error, with redaction as a second line of defence.

The first line is that no message ever holds a value: errors carry our own words only.
"""

import logging
import re
import sys
import traceback
import uuid
from collections.abc import MutableMapping
from typing import Any

import structlog

from axon_operator.backends.errors import ReconcileError

_SECRET_KEYS = re.compile(r"token|secret|password|jwt|authorization|accessor|lease|assertion|cookie", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*"  # JWT
    r"|\b(?:s|b|r|hvs|hvb|hvr)\.[A-Za-z0-9_-]{20,}"  # OpenBao and Vault tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_REDACTED = "[redacted]"

log = structlog.stdlib.get_logger("axon_operator")


def configure(level: str) -> None:
    """Sets up structlog and the standard library's root logger; libraries speak from WARNING on.

    Kopf and urllib3 print whole objects and URLs at DEBUG, so their level never follows ours.
    """
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _drop_traceback,
                redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("axon_operator").setLevel(level)
    structlog.configure(
        processors=[*processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def new_id() -> str:
    """What the log and audit lines of one pass, or one sweep, share."""
    return uuid.uuid4().hex[:12]


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replaces values under telling names and anything that looks like a credential."""
    for key, value in event.items():
        if _SECRET_KEYS.search(key):
            event[key] = _REDACTED
        elif isinstance(value, str):
            event[key] = _SECRET_TEXT.sub(_REDACTED, value)
    return event


def _drop_traceback(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Libraries' tracebacks end with the exception's text, which can carry values: only its type is kept."""
    info = event.pop("exc_info", None)
    if info and info is not True and info[0] is not None:
        event["error"] = info[0].__name__
    return event


def report_failure(error: Exception) -> None:
    """Logs why a watch failed; it is begun again."""
    if isinstance(error, ReconcileError):
        log.warning("watch failed", reason=error.reason, message=error.message)
    else:
        report_defect(error)


def report_defect(error: Exception) -> None:
    """Logs an exception that is none of the four errors: its type and place only."""
    # not log.exception: a traceback ends with the exception's text
    log.error("defect", error=type(error).__name__, where=_where(error))


def _where(error: Exception) -> list[str]:
    """File and line of each frame; never the exception's text, which can carry values."""
    return [
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)[-6:]
    ]
