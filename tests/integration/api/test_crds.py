"""A real API server accepts the CRDs (only it knows the cost of CEL rules) and refuses bad objects with words
that say what to change."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from axon_operator.api import GROUP, crds
from axon_operator.api.tenant import RESERVED_NAMES, Sessions
from e2e.support.kubectl import Json, Kubectl

NAMESPACE = "crds"


@pytest.fixture(scope="module", autouse=True)
def _installed(kubectl: Kubectl) -> Iterator[None]:
    kubectl("apply", "--server-side", "-f", str(crds.ROOT / "crds"))
    names = [f"crd/{kind.plural}.{GROUP}" for kind in crds.KINDS]
    kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
    kubectl("create", "namespace", NAMESPACE)
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _object(kind: str, name: str, spec: Json) -> Json:
    metadata = {"name": name} if kind == "Tenant" else {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "axonos.ai/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def tenant(name: str = "acme", **spec: Any) -> Json:
    """A Tenant that is accepted unless a field given here spoils it."""
    return _object("Tenant", name, spec)


def runtime(name: str = "agent", **spec: Any) -> Json:
    """A WorkflowRuntime likewise."""
    return _object("WorkflowRuntime", name, {"image": "docker.io/library/busybox:1.35.0", **spec})


def binding(name: str = "billing", **spec: Any) -> Json:
    """A SecretBinding likewise."""
    whole = {
        "runtimeRef": {"name": "agent"},
        "source": kv("billing/stripe", "api_key"),
        "delivery": {"file": {"path": "billing.json"}},
    }
    return _object("SecretBinding", name, {**whole, **spec})


def kv(path: str, *keys: str) -> Json:
    """A source."""
    return {"kv": {"path": path, "keys": [*keys]}}


def egress(cidr: str, *ports: int) -> Json:
    """A Tenant's allow-list of one range."""
    return {"egress": [{"cidr": cidr, "ports": [*ports]}]}


def raw(*keys: str) -> Json:
    """A binding whose file is to hold the bare value."""
    return binding(source=kv("a", *keys), delivery={"file": {"path": "a", "format": "raw"}})


DIGEST = "sha256:" + "0123456789abcdef" * 4

GOOD: dict[str, Json] = {
    "tenant with defaults": tenant(),
    "tenant with the longest name": tenant("a" * 40),
    "tenant whose name contains a reserved word": tenant("admin-tools"),
    "tenant with egress": tenant(network=egress("203.0.113.0/24", 443)),
    "tenant with one address": tenant(network=egress("203.0.113.7/32", 443)),
    "tenant with admins": tenant(admins=[{"kind": "Group", "name": "acme:admins"}]),
    "runtime with defaults": runtime(),
    "runtime with a digest": runtime(image=f"registry.example:5000/team/agent@{DIGEST}"),
    "runtime with tag and digest": runtime(image=f"agent:1.0@{DIGEST}"),
    "runtime of the longest name": runtime("a" * 40),
    "tenant with the smallest ceilings": tenant(
        limits={"defaultCpu": "0.5", "maxCpu": "500m", "defaultMemory": "192Mi", "maxMemory": "192Mi"}
    ),
    "runtime that gets what it asks for": runtime(
        resources={"requests": {"cpu": "1000m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1024Mi"}}
    ),
    "runtime with requests only": runtime(resources={"requests": {"cpu": "1"}}),
    "runtime with two ports": runtime(ports=[{"name": "http-2", "port": 8080}, {"name": "0a", "port": 8081}]),
    "binding with defaults": binding(),
    "binding of all keys": binding(source={"kv": {"path": "a.b/c-d_e"}}),
    "binding of one raw value": raw("key"),
    "binding at the bounds": binding(ttl="24h", egress=[{"cidr": "203.0.113.0/24", "ports": [443]}]),
}

IPV4 = "must be an IPv4 CIDR such as 203.0.113.0/24"
LINK_LOCAL = "link-local addresses (instance metadata) are never allowed"
NAME_CHARACTERS = "metadata.name may contain only a-z, 0-9 and '-' (no dots)"
NAME_LENGTH = "metadata.name must have at most 40 characters; choose a shorter name"
PATH = "the path is relative to kv/org/ and must not contain '..'"
RAW = "name exactly one key in source.kv.keys"
TTL = "spec.ttl: Invalid value: {}must be between 1m and 24h"

