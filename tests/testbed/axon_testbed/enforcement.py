"""Proof that the cluster enforces NetworkPolicy. An enforcer that loads no rules looks just like one that works."""

import secrets
import time
from collections.abc import Callable
from typing import Any

from axon_testbed import pins
from axon_testbed.cluster import Cluster
from axon_testbed.errors import BedError
from axon_testbed.progress import step

_SECONDS = 30


def prove(cluster: Cluster) -> None:
    """Reaches one pod from another, forbids it, and is refused; anything else is an error."""
    # a name of its own: the namespace of an earlier run may still be terminating
    namespace = f"axon-enforcement-check-{secrets.token_hex(4)}"
    with step("prove that NetworkPolicy is enforced"):
        try:
            cluster.apply(
                [_namespace(namespace), _pod(namespace, "server", _SERVE), _pod(namespace, "client", "exec sleep 600")]
            )
            cluster.kubectl(
                "wait", f"--namespace={namespace}", "--for=condition=Ready", "pod", "--all", f"--timeout={_SECONDS}s"
            )
            address = cluster.get(f"--namespace={namespace}", "pod", "server")["status"]["podIP"]
            if not _becomes(True, lambda: _reaches(cluster, namespace, address)):
                raise BedError("Two pods cannot reach each other without any policy: the pod network is broken.")
            cluster.apply([_refuse_all(namespace)])
            if not _becomes(False, lambda: _reaches(cluster, namespace, address)):
                raise BedError(
                    "NetworkPolicy is not enforced: a pod is reached although a policy forbids it. "
                    "Use a cluster whose network plugin enforces policies."
                )
        finally:
            cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def _becomes(wanted: bool, question: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _SECONDS
    while question() != wanted:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _reaches(cluster: Cluster, namespace: str, address: str) -> bool:
    return cluster.succeeds(
        *("exec", f"--namespace={namespace}", "client", "--"),
        *("timeout", "2", "wget", "-q", "-O", "/dev/null", f"http://{address}:8080/"),
    )


_SERVE = "echo reached > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _pod(namespace: str, name: str, script: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532},
            "containers": [
                {
                    "name": name,
                    "image": pins.BUSYBOX_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", script],
                }
            ],
        },
    }


def _refuse_all(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "refuse-all", "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
    }
