"""A real API server accepts the CRDs (only it knows the cost of CEL rules) and refuses bad objects with words
that say what to change."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from axon_operator.api import GROUP, crds
from axon_operator.api.identity import Sessions
from axon_operator.api.tenant import RESERVED_NAMES
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
    metadata = {"name": name, "namespace": NAMESPACE}
    if kind in {"Tenant", "GovernanceProfile"}:
        del metadata["namespace"]
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


def profile(name: str = "rules", **spec: Any) -> Json:
    """A GovernanceProfile likewise."""
    return _object("GovernanceProfile", name, spec)


def kv(path: str, *keys: str) -> Json:
    """A source."""
    return {"kv": {"path": path, "keys": [*keys]}}


def ingress(*namespaces: str) -> Json:
    """Namespaces from which a Tenant's runtimes may be reached."""
    return {"ingress": {"namespaces": [*namespaces]}}


def egress(cidr: str, *ports: int) -> Json:
    """A Tenant's allow-list of one range."""
    return {"egress": [{"cidr": cidr, "ports": [*ports]}]}


def raw(*keys: str) -> Json:
    """A binding whose file is to hold the bare value."""
    return binding(source=kv("a", *keys), delivery={"file": {"path": "a", "format": "raw"}})


DIGEST = "sha256:" + "0123456789abcdef" * 4

OIDC = {
    "host": "idp.example",
    "authorizationPath": "/auth",
    "tokenPath": "/token",
    "keysPath": "/keys",
    "clientID": "acme",
    "credentialSecretRef": {"name": "corp"},
}
PROVIDER = {"alias": "corp", "oidc": OIDC}
LDAP = {
    "host": "ldap.example",
    "usersDN": "ou=people,dc=example",
    "bindDN": "cn=reader,dc=example",
    "credentialSecretRef": {"name": "ldap"},
}

ORDERS = {
    "name": "orders",
    "host": "db.example",
    "database": "orders",
    "username": "axon",
    "credentialSecretRef": {"name": "orders"},
}


def databases(*changes: Json) -> Json:
    """A Tenant with databases that differ from one by these fields."""
    return tenant(vault={"databases": [{**ORDERS, **changed} for changed in changes]})


ACCOUNT = {"database": {"connection": "orders", "role": "reader"}}
USER = "7f3f6c2e-0000-4000-8000-000000000001"
GRANT = {"grant": {"user": USER, "path": "github/token"}}
VARIABLES = {"env": {"variables": [{"name": "TOKEN", "key": "api_key"}]}}
PROXY = {"proxy": {"host": "api.example", "localPort": 8081, "key": "api_key", "prefix": "Bearer "}}

GOOD: dict[str, Json] = {
    "databases of two accounts, and of two servers": databases(
        {"ca": "corp"}, {"name": "b", "username": "b"}, {"name": "c", "port": 6432}, {"name": "d", "host": "d.example"}
    ),
    "a realm with everything": tenant(
        identity={
            "roles": [{"name": "auditor"}],
            "groups": [{"name": "staff", "roles": ["auditor"]}],
            "ldap": {**LDAP, "groupsDN": "ou=groups,dc=example"},
            "identityProviders": [
                {**PROVIDER, "mappers": [{"group": "staff"}, {"role": "auditor", "claim": "a", "value": "b"}]}
            ],
        }
    ),
    "tenant with defaults": tenant(),
    "tenant with the longest name": tenant("a" * 40),
    "tenant whose name contains a reserved word": tenant("admin-tools"),
    "tenant with egress": tenant(network=egress("203.0.113.0/24", 443)),
    "tenant with ingress": tenant(network=ingress("ingress-nginx", "monitoring")),
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
    "binding of an account": binding(source=ACCOUNT, rotation={"interval": "6h", "overlap": "0s"}),
    "binding of a certificate": binding(source={"pki": {}}, delivery={"file": {"path": "a", "format": "pem"}}),
    "binding of a certificate in parts": binding(source={"pki": {}}),
    "binding of a generated value": binding(
        source={"generated": {}}, delivery={"file": {"path": "a", "format": "raw"}}
    ),
    "binding of what a user grants": binding(source=GRANT),
    "binding by variables": binding(delivery=VARIABLES),
    "binding by variables that are renewed in time": binding(
        source=ACCOUNT, delivery=VARIABLES, ttl="2h", rotation={"interval": "1h"}
    ),
    "binding by proxy": binding(delivery=PROXY),
    "run": runtime(run={}),
    "binding at the bounds": binding(ttl="24h", egress=[{"cidr": "203.0.113.0/24", "ports": [443]}]),
}

