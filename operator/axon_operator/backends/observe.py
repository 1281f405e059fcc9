"""The hook through which adapters report their calls (for metrics)."""

from collections.abc import Callable

Observe = Callable[[str, str, str, float], None]
"""(backend, verb, outcome, seconds); outcome is `ok` or the lower-case name of the error."""


def ignore(backend: str, verb: str, outcome: str, seconds: float) -> None:
    """For use without metrics."""
