"""The cluster: kind's, or one that exists; and kubectl against it."""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axon_testbed import docker, node, shell
from axon_testbed.docker import Daemon
from axon_testbed.errors import BedError
from axon_testbed.layout import CLUSTER, NODE, SOURCES, Layout
from axon_testbed.progress import say, step

# Where the node remembers which images it was given: it is gone with the node, as they are.
_LOADED = "/kind/loaded-images"
_SYSTEM_SECONDS = 180
_ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """A cluster as the suite sees it: a kubeconfig."""

    layout: Layout
    kubeconfig: Path

    def environment(self) -> dict[str, str]:
        """Environment for kubectl, helm and the suite."""
        path = f"{self.layout.bin}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """What `kubectl …` prints."""
        return shell.output([self._program(), *arguments], env=self.environment(), stdin=stdin)

    def succeeds(self, *arguments: str | Path, timeout: float | None = None) -> bool:
        """Whether `kubectl …` ends with code 0."""
        return shell.succeeds([self._program(), *arguments], env=self.environment(), timeout=timeout)

    def get(self, *arguments: str) -> Any:
        """An object, or a list of them, as JSON."""
        return json.loads(self.kubectl("get", "--output", "json", *arguments))

    def apply(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Applies objects as they are given, without a trace of them in annotations."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        if not items["items"]:  # kubectl calls that an error
            return
        self.kubectl("apply", "--server-side", "--force-conflicts", "--filename", "-", stdin=json.dumps(items))

    def answers(self) -> bool:
        """Whether its API server is ready."""
        return self.succeeds("get", "--raw", "/readyz", "--request-timeout=5s", timeout=10)

    def wait_for_rollout(self, namespace: str, workload: str, seconds: int) -> None:
        """Waits until all pods of a Deployment, DaemonSet or StatefulSet are ready in their newest form."""
        self.kubectl("rollout", "status", f"--namespace={namespace}", workload, f"--timeout={seconds}s")

    def _program(self) -> Path:
        return self.layout.bin / "kubectl"


def kind(layout: Layout) -> Cluster:
    """The handle of the kind cluster, whether it runs or not."""
    return Cluster(layout, layout.kubeconfig)


def existing(layout: Layout) -> Cluster:
    """The cluster of the user's kubeconfig."""
    configured = os.environ.get("KUBECONFIG")
    cluster = Cluster(layout, Path(configured).expanduser() if configured else Path.home() / ".kube" / "config")
    if not cluster.answers():
        raise BedError(f"No cluster answers through {cluster.kubeconfig}. Set KUBECONFIG to one that does.")
    return cluster


def ensure(layout: Layout, daemon: Daemon) -> Cluster:
    """A running kind cluster whose node comes from the current image."""
    image = node.ensure_image(layout, daemon)
    cluster = kind(layout)
    if _runs(daemon, image) and _answers_in_time(cluster):
        say(f"cluster: kind cluster {CLUSTER!r} of an earlier run")
        return cluster
    delete(layout, daemon)
    docker.ensure_network(daemon)
    with step(f"create kind cluster {CLUSTER!r}"):
        shell.run(
            [
                layout.bin / "kind",
                "create",
                "cluster",
                "--name",
                CLUSTER,
                "--image",
                image,
                "--wait",
                "120s",
                "--config",
                "kind.yaml",
                "--kubeconfig",
                layout.kubeconfig,
            ],
            layout.logs / "kind.log",
            env=daemon.environment(),
            cwd=SOURCES / "cluster",
        )
    return cluster


def _answers_in_time(cluster: Cluster) -> bool:
    """One slow answer of a busy machine must not cost the cluster."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while not cluster.answers():
        if time.monotonic() > deadline:
            say(f"cluster: made anew, since the running one did not answer within {_ANSWER_SECONDS} s")
            return False
        time.sleep(1)
    return True


def _runs(daemon: Daemon, image: str) -> bool:
    """Whether the node runs, and from this image rather than an older one of that name."""
    if not daemon.succeeds("inspect", NODE):
        return False
    running, used = daemon.output("inspect", "--format", "{{.State.Running}} {{.Image}}", NODE).split()
    if running == "true" and used == daemon.image_id(image):
        return True
    say(f"cluster: made anew, since the node {'has an older image' if running == 'true' else 'does not run'}")
    return False


def delete(layout: Layout, daemon: Daemon) -> None:
    """Deletes the kind cluster, if there is one."""
    if not daemon.succeeds("inspect", NODE):
        return
    with step(f"delete kind cluster {CLUSTER!r}"):
        shell.output(
            [layout.bin / "kind", "delete", "cluster", "--name", CLUSTER, "--kubeconfig", layout.kubeconfig],
            env=daemon.environment(),
        )


def wait_for_system(cluster: Cluster) -> None:
    """Waits for kube-proxy, DNS and the policy enforcer: kind says ready before they are."""
    with step("wait for kube-system"):
        workloads = cluster.kubectl("get", "--namespace=kube-system", "deployments,daemonsets", "--output=name")
        for workload in workloads.splitlines():
            cluster.wait_for_rollout("kube-system", workload, _SYSTEM_SECONDS)


def load(daemon: Daemon, images: Mapping[str, str]) -> None:
    """Gives the node those images, {name: id}, that it does not have yet, layers they share only once."""
    known = daemon.output("exec", NODE, "sh", "-c", f"touch {_LOADED}; cat {_LOADED}").splitlines()
    missing = {name: image for name, image in images.items() if f"{name} {image}" not in known}
    if not missing:
        return
    with step(f"load {', '.join(missing)}"):
        _stream(daemon, sorted(missing))
    lines = "\n".join(f"{name} {image}" for name, image in missing.items())
    shell.output(
        ["docker", "exec", "--interactive", NODE, "sh", "-c", f"cat >> {_LOADED}"],
        env=daemon.environment(),
        stdin=lines + "\n",
    )


def _stream(daemon: Daemon, names: list[str]) -> None:
    env = daemon.environment()
    with subprocess.Popen(["docker", "save", *names], env=env, stdout=subprocess.PIPE) as save:
        importing = subprocess.run(
            [
                "docker",
                "exec",
                "--interactive",
                NODE,
                "ctr",
                "--namespace=k8s.io",
                "images",
                "import",
                "--all-platforms",
                "--digests",
                "--snapshotter=overlayfs",
                "-",
            ],
            env=env,
            stdin=save.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
    if save.returncode or importing.returncode:
        raise BedError(f"Loading {', '.join(names)} into the node failed: {importing.stderr.strip()}")
