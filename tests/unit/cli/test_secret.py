"""A user's secrets without servers: the envelope, names and paths, what is said before anything is sent, what is kept."""

import base64
import io
import json
import os
import socket
import stat
import threading
import uuid
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.cli.cluster import CommandError
from axon_operator.cli.main import main
from axon_operator.cli.secret.commands import _binding
from axon_operator.cli.secret.envelope import Envelope, SealedError, seal, unseal
from axon_operator.cli.secret.http import Answer, Server
from axon_operator.cli.secret.kept import kept
from axon_operator.cli.secret.login import Realm, user_of
from axon_operator.cli.secret.openbao import OpenBao
from axon_operator.cli.secret.paths import Owner, Runtime, is_secret_path
from axon_operator.cli.secret.store import Secrets
from axon_operator.cli.secret.terminal import on_output, outlined, visible
from axon_operator.domain.consent import context, digest, program

SUB = "7f3f6c2e-0000-4000-8000-00000000000a"
UID = "7f3f6c2e-0000-4000-8000-000000000002"
OWNER = Owner("acme", SUB)
PROGRAM = program(
    WorkflowRuntimeSpec.model_validate(
        {
            "image": "registry.example/agent:1",
            "command": ["python"],
            "args": ["-m", "agent"],
            "env": [{"name": "MODE", "value": "fast"}],
            "connections": [{"runtime": "other", "port": 8080}],
            "egress": [{"cidr": "203.0.113.0/24", "ports": [443]}],
        }
    ),
    {
        "github": SecretBindingSpec.model_validate(
            {
                "runtimeRef": {"name": "agent"},
                "source": {"grant": {"user": SUB, "path": "github/token"}},
                "delivery": {"proxy": {"host": "api.github.com", "localPort": 8081, "key": "token"}},
                "egress": [{"cidr": "198.51.100.0/24", "ports": [443]}],
            }
        )
    },
)
ENTRY = {
    "uid": UID,
    "principal": "rt-agent-0123456789",
    "revision": digest(PROGRAM),
    "program": PROGRAM,
}
WHERE = ("--tenant", "acme", "--openbao", "https://127.0.0.1:1", "--keycloak", "https://127.0.0.1:1", "--namespace", "axon/t-1")  # fmt: skip

