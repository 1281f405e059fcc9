"""Pods and their status, as the Deployment's controller and the kubelet would write them."""

from collections.abc import Mapping
from typing import Any

from axon_operator.domain.resources import POD, Manifest


def pod_of(deployment: Manifest, number: int, annotations: Mapping[str, str] | None = None) -> Manifest:
    """One of the Deployment's pods, on a node that does not exist."""
    template = deployment["spec"]["template"]
    metadata = {
        "name": f"{deployment['metadata']['name']}-{number}",
        "namespace": deployment["metadata"]["namespace"],
        "labels": template["metadata"]["labels"],
        "annotations": {**(template["metadata"].get("annotations") or {}), **(annotations or {})},
    }
    spec = {**template["spec"], "nodeName": "node"}
    return {"apiVersion": POD.api_version, "kind": POD.kind, "metadata": metadata, "spec": spec}


def running(pod: Manifest) -> dict[str, Any]:
    """The status of a pod whose containers all run."""

    def state(container: dict[str, Any]) -> dict[str, Any]:
        started = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        fixed = {"image": container["image"], "imageID": "", "ready": True, "restartCount": 0, "started": True}
        return {"name": container["name"], "state": started, **fixed}

    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "initContainerStatuses": [state(c) for c in pod["spec"]["initContainers"]],
        "containerStatuses": [state(c) for c in pod["spec"]["containers"]],
    }
