"""Building blocks of Kubernetes manifests: owner marks, plan hash, comparison with what exists."""

import hashlib
import json
from collections.abc import Mapping
from functools import reduce
from typing import Any

from axon_operator.domain.defaults import IMMUTABLE, SERVERS_FIELDS
from axon_operator.domain.names import MANAGED_BY, MANAGED_BY_LABEL, OWNER_UID_LABEL, TENANT_LABEL, RuntimeNames
from axon_operator.domain.resources import Manifest, Ref
from axon_operator.domain.values import as_planned, has_unplanned

PLAN_ANNOTATION = "axonos.ai/plan"
"""Hash of the manifest as planned: notices fields that are no longer planned."""

_ENVELOPE = frozenset({"apiVersion", "kind", "metadata", "status"})


def manifest(
    ref: Ref,
    owner_uid: str,
    tenant: str,
    body: Mapping[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    collected_with: Ref | None = None,
) -> Manifest:
    """An object with our owner mark and the hash of its plan.

    `collected_with`: the owner as an object of the same namespace, with which Kubernetes removes this one, should
    the owner vanish without a teardown.
    """
    marks = {MANAGED_BY_LABEL: MANAGED_BY, TENANT_LABEL: tenant, OWNER_UID_LABEL: owner_uid, **(labels or {})}
    notes = dict(annotations or {})
    plan = hashlib.sha256(json.dumps([marks, notes, body], sort_keys=True).encode()).hexdigest()[:16]
    metadata: dict[str, Any] = {"name": ref.name, "labels": marks, "annotations": {**notes, PLAN_ANNOTATION: plan}}
    if ref.namespace:
        metadata["namespace"] = ref.namespace
    if collected_with:
        kind = {"apiVersion": collected_with.resource.api_version, "kind": collected_with.resource.kind}
        metadata["ownerReferences"] = [{**kind, "name": collected_with.name, "uid": owner_uid, "controller": True}]
    return {"apiVersion": ref.resource.api_version, "kind": ref.resource.kind, "metadata": metadata, **body}


def owner_uid(live: Manifest) -> str | None:
    """The uid in the owner mark; None for an object that is not ours."""
    labels = live["metadata"].get("labels") or {}
    return labels.get(OWNER_UID_LABEL) if labels.get(MANAGED_BY_LABEL) == MANAGED_BY else None


def runtime_names(runtime: Manifest) -> RuntimeNames:
    """What a WorkflowRuntime's things are called."""
    metadata = runtime["metadata"]
    return RuntimeNames(metadata["namespace"], metadata["name"], metadata["uid"])


def conditions_of(live: Manifest) -> list[dict[str, Any]]:
    """What stands in its status; none before the first look."""
    return list((live.get("status") or {}).get("conditions") or ())


def container_statuses(pod: Manifest) -> list[dict[str, Any]]:
    """What the kubelet says of a pod's containers, sidecars first."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def is_current(live: Manifest, planned: Manifest) -> bool:
    """Whether nothing needs to be written."""
    return as_planned(live, planned) and not is_extended(live, planned)


def is_extended(live: Manifest, planned: Manifest) -> bool:
    """Whether somebody added something. Server-side apply takes nothing away that others have put there."""
    known = SERVERS_FIELDS.get(planned["kind"])
    if known is None:
        return False
    return has_unplanned({k: v for k, v in live.items() if k not in _ENVELOPE}, planned, known) or has_unplanned(
        live["metadata"].get("ownerReferences"), planned["metadata"].get("ownerReferences"), {}
    )


def must_be_made_anew(live: Manifest, planned: Manifest) -> bool:
    """Whether a field differs that the API server lets nobody change."""
    path = IMMUTABLE.get(planned["kind"])
    if not path:
        return False
    before, wanted = (reduce(lambda part, key: part.get(key) or {}, path, m) for m in (live, planned))
    return not as_planned(before, wanted) or has_unplanned(before, wanted, {})


def replacement(live: Manifest, planned: Manifest) -> Manifest:
    """The planned object in place of exactly the version that was read."""
    version = live["metadata"]["resourceVersion"]
    return {**planned, "metadata": {**planned["metadata"], "resourceVersion": version}}