BAD: dict[str, tuple[Json, str]] = {
    **{f"tenant {name}": (tenant(name), "metadata.name is a reserved word") for name in RESERVED_NAMES},
    "tenant kube-": (tenant("kube-acme"), "metadata.name must not start with kube-"),
    "tenant of 41 characters": (tenant("a" * 41), NAME_LENGTH),
    "tenant of 64 characters": (tenant("a" * 64), NAME_LENGTH),
    "tenant with a dot": (tenant("acme.corp"), NAME_CHARACTERS),
    "runtime of 41 characters": (runtime("a" * 41), NAME_LENGTH),
    "runtime of 64 characters": (runtime("a" * 64), NAME_LENGTH),
    "runtime with a dot": (runtime("a.b"), NAME_CHARACTERS),
    "binding of 41 characters": (binding("a" * 41), NAME_LENGTH),
    "binding with a dot": (binding("a.b"), NAME_CHARACTERS),
    "path that climbs out": (binding(source=kv("../x")), PATH),
    "path that climbs inside": (binding(source=kv("a/../b")), PATH),
    "absolute path": (binding(source=kv("/abs")), PATH),
    "path that ends with a slash": (binding(source=kv("a/")), PATH),
    "path with an empty segment": (binding(source=kv("a//b")), PATH),
    "empty path": (binding(source=kv("")), "should be at least 1 chars long"),
    "path with a wildcard": (binding(source=kv("a/*")), "spec.source.kv.path in body should match"),
    "path with an escape": (binding(source=kv("a%2f..")), PATH),
    "no source": (binding(source={}), "exactly one source is needed: kv"),
    "two sources": (binding(source={**kv("a"), "grant": {"path": "b"}}), 'unknown field "spec.source.grant"'),
    "no delivery": (binding(delivery={}), "exactly one delivery is needed: file"),
    "unknown field of a tenant": (tenant(foo=1), 'unknown field "spec.foo"'),
    "unknown field of a runtime": (runtime(serviceAccountName="x"), 'unknown field "spec.serviceAccountName"'),
    "reference to another namespace": (
        binding(runtimeRef={"name": "agent", "namespace": "axon-globex"}),
        'unknown field "spec.runtimeRef.namespace"',
    ),
    "no image": (_object("WorkflowRuntime", "agent", {}), "spec.image: Required value"),
    "empty image": (runtime(image=""), "the image needs a tag or, better, a digest"),
    "image without tag": (runtime(image="registry.example/agent"), "the image needs a tag or, better, a digest"),
    "image with a port but no tag": (runtime(image="registry.example:5000/agent"), "the image needs a tag"),
    "image that is none": (runtime(image="Agent 1:0"), "must be an image reference such as"),
    "image with a short digest": (runtime(image="agent@sha256:12"), "must be an image reference such as"),
    "negative TTL": (binding(ttl="-5m"), TTL.format('"-5m": ')),
    "zero TTL": (binding(ttl="0s"), TTL.format('"0s": ')),
    "too large a TTL": (binding(ttl="25h"), TTL.format('"25h": ')),
    "TTL without unit": (binding(ttl="15"), "must be between 1m and 24h"),
    "too long an access token": (
        tenant(identity={"sessions": {"accessTokenLifespan": "3m"}}),
        "must be between 10s and 2m",
    ),
    "CIDR of 33 bits": (tenant(network=egress("10.0.0.0/33", 443)), IPV4),
    "CIDR that is none": (tenant(network=egress("example.org", 443)), IPV4),
    "CIDR of IPv6": (tenant(network=egress("2001:db8::/64", 443)), IPV4),
    "CIDR with host bits": (tenant(network=egress("203.0.113.5/24", 443)), "must begin with the first address"),
    "everything": (tenant(network=egress("0.0.0.0/0", 443)), "the shortest prefix is /8"),
    "instance metadata": (tenant(network=egress("169.254.169.254/32", 80)), LINK_LOCAL),
    "range around instance metadata": (tenant(network=egress("169.0.0.0/8", 80)), LINK_LOCAL),
    "instance metadata for a runtime": (runtime(**egress("169.254.169.254/32", 80)), LINK_LOCAL),
    "egress without ports": (tenant(network=egress("203.0.113.0/24")), "should have at least 1 items"),
    "port below 1024": (
        runtime(ports=[{"name": "http", "port": 80}]),
        "should be greater than or equal to 1024",
    ),
    "two ports of one name": (
        runtime(ports=[{"name": "http", "port": 8080}, {"name": "http", "port": 8081}]),
        "spec.ports[1]: Duplicate value",
    ),
    "two ports of one number": (
        runtime(ports=[{"name": "http", "port": 8080}, {"name": "metrics", "port": 8080}]),
        "each port number may stand here only once",
    ),
    "port name without a letter": (runtime(ports=[{"name": "80", "port": 8080}]), "a port's name needs a letter"),
    "port name with two hyphens": (runtime(ports=[{"name": "a--b", "port": 8080}]), "must not contain '--'"),
    "more CPU guaranteed than allowed": (
        runtime(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}),
        "requests.cpu is larger than limits.cpu; lower the first or raise the second",
    ),
    "more memory guaranteed than allowed": (
        runtime(resources={"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}}),
        "requests.memory is larger than limits.memory",
    ),
    "default CPU above the ceiling": (
        tenant(limits={"defaultCpu": "8"}),
        "defaultCpu is larger than maxCpu; lower the first or raise the second",
    ),
    "default memory above the ceiling": (
        tenant(limits={"maxMemory": "200Mi"}),
        "defaultMemory is larger than maxMemory",
    ),
    "default CPU that is too little": (tenant(limits={"defaultCpu": "5m"}), "must be at least 10m"),
    "default memory that is too little": (tenant(limits={"defaultMemory": "1Mi"}), "must be at least 32Mi"),
    "ceiling without room for the sidecar's CPU": (
        tenant(limits={"defaultCpu": "100m", "maxCpu": "400m"}),
        "must be at least 500m, which the credentials sidecar of every pod needs",
    ),
    "ceiling without room for the sidecar's memory": (
        tenant(limits={"defaultMemory": "64Mi", "maxMemory": "191Mi"}),
        "must be at least 192Mi, which the credentials sidecar of every pod needs",
    ),
    "ceiling that is no quantity": (tenant(limits={"maxCpu": "much"}), "spec.limits.maxCpu in body should match"),
    "Kubernetes' own group as admin": (
        tenant(admins=[{"kind": "Group", "name": "system:masters"}]),
        "names of Kubernetes itself (system:…) are refused",
    ),
    "service account as admin": (
        tenant(admins=[{"kind": "ServiceAccount", "name": "x"}]),
        'supported values: "User", "Group"',
    ),
    "raw without key": (raw(), RAW),
    "raw with two keys": (raw("a", "b"), RAW),
    "file outside of the folder": (
        binding(delivery={"file": {"path": "../x"}}),
        "spec.delivery.file.path in body should match",
    ),
    "negative quota": (tenant(quota={"cpu": "-1"}), "spec.quota.cpu in body should match"),
    "too many replicas": (runtime(replicas=101), "should be less than or equal to 100"),
}


@pytest.mark.parametrize("manifest", GOOD.values(), ids=GOOD.keys())
def test_accepted(kubectl: Kubectl, manifest: Json) -> None:
    result = kubectl.try_apply(manifest, dry_run=True)
    assert result.ok, result.output


@pytest.mark.parametrize(("manifest", "words"), BAD.values(), ids=BAD.keys())
def test_refused_with_words_that_say_what_to_change(kubectl: Kubectl, manifest: Json, words: str) -> None:
    result = kubectl.try_apply(manifest, dry_run=True)
    assert not result.ok
    assert words in result.output


def test_the_runtime_of_a_binding_cannot_be_changed(kubectl: Kubectl) -> None:
    kubectl.apply(binding("fixed"))
    result = kubectl.try_apply(binding("fixed", runtimeRef={"name": "other"}))
    assert not result.ok
    assert "runtimeRef is immutable; delete the binding and create another one" in result.output
    kubectl.apply(binding("fixed", ttl="10m"))


def test_defaults_are_stored(kubectl: Kubectl) -> None:
    done = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(tenant()))
    spec = json.loads(done)["spec"]
    assert spec["identity"]["sessions"] == Sessions().to_json()
    assert spec["suspended"] is False
    assert "network" not in spec or spec["network"] == {}


