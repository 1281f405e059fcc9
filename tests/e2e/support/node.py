"""The node's own processes and files, through one privileged pod in the test bed's namespace."""

import shlex
import subprocess

from e2e.support import samples
from e2e.support.kubectl import Json, Kubectl
from e2e.support.settings import TESTBED_NAMESPACE
from e2e.support.shell import CommandError, Result

POD = "node-shell"
MOUNTS = "exec nsenter --target 1 --mount"
"""Begins a command that sees what has been mounted since the pod started, such as pods' volumes."""


class Node:
    """A root shell on the node."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        kubectl.apply(_manifest())
        kubectl("-n", TESTBED_NAMESPACE, "wait", "--for=condition=Ready", f"pod/{POD}", "--timeout=60s")

    def run(self, script: str, *, timeout: float = 120) -> Result:
        """The outcome of a shell script on the node."""
        return self._kubectl.exec(
            TESTBED_NAMESPACE, POD, "shell", "chroot", "/host", "/bin/sh", "-c", script, timeout=timeout
        )

    def start(self, script: str) -> "subprocess.Popen[str]":
        """A shell script that goes on, for its lines; when its input ends it should end too."""
        return self._kubectl.start(TESTBED_NAMESPACE, POD, "shell", "chroot", "/host", "/bin/sh", "-c", script)

    def sh(self, script: str, *, timeout: float = 120) -> str:
        """What a script prints that must succeed."""
        result = self.run(script, timeout=timeout)
        if not result.ok:
            raise CommandError(result)
        return result.stdout

    def size(self, path: str) -> int:
        """Length of a file now."""
        return int(self.sh(f"wc -c <{shlex.quote(path)}"))

    def read_from(self, path: str, offset: int) -> str:
        """What was appended to a file after the offset."""
        return self.sh(f"tail -c +{offset + 1} {shlex.quote(path)}")

    def main_process(self, container_id: str) -> int:
        """The node's process id of a container's PID 1. The id is given as Kubernetes writes it, `containerd://…`."""
        plain = container_id.rpartition("/")[2]
        found = self.sh(
            f"for cgroup in $(grep -l {plain} /proc/[0-9]*/cgroup 2>/dev/null); do "
            'grep -H "^NSpid:.*[[:space:]]1$" "${cgroup%/cgroup}/status" 2>/dev/null; done; true'
        )
        pids = [int(line.split("/")[2]) for line in found.splitlines()]
        if len(pids) != 1:
            raise AssertionError(f"container {plain} has {len(pids)} first processes: {found}")
        return pids[0]

    def signal(self, pid: int, name: str) -> None:
        """Sends a signal to a process of the node."""
        self.sh(f"kill -{name} {pid}")


def _manifest() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": TESTBED_NAMESPACE},
        "spec": {
            "hostPID": True,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "shell",
                    "image": samples.image(),
                    "command": ["sleep", "infinity"],
                    "securityContext": {"privileged": True, "runAsUser": 0},
                    "volumeMounts": [{"name": "host", "mountPath": "/host"}],
                }
            ],
            "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
        },
    }
