"""What comes and goes on the node and in the database, seen 20 times a second by a program that runs there.

Nothing of it enters a tenant's pod: that would be slow, and the pod's walls are against it.
"""

import base64
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from e2e.support.database import Database
from e2e.support.node import MOUNTS, Node
from e2e.support.waiting import until_true

PODS = "/var/lib/kubelet/pods"
SECRETS = "volumes/kubernetes.io~empty-dir/credentials"
"""The volume of a pod that its workload reads, below the pod's folder on the node."""
OPENBAO_TOKEN = "volumes/kubernetes.io~projected/agent-token/..data/token"
"""With which the pod's sidecar logs in to OpenBao. By the folder: the link beside it is another user's, whom Linux
follows nowhere in a folder that all may write."""

# without a process for each look; its input ends with the one who started it
_FILES = f"""
cd {PODS} && shopt -s nullglob && last=none
while :; do
  set -- */{SECRETS}/[!.]*
  [ "$*" = "$last" ] || {{ last="$*"; echo "$last"; }}
  read -r -t 0.05
  [ $? -gt 128 ] || exit 0
done
"""
_ACCOUNTS = "SELECT coalesce(string_agg(rolname, ' '), '') FROM pg_roles WHERE rolcanlogin AND rolname LIKE 'v-%' \\watch 0.05\n"


class Watch:
    """What there is by the last line of a program, of which each line names all; and when each came and went."""

    def __init__(self, process: "subprocess.Popen[str]", names: Callable[[str], Iterable[str]]) -> None:
        self._process = process
        self._names = names
        self._came: dict[str, float] = {}
        self._gone: dict[str, float] = {}
        self._began = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()
        until_true("the watch sees something", self._began.is_set, timeout=30, every=0.05)

    def came_at(self, name: str) -> float | None:
        """Since when it is there (monotonic); None while it is not."""
        self._check()
        return self._came.get(name)

    def gone_at(self, name: str) -> float | None:
        """Since when it is there no more; None while it is there or has never been."""
        self._check()
        return self._gone.get(name)

    def present(self) -> set[str]:
        """All that there is."""
        self._check()
        return set(self._came)

    def close(self) -> None:
        """Ends the program."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.terminate()
        self._process.wait()

    def _check(self) -> None:
        if self._process.poll() is not None:
            raise AssertionError("the program that watches has ended")

    def _follow(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            now, names = time.monotonic(), set(self._names(line))
            for name in names - self._came.keys():
                self._gone.pop(name, None)
            self._gone |= dict.fromkeys(self._came.keys() - names, now)
            self._came = {name: self._came.get(name, now) for name in names}
            self._began.set()


def files(node: Node) -> Watch:
    """Files that are delivered to workloads, as `file_in` names them."""
    process = node.start(f"{MOUNTS} bash -c {shlex.quote(_FILES)}")
    return Watch(process, lambda line: (file_in(path.split("/")[0], path.rpartition("/")[2]) for path in line.split()))


def file_in(uid: str, name: str) -> str:
    """A file of the pod with that uid."""
    return f"{uid}/{name}"


def accounts(database: Database) -> Watch:
    """Accounts made by OpenBao that may log in."""
    process = database.start('PGPASSWORD="$POSTGRES_PASSWORD" exec psql -U postgres -tAqX')
    assert process.stdin
    process.stdin.write(_ACCOUNTS)
    process.stdin.flush()
    return Watch(process, str.split)


def read_pod(node: Node, uid: str) -> dict[str, str]:
    """What is delivered to a pod's workload, by file, and under `OPENBAO_TOKEN` its login."""
    script = (
        f"cd {PODS}/{shlex.quote(uid)} && for file in {SECRETS}/[!.]* {OPENBAO_TOKEN}; do"
        ' [ ! -f "$file" ] || echo "$file $(base64 -w0 <"$file")"; done'
    )
    lines = node.sh(f"{MOUNTS} sh -c {shlex.quote(script)}").splitlines()
    pairs = (line.partition(" ") for line in lines)
    return {path.removeprefix(f"{SECRETS}/"): base64.b64decode(content).decode() for path, _, content in pairs}
