"""The canary against the three systems: refused everywhere, until there is a hole, and again when it is closed."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.canary.main import Canary
from axon_operator.canary.settings import CanarySettings
from axon_operator.domain.finding import Finding
from axon_operator.domain.names import RuntimeNames
from axon_operator.domain.resources import POD, RUNTIME, Ref
from axon_operator.domain.runtime import VAULT_AUDIENCE, keycloak_client_path
from axon_operator.process.isolation import Isolation
from bench.bed import Bed
from bench.life import Life, backends_of, keycloak_of
from integration.tenant.conftest import NewTenant
from servers.processes import free_port

ACCOUNT = "axon-canary"
HOME = "axon-system"
SUBJECT = f"system:serviceaccount:{HOME}:{ACCOUNT}"
NOWHERE = "255.255.255.255"
"""Where no connection gets to: the kernel itself knows no way."""


@pytest.fixture(scope="module")
def settings(servers: Bed, tmp_path_factory: pytest.TempPathFactory) -> CanarySettings:
    """With the account and the rights of the chart."""
    token = tmp_path_factory.mktemp("canary") / "token"
    token.write_text(servers.kube.token(HOME, ACCOUNT, seconds=3600))
    return CanarySettings.model_validate(
        {
            "namespace": HOME,
            "account": ACCOUNT,
            "kubernetes_url": servers.kube.address,
            "kubernetes_ca_file": servers.kube.ca_file,
            "kubernetes_token_file": token,
            "vault_address": servers.settings.vault_address,
            "vault_ca_file": servers.settings.vault_ca_file,
            "keycloak_url": servers.settings.keycloak_url,
            "keycloak_ca_file": servers.settings.keycloak_ca_file,
            "network_timeout": 1,
        }
    )


class Watched:
    """A tenant with a running runtime, the canary, and the operator that listens to it with its own rights."""

    def __init__(self, bed: Bed, life: Life, settings: CanarySettings) -> None:
        self.bed, self.life = bed, life
        self.life.settle()
        self.life.runtime("agent", {"image": "registry.example/agent:1", "ports": [{"name": "http", "port": 8080}]})
        self.life.settle()
        self.names: RuntimeNames = self.life.runtimes["agent"]
        self.pod_is_at(NOWHERE)
        self._canary = Canary(settings)
        api = backends_of(bed.settings).kubernetes
        self._watch = Isolation(
            api, api, bed.settings.platform(), interval=60, may_begin=lambda: False, changed=lambda _: None
        )
        self._watch.once()
        self._canary.round()
        self._watch.once()

    @property
    def vault(self) -> str:
        return f"axon/{self.life.names.vault_namespace}"

    def pod_is_at(self, ip: str) -> None:
        """As the kubelet says."""
        (pod,) = self.bed.kube.list(POD, namespace=self.names.namespace)
        ref = Ref(POD, self.names.namespace, pod["metadata"]["name"])
        self.bed.kube.as_controllers().set_status(ref, {**pod["status"], "podIP": ip, "podIPs": [{"ip": ip}]})

    def listens_at(self, port: int) -> None:
        """Where the runtime says that it does."""
        ref = Ref(RUNTIME, self.names.namespace, "agent")
        self.bed.kube.patch(ref, {"spec": {"ports": [{"name": "http", "port": port}]}})

    def client_accepts_the_canary(self) -> None:
        """The runtime's, instead of its pods."""
        keycloak, at = keycloak_of(self.bed.settings), keycloak_client_path(self.names, self.life.names)
        client: dict[str, Any] = dict(keycloak.read(at) or {})
        keycloak.update(at, {**client, "attributes": {**client["attributes"], "jwt.credential.sub": SUBJECT}})

    def found(self) -> Finding:
        """After another round."""
        self._watch.once()
        self._canary.round()
        self._watch.once()
        return self._watch.finding(self.life.names)

    def is_isolated(self) -> None:
        finding = self.found()
        assert (finding.status, finding.reason) == ("True", Reason.REFUSED), finding.message

    def is_crossed(self, *words: str) -> None:
        finding = self.found()
        assert (finding.status, finding.reason) == ("False", Reason.BOUNDARY_CROSSED), finding.message
        holes = finding.message.partition(": ")[2].rstrip(".").split("; ")
        assert len(holes) == len(words), finding.message
        for word, hole in zip(words, holes, strict=True):
            assert word in hole


