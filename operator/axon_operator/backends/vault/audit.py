"""OpenBao's audit devices, seen with a login of its own.

They belong to the whole server, so only the root namespace tells of them. The operator's other login has no right there,
and this one none but to look (manifests/bootstrap/openbao/axon-audit.hcl).
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Terminal
from axon_operator.backends.observe import Observe, ignore
from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.domain.audit import Counted
from axon_operator.domain.resources import VaultPath

_NOWHERE: Final = frozenset({"discard", "/dev/null"})
_RECORDED: Final = "vault_audit_log_request_count"
_FAILED: Final = ("vault_audit_log_request_failure", "vault_audit_log_response_failure")


class OpenBaoAudit:
    """`AuditLog` over HTTP.

    Raises:
        ValueError: the settings are not of the root namespace.
    """

    def __init__(self, settings: OpenBaoSettings, *, observe: Observe = ignore) -> None:
        if settings.namespace is not None:
            raise ValueError("audit devices are seen in the root namespace only")
        self._root = OpenBao(settings, observe=observe)

    def devices(self) -> tuple[str, ...]:
        """See `AuditLog.devices`."""
        found = self._root.read(VaultPath("", "sys/audit"))
        return tuple(sorted(name.rstrip("/") for name, device in (found or {}).items() if _keeps(device)))

    def answers(self, device: str) -> bool:
        """See `AuditLog.answers`. The text is a new one each time, and means nothing."""
        probe = {"input": secrets.token_hex(16)}
        answer = self._root.look_up(VaultPath("", f"sys/audit-hash/{device}"), probe)
        return answer is not None and bool(answer.get("hash"))

    def counted(self) -> Counted | None:
        """See `AuditLog.counted`."""
        numbers = self._root.numbers((_RECORDED, *_FAILED))
        if numbers is None:
            return None
        if _RECORDED not in numbers:
            raise Terminal(
                Reason.AUDIT_UNPROVEN,
                f"OpenBao's metrics lack {_RECORDED}; check telemetry.metrics_prefix and prefix_filter in its configuration.",
            )
        return Counted(numbers[_RECORDED], sum(numbers.get(name, 0) for name in _FAILED))


def _keeps(device: Mapping[str, Any]) -> bool:
    """Whether what is given to the device goes anywhere."""
    return (device.get("options") or {}).get("file_path") not in _NOWHERE
