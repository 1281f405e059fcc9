"""What the adapters of OpenBao and Keycloak share: both speak HTTP and log in with a projected token."""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError
from axon_operator.backends.observe import Observe

RENEW_AT: Final = 2 / 3
"""The part of a token's life after which it is replaced: one failure can pass before it is needed."""


def check_url(what: str, url: str, *, with_path: bool) -> None:
    """Raises ValueError unless it is scheme, host, port (and path), and encrypted on all ways but loopback."""
    parts = urlsplit(url)
    clean = ".." not in parts.path if with_path else parts.path in {"", "/"}
    if parts.username is not None or parts.query or parts.fragment or not clean:
        form = "scheme, host, port and path" if with_path else "scheme, host and port"
        raise ValueError(f"{what} has to be {form}, nothing more")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))):
        raise ValueError(f"{what} has to begin with https:// (http:// only to loopback)")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(path: Path, reason: Reason) -> str:
    """The projected service-account token. Raises `Denied` for that reason if there is none."""
    try:
        jwt = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        jwt = ""
    if not jwt:
        raise Denied(
            reason,
            f"The operator's service-account token {path} cannot be read; check the projected volume of its pod.",
        )
    return jwt


@contextmanager
def observed(observe: Observe, backend: str, verb: str, clock: Callable[[], float]) -> Iterator[None]:
    """Reports the call inside, with its outcome and duration."""
    started = clock()
    outcome = "ok"
    try:
        yield
    except ReconcileError as error:
        outcome = type(error).__name__.lower()
        raise
    finally:
        observe(backend, verb, outcome, clock() - started)


def json_object(response: requests.Response) -> dict[str, Any] | None:
    """The answer's body, or None if it is no JSON object."""
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
