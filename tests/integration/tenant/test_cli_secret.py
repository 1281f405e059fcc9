"""`kubectl axon secret` with real logins: what a user can do, and what others try with what the user keeps and grants."""

import base64
import io
import json
import os
import re
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import yaml

from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.cli.main import main
from axon_operator.cli.secret import login
from axon_operator.domain.consent import digest, program
from axon_operator.domain.names import USERS_CLIENT
from axon_operator.domain.resources import TENANT
from bench.life import Life
from integration.tenant.conftest import NewTenant
from integration.tenant.people import Person, Realm, Session, log_in
from servers.bao import Answer

VALUE: Final = "hunter2-\N{SNOWMAN}"


def running(image: str) -> dict[str, str]:
    """What the directory tells of a runtime with this image."""
    code = {
        "runtimeRef": {"name": "agent"},
        "source": {"kv": {"path": "code"}},
        "delivery": {"env": {"variables": [{"name": "PYTHONPATH", "key": "path"}]}},
    }
    spec = {"image": image, "args": ["\x1b[2Jfast"], "egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]}
    document = program(WorkflowRuntimeSpec.model_validate(spec), {"code": SecretBindingSpec.model_validate(code)})
    return {"revision": digest(document), "program": document}


AGENT: Final = {
    "uid": "7f3f6c2e-0000-4000-8000-000000000002",
    "principal": "rt-agent-0123456789",
    **running("registry.example/agent:1"),
}
REVISION: Final = AGENT["revision"]
LATER: Final = {**AGENT, **running("registry.example/agent:2")}
OTHER: Final = {**AGENT, "uid": "7f3f6c2e-0000-4000-8000-000000000003", "principal": "rt-other-0123456789"}


@pytest.fixture(scope="module")
def acme(new_tenant: NewTenant) -> Life:
    """With what the operator makes for two runtimes: a key, and an entry in the directory."""
    tenant = new_tenant({"vault": {"admins": ["/keepers"]}, "identity": {"mfa": "None"}})
    tenant.settle()
    for name, entry in (("agent", AGENT), ("other", OTHER)):
        admin(tenant, "POST", f"transit/keys/{entry['principal']}", {"type": "aes256-gcm96"})
        publish(tenant, name, entry)
    return tenant


@pytest.fixture(scope="module")
def alice(acme: Life) -> Person:
    return Realm(acme).user("alice")


@pytest.fixture(scope="module")
def bob(acme: Life) -> Person:
    return Realm(acme).user("bob")


@pytest.fixture(scope="module")
def ca_file(acme: Life, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the authorities of both servers."""
    bundle = tmp_path_factory.mktemp("ca") / "ca.crt"
    keycloak = acme.settings.keycloak_ca_file
    assert keycloak
    bundle.write_text(keycloak.read_text() + acme.bed.bao.ca_file.read_text())
    return bundle


@pytest.fixture(autouse=True)
def _nothing_there(acme: Life) -> None:
    """Each test begins without secrets and grants."""
    for folder in ("users", "grants"):
        for path in below(acme, f"kv/metadata/{folder}"):
            admin(acme, "DELETE", path)
    publish(acme, "agent", AGENT)


def admin(tenant: Life, method: str, path: str, body: Any = None) -> Any:
    """As an administrator of everything."""
    return tenant.bed.bao.admin(method, f"axon/{tenant.names.vault_namespace}", path, body)


def publish(tenant: Life, name: str, entry: Mapping[str, str]) -> None:
    """As the operator does, so that users know the runtime."""
    admin(tenant, "POST", f"kv/data/runtimes/{name}", {"data": entry})


def logins(tenant: Life) -> set[str]:
    """All that there are to the tenant's namespace."""
    found = tenant.bed.bao.look("LIST", f"axon/{tenant.names.vault_namespace}", "auth/token/accessors")
    return set((found or {}).get("keys") or ())


def below(tenant: Life, folder: str) -> Iterator[str]:
    """All metadata below it."""
    found = tenant.bed.bao.look("LIST", f"axon/{tenant.names.vault_namespace}", folder)
    for name in (found or {}).get("keys") or ():
        path = f"{folder}/{name}"
        if name.endswith("/"):
            yield from below(tenant, path.rstrip("/"))
        else:
            yield path


def decrypted(tenant: Life, entry: Mapping[str, str], ciphertext: str, *bound_to: str) -> Answer:
    """As the runtime does it, with its own key."""
    body = {"ciphertext": ciphertext, "associated_data": base64.b64encode("|".join(bound_to).encode()).decode()}
    home = f"axon/{tenant.names.vault_namespace}"
    return tenant.bed.bao.as_admin("POST", home, f"transit/decrypt/{entry['principal']}", body)


def opened(answer: Answer) -> Any:
    assert answer[0] == 200, answer
    return json.loads(base64.b64decode(answer[1]["data"]["plaintext"]))


class Ran:
    """What a command did."""

    def __init__(self, code: int, shown: Any) -> None:
        self.code, self.out, self.err = code, str(shown.out), str(shown.err)


class Cli:
    """The plugin as one user has it: no kubeconfig, only addresses."""

    def __init__(self, person: Person, ca_file: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        tenant = person.realm.tenant
        self.person, self._capsys = person, capsys
        self._token = folder / f"token-{person.name}"
        self.where = [
            *("--tenant", tenant.names.tenant),
            *("--openbao", tenant.bed.bao.address),
            *("--keycloak", str(tenant.settings.keycloak_url)),
            *("--namespace", f"axon/{tenant.names.vault_namespace}"),
            *("--ca", str(ca_file)),
        ]

    def __call__(self, command: str, *arguments: str, stdin: str = "") -> Ran:
        """With an access token, as scripts do."""
        self._token.write_text(self.person.tokens()["access_token"])
        return self.by_login(command, *arguments, "--token-file", str(self._token), stdin=stdin)

    def by_login(self, command: str, *arguments: str, stdin: str = "") -> Ran:
        """With a login of its own."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", io.StringIO(stdin))
            code = main(["--kubeconfig", os.devnull, "secret", command, *arguments, *self.where])
        return Ran(code, self._capsys.readouterr())

    def put(self, path: str = "github/token", **values: str) -> None:
        ran = self("put", path, "--from-json", "-", stdin=json.dumps(values or {"token": VALUE}))
        assert ran.code == 0, ran.err


NewCli = Callable[[Person], Cli]


@pytest.fixture
def cli(ca_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> NewCli:
    for name in [name for name in os.environ if name.startswith("AXON_")]:
        if name != "AXON_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return lambda person: Cli(person, ca_file, tmp_path, capsys)


# -- what a user does


def test_a_secret_is_kept_shown_listed_changed_and_removed(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    assert axon("list").out == "You have no secret.\n"
    assert axon("get", "github/token").code == 1
    kept = axon("put", "github/token", "token=-", stdin=f"{VALUE}\n")
    assert (kept.code, kept.out) == (0, "")
    assert "version 1" in kept.err
    assert axon("put", "github/token", "user=alice").code == 0
    assert json.loads(axon("get", "github/token").out) == {"token": VALUE, "user": "alice"}
    assert axon("get", "github/token", "-k", "token").out == VALUE
    assert "has no key other; it has token, user" in axon("get", "github/token", "-k", "other").err
    assert axon("list").out.splitlines() == ["PATH           ALLOWED TO", "github/token   -"]
    removed = axon("rm", "github/token")
    assert (removed.code, list(below(acme, "kv/metadata/users"))) == (0, [])
    assert "was not there" in axon("rm", "github/token").err
    # as before there was anything
    axon.put()
    assert axon("get", "github/token", "-k", "token").out == VALUE


def test_openbao_keeps_ciphertext_only_and_no_login_is_left(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    before = logins(acme)
    axon.put()
    assert axon("get", "github/token", "-k", "token").out == VALUE
    assert axon("get", "nothing").code == 1
    assert logins(acme) == before
    stored = admin(acme, "GET", f"kv/data/users/{alice.sub}/github/token")["data"]
    assert set(stored) == {"v", "key", "nonce", "ciphertext"}
    assert stored["v"] == 1
    assert stored["key"].startswith("vault:v1:")
    assert "hunter2" not in json.dumps(stored)
    assert b"hunter2" not in base64.b64decode(stored["ciphertext"])


def test_two_puts_at_the_same_time_lose_nothing(acme: Life, alice: Person, cli: NewCli, tmp_path: Path) -> None:
    axon = cli(alice)
    axon.put(first="1")
    token = tmp_path / "token"
    token.write_text(alice.tokens()["access_token"])
    codes = []

    def put(number: int) -> None:
        codes.append(
            main(["secret", "put", "github/token", f"key{number}={number}", "--token-file", str(token), *axon.where])
        )

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 4
    wanted = {"first": "1", **{f"key{number}": str(number) for number in range(4)}}
    axon._capsys.readouterr()
    assert json.loads(axon("get", "github/token").out) == wanted


def test_where_the_tenant_may_be_read_its_namespace_need_not_be_named(alice: Person, cli: NewCli) -> None:
    axon, server = cli(alice), alice.realm.tenant.bed.server
    at = axon.where.index("--namespace")
    del axon.where[at : at + 2]
    assert "name it with --namespace" in axon("list").err
    config = server.kubeconfig("secret-cli", server.kube.admin_token)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO(alice.tokens()["access_token"]))
        assert main(["--kubeconfig", str(config), "secret", "list", "--token-file", "-", *axon.where]) == 0
    assert axon._capsys.readouterr().out == "You have no secret.\n"


# -- consent


def test_a_runtime_gets_what_it_was_allowed_until_it_is_denied(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    axon.put()
    asked = axon("allow", "github/token", "agent")
    assert (asked.code, list(below(acme, "kv/metadata/grants"))) == (1, [])
    for shown in ("registry.example/agent:1", r"\u001b[2Jfast", "203.0.113.0/24 443", "PYTHONPATH", 'path: "code"'):
        assert shown in asked.err
    assert "its administrator may change all of it" in asked.err
    assert (
        f"For this revision, {REVISION}, and no other." in axon("allow", "github/token", "agent", "--this-revision").err
    )
    assert "--yes consents" in asked.err

    allowed = axon("allow", "github/token", "agent", "--yes", "--show")
    assert allowed.code == 0, allowed.err
    spec = SecretBindingSpec.model_validate(yaml.safe_load(allowed.out)["spec"])
    assert spec.source.grant
    assert (spec.source.grant.user, spec.source.grant.path) == (alice.sub, "github/token")
    grant = admin(acme, "GET", f"kv/data/grants/{AGENT['uid']}/{alice.sub}/github/token")["data"]
    assert set(grant) == {"ciphertext"}
    context = (acme.names.tenant, alice.sub, "github/token", AGENT["uid"])
    assert opened(decrypted(acme, AGENT, grant["ciphertext"], *context)) == {"token": VALUE}
    assert axon("list").out.splitlines()[1] == "github/token   agent"

    changed = axon("put", "github/token", "token=-", stdin="new")
    assert "still have the former value" in changed.err
    denied = axon("deny", "github/token", "agent")
    assert (denied.code, list(below(acme, "kv/metadata/grants"))) == (0, [])
    assert axon("list").out.splitlines()[1] == "github/token   -"
    assert "was not allowed" in axon("deny", "github/token", "agent").err


def test_consent_to_one_revision_is_for_that_one_and_deny_takes_all(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    axon.put()
    assert axon("allow", "github/token", "agent", "--yes").code == 0
    assert axon("allow", "github/token", "agent", "--yes", "--this-revision").code == 0
    lead, tail = f"kv/metadata/grants/{AGENT['uid']}", f"{alice.sub}/github/token"
    # the wider one is gone
    assert list(below(acme, "kv/metadata/grants")) == [f"{lead}.{REVISION}/{tail}"]
    publish(acme, "agent", LATER)
    assert axon("allow", "github/token", "agent", "--yes", "--this-revision").code == 0
    revisions = sorted((REVISION, LATER["revision"]))
    allowed = ", ".join(f"agent (only revision {revision})" for revision in revisions)
    assert axon("list").out.splitlines()[1] == f"github/token   {allowed}"
    assert axon("deny", "github/token", "agent").code == 0
    assert list(below(acme, "kv/metadata/grants")) == []
    # and a wider one takes the place of those
    assert axon("allow", "github/token", "agent", "--yes", "--this-revision").code == 0
    assert axon("allow", "github/token", "agent", "--yes").code == 0
    assert list(below(acme, "kv/metadata/grants")) == [f"{lead}/{tail}"]


def test_what_is_removed_is_granted_to_nobody_any_more(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    for path in ("github/token", "kept"):
        axon.put(path)
        for runtime in ("agent", "other"):
            assert axon("allow", path, runtime, "--yes").code == 0
    shown = json.loads(axon("list", "-o", "json").out)
    assert [(row["path"], sorted(g["runtime"] for g in row["allowed"])) for row in shown] == [
        ("github/token", ["agent", "other"]),
        ("kept", ["agent", "other"]),
    ]
    assert axon("rm", "github/token").code == 0
    assert {path.rpartition("/")[2] for path in below(acme, "kv/metadata/grants")} == {"kept"}


def test_a_runtime_that_is_not_there_is_allowed_nothing(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    axon.put()
    early = axon("allow", "github/token", "nobody", "--yes", "--show")
    assert (early.code, yaml.safe_load(early.out)["spec"]["runtimeRef"]) == (1, {"name": "nobody"})
    assert "has no runtime nobody. A runtime is there once a SecretBinding asks" in early.err
    publish(acme, "agent", {**AGENT, "principal": "rt-without-key"})
    refused = axon("allow", "github/token", "agent", "--yes")
    assert "has no key yet" in refused.err
    publish(acme, "agent", {**AGENT, "principal": f"user-{alice.sub}"})
    assert "not as the operator writes it" in axon("allow", "github/token", "agent", "--yes").err
    assert list(below(acme, "kv/metadata/grants")) == []


def test_a_forged_or_stale_entry_is_shown_to_nobody_and_allows_nothing(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    axon.put()
    for forged in (
        {"program": AGENT["program"].replace("agent:1", "harmless")},
        {"program": LATER["program"]},
        {"revision": LATER["revision"]},
        {"program": ""},
    ):
        publish(acme, "agent", {**AGENT, **forged})
        for more in ((), ("--this-revision",)):
            refused = axon("allow", "github/token", "agent", "--yes", *more)
            assert refused.code == 1
            assert "not what its revision stands for" in refused.err
            assert "image" not in refused.err
    assert list(below(acme, "kv/metadata/grants")) == []


# -- logging in


def opening(person: Person, monkeypatch: pytest.MonkeyPatch, *, consents: bool = True) -> None:
    """The user opens each link that the plugin shows, and confirms or refuses."""

    def tell(*lines: str) -> None:
        link = re.search(r"https://\S+", lines[0])
        assert link
        arrival = person.pages.open(link[0], person.at_a_browser, consents=consents)
        assert "consent" in arrival.seen, arrival

    monkeypatch.setattr(login, "tell", tell)


def test_a_login_with_a_code_that_is_confirmed_at_another_browser(
    alice: Person, cli: NewCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening(alice, monkeypatch)
    ran = cli(alice).by_login("list")
    assert (ran.code, ran.out) == (0, "You have no secret.\n"), ran.err


def test_a_login_that_is_refused_at_the_browser_ends(
    alice: Person, cli: NewCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening(alice, monkeypatch, consents=False)
    ran = cli(alice).by_login("list")
    assert (ran.code, ran.out) == (1, "")
    assert "refused at the browser" in ran.err


def test_a_login_with_a_browser_of_this_machine(alice: Person, cli: NewCli, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_browser(url: str) -> bool:
        threading.Thread(target=alice.pages.open, args=(url, alice.at_a_browser)).start()
        return True

    monkeypatch.setattr(webbrowser, "open", open_browser)
    ran = cli(alice).by_login("list", "--browser")
    assert (ran.code, ran.out) == (0, "You have no secret.\n"), ran.err


def test_a_code_that_somebody_else_brings_to_the_browser_login_is_not_taken(
    alice: Person, cli: NewCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who can reach the port logs the user in as somebody else, and gets what the user then keeps."""

    def open_browser(url: str) -> bool:
        redirect = re.search(r"127\.0\.0\.1%3A(\d+)", url)
        assert redirect
        forged = f"http://127.0.0.1:{redirect[1]}/callback?code=stolen&state=guessed"
        assert requests.get(forged, timeout=10).status_code == 200
        threading.Thread(target=alice.pages.open, args=(url, alice.at_a_browser)).start()
        return True

    monkeypatch.setattr(webbrowser, "open", open_browser)
    assert cli(alice).by_login("list", "--browser").code == 0


def test_a_login_that_is_kept_serves_the_commands_that_follow_until_logout(
    alice: Person, cli: NewCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    axon = cli(alice)
    assert "a login cannot be kept" in axon.by_login("login").err
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    assert axon.by_login("logout").out.startswith("There is no login")
    with monkeypatch.context() as patch:
        opening(alice, patch)
        ran = axon.by_login("login")
    assert (ran.code, alice.sub in ran.out) == (0, True), ran.err
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    refresh = file.read_text()
    assert axon.by_login("put", "github/token", "token=-", stdin=VALUE).code == 0
    assert axon.by_login("get", "github/token", "-k", "token").out == VALUE
    assert axon.by_login("logout").code == 0
    assert list(folder.iterdir()) == []
    form = {"grant_type": "refresh_token", "client_id": USERS_CLIENT, "refresh_token": refresh}
    refused = token_request(alice, form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def token_request(person: Person, form: Mapping[str, str], path: str = "token") -> requests.Response:
    url = f"{person.realm.url}/protocol/openid-connect/{path}"
    return requests.post(url, data=form, verify=str(person.realm.tenant.settings.keycloak_ca_file), timeout=30)


@pytest.mark.parametrize("verifier", [{}, {"code_verifier": "v" * 64}], ids=["none", "a wrong one"])
def test_a_device_code_is_of_no_use_without_the_programs_own_verifier(alice: Person, verifier: dict[str, str]) -> None:
    without = token_request(alice, {"client_id": USERS_CLIENT}, "auth/device")
    assert without.status_code == 400, "PKCE is demanded"
    challenge = {"code_challenge": "x" * 43, "code_challenge_method": "S256"}
    begun = token_request(alice, {"client_id": USERS_CLIENT, **challenge}, "auth/device").json()
    alice.pages.open(begun["verification_uri_complete"], alice.at_a_browser)
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": USERS_CLIENT,
        "device_code": begun["device_code"],
    }
    answer = token_request(alice, {**form, **verifier})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), answer.text


def test_only_an_access_token_for_openbao_is_taken(alice: Person, cli: NewCli, tmp_path: Path) -> None:
    axon, file = cli(alice), tmp_path / "other"
    alice.realm.client("portal", "audience")
    others = {"ID token": alice.tokens()["id_token"], "another client's": alice.tokens("portal")["access_token"]}
    for name, token in others.items():
        file.write_text(token)
        ran = axon.by_login("list", "--token-file", str(file))
        assert ran.code == 1, name
        assert "does not accept the login" in ran.err
        assert token not in ran.err


def test_no_token_goes_to_a_server_that_does_not_prove_its_identity(alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    axon.where[-1] = str(alice.realm.tenant.bed.server.kube.ca_file)
    ran = axon("list")
    assert ran.code == 1
    assert "did not prove its identity" in ran.err


# -- attacks


def tried(session: Session, method: str, path: str, body: Any = None) -> int:
    """The status of a request that is sent as it is written: no client folds its dots."""
    bao = session.tenant.bed.bao
    headers = {
        "X-Vault-Namespace": f"axon/{session.tenant.names.vault_namespace}",
        "X-Vault-Token": session.token,
        "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json",
    }
    request = requests.Request(method, bao.address, headers=headers, data=json.dumps(body) if body else None).prepare()
    request.url = f"{bao.address}/v1/{path}"
    with requests.Session() as http:
        http.trust_env = False
        return http.send(request, verify=str(bao.ca_file), timeout=10, allow_redirects=False).status_code


def everything_of(sub: str) -> list[tuple[str, str, Any]]:
    """All ways to somebody's secret, key and grants."""
    secret, grant, bound = f"users/{sub}/github/token", f"grants/{AGENT['uid']}/{sub}/github/token", f"grants/{AGENT['uid']}.{REVISION}/{sub}/github/token"  # fmt: skip
    key = f"user-{sub}"
    ways: list[tuple[str, str, Any]] = []
    for at in (secret, grant, bound):
        ways += [
            ("GET", f"kv/data/{at}", None),
            ("GET", f"kv/data/{at}?version=1", None),
            ("GET", f"kv/subkeys/{at}", None),
            ("POST", f"kv/data/{at}", {"data": {"ciphertext": "forged"}}),
            ("POST", f"kv/data/{at}", {"data": {"ciphertext": "forged"}, "options": {"cas": 1}}),
            ("PATCH", f"kv/data/{at}", {"data": {"ciphertext": "forged"}}),
            ("DELETE", f"kv/data/{at}", None),
            ("POST", f"kv/delete/{at}", {"versions": [1]}),
            ("POST", f"kv/undelete/{at}", {"versions": [1]}),
            ("POST", f"kv/destroy/{at}", {"versions": [1]}),
            ("GET", f"kv/metadata/{at}", None),
            ("POST", f"kv/metadata/{at}", {"max_versions": 1}),
            ("DELETE", f"kv/metadata/{at}", None),
            ("LIST", f"kv/metadata/{at.rpartition('/')[0]}", None),
            ("LIST", f"kv/metadata/{at.partition(sub)[0]}{sub}", None),
            ("SCAN", f"kv/metadata/{at.partition(sub)[0]}{sub}", None),
        ]
    ways += [
        ("LIST", "kv/metadata/users", None),
        ("SCAN", "kv/metadata/users", None),
        ("SCAN", "kv/metadata/grants", None),
        ("LIST", f"kv/metadata/grants/{AGENT['uid']}", None),
        ("GET", f"transit/keys/{key}", None),
        ("GET", f"transit/export/encryption-key/{key}", None),
        ("GET", f"transit/backup/{key}", None),
        ("POST", f"transit/keys/{key}", {"type": "aes256-gcm96", "auto_rotate_period": "2592000s"}),
        ("POST", f"transit/keys/{key}/rotate", {}),
        ("POST", f"transit/keys/{key}/config", {"deletion_allowed": True}),
        ("DELETE", f"transit/keys/{key}", None),
        ("DELETE", f"transit/keys/{key}/soft-delete", None),
        *(
            ("POST", f"transit/{verb}/{key}", {"plaintext": "YQ==", "ciphertext": "vault:v1:AAAA", "input": "YQ=="})
            for verb in ("encrypt", "decrypt", "rewrap", "datakey/plaintext", "datakey/wrapped", "hmac", "sign")
        ),
    ]
    return ways


def test_another_user_reaches_a_secret_and_its_grants_by_no_path(
    acme: Life, alice: Person, bob: Person, cli: NewCli
) -> None:
    hers, his = cli(alice), cli(bob)
    hers.put()
    his.put(token="bob's")
    for more in ((), ("--this-revision",)):
        assert hers("allow", "github/token", "agent", "--yes", *more).code == 0
        assert his("allow", "github/token", "agent", "--yes", *more).code == 0
        before = _all(acme, alice)
        session = bob.log_in()
        for method, path, body in everything_of(alice.sub):
            status = tried(session, method, path, body)
            assert status in {403, 405}, f"{method} {path}: {status}"
        assert _all(acme, alice) == before
    assert hers("get", "github/token", "-k", "token").out == VALUE


def _all(tenant: Life, person: Person) -> list[Any]:
    paths = [*below(tenant, "kv/metadata/users"), *below(tenant, "kv/metadata/grants")]
    own = [path for path in paths if person.sub in path]
    assert len(own) >= 2
    return [admin(tenant, "GET", path) for path in own]


def test_an_org_admin_reads_neither_users_folders_nor_grants(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    axon.put()
    assert axon("allow", "github/token", "agent", "--yes").code == 0
    session = Realm(acme).user("keeper", "/keepers").log_in("org-admin")
    for method, path, body in everything_of(alice.sub):
        assert tried(session, method, path, body) in {403, 405}, f"{method} {path}"
    for method, path in (("LIST", "kv/metadata/grants"), ("LIST", "kv/metadata/runtimes")):
        assert session.call(method, path)[0] == 403, path
    assert session.call("POST", f"transit/encrypt/{AGENT['principal']}", {"plaintext": "YQ=="})[0] == 403


def test_a_ciphertext_that_is_moved_to_another_path_does_not_decrypt(acme: Life, alice: Person, cli: NewCli) -> None:
    """By somebody who may write there, an administrator say: a harmless secret must not take another one's place."""
    axon = cli(alice)
    axon.put("github/token")
    axon.put("harmless", word="yes")
    for source, target in (("github/token", "harmless"), ("github/token", "new")):
        moved = admin(acme, "GET", f"kv/data/users/{alice.sub}/{source}")["data"]
        admin(acme, "POST", f"kv/data/users/{alice.sub}/{target}", {"data": moved})
        for command in (("get", target), ("put", target, "x=y"), ("allow", target, "agent", "--yes")):
            ran = axon(*command)
            assert (ran.code, ran.out) == (1, ""), command
            assert "does not decrypt" in ran.err
            assert "hunter2" not in ran.err
    assert list(below(acme, "kv/metadata/grants")) == []
    # the way out that the message names
    assert axon("rm", "harmless").code == 0


def test_a_ciphertext_that_is_moved_to_another_users_folder_does_not_decrypt(
    acme: Life, alice: Person, bob: Person, cli: NewCli
) -> None:
    cli(alice).put()
    his = cli(bob)
    his.put("own", word="yes")
    stolen = admin(acme, "GET", f"kv/data/users/{alice.sub}/github/token")["data"]
    admin(acme, "POST", f"kv/data/users/{bob.sub}/github/token", {"data": stolen})
    ran = his("get", "github/token")
    assert (ran.code, ran.out) == (1, "")
    assert "does not decrypt" in ran.err
    # with a key that he can open, and her text
    own = admin(acme, "GET", f"kv/data/users/{bob.sub}/own")["data"]
    admin(acme, "POST", f"kv/data/users/{bob.sub}/github/token", {"data": {**stolen, "key": own["key"]}})
    assert "does not decrypt" in his("get", "github/token").err


def test_a_grant_that_is_copied_to_another_runtime_does_not_decrypt_there(
    acme: Life, alice: Person, bob: Person, cli: NewCli
) -> None:
    axon = cli(alice)
    axon.put()
    assert axon("allow", "github/token", "agent", "--yes").code == 0
    ciphertext = admin(acme, "GET", f"kv/data/grants/{AGENT['uid']}/{alice.sub}/github/token")["data"]["ciphertext"]
    tenant = acme.names.tenant
    right = (tenant, alice.sub, "github/token", AGENT["uid"])
    assert opened(decrypted(acme, AGENT, ciphertext, *right)) == {"token": VALUE}
    for entry, bound_to in (
        (OTHER, right),
        (OTHER, (*right[:3], OTHER["uid"])),
        # a runtime that was made anew under the same name, if it had the same key
        (AGENT, (*right[:3], OTHER["uid"])),
        # as another secret, as another user's, as another tenant's
        (AGENT, (tenant, alice.sub, "aws/root", AGENT["uid"])),
        (AGENT, (tenant, bob.sub, "github/token", AGENT["uid"])),
        (AGENT, ("globex", *right[1:])),
        (AGENT, right[:3]),
    ):
        assert decrypted(acme, entry, ciphertext, *bound_to)[0] == 400, bound_to


def test_a_user_forges_no_grant_in_another_users_name(acme: Life, alice: Person, bob: Person, cli: NewCli) -> None:
    cli(alice).put()
    session = bob.log_in()
    # encrypting for her is open to all, so it is the place that says whose a grant is
    context = base64.b64encode(f"{acme.names.tenant}|{alice.sub}|github/token|{AGENT['uid']}".encode()).decode()
    body = {"plaintext": base64.b64encode(b'{"token": "bob-s"}').decode(), "associated_data": context}
    status, answer = session.call("POST", f"transit/encrypt/{AGENT['principal']}", body)
    assert status == 200
    forged = {"data": {"ciphertext": answer["data"]["ciphertext"]}}
    hers = f"{alice.sub}/github/token"
    for folder in (AGENT["uid"], f"{AGENT['uid']}.{REVISION}", "x"):
        for path in (hers, *(f"{bob.sub}/{trick}/{hers}" for trick in ("..", "%2e%2e", "x/../..", "/.."))):
            for method in ("POST", "PUT", "PATCH"):
                at = f"kv/data/grants/{folder}/{path}"
                # of dots it says where they lead, and there it is refused
                assert tried(session, method, at, forged) in {307, 400, 403}, at
    assert list(below(acme, "kv/metadata/grants")) == []
    # what he writes in his own name is bound to hers, so it is of no use
    at = f"grants/{AGENT['uid']}/{bob.sub}/github/token"
    assert session.call("POST", f"kv/data/{at}", forged)[0] == 200
    his = (acme.names.tenant, bob.sub, "github/token", AGENT["uid"])
    assert decrypted(acme, AGENT, forged["data"]["ciphertext"], *his)[0] == 400


def test_a_user_decrypts_nothing_with_a_runtimes_key(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    axon.put()
    assert axon("allow", "github/token", "agent", "--yes").code == 0
    session = alice.log_in()
    key = AGENT["principal"]
    for method, path in (
        *(("POST", f"transit/{verb}/{key}") for verb in ("decrypt", "rewrap", "datakey/plaintext", "hmac", "sign")),
        ("POST", f"transit/keys/{key}"),
        ("POST", f"transit/keys/{key}/config"),
        ("GET", f"transit/keys/{key}"),
        ("GET", f"transit/export/encryption-key/{key}"),
        ("DELETE", f"transit/keys/{key}"),
    ):
        body = {"ciphertext": "vault:v1:AAAA", "plaintext": "YQ=="} if method == "POST" else None
        assert session.call(method, path, body)[0] == 403, path
    # and none is made by encrypting
    assert session.call("POST", "transit/encrypt/rt-new", {"plaintext": "YQ=="})[0] != 200


def test_a_user_changes_nothing_in_the_directory_of_runtimes(acme: Life, alice: Person) -> None:
    """Who could, would have others encrypt for a key of their own."""
    session = alice.log_in()
    assert session.call("GET", "kv/data/runtimes/agent")[1]["data"]["data"] == AGENT
    assert session.call("LIST", "kv/metadata/runtimes")[1]["data"]["keys"] == ["agent", "other"]
    for method, path, body in (
        ("POST", "kv/data/runtimes/agent", {"data": OTHER}),
        ("PATCH", "kv/data/runtimes/agent", {"data": OTHER}),
        ("POST", "kv/data/runtimes/new", {"data": OTHER}),
        ("DELETE", "kv/data/runtimes/agent", None),
        ("DELETE", "kv/metadata/runtimes/agent", None),
        ("POST", "kv/metadata/runtimes/agent", {"max_versions": 1}),
        ("POST", "kv/destroy/runtimes/agent", {"versions": [1]}),
    ):
        assert tried(session, method, path, body) in {403, 405}, f"{method} {path}"


def test_odd_names_that_another_user_writes_disturb_nobody(acme: Life, alice: Person, bob: Person, cli: NewCli) -> None:
    axon, session = cli(alice), bob.log_in()
    axon.put()
    assert axon("allow", "github/token", "agent", "--yes").code == 0
    for folder in ("x", "a%20b", f"{AGENT['uid']}.x", AGENT["uid"].upper()):
        status = session.call("POST", f"kv/data/grants/{folder}/{bob.sub}/x", {"data": {"x": "y"}})[0]
        assert status == 200, folder
    assert axon("list").out.splitlines()[1:] == ["github/token   agent"]
    assert axon("deny", "github/token", "agent").code == 0
    assert axon("list").out.splitlines()[1:] == ["github/token   -"]


def test_nothing_secret_is_in_what_a_command_says_when_it_fails(acme: Life, alice: Person, cli: NewCli) -> None:
    axon = cli(alice)
    axon.put()
    failing = [
        axon("get", "github/token", "-k", "other"),
        axon("allow", "github/token", "nobody", "--yes"),
        axon("put", "github/token", "--from-json", "-", stdin=f'{{"token": ["{VALUE}"]}}'),
    ]
    axon.where[axon.where.index("--namespace") + 1] = "axon/t-0000000000000000"
    failing.append(axon("put", "github/token", "token=-", stdin=VALUE))
    for ran in failing:
        assert ran.code == 1
        assert VALUE not in ran.out + ran.err
        assert "eyJ" not in ran.err, "a token"


def test_a_suspended_tenants_user_is_told_so(new_tenant: NewTenant, cli: NewCli) -> None:
    tenant = new_tenant({"identity": {"mfa": "None"}})
    tenant.settle()
    person = Realm(tenant).user("carol")
    axon = cli(person)
    axon.put()
    token = person.tokens()["access_token"]
    tenant.edit(TENANT, tenant.names.tenant, {"suspended": True})
    tenant.settle()
    assert log_in(tenant, token)[0] == 503
    axon._token.write_text(token)
    ran = axon.by_login("get", "github/token", "--token-file", str(axon._token))
    assert (ran.code, ran.out) == (1, "")
    assert "suspended" in ran.err
