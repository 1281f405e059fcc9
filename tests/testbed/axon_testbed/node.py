"""The node image where no registry answers: built from Debian packages, Go modules and kind's own files."""

import re
from pathlib import Path

from axon_testbed import images, pins, shell, stamps, tools
from axon_testbed.docker import Daemon
from axon_testbed.errors import BedError
from axon_testbed.images import Files, Recipe
from axon_testbed.layout import Layout
from axon_testbed.progress import step

_NETWORK_POLICIES = "localhost/network-policies:1"


def ensure_image(layout: Layout, daemon: Daemon) -> str:
    """The name of the image for kind's node."""
    if images.is_pulled_from(layout, images.registry_of(pins.PUBLISHED_NODE_IMAGE)):
        return _pulled(layout, daemon)
    for tool in tools.NODE_TOOLS:
        tools.build_go(layout, tool)
    control_plane = _control_plane(layout)
    ids = [images.build(layout, daemon, name, recipe) for name, recipe in control_plane.items()]
    daemon.output("tag", _named(control_plane, "kube-proxy"), _NETWORK_POLICIES)
    archive = _saved(layout, daemon, [*control_plane, _NETWORK_POLICIES], stamps.digest(*ids))
    images.build(layout, daemon, pins.LOCAL_NODE_IMAGE, Recipe("node", files=lambda _: _files(layout, archive)))
    return pins.LOCAL_NODE_IMAGE


def _pulled(layout: Layout, daemon: Daemon) -> str:
    if daemon.image_id(pins.PUBLISHED_NODE_IMAGE) is None:
        with step(f"pull {pins.PUBLISHED_NODE_IMAGE}"):
            shell.run(["docker", "pull", pins.PUBLISHED_NODE_IMAGE], layout.logs / "pull.log", env=daemon.environment())
    return pins.PUBLISHED_NODE_IMAGE


def _control_plane(layout: Layout) -> dict[str, Recipe]:
    """The images that kubeadm and kind's containerd ask for by name, each from our binaries."""
    wanted = shell.output(
        [layout.bin / "kubeadm", "config", "images", "list", "--kubernetes-version", pins.KUBERNETES]
    ).splitlines()
    recipes = {}
    for name in wanted:
        program = name.rpartition("/")[2].partition(":")[0]
        match program:
            case "kube-proxy":
                recipes[name] = _recipe(layout, "kube-proxy", "kube-proxy", "kube-network-policies")
            case "etcd":
                recipes[name] = _recipe(layout, "static", "etcd", "etcdctl")
            case "pause":
                continue  # containerd's configuration names the one that is used
            case _:
                recipes[name] = _recipe(layout, "static", program)
    recipes[_sandbox_image(layout)] = _recipe(layout, "static", "pause")
    return recipes


def _recipe(layout: Layout, folder: str, *programs: str) -> Recipe:
    files = {f"bin/{program}": layout.bin / program for program in programs}
    return Recipe(folder, files=lambda _: files, arguments={"PROGRAM": programs[0]} if folder == "static" else {})


def _named(recipes: dict[str, Recipe], program: str) -> str:
    return next(name for name in recipes if f"/{program}:" in name)


def _sandbox_image(layout: Layout) -> str:
    text = (tools.kind_sources(layout) / "etc" / "containerd" / "config.toml").read_text()
    found = re.search(r'sandbox_image = "(.+)"', text)
    if found is None:
        raise BedError("kind's containerd configuration names no sandbox image")
    return found[1]


def _saved(layout: Layout, daemon: Daemon, names: list[str], inputs: str) -> Path:
    """The control plane's images in one archive."""
    archive = layout.downloads / "control-plane.tar"
    if not stamps.is_current(layout, archive.name, inputs, [archive]):
        with step("save the control plane's images"):
            stamps.forget(layout, archive.name)
            part = archive.with_name(f"{archive.name}.part")
            daemon.output("save", "--output", part, *names)
            part.rename(archive)
        stamps.mark(layout, archive.name, inputs)
    return archive


def _files(layout: Layout, archive: Path) -> Files:
    binaries = {
        "containerd": ("containerd", "containerd-shim-runc-v2", "ctr"),
        "kubernetes": ("kubeadm", "kubectl", "kubelet"),
    }
    return {
        "kind-files": tools.kind_sources(layout),
        "images.tar": archive,
        **{f"{folder}/{name}": layout.bin / name for folder, names in binaries.items() for name in names},
    }
