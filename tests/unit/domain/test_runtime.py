"""What a WorkflowRuntime becomes: the pod's walls hold for every spec."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain import agent
from axon_operator.domain import runtime as desired
from axon_operator.domain.names import RuntimeNames, TenantNames
from axon_operator.domain.platform import Peer, Platform
from axon_operator.domain.values import seconds

PLATFORM = Platform(
    issuer="https://kubernetes.default.svc.cluster.local",
    vault_address="https://openbao.openbao.svc:8200",
    vault_parent="axon",
    vault_ca="CA",
    vault_peer=Peer("openbao", {"app.kubernetes.io/name": "openbao"}, 8200),
    keycloak_url="https://keycloak.keycloak.svc.cluster.local:8443",
    keycloak_peer=Peer("keycloak", {"app.kubernetes.io/name": "keycloak"}, 8443),
    agent_image="docker.io/openbao/openbao:2.7.2",
    render_interval=15,
    cluster_cidrs=("10.0.0.0/8",),
)
TENANT = TenantNames("acme", "7f3f6c2e-0000-4000-8000-000000000001")
NAMES = RuntimeNames("axon-acme", "agent", "7f3f6c2e-0000-4000-8000-000000000002")

segments = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,8}", fullmatch=True)
binding_specs = st.builds(
    lambda path, file, keys, ttl: SecretBindingSpec.model_validate(
        {
            "runtimeRef": {"name": "agent"},
            "source": {"kv": {"path": "/".join(path), "keys": keys}},
            "delivery": {"file": {"path": file}},
            "ttl": ttl,
        }
    ),
    st.lists(segments, min_size=1, max_size=3),
    segments,
    st.lists(segments, max_size=3, unique=True),
    st.sampled_from(["1m", "15m", "24h"]),
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
    spec: WorkflowRuntimeSpec, bindings: list[SecretBindingSpec], *, suspended: bool = False, isolated: bool = False
) -> desired.Runtime:
    return desired.Runtime(NAMES, TENANT, spec, tuple(bindings), (), suspended, isolated)


@given(runtime_specs)
def test_every_container_is_restricted(spec: WorkflowRuntimeSpec) -> None:
    pod = desired.deployment(runtime(spec, []), PLATFORM)["spec"]["template"]["spec"]
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
    pod = desired.deployment(runtime(spec, []), PLATFORM)["spec"]["template"]["spec"]
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
    pod = desired.deployment(runtime(spec, []), PLATFORM)["spec"]["template"]["spec"]
    assert all(v["emptyDir"]["medium"] == "Memory" for v in pod["volumes"] if "emptyDir" in v)


@given(runtime_specs, st.lists(binding_specs, max_size=3))
def test_a_change_of_bindings_restarts_nothing(spec: WorkflowRuntimeSpec, bindings: list[SecretBindingSpec]) -> None:
    assert desired.deployment(runtime(spec, bindings), PLATFORM) == desired.deployment(runtime(spec, []), PLATFORM)


@given(st.lists(binding_specs, max_size=4))
def test_the_policy_is_the_union_of_the_bindings_and_only_reads(bindings: list[SecretBindingSpec]) -> None:
    spec = WorkflowRuntimeSpec.model_validate({"image": "a:1"})
    policy = desired.vault_policy(runtime(spec, bindings)).body["policy"]
    lines = [line for line in policy.splitlines() if line.startswith('path "kv/')]
    paths = {b.source.kv.path for b in bindings if b.source.kv}
    assert {line.split('"')[1] for line in lines} == {f"kv/data/org/{path}" for path in paths}
    assert all('capabilities = ["read"]' in line for line in lines)
    assert "*" not in policy


@given(st.lists(binding_specs, max_size=4))
def test_a_login_is_bound_to_subject_and_uid_and_lives_as_long_as_the_shortest_binding(
    bindings: list[SecretBindingSpec],
) -> None:
    spec = WorkflowRuntimeSpec.model_validate({"image": "a:1"})
    role = desired.vault_role(runtime(spec, bindings), "account-uid").body
    assert role["bound_subject"] == NAMES.subject
    assert role["bound_claims"] == {"/kubernetes.io/serviceaccount/uid": ["account-uid"]}
    assert role["bound_audiences"] == ["openbao"]
    assert role["token_ttl"] == role["token_max_ttl"] == min((seconds(b.ttl) for b in bindings), default=900)


@given(st.lists(binding_specs, max_size=4))
def test_the_agent_configuration_is_deterministic(bindings: list[SecretBindingSpec]) -> None:
    spec = WorkflowRuntimeSpec.model_validate({"image": "a:1"})
    one, two = runtime(spec, bindings), runtime(spec, [*reversed(bindings)])
    assert desired.config_map(one, PLATFORM) == desired.config_map(two, PLATFORM)
    data: dict[str, Any] = desired.config_map(one, PLATFORM)["data"]
    config = json.loads(data["agent.json"])
    assert all(t["destination"].startswith(f"{agent.WORK_DIR}/{one.publication}/") for t in config["template"])


def test_a_suspended_tenant_has_no_network_and_no_pods() -> None:
    stopped = runtime(
        WorkflowRuntimeSpec.model_validate({"image": "a:1", "replicas": 3}), [], suspended=True, isolated=True
    )
    assert desired.network_policy(stopped, [], PLATFORM) is None
    assert desired.deployment(stopped, PLATFORM)["spec"]["replicas"] == 0


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
