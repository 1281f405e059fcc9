"""Lists the operator's writes, and ends it right behind one of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from axon_operator.backends.keycloak.port import Keycloak
from axon_operator.backends.kubernetes.port import Kubernetes
from axon_operator.backends.vault.port import Vault
from axon_operator.domain.resources import ref_of
from axon_operator.reconcile.engine.plan import Backends, System

_READS: Final = frozenset(
    {"cluster", "get", "list", "referring", "read", "look_up", "find_user", "reaches_ldap", "supports_namespaces"}
)
"""Of the three ports. Every other method counts as a write, so that a new one is not overlooked."""


class Crash(BaseException):
    """The end of the process. No handler of an Exception catches it, as none would run in a killed process."""


@dataclass
class Tap:
    """Stands between the controllers and the adapters."""

    crash_behind: int | None = None
    """The number of the write, from 1, behind which the process ends."""
    writes: list[str] = field(default_factory=list)
    """Those that were answered without an error."""

    def over(self, to: Backends) -> Backends:
        """The same backends, tapped."""
        return Backends(
            cast("Kubernetes", _Tapped(to.kubernetes, System.KUBERNETES, self)),
            cast("Vault", _Tapped(to.vault, System.OPENBAO, self)),
            cast("Keycloak", _Tapped(to.keycloak, System.KEYCLOAK, self)),
        )

    def made(self, write: str) -> None:
        """A write has returned."""
        self.writes.append(write)
        if len(self.writes) == self.crash_behind:
            raise Crash(write)


@dataclass(frozen=True, slots=True)
class _Tapped:
    to: object
    system: System
    tap: Tap

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self.to, name)
        if name in _READS:
            return method

        def call(*args: Any) -> Any:
            answer = method(*args)
            self.tap.made(f"{self.system} {name} {_target(name, *args)}")
            return answer

        return call


def _target(method: str, first: Any, *rest: Any) -> str:
    """What a write is made to: its first argument; of a creation in Keycloak, the body says what."""
    if isinstance(first, dict):
        return str(ref_of(first))
    body = rest[0] if method == "create" else {}
    names = [str(body[name]) for name in ("realm", "clientId", "alias") if name in body]
    return " ".join((str(first), *names)).strip()
