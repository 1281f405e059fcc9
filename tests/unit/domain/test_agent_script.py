"""The sidecar's script itself, in a real shell. `bao` is a stand-in that only notes what it is asked; time runs fast."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from axon_operator.domain import agent

BAO = """#!/bin/sh
case "$*" in
  agent*) echo agent >>"$CALLS"
    while read -r name; do mkdir -p "$WORK/r1"; echo value >"$WORK/r1/$name"; done <"$WORK/files"
    trap 'exit 0' TERM; while :; do /bin/sleep 0.05; done ;;
  *login*) echo token ;;
  *) echo "$*" >>"$CALLS" ;;
esac
"""


class Sidecar:
    """The running script and the folders around it."""

    def __init__(self, root: Path) -> None:
        self.config, self.secrets, self.work = (root / n for n in ("config", "secrets", "work"))
        self.calls = root / "calls"
        for folder in (self.config, self.secrets, self.work, root / "bin"):
            folder.mkdir()
        self.calls.touch()
        for name, text in {"bao": BAO, "sleep": "#!/bin/sh\nexec /bin/sleep 0.005\n"}.items():
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        self._folders = 0
        self.configure()
        env = {
            "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "CONFIG": str(self.config),
            "SECRETS": str(self.secrets),
            "WORK": str(self.work),
            "AUTH_MOUNT": "k8s",
            "STATUS_MOUNT": "runtime-status",
            "ROLE": "rt",
            "JWT": "/dev/null",
            "POD_UID": "00000000-0000-4000-8000-000000000001",
        }
        self.process = subprocess.Popen(["/bin/sh", "-c", agent.SCRIPT], env=env, stderr=subprocess.DEVNULL)

    def configure(self, **changes: str) -> None:
        """Swaps the configuration as a whole, as the kubelet does."""
        data = {"revision": "r1", "files": "billing.json", "agent.json": "{}", "ca.crt": "CA", **changes}
        self._folders += 1
        folder = self.config / f"..{self._folders}"
        folder.mkdir()
        for name, text in data.items():
            (folder / name).write_text(f"{text}\n")
        link = self.config / "..new"
        link.symlink_to(folder)
        link.rename(self.config / "..data")

    def count(self, call: str) -> int:
        """How often `bao` was asked for that."""
        return sum(line.startswith(call) for line in self.calls.read_text().splitlines())


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    running = Sidecar(tmp_path)
    yield running
    running.process.terminate()
    running.process.wait(10)


def until(probe: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def served(sidecar: Sidecar) -> int:
    return sidecar.count("write runtime-status/rt/00000000-0000-4000-8000-000000000001 revision=r1")


@pytest.mark.parametrize("changed", ["agent.json", "ca.crt"])
def test_a_changed_configuration_restarts_the_agent_under_the_same_revision(sidecar: Sidecar, changed: str) -> None:
    until(lambda: served(sidecar) == 1 and (sidecar.work / ".started").exists())
    sidecar.configure(**{changed: "another"})
    until(lambda: sidecar.count("agent") == 2)
    time.sleep(0.3)
    assert sidecar.count("agent") == 2
    assert served(sidecar) == 1
    assert (sidecar.secrets / "billing.json").read_text() == "value\n"


def test_the_record_is_written_again_after_some_minutes(sidecar: Sidecar) -> None:
    until(lambda: served(sidecar) == 1)
    started = time.monotonic()
    until(lambda: served(sidecar) == 2, 60)
    assert time.monotonic() - started > 240 * 0.005
    assert sidecar.count("agent") == 1


def test_a_withdrawn_file_is_removed(sidecar: Sidecar) -> None:
    until((sidecar.secrets / "billing.json").exists)
    sidecar.configure(revision="r2", files="")
    until(lambda: not (sidecar.secrets / "billing.json").exists())
