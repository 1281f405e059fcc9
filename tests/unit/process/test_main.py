"""What stops the start is said in one line that names it, without a traceback."""

from pathlib import Path

import pytest
from kubernetes.config import kube_config

from axon_operator import handlers

GOOD = {
    "VAULT_ADDRESS": "https://openbao:8200",
    "VAULT_CA_FILE": "ca.crt",
    "VAULT_TOKEN_FILE": "token",
    "VAULT_PEER_NAMESPACE": "openbao",
    "VAULT_PEER_LABELS": '{"app": "openbao"}',
    "KEYCLOAK_URL": "https://keycloak",
    "KEYCLOAK_CA_FILE": "ca.crt",
    "KEYCLOAK_TOKEN_FILE": "token",
    "KEYCLOAK_PEER_NAMESPACE": "keycloak",
    "KEYCLOAK_PEER_LABELS": '{"app": "keycloak"}',
    "AGENT_IMAGE": "registry.example/agent:1",
    "OPERATOR_NAMESPACE": "axon-system",
}
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: test, user: {token: x}}]
"""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"AGENT_IMAGE": None}, "AXON_AGENT_IMAGE: Field required"),
        ({"WORKERS": "0"}, "AXON_WORKERS"),
        ({"CLUSTER_CIDRS": '["10.0.0.1/8"]'}, "AXON_CLUSTER_CIDRS"),
        ({"CLUSTER_CIDRS": '["999.0.0.0/8"]'}, "AXON_CLUSTER_CIDRS"),
        ({"VAULT_ADDRESS": "http://openbao:8200"}, "OpenBao's address has to begin with https://"),
        ({"KEYCLOAK_URL": "http://keycloak"}, "Keycloak's URL has to begin with https://"),
        ({"VAULT_CA_FILE": "nowhere.crt"}, "a file cannot be read: nowhere.crt"),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_what_stops_the_start_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str | None], words: str
) -> None:
    (tmp_path / "ca.crt").write_text("")
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.chdir(tmp_path)
    for name, value in {**GOOD, **wrong}.items():
        if value is not None:
            monkeypatch.setenv(f"AXON_{name}", value)
    with pytest.raises(SystemExit) as stopped:
        handlers.main()
    (line,) = str(stopped.value).splitlines()
    assert line.startswith("axon-operator cannot start")
    assert words in line
