"""Bad input gets a clear refusal at `kubectl apply`, or a condition that says what to change.

Names that are already taken by someone else's namespace, realm or OpenBao namespace: see `test_attacks.py`.
"""

from collections.abc import Callable

import pytest

from e2e.support import samples
from e2e.support.cluster import Cluster, Ref, binding_ref, runtime_ref
from e2e.support.kubectl import Json
from e2e.support.tenants import SECRET_KEY, SECRET_PATH, Tenants

Change = Callable[[Json], object]
Bad = tuple[str, str, Change, str]
"""Kind, what is wrong, how the manifest is spoilt, and part of what kubectl says."""
LONG = "a" * 41


def name(value: str) -> Change:
    """Another name."""
    return lambda manifest: manifest["metadata"].update(name=value)


def spec(**fields: object) -> Change:
    """Other values of fields of the spec."""
    return lambda manifest: manifest["spec"].update(fields)


def egress(cidr: str, port: int = 443) -> Json:
    """A rule of `egress`."""
    return {"cidr": cidr, "ports": [port]}


def path(value: str) -> Change:
    """Another KV path."""
    return spec(source=samples.kv(value))


BAD: list[Bad] = [
    # -- names
    ("Tenant", "a reserved word", name("master"), "reserved word"),
    ("Tenant", "a word of OpenBao", name("root"), "reserved word"),
    ("Tenant", "a word of the operator", name("system"), "reserved word"),
    ("Tenant", "a name that Kubernetes keeps for itself", name("kube-evil"), "must not start with kube-"),
    ("Tenant", "a name that is too long", name(LONG), "at most 40 characters"),
    ("Tenant", "a name with a dot", name("a.b"), "metadata.name may contain only"),
    ("Tenant", "a name with a path in it", name("a/../master"), "invalid resource name"),
    ("WorkflowRuntime", "a name that is too long", name(LONG), "at most 40 characters"),
    ("SecretBinding", "a name that is too long", name(LONG), "at most 40 characters"),
    ("Tenant", "a deletion policy that there is not", spec(deletionPolicy="Keep"), "spec.deletionPolicy"),
    # -- paths
    ("SecretBinding", "a path that climbs out", path("billing/../../users/x"), "spec.source.kv.path"),
    ("SecretBinding", "a path that begins with dots", path("../users/x"), "spec.source.kv.path"),
    ("SecretBinding", "an absolute path", path("/users/x"), "spec.source.kv.path"),
    ("SecretBinding", "a path with a wildcard", path("billing/*"), "spec.source.kv.path"),
    ("SecretBinding", "a path with a level wildcard", path("+/stripe"), "spec.source.kv.path"),
    ("SecretBinding", "a path with an escaped slash", path("billing%2f..%2fx"), "spec.source.kv.path"),
    ("SecretBinding", "a path that ends a policy line", path('x" { capabilities'), "spec.source.kv.path"),
    ("SecretBinding", "an empty path", path(""), "spec.source.kv.path"),
    ("SecretBinding", "a file outside of its folder", spec(delivery=samples.file("../../etc/passwd")), "file.path"),
    ("SecretBinding", "a hidden file", spec(delivery=samples.file(".profile")), "file.path"),
    # -- sources and deliveries
    ("SecretBinding", "two sources", spec(source={**samples.kv("a"), "pki": {}}), "must have at most 1 item"),
    ("SecretBinding", "no source", spec(source={}), "spec.source"),
    ("SecretBinding", "no delivery", spec(delivery={}), "spec.delivery"),
    (
        "SecretBinding",
        "a raw file of several keys",
        spec(source=samples.kv("a", "x", "y"), delivery={"file": {"path": "x", "format": "raw"}}),
        "name exactly one key",
    ),
    ("SecretBinding", "a file that everyone may write", spec(delivery={"file": {"path": "x", "mode": "0666"}}), "mode"),
    # -- durations
    ("SecretBinding", "a negative TTL", spec(ttl="-15m"), "spec.ttl"),
    ("SecretBinding", "a TTL of nothing", spec(ttl="0s"), "between 1m and 24h"),
    ("SecretBinding", "a TTL without end", spec(ttl="8760h"), "between 1m and 24h"),
    ("Tenant", "a session without end", spec(identity={"sessions": {"maxLifespan": "9999h"}}), "between 1m and 168h"),
    ("Tenant", "a negative session", spec(identity={"sessions": {"idleTimeout": "-1m"}}), "idleTimeout"),
    # -- references
    (
        "SecretBinding",
        "a runtime in another namespace",
        spec(runtimeRef={"name": "agent", "namespace": "axon-globex"}),
        'unknown field "spec.runtimeRef.namespace"',
    ),
    ("SecretBinding", "a runtime by path", spec(runtimeRef={"name": "axon-globex/agent"}), "spec.runtimeRef.name"),
    (
        "Tenant",
        "an admin with a name of Kubernetes",
        spec(admins=[{"kind": "Group", "name": "system:masters"}]),
        "system:",
    ),
    # -- images, pods
    ("WorkflowRuntime", "an image without a reference", spec(image=""), "spec.image"),
    ("WorkflowRuntime", "an image without tag or digest", spec(image="registry.example/agent"), "needs a tag or"),
    ("WorkflowRuntime", "an image that is a sentence", spec(image="the newest, please"), "spec.image"),
    ("WorkflowRuntime", "an own service account", spec(serviceAccountName="default"), "unknown field"),
    ("WorkflowRuntime", "an own pod template", spec(template={"spec": {"hostNetwork": True}}), "unknown field"),
    ("WorkflowRuntime", "a negative number of pods", spec(replicas=-1), "spec.replicas"),
    ("WorkflowRuntime", "a privileged port", spec(ports=[{"name": "http", "port": 80}]), "1024"),
    ("WorkflowRuntime", "a port named by a number", spec(ports=[{"name": "80", "port": 8080}]), "needs a letter"),
    (
        "WorkflowRuntime",
        "a port twice",
        spec(ports=[{"name": "a", "port": 8080}, {"name": "b", "port": 8080}]),
        "only once",
    ),
    (
        "WorkflowRuntime",
        "more guaranteed than allowed",
        spec(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        "requests.cpu is larger than limits.cpu",
    ),
    ("Tenant", "a default above the ceiling", spec(limits={"defaultCpu": "8"}), "defaultCpu is larger than maxCpu"),
    ("Tenant", "too small a ceiling for CPU", spec(limits={"maxCpu": "499m"}), "must be at least 500m"),
    ("Tenant", "too small a ceiling for memory", spec(limits={"maxMemory": "191Mi"}), "must be at least 192Mi"),
    # -- networks
    ("Tenant", "everything", spec(network={"egress": [egress("0.0.0.0/0")]}), "too wide"),
    (
        "Tenant",
        "ingress from another tenant",
        spec(network={"ingress": {"namespaces": ["axon-globex"]}}),
        "no tenant reaches another",
    ),
    ("Tenant", "the instance's metadata", spec(network={"egress": [egress("169.254.169.254/32")]}), "link-local"),
    ("WorkflowRuntime", "a range that is none", spec(egress=[egress("300.0.0.0/8")]), "IPv4 CIDR"),
    # -- typing errors
    ("Tenant", "a group without its path", spec(vault={"admins": ["keepers"]}), "spec.vault.admins[0]"),
    (
        "Tenant",
        "a database by its address",
        spec(vault={"databases": [{"host": "x:1"}]}),
        "spec.vault.databases[0].host",
    ),
    ("Tenant", "a misspelt field", spec(displayname="Acme"), 'unknown field "spec.displayname"'),
    ("WorkflowRuntime", "a misspelt field", spec(imgae="x:1"), 'unknown field "spec.imgae"'),
]


@pytest.fixture(scope="module")
def tenant(tenants: Tenants) -> str:
    """A tenant in which everything runs."""
    return tenants.running("strict", network={"egress": [egress("203.0.113.0/24")]})


def good(kind: str, tenant: str) -> Json:
    """A manifest that is accepted."""
    if kind == "Tenant":
        return samples.tenant("newcomer")
    make = {"WorkflowRuntime": samples.runtime, "SecretBinding": samples.binding}[kind]
    return make(tenant, "newcomer")


@pytest.mark.parametrize("kind", ["Tenant", "WorkflowRuntime", "SecretBinding"])
def test_the_manifest_that_all_refused_ones_derive_from_is_accepted(cluster: Cluster, tenant: str, kind: str) -> None:
    assert cluster.kubectl.try_apply(good(kind, tenant), dry_run=True).ok


@pytest.mark.parametrize("bad", BAD, ids=[f"{b[0]}: {b[1]}" for b in BAD])
def test_refused_at_apply(cluster: Cluster, tenant: str, bad: Bad) -> None:
    kind, what, change, message = bad
    manifest = good(kind, tenant)
    change(manifest)
    refusal = cluster.kubectl.try_apply(manifest)
    assert not refusal.ok, f"{what} was accepted"
    assert message in refusal.stderr


def test_the_runtime_of_a_binding_cannot_be_changed(cluster: Cluster, tenant: str) -> None:
    changed = samples.binding(tenant, runtimeRef={"name": "other"})
    assert "runtimeRef is immutable" in cluster.kubectl.try_apply(changed).stderr


def applied(cluster: Cluster, ref: Ref, manifest: Json) -> Ref:
    """The object, which the API server accepts."""
    cluster.kubectl.apply(manifest)
    return ref


def test_a_binding_to_a_runtime_that_exists_only_elsewhere_waits_and_says_so(
    cluster: Cluster, tenants: Tenants, tenant: str
) -> None:
    other = tenants.empty("elsewhere")
    manifest = samples.binding(other, "lost", runtimeRef={"name": "agent"})
    ref = applied(cluster, binding_ref(other, "lost"), manifest)
    condition = cluster.wait_condition(ref, "Ready", "False", "RuntimeNotFound")
    assert "agent" in condition["message"]
    cluster.wait_ready(runtime_ref(tenant), binding_ref(tenant))


def test_a_binding_to_a_secret_that_does_not_exist_is_delivered_once_it_does(cluster: Cluster, tenant: str) -> None:
    manifest = samples.binding(
        tenant, "early", source=samples.kv("not/yet", "token"), delivery=samples.file("early.json")
    )
    ref = applied(cluster, binding_ref(tenant, "early"), manifest)
    condition = cluster.wait_condition(ref, "Ready", "False", "SourceMissing")
    assert "kv/org/not/yet" in condition["message"]
    cluster.wait_ready(binding_ref(tenant))
    cluster.write_secret(tenant, "not/yet", token="soon")
    cluster.request_reconcile(ref, "written")
    cluster.wait_ready(ref)


def test_a_binding_to_a_key_that_does_not_exist_names_the_key(cluster: Cluster, tenant: str) -> None:
    source = samples.kv(SECRET_PATH, SECRET_KEY, "no_such_key")
    manifest = samples.binding(tenant, "keyless", source=source, delivery=samples.file("keyless.json"))
    ref = applied(cluster, binding_ref(tenant, "keyless"), manifest)
    condition = cluster.wait_condition(ref, "Ready", "False", "SourceMissing")
    assert "no_such_key" in condition["message"]


def test_two_bindings_to_one_file_stall_the_younger(cluster: Cluster, tenant: str) -> None:
    ref = applied(cluster, binding_ref(tenant, "usurper"), samples.binding(tenant, "usurper"))
    condition = cluster.wait_condition(ref, "Stalled", "True", "Conflict")
    assert "billing" in condition["message"]
    cluster.wait_ready(binding_ref(tenant))


@pytest.mark.parametrize(
    ("label", "rule", "says"),
    [
        ("foreign", egress("198.51.100.0/24"), "spec.network.egress"),
        ("port", egress("203.0.113.0/24", 22), "spec.network.egress"),
        ("inside", egress("10.0.0.0/8"), "cluster's own range"),
    ],
)
def test_egress_beyond_the_tenants_allow_list_stalls_the_runtime(
    cluster: Cluster, tenant: str, label: str, rule: Json, says: str
) -> None:
    manifest = samples.runtime(tenant, f"far-{label}", egress=[rule], replicas=0)
    ref = applied(cluster, runtime_ref(tenant, f"far-{label}"), manifest)
    condition = cluster.wait_condition(ref, "Stalled", "True", "InvalidSpec")
    assert says in condition["message"]


def test_objects_outside_of_a_tenants_namespace_are_stalled(cluster: Cluster, tenant: str) -> None:
    manifests = [samples.runtime(tenant, "stray"), samples.binding(tenant, "stray")]
    for manifest in manifests:
        manifest["metadata"]["namespace"] = "default"
    cluster.kubectl.apply(*manifests)
    refs = [Ref(ref.kind, "stray", "default") for ref in (runtime_ref(tenant), binding_ref(tenant))]
    try:
        for ref in refs:
            cluster.wait_condition(ref, "Stalled", "True", "NotInTenant")
        assert not cluster.kubectl.items(
            "-n", "default", "deployments,serviceaccounts", "-l", "axonos.ai/runtime=stray"
        )
    finally:
        for ref in refs:
            cluster.kubectl("delete", *ref.args, "--timeout=60s")
