"""The operator as a real process, with the environment that the chart gives it."""

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

_DRAINED_SECONDS = 3.0
"""The queue counts as drained when nothing has been done for so long."""
_BUSY = 0.2
"""Part of a CPU. Kopf's own list goes on behind the last pass, and belongs to the start too."""


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
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines())
        rss, peak = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return Usage(self._process.cpu_seconds(), rss, peak)

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

    def backend_seconds(self) -> dict[str, float]:
        """Seconds that calls of backends took so far, by backend and verb; watches, which always wait, are left out."""
        text = requests.get(f"http://127.0.0.1:{self._port}/metrics", timeout=30).text
        samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
        return {
            f"{s.labels['backend']} {s.labels['verb']}": s.value
            for s in samples
            if s.name == "axon_operator_backend_call_seconds_sum" and s.labels["verb"] != "watch"
        }

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
        """Waits for at least `passes` passes, an empty queue and an idle process; the monotonic time at which that was
        reached.

        Raises:
            TimeoutError: it took longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        last, since, spent = -1, time.monotonic(), 0.0
        while time.monotonic() < deadline:
            done, now, cpu = self.work(), time.monotonic(), self.usage().cpu_seconds
            if done.passes != last or done.waiting or cpu - spent > _BUSY * (now - since):
                last, since, spent = done.passes, now, cpu
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
