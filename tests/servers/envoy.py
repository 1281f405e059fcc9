"""A real Envoy, started as the pod starts it: the same command, the same paths, the same rights."""

import base64
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from axon_operator.domain import proxy
from axon_operator.domain.agent import CONFIG_DIR
from axon_operator.domain.runtime.pods import USER
from axon_testbed import pins, tools
from axon_testbed.layout import Layout
from servers.processes import Process

_LISTENING = "0A"
_RUN = "/run/envoy"
# /run is empty but for what the pod mounts; the names of hosts and the authorities are the test's own
_POD = f"""
mount -t tmpfs none /dev/shm && mount -t tmpfs none /run && mkdir -p {_RUN} {proxy.PROXY_DIR} {CONFIG_DIR} && touch {_RUN}/envoy &&
mount --bind "$BINARY" {_RUN}/envoy &&
mount --bind "$FOLDER/proxy" {proxy.PROXY_DIR} && mount -o remount,bind,ro {proxy.PROXY_DIR} &&
mount --bind "$FOLDER/config" {CONFIG_DIR} && mount -o remount,bind,ro {CONFIG_DIR} &&
mount --bind "$FOLDER/hosts" /etc/hosts && mount --bind "$FOLDER/authorities.pem" {proxy.SYSTEM_AUTHORITIES} &&
PATH={_RUN}:$PATH exec "$@"
"""


class Envoy:
    """The `proxy` container with its two volumes; the test is kubelet and `credentials` sidecar."""

    def __init__(self, folder: Path, hosts: Sequence[str], authorities: str) -> None:
        """`hosts`: names that lead to loopback."""
        self.folder = folder
        self.proxy = folder / "proxy"
        self.config = folder / "config"
        for each in (self.proxy, self.config):
            each.mkdir(parents=True)
            each.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(self.proxy, USER, USER)
        (folder / "hosts").write_text(f"127.0.0.1 localhost {' '.join(hosts)}\n")
        (folder / "authorities.pem").write_text(authorities)
        for name in ("hosts", "authorities.pem"):
            (folder / name).chmod(0o644)
        self._swaps = 0
        self.configure([])

    def start(self, log_level: str = "") -> None:
        """Until the startup probe succeeds; with the pod's log level if no other is named."""
        binary = tools.wheel_binary(Layout.from_environment(), pins.ENVOY_WHEEL)
        env = {"BINARY": str(binary), "FOLDER": str(self.folder)}
        command = proxy.command()
        if log_level:
            command[command.index("--log-level") + 1] = log_level
        rights = ["--no-new-privs", "--bounding-set=-all"]
        if os.geteuid() == 0:
            rights += [f"--reuid={proxy.user('uid')}", f"--regid={USER}", "--clear-groups"]
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        pod: list[str | Path] = ["unshare", "--mount", *as_root, "sh", "-c", _POD, "pod", "setpriv", *rights]
        self.process = Process("envoy", [*pod, *command], self.folder, env)
        self.process.start(self._is_started)

    def stop(self) -> None:
        self.process.stop()

    @property
    def log(self) -> str:
        return self.process.log.read_text(errors="replace")

    def configure(self, routes: Sequence[proxy.Route], authorities: str = proxy.SYSTEM_AUTHORITIES) -> None:
        """As the operator does: another ConfigMap, which the kubelet swaps as a whole."""
        self._swaps += 1
        folder = self.config / f"..{self._swaps}"
        folder.mkdir()
        data = {proxy.CLUSTERS: proxy.clusters(routes, authorities), proxy.LISTENERS: proxy.listeners(routes)}
        for name, text in data.items():
            (folder / name).write_text(text)
            if not (self.config / name).is_symlink():
                (self.config / name).symlink_to(f"..data/{name}")
        new = self.config / "..data_tmp"
        new.symlink_to(folder.name)
        new.rename(self.config / "..data")
        self.publish()

    def deliver(self, values: Mapping[proxy.Route, str | bytes]) -> None:
        """As the sidecar does: credentials by rename, then the listeners."""
        for route, value in values.items():
            self.write(route.file, secret(route, value))
        self.publish()

    def withdraw(self, *routes: proxy.Route) -> None:
        for route in routes:
            (self.proxy / route.file).unlink()
        self.publish()

    def write(self, name: str, text: str) -> None:
        """By rename, readable for the pod's user alone."""
        new = self.proxy / f".{name}.new"
        new.write_text(text)
        new.chmod(0o440)
        if os.geteuid() == 0:
            os.chown(new, USER, USER)
        new.rename(self.proxy / name)

    def publish(self) -> None:
        """The shipped shell function."""
        call = f"{proxy.SCRIPT}\numask 0027; publish_listeners config/..data/{proxy.LISTENERS} proxy"
        user = USER if os.geteuid() == 0 else None
        subprocess.run(["sh", "-c", call], cwd=self.folder, user=user, group=user, check=True)

    def listens(self, port: int) -> bool:
        return ("127.0.0.1", port) in self.sockets()

    def sockets(self) -> list[tuple[str, int]]:
        """Where it listens: (address, port)."""
        lines = [
            line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
        ]
        own = self._inodes()
        found = (fields[1] for fields in lines if fields[3] == _LISTENING and fields[9] in own)
        return [_address(text) for text in found]

    def unix_sockets(self) -> list[str]:
        """Lines of the kernel's list."""
        own = self._inodes()
        return [line for line in Path("/proc/net/unix").read_text().splitlines() if line.split()[6] in own]

    def _inodes(self) -> set[str]:
        links = []
        for fd in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                links.append(str(fd.readlink()))
        return {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:")}

    def _is_started(self) -> bool:
        # there Envoy is the first process
        probe = [part.replace("/proc/1/", f"/proc/{self.process.pid}/") for part in proxy.STARTED]
        return subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode == 0


def _address(text: str) -> tuple[str, int]:
    """As /proc/net/tcp writes it."""
    address, _, port = text.partition(":")
    if len(address) > 8:
        return address, int(port, 16)
    return socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)


def secret(route: proxy.Route, value: str | bytes) -> str:
    """What `bao agent` renders for that value."""
    raw = value if isinstance(value, bytes) else value.encode()
    template = proxy.secret_template(route, "value")
    document = template[template.index('{"resources"') : template.index("{{ end }}")]
    return document.replace("{{ $value | base64Encode }}", base64.b64encode(raw).decode())
