"""Runs programs and keeps everything that explains a failure."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """A finished program."""

    command: Sequence[str]
    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.code == 0

    @property
    def output(self) -> str:
        """All that it said."""
        return self.stdout + self.stderr


class CommandError(RuntimeError):
    """A program failed that had to succeed."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"{shlex.join(result.command)}: exit status {result.code}\n{result.output.strip()}")
        self.result = result


def run(command: Sequence[str], *, stdin: str | None = None, timeout: float = 120) -> Result:
    """The outcome of a program, whatever it is; a timeout counts as a failure with code 124."""
    try:
        done = subprocess.run(
            command,
            input=stdin or "",
            capture_output=True,
            check=False,
            timeout=timeout,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return Result(command, 124, "", f"still running after {timeout:g} s\n")
    return Result(command, done.returncode, done.stdout, done.stderr)
