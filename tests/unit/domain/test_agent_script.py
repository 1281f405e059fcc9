"""The sidecar's script itself, in a real shell. `bao` is a stand-in that notes what it is asked; time runs fast."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from axon_operator.domain import agent

SECOND = 0.005
"""Of the script, in seconds."""
POD = "00000000-0000-4000-8000-000000000001"
RECORD = f"write runtime-status/rt/{POD}"

BAO = r"""#!/bin/sh
# $STEER: away (OpenBao gives no answer), mute (it gives the agent no login), taken (tokens that are not good), leased and missing (files),
# empty (files whose values do not fit), login, render and exit (what the agent is to do now)
login() { echo >>"$STEER/logins"; printf 'token-%s' "$(wc -l <"$STEER/logins")" >"$WORK/.tokens/h"
  mv "$WORK/.tokens/h" "$WORK/.tokens/held"; }
render() { read -r revision <"$CONFIG/..data/revision"
  while read -r file; do
    grep -qx "$file" "$STEER/missing" && continue
    mkdir -p "$WORK/$revision/${file%/*}"
    ttl=$(sed -n "s|^$file ||p" "$STEER/leased")
    [ -z "$ttl" ] || printf '%s' "$ttl" >"$WORK/$revision/${file%/*}/.${file#*/}.ttl"
    [ -n "$ttl" ] && value=of-$(cat "$WORK/.tokens/held")-$(date +%N) || value=value
    if grep -qx "$file" "$STEER/empty"; then : >"$WORK/h"; else echo "$value" >"$WORK/h"; fi
    mv "$WORK/h" "$WORK/$revision/$file"
  done <"$WORK/files"; }
case "$*" in
  agent*) echo agent >>"$CALLS"
    trap 'exit 0' TERM
    while [ -e "$STEER/mute" ]; do /bin/sleep 0.02; done
    login; render
    while /bin/sleep 0.02; do
      for order in login render exit; do [ ! -e "$STEER/$order" ] || { rm "$STEER/$order"; $order; }; done
    done ;;
  *) [ ! -e "$STEER/away" ] || exit 2
    case "$*" in *login*) echo own; exit ;; esac
    if grep -qx "$BAO_TOKEN" "$STEER/taken"; then echo "$BAO_TOKEN refused" >>"$CALLS"; echo 'Code: 403. Errors:'; exit 2; fi
    case "$*" in *revoke*) [ "$BAO_TOKEN" = own ] || echo "$BAO_TOKEN" >>"$STEER/taken" ;; esac
    echo "$BAO_TOKEN $*" >>"$CALLS" ;;
esac
"""
SLEEP = r"""#!/bin/sh
exec /bin/sleep "$(printf '0.%03d' $(($1 * 5)))"
"""


class Sidecar:
    """The running script and the folders around it."""

    def __init__(self, root: Path) -> None:
        self.config, self.out, self.work, self.steer = (root / n for n in ("config", "out", "work", "steer"))
        self.calls = root / "calls"
        for folder in (self.config, self.out / "secrets", self.out / "env", self.work, self.steer, root / "bin"):
            folder.mkdir(parents=True)
        for file in (self.calls, *(self.steer / n for n in ("taken", "leased", "missing", "empty"))):
            file.touch()
        for name, text in {"bao": BAO, "sleep": SLEEP}.items():
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        self._folders = 0
        self._env = {
            "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "STEER": str(self.steer),
            "CONFIG": str(self.config),
            "OUT": str(self.out),
            "WORK": str(self.work),
            "AUTH_MOUNT": "k8s",
            "STATUS_MOUNT": "runtime-status",
            "ROLE": "rt",
            "JWT": "/dev/null",
            "POD_UID": POD,
        }
        self.start()

    def start(self) -> None:
        """Also again, as the kubelet does with a container that ended; its memory volumes are still there."""
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", agent.SCRIPT], env=self._env, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def kill(self) -> None:
        """Without warning, and the agent with it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def configure(self, **changes: str) -> None:
        """Swaps the configuration as a whole, as the kubelet does."""
        data = {"revision": "r1", "files": "secrets/billing.json", "agent.json": "{}", "ca.crt": "CA"}
        self._folders += 1
        folder = self.config / f"..{self._folders}"
        folder.mkdir()
        for name, text in (data | {name.replace("_", "-"): text for name, text in changes.items()}).items():
            (folder / name).write_text(f"{text}\n" if text else "")
        link = self.config / "..new"
        link.symlink_to(folder)
        link.rename(self.config / "..data")

    def order(self, what: str, text: str = "") -> None:
        """For the stand-in."""
        (self.steer / what).write_text(text)

    def asked(self, call: str = "") -> list[str]:
        """What `bao` was asked for that begins like this."""
        return [line for line in self.calls.read_text().splitlines() if line.startswith(call)]

    def records(self) -> list[str]:
        """What was recorded, of the revision and of the end of the first lease."""
        return [line.split(f"{RECORD} ")[1] for line in self.asked() if RECORD in line]

    def ended(self) -> list[str]:
        """Tokens, in that order."""
        return [line.split()[0] for line in self.asked() if line.endswith("token revoke -self")]

    def held(self) -> str:
        """The agent's token."""
        file = self.work / ".tokens" / "held"
        return file.read_text() if file.exists() else ""

    def published(self, file: str) -> str | None:
        path = self.out / file
        return path.read_text().strip() if path.exists() else None


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    running = Sidecar(tmp_path)
    yield running
    running.process.terminate()
    running.process.wait(10)
    if running.process.returncode != -signal.SIGKILL:
        assert list((running.work / ".tokens").glob("[0-9]*")) == [] or (running.steer / "away").exists()