IPV4 = "must be an IPv4 CIDR such as 203.0.113.0/24"
LINK_LOCAL = "link-local addresses (instance metadata) are never allowed"
NAME_CHARACTERS = "metadata.name may contain only a-z, 0-9 and '-' (no dots)"
NAME_LENGTH = "metadata.name must have at most 40 characters; choose a shorter name"
PATH = "the path is relative to kv/org/ and must not contain '..'"
RAW = "format raw writes one value: use it for a generated one, or name exactly one key of kv or grant"
PEM = "a certificate is written as pem or json, and nothing else as pem"
KEEPS = "set onChange Restart and rotation.interval to at most half of ttl"
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
    "two sources": (binding(source={**kv("a"), **GRANT}), "spec.source: Too many: 2: must have at most 1 item"),
    "two deliveries": (
        binding(delivery={**PROXY, **VARIABLES}),
        "spec.delivery: Too many: 2: must have at most 1 item",
    ),
    "user by name": (binding(source={"grant": {"user": "alice", "path": "a"}}), "spec.source.grant.user in body"),
    "grant that climbs out": (
        binding(source={"grant": {"user": USER, "path": "../../x"}}),
        "the path is relative to the user's own folder",
    ),
    "account as pem": (binding(source=ACCOUNT, delivery={"file": {"path": "a", "format": "pem"}}), PEM),
    "certificate as dotenv": (binding(source={"pki": {}}, delivery={"file": {"path": "a", "format": "dotenv"}}), PEM),
    "account by proxy": (binding(source=ACCOUNT, delivery=PROXY), "a proxy adds one value to requests"),
    "account in variables for good": (binding(source=ACCOUNT, delivery=VARIABLES), KEEPS),
    "account in variables for too long": (
        binding(source=ACCOUNT, delivery=VARIABLES, ttl="2h", rotation={"interval": "61m"}),
        KEEPS,
    ),
    "account in variables that stay": (
        binding(
            source=ACCOUNT,
            delivery={"env": {**VARIABLES["env"], "onChange": "None"}},
            ttl="2h",
            rotation={"interval": "1h"},
        ),
        KEEPS,
    ),
    "rotation of what is somebody else's": (binding(rotation={"interval": "1h"}), "only database, pki and generated"),
    "file that its own sidecar could not read": (
        binding(delivery={"file": {"path": "a", "mode": "0040"}}),
        "spec.delivery.file.mode in body should match",
    ),
    "overlap of what has ended": (
        binding(source=ACCOUNT, ttl="10m", rotation={"overlap": "11m"}),
        "rotation.overlap is longer than ttl",
    ),
    "rotation without pause": (binding(source=ACCOUNT, rotation={"interval": "59s"}), "must be between 1m and 8760h"),
    "header that steers the connection": (
        binding(delivery={"proxy": {**PROXY["proxy"], "header": "transfer-encoding"}}),
        "this header steers the connection itself",
    ),
    "prefix that begins another header": (
        binding(delivery={"proxy": {**PROXY["proxy"], "prefix": "a\r\nx: "}}),
        "spec.delivery.proxy.prefix in body should match",
    ),
    "privileged local port": (
        binding(delivery={"proxy": {**PROXY["proxy"], "localPort": 80}}),
        "spec.delivery.proxy.localPort in body should be greater than or equal to 1024",
    ),
    "generated and short": (binding(source={"generated": {"length": 15}}), "should be greater than or equal to 16"),
    "run of nothing": (runtime(run={}, replicas=0), "a run needs at least one pod"),
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
    "an offline session that idles longer than it lasts": (
        tenant(identity={"sessions": {"offlineIdleTimeout": "2h", "offlineMaxLifespan": "1h"}}),
        "offlineIdleTimeout is longer than offlineMaxLifespan; lower the first or raise the second",
    ),
    "short passwords": (tenant(identity={"passwordPolicy": {"minLength": 6}}), "should be greater than or equal to 8"),
    "Keycloak's own role": (
        tenant(identity={"roles": [{"name": "offline_access"}]}),
        "this role is Keycloak's own; choose another name",
    ),
    "a role named as a path": (tenant(identity={"roles": [{"name": "a/../b"}]}), "roles[0].name in body should match"),
    "a role twice": (tenant(identity={"roles": [{"name": "a"}, {"name": "a"}]}), "spec.identity.roles[1]: Duplicate"),
    "a group with an unknown role": (
        tenant(identity={"groups": [{"name": "staff", "roles": ["auditor"]}]}),
        "a group has a role that is not in roles; add it there or remove it from the group",
    ),
    "a mapper to an unknown group": (
        tenant(identity={"identityProviders": [{**PROVIDER, "mappers": [{"group": "staff"}]}]}),
        "a mapper names a group that is not in groups",
    ),
    "a mapper to everything": (
        tenant(identity={"identityProviders": [{**PROVIDER, "mappers": [{}]}]}),
        "name either a group or a role",
    ),
    "a provider with a URL": (
        tenant(identity={"identityProviders": [{"alias": "corp", "oidc": {**OIDC, "host": "https://idp.example"}}]}),
        "oidc.host in body should match",
    ),
    "a provider with a path that climbs": (
        tenant(identity={"identityProviders": [{"alias": "corp", "oidc": {**OIDC, "tokenPath": "/../x"}}]}),
        "oidc.tokenPath in body should match",
    ),
    "the cluster's own provider": (
        tenant(identity={"identityProviders": [{**PROVIDER, "alias": "kubernetes"}]}),
        "kubernetes stands for the cluster; choose another alias",
    ),
    "a provider that speaks nothing": (
        tenant(identity={"identityProviders": [{"alias": "corp"}]}),
        "a provider speaks either oidc or saml; give one",
    ),
    "an unencrypted directory": (
        tenant(identity={"ldap": {**LDAP, "tls": "None"}}),
        'Unsupported value: "None"',
    ),
    "a filter in place of a name": (
        tenant(identity={"ldap": {**LDAP, "usersDN": "(uid=*)"}}),
        "ldap.usersDN in body should match",
    ),
    "two databases with one account": (databases({}, {"name": "b", "port": 5432}), "share an account"),
    "accounts that are members of the one that makes them": (
        databases({"username": "axon", "roles": [{"name": "a", "memberOf": ["app_read", "axon"]}]}),
        "workloads could make accounts by it",
    ),
    "a role whose name is SQL": (
        databases({"roles": [{"name": "a", "memberOf": ['a"; DROP']}]}),
        "memberOf[0] in body should match",
    ),
    "a role of both kinds": (databases({"roles": [{"name": "a", "memberOf": ["r"], "account": "b"}]}), "exactly one"),
    "a role of no kind": (databases({"roles": [{"name": "a"}]}), "exactly one is needed: memberOf"),
    "an interval without an account": (
        databases({"roles": [{"name": "a", "memberOf": ["r"], "rotationInterval": "2h"}]}),
        "rotationInterval is for account",
    ),
    "an interval that is too short": (
        databases({"roles": [{"name": "a", "account": "b", "rotationInterval": "59m"}]}),
        "between 1h and 8760h",
    ),
    "OpenBao's own account as a role": (
        databases({"username": "axon", "roles": [{"name": "a", "account": "axon"}]}),
        "OpenBao's alone",
    ),
    "an account of two roles": (
        databases({"roles": [{"name": "a", "account": "b"}, {"name": "c", "account": "b"}]}),
        "two roles share an account",
    ),
    "an account of a role whose name is SQL": (
        databases({"roles": [{"name": "a", "account": 'b" SUPERUSER; --'}]}),
        "account in body should match",
    ),
    "a database twice": (databases({}, {"username": "b"}), "vault.databases[1]: Duplicate"),
    "a database of another kind": (databases({"plugin": "mysql"}), 'Unsupported value: "mysql"'),
    "a database's host with a port": (databases({"host": "db.example:1"}), "host in body should match"),
    "a database whose name switches TLS off": (
        databases({"database": "orders?sslmode=disable"}),
        "database in body should match",
    ),
    "an account whose name is SQL": (databases({"username": 'a" SUPERUSER'}), "username in body should match"),
    "an authority's file elsewhere": (databases({"ca": "../../tls.key"}), "ca in body should match"),
    "a password in the spec": (databases({"password": "x"}), 'unknown field "spec.vault.databases[0].password"'),
    "CIDR of 33 bits": (tenant(network=egress("10.0.0.0/33", 443)), IPV4),
    "CIDR that is none": (tenant(network=egress("example.org", 443)), IPV4),
    "CIDR of IPv6": (tenant(network=egress("2001:db8::/64", 443)), IPV4),
    "CIDR with host bits": (tenant(network=egress("203.0.113.5/24", 443)), "must begin with the first address"),
    "everything": (tenant(network=egress("0.0.0.0/0", 443)), "the shortest prefix is /8"),
    "ingress from another tenant": (tenant(network=ingress("monitoring", "axon-globex")), "no tenant reaches another"),
    "ingress from a namespace that cannot be": (tenant(network=ingress("a.b")), "spec.network.ingress.namespaces[0]"),
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


