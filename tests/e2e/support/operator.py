"""Installs the operator as an administrator would, and handles its pods: one leads, the other stands by."""

import hashlib
import json
import time
from pathlib import Path

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
REPLICAS = 2
"""The chart's default."""


def install(cluster: Cluster) -> list[str]:
    """Installs or upgrades; starts new pods only if the image or the chart changed. Returns helm's command line."""
    command = _helm(cluster)
    result = run(command, timeout=300)
    if not result.ok:
        raise CommandError(result)
    pin_identity(cluster)
    if _is_new(cluster):
        cluster.kubectl(
            "-n", OPERATOR_NAMESPACE, "rollout", "restart", f"deployment/{OPERATOR}", "deployment/axon-canary"
        )
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
    """Waits until the Deployment is rolled out: all its pods are ready, leading or not."""
    rollout = ("rollout", "status", f"deployment/{OPERATOR}", f"--timeout={timeout}s")
    result = cluster.kubectl.run("-n", OPERATOR_NAMESPACE, *rollout, timeout=timeout + 10)
    if not result.ok:
        raise AssertionError(f"the operator does not become ready: {result.output}\n{log_tail(cluster)}")


def switch_off(cluster: Cluster) -> None:
    """Waits until no pod of the operator is left."""
    _scale(cluster, 0)

    def probe() -> None:
        left = cluster.kubectl.items("-n", OPERATOR_NAMESPACE, "pods", "-l", SELECTOR)
        if left:
            raise Unmet(f"{len(left)} pods")

    until("no operator pod", probe)


def switch_on(cluster: Cluster) -> None:
    """Waits until the operator's pods are ready."""
    _scale(cluster, REPLICAS)
    wait_running(cluster)


def pods(cluster: Cluster) -> list[Json]:
    """The operator's pods, without those on their way out."""
    found = cluster.kubectl.items("-n", OPERATOR_NAMESPACE, "pods", "-l", SELECTOR)
    return [p for p in found if "deletionTimestamp" not in p["metadata"]]


def holder(cluster: Cluster) -> str:
    """The process that holds the Lease, `<pod>_<random>`; empty if none does."""
    lease = cluster.kubectl.get("-n", OPERATOR_NAMESPACE, "lease", OPERATOR)
    return str(lease["spec"].get("holderIdentity", "")) if lease else ""


def pod(cluster: Cluster) -> Json:
    """The pod that leads, by the Lease: just after a leader's end it is still that one's."""

    def probe() -> Json:
        name = pod_of(holder(cluster))
        found = next((p for p in pods(cluster) if p["metadata"]["name"] == name), None)
        if found is None:
            raise Unmet(f"{name or 'nobody'} holds the lease")
        return found

    return until("a pod of the operator leads", probe)


def pod_of(identity: str) -> str:
    """The name of the pod of a process."""
    return identity.rpartition("_")[0]


def wait_led(cluster: Cluster, *, after: str, timeout: float = 60) -> Json:
    """The pod that leads, as soon as it is another process than `after`."""

    def probe() -> None:
        if holder(cluster) in {"", after}:
            raise Unmet(f"{holder(cluster) or 'nobody'} holds the lease")

    until("another process leads", probe, timeout=timeout, every=0.2)
    return pod(cluster)


def container(pod: Json) -> Json:
    """The status of the container of a pod: restart count, state, container id."""
    statuses: list[Json] = pod["status"].get("containerStatuses", [])
    if not statuses:
        raise Unmet("no container yet")
    return statuses[0]


def restarts(cluster: Cluster) -> int:
    """How often the kubelet has restarted the operator, in all its pods."""
    return sum(int(container(p)["restartCount"]) for p in pods(cluster))


def kill(cluster: Cluster, after: float) -> None:
    """Kills the leader's process with signal 9 after a time; waits until it runs again, and a process leads."""
    leader, before = holder(cluster), restarts(cluster)
    process = cluster.node.main_process(container(pod(cluster))["containerID"])
    time.sleep(after)
    cluster.node.signal(process, "KILL")

    def started_again() -> None:
        states = [container(p)["state"] for p in pods(cluster)]
        if restarts(cluster) != before + 1 or any("running" not in state for state in states):
            raise Unmet(f"{restarts(cluster) - before} restarts, {states}")

    until("the kubelet starts the operator again", started_again, timeout=60)
    wait_led(cluster, after=leader)


def log_tail(cluster: Cluster, lines: int = 60) -> str:
    """The end of the log of each pod."""
    command = ("logs", "-l", SELECTOR, "--prefix", f"--tail={lines}")
    return cluster.kubectl.run("-n", OPERATOR_NAMESPACE, *command).output


def _scale(cluster: Cluster, replicas: int) -> None:
    cluster.kubectl("-n", OPERATOR_NAMESPACE, "scale", f"deployment/{OPERATOR}", f"--replicas={replicas}")


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