keys = st.binary(min_size=32, max_size=32)
nonces = st.binary(min_size=12, max_size=12)
values = st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=5)
segments = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,10}", fullmatch=True)
paths = st.lists(segments, min_size=1, max_size=4).map("/".join)
owners = st.builds(Owner, st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True), st.uuids().map(str))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and nothing of who runs the tests counts."""
    for name in [name for name in os.environ if name.startswith("AXON_") or name == "XDG_RUNTIME_DIR"]:
        monkeypatch.delenv(name)

    def refuse(*_: Any) -> None:
        pytest.fail("something was to be sent")

    monkeypatch.setattr(socket.socket, "connect", refuse)


# -- the envelope


@given(values, keys, nonces, owners, paths)
def test_what_is_sealed_opens_again(wanted: dict[str, str], key: bytes, nonce: bytes, owner: Owner, path: str) -> None:
    stored = json.loads(json.dumps(seal(wanted, key, "vault:v1:x", nonce, owner.bound_to(path)).to_json()))
    assert set(stored) == {"v", "key", "nonce", "ciphertext"}
    assert unseal(Envelope.from_json(stored), key, owner.bound_to(path)) == wanted


@given(values, keys, st.tuples(owners, paths), st.tuples(owners, paths))
def test_a_ciphertext_that_was_moved_to_another_path_or_user_does_not_open(
    wanted: dict[str, str], key: bytes, home: tuple[Owner, str], away: tuple[Owner, str]
) -> None:
    nonce, (owner, path), (other, elsewhere) = bytes(12), home, away
    sealed = seal(wanted, key, "", nonce, owner.bound_to(path))
    for bound_to in {other.bound_to(path), owner.bound_to(elsewhere), context(owner.tenant, owner.sub, path, UID), b""}:
        if bound_to != owner.bound_to(path):
            with pytest.raises(SealedError):
                unseal(sealed, key, bound_to)


@given(values, values, keys, keys, nonces)
def test_a_ciphertext_that_was_swapped_for_another_ones_does_not_open(
    one: dict[str, str], two: dict[str, str], key: bytes, other_key: bytes, nonce: bytes
) -> None:
    bound_to = OWNER.bound_to("a")
    first, second = seal(one, key, "k1", nonce, bound_to), seal(two, other_key, "k2", nonce, bound_to)
    if key != other_key:
        with pytest.raises(SealedError):
            unseal(Envelope(first.key, first.nonce, second.ciphertext), key, bound_to)
    with pytest.raises(SealedError):
        unseal(Envelope(first.key, bytes(12 * [nonce[0] ^ 1]), first.ciphertext), key, bound_to)


@given(values, keys, nonces, st.data())
def test_one_bit_that_was_changed_is_found(wanted: dict[str, str], key: bytes, nonce: bytes, data: Any) -> None:
    sealed = seal(wanted, key, "", nonce, OWNER.bound_to("a"))
    changed = bytearray(sealed.ciphertext)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealedError):
        unseal(Envelope("", nonce, bytes(changed)), key, OWNER.bound_to("a"))


@pytest.mark.parametrize(
    "stored",
    [
        None,
        {},
        [],
        "x",
        {"v": 2, "key": "k", "nonce": "", "ciphertext": ""},
        {"v": 1, "key": "k", "nonce": 1, "ciphertext": ""},
        {"v": 1, "key": "k", "nonce": "not base64!", "ciphertext": ""},
        {"v": 1, "key": "k", "nonce": "", "ciphertext": "é"},
        {"v": 1, "key": "k", "nonce": "AAAA", "ciphertext": "AAAA"},
        {"v": 1, "key": "k", "nonce": "AAAAAAAAAAAAAAAA", "ciphertext": ""},
    ],
    ids=str,
)
def test_what_is_no_envelope_does_not_open(stored: Any) -> None:
    with pytest.raises(SealedError):
        unseal(Envelope.from_json(stored), bytes(32), b"")


@given(owners, paths, owners, paths)
def test_two_places_never_share_their_associated_data(one: Owner, path: str, two: Owner, other: str) -> None:
    assert (one.bound_to(path) == two.bound_to(other)) == ((one, path) == (two, other))
    assert one.bound_to(path) != context(two.tenant, two.sub, other, UID)


# -- names and paths

TRICKS = [
    "", "/", ".", "..", "a/..", "../b", "a/../b", "a//b", "/a", "a/", "a/./b", "a..b", "+", "a/+", "*", "a*", "a/*",
    "{{identity.entity.id}}", "{{user}}", "a b", "a%2fb", "%2e%2e", "a\\b", "a?version=1", "a#b", "a\n", "a\x00", "ä",
    "-a", ".a", "a|b", "x" * 201,
]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
@pytest.mark.parametrize("command", ["put", "get", "rm", "allow", "deny"])
def test_a_path_that_could_mean_another_one_is_refused_before_anything_is_sent(
    command: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = ["agent"] if command in {"allow", "deny"} else []
    with pytest.raises(SystemExit) as ended:
        main(["secret", command, *WHERE, "--", path, *runtime])
    assert ended.value.code == 2
    assert "a path is made of" in capsys.readouterr().err


@pytest.mark.parametrize("runtime", [*TRICKS, "a/b", "Agent", "a.b", "a_b", "rt-x/", "x" * 41])
@pytest.mark.parametrize("command", ["allow", "deny"])
def test_a_runtime_that_could_mean_another_path_is_refused_before_anything_is_sent(
    command: str, runtime: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["secret", command, *WHERE, "--", "github/token", runtime])
    assert ended.value.code == 2
    assert "this is not the name of a WorkflowRuntime" in capsys.readouterr().err


@given(st.text(max_size=40))
def test_any_path_that_is_accepted_is_sent_as_it_is(text: str) -> None:
    if is_secret_path(text):
        assert ".." not in text
        assert all(segment and segment.isascii() and segment[0] not in ".-" for segment in text.split("/"))
        assert set(text).isdisjoint("+*{}%?#\\ \n\t|")


@pytest.mark.parametrize(
    "changed",
    [
        {"uid": "../../x"},
        {"uid": None},
        {"principal": "user-x"},
        {"principal": "rt-x/../user-y"},
        {"principal": "rt-"},
        {"revision": "../x"},
        {"revision": "0123456789ab"},
        {"revision": 64 * "A"},
    ],
    ids=str,
)
def test_an_entry_of_the_directory_that_the_operator_did_not_write_is_not_used(changed: dict[str, Any]) -> None:
    assert Runtime.from_entry("agent", ENTRY) is not None
    assert Runtime.from_entry("agent", {**ENTRY, **changed}) is None
    assert Runtime.from_entry("agent", "x") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"program": PROGRAM.replace("agent:1", "agent:2")},
        {"program": PROGRAM.replace("api.github.com", "attacker.example")},
        {"program": f"{PROGRAM} "},
        {"program": None},
        {"revision": digest("")},
        {"program": "", "revision": digest("")},
        {"program": "[]", "revision": digest("[]")},
    ],
    ids=str,
)
def test_a_forged_or_stale_entry_is_refused_before_anybody_is_asked(changed: dict[str, Any]) -> None:
    runtime = Runtime.from_entry("agent", {**ENTRY, **changed})
    assert runtime
    with pytest.raises(CommandError, match="not what its revision stands for"):
        runtime.program()


def test_all_that_a_revision_stands_for_is_shown() -> None:
    runtime = Runtime.from_entry("agent", ENTRY)
    assert runtime
    assert list(outlined(runtime.program())) == [
        'image: "registry.example/agent:1"',
        'command: ["python"]',
        'args: ["-m", "agent"]',
        "env:",
        '  MODE: "fast"',
        'connections: ["other:8080"]',
        'egress: ["203.0.113.0/24 443"]',
        "bindings:",
        "  github:",
        "    delivery:",
        "      proxy:",
        '        header: "authorization"',
        '        host: "api.github.com"',
        '        key: "token"',
        "        localPort: 8081",
        "        port: 443",
        '        prefix: ""',
        '    egress: ["198.51.100.0/24 443"]',
        "    source:",
        "      grant:",
        "        keys: []",
        '        path: "github/token"',
        f'        user: "{SUB}"',
    ]


CONTROLS = "\x00\x07\x1b\r\n\t\x7f\x80\x85\x9b\u2028\u202e\u200b\U000e0001"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from(CONTROLS))))
def test_what_others_wrote_does_nothing_to_a_terminal(text: str) -> None:
    assert visible(text).isprintable()
    assert json.loads(f'"{visible(json.dumps(text, ensure_ascii=False)[1:-1])}"') == text
    for line in outlined({text: text, "below": {text: [text, {text: text}]}}):
        assert line.isprintable()


def test_a_line_in_a_programs_text_is_not_taken_for_one_of_ours() -> None:
    assert list(outlined({"env": {"A": "1\nimage: harmless\x9b2K"}})) == [
        "env:",
        r'  A: "1\nimage: harmless\u009b2K"',
    ]


@pytest.mark.parametrize(("terminal", "shown"), [(True, "a\\u001b[2J\nb\\u009bc"), (False, "a\x1b[2J\nb\x9bc")])
def test_values_are_as_they_are_for_a_program_and_harmless_for_a_terminal(
    terminal: bool, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert on_output("a\x1b[2J\nb\x9bc") == shown


def test_what_keycloak_says_does_nothing_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"verification_uri": "https://k/\x1b]0;x", "user_code": "AB\x9b2J", "device_code": "d", "expires_in": 0}
    monkeypatch.setattr(Server, "send", lambda *_, **__: Answer(200, told))
    with pytest.raises(CommandError, match="not confirmed in time"):
        Realm("https://k", "").by_device()
    shown = capsys.readouterr().err
    assert all(line.isprintable() for line in shown.splitlines())
    assert r"AB\u009b2J" in shown


class Grants:
    """An OpenBao in memory, as far as grants are concerned."""

    def __init__(self, *grants: str) -> None:
        self.grants = [f"kv/metadata/grants/{grant}" for grant in grants]
        self.calls: list[str] = []

    def read(self, path: str) -> dict[str, Any] | None:
        self.calls.append(f"read {path}")
        return {"current_version": 1} if path in self.grants else None

    def list(self, path: str) -> list[str]:
        self.calls.append(f"list {path}")
        below = (grant.removeprefix(f"{path}/").partition("/") for grant in self.grants)
        return sorted({f"{first}/" for first, _, _ in below})

    def delete(self, path: str) -> None:
        self.calls.append(f"delete {path}")
        self.grants = [grant for grant in self.grants if grant != path]


def test_thousands_of_folders_that_another_user_made_do_not_hold_up_a_denial() -> None:
    runtime = Runtime.from_entry("agent", ENTRY)
    assert runtime
    former = digest("former")
    hers = [f"{UID}{revision}/{SUB}/github/token" for revision in ("", f".{runtime.revision}", f".{former}")]
    openbao = Grants(*hers, *(f"{UID}.{digest(str(n))}/{UID}/x" for n in range(100)))
    secrets = Secrets(cast("OpenBao", openbao), OWNER)
    assert secrets.deny("github/token", runtime)
    assert not [grant for grant in openbao.grants if SUB in grant]
    counting = [openbao.calls.index(f"delete kv/metadata/grants/{grant}") for grant in hers[:2]]
    assert max(counting) < openbao.calls.index("list kv/metadata/grants")
    assert not secrets.deny("github/token", runtime)


def test_a_runtime_for_which_nothing_is_asked_is_told_with_what_comes_first() -> None:
    with pytest.raises(CommandError, match=r"SecretBinding.*source\.grant.*--show"):
        Secrets(cast("OpenBao", Grants()), OWNER).runtime("agent")


# -- who one is


def token(**payload: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


def test_the_user_is_the_sub_of_the_token() -> None:
    assert user_of(token(sub=SUB)) == SUB


@pytest.mark.parametrize(
    "access",
    ["", "x", "a.b", "a.b.c", "a.!.c", "e30.e30.e30", token(sub="../org"), token(sub="*"), token(sub=1), token(sub=f"{SUB}\n"), f"{token(sub=SUB)}\r\nX: y"],
)  # fmt: skip
def test_a_token_without_a_users_id_is_refused(access: str) -> None:
    with pytest.raises(CommandError, match="no access token"):
        user_of(access)


def test_what_is_kept_is_the_users_alone_and_goes_without_trace(runtime_dir: Path) -> None:
    with kept("https://k/realms/a") as file:
        assert file
        assert file.read() == ""
        file.write("a longer token")
        file.write("token")
        assert file.read() == "token"
    (path,) = runtime_dir.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with kept("https://other/realms/a") as other:
        assert other
        assert other.read() == ""
        other.forget()
    with kept("https://k/realms/a") as file:
        assert file
        assert file.read() == "token"
        assert [p.name for p in runtime_dir.iterdir()] == [path.name], "nothing is left of who kept nothing"
        file.forget()
    assert list(runtime_dir.iterdir()) == []


@pytest.fixture
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.mark.usefixtures("runtime_dir")
def test_commands_at_the_same_time_have_the_kept_login_one_after_the_other() -> None:
    """Also while one of them removes the file for which others wait."""

    def count(times: int) -> None:
        for _ in range(times):
            with kept("https://k") as file:
                assert file
                number = int(file.read() or 0) + 1
                file.forget()
                with kept("https://other") as other:
                    assert other
                file.write(str(number))

    threads = [threading.Thread(target=count, args=(25,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with kept("https://k") as file:
        assert file
        assert file.read() == "200"


def test_nothing_is_kept_where_others_can_look(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime_dir.chmod(0o750)
    with kept("https://k") as file:
        assert file is None
    runtime_dir.chmod(0o700)
    link = runtime_dir.with_name("link")
    link.symlink_to(runtime_dir)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(link))
    with kept("https://k") as file:
        assert file is None


def test_nothing_is_kept_through_a_link_that_somebody_laid(runtime_dir: Path, tmp_path: Path) -> None:
    with kept("https://k") as file:
        assert file
        (path,) = runtime_dir.iterdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandError, match="remove it"), kept("https://k"):
        pass
    assert not (tmp_path / "elsewhere").exists()


# -- what is said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--tenant (or AXON_TENANT), --openbao (or AXON_OPENBAO), --keycloak (or AXON_KEYCLOAK)"),
        ([*WHERE, "--tenant", "Not/AName"], "not the name of a Tenant"),
        ([*WHERE, "--openbao", "http://openbao.example"], "--openbao has to begin with https://"),
        ([*WHERE, "--keycloak", "https://a@keycloak.example"], "--keycloak has to be"),
        ([*WHERE, "--namespace", "../root"], "such as axon/t-"),
        ([*WHERE, "--ca", "/nowhere"], "there is no file /nowhere"),
        ([*WHERE[:6], "--token-file", "x"], "name it with --namespace (or AXON_NAMESPACE)"),
        ([*WHERE, "--token-file", "/nowhere"], "/nowhere cannot be read"),
    ],
    ids=str,
)
def test_what_is_missing_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--kubeconfig", str(tmp_path / "none"), "secret", "list", *arguments]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is no value"),
        (["token"], "write KEY=-"),
        (["../x=1"], "write KEY=-"),
        (["a=-", "b=-"], "standard input can be read for one thing only"),
        (["a=-", "--token-file", "-"], "standard input can be read for one thing only"),
        (["--from-json", "-"], "--from-json needs one JSON object"),
        (["--from-json", "/nowhere"], "/nowhere cannot be read"),
    ],
    ids=str,
)
def test_a_put_that_is_not_understood_is_refused_and_repeats_no_value(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": ["hunter2"]}'))
    assert main(["secret", "put", *WHERE, "github/token", *arguments]) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert "hunter2" not in shown


@given(st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True), paths)
def test_the_binding_that_is_shown_is_a_valid_one(name: str, path: str) -> None:
    shown = yaml.safe_load(yaml.safe_dump(_binding(Owner("acme", str(uuid.UUID(SUB))), path, name)))
    spec = SecretBindingSpec.model_validate(shown["spec"])
    assert spec.source.grant
    assert (spec.source.grant.user, spec.source.grant.path, spec.runtime_ref.name) == (SUB, path, name)
    assert len(shown["metadata"]["name"]) <= 40
