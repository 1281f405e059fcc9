"""The operator proves itself with its projected service-account token, and with nothing else."""

import dataclasses
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Denied, Transient
from axon_operator.backends.vault.adapter import OpenBao, OpenBaoSettings
from axon_operator.domain.resources import VaultPath
from servers.bao import Bao
from servers.kube import Kube, KubeServer

CHILDREN = VaultPath("", "sys/namespaces")
OPERATOR_ROLE = "auth/k8s/role/axon-operator"
AUDIT_ROLE = "auth/axon-audit/role/axon-audit"
UID_CLAIM = "/kubernetes.io/serviceaccount/uid"


class Calls:
    """Counts what the adapter reports."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, backend: str, verb: str, outcome: str, seconds: float) -> None:
        self.seen.append((verb, outcome))

    @property
    def logins(self) -> int:
        return self.seen.count(("login", "ok"))


def test_projected_token_logs_in(vault: OpenBao) -> None:
    assert vault.supports_namespaces()


@pytest.mark.parametrize(
    ("account", "audience"),
    [
        ("axon-operator", "another-audience"),
        ("axon-operator", "https://kubernetes.default.svc.cluster.local"),
        ("somebody-else", "openbao"),
    ],
)
def test_another_audience_or_account_is_denied(
    kube: Kube, settings: OpenBaoSettings, tmp_path: Path, account: str, audience: str
) -> None:
    if account != "axon-operator":
        kube.service_account("axon-system", account)
    token_file = tmp_path / "token"
    token_file.write_text(kube.token("axon-system", account, audience))
    with pytest.raises(Denied) as denied:
        OpenBao(dataclasses.replace(settings, token_file=token_file)).list(CHILDREN)
    assert denied.value.reason is Reason.VAULT_DENIED
    if account != "axon-operator":
        kube.delete_service_account("axon-system", account)


def test_a_recreated_account_is_denied(bao: Bao, kube: Kube, settings: OpenBaoSettings, tmp_path: Path) -> None:
    """The role is bound to the uid: whoever can create an account under the operator's name gets nothing."""
    role = bao.admin("GET", "axon", OPERATOR_ROLE)
    assert list(role["bound_claims"]) == [UID_CLAIM]
    # an account and a role like the operator's: its own is in use by the other tests
    uid = kube.service_account("axon-system", "successor")
    subject = "system:serviceaccount:axon-system:successor"
    pinned = {**role, "bound_subject": subject, "bound_claims": {UID_CLAIM: [uid]}, "allowed_redirect_uris": []}
    bao.admin("POST", "axon", "auth/k8s/role/successor", pinned)

    def log_in() -> None:
        token_file = tmp_path / "token"
        token_file.write_text(kube.token("axon-system", "successor", "openbao"))
        OpenBao(dataclasses.replace(settings, token_file=token_file, role="successor")).list(CHILDREN)

    log_in()
    kube.delete_service_account("axon-system", "successor")
    assert kube.service_account("axon-system", "successor") != uid
    with pytest.raises(Denied):
        log_in()


def test_running_the_bootstrap_again_keeps_the_pin(bao: Bao) -> None:
    pinned = bao.admin("GET", "axon", OPERATOR_ROLE)
    assert pinned["bound_claims"]
    bao.bootstrap("")
    assert bao.admin("GET", "axon", OPERATOR_ROLE) == pinned
    try:
        bao.bootstrap("none")
        assert not bao.admin("GET", "axon", OPERATOR_ROLE)["bound_claims"]
        # no pin to keep, and then not even a role
        bao.bootstrap("")
        assert not bao.admin("GET", "axon", OPERATOR_ROLE)["bound_claims"]
        bao.admin("DELETE", "axon", OPERATOR_ROLE)
        bao.bootstrap("")
        assert not bao.admin("GET", "axon", OPERATOR_ROLE)["bound_claims"]
    finally:
        (uid,) = pinned["bound_claims"][UID_CLAIM]
        bao.bootstrap(uid)
    assert bao.admin("GET", "axon", OPERATOR_ROLE) == pinned


def test_a_second_login_that_is_made_later_takes_the_pin_of_the_first(bao: Bao) -> None:
    pinned = bao.admin("GET", "", AUDIT_ROLE)
    assert pinned["bound_claims"] == bao.admin("GET", "axon", OPERATOR_ROLE)["bound_claims"]
    assert pinned["bound_claims"]
    bao.admin("DELETE", "", AUDIT_ROLE)
    bao.bootstrap("")
    assert bao.admin("GET", "", AUDIT_ROLE) == pinned


