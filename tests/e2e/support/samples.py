"""The repository's samples, and objects like them for the tests."""

import copy
from functools import cache
from typing import Any

import yaml

from e2e.support.kubectl import Json
from e2e.support.settings import SAMPLES

QUICK_TO_END = "trap 'exit 0' TERM; mkdir -p /tmp/www; echo hello >/tmp/www/index.html; busybox httpd -f -p 8080 -h /tmp/www & wait"
"""Does what the samples' command does, but heeds SIGTERM: the tests delete many pods."""

API_VERSION = "axonos.ai/v1alpha1"


@cache
def _documents() -> tuple[Json, ...]:
    files = sorted(f for folder in ("tenants", "workloads") for f in (SAMPLES / folder).glob("*.yaml"))
    documents = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    return tuple(d for d in documents if d and d.get("apiVersion") == API_VERSION)


def image() -> str:
    """The image of the samples: a busybox, which every test bed has."""
    return str(_sample("WorkflowRuntime")["spec"]["image"])


def tenant(name: str, **spec: Any) -> Json:
    """A Tenant like the samples', but under no profile: that is another object."""
    return _object("Tenant", name, "", {"governance": {}, **spec})


def runtime(tenant_name: str, name: str = "agent", **spec: Any) -> Json:
    """A WorkflowRuntime like the samples' in a tenant's namespace."""
    return _object("WorkflowRuntime", name, f"axon-{tenant_name}", {"args": [QUICK_TO_END], **spec})


def binding(tenant_name: str, name: str = "billing", **spec: Any) -> Json:
    """A SecretBinding like the samples' in a tenant's namespace."""
    return _object("SecretBinding", name, f"axon-{tenant_name}", spec)


def kv(path: str, *keys: str) -> Json:
    """A `source`."""
    return {"kv": {"path": path, "keys": list(keys)}}


def file(name: str) -> Json:
    """A `delivery`."""
    return {"file": {"path": name}}


def _object(kind: str, name: str, namespace: str, changes: Json) -> Json:
    spec = {**copy.deepcopy(_sample(kind)["spec"]), **changes}
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _sample(kind: str) -> Json:
    return next(d for d in _documents() if d["kind"] == kind)
