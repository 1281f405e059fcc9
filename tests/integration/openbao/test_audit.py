"""Whether OpenBao records requests, as seen with the login that can do nothing else."""

import dataclasses
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from axon_operator.api.reasons import Reason
from axon_operator.backends.vault.adapter import OpenBaoSettings
from axon_operator.backends.vault.audit import OpenBaoAudit
from axon_operator.domain.finding import Finding
from axon_operator.process.auditwatch import AuditWatch
from axon_operator.reconcile.audit import AuditCheck
from e2e.support.waiting import until_true
from servers.bao import Bao
from servers.kube import Kube

Check = Callable[..., AuditCheck]


class Peer:
    """What a device of the type `socket` writes to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._accept(self._listener)

    @property
    def device(self) -> str:
        """Its declaration."""
        options = f'address = "127.0.0.1:{self._port}"\n  socket_type = "tcp"\n  write_timeout = "1s"'
        return f'audit "socket" "peer" {{\n  options {{\n  {options}\n  }}\n}}\n'

    def leave(self) -> None:
        """Nobody listens any more."""
        for end in (self._listener, *self._open):
            end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def come_back(self) -> None:
        """Somebody listens again."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._accept(self._listener)

    def _accept(self, listener: socket.socket) -> None:
        def drain(end: socket.socket) -> None:
            while end.recv(65536):
                pass

        def run() -> None:
            while True:
                try:
                    end, _ = listener.accept()
                except OSError:
                    return
                self._open.append(end)
                threading.Thread(target=drain, args=(end,), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()


@pytest.fixture(scope="module")
def server(kube: Kube, bao: Bao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    """One more: its devices come and go."""
    own = Bao(tmp_path_factory.mktemp("audited"), kube)
    try:
        own.start()
        own.bootstrap(_uid(bao))
        yield own
    finally:
        own.stop()


def _uid(bao: Bao) -> str:
    """Of the operator's service account."""
    role = bao.admin("GET", "axon", "auth/k8s/role/axon-operator")
    (uid,) = role["bound_claims"]["/kubernetes.io/serviceaccount/uid"]
    return str(uid)


@pytest.fixture
def mended(server: Bao) -> Iterator[Bao]:
    """Afterwards it is as at first."""
    yield server
    server.stop()
    server.configure(server.audit_file("main"))
    server.start()


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def root(server: Bao, token_file: Path) -> OpenBaoSettings:
    return OpenBaoSettings(server.address, server.ca_file, token_file, None, "axon-audit", "axon-audit")


@pytest.fixture
def new_check(root: OpenBaoSettings) -> Check:
    return lambda device="", **other: AuditCheck(OpenBaoAudit(dataclasses.replace(root, **other)), device=device)


def told(finding: Finding) -> tuple[str | None, Reason]:
    return finding.status, finding.reason


def declare(server: Bao, *devices: str) -> None:
    """Without a restart; waits until it is so."""
    server.configure("".join(devices))
    server.reload()
    names = {f"{name}/" for device in devices for name in re.findall(r'^audit "\w+" "(\w+)"', device, re.MULTILINE)}
    until_true("other audit devices", lambda: set(server.admin("GET", "", "sys/audit")) == names, timeout=20)


GOOD = ("True", Reason.AUDIT_RECORDED)


def test_a_server_with_a_device_records(new_check: Check) -> None:
    check = new_check("main")
    for _ in range(2):
        finding = check.run()
        assert told(finding) == GOOD
        assert finding.message.endswith("with main.")


def test_the_probes_are_what_the_count_grows_with(server: Bao, root: OpenBaoSettings) -> None:
    log = OpenBaoAudit(root)
    before, answered, after = log.counted(), log.answers("main"), log.counted()
    assert before is not None
    assert after is not None
    assert answered
    assert after.since(before).recorded == 2
    last = (server.folder / "main.log").read_text().splitlines()[-4:]
    assert [json.loads(line)["request"]["path"] for line in last] == [
        *["sys/audit-hash/main"] * 2,
        *["sys/metrics"] * 2,
    ]


def test_a_device_that_is_not_there_is_missed(new_check: Check, root: OpenBaoSettings) -> None:
    finding = new_check("elsewhere").run()
    assert told(finding) == ("False", Reason.AUDIT_MISSING)
    assert "no audit device elsewhere, only main;" in finding.message
    assert not OpenBaoAudit(root).answers("elsewhere")


def test_a_device_that_is_taken_away_is_missed(new_check: Check, mended: Bao) -> None:
    check = new_check()
    assert told(check.run()) == GOOD
    declare(mended)
    assert told(check.run()) == ("False", Reason.AUDIT_MISSING)
    declare(mended, mended.audit_file("main"))
    assert told(check.run()) == GOOD


def test_a_device_that_throws_everything_away_is_none(new_check: Check, mended: Bao) -> None:
    declare(mended, 'audit "file" "nowhere" {\noptions {\n  file_path = "discard"\n}\n}\n')
    assert told(new_check().run()) == ("False", Reason.AUDIT_MISSING)


def test_requests_that_no_device_could_record_are_told_once(new_check: Check, mended: Bao, peer: Peer) -> None:
    check = new_check()
    declare(mended, peer.device)
    assert told(check.run()) == GOOD
    peer.leave()
    # as long as it lasts, OpenBao answers nobody: that is no word about its devices
    until_true("requests fail", lambda: told(check.run()) == ("Unknown", Reason.VAULT_UNAVAILABLE), timeout=20)
    assert "every audit device can write" in check.run().message
    peer.come_back()
    assert told(check.run()) == ("False", Reason.AUDIT_FAILING)
    assert told(check.run()) == GOOD


def test_one_failing_device_of_two_is_not_seen(new_check: Check, mended: Bao, peer: Peer) -> None:
    """OpenBao counts only what no device has recorded: docs/threat-model.md says so."""
    check = new_check("peer")
    declare(mended, mended.audit_file("main"), peer.device)
    peer.leave()
    assert [told(check.run()) for _ in range(3)] == [GOOD] * 3
    assert "failed to log request" in (mended.folder / "openbao.log").read_text()


def telemetry(*settings: str) -> str:
    """The stanza of OpenBao's configuration."""
    lines = "\n".join(settings)
    return f"telemetry {{\n{lines}\n}}\n"


RETENTION = 'prometheus_retention_time = "1h"'


@pytest.mark.parametrize(
    ("stanza", "word"),
    [
        ("", "prometheus_retention_time"),
        (telemetry(RETENTION, 'prefix_filter = ["-vault.audit"]'), "prefix_filter"),
        (telemetry(RETENTION, 'metrics_prefix = "bao"'), "metrics_prefix"),
    ],
    ids=["off", "filtered", "renamed"],
)
def test_a_server_that_does_not_count_proves_nothing(new_check: Check, mended: Bao, stanza: str, word: str) -> None:
    mended.stop()
    mended.configure(mended.audit_file("main"), stanza)
    mended.start()
    finding = new_check().run()
    assert told(finding) == ("False", Reason.AUDIT_UNPROVEN)
    assert word in finding.message


def test_a_retention_time_is_all_that_a_server_needs_to_count(new_check: Check, mended: Bao) -> None:
    mended.stop()
    mended.configure(mended.audit_file("main"), telemetry(RETENTION))
    mended.start()
    assert told(new_check().run()) == GOOD


def test_a_server_that_is_away_says_nothing_and_counts_anew_when_it_is_back(new_check: Check, mended: Bao) -> None:
    check = new_check()
    assert told(check.run()) == GOOD
    mended.admin("POST", "", "sys/seal")
    assert told(check.run()) == ("Unknown", Reason.VAULT_UNAVAILABLE)
    mended.stop()
    assert told(check.run()) == ("Unknown", Reason.VAULT_UNAVAILABLE)
    mended.start()
    assert told(check.run()) == GOOD


def test_without_the_role_it_is_denied_and_says_what_makes_it(new_check: Check) -> None:
    finding = new_check(role="nobody").run()
    assert told(finding) == ("False", Reason.VAULT_DENIED)
    assert "auth/axon-audit/login in namespace root" in finding.message
    assert "manifests/bootstrap/openbao" in finding.message


def test_it_is_only_ever_of_the_root_namespace(root: OpenBaoSettings) -> None:
    with pytest.raises(ValueError, match="root namespace"):
        OpenBaoAudit(dataclasses.replace(root, namespace="axon"))


def test_what_is_told_holds_no_token_and_no_hash(server: Bao, new_check: Check, mended: Bao, peer: Peer) -> None:
    watch = AuditWatch(new_check(), interval=60, may_begin=lambda: True, changed=lambda: None)
    findings = []
    with structlog.testing.capture_logs() as lines:
        for devices in ((server.audit_file("main"),), (), (peer.device,)):
            declare(mended, *devices)
            watch.once()
            findings.append(watch.finding)
    assert len({told(finding) for finding in findings}) == 2
    assert len(lines) == 3
    everything = repr((lines, findings))
    assert not re.search(r"hmac-sha256|\b[sb]\.[A-Za-z0-9]{10}|eyJ[A-Za-z0-9]", everything)


# -- whoever steals the token of this login


@pytest.fixture(scope="module")
def stolen(server: Bao, token_file: Path) -> str:
    body = {"role": "axon-audit", "jwt": token_file.read_text()}
    status, answer = server.call("POST", "", "auth/axon-audit/login", body=body)
    assert status == 200, answer
    assert answer["auth"]["token_policies"] == answer["auth"]["policies"] == ["axon-audit"]
    token: str = answer["auth"]["client_token"]
    return token


@pytest.mark.parametrize("namespace", ["", "axon", "axon/t-0000000000000000"])
def test_the_login_can_do_nothing_else(server: Bao, stolen: str, namespace: str) -> None:
    server.as_admin("POST", "axon", "sys/namespaces/t-0000000000000000")
    server.as_admin("POST", "axon/t-0000000000000000", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
    policy = {"policy": 'path "*" { capabilities = ["read"] }'}
    role = {"role_type": "jwt", "user_claim": "sub", "bound_subject": "x", "token_policies": ["axon-audit"]}
    attempts: list[tuple[str, str, Any]] = [
        ("GET", "kv/data/org/billing", None),
        ("LIST", "kv/metadata", None),
        ("GET", "axon/t-0000000000000000/kv/data/org/billing", None),
        ("GET", "sys/policies/acl/axon-audit", None),
        ("POST", "sys/policies/acl/axon-audit", policy),
        ("POST", "sys/policies/acl/mine", policy),
        ("POST", "auth/axon-audit/role/axon-audit", role),
        ("POST", "auth/axon-audit/role/mine", role),
        ("POST", "auth/axon-audit/config", {"jwt_validation_pubkeys": ["mine"]}),
        ("POST", "auth/k8s/role/mine", role),
        ("GET", "sys/mounts", None),
        ("POST", "sys/mounts/mine", {"type": "kv"}),
        ("GET", "sys/auth", None),
        ("POST", "sys/auth/mine", {"type": "userpass"}),
        ("LIST", "sys/namespaces", None),
        ("DELETE", "sys/namespaces/axon", None),
        ("POST", "auth/token/create", {}),
        ("POST", "auth/token/renew-self", {}),
        ("POST", "identity/entity", {"name": "mine", "policies": ["axon-audit"]}),
        ("POST", "sys/leases/lookup", {"lease_id": "x"}),
        ("GET", "cubbyhole/x", None),
    ]
    for method, path, body in attempts:
        status, answer = server.call(method, namespace, path, stolen, body)
        assert status == 403, f"{method} {namespace} {path}: {status} {answer}"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "sys/audit/mine", {"type": "file", "options": {"file_path": "/dev/null"}}),
        ("DELETE", "sys/audit/main", None),
        ("POST", "sys/config/auditing/request-headers/x", {"hmac": False}),
        ("POST", "sys/config/reload/listener", {}),
        ("GET", "sys/config/state/sanitized", None),
        ("POST", "sys/seal", {}),
        ("POST", "sys/step-down", {}),
        ("GET", "sys/raw/core/keyring", None),
        ("GET", "sys/storage/raft/snapshot", None),
        ("GET", "sys/internal/counters/tokens", None),
        ("GET", "sys/in-flight-req", None),
        ("GET", "sys/monitor", None),
        ("POST", "sys/quotas/rate-limit/x", {"rate": 1}),
        ("POST", "sys/plugins/catalog/secret/x", {}),
    ],
)
def test_the_server_itself_stays_closed_to_the_login(
    server: Bao, stolen: str, method: str, path: str, body: Any
) -> None:
    status, answer = server.call(method, "", path, stolen, body)
    assert status == 403, f"{method} {path}: {status} {answer}"
    assert list(server.admin("GET", "", "sys/audit")) == ["main/"]


