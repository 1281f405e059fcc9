"""Running other programs, with errors that show what they said."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from axon_testbed.errors import BedError

Command = Sequence[str | Path]
_TAIL = 25


def run(
    command: Command,
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Runs a long command; its output goes to a log file of which a failure shows the end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as sink, _must_exist(command):
        code = subprocess.run(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        raise failed(command, code, log)


def failed(command: Command, code: int, log: Path) -> BedError:
    """The error for a command that wrote its output to a log file."""
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL:])
    return BedError(f"`{_words(command)}` ended with code {code}. The end of {log}:\n{tail}")


def output(
    command: Command,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Runs a short command and returns what it printed."""
    with _must_exist(command):
        done = subprocess.run(
            command, env=env, cwd=cwd, input=stdin, capture_output=True, text=True, errors="replace", check=False
        )
    if done.returncode:
        raise BedError(
            f"`{_words(command)}` ended with code {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout.strip()


@contextmanager
def _must_exist(command: Command) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise BedError(
            f"There is no program `{command[0]}`. `make tools` makes kubectl, helm and kind; install any other."
        ) from None


def succeeds(command: Command, *, env: Mapping[str, str] | None = None, timeout: float | None = None) -> bool:
    """Whether a command ends with code 0, for questions rather than actions."""
    try:
        return not subprocess.run(command, env=env, capture_output=True, timeout=timeout, check=False).returncode
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def need(program: str, fix: str) -> None:
    """Stops early, and with the remedy, when a program is not on PATH."""
    if shutil.which(program) is None:
        raise BedError(f"`{program}` is not on PATH. {fix}")


def install_debian(packages: Mapping[str, str], log: Path) -> None:
    """Installs the Debian packages of those programs that are missing: {program: package}."""
    missing = {package for program, package in packages.items() if shutil.which(program) is None}
    if not missing:
        return
    wanted = " ".join(sorted(missing))
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise BedError(f"Missing programs. As root: apt-get install {wanted} (or your system's packages of them)")
    # Debian starts a service when it installs one, except in runlevel 1; the daemon we want is a private one.
    env = {**os.environ, "RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
    if not succeeds(["apt-cache", "show", *sorted(missing)]):
        run(["apt-get", "update"], log.with_suffix(".update.log"), env=env)
    run(["apt-get", "install", "--yes", "--no-install-recommends", *sorted(missing)], log, env=env)


def _words(command: Command) -> str:
    return " ".join(str(word) for word in command)
