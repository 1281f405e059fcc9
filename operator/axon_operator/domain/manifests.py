"""Building blocks of Kubernetes manifests: owner marks, plan hash, comparison with what exists."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from axon_operator.domain.names import MANAGED_BY, MANAGED_BY_LABEL, OWNER_UID_LABEL, TENANT_LABEL
from axon_operator.domain.resources import Manifest, Ref
from axon_operator.domain.values import as_planned

PLAN_ANNOTATION = "axonos.ai/plan"
"""Hash of the manifest as planned: notices fields that are no longer planned."""


def manifest(
    ref: Ref,
    owner_uid: str,
    tenant: str,
    body: Mapping[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """An object with our owner mark and the hash of its plan."""
    marks = {MANAGED_BY_LABEL: MANAGED_BY, TENANT_LABEL: tenant, OWNER_UID_LABEL: owner_uid, **(labels or {})}
    notes = dict(annotations or {})
    plan = hashlib.sha256(json.dumps([marks, notes, body], sort_keys=True).encode()).hexdigest()[:16]
    metadata: dict[str, Any] = {"name": ref.name, "labels": marks, "annotations": {**notes, PLAN_ANNOTATION: plan}}
    if ref.namespace:
        metadata["namespace"] = ref.namespace
    return {"apiVersion": ref.resource.api_version, "kind": ref.resource.kind, "metadata": metadata, **body}


def owner_uid(live: Manifest) -> str | None:
    """The uid in the owner mark; None for an object that is not ours."""
    labels = live["metadata"].get("labels") or {}
    return labels.get(OWNER_UID_LABEL) if labels.get(MANAGED_BY_LABEL) == MANAGED_BY else None


def is_current(live: Manifest, planned: Manifest) -> bool:
    """Whether nothing needs to be written."""
    return as_planned(live, planned)