def test_the_three_things_that_it_can_do(server: Bao, stolen: str) -> None:
    assert list(server.call("GET", "", "sys/audit", stolen)[1]["data"]) == ["main/"]
    assert server.call("POST", "", "sys/audit-hash/main", stolen, {"input": "x"})[0] == 200
    assert server.call("GET", "", "sys/metrics", stolen)[0] == 200
    for namespace in ("axon", "axon/t-0000000000000000"):
        for method, path in (("GET", "sys/audit"), ("POST", "sys/audit-hash/main"), ("GET", "sys/metrics")):
            assert server.call(method, namespace, path, stolen, {"input": "x"})[0] in {400, 403, 404}


def test_the_operators_other_login_cannot_become_this_one(server: Bao, token_file: Path) -> None:
    """Neither role is at the other's mount."""
    jwt = token_file.read_text()
    for namespace, mount, role in (("", "axon-audit", "axon-operator"), ("axon", "k8s", "axon-audit"), ("", "k8s", "axon-audit")):  # fmt: skip
        status, _ = server.call("POST", namespace, f"auth/{mount}/login", body={"role": role, "jwt": jwt})
        assert status == 400


def test_the_bootstrap_makes_the_login_when_asked_to_and_then_keeps_it_pinned(server: Bao, bao: Bao) -> None:
    mount, role, uid = "sys/auth/axon-audit", "auth/axon-audit/role/axon-audit", _uid(bao)
    server.admin("DELETE", "", mount)
    server.bootstrap(uid, audit_check="")
    assert server.as_admin("GET", "", mount)[0] != 200
    server.bootstrap("none")
    assert not server.admin("GET", "", role)["bound_claims"]
    for given in (uid, ""):
        server.bootstrap(given, audit_check="")
        assert server.admin("GET", "", role)["bound_claims"] == {"/kubernetes.io/serviceaccount/uid": [uid]}
