"""Servers as plain processes on loopback."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

START_SECONDS = 60
_STOP_SECONDS = 30


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One server; its output goes to a log that a failure shows."""

    def __init__(
        self, name: str, command: list[str | Path], folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._name = name
        self._command = command
        self._log = folder / f"{name}.log"
        self._env = {**os.environ, **(env or {})}
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, ready: Callable[[], bool]) -> None:
        """Start, and wait until it is ready."""
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self._running.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
                pytest.fail(f"{self._name} did not become ready; {self._log} ends with:\n{tail}")
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
