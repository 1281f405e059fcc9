"""The operator as a real process, with the environment that the chart gives it."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from axon_operator.domain.resources import Manifest
from servers.processes import Process, free_port

_TICKS = os.sysconf("SC_CLK_TCK")
_DRAINED_SECONDS = 3.0
"""The queue counts as drained when nothing has been done for so long."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the process has used so far."""

    cpu_seconds: float
    rss_mib: float
    peak_rss_mib: float


@dataclass(frozen=True, slots=True)
class Work:
    """What the process has done so far, by its own metrics."""

    passes: int
    waiting: int
    """Objects that wait for a worker."""
    calls: Mapping[str, int]
    """Backend to number of calls."""


class Operator:
    """Starts, measures and stops it. A process that ended by itself is started again by `revive`, as the kubelet would."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._port = free_port()
        self._process = self._new({})

    def start(self, **settings: str) -> None:
        """`settings`: environment variables without their prefix, such as `RESYNC_INTERVAL`."""
        self._process = self._new({f"AXON_{name}": value for name, value in settings.items()})
        self._process.start(self._ready)

    def stop(self) -> None:
        self._process.stop()

    def freeze(self) -> None:
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.signal(signal.SIGCONT)

    def revive(self) -> bool:
        """Starts it if it has ended; whether it had."""
        if self._process.pid is not None:
            return False
        self._process.start(self._ready)
        return True

    def usage(self) -> Usage:
        """From /proc."""
        pid = self._process.pid
        # the command in parentheses may hold spaces
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        rss, peak = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return Usage((int(fields[11]) + int(fields[12])) / _TICKS, rss, peak)

    def work(self) -> Work:
        """From /metrics."""
        text = requests.get(f"http://127.0.0.1:{self._port}/metrics", timeout=30).text
        passes, waiting, calls = 0.0, 0.0, dict[str, int]()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                match sample.name:
                    case "axon_operator_reconcile_total":
                        passes += sample.value
                    case "axon_operator_queue_depth":
                        waiting += sample.value
                    case "axon_operator_backend_calls_total":
                        backend = sample.labels["backend"]
                        calls[backend] = calls.get(backend, 0) + int(sample.value)
        return Work(int(passes), int(waiting), calls)

    def wait_until_passed(self, passes: int, timeout: float) -> None:
        """Waits for at least `passes` passes, whatever still waits.

        Raises:
            TimeoutError: it took longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while (done := self.work().passes) < passes:
            if time.monotonic() > deadline:
                raise self._too_slow(done, passes, timeout)
            time.sleep(1)

    def wait_until_drained(self, passes: int, timeout: float) -> float:
        """Waits for at least `passes` passes and an empty queue; the monotonic time at which that was reached.

        Raises:
            TimeoutError: it took longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        last, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            done = self.work()
            if done.passes != last or done.waiting:
                last, since = done.passes, time.monotonic()
            elif done.passes >= passes and time.monotonic() - since >= _DRAINED_SECONDS:
                return since
            time.sleep(0.5)
        raise self._too_slow(last, passes, timeout)

    def _too_slow(self, done: int, wanted: int, timeout: float) -> TimeoutError:
        return TimeoutError(f"the operator made {done} of {wanted} passes in {timeout:g} s; see {self._process.log}")

    def _new(self, settings: Mapping[str, str]) -> Process:
        program = Path(sys.executable).with_name("axon-operator")
        env = {**self._env, "AXON_PORT": str(self._port), **settings}
        return Process("operator", [program], self._folder, env)

    def _ready(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self._port}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False


def chart_environment(deployment: Manifest) -> dict[str, str]:
    """The environment variables that the chart sets to fixed values."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
