"""What a WorkflowRuntime becomes: the pod's walls hold for every spec."""

import dataclasses
import datetime
import json
import re
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.tenant import Network
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain import agent, binding
from axon_operator.domain import runtime as desired
from axon_operator.domain.consent import Consent
from axon_operator.domain.issue import Engine, Issued, read_told
from axon_operator.domain.platform import Peer, Platform
from axon_operator.domain.rotation import overlap
from axon_operator.domain.runtime import pods, vault
from axon_operator.domain.values import seconds

from .around import NAMES, TENANT, USER, bound, issued

PLATFORM = Platform(
    issuer="https://kubernetes.default.svc.cluster.local",
    vault_address="https://openbao.openbao.svc:8200",
    vault_parent="axon",
    vault_ca="CA",
    vault_peer=Peer("openbao", {"app.kubernetes.io/name": "openbao"}, 8200),
    keycloak_url="https://keycloak.keycloak.svc.cluster.local:8443",
    keycloak_ca="",
    keycloak_peer=Peer("keycloak", {"app.kubernetes.io/name": "keycloak"}, 8443),
    agent_image="docker.io/openbao/openbao:2.7.2",
    render_interval=15,
    cluster_cidrs=("10.0.0.0/8",),
    trust_domain="cluster.local",
)
segments = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,8}", fullmatch=True)
sources = st.one_of(
    st.builds(
        lambda path, keys: {"kv": {"path": "/".join(path), "keys": keys}},
        st.lists(segments, min_size=1, max_size=3),
        st.lists(segments, max_size=3, unique=True),
    ),
    st.builds(lambda path: {"grant": {"user": USER, "path": path}}, segments),
    st.sampled_from(
        [{"database": {"connection": "orders", "role": "reader"}}, {"pki": {}}, {"generated": {"length": 20}}]
    ),
)
ttls = st.sampled_from(["1m", "15m", "24h"])
bindings_of_a_runtime = st.lists(
    st.builds(
        lambda source, name, ttl, number: issued(bound(source, name, ttl=ttl), number),
        sources,
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        ttls,
        st.integers(1, 20),
    ),
    max_size=4,
    unique_by=lambda issued: issued.binding.name,
)
runtime_specs = st.builds(
    lambda command, env, replicas, ports: WorkflowRuntimeSpec.model_validate(
        {
            "image": "registry.example/agent:1",
            "command": command,
            "env": [{"name": name, "value": value} for name, value in env.items()],
            "replicas": replicas,
            "ports": [{"name": f"p{port}", "port": port} for port in ports],
        }
    ),
    st.lists(st.text(max_size=20), max_size=3),
    st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text(max_size=20), max_size=3),
    st.integers(0, 5),
    st.lists(st.integers(1024, 65535), max_size=3, unique=True),
)


def runtime(
    spec: WorkflowRuntimeSpec, bindings: Sequence[Issued], *, suspended: bool = False, isolated: bool = False
) -> desired.Runtime:
    return desired.Runtime(NAMES, TENANT, spec, tuple(bindings), (), suspended, isolated)


def variable(name: str, *, on_change: str = "Restart", key: str = "value") -> dict[str, Any]:
    return {"env": {"variables": [{"name": name, "key": key}], "onChange": on_change}}


@given(runtime_specs)
def test_every_container_is_restricted(spec: WorkflowRuntimeSpec) -> None:
    pod = pods.deployment(runtime(spec, []), PLATFORM)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in (*pod["initContainers"], *pod["containers"]):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


@given(runtime_specs)
def test_the_workload_never_sees_the_openbao_token(spec: WorkflowRuntimeSpec) -> None:
    pod = pods.deployment(runtime(spec, []), PLATFORM)["spec"]["template"]["spec"]
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    audiences = {
        volume["name"]: volume["projected"]["sources"][0]["serviceAccountToken"]["audience"]
        for volume in pod["volumes"]
        if "projected" in volume
    }
    assert audiences == {"agent-token": "openbao", "identity": PLATFORM.realm_issuer("axon-acme")}
    assert "agent-token" not in mounted
    assert all(mount.get("readOnly") for mount in pod["containers"][0]["volumeMounts"] if mount["name"] != "tmp")


@given(runtime_specs)
def test_credentials_and_scratch_are_on_memory_only(spec: WorkflowRuntimeSpec) -> None:
    pod = pods.deployment(runtime(spec, []), PLATFORM)["spec"]["template"]["spec"]
    assert all(v["emptyDir"]["medium"] == "Memory" for v in pod["volumes"] if "emptyDir" in v)


