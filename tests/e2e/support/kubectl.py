"""The real kubectl."""

import json
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from e2e.support.settings import program
from e2e.support.shell import CommandError, Result, run

Json = dict[str, Any]
Echo = Callable[[str], None]


class Kubectl:
    """kubectl with one kubeconfig; with `echo` it shows each command and its output, as a terminal would.

    `who`: flags by which it acts as somebody else.
    """

    def __init__(self, kubeconfig: Path, echo: Echo | None = None, who: Sequence[str] = ()) -> None:
        self.kubeconfig = kubeconfig
        self._echo = echo
        self._who = who

    def breaking_glass(self) -> "Kubectl":
        """The same as a member of the group whom a stated reason lets past the operator's walls."""
        return Kubectl(self.kubeconfig, self._echo, ("--as=emergency", "--as-group=system:masters"))

    def command(self, *args: str) -> list[str]:
        """The whole command line."""
        return [program("kubectl"), "--kubeconfig", str(self.kubeconfig), *self._who, *args]

    def run(self, *args: str, stdin: str | None = None, timeout: float = 120) -> Result:
        """The outcome, whatever it is."""
        if self._echo:
            self._echo(f"$ kubectl {shlex.join((*self._who, *args))}")
        result = run(self.command(*args), stdin=stdin, timeout=timeout)
        if self._echo and result.output.strip():
            self._echo(result.output.rstrip())
        return result

    def __call__(self, *args: str, stdin: str | None = None, timeout: float = 120) -> str:
        """The standard output of a command that must succeed."""
        result = self.run(*args, stdin=stdin, timeout=timeout)
        if not result.ok:
            raise CommandError(result)
        return result.stdout

    def get(self, *args: str) -> Json | None:
        """One object, or None if it does not exist."""
        result = self.run("get", *args, "-o", "json", "--ignore-not-found")
        if not result.ok:
            raise CommandError(result)
        found: Json | None = json.loads(result.stdout) if result.stdout.strip() else None
        return found

    def need(self, *args: str) -> Json:
        """One object that must exist."""
        found: Json = json.loads(self("get", *args, "-o", "json"))
        return found

    def items(self, *args: str) -> list[Json]:
        """A list of objects."""
        found: list[Json] = self.need(*args)["items"]
        return found

    def apply(self, *manifests: Json) -> str:
        """`kubectl apply` of objects given as JSON."""
        return self("apply", "-f", "-", stdin=_stream(manifests))

    def try_apply(self, *manifests: Json, dry_run: bool = False) -> Result:
        """The same, when a refusal may be the point."""
        return self.run("apply", *(["--dry-run=server"] if dry_run else []), "-f", "-", stdin=_stream(manifests))

    def create(self, *manifests: Json) -> str:
        """`kubectl create` of objects given as JSON."""
        return self("create", "-f", "-", stdin=_stream(manifests))

    def exec(self, namespace: str, pod: str, container: str, *command: str, timeout: float = 60) -> Result:
        """Runs a command inside a container."""
        return self.run("-n", namespace, "exec", pod, "-c", container, "--", *command, timeout=timeout)

    def start(self, namespace: str, pod: str, container: str, *command: str) -> "subprocess.Popen[str]":
        """Starts a command inside a container that goes on, with its input and output."""
        return subprocess.Popen(
            self.command("-n", namespace, "exec", "-i", pod, "-c", container, "--", *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )

    def token(self, namespace: str, service_account: str, audience: str) -> str:
        """A fresh token of a service account."""
        return self("-n", namespace, "create", "token", service_account, "--audience", audience).strip()


def _stream(manifests: Sequence[Json]) -> str:
    return "\n---\n".join(json.dumps(m) for m in manifests)
