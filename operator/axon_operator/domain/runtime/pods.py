"""A runtime's pods: containers, volumes, and what keeps them running or runs them to their end."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from axon_operator.api.tenant import SIDECAR_LIMITS
from axon_operator.api.workflowruntime import ResourceAmounts, Run, WorkflowRuntimeSpec
from axon_operator.domain import agent, proxy
from axon_operator.domain.consent import started
from axon_operator.domain.containers import restricted
from axon_operator.domain.names import (
    PROGRAM_ANNOTATION,
    RUN_ANNOTATION,
    RUNTIME_AUTH_MOUNT,
    STATUS_MOUNT,
    VARIABLES_ANNOTATION,
)
from axon_operator.domain.platform import Platform
from axon_operator.domain.resources import DEPLOYMENT, JOB, Manifest
from axon_operator.domain.rotation import is_restarted
from axon_operator.domain.runtime import VAULT_AUDIENCE, Runtime
from axon_operator.domain.values import seconds

TOKEN_SECONDS = 600
"""Lifetime of projected tokens, the shortest that Kubernetes issues: OpenBao checks only signature and expiry,
so a token of a deleted pod stays good for that long."""

USER = 65532


def deployment(runtime: Runtime, platform: Platform) -> Manifest:
    """The pods that are kept running.

    Of the bindings only those that set variables are in the template, and whether there is a proxy: no other change
    restarts anything.
    """
    spec = {
        "replicas": runtime.replicas,
        "selector": {"matchLabels": runtime.labels},
        "strategy": _strategy(runtime),
        "template": {"metadata": _pod_metadata(runtime, _read_once(runtime)), "spec": _pod(runtime, platform)},
    }
    return runtime.child(DEPLOYMENT, runtime.names.principal, {"spec": spec})


def _strategy(runtime: Runtime) -> dict[str, Any]:
    """What users grant to a program counts when no pod of another one is left; so the new ones wait for that."""
    if runtime.consent is not None:
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def job(runtime: Runtime, run: Run, platform: Platform) -> Manifest:
    """The pods that run to their end."""
    spec = {
        "suspend": runtime.suspended,
        "parallelism": runtime.spec.replicas,
        "completions": runtime.spec.replicas,
        "backoffLimit": run.retries,
        "activeDeadlineSeconds": seconds(run.deadline),
        "template": {
            "metadata": _pod_metadata(runtime, {}),
            "spec": {**_pod(runtime, platform), "restartPolicy": "Never"},
        },
    }
    return runtime.child(JOB, runtime.names.principal, {"spec": spec}, {RUN_ANNOTATION: run_id(runtime.spec)})


def run_id(spec: WorkflowRuntimeSpec) -> str:
    """What is to run: the same through all that does not change the program or asks for another run."""
    parts = {"image", "command", "args", "env", "resources", "replicas", "run"}
    return hashlib.sha256(spec.model_dump_json(include=parts).encode()).hexdigest()[:12]


def _pod(runtime: Runtime, platform: Platform) -> dict[str, Any]:
    return {
        "serviceAccountName": runtime.names.principal,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [
            _credentials_container(runtime, platform),
            *([proxy.container(platform.proxy_image, runtime.names.uid)] if runtime.routes else ()),
        ],
        "containers": [_workload_container(runtime)],
        "volumes": _volumes(runtime, platform),
    }


def _pod_metadata(runtime: Runtime, more: Mapping[str, str]) -> dict[str, Any]:
    return {"labels": runtime.labels, "annotations": {PROGRAM_ANNOTATION: started(runtime.spec), **more}}


def _read_once(runtime: Runtime) -> dict[str, str]:
    """A hash of what has been put into variables: another one replaces the pods, once for all that changed."""
    # a generation's name comes again for a credential that was taken back and is given anew; its time does not
    read = sorted(
        (b.name, str(b.generation.made), b.kv_path, b.version) for b in runtime.bindings if is_restarted(b.spec)
    )
    return {VARIABLES_ANNOTATION: hashlib.sha256(json.dumps(read).encode()).hexdigest()[:12]} if read else {}


def _variables(runtime: Runtime) -> list[dict[str, Any]]:
    """What the kubelet reads from the sidecar's files: neither the API server nor the workload's volumes have it."""
    return [
        {
            "name": v.name,
            "valueFrom": {
                "fileKeyRef": {"volumeName": agent.Folder.ENV, "path": b.binding.name, "key": v.name, "optional": False}
            },
        }
        for b in runtime.bindings
        if b.spec.delivery.env
        for v in b.spec.delivery.env.variables
    ]


def _credentials_container(runtime: Runtime, platform: Platform) -> dict[str, Any]:
    """A native sidecar: started before the workload, which waits until the first set of files is there."""
    env = {
        "BAO_ADDR": platform.vault_address,
        "BAO_CACERT": f"{agent.CONFIG_DIR}/ca.crt",
        "BAO_NAMESPACE": f"{platform.vault_parent}/{runtime.tenant.vault_namespace}",
        "AUTH_MOUNT": RUNTIME_AUTH_MOUNT,
        "STATUS_MOUNT": STATUS_MOUNT,
        "ROLE": runtime.names.principal,
        "JWT": f"{agent.TOKEN_DIR}/token",
        "CONFIG": agent.CONFIG_DIR,
        "OUT": agent.ROOT_DIR,
        "WORK": agent.WORK_DIR,
        "HOME": agent.WORK_DIR,
    }
    return {
        "name": "credentials",
        "image": platform.agent_image,
        "restartPolicy": "Always",
        "command": ["/bin/sh", "-c", f"{proxy.SCRIPT}\n{agent.SCRIPT}"],
        "env": [
            *({"name": name, "value": value} for name, value in env.items()),
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}},
        ],
        "startupProbe": {
            "exec": {"command": ["/bin/sh", "-c", f"test -e {agent.WORK_DIR}/.started"]},
            "periodSeconds": 1,
            "failureThreshold": 3600,
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": dict(SIDECAR_LIMITS)},
        "securityContext": restricted(),
        "volumeMounts": [
            {"name": "credentials", "mountPath": agent.SECRETS_DIR},
            {"name": agent.Folder.ENV, "mountPath": f"{agent.ROOT_DIR}/{agent.Folder.ENV}"},
            *([{"name": proxy.VOLUME["name"], "mountPath": proxy.PROXY_DIR}] if runtime.routes else ()),
            {"name": "agent-work", "mountPath": agent.WORK_DIR},
            {"name": "agent-config", "mountPath": agent.CONFIG_DIR, "readOnly": True},
            {"name": "agent-token", "mountPath": agent.TOKEN_DIR, "readOnly": True},
        ],
    }


def _workload_container(runtime: Runtime) -> dict[str, Any]:
    spec = runtime.spec
    return {
        "name": "workload",
        "image": spec.image,
        "command": spec.command,
        "args": spec.args,
        "env": [*({"name": v.name, "value": v.value} for v in spec.env), *_variables(runtime)],
        "ports": [{"name": p.name, "containerPort": p.port, "protocol": "TCP"} for p in spec.ports],
        "resources": {"requests": _amounts(spec.resources.requests), "limits": _amounts(spec.resources.limits)},
        "securityContext": restricted(),
        "volumeMounts": [
            {"name": "credentials", "mountPath": agent.SECRETS_DIR, "readOnly": True},
            {"name": "identity", "mountPath": agent.IDENTITY_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a memory volume of this pod alone
        ],
    }


def _volumes(runtime: Runtime, platform: Platform) -> list[dict[str, Any]]:
    def token(name: str, audience: str) -> dict[str, Any]:
        # Keycloak accepts exactly one audience, so each backend needs its own token
        source = {"serviceAccountToken": {"path": "token", "audience": audience, "expirationSeconds": TOKEN_SECONDS}}
        return {"name": name, "projected": {"defaultMode": 0o440, "sources": [source]}}

    def memory(name: str, size: str) -> dict[str, Any]:
        return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}}

    return [
        memory("credentials", "16Mi"),
        memory(agent.Folder.ENV, "4Mi"),
        *([proxy.VOLUME] if runtime.routes else ()),
        memory("agent-work", "16Mi"),
        memory("tmp", "64Mi"),
        {"name": "agent-config", "configMap": {"name": runtime.names.principal, "defaultMode": 0o440}},
        token("agent-token", VAULT_AUDIENCE),
        token("identity", platform.realm_issuer(runtime.tenant.realm)),
    ]


def _amounts(amounts: ResourceAmounts) -> dict[str, str]:
    wanted = {"cpu": amounts.cpu, "memory": amounts.memory}
    return {name: amount for name, amount in wanted.items() if amount}