@given(runtime_specs, bindings_of_a_runtime)
def test_a_change_of_bindings_restarts_nothing(spec: WorkflowRuntimeSpec, bindings: list[Issued]) -> None:
    assert pods.deployment(runtime(spec, bindings), PLATFORM) == pods.deployment(runtime(spec, []), PLATFORM)


IMAGE = WorkflowRuntimeSpec.model_validate({"image": "a:1"})


def test_a_variable_restarts_the_pods_when_what_it_holds_changes_and_else_never() -> None:
    def template(one: Issued) -> Any:
        return pods.deployment(runtime(IMAGE, [one]), PLATFORM)["spec"]["template"]

    kept = {"kv": {"path": "a"}}
    one = issued(bound(kept, delivery=variable("KEY")))
    assert template(one) != template(dataclasses.replace(one, version=2))
    assert template(one) == template(issued(bound(kept, delivery=variable("KEY"), ttl="5m")))
    still = issued(bound(kept, delivery=variable("KEY", on_change="None")))
    assert template(still) == template(dataclasses.replace(still, version=2))
    made = bound({"generated": {}}, delivery=variable("KEY"))
    assert template(issued(made, 1)) != template(issued(made, 2))
    # taken back and made anew it has the name of the first one, and another value
    later = issued(made, 1)
    at = later.generation.made
    assert at is not None
    later = dataclasses.replace(
        later, generation=dataclasses.replace(later.generation, made=at + datetime.timedelta(seconds=1))
    )
    assert template(later) != template(issued(made, 1))


def test_a_variable_comes_from_the_sidecars_file_and_never_from_the_api_server() -> None:
    one = issued(bound({"generated": {}}, "key", delivery=variable("KEY")))
    pod = pods.deployment(runtime(IMAGE, [one]), PLATFORM)["spec"]["template"]["spec"]
    (found,) = (v for v in pod["containers"][0]["env"] if v["name"] == "KEY")
    assert found == {
        "name": "KEY",
        "valueFrom": {"fileKeyRef": {"volumeName": "env", "path": "key", "key": "KEY", "optional": False}},
    }
    assert "env" not in {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}


def rules(policy: str) -> dict[str, str]:
    """Path to capability."""
    found = dict(re.findall(r'^path "([^"]+)" \{ capabilities = \[([^]]*)\] \}$', policy, re.MULTILINE))
    assert len(found) == len(policy.splitlines())
    return found


OWN = {
    f"runtime-status/{NAMES.principal}/+": '"create", "update"',
    "auth/token/renew-self": '"update"',
    "auth/token/revoke-self": '"update"',
}


def allowed(issued: Issued) -> dict[str, str]:
    source = issued.spec.source
    if source.kv:
        return {f"kv/data/org/{source.kv.path}": '"read"'}
    if source.grant:
        place = f"kv/data/grants/{NAMES.uid}/{USER}/{source.grant.path}"
        return {place: '"read"', f"transit/decrypt/{NAMES.principal}": '"update"'}
    if source.database:
        return {f"database/creds/{issued.name}": '"read"', "sys/leases/renew": '"update"'}
    return {f"pki/issue/{issued.name}": '"update"'} if source.pki else {f"kv/data/generated/{issued.name}": '"read"'}


@given(bindings_of_a_runtime)
def test_the_policy_is_the_union_of_the_bindings_and_nothing_else(bindings: list[Issued]) -> None:
    policy = vault.vault_policy(runtime(IMAGE, bindings)).body["policy"]
    wanted = OWN | {path: capability for b in bindings for path, capability in allowed(b).items()}
    assert rules(policy) == wanted
    assert "*" not in policy


@given(bindings_of_a_runtime)
def test_an_issue_that_lingers_stays_in_the_policy_and_no_other_does(bindings: list[Issued]) -> None:
    made = [b for b in bindings if b.spec.is_issued and b.generation.number > 1]
    before = {b.binding.name: (f"{b.name.rpartition('.')[0]}.{b.generation.number - 1}",) for b in made}
    lasting = dataclasses.replace(runtime(IMAGE, bindings), lingering=before)
    one, two = (rules(vault.vault_policy(r).body["policy"]) for r in (runtime(IMAGE, bindings), lasting))
    assert {path.rpartition("/")[2] for path in two.keys() - one.keys()} == {name for (name,) in before.values()}
    assert one.keys() <= two.keys()


def is_leased(one: Issued) -> bool:
    return binding.is_leased(one.spec.source, one.around.databases)


