"""Proof that the cluster enforces NetworkPolicy. An enforcer that loads no rules looks just like one that works."""

import time
from collections.abc import Callable
from typing import Any

from axon_testbed import pins
from axon_testbed.cluster import Cluster
from axon_testbed.errors import BedError
from axon_testbed.progress import step

_NAMESPACE = "axon-enforcement-check"
_SECONDS = 30


def prove(cluster: Cluster) -> None:
    """Reaches one pod from another, forbids it, and is refused; anything else is an error."""
    with step("prove that NetworkPolicy is enforced"):
        try:
            cluster.apply([_namespace(), _pod("server", _SERVE), _pod("client", "exec sleep 600")])
            cluster.kubectl(
                "wait", f"--namespace={_NAMESPACE}", "--for=condition=Ready", "pod", "--all", f"--timeout={_SECONDS}s"
            )
            address = cluster.get(f"--namespace={_NAMESPACE}", "pod", "server")["status"]["podIP"]
            if not _becomes(True, lambda: _reaches(cluster, address)):
                raise BedError("Two pods cannot reach each other without any policy: the pod network is broken.")
            cluster.apply([_refuse_all()])
            if not _becomes(False, lambda: _reaches(cluster, address)):
                raise BedError(
                    "NetworkPolicy is not enforced: a pod is reached although a policy forbids it. "
                    "Use a cluster whose network plugin enforces policies."
                )
        finally:
            cluster.kubectl("delete", "namespace", _NAMESPACE, "--ignore-not-found", "--wait=false")


def _becomes(wanted: bool, question: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _SECONDS
    while question() != wanted:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _reaches(cluster: Cluster, address: str) -> bool:
    return cluster.succeeds(
        *("exec", f"--namespace={_NAMESPACE}", "client", "--"),
        *("timeout", "2", "wget", "-q", "-O", "/dev/null", f"http://{address}:8080/"),
    )


_SERVE = "echo reached > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"


def _namespace() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}}


def _pod(name: str, script: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": _NAMESPACE, "labels": {"app": name}},
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


def _refuse_all() -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "refuse-all", "namespace": _NAMESPACE},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
    }
