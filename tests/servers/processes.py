"""Servers as plain processes on loopback."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_SECONDS = 60
_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 30
_RETRY_SECONDS = 5


class ServerError(Exception):
    """A server cannot be started or prepared; the message holds what it said last."""


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(command: Sequence[str | Path], env: Mapping[str, str], *, timeout: float, attempts: int = 1) -> None:
    """A program that must succeed, in one of so many attempts.

    Raises:
        ServerError: it did not, with what it said last.
    """
    for attempt in range(attempts):
        if attempt:
            time.sleep(_RETRY_SECONDS)
        done = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=timeout)
        if done.returncode == 0:
            return
    raise ServerError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


class Process:
    """One server; its output goes to a log that a failure shows."""

    def __init__(
        self,
        name: str,
        command: list[str | Path],
        folder: Path,
        env: Mapping[str, str] | None = None,
        *,
        patience: float = START_SECONDS,
    ) -> None:
        """`patience`: seconds that it may take until it is ready."""
        self._name = name
        self._command = command
        self.log = folder / f"{name}.log"
        self._env = {**os.environ, **(env or {})}
        self._patience = patience
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """None if it does not run."""
        running = self._running
        return running.pid if running is not None and running.poll() is None else None

    def cpu_seconds(self) -> float:
        """Used so far, by it and the programs that it has started; it must run."""
        return sum(map(_cpu_seconds, _family(self._running.pid if self._running else 0)))

    def start(self, ready: Callable[[], bool]) -> None:
        """Start, and wait until it is ready.

        Raises:
            ServerError: it ended, or was not ready in time.
        """
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + self._patience
        while not ready():
            if self._running.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
                raise ServerError(f"{self._name} did not become ready; {self.log} ends with:\n{tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop, if it runs."""
        if self._running is None:
            return
        self._running.terminate()
        try:
            self._running.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
        self._running = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs; SIGKILL is waited for."""
        if self._running is None:
            return
        self._running.send_signal(number)
        if number is signal.SIGKILL:
            self._running.wait()
            self._running = None


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _cpu_seconds(pid: int) -> float:
    # the command in parentheses may hold spaces
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
