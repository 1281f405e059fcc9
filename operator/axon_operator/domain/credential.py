"""Credentials that administrators keep for a tenant in the operator's namespace: which one may be used for what.

A value is read in the moment in which it is written to a backend, and kept nowhere. Since no backend gives it back,
a mark beside it says which version of the Secret was written: a hash of the Secret's uid and resourceVersion, which
change with every edit and say nothing about the value.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from axon_operator.domain.names import HOST_LABEL, PURPOSE_LABEL, TENANT_LABEL
from axon_operator.domain.resources import SECRET, Manifest, Ref

KEY: Final = "credential"
"""Of the Secret's data."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One that a tenant's spec names, and what it is to be used for."""

    namespace: str
    name: str
    tenant: str
    host: str
    purpose: str

    @property
    def ref(self) -> Ref:
        """Where it is."""
        return Ref(SECRET, self.namespace, self.name)

    def problem(self, secret: Manifest | None) -> str | None:
        """Why this Secret must not be used for it; None if it may."""
        if secret is None:
            return f"There is no Secret {self.name} in {self.namespace}; make it, with the labels {self._labels()}."
        labels: Mapping[str, Any] = secret["metadata"].get("labels") or {}
        if any(labels.get(label) != value for label, value in self._wanted().items()):
            return (
                f"Secret {self.name} in {self.namespace} is not for this use; it must have the labels {self._labels()}."
            )
        if not self._decoded(secret):
            return f"Secret {self.name} in {self.namespace} has no text under its key {KEY}; put the value there."
        return None

    def value(self, secret: Manifest) -> str:
        """The value itself; only for one that has no `problem`."""
        return self._decoded(secret) or ""

    def _wanted(self) -> dict[str, str]:
        return {TENANT_LABEL: self.tenant, HOST_LABEL: self.host, PURPOSE_LABEL: self.purpose}

    def _labels(self) -> str:
        return ", ".join(f"{label}={value}" for label, value in self._wanted().items())

    @staticmethod
    def _decoded(secret: Manifest) -> str | None:
        try:
            return base64.b64decode((secret.get("data") or {}).get(KEY) or "", validate=True).decode().strip()
        except (binascii.Error, ValueError, TypeError):
            return None


def version_mark(secret: Manifest) -> str:
    """Which version of the Secret this is."""
    metadata = secret["metadata"]
    return hashlib.sha256(f"{metadata['uid']}\x1f{metadata['resourceVersion']}".encode()).hexdigest()[:32]
