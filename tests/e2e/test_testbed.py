"""The test bed enforces network policies: without this proof every other refusal would mean nothing."""

from collections.abc import Iterator

import pytest

from e2e.support import samples
from e2e.support.cluster import Cluster, answered
from e2e.support.kubectl import Json
from e2e.support.waiting import until_true

NAMESPACE = "e2e-enforcement"
PORT = 8080


def pod(name: str, *command: str) -> Json:
    """A pod that runs one command."""
    container = {"name": "main", "image": samples.image(), "command": list(command)}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"name": name}}
    spec = {"containers": [container], "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def closed(direction: str, name: str) -> Json:
    """A policy that closes one direction of a pod."""
    metadata = {"name": "closed", "namespace": NAMESPACE}
    spec = {"podSelector": {"matchLabels": {"name": name}}, "policyTypes": [direction]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def address(bare_cluster: Cluster) -> Iterator[str]:
    """The address of a web server's pod; beside it stands a client."""
    kubectl = bare_cluster.kubectl
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        pod("server", "httpd", "-f", "-p", str(PORT), "-h", "/tmp"),
        pod("client", "sleep", "infinity"),
    )
    kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    yield kubectl.need("-n", NAMESPACE, "pod", "server")["status"]["podIP"]
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize(("direction", "name"), [("Ingress", "server"), ("Egress", "client")])
def test_a_connection_is_possible_before_a_policy_refused_under_it_and_possible_after_it(
    bare_cluster: Cluster, address: str, direction: str, name: str
) -> None:
    def reached() -> bool:
        wget = ("timeout", "3", "wget", "-qO-", f"http://{address}:{PORT}/")
        return answered(bare_cluster.kubectl.exec(NAMESPACE, "client", "main", *wget))

    until_true("the client reaches the server", reached, timeout=20)
    bare_cluster.kubectl.apply(closed(direction, name))
    until_true("the policy refuses the client", lambda: not reached(), timeout=20)
    bare_cluster.kubectl("-n", NAMESPACE, "delete", "networkpolicy", "closed")
    until_true("the client reaches the server again", reached, timeout=20)
