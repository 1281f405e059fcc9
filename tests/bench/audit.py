"""What the operator asked of the API server, from the API server's own audit log."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from e2e.support.settings import OPERATOR_USER

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [OPERATOR_USER]}, {"level": "None"}],
}
_READS = frozenset({"get", "list", "watch"})
_HOUSEKEEPING = frozenset({"leases", "selfsubjectaccessreviews", "selfsubjectreviews"})
"""Election and self-checks: they write, but nothing of a tenant's."""


class AuditLog:
    """Reads the log from where the last look ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def skip(self) -> None:
        """What has been written so far is not counted."""
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def calls(self) -> Counter[str]:
        """`verb resource` to number of calls since `skip`, watches and housekeeping left out."""
        return Counter(f"{verb} {resource}" for verb, resource in self._entries() if resource not in _HOUSEKEEPING)

    def writes(self) -> Counter[str]:
        """The same of writes only."""
        return Counter({call: n for call, n in self.calls().items() if call.split()[0] not in _READS})

    def _entries(self) -> Iterator[tuple[str, str]]:
        if not self._path.exists():
            return
        with self._path.open() as log:
            log.seek(self._offset)
            for line in log:
                entry = json.loads(line)
                about = entry.get("objectRef")
                if about and entry["verb"] != "watch":
                    name = about["resource"]
                    yield entry["verb"], f"{name}/{about['subresource']}" if "subresource" in about else name