def test_a_runtime_does_not_become_a_run(kubectl: Kubectl) -> None:
    kubectl.apply(runtime("kept"))
    result = kubectl.try_apply(runtime("kept", run={}))
    assert not result.ok
    assert "run can be neither added nor taken away" in result.output


def test_what_is_left_out_is_not_filled_in(kubectl: Kubectl) -> None:
    kubectl.apply(runtime("plain"), binding("plain"))
    assert "run" not in kubectl.need("-n", "crds", "axw", "plain")["spec"]
    assert kubectl.need("-n", "crds", "axsb", "plain")["spec"].keys() & {"rotation", "source"} == {"source"}
    assert kubectl.need("-n", "crds", "axsb", "plain")["spec"]["source"].keys() == {"kv"}


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


def test_the_guides_examples_are_accepted(kubectl: Kubectl) -> None:
    page = (crds.ROOT / "docs" / "bindings.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        shown: Json = yaml.safe_load(block)
        moved = {**shown, "metadata": {**shown["metadata"], "namespace": NAMESPACE}}
        done = kubectl.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(moved))
        assert done.ok, f"{shown['metadata']['name']}: {done.output}"


def test_columns_can_be_read_by_a_newcomer(kubectl: Kubectl) -> None:
    kubectl.apply(tenant("columns"), runtime("columns"), binding("columns"), profile("columns"))
    try:
        for kind in crds.KINDS:
            table = kubectl("get", kind.short, "columns", "-n", NAMESPACE, "-o", "wide")
            wanted = ["NAME", *(column.name.upper() for column in kind.columns)]
            assert sorted(table.splitlines()[0].split()) == sorted(wanted)
            if kind is crds.SECRET_BINDING:
                assert '{"kv":{' in table
        listed = kubectl("get", "axon", "-A")
        assert all(f"{kind.name.lower()}.axonos.ai/columns" in listed for kind in crds.KINDS)
    finally:
        kubectl("delete", "axt,axg", "columns", "--wait=false")


def test_every_kind_can_be_explained(kubectl: Kubectl) -> None:
    for kind in crds.KINDS:
        text = kubectl("explain", kind.name.lower())
        assert kind.description.split(":")[0][:40] in " ".join(text.split())
        assert "<empty>" not in kubectl("explain", f"{kind.name.lower()}.spec")
