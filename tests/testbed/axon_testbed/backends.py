"""OpenBao and Keycloak in the cluster: their certificates and passwords, the manifests, the wait."""

import base64
import secrets
from collections.abc import Mapping
from typing import Any

from axon_testbed import pki
from axon_testbed.cluster import Cluster
from axon_testbed.layout import MANIFESTS
from axon_testbed.progress import step

HAND = "axon-testbed"
_TESTBED = MANIFESTS / "testbed"
_NAMESPACES = ("openbao", "keycloak", HAND)
_SERVICES = {"openbao": "openbao", "keycloak": "keycloak", "postgres": "keycloak"}
DATABASE = "203.0.113.10"
"""Where the tests run a database that is none of the cluster's: an address that is given to nobody."""
_WORKLOADS = {"statefulset/openbao": "openbao", "deployment/keycloak": "keycloak"}
_JOBS = ("openbao-bootstrap", "keycloak-bootstrap")
_TEMPORARY_ADMIN = "keycloak-temporary-admin"
_READY_SECONDS = 300


def deploy(cluster: Cluster) -> None:
    """Applies everything. Passwords are made once, and only in the cluster."""
    with step("apply OpenBao and Keycloak"):
        cluster.kubectl("apply", "--server-side", "--filename", _TESTBED / "namespaces.yaml")
        cluster.apply(_certificates(cluster))
        _ensure_passwords(cluster)
        # A Job cannot be changed, and running a bootstrap again does no harm.
        cluster.kubectl("delete", "job", f"--namespace={HAND}", "--ignore-not-found", *_JOBS)
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", _TESTBED)


def wait(cluster: Cluster) -> None:
    """Waits until both answer and both have let the operator in."""
    for workload, namespace in _WORKLOADS.items():
        with step(f"wait for {workload}"):
            cluster.wait_for_rollout(namespace, workload, _READY_SECONDS)
    for job in _JOBS:
        with step(f"wait for {job}"):
            cluster.kubectl(
                "wait", f"--namespace={HAND}", "--for=condition=Complete", f"job/{job}", f"--timeout={_READY_SECONDS}s"
            )


def states(cluster: Cluster) -> dict[str, str]:
    """Ready replicas of each part, for a person to read."""
    found = {}
    for workload, namespace in _WORKLOADS.items():
        kind, name = workload.split("/")
        if not _exists(cluster, namespace, kind, name):
            found[name] = "not deployed"
            continue
        status = cluster.get(f"--namespace={namespace}", workload)["status"]
        found[name] = "ready" if status.get("readyReplicas") else "not ready"
    return found


def _certificates(cluster: Cluster) -> list[dict[str, Any]]:
    authority = pki.ensure_authority(cluster.layout)
    objects: list[dict[str, Any]] = [
        _object("ConfigMap", namespace, "backend-ca", {"data": {"ca.crt": authority}}) for namespace in _NAMESPACES
    ]
    servers = [(name, namespace, pki.service_names(name, namespace)) for name, namespace in _SERVICES.items()]
    for server, namespace, hosts in (*servers, ("database", HAND, (DATABASE,))):
        certificate, key = pki.ensure_server(cluster.layout, server, hosts)
        content = {"tls.crt": certificate.encode(), "tls.key": key.encode()}
        objects.append(_secret(namespace, f"{server}-tls", content, kind="kubernetes.io/tls"))
    return objects


def _ensure_passwords(cluster: Cluster) -> None:
    wanted = [
        _secret("openbao", "openbao-seal", {"key": secrets.token_bytes(32)}),
        _secret("keycloak", "keycloak-database", {"username": b"keycloak", "password": _password()}),
    ]
    if not _exists(cluster, HAND, "secret", _TEMPORARY_ADMIN):
        administrator = {"username": b"temporary", "password": _password()}
        cluster.apply(_secret(namespace, _TEMPORARY_ADMIN, administrator) for namespace in ("keycloak", HAND))
    cluster.apply(
        secret
        for secret in wanted
        if not _exists(cluster, secret["metadata"]["namespace"], "secret", secret["metadata"]["name"])
    )


def _password() -> bytes:
    return secrets.token_urlsafe(32).encode()


def _exists(cluster: Cluster, namespace: str, kind: str, name: str) -> bool:
    return bool(cluster.kubectl("get", kind, name, f"--namespace={namespace}", "--ignore-not-found", "--output=name"))


def _object(kind: str, namespace: str, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, **content}


def _secret(namespace: str, name: str, content: Mapping[str, bytes], kind: str = "Opaque") -> dict[str, Any]:
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    return _object("Secret", namespace, name, {"type": kind, "data": data})
