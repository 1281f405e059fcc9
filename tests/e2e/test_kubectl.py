"""What someone sees who has never heard of the project and has only kubectl."""

import json
from collections.abc import Iterator

import pytest

from e2e.support.cluster import Cluster, binding_ref, runtime_ref, tenant_ref
from e2e.support.kubectl import Json
from e2e.support.tenants import SECRET_PATH, Tenants
from e2e.support.waiting import Unmet, until

KINDS = {"axt": "tenants", "axw": "workflowruntimes", "axsb": "secretbindings"}
WIDEST_LINE = 140


@pytest.fixture(scope="module")
def tenant(tenants: Tenants) -> str:
    """A tenant in which everything runs."""
    return tenants.running("shown")


def row(cluster: Cluster, kind: str, tenant: str) -> dict[str, str]:
    """The row of one tenant's object in `kubectl get KIND -A`."""
    header, *lines = cluster.kubectl("get", kind, "-A").splitlines()
    assert max(len(line) for line in (header, *lines)) <= WIDEST_LINE
    line = next(line for line in lines if tenant in line)
    return dict(zip(header.split(), line.split(), strict=True))


def test_the_table_of_tenants_says_what_is_ready_and_where(cluster: Cluster, tenant: str) -> None:
    shown = row(cluster, "axt", tenant)
    assert shown["NAME"] == tenant
    assert (shown["READY"], shown["REASON"]) == ("True", "Ready")
    assert shown["NAMESPACE"] == f"axon-{tenant}"


def test_the_table_of_runtimes_says_how_many_pods_run(cluster: Cluster, tenant: str) -> None:
    shown = row(cluster, "axw", tenant)
    assert (shown["NAME"], shown["READY"], shown["REASON"]) == ("agent", "True", "Ready")
    assert (shown["REPLICAS"], shown["AVAILABLE"]) == ("1", "1")


def test_the_table_of_bindings_says_what_goes_where(cluster: Cluster, tenant: str) -> None:
    shown = row(cluster, "axsb", tenant)
    assert (shown["NAME"], shown["READY"], shown["REASON"]) == ("billing", "True", "Ready")
    assert (shown["RUNTIME"], shown["PODS"], shown["DELIVERED"]) == ("agent", "1", "1")
    wide = cluster.kubectl("get", "axsb", "-n", f"axon-{tenant}", "-o", "wide")
    assert f'"path":"{SECRET_PATH}"' in wide


def test_one_command_shows_all_three_kinds(cluster: Cluster, tenant: str) -> None:
    for command in ("axt,axw,axsb", "axon"):
        shown = cluster.kubectl("get", command, "-A", "-o", "name").split()
        assert {tenant_ref(tenant).kind, runtime_ref(tenant).kind, binding_ref(tenant).kind} <= {
            line.split("/")[0] for line in shown
        }


def test_no_cell_of_a_ready_object_is_empty(cluster: Cluster, tenant: str) -> None:
    for kind in KINDS:
        assert not [cell for cell in row(cluster, kind, tenant).values() if cell.startswith("<")]


def test_the_wide_table_has_a_sentence(cluster: Cluster, tenant: str) -> None:
    for kind in KINDS:
        shown = cluster.kubectl("get", kind, "-A", "-o", "wide").splitlines()
        assert "MESSAGE" in shown[0]


@pytest.mark.parametrize("kind", KINDS.values())
def test_kubectl_explain_has_text_for_every_field(cluster: Cluster, kind: str) -> None:
    crd = cluster.kubectl.need("customresourcedefinition", f"{kind}.axonos.ai")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    explained = [path for path in objects(kind, schema) if path.split(".")[1:2] != ["metadata"]]
    assert f"{kind}.spec" in explained
    assert f"{kind}.status.conditions" in explained
    for path in explained:
        text = cluster.kubectl("explain", path)
        assert "<empty>" not in text, path
        assert "<no description>" not in text, path


def objects(path: str, schema: Json) -> Iterator[str]:
    """The path of every part of a schema that has fields of its own: explaining it explains each of its fields."""
    inner = schema.get("items", schema)
    fields: dict[str, Json] = inner.get("properties", {})
    if fields:
        yield path
    for name, field in fields.items():
        yield from objects(f"{path}.{name}", field)


@pytest.mark.parametrize("short_name", KINDS)
def test_every_kind_can_be_waited_for(cluster: Cluster, tenant: str, short_name: str) -> None:
    where = () if short_name == "axt" else ("-n", f"axon-{tenant}")
    name = {"axt": tenant, "axw": "agent", "axsb": "billing"}[short_name]
    cluster.kubectl(*where, "wait", "--for=condition=Ready", f"{short_name}/{name}", "--timeout=30s")


def test_kubectl_scale_changes_the_number_of_pods(cluster: Cluster, tenant: str) -> None:
    ref = runtime_ref(tenant)

    def pods(count: int) -> None:
        status = cluster.kubectl.need(*ref.args)["status"]
        if status.get("readyReplicas") != count:
            raise Unmet(json.dumps(status))

    cluster.kubectl("-n", ref.namespace, "scale", f"{ref.kind}/agent", "--replicas=2")
    until("two ready pods", lambda: pods(2), timeout=90)
    cluster.wait_ready(ref, binding_ref(tenant))
    assert cluster.kubectl.need(*binding_ref(tenant).args)["status"]["consumers"] == {"ready": 2, "total": 2}
    cluster.kubectl("-n", ref.namespace, "scale", f"{ref.kind}/agent", "--replicas=1")
    until("one ready pod", lambda: pods(1), timeout=90)