def test_a_runtime_scales_with_kubectl(kubectl: Kubectl) -> None:
    kubectl.apply(runtime("scaled"))
    kubectl("scale", "axw/scaled", "--replicas=3", "-n", NAMESPACE)
    assert kubectl.need("axw/scaled", "-n", NAMESPACE)["spec"]["replicas"] == 3


def test_columns_can_be_read_by_a_newcomer(kubectl: Kubectl) -> None:
    kubectl.apply(tenant("columns"), runtime("columns"), binding("columns"))
    try:
        for kind in crds.KINDS:
            table = kubectl("get", kind.short, "columns", "-n", NAMESPACE, "-o", "wide")
            wanted = ["NAME", *(column.name.upper() for column in kind.columns)]
            assert sorted(table.splitlines()[0].split()) == sorted(wanted)
        listed = kubectl("get", "axon", "-A")
        assert all(f"{kind.name.lower()}.axonos.ai/columns" in listed for kind in crds.KINDS)
    finally:
        kubectl("delete", "tenant", "columns", "--wait=false")


def test_every_kind_can_be_explained(kubectl: Kubectl) -> None:
    for kind in crds.KINDS:
        text = kubectl("explain", kind.name.lower())
        assert kind.description.split(":")[0][:40] in " ".join(text.split())
        assert "<empty>" not in kubectl("explain", f"{kind.name.lower()}.spec")
