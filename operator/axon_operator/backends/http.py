"""What the adapters of OpenBao and Keycloak share: both speak HTTP and log in with a projected token."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import requests

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, ReconcileError
from axon_operator.backends.observe import Observe

RENEW_AT: Final = 2 / 3
"""The part of a token's life after which it is replaced: one failure can pass before it is needed."""


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


def untrusted(ca_file: Path | None) -> str:
    """What is wrong with a server whose certificate is of no authority that the operator was given."""
    return (
        "did not prove its identity; give the operator the CA that signed its certificate, in backends.caBundle of its "
        f"chart (it has {ca_file or 'the public ones'})"
    )


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
    except (ValueError, RecursionError):
        # the second of a text that is nested very deep, as a user can store one
        return None
    return body if isinstance(body, dict) else None
