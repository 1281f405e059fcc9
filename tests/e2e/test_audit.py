"""The audit stream: what was written in each system, for which object, and who asked for it."""

import json
from operator import itemgetter

import pytest

from e2e.support import samples
from e2e.support.cluster import Cluster, binding_ref, runtime_ref, tenant_ref
from e2e.support.kubectl import Json
from e2e.support.tenants import SECRET_KEY, SECRET_PATH, Tenants
from e2e.support.traces import OperatorLog, audit_lines, log_lines, operator_streams
from e2e.support.waiting import Unmet, until

ALICE = "alice@example.com"
BOB = "bob@example.com"
SYSTEMS = {"kubernetes", "openbao", "keycloak"}
FIELDS = {
    "audit",
    "time",
    "object",
    "generation",
    "reconcile",
    "requestedBy",
    "backend",
    "verb",
    "target",
    "outcome",
}


@pytest.fixture(scope="module")
def tenant(cluster: Cluster, tenants: Tenants) -> str:
    """A tenant in which everything runs, all of it declared by Alice."""
    name = tenants.name("asked")
    _as(cluster, ALICE, "apply", "-f", "-", stdin=json.dumps(samples.tenant(name)))
    cluster.wait_ready(tenant_ref(name))
    cluster.write_secret(name, SECRET_PATH, **{SECRET_KEY: tenants.value()})
    for manifest in (samples.runtime(name), samples.binding(name)):
        _as(cluster, ALICE, "apply", "-f", "-", stdin=json.dumps(manifest))
    cluster.wait_ready(runtime_ref(name), binding_ref(name))
    return name


@pytest.mark.parametrize(
    ("kind", "systems"), [("Tenant", SYSTEMS), ("WorkflowRuntime", SYSTEMS), ("SecretBinding", {"kubernetes"})]
)
def test_what_was_made_is_told_for_each_system_with_the_one_who_asked(
    cluster: Cluster, operator_log: OperatorLog, tenant: str, kind: str, systems: set[str]
) -> None:
    refs = (tenant_ref(tenant), runtime_ref(tenant), binding_ref(tenant))
    ref = next(ref for ref in refs if ref.kind == f"{kind.lower()}.axonos.ai")
    uid = cluster.kubectl.need(*ref.args)["metadata"]["uid"]
    found = _lines(operator_log, uid, systems=systems)
    assert {line["requestedBy"] for line in found} == {ALICE}
    for line in found:
        assert line["object"] == {"kind": kind, "namespace": ref.namespace, "name": ref.name, "uid": uid}
        assert line["generation"] == 1
    # our finalizer is there before anything else is written
    assert (found[0]["verb"], found[0]["outcome"]) == ("finalize", "ok")


def test_every_line_of_the_stream_can_be_read_and_its_pass_found_in_the_log(
    operator_log: OperatorLog, tenant: str
) -> None:
    text = operator_log.text()
    found = audit_lines(text)
    assert {frozenset(line) for line in found} == {frozenset(FIELDS)}
    assert {line["audit"] for line in found} == {1}
    assert {line["backend"] for line in found} == SYSTEMS
    changed = {line["reconcile"] for line in log_lines(text) if line["event"] == "changed"}
    assert changed <= {line["reconcile"] for line in found if line["outcome"] == "ok"}
    assert changed


def test_the_stream_is_on_standard_output_alone_and_the_log_on_standard_error(cluster: Cluster, tenant: str) -> None:
    streams = operator_streams(cluster)
    assert audit_lines("\n".join(streams["stdout"]))
    assert [line for line in streams["stdout"] if not line.startswith('{"audit"')] == []
    assert log_lines("\n".join(streams["stderr"]))
    assert [line for line in streams["stderr"] if line.startswith('{"audit"')] == []


def test_a_change_is_put_down_to_whoever_made_it_even_if_they_say_otherwise(
    cluster: Cluster, operator_log: OperatorLog, tenant: str
) -> None:
    ref = tenant_ref(tenant)
    patch = {"metadata": {"annotations": {"axonos.ai/requested-by": ALICE}}, "spec": {"displayName": "Renamed"}}
    _as(cluster, BOB, "patch", *ref.args, "--type=merge", "-p", json.dumps(patch))
    cluster.wait_ready(ref)
    uid = cluster.kubectl.need(*ref.args)["metadata"]["uid"]
    found = _lines(operator_log, uid, generation=2, systems={"keycloak"})
    assert {line["requestedBy"] for line in found} == {BOB}


def test_a_deletion_is_told_for_each_system_and_put_down_to_nobody(
    cluster: Cluster, operator_log: OperatorLog, tenant: str
) -> None:
    ref = tenant_ref(tenant)
    uid = cluster.kubectl.need(*ref.args)["metadata"]["uid"]
    _as(cluster, BOB, "delete", *ref.args, "--wait=false")
    cluster.wait_gone(ref)

    found = _lines(operator_log, uid, generation=3, systems=SYSTEMS, last="finalize")
    assert {line["requestedBy"] for line in found} == {"unknown"}
    assert {line["backend"] for line in found if line["verb"] == "delete" and line["outcome"] == "ok"} == SYSTEMS


def _as(cluster: Cluster, user: str, *args: str, stdin: str | None = None) -> None:
    cluster.kubectl("--as", user, "--as-group", "system:masters", *args, stdin=stdin)


def _lines(
    log: OperatorLog, uid: str, *, systems: set[str], generation: int | None = None, last: str | None = None
) -> list[Json]:
    """The lines about one object (in one generation), as soon as writes in these systems have succeeded."""

    def probe() -> list[Json]:
        of_object = [line for line in audit_lines(log.text()) if line["object"]["uid"] == uid]
        # the log is collected pod by pod
        found = sorted((line for line in of_object if generation in {None, line["generation"]}), key=itemgetter("time"))
        done = {line["backend"] for line in found if line["outcome"] == "ok"}
        if not systems <= done or (last and found[-1]["verb"] != last):
            raise Unmet(f"{sorted(done)}, the last of {len(found)} lines: {found[-1:]}")
        return found

    return until(f"audit lines about {uid} in {sorted(systems)}", probe, timeout=30)