@pytest.fixture(scope="module")
def watched(servers: Bed, new_tenant: NewTenant, settings: CanarySettings) -> Watched:
    return Watched(servers, new_tenant({}), settings)


def test_a_tenant_with_a_running_pod_is_isolated_and_everything_was_tried(watched: Watched) -> None:
    finding = watched.found()
    assert finding.status == "True"
    for tried in ("network", "kubernetes-tokens", "openbao-login", "openbao-read", "keycloak-client", "keycloak-user"):
        assert tried in finding.message


def test_a_role_binding_that_lets_the_canary_read_is_found(watched: Watched) -> None:
    """Tokens of runtimes' accounts stay out of reach even then: an admission policy refuses them."""
    kube, inside = watched.bed.kube, f"/apis/rbac.authorization.k8s.io/v1/namespaces/{watched.names.namespace}"
    rules = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "hole"}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": HOME}
    kube.call("POST", f"{inside}/roles", {"metadata": {"name": "hole"}, "rules": rules})
    binding = {"metadata": {"name": "hole"}, "roleRef": role, "subjects": [subject]}
    kube.call("POST", f"{inside}/rolebindings", binding)
    try:
        eventually(lambda: watched.is_crossed("list Secrets"))
    finally:
        kube.call("DELETE", f"{inside}/rolebindings/hole")
    eventually(watched.is_isolated)


def test_a_role_that_admits_the_canary_is_found_and_the_operator_closes_it(watched: Watched) -> None:
    role = f"auth/k8s/role/{watched.names.principal}"
    hole = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [VAULT_AUDIENCE],
        "bound_subject": SUBJECT,
        "bound_claims": {},
        "token_policies": [watched.names.principal],
    }
    watched.bed.bao.admin("POST", watched.vault, role, hole)
    watched.is_crossed("OpenBao logs it in as a runtime")
    assert watched.life.settle(again=True).writes
    watched.is_isolated()


def test_a_client_that_accepts_the_canary_is_found_and_the_operator_closes_it(watched: Watched) -> None:
    watched.client_accepts_the_canary()
    watched.is_crossed("access token")
    assert watched.life.settle(again=True).writes
    watched.is_isolated()


def test_a_pod_that_can_be_reached_is_found(watched: Watched) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        watched.listens_at(listening.getsockname()[1])
        watched.pod_is_at("127.0.0.1")
        watched.is_crossed("packets reach a pod")
        watched.pod_is_at(NOWHERE)
        watched.is_isolated()


def test_several_holes_are_told_together(watched: Watched) -> None:
    # nothing listens there: that a packet arrives is told by the reset
    watched.listens_at(free_port())
    watched.pod_is_at("127.0.0.1")
    watched.client_accepts_the_canary()
    watched.is_crossed("packets reach a pod", "access token")
    watched.pod_is_at(NOWHERE)
    watched.is_crossed("access token")
    watched.life.settle(again=True)
    watched.pod_is_at(NOWHERE)
    watched.is_isolated()


def test_an_openbao_that_is_away_is_no_wall(watched: Watched, settings: CanarySettings, tmp_path: Path) -> None:
    away = settings.model_copy(update={"vault_address": "https://127.0.0.1:1"})
    there, watched._canary = watched._canary, Canary(away)
    finding = watched.found()
    assert (finding.status, finding.reason) == ("Unknown", Reason.NOT_PROVEN)
    assert "openbao-login, openbao-read" in finding.message
    watched._canary = there
    watched.is_isolated()


def eventually(check: Callable[[], None]) -> None:
    """The API server's authorizer hears of a RoleBinding a moment later."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