@given(bindings_of_a_runtime)
def test_a_login_is_bound_to_subject_and_uid_and_no_account_or_certificate_outlives_it(bindings: list[Issued]) -> None:
    role = vault.vault_role(runtime(IMAGE, bindings), "account-uid").body
    assert role["bound_subject"] == NAMES.subject
    assert role["bound_claims"] == {"/kubernetes.io/serviceaccount/uid": ["account-uid"]}
    assert role["bound_audiences"] == ["openbao"]
    assert role["token_ttl"] == role["token_max_ttl"]
    leased = [seconds(b.spec.ttl) + overlap(b.spec) for b in bindings if is_leased(b)]
    others = [seconds(b.spec.ttl) for b in bindings if not is_leased(b)]
    assert all(role["token_ttl"] >= 2 * life for life in leased)
    if not leased:
        assert role["token_ttl"] == min(others, default=900)


@given(bindings_of_a_runtime)
def test_the_agent_configuration_is_deterministic(bindings: list[Issued]) -> None:
    one, two = runtime(IMAGE, bindings), runtime(IMAGE, [*reversed(bindings)])
    assert desired.config_map(one, PLATFORM) == desired.config_map(two, PLATFORM)
    data: dict[str, Any] = desired.config_map(one, PLATFORM)["data"]
    config = json.loads(data["agent.json"])
    assert all(t["destination"].startswith(f"{agent.WORK_DIR}/{one.publication}/") for t in config["template"])


@given(bindings_of_a_runtime, st.frozensets(st.sampled_from(Engine)))
def test_what_the_configuration_tells_is_read_as_it_was_meant(bindings: list[Issued], used: frozenset[Engine]) -> None:
    made = dataclasses.replace(runtime(IMAGE, bindings), engines=used)
    told = read_told(desired.config_map(made, PLATFORM)["data"][desired.BINDINGS_KEY])
    assert told.generations == {b.binding.name: b.generation for b in bindings}
    assert set(told.engines) >= used


def test_the_directory_tells_users_who_a_runtime_is_only_if_it_asks_for_something_of_theirs() -> None:
    assert vault.before_grants(runtime(IMAGE, [])) == ()
    asked = dataclasses.replace(runtime(IMAGE, []), consent=Consent(TENANT.tenant, NAMES.uid, "0123", program="{}"))
    key, entry = vault.before_grants(asked)
    assert key.at == vault.transit_key(NAMES, TENANT)
    assert key.maker is not None
    assert key.maker.body == {"type": "aes256-gcm96"}, "what must never be set must not even be sent"
    assert entry.body["data"] == {
        "uid": NAMES.uid,
        "principal": NAMES.principal,
        "revision": "0123",
        "program": "{}",
    }


def test_a_suspended_tenant_has_no_network_and_no_pods() -> None:
    stopped = runtime(
        WorkflowRuntimeSpec.model_validate({"image": "a:1", "replicas": 3}), [], suspended=True, isolated=True
    )
    assert desired.network_policy(stopped, Network(), [], PLATFORM) is None
    assert pods.deployment(stopped, PLATFORM)["spec"]["replicas"] == 0


@given(
    st.lists(st.sampled_from(["ingress", "monitoring"]), max_size=4),
    st.lists(st.integers(1024, 65535), max_size=3, unique=True),
)
def test_other_namespaces_reach_the_declared_ports_and_no_other(namespaces: list[str], ports: list[int]) -> None:
    spec = {"image": "a:1", "ports": [{"name": f"p{port}", "port": port} for port in ports]}
    tenants = Network.model_validate({"ingress": {"namespaces": namespaces}})
    policy = desired.network_policy(runtime(WorkflowRuntimeSpec.model_validate(spec), []), tenants, [], PLATFORM)
    assert policy is not None
    opened = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"])
        for rule in policy["spec"]["ingress"]
        for peer in rule["from"]
        for port in rule["ports"]
    }
    assert opened == {(name, port) for name in namespaces for port in ports}
    # an empty list would mean anybody, or any port
    assert all(rule["from"] and rule["ports"] for rule in policy["spec"]["ingress"])


@given(st.lists(st.sampled_from(["aaa", "bbb"]), min_size=1, max_size=8))
def test_a_set_of_files_that_comes_back_is_published_under_another_name(wanted: list[str]) -> None:
    live: str | None = None
    names: list[str] = []
    for revision in wanted:
        live = agent.published_as(revision, live)
        assert agent.revision_of(live) == revision
        if not names or names[-1] != live:
            names.append(live)
    assert len(set(names)) == len(names)
    assert agent.published_as(wanted[-1], live) == live, "unchanged, it keeps its name"
