"""Installs the operator as an administrator would, and handles its one pod."""

import hashlib
import json
from pathlib import Path
from typing import Any

from e2e.support.cluster import Cluster
from e2e.support.kubectl import Json
from e2e.support.settings import (
    CHART,
    OPERATOR,
    OPERATOR_NAMESPACE,
    REPOSITORY,
    TESTBED_NAMESPACE,
    VAULT_PARENT,
    program,
)
from e2e.support.shell import CommandError, run
from e2e.support.waiting import Unmet, until

VALUES = Path(__file__).with_name("values.yaml")
ROLE = f"auth/k8s/role/{OPERATOR}"
SELECTOR = f"app.kubernetes.io/name={OPERATOR}"
RECORD = "e2e-install"


def install(cluster: Cluster) -> list[str]:
    """Installs or upgrades; starts new pods only if the image or the chart changed. Returns helm's command line."""
    command = _helm(cluster)
    result = run(command, timeout=300)
    if not result.ok:
        raise CommandError(result)
    pin_identity(cluster)
    if _is_new(cluster):
        cluster.kubectl("-n", OPERATOR_NAMESPACE, "rollout", "restart", f"deployment/{OPERATOR}")
    wait_running(cluster)
    _record(cluster)
    return command


def pin_identity(cluster: Cluster) -> None:
    """Binds the operator's role in OpenBao to the uid of its service account, which exists only now."""
    account = cluster.kubectl.need("-n", OPERATOR_NAMESPACE, "serviceaccount", OPERATOR)
    wanted = {"/kubernetes.io/serviceaccount/uid": [account["metadata"]["uid"]]}
    role = cluster.openbao.admin("GET", ROLE, namespace=VAULT_PARENT)
    if role is None:
        raise AssertionError(f"OpenBao has no {ROLE} in {VAULT_PARENT}: run the bootstrap first")
    if role["data"].get("bound_claims") != wanted:
        body = {**role["data"], "bound_claims": wanted}
        cluster.openbao.admin("POST", ROLE, namespace=VAULT_PARENT, body=body)


def wait_running(cluster: Cluster, *, timeout: int = 120) -> None:
    """Waits until the Deployment is rolled out."""
    rollout = ("rollout", "status", f"deployment/{OPERATOR}", f"--timeout={timeout}s")
    result = cluster.kubectl.run("-n", OPERATOR_NAMESPACE, *rollout, timeout=timeout + 10)
    if not result.ok:
        raise AssertionError(f"the operator does not become ready: {result.output}\n{log_tail(cluster)}")


def scale(cluster: Cluster, replicas: int) -> None:
    """Switches the operator off (0) or on (1), and waits until it is so."""
    cluster.kubectl("-n", OPERATOR_NAMESPACE, "scale", f"deployment/{OPERATOR}", f"--replicas={replicas}")
    if replicas:
        wait_running(cluster)
        return

    def probe() -> None:
        left = cluster.kubectl.items("-n", OPERATOR_NAMESPACE, "pods", "-l", SELECTOR)
        if left:
            raise Unmet(f"{len(left)} pods")

    until("no operator pod", probe)


def pod(cluster: Cluster) -> Json:
    """The operator's pod."""

    def probe() -> Json:
        pods = cluster.kubectl.items("-n", OPERATOR_NAMESPACE, "pods", "-l", SELECTOR)
        living = [p for p in pods if "deletionTimestamp" not in p["metadata"]]
        if len(living) != 1:
            raise Unmet(f"{len(living)} pods")
        return living[0]

    return until("one operator pod", probe)


def container(cluster: Cluster) -> dict[str, Any]:
    """The status of the operator's container: restart count, state, container id."""
    statuses: list[dict[str, Any]] = pod(cluster)["status"].get("containerStatuses", [])
    if not statuses:
        raise Unmet("no container yet")
    return statuses[0]


def log_tail(cluster: Cluster, lines: int = 60) -> str:
    """The end of the operator's log."""
    return cluster.kubectl.run("-n", OPERATOR_NAMESPACE, "logs", f"deployment/{OPERATOR}", f"--tail={lines}").output


def _helm(cluster: Cluster) -> list[str]:
    return [
        program("helm"),
        "upgrade",
        OPERATOR,
        str(CHART),
        "--install",
        "--kubeconfig",
        str(cluster.kubectl.kubeconfig),
        "--namespace",
        OPERATOR_NAMESPACE,
        "--create-namespace",
        "--values",
        str(VALUES),
        "--set-file",
        f"backends.caBundle={cluster.ca}",
    ]


def _is_new(cluster: Cluster) -> bool:
    found = cluster.kubectl.get("-n", TESTBED_NAMESPACE, "configmap", RECORD)
    return found is not None and found["data"] != _installed()


def _record(cluster: Cluster) -> None:
    metadata = {"name": RECORD, "namespace": TESTBED_NAMESPACE}
    cluster.kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": _installed()})


def _installed() -> Json:
    """What the image is made of. Its tag stays the same, so Kubernetes alone does not notice a new one."""
    files = [REPOSITORY / "Dockerfile", REPOSITORY / "uv.lock", *sorted((REPOSITORY / "operator").rglob("*"))]
    digest = hashlib.sha256()
    for path in files:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(json.dumps(str(path.relative_to(REPOSITORY))).encode() + path.read_bytes())
    return {"sources": digest.hexdigest()}