def until(probe: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def leased(sidecar: Sidecar, ttl: int = 60, **more: str) -> None:
    """A set with one file that holds a lease, served."""
    sidecar.order("leased", f"secrets/db.json {ttl}\n")
    sidecar.configure(files="secrets/db.json", **more)
    until(lambda: len(sidecar.records()) == 1)


# --- the agent and its files


@pytest.mark.parametrize("changed", ["agent.json", "ca.crt"])
def test_a_changed_configuration_restarts_the_agent_under_the_same_revision(sidecar: Sidecar, changed: str) -> None:
    sidecar.configure()
    until(lambda: sidecar.records() == ["revision=r1 expires="] and (sidecar.work / ".started").exists())
    sidecar.configure(**{changed: "another"})
    until(lambda: len(sidecar.asked("agent")) == 2)
    time.sleep(0.3)
    assert len(sidecar.asked("agent")) == 2
    assert len(sidecar.records()) == 1
    assert sidecar.published("secrets/billing.json") == "value"


def test_another_overlap_or_lifetime_restarts_nothing(sidecar: Sidecar) -> None:
    sidecar.configure()
    until(lambda: len(sidecar.records()) == 1)
    sidecar.configure(overlap="1", login_ttl="60s")
    time.sleep(0.5)
    assert len(sidecar.asked("agent")) == 1


def test_an_agent_that_ends_is_started_again_but_not_at_once(sidecar: Sidecar) -> None:
    sidecar.configure(files="secrets/billing.json", overlap="1")
    sidecar.order("missing", "secrets/billing.json\n")
    started = time.monotonic()
    for number in range(1, 6):
        until(lambda n=number: sidecar.held() == f"token-{n}")  # type: ignore[misc]
        sidecar.order("exit")
    until(lambda: len(sidecar.asked("agent")) == 6)
    assert time.monotonic() - started > 5 * 10 * SECOND
    assert sidecar.ended() == []
    sidecar.order("missing")
    sidecar.order("render")
    until(lambda: len(sidecar.ended()) == 5)
    assert sidecar.ended() == [f"token-{n}" for n in range(1, 6)]


def test_files_are_published_in_each_folder_and_removed_when_withdrawn(sidecar: Sidecar) -> None:
    sidecar.configure(files="secrets/a\nenv/a\nenv/b")
    until(lambda: len(sidecar.records()) == 1)
    assert [sidecar.published(f) for f in ("secrets/a", "secrets/b", "env/a", "env/b")] == [
        "value",
        None,
        *["value"] * 2,
    ]
    (sidecar.out / "env" / ".b.new").write_text("what a full volume left")
    sidecar.configure(revision="r2", files="secrets/a")
    until(lambda: len(sidecar.records()) == 2)
    assert sorted(p.name for p in sidecar.out.rglob("*")) == ["a", "env", "secrets"]
    sidecar.configure(revision="r3", files="")
    until(lambda: len(sidecar.records()) == 3)
    assert sidecar.published("secrets/a") is None


def test_a_folder_that_the_pod_lacks_makes_the_set_incomplete_and_holds_up_nothing_else(sidecar: Sidecar) -> None:
    sidecar.configure(files="proxy/token\nsecrets/a")
    until(lambda: sidecar.published("secrets/a") == "value")
    time.sleep(0.3)
    assert sidecar.records() == []
    assert not (sidecar.out / "proxy").exists()


def test_a_credential_that_cannot_be_had_holds_up_no_other(sidecar: Sidecar) -> None:
    sidecar.order("missing", "secrets/a\n")
    sidecar.configure(files="secrets/a\nsecrets/b")
    until(lambda: sidecar.published("secrets/b") == "value")
    until(lambda: len(sidecar.records()) == 1)
    assert not (sidecar.work / ".started").exists()


@pytest.mark.parametrize(
    "path", ["../stolen", "secrets/../../stolen", "work/stolen", "secrets/.hidden", "stolen", "env/"]
)
def test_a_path_out_of_the_three_folders_is_never_written(sidecar: Sidecar, path: str) -> None:
    before = sorted(sidecar.out.rglob("*"))
    sidecar.configure(files=f"{path}\nsecrets/a")
    until(lambda: sidecar.published("secrets/a") == "value")
    time.sleep(0.1)
    assert sorted(sidecar.out.rglob("*")) == sorted([*before, sidecar.out / "secrets" / "a"])
    assert sidecar.records() == []


# --- the record


def test_the_record_is_written_again_after_some_minutes(sidecar: Sidecar) -> None:
    sidecar.configure()
    until(lambda: len(sidecar.records()) == 1)
    started = time.monotonic()
    until(lambda: len(sidecar.records()) == 2, 60)
    assert time.monotonic() - started > 240 * SECOND
    assert len(sidecar.asked("agent")) == 1
    assert sidecar.ended() == []  # the agent's own token is good for it


def test_without_files_the_record_is_written_with_a_token_that_ends_at_once(sidecar: Sidecar) -> None:
    sidecar.configure(files="")
    until(lambda: len(sidecar.asked()) == 2)
    assert sidecar.asked() == [f"own {RECORD} revision=r1 expires=", "own token revoke -self"]


def test_the_first_end_of_a_lease_is_recorded(sidecar: Sidecar) -> None:
    now = time.time()
    sidecar.order("leased", "secrets/db.json 3600\nenv/cert 60\n")
    sidecar.configure(files="secrets/db.json\nsecrets/kv\nenv/cert", login_ttl="7200s")
    until(lambda: len(sidecar.records()) == 1)
    assert 60 <= int(sidecar.records()[0].removeprefix("revision=r1 expires=")) - int(now) <= 90


def test_a_lease_ends_with_its_token(sidecar: Sidecar) -> None:
    now = time.time()
    leased(sidecar, 3600, login_ttl="60s")
    assert 60 <= int(sidecar.records()[0].removeprefix("revision=r1 expires=")) - int(now) <= 90


@pytest.mark.parametrize("ttl", ["0", "", "x", "$(touch stolen)"])
def test_what_is_no_time_is_no_end(sidecar: Sidecar, ttl: str) -> None:
    sidecar.order("leased", f"secrets/db.json {ttl}\n")
    sidecar.configure(files="secrets/db.json", login_ttl="x", overlap="x")
    until(lambda: sidecar.records() == ["revision=r1 expires="])
    assert sidecar.process.poll() is None


def test_a_new_end_is_recorded_but_not_more_often_than_every_ten_seconds(sidecar: Sidecar) -> None:
    leased(sidecar)
    started = time.monotonic()
    for ttl in range(100, 160):
        sidecar.order("leased", f"secrets/db.json {ttl}\n")
        sidecar.order("render")
        time.sleep(0.04)
    passed = time.monotonic() - started
    written = len(sidecar.records())
    assert 3 <= written <= passed / (10 * SECOND) + 2
    until(lambda: len(sidecar.records()) > written or "expires" in sidecar.records()[-1])
    assert len(set(sidecar.records())) == len(sidecar.records())


def test_an_agent_whose_token_was_taken_logs_in_again(sidecar: Sidecar) -> None:
    leased(sidecar, overlap="1")
    sidecar.order("taken", "token-1\n")
    until(lambda: len(sidecar.asked("agent")) == 2, 60)
    until(lambda: (sidecar.published("secrets/db.json") or "").startswith("of-token-2"))
    until(lambda: not (sidecar.work / ".tokens" / "1").exists())
    assert sidecar.ended() == ["own"]


@pytest.mark.parametrize("file", ["env/odd", "proxy/odd.json"])
def test_a_value_that_does_not_fit_is_told_by_its_files_name_and_cleared_when_it_is_mended(
    sidecar: Sidecar, file: str
) -> None:
    (sidecar.out / "proxy").mkdir()
    sidecar.order("empty", f"{file}\n")
    sidecar.configure(files=f"{file}\nsecrets/a")
    begun = time.monotonic()
    until(lambda: len(sidecar.records()) == 1)
    assert time.monotonic() - begun > 10 * SECOND
    assert sidecar.records() == [f"revision= expires= partly=r1 unfit={file} absent="]
    assert sidecar.published("secrets/a") == "value"
    assert sidecar.published(file) is None
    assert not (sidecar.work / ".started").exists()
    time.sleep(50 * SECOND)
    assert len(sidecar.records()) == 1
    sidecar.order("empty")
    sidecar.order("render")
    until(lambda: sidecar.records()[-1] == "revision=r1 expires=")
    assert len(sidecar.records()) == 2
    until((sidecar.work / ".started").exists)


def test_a_value_that_fits_no_more_is_told_and_the_one_before_stays(sidecar: Sidecar) -> None:
    sidecar.configure(files="env/odd\nsecrets/a")
    until(lambda: sidecar.records() == ["revision=r1 expires="])
    sidecar.order("empty", "env/odd\n")
    sidecar.order("render")
    until(lambda: len(sidecar.records()) == 2)
    assert sidecar.records()[1] == "revision=r1 expires= partly=r1 unfit=env/odd absent="
    assert sidecar.published("env/odd") == "value"


def test_what_is_not_to_be_had_is_told_beside_what_does_not_fit(sidecar: Sidecar) -> None:
    sidecar.order("empty", "env/odd\nenv/odder\nsecrets/raw\n")
    sidecar.order("missing", "env/none\nsecrets/none\n")
    sidecar.configure(files="env/none\nenv/odd\nenv/odder\nsecrets/none\nsecrets/raw")
    until(lambda: len(sidecar.records()) == 1)
    assert sidecar.records() == ["revision= expires= partly=r1 unfit=env/odd,env/odder absent=env/none,secrets/none"]
    assert sidecar.published("secrets/raw") == ""


def test_nothing_is_told_of_single_files_while_the_agent_has_no_login(sidecar: Sidecar) -> None:
    (sidecar.steer / "mute").touch()
    sidecar.configure(files="secrets/a")
    until(lambda: len(sidecar.asked("agent")) == 1)
    time.sleep(50 * SECOND)
    assert sidecar.records() == []
    (sidecar.steer / "mute").unlink()
    until(lambda: sidecar.records()[-1:] == ["revision=r1 expires="])


def test_too_many_files_to_be_told_are_not_told(sidecar: Sidecar) -> None:
    names = [f"secrets/{number}-{'x' * 90}" for number in range(100)]
    sidecar.order("missing", "".join(f"{name}\n" for name in names))
    sidecar.configure(files="\n".join([*names, "secrets/a"]))
    until(lambda: sidecar.published("secrets/a") == "value")
    time.sleep(50 * SECOND)
    assert sidecar.records() == []


# --- tokens


def test_the_token_is_where_only_the_sidecar_can_read(sidecar: Sidecar) -> None:
    leased(sidecar)
    folder = sidecar.work / ".tokens"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [(p.name, p.stat().st_mode & 0o777) for p in folder.glob("[0-9]*")] == [("1", 0o600)]
    assert all(p.read_text().strip() != "token-1" for p in sidecar.out.rglob("*") if p.is_file())


def test_a_former_token_ends_after_the_overlap_and_not_before_the_new_set_is_complete(sidecar: Sidecar) -> None:
    leased(sidecar)
    sidecar.order("missing", "secrets/kv\n")
    sidecar.configure(revision="r2", files="secrets/db.json\nsecrets/kv", overlap="60")
    until(lambda: (sidecar.published("secrets/db.json") or "").startswith("of-token-2"))
    time.sleep(0.5)
    assert sidecar.ended() == []
    sidecar.order("missing")
    sidecar.order("render")
    until(lambda: len(sidecar.records()) == 2)
    complete = time.monotonic()
    assert sidecar.ended() == []
    until(lambda: sidecar.ended() == ["token-1"])
    assert time.monotonic() - complete > 50 * SECOND


def test_no_token_of_several_changes_is_forgotten(sidecar: Sidecar) -> None:
    leased(sidecar)
    for number in range(2, 7):
        sidecar.configure(revision=f"r{number}", files="secrets/db.json", overlap="10")
        until(lambda n=number: sidecar.held() == f"token-{n}")  # type: ignore[misc]
    until(lambda: len(sidecar.ended()) == 5)
    time.sleep(0.5)
    assert sorted(sidecar.ended()) == [f"token-{n}" for n in range(1, 6)]


def test_no_token_is_forgotten_when_the_container_is_killed(sidecar: Sidecar) -> None:
    leased(sidecar, overlap="100")
    sidecar.configure(revision="r2", files="secrets/db.json", overlap="100")
    until(lambda: len(sidecar.records()) == 2)
    for _ in range(2):
        sidecar.kill()
        sidecar.start()
        until(lambda: (sidecar.work / "r2").exists() and len(sidecar.records()) >= 3)
    until(lambda: len(list((sidecar.work / ".tokens").glob("[0-9]*"))) == 1)
    assert set(sidecar.ended()) >= {"token-1", "token-2"}


def test_a_token_that_the_agent_changed_by_itself_is_kept_until_its_time_is_over(sidecar: Sidecar) -> None:
    """Who has read its leases has longer than the overlap; nobody ends them but the pod's end, or a new configuration."""
    leased(sidecar, overlap="1", login_ttl="150s")
    sidecar.order("login")
    until((sidecar.work / ".tokens" / "2").exists)
    changed = time.monotonic()
    until(lambda: sidecar.ended() == ["token-1"])
    assert time.monotonic() - changed > 100 * SECOND


def test_a_new_configuration_ends_also_a_token_that_the_agent_changed_by_itself(sidecar: Sidecar) -> None:
    leased(sidecar, overlap="1")
    sidecar.order("login")
    until((sidecar.work / ".tokens" / "2").exists)
    sidecar.configure(revision="r2", files="secrets/db.json", overlap="1")
    until(lambda: len(sidecar.ended()) == 2, 3)
    assert sidecar.ended() == ["token-1", "token-2"]


def test_ending_a_token_is_tried_until_openbao_answers(sidecar: Sidecar) -> None:
    leased(sidecar)
    sidecar.configure(revision="r2", files="secrets/db.json", overlap="50")
    until(lambda: len(sidecar.records()) == 2)
    sidecar.order("away")
    time.sleep(100 * SECOND)
    assert sidecar.ended() == []
    (sidecar.steer / "away").unlink()
    until(lambda: sidecar.ended() == ["token-1"])


def test_at_the_end_of_the_pod_all_its_tokens_end(sidecar: Sidecar) -> None:
    leased(sidecar)
    sidecar.configure(revision="r2", files="secrets/db.json", overlap="150")
    until(lambda: len(sidecar.records()) == 2)
    sidecar.process.terminate()
    assert sidecar.process.wait(5) == 0
    assert sidecar.ended() == ["token-2", "token-1"]


def test_the_end_of_the_pod_does_not_wait_for_openbao(sidecar: Sidecar) -> None:
    leased(sidecar)
    sidecar.order("away")
    sidecar.process.terminate()
    assert sidecar.process.wait(5) == 0
    assert sidecar.ended() == []