@pytest.mark.parametrize("content", ["", "not.a.token", "x" * 5000])
def test_what_is_no_token_is_denied(settings: OpenBaoSettings, tmp_path: Path, content: str) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(content)
    with pytest.raises(Denied):
        OpenBao(dataclasses.replace(settings, token_file=token_file)).list(CHILDREN)


@pytest.mark.parametrize(
    "elsewhere", [{"namespace": "nowhere"}, {"auth_mount": "nowhere"}, {"role": "nobody"}], ids=lambda e: next(iter(e))
)
def test_a_login_that_was_never_set_up_is_denied_and_says_where(
    settings: OpenBaoSettings, elsewhere: dict[str, str]
) -> None:
    changed = dataclasses.replace(settings, **elsewhere)  # type: ignore[arg-type]
    with pytest.raises(Denied, match="bootstrap") as denied:
        OpenBao(changed).list(CHILDREN)
    assert next(iter(elsewhere.values())) in denied.value.message


def test_an_expired_token_is_replaced(bao: Bao, settings: OpenBaoSettings) -> None:
    role = bao.admin("GET", "axon", "auth/k8s/role/axon-operator")
    body = {**role, "token_ttl": 1, "token_max_ttl": 1, "allowed_redirect_uris": []}
    bao.admin("POST", "axon", "auth/k8s/role/brief", body)
    calls = Calls()
    stopped = time.monotonic()
    vault = OpenBao(dataclasses.replace(settings, role="brief"), observe=calls, clock=lambda: stopped)
    vault.list(CHILDREN)
    time.sleep(1.5)  # a clock that stands still: the adapter learns of the expiry from the 403 only
    vault.list(CHILDREN)
    assert calls.logins == 2


def test_a_token_is_renewed_before_it_expires(bao: Bao, settings: OpenBaoSettings) -> None:
    calls = Calls()
    now = 0.0
    vault = OpenBao(settings, observe=calls, clock=lambda: now)
    vault.list(CHILDREN)
    now = 399.0
    vault.list(CHILDREN)
    assert calls.logins == 1
    now = 401.0  # the bootstrap gives 10 minutes
    vault.list(CHILDREN)
    assert calls.logins == 2


def test_a_revoked_token_is_replaced(bao: Bao, settings: OpenBaoSettings) -> None:
    calls = Calls()
    vault = OpenBao(settings, observe=calls)
    vault.list(CHILDREN)
    bao.admin("POST", "axon", "sys/leases/revoke-prefix/auth/k8s", {"sync": True})
    vault.list(CHILDREN)
    assert calls.logins == 2
    assert ("list", "ok") in calls.seen
    assert all(outcome == "ok" for _, outcome in calls.seen)


def test_32_threads_share_one_login(settings: OpenBaoSettings) -> None:
    calls = Calls()
    vault = OpenBao(settings, observe=calls)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: vault.list(CHILDREN), range(128)))
    assert calls.logins == 1


def test_a_server_of_another_authority_gets_no_token(kube: Kube, settings: OpenBaoSettings) -> None:
    impostor = dataclasses.replace(settings, ca_file=kube.ca_file)
    with pytest.raises(Transient, match="did not prove its identity"):
        OpenBao(impostor).list(CHILDREN)


@pytest.fixture
def api_server(kube_server: KubeServer) -> Iterator[KubeServer]:
    """May be stopped; afterwards it runs again."""
    yield kube_server
    kube_server.stop_apiserver()
    kube_server.start_apiserver()


def test_logins_outlast_the_api_server(vault: OpenBao, settings: OpenBaoSettings, api_server: KubeServer) -> None:
    """OpenBao keeps the keys that it has fetched once."""
    vault.list(CHILDREN)
    api_server.stop_apiserver()
    OpenBao(settings).list(CHILDREN)


def test_a_login_that_openbao_cannot_verify_is_tried_again(bao: Bao, vault: OpenBao, api_server: KubeServer) -> None:
    """It started while the API server was away. That is not a refusal, after which the operator would wait long."""
    api_server.stop_apiserver()
    bao.stop()
    bao.start()
    with pytest.raises(Transient, match="does not reach the API server") as failed:
        vault.list(CHILDREN)
    assert failed.value.__context__ is None
    api_server.start_apiserver()
    vault.list(CHILDREN)
