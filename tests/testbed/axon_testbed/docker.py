"""The Docker daemon: the reachable one, else a private one that keeps all it has under the cache folder."""

import json
import os
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from axon_testbed import shell
from axon_testbed.errors import BedError
from axon_testbed.layout import SOURCES, Layout
from axon_testbed.progress import say, step

NETWORK = "axon-testbed"
_BRIDGE = "axon0"
_START_SECONDS = 60
# Debian packages of what a private daemon and the local images need: {program: package}.
_PACKAGES = {"docker": "docker.io", "dockerd": "docker.io", "iptables": "iptables", "jq": "jq"}


@dataclass(frozen=True)
class Daemon:
    """A Docker daemon that answers."""

    host: str | None
    """Value for DOCKER_HOST; None leaves the choice to the docker command, as the user set it up."""

    def environment(self) -> dict[str, str]:
        """Environment for docker and kind."""
        chosen = {"DOCKER_HOST": self.host} if self.host else {}
        return {**os.environ, **chosen, "KIND_EXPERIMENTAL_DOCKER_NETWORK": NETWORK}

    def output(self, *arguments: str | Path) -> str:
        """What `docker …` prints."""
        return shell.output(["docker", *arguments], env=self.environment())

    def succeeds(self, *arguments: str | Path) -> bool:
        """Whether `docker …` ends with code 0."""
        return shell.succeeds(["docker", *arguments], env=self.environment())

    def image_id(self, name: str) -> str | None:
        """The id of a local image, None if there is none of that name."""
        if not self.succeeds("image", "inspect", name):
            return None
        return self.output("image", "inspect", "--format", "{{.Id}}", name)


def _private(layout: Layout) -> Daemon:
    return Daemon(f"unix://{layout.docker / 'docker.sock'}")


def _answers(daemon: Daemon) -> bool:
    return shell.succeeds(["docker", "version"], env=daemon.environment(), timeout=10)


def find(layout: Layout) -> Daemon | None:
    """A daemon that answers now: ours from an earlier `up`, else the user's."""
    for daemon in (_private(layout), Daemon(None)):
        if _answers(daemon):
            return daemon
    return None


def ensure(layout: Layout) -> Daemon:
    """A daemon that answers, started if there is none; says which and why."""
    daemon = find(layout)
    if daemon is None:
        daemon = _start(layout)
        asked = os.environ.get("DOCKER_HOST", "the default socket")
        say(f"docker: private daemon on {daemon.host}, since none answered on {asked}")
    elif daemon.host:
        say(f"docker: private daemon of an earlier run on {daemon.host}")
    else:
        say(f"docker: the daemon that the docker command reaches, {daemon.output('context', 'show')}")
    return daemon


def _start(layout: Layout) -> Daemon:
    home = layout.docker
    home.mkdir(parents=True, exist_ok=True)
    shell.install_debian(_PACKAGES, layout.logs / "docker-install.log")
    if os.geteuid() != 0:
        raise BedError("No Docker daemon answers, and only root can start one. Start yours, or run this as root.")
    if (pid := _running(layout)) is not None:
        raise BedError(f"The private dockerd (pid {pid}) runs but does not answer. Wait, or run: make down")
    # dockerd refuses to start if any process has the number in it
    _pidfile(layout).unlink(missing_ok=True)
    log = layout.logs / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with step("start a private Docker daemon"), log.open("w") as sink:
        process = subprocess.Popen(
            [
                "dockerd",
                "--host",
                f"unix://{home / 'docker.sock'}",
                "--config-file",
                _write_configuration(home),
                "--data-root",
                home / "data",
                "--exec-root",
                home / "exec",
                "--pidfile",
                _pidfile(layout),
            ],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        daemon = _private(layout)
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(daemon):
            if (code := process.poll()) is not None:
                raise shell.failed(["dockerd"], code, log)
            if time.monotonic() > deadline:
                process.terminate()
                raise BedError(f"dockerd did not answer within {_START_SECONDS} s: see {log}")
            time.sleep(0.3)
    return daemon


def _write_configuration(home: Path) -> Path:
    """Settings under which the daemon leaves the host as it is: no bridge of its own, no forwarding switched on.

    The runtime wrapper lets the node run where root lacks CAP_SYS_RESOURCE; elsewhere it changes nothing.
    """
    wrapper = home / "runc-nosysres"
    shutil.copyfile(SOURCES / "docker" / "runc-nosysres", wrapper)
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    path = home / "daemon.json"
    path.write_text(
        json.dumps(
            {
                "bridge": "none",
                "default-runtime": "nosysres",
                "exec-opts": ["native.cgroupdriver=cgroupfs"],
                "ip-forward": False,
                "runtimes": {"nosysres": {"path": str(wrapper)}},
                "storage-driver": "overlay2",
            }
        )
    )
    return path


def stop_private(layout: Layout) -> None:
    """Ends the private daemon, by the pid it wrote, if it runs; removes a pidfile that names nothing of ours."""
    pid = _running(layout)
    if pid is None:
        _pidfile(layout).unlink(missing_ok=True)
        return
    with step("stop the private Docker daemon"):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while _running(layout) == pid:
            if time.monotonic() > deadline:
                raise BedError(f"The private dockerd (pid {pid}) is still there 30 s after SIGTERM.")
            time.sleep(0.2)


def _pidfile(layout: Layout) -> Path:
    return layout.docker / "docker.pid"


def _running(layout: Layout) -> int | None:
    """The pid of our daemon if it runs: of the process that was started with our pidfile, whoever has the number now."""
    pidfile = _pidfile(layout)
    try:
        pid = int(pidfile.read_text())
        # empty for a process that has ended and was not waited for
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(pidfile) in arguments else None


# The guard. Until kube-proxy runs, a pod that dials a service address goes out by the machine's default
# gateway, token in hand. Nothing in the cluster needs the outside, so the node's network is cut off from it.
_GUARD = ["DOCKER-USER", "-i", _BRIDGE, "!", "-o", _BRIDGE, "-j", "REJECT"]


def ensure_network(daemon: Daemon) -> None:
    """Creates the node's network and its guard."""
    if not daemon.succeeds("network", "inspect", NETWORK):
        daemon.output(
            "network", "create", "--driver", "bridge", "--opt", f"com.docker.network.bridge.name={_BRIDGE}", NETWORK
        )
    if os.geteuid() != 0 or shutil.which("iptables") is None:
        say("guard: none (needs root and iptables); until kube-proxy runs, service addresses may leave the machine")
        return
    if not shell.succeeds(["iptables", "-w", "-C", *_GUARD]):
        shell.output(["iptables", "-w", "-I", *_GUARD])


def remove_network(daemon: Daemon) -> None:
    """Takes back what `ensure_network` did."""
    if os.geteuid() == 0 and shell.succeeds(["iptables", "-w", "-C", *_GUARD]):
        shell.output(["iptables", "-w", "-D", *_GUARD])
    if daemon.succeeds("network", "inspect", NETWORK):
        daemon.output("network", "rm", NETWORK)


def release_mounts(folder: Path) -> None:
    """Takes down mounts that a stopped daemon or a killed build left in a folder, so that it can be deleted."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        point = line.split()[1]
        if Path(point).is_relative_to(folder):
            shell.output(["umount", point])
